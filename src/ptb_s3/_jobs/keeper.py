"""Keeper of jobs: table, schedule and runs of one queue, put together."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

from telegram.ext import JobQueue

from ptb_s3._jobs.callbacks import callbacks_for
from ptb_s3._jobs.runs import Runs
from ptb_s3._jobs.schedule import JobSchedule
from ptb_s3._jobs.table import JobTable
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
        options = loader.options
        callbacks = callbacks_for(loader.serializer, options.trusted, options.aliases or {})
        self.schedule = JobSchedule(queue, keeps=keeps)
        self.table = JobTable(callbacks, loader.serializer, self.schedule, changed)
        self.schedule.table = self.table
        self.runs = Runs(self.table, options.update_interval, save, self._storage_time)
        loader.participants.append(self.table)

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

    def _storage_time(self) -> datetime:
        return datetime.now(UTC) + self._loader.store.ahead
