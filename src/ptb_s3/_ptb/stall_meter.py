"""Measure for how long a commit holds the event loop in one go.

A task runs on the event loop in steps, each from one `await` that waits to the next. While a step
runs, no other task does: no update is processed, no reply is sent.

    commit    [ step ]........[ step ][ step ].............[ step ]
    loop      held     free   held    held     free        held      longest step: the stall

What the commit waits for (the network, its worker threads, its turn) is no stall.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator
from time import perf_counter
from typing import Any, Generic, TypeVar

from ptb_s3._engine.stats import Stats

_T = TypeVar("_T")


class StallMeter:
    """Stopwatch around each step of a commit, the longest of which is kept in `Stats`.

    Two readings of the clock a step, less than a microsecond, are all that it costs. A commit takes
    some dozens of steps.

    Args:
        counters: Takes the longest step, in seconds, as `longest_stall`.
        clock: Returns seconds of a clock that never goes back. Not the event loop's, which has a
            resolution of 15 ms on Windows.
    """

    def __init__(self, counters: Stats, clock: Callable[[], float] = perf_counter) -> None:
        self._counters = counters
        self._clock = clock

    async def metered(self, work: Coroutine[Any, Any, _T]) -> _T:
        """Await a part of a commit, and note the longest of its steps.

        Args:
            work: Coroutine that does the part. Make it in the very expression that awaits this
                method: a task that is cancelled before its first step would leave it unawaited.

        Returns:
            Result of the coroutine. What it raises is passed on, and so is a cancellation.
        """
        return await _Steps(work, self._clock, self._note)

    def _note(self, seconds: float) -> None:
        self._counters.longest_stall = max(self._counters.longest_stall, seconds)


class _Steps(Generic[_T]):
    """Awaitable around a coroutine that hands each step on unchanged, and reports its duration.

    Args:
        work: Coroutine to run.
        clock: Returns seconds.
        note: Takes the seconds of each step.
    """

    def __init__(
        self,
        work: Coroutine[Any, Any, _T],
        clock: Callable[[], float],
        note: Callable[[float], None],
    ) -> None:
        self._work = work
        self._clock = clock
        self._note = note

    def __await__(self) -> Generator[Any, Any, _T]:
        resume: Callable[[Any], Any] = self._work.send
        given: object = None  # what the loop sends, or the exception that it throws, as on a cancel
        while True:
            begun = self._clock()
            try:
                waited_for = resume(given)
            except StopIteration as end:
                result: _T = end.value
                return result
            finally:
                self._note(self._clock() - begun)
            try:
                given, resume = (yield waited_for), self._work.send
            except GeneratorExit:  # the loop is gone: nothing can be awaited any more
                self._work.close()
                raise
            except BaseException as thrown:  # noqa: BLE001 - the coroutine's, to deal with
                given, resume = thrown, self._work.throw
