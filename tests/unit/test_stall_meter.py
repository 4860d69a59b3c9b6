"""The longest stall of a commit is its longest step on the event loop, and nothing else changes."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.support import make_persistence, opened

from ptb_s3 import Stats
from ptb_s3._format.entities import Kind
from ptb_s3._ptb.group_commit import GroupCommit
from ptb_s3._ptb.stall_meter import StallMeter
from ptb_s3._storage.memory import MemoryStore
from ptb_s3.errors import StorageUnavailableError


class Clock:
    """Seconds, which pass as the tests say."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def hold(self, seconds: float) -> None:
        """Work for so long, while nobody else can run."""
        self.now += seconds


class Slow:
    """Value that takes a quarter of a second to serialise."""

    clock = Clock()

    def __reduce__(self) -> Any:
        self.clock.hold(0.25)
        return (Slow, ())


def metering() -> tuple[Clock, Stats, StallMeter]:
    clock, counters = Clock(), Stats()
    return clock, counters, StallMeter(counters, clock)


async def test_the_longest_step_counts_not_their_sum() -> None:
    """Three steps, of which the second is the longest; the last one ends with a result."""
    clock, counters, meter = metering()

    async def work() -> str:
        clock.hold(0.25)
        await asyncio.sleep(0)
        clock.hold(1.5)
        await asyncio.sleep(0)
        clock.hold(0.5)
        return "done"

    assert await meter.metered(work()) == "done"
    assert counters.longest_stall == 1.5


async def test_waiting_is_no_stall() -> None:
    """While a commit waits for the storage, others run, however long that takes."""
    clock, counters, meter = metering()
    answer = asyncio.Event()

    async def work() -> None:
        clock.hold(0.25)
        await answer.wait()
        clock.hold(0.125)

    task = asyncio.create_task(meter.metered(work()))
    await asyncio.sleep(0)
    clock.hold(60)
    answer.set()
    await task
    assert counters.longest_stall == 0.25


async def test_a_shorter_commit_does_not_lower_it() -> None:
    """It is the longest since the persistence was made."""
    clock, counters, meter = metering()

    async def work(seconds: float) -> None:
        clock.hold(seconds)

    for seconds in (0.25, 1.0, 0.5):
        await meter.metered(work(seconds))
    assert counters.longest_stall == 1.0


async def test_the_step_that_fails_counts() -> None:
    """What is raised is passed on."""
    clock, counters, meter = metering()

    async def work() -> None:
        await asyncio.sleep(0)
        clock.hold(0.75)
        raise StorageUnavailableError("down")

    with pytest.raises(StorageUnavailableError, match="down"):
        await meter.metered(work())
    assert counters.longest_stall == 0.75


async def test_a_cancellation_reaches_what_is_metered() -> None:
    """It may clean up, and what it does then counts as well."""
    clock, counters, meter = metering()
    ended = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            clock.hold(0.5)
            await asyncio.sleep(0)
            ended.append("cleaned up")
            raise

    task = asyncio.create_task(meter.metered(work()))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (ended, counters.longest_stall) == (["cleaned up"], 0.5)


async def test_a_timeout_within_it_works_as_without() -> None:
    """`asyncio.timeout` cancels the task that it runs in, and knows its own cancellation again."""
    _, _, meter = metering()

    async def work() -> str:
        try:
            async with asyncio.timeout(0):
                await asyncio.Event().wait()
        except TimeoutError:
            return "timed out"
        return "was not"

    assert await meter.metered(work()) == "timed out"


def test_what_a_closed_loop_leaves_behind_is_closed() -> None:
    """No coroutine is left that nobody awaits, and its clean-up runs."""
    _, _, meter = metering()
    ended = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("closed")

    async def begin() -> Any:
        coroutine = meter.metered(work())
        coroutine.send(None)
        return coroutine

    asyncio.run(begin()).close()
    assert ended == ["closed"]


async def test_a_group_and_a_flush_are_measured() -> None:
    """A value that is slow to serialise shows, and `snapshot` hands it on; a quick one does not."""
    repository = await opened(MemoryStore())
    persistence = make_persistence(MemoryStore(), trusted={__name__})
    meter = StallMeter(repository.counters, Slow.clock)
    commits = GroupCommit(repository, persistence._serializer, stalls=meter)
    await commits.record(Kind.USER_DATA, {1: {"n": 1}})
    assert repository.counters.longest_stall == 0
    await commits.record(Kind.USER_DATA, {1: {"slow": Slow()}})
    stats = repository.counters.snapshot(2, repository._context.clock())
    assert (stats.commits, stats.revision) == (2, 2)
    assert stats.longest_stall >= 0.25


async def test_a_commit_outside_of_a_group_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """As `flush`, `deliver` and `commit` make one."""
    clock = Clock()
    repository = await opened(MemoryStore())
    meter = StallMeter(repository.counters, clock)
    commits = GroupCommit(repository, make_persistence(MemoryStore())._serializer, stalls=meter)

    async def commit() -> None:
        clock.hold(0.5)

    monkeypatch.setattr(repository, "commit", commit)
    await commits.commit()
    assert repository.counters.longest_stall == 0.5


async def test_a_persistence_measures_by_itself() -> None:
    """Its statistics have a stall after the first commit; before, there was none."""
    persistence = make_persistence(MemoryStore())
    await persistence.get_user_data()
    assert persistence.stats.longest_stall == 0
    await persistence.update_user_data(1, {"n": 1})
    assert 0 < persistence.stats.longest_stall < 60
