"""Order the end of a bot that `run_polling` or `run_webhook` runs: save first, then stop.

PTB does one thing after the other when a bot ends, and saves last. Whatever raises before that,
a second stop signal included, skips the save. Here the first signal begins with a save, and the
second ends the process, having said what is unsaved.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager

# Exit status of a process whose end was broken off by a second stop signal.
BROKEN_OFF = 1


class ShutdownSequence:
    """State machine of one bot's end: running, saving, stopping, or broken off.

    Args:
        save: Saves everything; does not raise.

    Attributes:
        begun: Whether the end has begun, by a signal or by `Application.stop_running`.
    """

    def __init__(self, save: Callable[[], Coroutine[object, object, None]]) -> None:
        self.begun = False
        self._save = save
        self._signals = 0
        self._saving: asyncio.Task[None] | None = None
        self._under_way = False

    @property
    def is_broken_off(self) -> bool:
        """Return whether a second stop signal has come."""
        return self._signals > 1

    def on_signal(self) -> None:
        """Begin the end at the first stop signal, and break it off at the second.

        Raises:
            SystemExit: It is the second.
        """
        self._signals += 1
        if self.is_broken_off:
            # Raised twice: while it still polls, PTB takes one for the beginning of an orderly end.
            asyncio.get_running_loop().call_soon(_exit, BROKEN_OFF)
            _exit(BROKEN_OFF)
        if not (self.begun or self._under_way):
            self.begin(_exit)

    def begin(self, leave: Callable[[], None]) -> None:
        """Save in the background, then have PTB stop, unless it is stopping by then.

        Args:
            leave: Ends the event loop's `run_forever`, after which PTB stops the application.
        """
        self.begun = True

        def saved(_: object) -> None:
            if not self._under_way:
                leave()

        self._saving = asyncio.create_task(self._save())
        self._saving.add_done_callback(saved)

    @contextmanager
    def under_way(self) -> Iterator[None]:
        """Note, within the body of a `with`, that PTB is stopping: the loop must not be left."""
        before, self._under_way = self._under_way, True
        try:
            yield
        finally:
            self._under_way = before


def _exit(status: int | None = None) -> None:
    raise SystemExit(status)
