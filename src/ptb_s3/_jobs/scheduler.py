"""APScheduler's scheduler, which tells a listener what a bot's code changes.

A scheduler moves a job on when it hands it over to be run, and removes one that was its last. Those
are not changes of the bot's code: the job's entity changes when the run has *ended*. So what
happens within `_process_jobs` is told to nobody.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Mapping
from typing import Any, Protocol

from apscheduler.executors.asyncio import AsyncIOExecutor
from apscheduler.job import Job as Scheduled
from apscheduler.jobstores.base import JobLookupError
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.schedulers.base import STATE_STOPPED
from apscheduler.triggers.base import BaseTrigger
from apscheduler.util import iscoroutinefunction_partial, obj_to_ref

LONGEST_WAIT = 30.0
"""Seconds between two looks at the clock: one that is set ahead must not leave a job waiting.

The event loop's own clock does not jump. A small computer without a clock of its own begins years
back, and learns the time from the network when the bot is already waiting for a job tomorrow.
"""


class Listener(Protocol):
    """Observer of a scheduler's jobs."""

    def adding(self, trigger: BaseTrigger, given: dict[str, Any]) -> dict[str, Any] | None:
        """Return the parts of a job of ours that is being made, as `put` takes them, or None.

        Args:
            trigger: Trigger of the job.
            given: Other arguments, as the bot's code has given them. More may be added, for a job
                that is not put.
        """
        ...

    def changed(self, job: Scheduled) -> None:
        """Note that the bot's code has paused, resumed or rescheduled a job."""
        ...

    def removed(self, job_id: str) -> None:
        """Note that the bot's code has removed a job."""
        ...

    def is_handed_over(self, job_id: str) -> bool:
        """Tell whether a job that is not scheduled any more is about to run."""
        ...

    @property
    def waits_begin(self) -> bool:
        """Return whether timeouts of conversations can begin, though nothing is scheduled."""
        ...


class JobExecutor(AsyncIOExecutor):  # type: ignore[misc]  # APScheduler ships no types
    """Executor that tells of each run that failed as a task, such as one cancelled unbegun.

    An error of a callback is no such failure: PTB's error handlers have it. A scheduler has let a
    one-shot go by then, which would wait for the next start.

    Args:
        failed: Called with the id of the job.
    """

    def __init__(self, failed: Callable[[str], None]) -> None:
        super().__init__()
        self._failed = failed

    def _run_job_error(self, job_id: str, *error: Any) -> None:  # noqa: ANN401 - APScheduler's
        super()._run_job_error(job_id, *error)
        self._failed(job_id)


class WrappingExecutor(AsyncIOExecutor):  # type: ignore[misc]  # APScheduler ships no types
    """Executor that runs another function in the place of a job's coroutine function.

    Args:
        wrapped: Returns it, for the job's own.
    """

    def __init__(self, wrapped: Callable[[Any], Callable[..., Any]]) -> None:
        super().__init__()
        self._wrapped = wrapped

    def _do_submit_job(self, job: Any, run_times: Any) -> None:  # noqa: ANN401 - APScheduler's
        if iscoroutinefunction_partial(job.func):
            job = _Standin(job, self._wrapped(job.func))
        super()._do_submit_job(job, run_times)


class _Standin:
    """Job with another function. The job itself stays as it is: a store may write it down."""

    def __init__(self, job: Scheduled, func: Callable[..., Any]) -> None:
        self._job = job
        self.func = func

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - of the job's parts
        return getattr(self._job, name)

    def __str__(self) -> str:
        return str(self._job)


class JobScheduler(AsyncIOScheduler):  # type: ignore[misc]  # APScheduler ships no types
    """Scheduler in memory that tells a listener what the bot's code changes.

    Args:
        listener: Is told.
        configuration: As `AsyncIOScheduler` takes it.
    """

    def __init__(self, listener: Listener, configuration: Mapping[str, Any]) -> None:
        self._listener = listener
        self._silent = False
        super().__init__(**configuration)

    @property
    def is_started(self) -> bool:
        """Return whether jobs run when they fall due."""
        return bool(self.state != STATE_STOPPED)

    @property
    def running(self) -> bool:
        """Return whether jobs can be made to run later, as `ConversationHandler` asks.

        It begins no timeout where it is false. While an update is delivered no scheduler runs, and
        the timeout is saved all the same.
        """
        return self.is_started or self._listener.waits_begin

    def silently(self, method: Callable[..., Any], *args: Any, **options: Any) -> Any:  # noqa: ANN401 - APScheduler's
        """Call a method of this scheduler's without telling the listener."""
        before, self._silent = self._silent, True
        try:
            return method(*args, **options)
        finally:
            self._silent = before

    def put(self, func: Callable[..., Any] | str, **parts: Any) -> Scheduled:  # noqa: ANN401 - APScheduler's
        """Add a job of ours, whose parts are known to be right, and tell nobody.

        APScheduler looks at the signature of the function of each job that is added: for ten
        thousand jobs that is most of a start.

        Args:
            func: Function to call, at the top of a module or in a class, or its name.
            **parts: All other parts of a job.
        """
        name = func if isinstance(func, str) else _reference(func)
        job = Scheduled.__new__(Scheduled)
        job._scheduler, job._jobstore_alias = self, None  # noqa: SLF001 - as `Job.__init__`
        job.__setstate__({"func": name, "kwargs": {}, "executor": _DEFAULT, **parts})
        with self._jobstores_lock:
            if self.state == STATE_STOPPED:
                self._pending_jobs.append((job, _DEFAULT, False))
            else:
                self._real_add_job(job, _DEFAULT, False)  # noqa: FBT003 - APScheduler's
        return job

    def forget(self, job_ids: Collection[str]) -> None:
        """Take jobs out, those of them that are there, and tell nobody."""
        with self._jobstores_lock:
            if self.state == STATE_STOPPED:
                left = [entry for entry in self._pending_jobs if entry[0].id not in job_ids]
                self._pending_jobs[:] = left
                return
        for job_id in job_ids:
            if self.get_job(job_id) is not None:
                self.silently(self.remove_job, job_id)

    def add_job(self, func: Any, trigger: Any = None, *args: Any, **options: Any) -> Scheduled:  # noqa: ANN401 - APScheduler's
        """Add a job, as `BaseScheduler.add_job`."""
        if self._silent or args:
            return super().add_job(func, trigger, *args, **options)
        own = {name: options.pop(name) for name in _OPTIONS if name in options}
        made = self._create_trigger(trigger, options)
        parts = self._listener.adding(made, own)
        return super().add_job(func, made, **own) if parts is None else self.put(func, **parts)

    def modify_job(self, job_id: str, jobstore: str | None = None, **changes: Any) -> Scheduled:  # noqa: ANN401 - APScheduler's
        """Change a job, as `BaseScheduler.modify_job`. Pausing and rescheduling end here, too."""
        job = super().modify_job(job_id, jobstore, **changes)
        if not self._silent:
            self._listener.changed(job)
        return job

    def remove_job(self, job_id: str, jobstore: str | None = None) -> None:
        """Remove a job, as `BaseScheduler.remove_job`."""
        try:
            super().remove_job(job_id, jobstore)
        except JobLookupError:
            # It was due a moment ago, and is being claimed: it can be cancelled still.
            if self._silent or not self._listener.is_handed_over(job_id):
                raise
        if not self._silent:
            self._listener.removed(job_id)

    def remove_all_jobs(self, jobstore: str | None = None) -> None:
        """Remove all jobs, as `BaseScheduler.remove_all_jobs`."""
        ids = [job.id for job in self.get_jobs(jobstore)]
        super().remove_all_jobs(jobstore)
        for job_id in ids:
            self._listener.removed(job_id)

    def _process_jobs(self) -> Any:  # noqa: ANN401 - APScheduler's
        """Look for what is due, as `BaseScheduler._process_jobs`, and return seconds to wait."""
        seconds: float | None = self.silently(super()._process_jobs)
        return None if seconds is None else min(seconds, LONGEST_WAIT)


_reference = functools.cache(obj_to_ref)
_DEFAULT = "default"  # the names of the job store and the executor that there are
_OPTIONS = (
    *("args", "kwargs", "id", "name", "misfire_grace_time", "coalesce", "max_instances"),
    *("next_run_time", "jobstore", "executor", "replace_existing"),
)
