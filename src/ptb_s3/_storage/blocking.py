"""Requests for code that cannot await: it blocks until a thread of their own has the answer.

The thread has an event loop and a client of its own, and takes no lock of the caller's: the event
loop that is blocked may be in the middle of a commit, whose client waits for that very loop.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from time import monotonic
from typing import Protocol, TypeVar

from ptb_s3._storage.contract import Store
from ptb_s3.errors import StorageUnavailableError

PATIENCE = 30.0
"""Seconds that code is blocked for at most (DESIGN, section 14)."""
FROZEN = 5.0
"""Seconds by which time is up too late if the process was frozen in it, as by `docker pause`."""

_T = TypeVar("_T")


class Blocking(Protocol):
    """Runner of requests for code that cannot await."""

    def __call__(self, ask: Callable[[Store], Awaitable[_T]]) -> _T:
        """Call a function with a store of the same place, and return what it gives.

        Raises:
            StorageUnavailableError: There was no answer in time.
            PersistenceError: As the store raises it.
        """
        ...


class BlockingStore:
    """Store behind a thread of its own, which is begun with the first request.

    Args:
        twin: Makes a store of the same place for that thread.
    """

    def __init__(self, twin: Callable[[], Store]) -> None:
        self._twin = twin
        self._store: Store | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._process = os.getpid()
        self._beginning = threading.Lock()
        self._of_parent: Store | None = None

    def __call__(self, ask: Callable[[Store], Awaitable[_T]]) -> _T:
        """See `Blocking`."""
        loop, store = self._begun()

        async def answer() -> _T:
            return await ask(store)

        asked = asyncio.run_coroutine_threadsafe(answer(), loop)
        try:
            return _result(asked)
        except TimeoutError:
            asked.cancel()
            raise StorageUnavailableError(
                f"The storage did not answer for {PATIENCE:.0f} s, in which the event loop was "
                "blocked: data was asked for that is not loaded. Prefetch it: `await "
                "application.prefetch(users=..., chats=...)`."
            ) from None

    def close(self) -> None:
        """Release connections and the thread. A later request begins another one."""
        loop, store = self._loop, self._store
        self._loop = self._store = None
        if loop is None or store is None or self._process != os.getpid():
            return

        async def end() -> None:
            await store.close()
            loop.call_soon(loop.stop)

        asyncio.run_coroutine_threadsafe(end(), loop)

    def _begun(self) -> tuple[asyncio.AbstractEventLoop, Store]:
        if self._process != os.getpid():
            self._forget_parent()
        with self._beginning:
            if self._loop is None or self._store is None:
                self._loop, self._store = asyncio.new_event_loop(), self._twin()
                threading.Thread(
                    target=_run, args=(self._loop,), name="ptb-s3-blocking", daemon=True
                ).start()
            return self._loop, self._store

    def _forget_parent(self) -> None:
        """Begin anew in a forked process, which the thread has not survived.

        The store is kept: the connections are the parent's, and are not to be closed here by
        whoever collects it.
        """
        self._of_parent, self._store, self._loop = self._store, None, None
        self._beginning = threading.Lock()  # a thread of the parent's may have held it
        self._process = os.getpid()


def _result(asked: Future[_T]) -> _T:
    """Wait for an answer, and once more if the process was frozen meanwhile.

    Raises:
        TimeoutError: There was none in time.
    """
    began = monotonic()
    try:
        return asked.result(PATIENCE)
    except TimeoutError:
        if asked.done() or monotonic() < began + PATIENCE + FROZEN:
            raise
    return asked.result(PATIENCE)


def _run(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
    finally:
        loop.close()
