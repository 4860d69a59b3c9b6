"""APScheduler's scheduler, which tells a listener what a bot's code changes.

A scheduler moves a job on when it hands it over to be run, and removes one that was its last. Those
are not changes of the bot's code: the job's entity changes when the run has *ended*. So what
happens within `_process_jobs` is told to nobody.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from apscheduler.job import Job as Scheduled
from apscheduler.jobstores.base import JobLookupError
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.schedulers.base import STATE_STOPPED
from apscheduler.triggers.base import BaseTrigger


class Listener(Protocol):
    """Observer of a scheduler's jobs."""

    def adding(self, trigger: BaseTrigger, given: dict[str, Any]) -> dict[str, Any]:
        """Return the arguments of `BaseScheduler.add_job` for a job that is being made.

        Args:
            trigger: Trigger of the job.
            given: Other arguments, as the bot's code has given them.
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

    def add_job(self, func: Any, trigger: Any = None, *args: Any, **options: Any) -> Scheduled:  # noqa: ANN401 - APScheduler's
        """Add a job, as `BaseScheduler.add_job`."""
        if self._silent or args:
            return super().add_job(func, trigger, *args, **options)
        own = {name: options.pop(name) for name in _OPTIONS if name in options}
        made = self._create_trigger(trigger, options)
        return super().add_job(func, **self._listener.adding(made, own))

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
        return self.silently(super()._process_jobs)


_OPTIONS = (
    *("args", "kwargs", "id", "name", "misfire_grace_time", "coalesce", "max_instances"),
    *("next_run_time", "jobstore", "executor", "replace_existing"),
)
