"""Keeper of jobs: table, schedule and runs of one queue, put together."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from typing import Any, cast

from telegram.ext import JobQueue

from ptb_s3._jobs import claims
from ptb_s3._jobs.callbacks import callbacks_for
from ptb_s3._jobs.job import PersistentJob
from ptb_s3._jobs.runs import Runs
from ptb_s3._jobs.schedule import JobSchedule
from ptb_s3._jobs.table import JobTable
from ptb_s3._ptb.due_runs import DueRun
from ptb_s3._ptb.state_loader import StateLoader


class JobKeeper:
    """Composition of what keeps the jobs of one queue.

    Args:
        queue: Queue of the jobs.
        loader: Loads the state of the application's persistence.
        changed: Called when a job has changed that has to be saved.
        save: Saves all that has changed.

    Attributes:
        schedule: Schedules jobs, in memory.
        table: Holds them.
        runs: Runs them.
    """

    def __init__(
        self,
        queue: JobQueue[Any],
        loader: StateLoader,
        changed: Callable[[], None],
        save: Callable[[], Awaitable[None]],
    ) -> None:
        self._loader = loader
        self._queue = queue
        options = loader.options
        callbacks = callbacks_for(loader.serializer, options.trusted, options.aliases or {})
        self.schedule = JobSchedule(queue)
        self.table = JobTable(callbacks, loader.serializer, self.schedule, changed)
        self.schedule.table = self.table
        self.runs = Runs(self.table, options.update_interval, save, self._storage_time)
        loader.participants.append(self.table)
        loader.due_sources.append(self)

    def begin_to_run(self) -> None:
        """Note that the scheduler starts."""
        self.table.settle()
        self.runs.ending.clear()

    def begin_to_end(self) -> None:
        """Note that the scheduler stops: no job is claimed any more."""
        self.runs.ending.set()

    async def save_left(self) -> None:
        """Save what PTB's own `Application` has saved nothing along with.

        Raises:
            PersistenceError: It is not durable. It goes with the next save.
        """
        if self.table.pending and self.table.commits is not None:
            await self.table.commits.join(shared=False)

    # Where no scheduler runs, see `DueSource` ----------------------------------------------------

    def begin_to_run_due(self) -> None:
        """Note that runs follow, perhaps on another event loop, unless the scheduler runs."""
        if not self._queue.scheduler.running:
            self.runs.renew()

    def due(self, now: datetime) -> list[DueRun]:
        """Return the runs that are due and that nobody has claimed.

        Beside a scheduler that runs, those without a claim are the scheduler's: nothing else would
        tell that it is about to begin one.
        """
        runs, scheduled = self.runs, self._queue.scheduler.running
        return [
            DueRun(moment, partial(runs.run_once, job, self._queue.application))
            for job, moment in self._moments()
            if moment <= now and not (scheduled and not runs.is_claimed(str(job.id)))
        ]

    def next_due(self) -> datetime | None:
        """Return when a job runs next, or None."""
        return min((moment for _, moment in self._moments()), default=None)

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
