"""Know which tasks have the turn of a host, so that none of them waits for its own.

The turn is a lock, which a task that asks for it twice would wait for without end: `committed` in a
handler of `deliver`, for one. A task that a handler has made by itself is not awaited by whoever
has the turn, and may wait for a turn of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from ptb_s3._ptb.application_state import App, tasks


class _Turn:
    """Turn of a host, and the tasks that are awaited in it."""

    def __init__(self) -> None:
        self.open = True
        self.tasks = {asyncio.current_task()}


_TURNS: ContextVar[dict[object, _Turn]] = ContextVar("ptb_s3_turns")


@contextmanager
def turn_of(host: object) -> Iterator[None]:
    """Note that the running task has the turn of a host, which is locked."""
    before, turn = _TURNS.get({}), _Turn()
    _TURNS.set({**before, host: turn})
    try:
        yield
    finally:
        turn.open = False  # tasks that it has made and that go on do not have it any more
        _TURNS.set(before)  # not reset(): a loop that is gone ends this in another context


def join_turn() -> None:
    """Note that the running task is awaited by the one that has made it, and that has a turn."""
    for turn in _TURNS.get({}).values():
        turn.tasks.add(asyncio.current_task())


def has_turn(host: object, application: App) -> bool:
    """Tell whether the running task has the turn of a host, or is awaited by the one that has it.

    Args:
        host: The host.
        application: Its application, whose own tasks are awaited as well.
    """
    turn = _TURNS.get({}).get(host)
    if turn is None or not turn.open:
        return False
    task = asyncio.current_task()
    return task in turn.tasks or task in tasks(application)
