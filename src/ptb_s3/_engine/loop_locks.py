"""Locks and tasks that outlive an event loop, as with `asyncio.run` for each invocation.

What asyncio gives belongs to one loop. A lock that somebody has waited for refuses every other one,
and a task of a loop that was closed is never done.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

_T = TypeVar("_T")


class LoopLock:
    """Mutex among the tasks of whichever event loop runs: one `asyncio.Lock` for each loop.

    Whatever a loop held when it was closed is free for the next one.
    """

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lock = asyncio.Lock()

    def here(self) -> asyncio.Lock:
        """Return the running loop's lock: ``async with lock.here(): …``.

        The caller keeps it for as long as it holds it. So a task that a closed loop left behind
        releases its own lock, whenever it is collected, and not the one that is held by then.
        """
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            self._loop, self._lock = loop, asyncio.Lock()
        return self._lock


class SingleFlight(Generic[_T]):
    """Single flight: whoever asks while a run is under way waits for that one.

    A caller that is cancelled gives up waiting, and the run goes on for those who come later. Where
    they all have given up, the next one waits a while longer, and then begins anew: what hangs is
    not to keep everybody.

    Args:
        patience: Seconds that a run has to end for the first who comes after all have given up.

    Attributes:
        waiting: How many wait for a run.
    """

    def __init__(self, patience: float = 5.0) -> None:
        self.waiting = 0
        self._patience = patience
        self._run: asyncio.Task[_T] | None = None

    @property
    def under_way(self) -> bool:
        """Whether there is a run that has not ended."""
        return running(self._run) is not None

    async def __call__(self, begin: Callable[[], Coroutine[Any, Any, _T]]) -> _T:
        """Wait for the run that is under way or, if there is none, for one that begins now."""
        run, given_up = running(self._run), not self.waiting
        self.waiting += 1
        try:
            if run is not None and given_up:
                await asyncio.wait([run], timeout=self._patience)
                run.cancel()
            while True:
                run = run or running(self._run) or self._begin(begin)
                await asyncio.wait([run])  # which leaves it alone if we are cancelled
                if not run.cancelled():
                    return run.result()
                run = None
        finally:
            self.waiting -= 1

    def _begin(self, begin: Callable[[], Coroutine[Any, Any, _T]]) -> asyncio.Task[_T]:
        run = self._run = asyncio.create_task(begin())
        run.add_done_callback(self._forget)
        return run

    def _forget(self, run: asyncio.Task[_T]) -> None:
        if self._run is run:
            self._run = None  # or what it returned, or the locals of its failure, would stay
        if not run.cancelled():
            run.exception()  # seen, even if everybody has given up


def running(task: asyncio.Task[_T] | None) -> asyncio.Task[_T] | None:
    """Return a task that is under way on the running loop; None where it is done, or of another."""
    here = task is not None and task.get_loop() is asyncio.get_running_loop()
    return task if here and task is not None and not task.done() else None
