"""Keeper of jobs: table, schedule and runs of one queue, put together."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import copy_context
from datetime import UTC, datetime
from functools import partial
from typing import Any, cast

from telegram.ext import Job, JobQueue

from ptb_s3._jobs import claims
from ptb_s3._jobs.callbacks import callbacks_for
from ptb_s3._jobs.job import PersistentJob
from ptb_s3._jobs.making import JobMaker
from ptb_s3._jobs.prefetching import has_read, subjects_of_job
from ptb_s3._jobs.runs import Runs
from ptb_s3._jobs.schedule import JobSchedule
from ptb_s3._jobs.table import JobTable
from ptb_s3._jobs.timeouts import Timeouts
from ptb_s3._ptb.application_state import App
from ptb_s3._ptb.due_runs import DueRun
from ptb_s3._ptb.state_loader import StateLoader


class JobKeeper:
    """Composition of what keeps the jobs of one queue.

    Args:
        queue: Queue of the jobs.
        loader: Loads the state of the application's persistence.
        changed: Called when a job has changed that has to be saved.
        save: Saves all that has changed.
        keeps: Whether jobs are kept unless a call says otherwise.

    Attributes:
        schedule: Schedules jobs, in memory.
        table: Holds them.
        runs: Runs them.
        timeouts: Holds the timeouts of conversations.
        ends: Runs those.
    """

    def __init__(
        self,
        queue: JobQueue[Any],
        loader: StateLoader,
        changed: Callable[[], None],
        save: Callable[[], Awaitable[None]],
        *,
        keeps: bool = True,
    ) -> None:
        self._loader = loader
        self._queue = queue
        options = loader.options
        callbacks = callbacks_for(loader.serializer, options.trusted, options.aliases or {})
        self.schedule = JobSchedule(queue, keeps=keeps)
        self.table = JobTable(callbacks, loader.serializer, self.schedule, changed)
        self.schedule.table = self.table
        self.schedule.maker = JobMaker(callbacks, loader.serializer, self.table.fixed)
        self.runs = Runs(self.table, options.update_interval, save, self._storage_time)
        self.timeouts = Timeouts(loader.serializer, self.schedule, changed)
        self.schedule.timeouts = self.timeouts
        self.ends = Runs(self.timeouts, options.update_interval, save, self._storage_time)
        loader.participants += [self.table, self.timeouts]
        loader.due_sources.append(self)

    async def run(self, job: Job[Any], application: App) -> bool:
        """Run a job that is due, unless another instance does.

        Args:
            job: The job: one of ours, the end of a conversation's wait, or one that is not kept.
            application: Its application.

        Returns:
            Whether it was run here.
        """
        if isinstance(job, PersistentJob):
            return await self.runs.run(job, application)
        if (wait := self.timeouts.ending(job)) is not None:
            return await self.ends.run(wait, application)
        if not await has_read(self.table.commits, subjects_of_job(job), application, job):
            return False
        await job.run(application)
        return True

    @contextmanager
    def update(self) -> Iterator[Callable[[], None]]:
        """Hold what an update changes here until it ends, to go with its data.

        It gives a function that takes the jobs of it back.
        """
        with self.table.update() as take_back, self.timeouts.update():
            yield take_back

    @property
    def pending(self) -> bool:
        """Return whether something has changed that no commit was given yet."""
        return self.table.pending or self.timeouts.pending

    def begin_to_run(self) -> None:
        """Note that the scheduler starts."""
        self.table.settle()
        for runs in (self.runs, self.ends):
            runs.ending.clear()
            runs.context = copy_context()

    def begin_to_end(self) -> None:
        """Note that the scheduler stops: no job is claimed any more."""
        self.runs.ending.set()
        self.ends.ending.set()

    def put_all(self) -> None:
        """Schedule everything anew: the scheduler was stopped, which has forgotten all of it."""
        self.table.put_all()
        self.timeouts.put_all()

    async def save_left(self) -> None:
        """Save what PTB's own `Application` has saved nothing along with.

        Raises:
            PersistenceError: It is not durable. It goes with the next save.
        """
        if self.pending and self.table.commits is not None:
            await self.table.commits.join(shared=False)

    # Where no scheduler runs, see `DueSource` ----------------------------------------------------

    def begin_to_run_due(self) -> None:
        """Note that runs follow, perhaps on another event loop, unless the scheduler runs."""
        if not self.schedule.scheduler.is_started:
            self.runs.renew()
            self.ends.renew()

    def due(self, now: datetime) -> list[DueRun]:
        """Return the runs of jobs and of timeouts that are due and that nobody has claimed.

        Beside a scheduler that runs, those without a claim are the scheduler's: nothing else would
        tell that it is about to begin one.
        """
        application, scheduled = self._queue.application, self.schedule.scheduler.is_started
        jobs = [
            DueRun(moment, partial(self.runs.run_once, job, application))
            for job, moment in self._moments()
            if moment <= now and not (scheduled and not self.runs.is_claimed(str(job.id)))
        ]
        ends = self.timeouts.due(self._storage_time())
        return jobs + [DueRun(now, partial(self.ends.run_once, end, application)) for end in ends]

    def next_due(self) -> datetime | None:
        """Return when a job runs or a conversation times out next, or None."""
        moments = [moment for _, moment in self._moments()]
        if (end := self.timeouts.next_due()) is not None:
            moments.append(end)
        return min(moments, default=None)

    def _moments(self) -> Iterator[tuple[PersistentJob, datetime]]:
        """Yield the jobs that are not paused and whose function is there, with their moments.

        One that somebody has claimed is due when that claim's time is up.
        """
        now = self._storage_time()
        for job_id, job in self.table.jobs.items():
            record = self.table.records[job_id]
            if record.next is not None:
                held = record.claim if claims.holds(record.claim, now) else None
                until = claims.claim_until(held) if held is not None else record.next
                yield cast("PersistentJob", job), max(record.next, until)

    def _storage_time(self) -> datetime:
        return datetime.now(UTC) + self._loader.store.ahead
