"""Run what is due, where nothing runs by itself: jobs, and whatever else has a moment.

Whoever has such things is a `DueSource`, and adds itself to `StateLoader.due_sources`. One call
runs what is due at its beginning, soonest first, up to `AT_ONCE` at a time:

===================  ==========================================================================
not begun            is not claimed, and is the next call's
under way when the   is cancelled, with its claim kept: it runs again when that lapses, and not at
time is up           once, or a run that never ends would be begun by each call
ended                is saved when it ends, and does not wait for the others
===================  ==========================================================================
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime
from typing import Final, NamedTuple, Protocol

from ptb_s3._ptb.transaction import CANCEL_PATIENCE
from ptb_s3._ptb.turns import join_turn
from ptb_s3.errors import StorageUnavailableError

AT_ONCE: Final = 100
"""Runs at a time. What begins together is claimed in one commit, and 10,000 at once would be more
than a small host has memory and connections for."""


class DueRun(NamedTuple):
    """Run that is due.

    Attributes:
        moment: When it was due.
        start: Claims it, runs it, and saves its end. Raises a `PersistenceError` where the claim
            cannot be committed; what the bot's code raises has gone to the error handlers.
    """

    moment: datetime
    start: Callable[[], Awaitable[object]]


class DueSource(Protocol):
    """Part of the state that has something to run at certain moments."""

    def begin_to_run_due(self) -> None:
        """Note that runs follow, perhaps on another event loop than before."""
        ...

    def due(self, now: datetime) -> Iterable[DueRun]:
        """Return the runs that are due and that nobody has claimed.

        Args:
            now: The present.
        """
        ...

    def next_due(self) -> datetime | None:
        """Return, in UTC, when there is something to run next, or None: there is nothing."""
        ...


class DueRuns:
    """Runs of one call.

    Args:
        sources: What they are taken from.

    Attributes:
        broken_off: Number of the runs that were under way when the time was up.
    """

    def __init__(self, sources: Iterable[DueSource]) -> None:
        self.broken_off = 0
        self._sources = list(sources)
        self._under_way: set[asyncio.Task[object]] = set()
        self._failure: BaseException | None = None

    async def run(self, seconds: float) -> None:
        """Run what is due now.

        Args:
            seconds: Seconds in which runs are begun. Those that are under way then go on.

        Raises:
            PersistenceError: A claim could not be committed. Runs that were begun have ended.
        """
        waiting = self._due()
        loop = asyncio.get_running_loop()
        last = loop.time() + seconds if math.isfinite(seconds) else math.inf
        try:
            while self._under_way or (waiting and loop.time() < last and not self._failure):
                if len(self._under_way) <= AT_ONCE // 2 and loop.time() < last:
                    self._begin(waiting)
                await self._wait_for_one()
        except asyncio.CancelledError:
            await self._break_off()
            raise
        if self._failure is not None:
            raise self._failure

    def next_due(self) -> datetime | None:
        """Return when there is something to run next, or None."""
        moments = [source.next_due() for source in self._sources]
        return min((moment for moment in moments if moment is not None), default=None)

    def failure(self) -> Exception:
        """Return the error to raise when the time is up."""
        if self.broken_off:
            return TimeoutError(
                f"The time was up before all had ended that was due: {self.broken_off} were broken "
                "off, and run again when their claims lapse, within ten minutes. What was not "
                "begun is left to the next call."
            )
        return StorageUnavailableError(
            "The storage, or a call before it, left no time to run what is due and save it. What "
            "is not saved runs again, when its claim lapses; the rest is left to the next call."
        )

    def _due(self) -> list[DueRun]:
        """Return what is due, the soonest last."""
        now, due = datetime.now(UTC), list[DueRun]()
        for source in self._sources:
            source.begin_to_run_due()
            due += source.due(now)
        return sorted(due, key=lambda run: run.moment, reverse=True)

    def _begin(self, waiting: list[DueRun]) -> None:
        """Begin as many runs as there is room for, in one iteration of the loop."""
        while waiting and len(self._under_way) < AT_ONCE and not self._failure:
            self._under_way.add(asyncio.create_task(_started(waiting.pop())))

    async def _wait_for_one(self) -> None:
        done, self._under_way = await asyncio.wait(
            self._under_way, return_when=asyncio.FIRST_COMPLETED
        )
        failures = [task.exception() for task in done if not task.cancelled()]
        self._failure = self._failure or next((each for each in failures if each), None)

    async def _break_off(self) -> None:
        """Cancel what is under way. It has a moment to end: one that takes no notice goes on."""
        self.broken_off = len(self._under_way)
        for task in self._under_way:
            task.cancel()
        if self._under_way:
            await asyncio.wait(self._under_way, timeout=CANCEL_PATIENCE)


async def _started(run: DueRun) -> object:
    join_turn()
    return await run.start()
