"""An event loop without I/O, whose time is virtual, and processes that can die at any await."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Coroutine
from contextlib import suppress
from datetime import timedelta
from typing import Any, TypeVar

_T = TypeVar("_T")

# Tasks after so many of which those that are done are let go.
_KEPT = 128
# Name of the tasks that nothing but the end of their process ends.
PROTECTED = "protected"

_process: contextvars.ContextVar[Process | None] = contextvars.ContextVar("process", default=None)


class Process:
    """Whatever runs on the loop on behalf of one process, and ends with it.

    Args:
        dies_at: Which of its steps is not carried out any more, nor any that follows; None: it does
            not die by itself. A step is what happens between two awaits.
        skew: How much its clock is ahead of the storage's.
        randomness: Gives it random bytes; None: they come from where those of all others do.

    Attributes:
        dead: Whether it has died.
        died: Set when it has.
        cancels: Asked for each task that it makes: after how many turns of the loop to cancel it;
            None: not at all.
    """

    def __init__(
        self,
        dies_at: int | None = None,
        skew: timedelta = timedelta(),
        randomness: Callable[[int], bytes] | None = None,
    ) -> None:
        self.dead = False
        self.died = asyncio.Event()
        self.cancels: Callable[[], int | None] = lambda: None
        self.skew = skew
        self.randomness = randomness
        self._steps = 0
        self._dies_at = dies_at

    def kill(self) -> None:
        self.dead = True
        self.died.set()

    def step(self, callback: Callable[..., object], *args: object) -> None:
        self._steps += 1
        if self._steps == self._dies_at:
            self.kill()
        if not self.dead:
            callback(*args)

    def spawn(self, work: Coroutine[Any, Any, _T]) -> asyncio.Task[_T]:
        """Start a task that belongs to this process, and so do those that it starts."""
        context = contextvars.copy_context()
        context.run(_process.set, self)
        return asyncio.get_running_loop().create_task(work, name=PROTECTED, context=context)

    def made(self, task: asyncio.Task[Any]) -> None:
        """Cancel a task that was just made, now or later, if it is to be."""
        turns = None if task.get_name() == PROTECTED else self.cancels()
        if turns is not None:
            _cancel_in(turns, task)


def _cancel_in(turns: int, task: asyncio.Task[Any]) -> None:
    if not turns:
        task.cancel()
    elif not task.done():
        asyncio.get_running_loop().call_soon(_cancel_in, turns - 1, task)


def current() -> Process | None:
    """Return the process on whose behalf this runs."""
    return _process.get()


class StuckError(Exception):
    """Everything waits for something that nobody is going to do."""


class _NoIO:
    """Waits by making time go on."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop

    def select(self, timeout: float | None) -> list[object]:
        if self._loop.fault is not None:
            raise self._loop.fault
        if timeout is None:
            raise StuckError
        self._loop.now += timeout
        return []


class VirtualLoop(asyncio.BaseEventLoop):
    """Runs what is ready in the order in which it became so, and skips the time in between.

    Attributes:
        now: Seconds since it began.
        fault: What a callback has raised: a bug of the simulation's own.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self._selector = _NoIO(self)
        self._clock_resolution = 1e-9
        self.fault: BaseException | None = None
        self.set_exception_handler(self._note_fault)

    def time(self) -> float:
        return self.now

    def call_soon(  # type: ignore[override]  # as loose as the calls that it passes on
        self,
        callback: Callable[..., Any],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> asyncio.Handle:
        return super().call_soon(*_owned(callback, args, context), context=context)

    def call_at(  # type: ignore[override]  # as above
        self,
        when: float,
        callback: Callable[..., Any],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        return super().call_at(when, *_owned(callback, args, context), context=context)

    def create_task(self, coro: Any, **options: Any) -> asyncio.Task[Any]:
        task: asyncio.Task[Any] = super().create_task(coro, **options)
        context = options.get("context")
        process = _process.get() if context is None else context.get(_process)
        if process is not None:
            process.made(task)
        return task

    def _note_fault(self, _: object, context: dict[str, Any]) -> None:
        self.fault = self.fault or context.get("exception")  # there is none where a task was killed

    def _process_events(self, _: object) -> None: ...

    def _write_to_self(self) -> None: ...


def run(work: Coroutine[Any, Any, None]) -> None:
    """Run to the end on a loop of its own, and clear away what dead processes have left."""
    loop = VirtualLoop()
    tasks: list[asyncio.Task[Any]] = []

    def note(on: asyncio.AbstractEventLoop, work: Any, **options: Any) -> asyncio.Task[Any]:
        task: asyncio.Task[Any] = asyncio.Task(work, loop=on, **options)
        tasks.append(task)
        if len(tasks) > _KEPT and not len(tasks) % _KEPT:
            tasks[:] = [kept for kept in tasks if not kept.done()]
        return task

    loop.set_task_factory(note)
    try:
        loop.run_until_complete(work)
    finally:
        for task in tasks:
            if not task.done():
                task._log_destroy_pending = False  # type: ignore[attr-defined]  # it was killed
                _close(task.get_coro())
        loop.close()


def _close(work: Any) -> None:
    # It awaits something on its way out, and nobody is there; or resets another context's variable.
    with suppress(RuntimeError, ValueError):
        work.close()


def _owned(
    callback: Callable[..., Any], args: tuple[Any, ...], context: contextvars.Context | None
) -> tuple[Any, ...]:
    if context is None:  # an empty one is false
        context = contextvars.copy_context()
    process = context.get(_process)
    return (callback, *args) if process is None else (process.step, callback, *args)
