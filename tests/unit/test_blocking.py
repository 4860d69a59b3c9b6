"""Requests of code that cannot await: they come back, in time or with an error, on any loop."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from ptb_s3._storage import blocking
from ptb_s3._storage.blocking import BlockingStore
from ptb_s3._storage.memory import MemoryStore
from ptb_s3.errors import StorageUnavailableError


class Closing(MemoryStore):
    """Notes when it is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.closed = threading.Event()

    async def close(self) -> None:
        self.closed.set()


async def loop_of(_: Any) -> asyncio.AbstractEventLoop:
    return asyncio.get_running_loop()


async def test_the_answer_comes_from_a_loop_of_its_own() -> None:
    """Each time from the same one: there are connections to keep."""
    store = Closing()
    asking = BlockingStore(lambda: store)
    first, second = asking(loop_of), asking(loop_of)
    assert first is second is not asyncio.get_running_loop()
    asking.close()
    assert store.closed.wait(5)
    assert asking(loop_of) is not first, "after a close, it begins anew"
    asking.close()


async def test_an_error_of_the_storage_is_raised_as_it_is() -> None:
    """As code that awaits would get it."""

    async def fail(_: Any) -> None:
        raise StorageUnavailableError("no answer")

    asking = BlockingStore(MemoryStore)
    with pytest.raises(StorageUnavailableError, match="no answer"):
        asking(fail)
    asking.close()


async def test_no_answer_in_time_is_an_error_that_names_the_better_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The event loop is not blocked for ever, and the request is given up."""
    monkeypatch.setattr(blocking, "PATIENCE", 0.05)
    given_up = threading.Event()

    async def hang(_: Any) -> None:
        try:
            await asyncio.sleep(60)
        finally:
            given_up.set()

    asking = BlockingStore(MemoryStore)
    with pytest.raises(StorageUnavailableError, match=r"application\.prefetch"):
        asking(hang)
    assert given_up.wait(5)
    asking.close()


def test_a_process_that_was_frozen_waits_once_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its time is up when it goes on, and nobody has asked the storage meanwhile."""
    monkeypatch.setattr(blocking, "PATIENCE", 0.05)
    moments = iter([0.0, 3600.0])
    monkeypatch.setattr(blocking, "monotonic", lambda: next(moments))
    answered = threading.Event()

    async def answer(_: Any) -> str:
        await asyncio.sleep(0.07)
        answered.set()
        return "answer"

    asking = BlockingStore(MemoryStore)
    assert asking(answer) == "answer"
    assert answered.is_set()
    asking.close()


def test_threads_that_begin_at_once_share_one() -> None:
    """Or there would be a thread and a client for each, which nobody ends."""
    made: list[MemoryStore] = []
    together = threading.Barrier(8)

    def twin() -> MemoryStore:
        time.sleep(0.01)
        made.append(MemoryStore())
        return made[-1]

    asking = BlockingStore(twin)

    def ask(_: int) -> object:
        together.wait(5)
        return asking(loop_of)

    with ThreadPoolExecutor(8) as threads:
        assert len(set(threads.map(ask, range(8)))) == 1
    assert len(made) == 1
    asking.close()


def test_a_forked_child_has_a_thread_of_its_own() -> None:
    """The parent's does not survive the fork."""
    asking = BlockingStore(MemoryStore)
    asking(loop_of)
    child = os.fork()
    if child == 0:
        try:
            asking(loop_of)
        except BaseException:  # noqa: BLE001 - whatever it is, it must not go on as a second pytest
            os._exit(1)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    asking.close()
