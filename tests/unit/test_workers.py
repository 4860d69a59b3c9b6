"""Threads of the engine's own."""

from __future__ import annotations

import asyncio
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.support import make_persistence, settled, state_of

from ptb_s3._storage.memory import MemoryStore
from ptb_s3._storage.threads import Worker

_IN_A_THREAD = Worker.__call__  # which the other unit tests do without


@pytest.fixture(autouse=True)
def _threads(monkeypatch: pytest.MonkeyPatch, _no_threads: None) -> None:
    monkeypatch.setattr(Worker, "__call__", _IN_A_THREAD)


async def test_a_bot_that_fills_asyncios_executor_is_saved_all_the_same() -> None:
    """Commits, blobs and a start wait for no job of the bot's own."""
    release, loop = threading.Event(), asyncio.get_running_loop()
    executor = ThreadPoolExecutor(1)
    loop.set_default_executor(executor)
    jobs = [loop.run_in_executor(None, release.wait) for _ in range(3)]
    try:
        store = MemoryStore()
        async with asyncio.timeout(20):
            persistence = make_persistence(store)
            await state_of(persistence)
            await persistence.update_user_data(1, {"a": 1})
            await settled(persistence)
            await persistence.flush()
            assert await make_persistence(store).get_user_data() == {1: {"a": 1}}
    finally:
        release.set()
        await asyncio.gather(*jobs)


async def test_a_commit_does_not_wait_for_a_blob() -> None:
    """They have a thread each."""
    persistence = make_persistence(MemoryStore())
    await state_of(persistence)
    release = threading.Event()
    _, blobs = persistence._loader.workers
    writing = asyncio.create_task(blobs(release.wait))
    try:
        async with asyncio.timeout(20):
            await persistence.update_user_data(1, {"a": 1})
    finally:
        release.set()
        await writing
    await settled(persistence)


async def test_work_is_done_in_one_thread_and_in_turn() -> None:
    """So what is handed over later sees what was done before."""
    worker, log = Worker("one"), list[tuple[int, int]]()
    await asyncio.gather(
        *(worker(lambda n=n: log.append((n, threading.get_ident()))) for n in range(5))  # type: ignore[misc]  # n is bound
    )
    assert [number for number, _ in log] == list(range(5))
    assert len({thread for _, thread in log}) == 1
    assert log[0][1] != threading.get_ident()


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_has_a_thread_of_its_own() -> None:
    """Its parent's did not come along, and it would wait for it for ever."""
    worker = Worker("forked")
    asyncio.run(worker(int))

    async def in_child() -> int:
        async with asyncio.timeout(20):
            return await worker(os.getpid)

    child = os.fork()
    if child == 0:
        status = 1
        try:
            status = 0 if asyncio.run(in_child()) == os.getpid() else 2
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
