"""Threads of our own for slow work, since asyncio's default executor is the bot's.

A bot whose handlers fill that executor with blocking calls would otherwise keep its own state from
being saved.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import ParamSpec, Protocol, TypeVar

_P = ParamSpec("_P")
_R = TypeVar("_R")


class Offload(Protocol):
    """Runner of slow work off the event loop: a `Worker`, or `asyncio.to_thread`."""

    def __call__(
        self, work: Callable[_P, _R], /, *args: _P.args, **kwargs: _P.kwargs
    ) -> Awaitable[_R]:
        """Run `work` and return its result."""
        ...


class Worker:
    """Single background thread, created on first use and again in a forked child.

    A thread does not survive a fork, so a child that went on with its parent's executor would wait
    for ever.

    Args:
        name: Prefix of the thread's name, for debuggers.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._executor: ThreadPoolExecutor | None = None
        self._process: int | None = None

    async def __call__(self, work: Callable[_P, _R], /, *args: _P.args, **kwargs: _P.kwargs) -> _R:
        """Run `work` in the thread, after all earlier work, and return its result."""
        if self._executor is None or self._process != os.getpid():
            self._executor = ThreadPoolExecutor(1, thread_name_prefix=self._name)
            self._process = os.getpid()
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, partial(work, *args, **kwargs))
