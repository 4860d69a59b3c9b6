"""How long a stop of the bot may take, all told.

PTB saves by ``update_*`` before it flushes, and waits for a commit that is under way before either.
Each of the three could wait for a silent storage until its own time is up; the host kills sooner.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from telegram.ext import Application

from ptb_s3._ptb.internals import is_left_with_saving

# Seconds between two looks at the application, while a commit is under way.
LOOK = 0.1

_App = Application[Any, Any, Any, Any, Any, Any]


class Stop:
    """Deadline of the stop that is under way, shared by all that is done in it.

    Args:
        seconds: Returns how long a stop may take.
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

    @property
    def application(self) -> _App | None:
        """The application that saves, as far as it is known."""
        return None if self._application is None else self._application()

    @application.setter
    def application(self, application: _App) -> None:
        if self.application is not application:
            self._application, self._ran = weakref.ref(application), False

    def look(self, *, begins: bool = False) -> float | None:
        """Return when the stop is to be over, on the loop's clock; None while none is under way.

        The first look that finds one under way begins its time.

        Args:
            begins: Whether the caller knows of one that begins now.
        """
        now, seconds = asyncio.get_running_loop().time(), self._seconds()
        if self._deadline is not None and now > self._deadline + seconds:
            self._deadline = None  # of a stop that was given up: whoever saves now, begins another
        if self._deadline is None and (begins or self._is_shut_down() or self._is_awaited()):
            self._deadline = now + seconds
        return self._deadline

    def _is_awaited(self) -> bool:
        """Tell whether the application has done all else that it does when it is stopped."""
        application = self.application
        if application is None:
            return False
        self._ran = self._ran or application.running
        return self._ran and is_left_with_saving(application)

    @asynccontextmanager
    async def bound(self) -> AsyncIterator[None]:
        """Bound what is done within, by the deadline of a stop that begins meanwhile as well.

        Raises:
            TimeoutError: The time is up.
        """
        loop, timer = asyncio.get_running_loop(), None

        def look() -> None:
            nonlocal timer
            if (deadline := self.look()) is not None:
                limit.reschedule(deadline)
            elif self._ran:  # else nobody could stop
                timer = loop.call_later(LOOK, look)

        async with asyncio.timeout(None) as limit:
            look()
            try:
                yield
            finally:
                if timer is not None:
                    timer.cancel()
        self.relax()

    def relax(self) -> None:
        """Note that nothing waits for the storage: the rest of the stop has all of its time."""
        if not self._is_shut_down():
            self._deadline = None

    def end(self) -> None:
        """Note that the stop is over, well or not."""
        self._deadline, self._ran = None, False
