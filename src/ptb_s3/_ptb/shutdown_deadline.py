"""Share one deadline among all that a shutdown of the bot does.

PTB waits for a commit that is under way, then calls ``update_*`` for the last interval, then
`flush`. Each of the three could wait for a silent storage until its own time is up, and a host
kills the process sooner. So `flush_timeout` bounds them together:

    stop signal      commit under way    update_*    flush
    |--------------------|-------------------|----------|      one deadline
    first check that finds a shutdown                   end

Before it waits for a commit, PTB waits for updates and jobs that are under way. Those of them that
still read what they are about are given up in the first part of that time (`READS`).
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from telegram.ext import Application

from ptb_s3._ptb.application_state import is_left_with_saving

# Seconds between two looks at the application while a commit is under way. PTB has no hook for the
# beginning of a shutdown; a tenth of a second of a timeout of 8 s does not matter.
LOOK = 0.1
READS = 0.5
"""Part of a shutdown's time in which reads under way may end. The rest is the last save's."""

_App = Application[Any, Any, Any, Any, Any, Any]


class ShutdownDeadline:
    """Deadline of the shutdown that is under way, shared by all that is done in it.

    Args:
        seconds: Returns how many seconds a shutdown may take.
        is_shut_down: Tells whether the bot was at work, and is shut down.
    """

    def __init__(
        self, seconds: Callable[[], float] = lambda: 8.0, is_shut_down: Callable[[], bool] = bool
    ) -> None:
        self._seconds = seconds
        self._is_shut_down = is_shut_down
        self._deadline: float | None = None
        self._application: weakref.ref[_App] | None = None
        self._ran = False
        self._reads_until: float | None = None  # on the loop's clock, once the bot's end has begun
        self._reads: set[asyncio.Timeout] = set()

    @property
    def application(self) -> _App | None:
        """Return the application that saves, or None while none is known."""
        return None if self._application is None else self._application()

    @application.setter
    def application(self, application: _App) -> None:
        if self.application is not application:
            self._application, self._ran = weakref.ref(application), False

    def check(self, *, begins: bool = False) -> float | None:
        """Return the deadline on the loop's clock, or None while no shutdown is under way.

        The first check that finds a shutdown begins its time.

        Args:
            begins: Whether the caller knows of a shutdown that begins now.
        """
        now, seconds = asyncio.get_running_loop().time(), self._seconds()
        if self._deadline is not None and now > self._deadline + seconds:
            self._deadline = None  # that shutdown was given up: whoever saves now begins another
        if self._deadline is None and (begins or self._is_shut_down() or self._is_awaited()):
            self._deadline = now + seconds
        if begins and self._reads_until is None:
            self._reads_until = now + seconds * READS
            for limit in self._reads:
                limit.reschedule(self._reads_until)
        return self._deadline

    def _is_awaited(self) -> bool:
        """Tell whether the application has done everything else that a stop consists of."""
        application = self.application
        if application is None:
            return False
        self._ran = self._ran or application.running
        return self._ran and is_left_with_saving(application)

    @asynccontextmanager
    async def bound(self) -> AsyncIterator[None]:
        """Bound the body of a `with` by the deadline, also of a shutdown that begins meanwhile.

        Raises:
            TimeoutError: The deadline has passed.
        """
        loop, timer = asyncio.get_running_loop(), None

        def look() -> None:
            nonlocal timer
            if (deadline := self.check()) is not None:
                limit.reschedule(deadline)
            elif self._ran:  # an application that never ran cannot be stopped
                timer = loop.call_later(LOOK, look)

        async with asyncio.timeout(None) as limit:
            look()
            try:
                yield
            finally:
                if timer is not None:
                    timer.cancel()
        self.relax()

    @asynccontextmanager
    async def bound_reads(self) -> AsyncIterator[None]:
        """Bound reads in the body of a `with` once the bot's end has begun, or begins meanwhile.

        Raises:
            TimeoutError: Their part of the time has passed. The rest of it is the last save's.
        """
        async with asyncio.timeout_at(self._reads_until) as limit:
            self._reads.add(limit)
            try:
                yield
            except asyncio.CancelledError:
                if self._reads_until is not None and limit.expired():
                    self._deadline = self._reads_until + self._seconds() * (1 - READS)
                raise
            finally:
                self._reads.discard(limit)

    def allow_reads(self) -> None:
        """Note that the bot has stopped: whatever reads now has all the time it needs."""
        self._reads_until = None

    def relax(self) -> None:
        """Give the rest of the shutdown all of its time again: the storage has just answered."""
        if not self._is_shut_down():
            self._deadline = None

    def end(self) -> None:
        """Note that the shutdown is over, well or not."""
        self._deadline, self._ran = None, False
        self.allow_reads()
