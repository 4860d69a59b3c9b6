"""Schedule: the jobs of a table as jobs of APScheduler's, in memory.

The table says what there is, and the schedule follows it; what the bot's code changes by PTB's
methods reaches the table through here. A job's object stays the same for as long as the process
lives: code of the bot's may hold it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, TypeGuard, cast
from warnings import warn

from telegram.ext import Job, JobQueue
from telegram.warnings import PTBUserWarning

from ptb_s3._jobs.callbacks import Callback
from ptb_s3._jobs.job import PersistentJob, kept_job, load_data
from ptb_s3._jobs.record import JobRecord
from ptb_s3._jobs.scheduler import JobExecutor, JobScheduler
from ptb_s3._jobs.triggers import latest, trigger_of
from ptb_s3._ptb.conversation_states import Wait, wait_of

if TYPE_CHECKING:
    from apscheduler.job import Job as Scheduled
    from apscheduler.triggers.base import BaseTrigger

    from ptb_s3._jobs.making import JobMaker
    from ptb_s3._jobs.table import JobTable
    from ptb_s3._jobs.timeouts import Timeouts

# `Runs` counts how many runs of a job there are. APScheduler leaves out the run of a job that is
# one too many, and forgets the job if it was to run once: it counts a run until some time after it
# has ended, and one that only looks whether another instance has the job counts as well.
_ANY_NUMBER: Final = sys.maxsize


class JobSchedule:
    """Adapter between a table of jobs and APScheduler.

    Args:
        queue: Queue of the jobs, whose scheduler is replaced by one that tells of changes.
        keeps: Whether jobs are kept that the bot's code gives to the scheduler itself.

    Attributes:
        table: The table, once there is one.
        maker: Makes records, likewise.
        timeouts: Timeouts of conversations, likewise.
    """

    table: JobTable
    maker: JobMaker
    timeouts: Timeouts

    def __init__(self, queue: JobQueue[Any], *, keeps: bool) -> None:
        self._queue = queue
        self._by_default = self._keeps = keeps
        self._kept: PersistentJob | None = None
        self._new: str | None = None  # id of a job that is in the table since this call
        queue._executor = JobExecutor(self.failed)  # noqa: SLF001 - PTB has no way to give one
        self.scheduler = JobScheduler(self, queue.scheduler_configuration)

    # What the bot's code does --------------------------------------------------------------------

    def made(self, make: Callable[[], Job[Any]], *, kept: bool) -> Job[Any]:
        """Have PTB make a job, and return it, or the kept one that took its place in between.

        Args:
            make: Calls PTB's method, which adds a job to the scheduler.
            kept: Whether the job is to be kept.
        """
        self._keeps, self._kept, self._new = kept, None, None
        try:
            made = make()
            job = cast("PersistentJob | None", self._kept)
        except Exception:
            if (refused := cast("str | None", self._new)) is not None:
                self.table.forget(refused)
            raise
        finally:
            self._keeps, self._kept = self._by_default, None
        if job is None:
            return made
        job._job = made._job  # noqa: SLF001 - as `Job.from_aps_job` does
        return job

    def adding(self, trigger: BaseTrigger, given: dict[str, Any]) -> dict[str, Any] | None:
        """Take a job that is being made into the table, and return how to schedule it, if kept."""
        made: object = (given.get("args") or (None, None))[-1]
        if isinstance(made, Job) and (wait := wait_of(made.callback, made.data)) is not None:
            given.update(self._begin(wait, made, trigger))
            return None
        if not self._is_kept(made):
            return None
        return self._add(made, trigger, given)

    def _begin(self, wait: Wait, job: Job[Any], trigger: BaseTrigger) -> dict[str, Any]:
        """Take a wait of a conversation, and return what is special in how to schedule its end."""
        due = trigger.get_next_fire_time(None, datetime.now(UTC))
        if (job_id := self.timeouts.begun(wait, job, due)) is not None:
            return {"id": job_id, "misfire_grace_time": None}
        if not self.scheduler.is_started:
            warn(
                "Ignoring `conversation_timeout` of a ConversationHandler that is not persistent, "
                "because the Application's JobQueue is not running.",
                PTBUserWarning,
                stacklevel=2,
            )
        return {}

    def _is_kept(self, job: object) -> TypeGuard[Job[Any]]:
        """Tell whether a job that is being made is one of ours, to be kept."""
        return self._keeps and isinstance(job, Job)

    def _add(self, job: Job[Any], trigger: BaseTrigger, given: dict[str, Any]) -> dict[str, Any]:
        record = self.maker.record(job, trigger, given, datetime.now(self.scheduler.timezone))
        record = self.table.add(record, replaces=bool(given.get("replace_existing")))
        if record.id in self.table.jobs:
            self.take_out(record.id)
        else:
            self._new = record.id
        self._kept = kept_job(record, job.callback, self.table.mark)
        self.table.jobs[record.id] = self._kept
        return self._scheduling(record, self._kept)

    def changed(self, job: Scheduled) -> None:
        """Note that the bot's code has paused, resumed or rescheduled a job."""
        self.table.change(job.id, job.trigger, job.next_run_time)

    def removed(self, job_id: str) -> None:
        """Note that the bot's code has cancelled a job."""
        self.table.remove(job_id)
        self.timeouts.cancel(job_id)

    def is_handed_over(self, job_id: str) -> bool:
        """Tell whether a job that is not scheduled any more is about to run."""
        return job_id in self.table.records or job_id in self.timeouts.records

    def failed(self, job_id: str) -> None:
        """Have a job looked at again whose run was cancelled before it had begun."""
        if self.scheduler.is_started:  # else it is put when the scheduler starts
            at = datetime.now(UTC)
            self.table.ensure(job_id, at)
            self.timeouts.ensure(job_id, at)

    @property
    def waits_begin(self) -> bool:
        """Return whether timeouts of conversations can begin, though nothing is scheduled."""
        return self.timeouts.in_update

    # What the table does ------------------------------------------------------------------------

    def put(
        self, record: JobRecord, callback: Callback, at: datetime | None = None
    ) -> PersistentJob:
        """Schedule a job, which is not scheduled, and return PTB's object of it."""
        job = cast("PersistentJob | None", self.table.jobs.get(record.id))
        if job is None:
            job = kept_job(record, callback, self.table.mark)
        load_data(job, record.data)
        options = self._scheduling(record, job, at)
        job._job = self.scheduler.put(self._queue.job_callback, **options)  # noqa: SLF001 - as in `made`
        return job

    def _scheduling(
        self, record: JobRecord, job: PersistentJob, at: datetime | None = None
    ) -> dict[str, Any]:
        """Return the arguments of APScheduler's `add_job` for a job."""
        trigger, due = trigger_of(record.trigger), record.next
        if due is not None and at is None:
            due = latest(trigger, due, datetime.now(UTC))
        return {
            "trigger": trigger,
            "args": (self._queue, job),
            "id": record.id,
            "name": record.name,
            "misfire_grace_time": None,
            "max_instances": _ANY_NUMBER,
            "coalesce": True,
            "next_run_time": at or due,
        }

    def put_wait(self, job_id: str, wait: tuple[Any, Any], at: datetime) -> Job[Any]:
        """Schedule the end of a conversation's wait, and return PTB's job of it.

        Args:
            job_id: Id for the scheduler.
            wait: Callback and data of the job.
            at: When it falls due.
        """
        callback, data = wait
        options = {"id": job_id, "misfire_grace_time": None}
        made: Job[Any] = self.scheduler.silently(
            JobQueue.run_once, self._queue, callback, at, data=data, job_kwargs=options
        )
        return made

    def take_out(self, *job_ids: str) -> None:
        """Remove jobs from the schedule, those of them that are there."""
        self.scheduler.forget(set(job_ids))

    def scheduled_for(self, job_id: str) -> datetime | None:
        """Return when a job is scheduled to run, or None: it is not."""
        job = self.scheduler.get_job(job_id)
        return None if job is None else getattr(job, "next_run_time", None)
