"""How long the event loop is held up, and what of that is none of a persistence's doing."""

from __future__ import annotations

import asyncio
import copy
import gc
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Self
from unittest import mock

from ptb_s3._values.plain_copies import deep_copy

_PERIOD = 0.001
_OLDEST = 2  # generation: a pass over it is a full one


class Others:
    """Times what holds up the loop in an interval, whatever the persistence.

    These are deep copies, by PTB or a `PersistentApplication`, and full passes of Python's
    collector: it makes one for every so many new objects, of which the copies are most, and walks
    through all users' data.

    Attributes:
        copies: Seconds of deep copies so far, with the collector's passes during these.
        passes: Seconds of full passes at other times.
        cpu: Seconds of CPU time of both, copies and passes.
        collecting: Whether one is being made.
    """

    collecting = False

    def __init__(self) -> None:
        self.copies = self.passes = self.cpu = 0.0
        self._copying = False
        self._begun = self._cpu_begun = 0.0

    @property
    def seconds(self) -> float:
        """Seconds of both so far."""
        return self.copies + self.passes

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Time them meanwhile."""
        gc.callbacks.append(self._collect)
        try:
            with (
                mock.patch("telegram.ext._application.deepcopy", self._timed(copy.deepcopy)),
                mock.patch("ptb_s3._ptb.copies.deep_copy", self._timed(deep_copy)),
            ):
                yield
        finally:
            gc.callbacks.remove(self._collect)

    def _timed(self, copy_deeply: Callable[[object], object]) -> Callable[[object], object]:
        def copied(value: object) -> object:
            begun, cpu = time.perf_counter(), time.thread_time()
            self._copying = True
            try:
                return copy_deeply(value)
            finally:
                self._copying = False
                self.cpu += time.thread_time() - cpu  # takes a while, and is none of the loop's
                self.copies += time.perf_counter() - begun

        return copied

    def _collect(self, phase: str, details: dict[str, int]) -> None:
        if details["generation"] < _OLDEST:
            return
        if phase == "start":
            self.collecting = True
            self._begun, self._cpu_begun = time.perf_counter(), time.thread_time()
            return
        taken = time.perf_counter() - self._begun
        if not self._copying:
            self.passes += taken
            self.cpu += time.thread_time() - self._cpu_begun
        self.collecting = False


class Watch:
    """Measures how late a timer of 1 ms fires: so long, an update that arrives has to wait.

    Attributes:
        longest: The longest delay, in seconds, without what others did meanwhile.
    """

    def __init__(self, others: Others) -> None:
        self.longest = 0.0
        self._others = others
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._tick())
        await asyncio.sleep(3 * _PERIOD)
        self.longest = 0.0
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.sleep(3 * _PERIOD)  # the last delay counts, too
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _tick(self) -> None:
        while True:
            others, begun = self._others.seconds, time.perf_counter()
            await asyncio.sleep(_PERIOD)
            late = time.perf_counter() - begun - _PERIOD
            # In another thread, which is about to say how long it took, and needs the GIL for it.
            while self._others.collecting:  # noqa: ASYNC110 - for microseconds, and no loop is there
                await asyncio.sleep(0)
            self.longest = max(self.longest, late - (self._others.seconds - others))
