"""Locks and single flights that outlive an event loop."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest

from ptb_s3._engine.loop_locks import LoopLock, SingleFlight, running

# One lock for each loop ---------------------------------------------------------------------------


async def _in_turn(lock: LoopLock, log: list[str]) -> None:
    async def hold(name: str) -> None:
        async with lock.here():
            log.append(f"{name} in")
            await asyncio.sleep(0)
            log.append(f"{name} out")

    await asyncio.gather(hold("a"), hold("b"))


def test_a_lock_is_contended_on_one_loop_after_another() -> None:
    """On each, one task waits for the other; `asyncio.Lock` refuses the second loop."""
    lock, log = LoopLock(), list[str]()
    for _ in range(3):
        asyncio.run(_in_turn(lock, log))
    assert log == ["a in", "a out", "b in", "b out"] * 3
    own = asyncio.Lock()

    class Own(LoopLock):
        def here(self) -> asyncio.Lock:
            return own

    asyncio.run(_in_turn(Own(), log))
    with pytest.raises(RuntimeError, match="bound to a different event loop"):
        asyncio.run(_in_turn(Own(), log))


def test_what_a_closed_loop_held_is_free() -> None:
    """A task that its loop left behind holds nobody up, and releases nobody else's lock."""
    lock = LoopLock()

    async def hold_for_ever() -> None:
        async with lock.here():
            await asyncio.Event().wait()

    loop = asyncio.new_event_loop()
    left = loop.create_task(hold_for_ever())
    left._log_destroy_pending = False  # type: ignore[attr-defined]  # that is the test
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()

    async def another() -> None:
        nonlocal left
        async with lock.here():
            del left
            gc.collect()  # the task goes, and with it what it held
            assert lock.here().locked()
        assert not lock.here().locked()

    asyncio.run(another())


def test_a_task_of_another_loop_is_not_under_way() -> None:
    """It is never done, and to wait for it would be to wait for ever."""
    loop = asyncio.new_event_loop()
    task = loop.create_task(asyncio.sleep(0))

    async def look() -> Any:
        own = asyncio.current_task()
        return running(task), running(None), running(own) is own

    assert asyncio.run(look()) == (None, None, True)
    assert loop.run_until_complete(task) is None
    loop.close()


# Single flight ------------------------------------------------------------------------------------


class Runs:
    """Counts the runs that began; each waits until it is let go on."""

    def __init__(self) -> None:
        self.begun = 0
        self.cancelled = 0
        self.gate = asyncio.Event()
        self.again = asyncio.Event()

    async def __call__(self) -> int:
        self.begun += 1
        number = self.begun
        if number > 1:
            self.again.set()
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return number


async def test_whoever_asks_meanwhile_waits_for_the_same_run() -> None:
    """One run, one result, and all of them go on in the same tick."""
    runs, joined = Runs(), SingleFlight[int]()
    calls = [asyncio.create_task(joined(runs)) for _ in range(3)]
    await asyncio.sleep(0)
    assert (joined.waiting, joined.under_way) == (3, True)
    runs.gate.set()
    await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
    assert [call.result() for call in calls] == [1, 1, 1]
    assert (joined.waiting, joined.under_way) == (0, False)
    assert await joined(runs) == 2


async def test_a_caller_that_gives_up_does_not_throw_the_run_away() -> None:
    """Neither for the others, nor for who comes later."""
    runs, joined = Runs(), SingleFlight[int]()
    first = asyncio.create_task(joined(runs))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.wait([first])
    second = asyncio.create_task(joined(runs))
    await asyncio.sleep(0)
    runs.gate.set()
    assert (await second, runs.begun, runs.cancelled) == (1, 1, 0)


async def test_a_run_that_hangs_is_begun_anew_when_all_have_given_up() -> None:
    """After a while; whoever joined in between gets the new one's result, too."""
    runs, joined = Runs(), SingleFlight[int](patience=0)
    first = asyncio.create_task(joined(runs))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.wait([first])
    later = [asyncio.create_task(joined(runs)) for _ in range(2)]
    await runs.again.wait()
    assert runs.cancelled == 1, "the one that hung is over before another begins"
    runs.gate.set()
    assert await asyncio.gather(*later) == [2, 2]


async def test_a_failure_is_everybodys_and_the_next_one_begins_anew() -> None:
    """Each waiter raises it; and one that nobody waits for leaves no complaint of asyncio's."""
    complaints: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, about: complaints.append(about))
    joined = SingleFlight[int]()

    over = asyncio.Semaphore(0)

    async def fail() -> int:
        await asyncio.sleep(0)
        over.release()
        raise ValueError("no")

    results = await asyncio.gather(joined(fail), joined(fail), return_exceptions=True)
    assert [type(result) for result in results] == [ValueError] * 2
    await over.acquire()
    alone = asyncio.create_task(joined(fail))
    await asyncio.sleep(0)
    alone.cancel()
    await asyncio.wait([alone])
    await over.acquire()
    await asyncio.sleep(0)
    assert not joined.under_way
    gc.collect()
    assert complaints == []
