"""Locks and tasks that outlive an event loop, as with `asyncio.run` for each invocation.

A serverless host runs each update in a loop of its own. An asyncio primitive belongs to one loop: a
lock that a task has waited for refuses every other loop, and a task of a loop that was closed is
never done.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

_T = TypeVar("_T")


class LoopLock:
    """Mutex among the tasks of whichever event loop runs: one `asyncio.Lock` for each loop.

    Invariant: a lock that a loop held when it was closed is free for the next loop.
    """

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lock = asyncio.Lock()

    def here(self) -> asyncio.Lock:
        """Return the running loop's lock: ``async with lock.here(): …``.

        A caller releases the very lock that it has acquired, and asks for no other meanwhile. So a
        task that a closed loop left behind releases its own lock, whenever the garbage collector
        ends it, and not the one that is held by then.
        """
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            self._loop, self._lock = loop, asyncio.Lock()
        return self._lock


class SingleFlight(Generic[_T]):
    """Single flight: callers that come while a run is under way share it, and its result.

    A caller that is cancelled stops waiting, and the run goes on for those that come later. Where
    all have been cancelled, the next caller gives the run `patience` seconds more and then begins
    another: a run that hangs is not to keep every caller.

    Args:
        patience: Seconds that a run has to end for the first caller after all were cancelled.

    Attributes:
        waiting: Number of callers that wait.
    """

    def __init__(self, patience: float = 5.0) -> None:
        self.waiting = 0
        self._patience = patience
        self._run: asyncio.Task[_T] | None = None

    @property
    def under_way(self) -> bool:
        """Return whether there is a run that has not ended."""
        return running(self._run) is not None

    async def __call__(self, begin: Callable[[], Coroutine[Any, Any, _T]]) -> _T:
        """Wait for the run that is under way or, if there is none, for one that begins now.

        Args:
            begin: Makes the coroutine of a run.

        Returns:
            The run's result; what it raised is raised.
        """
        run, given_up = running(self._run), not self.waiting
        self.waiting += 1
        try:
            if run is not None and given_up:
                await asyncio.wait([run], timeout=self._patience)
                run.cancel()
            while True:
                run = run or running(self._run) or self._begin(begin)
                await asyncio.wait([run])  # unlike `await run`, it is not cancelled with us
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
            self._run = None  # or its result, or the locals of its failure, would stay in memory
        if not run.cancelled():
            run.exception()  # retrieved, or asyncio logs it where all callers were cancelled


def running(task: asyncio.Task[_T] | None) -> asyncio.Task[_T] | None:
    """Return a task that is under way on the running loop.

    None where it is done, or of another loop.
    """
    here = task is not None and task.get_loop() is asyncio.get_running_loop()
    return task if here and task is not None and not task.done() else None
