"""Bounded concurrency: ask the storage about many versions, a few requests at a time."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from typing import TypeVar

# Requests under way at once for small answers (headers, locks). One after the other, a thousand
# headers would take a minute at 60 ms each.
WIDTH = 16

_T = TypeVar("_T")
_R = TypeVar("_R")


async def pipelined(
    items: Iterable[_T], work: Callable[[_T], Awaitable[_R]], width: int = WIDTH
) -> AsyncGenerator[_R, None]:
    """Run the work for each item, at most `width` at once, and yield the results in order.

    Close the generator (`contextlib.aclosing`) where it may be left early: that cancels the work
    under way, which would go on behind the caller's back otherwise.

    Args:
        items: The input, taken no faster than the work proceeds.
        work: Called with each item.
        width: How many are under way at once.

    Raises:
        BaseException: The first one of the work, in the order of items.
    """
    tasks: deque[asyncio.Future[_R]] = deque()
    try:
        for item in items:
            tasks.append(asyncio.ensure_future(work(item)))
            if len(tasks) >= width:
                yield await tasks.popleft()
        while tasks:
            yield await tasks.popleft()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
