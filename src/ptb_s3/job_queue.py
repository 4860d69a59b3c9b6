"""`PersistentJobQueue`: PTB's job queue, whose jobs outlive the process that made them."""

from __future__ import annotations

import asyncio
import datetime as dt
import re
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, TypeAlias, TypeGuard, cast

from telegram.ext import Application, CallbackContext, ConversationHandler, Job, JobQueue

from ptb_s3._ptb.state_loader import loader_of
from ptb_s3.errors import SettingsError
from ptb_s3.persistence import S3Persistence

if TYPE_CHECKING:
    from apscheduler.job import Job as Scheduled
    from apscheduler.triggers.base import BaseTrigger

    from ptb_s3._jobs.callbacks import Callback
    from ptb_s3._jobs.record import JobRecord
    from ptb_s3._jobs.runs import Runs
    from ptb_s3._jobs.scheduler import JobScheduler
    from ptb_s3._jobs.table import JobTable

__all__ = ["PersistentJob", "PersistentJobQueue"]

# Callback of the jobs that end conversations, which PTB makes anew with each of their updates.
_TRIGGER_TIMEOUT = ConversationHandler._trigger_timeout  # noqa: SLF001 - it has no other name
_Context = CallbackContext[Any, Any, Any, Any]

When: TypeAlias = float | dt.timedelta | dt.datetime | dt.time
"""When a job runs: in so many seconds, in so long, at a moment, or at a time of day."""
JSONDict: TypeAlias = dict[str, Any]


class PersistentJob(Job[_Context]):
    """Job that is kept over a restart.

    Attributes:
        claim_id (:obj:`str` | :obj:`None`): Id of the run that is under way: another one for each
            run, and the same for all effects of one. None between two runs, and where the job
            repeats faster than it is saved.
    """

    __slots__ = ("claim_id",)

    def __init__(self, **arguments: Any) -> None:  # noqa: ANN401 - those of `Job`
        super().__init__(**arguments)
        self.claim_id: str | None = None


class PersistentJobQueue(JobQueue[_Context]):
    """Job queue whose jobs are saved by the application's :class:`ptb_s3.S3Persistence`.

    A job is saved when it is made, changes when it runs, and goes when its last run has ended. So a
    reminder comes though the host has died meanwhile: at least once, and by one of several
    instances.

    Example:
        .. code:: python

            application = (
                ApplicationBuilder()
                .application_class(PersistentApplication)
                .token(token)
                .persistence(S3Persistence.from_env())
                .job_queue(PersistentJobQueue())
                .build()
            )

    Args:
        persistent (:obj:`bool`, optional): Whether jobs are saved, unless a call says otherwise.
            Defaults to :obj:`True`.
    """

    __slots__ = ("_kept", "_making", "_persistent", "_runs", "_table", "_timer")

    def __init__(self, *, persistent: bool = True) -> None:
        self._persistent = persistent
        self._making: bool | None = None
        self._kept: PersistentJob | None = None
        self._table: JobTable | None = None
        self._runs: Runs | None = None
        self._timer: asyncio.TimerHandle | None = None
        super().__init__()

    # PTB's calls ---------------------------------------------------------------------------------

    def set_application(self, application: Application[Any, Any, Any, Any, Any, Any]) -> None:
        """Set the application, as its builder does.

        Args:
            application (:class:`telegram.ext.Application`): The application.

        Raises:
            SettingsError: It has no :class:`ptb_s3.S3Persistence` that could save jobs.
        """
        if self._persistent:
            self._connect(application)
        super().set_application(application)

    def _connect(self, application: Application[Any, Any, Any, Any, Any, Any]) -> None:
        from ptb_s3._jobs.callbacks import callbacks_for  # noqa: PLC0415 - APScheduler is an extra
        from ptb_s3._jobs.runs import Runs  # noqa: PLC0415 - as above
        from ptb_s3._jobs.scheduler import JobScheduler  # noqa: PLC0415 - as above
        from ptb_s3._jobs.table import JobTable  # noqa: PLC0415 - as above

        persistence = application.persistence
        if not isinstance(persistence, S3Persistence):
            raise SettingsError(
                "A PersistentJobQueue saves jobs with an S3Persistence, and the application has "
                "none: give one to ApplicationBuilder().persistence(), or use PTB's JobQueue."
            )
        loader = loader_of(persistence)
        self.scheduler = JobScheduler(self, self.scheduler_configuration)
        options, serializer = loader.options, loader.serializer
        callbacks = callbacks_for(serializer, options.trusted, options.aliases or {})
        self._table = JobTable(callbacks, serializer, self, self._marked)
        self._runs = Runs(self._table, persistence.update_interval, self._save)
        loader.participants.append(self._table)

    async def start(self) -> None:
        """Start the scheduler, as `JobQueue.start`. Overdue jobs run now."""
        if self._table is not None:
            self._table.settle()
            assert self._runs is not None  # noqa: S101 - for mypy: made together
            self._runs.ending.clear()
        await super().start()

    async def stop(self, wait: bool = True) -> None:  # noqa: FBT001, FBT002 - PTB's signature
        """Stop the scheduler, as `JobQueue.stop`. Jobs that are due from now on run after a start.

        Args:
            wait (:obj:`bool`, optional): Whether to wait for jobs that are running.
        """
        if self._runs is not None:
            self._runs.ending.set()
        await super().stop(wait)
        if self._table is not None:
            self._table.put_all()

    def jobs(self, pattern: str | re.Pattern[str] | None = None) -> tuple[Job[_Context], ...]:
        """Return the jobs that are scheduled, as `JobQueue.jobs`, before the start as well.

        Args:
            pattern (:obj:`str` | :obj:`re.Pattern`, optional): Pattern of their names.
        """
        found = super().jobs(pattern)
        if self._table is not None:
            for job in found:
                self._table.look_at(str(job.id))
        return found

    @staticmethod
    async def job_callback(job_queue: JobQueue[Any], job: Job[Any]) -> None:
        """Run a job that is due: the function that APScheduler calls, as `JobQueue.job_callback`.

        Args:
            job_queue (:class:`telegram.ext.JobQueue`): Queue of the job.
            job (:class:`telegram.ext.Job`): The job.
        """
        if not isinstance(job_queue, PersistentJobQueue) or not isinstance(job, PersistentJob):
            await job.run(job_queue.application)
            return
        assert job_queue._runs is not None  # noqa: S101, SLF001 - a kept job is one of a table

        async def call(claim_id: str) -> None:
            job.claim_id = claim_id
            try:
                await job.run(job_queue.application)
            finally:
                job.claim_id = None

        await job_queue._runs.run(str(job.id), call)  # noqa: SLF001 - of this class

    # Making jobs --------------------------------------------------------------------------------

    def run_once(  # noqa: PLR0917 - PTB's signature
        self,
        callback: Callback,
        when: When,
        data: object | None = None,
        name: str | None = None,
        chat_id: int | None = None,
        user_id: int | None = None,
        job_kwargs: JSONDict | None = None,
        *,
        persistent: bool | None = None,
    ) -> Job[Any]:
        """Make a job that runs once, as `JobQueue.run_once`.

        Args:
            callback (:term:`coroutine function`): Function to call. To be kept, it has to be one at
                the top of a module, or in a class, that is trusted.
            when (:obj:`float` | :obj:`datetime.datetime`): Seconds from now, or the moment; also a
                :obj:`datetime.timedelta`, or a :obj:`datetime.time` of today or tomorrow.
            data (:obj:`object`, optional): Anything that can be saved.
            name (:obj:`str`, optional): Name of the job. Defaults to its callback's.
            chat_id (:obj:`int`, optional): Chat that it is for.
            user_id (:obj:`int`, optional): User that it is for.
            job_kwargs (:obj:`dict`, optional): Further arguments for APScheduler. Saved are ``id``,
                ``misfire_grace_time`` and ``max_instances``.
            persistent (:obj:`bool`, optional): Whether it is kept over a restart. Defaults to what
                the queue was made with.

        Returns:
            :class:`telegram.ext.Job`: The job.

        Raises:
            JobError: It cannot be kept: its callback cannot be found again after a restart, its
                trigger cannot be written, or there is one of its id.
            SerializationError: Its data cannot be saved.
        """
        rest = data, name, chat_id, user_id, job_kwargs
        return self._made(persistent, super().run_once, callback, when, *rest)

    def run_repeating(  # noqa: PLR0917 - PTB's signature
        self,
        callback: Callback,
        interval: float | dt.timedelta,
        first: When | None = None,
        last: When | None = None,
        data: object | None = None,
        name: str | None = None,
        chat_id: int | None = None,
        user_id: int | None = None,
        job_kwargs: JSONDict | None = None,
        *,
        persistent: bool | None = None,
    ) -> Job[Any]:
        """Make a job that repeats, as `JobQueue.run_repeating`. See :meth:`run_once`."""
        rest = first, last, data, name, chat_id, user_id, job_kwargs
        return self._made(persistent, super().run_repeating, callback, interval, *rest)

    def run_monthly(  # noqa: PLR0917 - PTB's signature
        self,
        callback: Callback,
        when: dt.time,
        day: int,
        data: object | None = None,
        name: str | None = None,
        chat_id: int | None = None,
        user_id: int | None = None,
        job_kwargs: JSONDict | None = None,
        *,
        persistent: bool | None = None,
    ) -> Job[Any]:
        """Make a job that runs once a month, as `JobQueue.run_monthly`. See :meth:`run_once`."""
        rest = day, data, name, chat_id, user_id, job_kwargs
        return self._made(persistent, super().run_monthly, callback, when, *rest)

    def run_daily(  # noqa: PLR0917 - PTB's signature
        self,
        callback: Callback,
        time: dt.time,
        days: tuple[int, ...] = tuple(range(7)),
        data: object | None = None,
        name: str | None = None,
        chat_id: int | None = None,
        user_id: int | None = None,
        job_kwargs: JSONDict | None = None,
        *,
        persistent: bool | None = None,
    ) -> Job[Any]:
        """Make a job that runs once a day, as `JobQueue.run_daily`. See :meth:`run_once`."""
        rest = days, data, name, chat_id, user_id, job_kwargs
        return self._made(persistent, super().run_daily, callback, time, *rest)

    def run_custom(  # noqa: PLR0917 - PTB's signature
        self,
        callback: Callback,
        job_kwargs: JSONDict,
        data: object | None = None,
        name: str | None = None,
        chat_id: int | None = None,
        user_id: int | None = None,
        *,
        persistent: bool | None = None,
    ) -> Job[Any]:
        """Make a job of a trigger of one's own, as `JobQueue.run_custom`. See :meth:`run_once`."""
        rest = data, name, chat_id, user_id
        return self._made(persistent, super().run_custom, callback, job_kwargs, *rest)

    def _made(
        self,
        persistent: bool | None,  # noqa: FBT001 - as users give it
        make: Callable[..., Job[Any]],
        *args: object,
    ) -> Job[Any]:
        """Have PTB make a job, and return it, or the kept one that took its place in between."""
        if persistent and self._table is None:
            raise SettingsError(
                "persistent=True needs a PersistentJobQueue() that an application was built with."
            )
        self._making, self._kept = persistent, None
        try:
            made = make(*args)
            kept = cast("PersistentJob | None", self._kept)
        finally:
            self._making, self._kept = None, None
        if kept is None:
            return made
        kept._job = made._job  # noqa: SLF001 - as `Job.from_aps_job` does
        return kept

    # Listener of the scheduler ------------------------------------------------------------------

    def adding(self, trigger: BaseTrigger, given: dict[str, Any]) -> dict[str, Any]:
        """Take a job that is being made into the table, and return how to schedule it."""
        made: object = (given.get("args") or (None, None))[-1]
        if self._table is None or not self._is_kept(made):
            return given | {"trigger": trigger}
        return self._add(made, trigger, given)

    def _is_kept(self, job: object) -> TypeGuard[Job[Any]]:
        """Tell whether a job that is being made is one of ours, to be kept."""
        if self._making is False or not isinstance(job, Job):
            return False
        return getattr(job.callback, "__func__", None) is not _TRIGGER_TIMEOUT

    def _add(self, job: Job[Any], trigger: BaseTrigger, given: dict[str, Any]) -> dict[str, Any]:
        assert self._table is not None  # noqa: S101 - for mypy: the only caller has looked
        record = self._table.record_of(job, trigger, given, self._tz_now())
        record = self._table.add(record, replace=bool(given.get("replace_existing")))
        self._kept = _kept_job(record, job.callback)
        self._table.jobs[record.id] = self._kept
        return self._scheduling(record, self._kept)

    def changed(self, job: Scheduled) -> None:
        """Note that the bot's code has paused, resumed or rescheduled a job."""
        if self._table is not None:
            self._table.change(job.id, job.trigger, job.next_run_time)

    def removed(self, job_id: str) -> None:
        """Note that the bot's code has cancelled a job."""
        if self._table is not None:
            self._table.remove(job_id)

    # Schedule of the table ----------------------------------------------------------------------

    def put(
        self, record: JobRecord, callback: Callback, at: dt.datetime | None = None
    ) -> PersistentJob:
        """Schedule a job, which is not scheduled, and return PTB's object of it."""
        assert self._table is not None  # noqa: S101 - for mypy: it is the table that calls this
        job = cast("PersistentJob | None", self._table.jobs.get(record.id))
        if job is None:
            job = _kept_job(record, callback)
        job.data = record.data
        scheduler = cast("JobScheduler", self.scheduler)
        options = self._scheduling(record, job, at)
        job._job = scheduler.silently(scheduler.add_job, self.job_callback, **options)  # noqa: SLF001 - see `_made`
        return job

    def _scheduling(
        self, record: JobRecord, job: PersistentJob, at: dt.datetime | None = None
    ) -> dict[str, Any]:
        """Return the arguments of APScheduler's `add_job` for a job."""
        from ptb_s3._jobs.triggers import latest, trigger_of  # noqa: PLC0415 - as in `_connect`

        trigger, due = trigger_of(record.trigger), record.next
        if due is not None and at is None:
            due = latest(trigger, due, dt.datetime.now(dt.UTC))
        own = {name: record.options[name] for name in ("max_instances",) if name in record.options}
        return own | {
            "trigger": trigger,
            "args": (self, job),
            "id": record.id,
            "name": record.name,
            "misfire_grace_time": None,
            "coalesce": True,
            "next_run_time": at or due,
        }

    def take_out(self, job_id: str) -> None:
        """Remove a job from the schedule, if it is there."""
        scheduler = cast("JobScheduler", self.scheduler)
        if scheduler.get_job(job_id) is not None:
            scheduler.silently(scheduler.remove_job, job_id)

    def scheduled_for(self, job_id: str) -> dt.datetime | None:
        """Return when a job is scheduled to run, or None: it is not."""
        job = self.scheduler.get_job(job_id)
        return None if job is None else getattr(job, "next_run_time", None)

    # Saving -------------------------------------------------------------------------------------

    def of_update(self) -> AbstractContextManager[None]:
        """Hold the jobs that an update makes, until it ends, to be saved with its data."""
        return nullcontext() if self._table is None else self._table.update()

    def _marked(self) -> None:
        """Have a change saved within the interval, though PTB may have nothing else to save."""
        if not self.scheduler.running or (self._timer is not None and not self._timer.cancelled()):
            return
        assert self.application.persistence is not None  # noqa: S101 - for mypy: see `_connect`
        seconds = self.application.persistence.update_interval
        self._timer = asyncio.get_running_loop().call_later(seconds, self._save_marked)

    def _save_marked(self) -> None:
        self._timer = None
        if self._table is not None and self._table.pending:
            self.application.create_task(self._save(), name="ptb_s3:jobs:save")

    async def _save(self) -> None:
        await self.application.update_persistence()


def _kept_job(record: JobRecord, callback: Callback) -> PersistentJob:
    return PersistentJob(
        callback=callback,
        data=record.data,
        name=record.name,
        chat_id=record.chat,
        user_id=record.user,
    )
