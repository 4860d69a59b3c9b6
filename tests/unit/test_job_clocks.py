"""Jobs where clocks differ or jump, and where runs and schedules cross."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta, tzinfo
from time import perf_counter
from typing import Any

import pytest
from tests.support.jobs import begun, end, kill, saved, until

from ptb_s3._jobs import claims, scheduler
from ptb_s3._ptb.state_loader import loader_of
from ptb_s3._storage.memory import MemoryStore
from ptb_s3.testing import memory_persistence

ran: list[Any] = []
CLAIM = timedelta(seconds=1.5)


@pytest.fixture(autouse=True)
def _nothing_ran() -> None:
    ran.clear()


async def note(context: Any) -> None:
    ran.append(context.job.data)


async def hang(context: Any) -> None:
    ran.append(context.job.data)
    await asyncio.sleep(60)


@pytest.mark.parametrize("hours", [-2, 0, 2])
async def test_a_claim_lapses_by_the_storages_clock_whatever_ours(
    hours: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The job of a dead instance is looked at when its claim is over: not before, not hours on."""
    monkeypatch.setattr(claims, "LASTS", CLAIM)
    persistence = memory_persistence(update_interval=0.05)
    store = loader_of(persistence).store
    assert isinstance(store, MemoryStore)
    store.ahead = timedelta(hours=hours)
    first = await begun(persistence)
    first.job_queue.run_once(hang, 0.01, data=1)
    await until(lambda: ran)
    await kill(first)
    begin = datetime.now(UTC)
    second = await begun(persistence.restarted())
    await until(lambda: len(ran) == 2, 10)
    assert datetime.now(UTC) - begin > CLAIM / 2, "somebody may have been running it"
    await kill(second)


async def test_a_claim_that_seems_over_by_our_clock_alone_is_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A storage's clock is known to the second: to look too soon must not lose the job."""
    monkeypatch.setattr(claims, "LASTS", CLAIM)
    persistence = memory_persistence(update_interval=0.05)
    first = await begun(persistence)
    first.job_queue.run_once(hang, 0.01, data=1)
    await until(lambda: ran)
    await kill(first)
    store = loader_of(persistence).store
    assert isinstance(store, MemoryStore)
    store.ahead = timedelta(seconds=-1)
    second = await begun(persistence.restarted())
    await until(lambda: len(ran) == 2, 10)
    await kill(second)


# A clock that jumps ------------------------------------------------------------------------------


class Clock:
    """The clock of this machine, which somebody sets: in place of `datetime` in modules.

    Attributes:
        ahead: By how much it has been set ahead.
    """

    ahead = timedelta()

    @classmethod
    def now(cls, zone: tzinfo | None = None) -> datetime:
        return datetime.now(zone) + cls.ahead


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> type[Clock]:
    """The clock that APScheduler, PTB and our jobs read."""

    class Set(Clock, datetime):  # type: ignore[misc]  # `now` returns no subclass
        """A `datetime` that can be told what time it is."""

    for module in CLOCKED:
        monkeypatch.setattr(f"{module}.datetime", Set)
    monkeypatch.setattr(scheduler, "LONGEST_WAIT", 0.05)
    return Set


CLOCKED = (
    "apscheduler.schedulers.base",
    *("ptb_s3._jobs.runs", "ptb_s3._jobs.schedule", "ptb_s3._jobs.keeper"),
)
"""Modules that ask for the time."""


async def test_a_clock_that_is_set_ahead_leaves_no_job_waiting(clock: type[Clock]) -> None:
    """What is due by the new time runs now, once, and a repeating job goes on in its rhythm."""
    bot = await begun(memory_persistence(update_interval=0.05))
    bot.job_queue.run_once(note, 3600, data="once")
    often = bot.job_queue.run_repeating(note, 3600, data="often")
    late = bot.job_queue.run_once(note, 5 * 3600, data="late")
    await bot.update_persistence()
    clock.ahead = timedelta(hours=3)
    await until(lambda: len(ran) == 2)
    await asyncio.sleep(0.3)
    assert sorted(ran) == ["often", "once"]
    assert timedelta() < often.next_t - clock.now(UTC) <= timedelta(hours=1)
    assert late in bot.job_queue.jobs()
    await kill(bot)


async def test_a_clock_that_is_set_back_runs_nothing_early_or_again(clock: type[Clock]) -> None:
    """A job waits for its time on the clock, and what has run does not run a second time."""
    persistence = memory_persistence(update_interval=0.05)
    bot = await begun(persistence)
    bot.job_queue.run_once(note, 0, data="before")
    bot.job_queue.run_repeating(note, 3600, first=0.01, data="often")
    bot.job_queue.run_once(note, 0.5, data="after")
    await until(lambda: len(ran) == 2)
    clock.ahead = timedelta(hours=-3)
    await asyncio.sleep(0.8)
    assert sorted(ran) == ["before", "often"]
    clock.ahead = timedelta()
    await until(lambda: len(ran) == 3)
    assert sorted(ran) == ["after", "before", "often"]
    await end(bot)
    assert len(await saved(persistence)) == 1


# Several versions, and the end -------------------------------------------------------------------


async def test_an_instance_with_another_version_of_the_code_leaves_the_job_to_ours(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It does not know the callback: it neither runs the job nor takes it away."""
    persistence = memory_persistence(update_interval=0.05, sync=0)
    ours = await begun(persistence)
    ours.job_queue.run_once(note, 1, data="ours")
    await ours.update_persistence()
    with monkeypatch.context() as older:
        older.delattr(f"{__name__}.note")
        theirs = await begun(persistence.restarted())
        assert theirs.job_queue.jobs() == ()
        theirs.job_queue.run_repeating(hang, 3600, name="theirs")
        await theirs.update_persistence()
    await end(theirs)
    assert not ran
    await until(lambda: ran == ["ours"])
    await end(ours)
    assert [value["name"] for value in (await saved(persistence)).values()] == ["theirs"]


async def test_a_stop_in_the_middle_of_a_run_waits_for_its_end() -> None:
    """And saves it: the next process does not run the job again."""
    persistence = memory_persistence(update_interval=0.05)
    bot = await begun(persistence)
    bot.job_queue.run_once(take_a_while, 0, data="slow")
    await until(lambda: ran == ["begun"])
    await end(bot)
    assert ran == ["begun", "slow"]
    assert await saved(persistence) == {}


async def take_a_while(context: Any) -> None:
    ran.append("begun")
    await asyncio.sleep(0.3)
    ran.append(context.job.data)


async def test_a_stop_while_a_claim_cannot_be_had_does_not_spin() -> None:
    """The job that could not be claimed is left to the next start; nothing turns in circles."""
    persistence = memory_persistence(update_interval=60)
    bot = await begun(persistence)
    bot.job_queue.run_once(take_a_while, 0, data="slow")
    await until(lambda: ran == ["begun"])
    bot.job_queue._keeper.begin_to_end()
    bot.job_queue.run_once(note, 0, data="too late")
    looks = []
    runs = bot.job_queue._keeper.runs
    original = runs._claim

    async def counted(*args: Any) -> bool:
        looks.append(args)
        return bool(await original(*args))

    runs._claim = counted
    await asyncio.sleep(0.2)
    assert len(looks) <= 2
    await end(bot)
    assert ran == ["begun", "slow"]
    assert [value["data"] for value in (await saved(persistence)).values()] == ["too late"]


async def test_very_many_jobs_at_once(pytestconfig: pytest.Config) -> None:
    """They are made, saved, loaded and ended, and ten times as many take about ten times as long.

    With ``--long``, a hundred thousand of them.
    """
    most = 100_000 if pytestconfig.getoption("--long") else 5_000
    few, many = [await _seconds(count) for count in (most // 10, most)]
    assert many < 30 * max(few, 0.1), "a hundred times as long were quadratic"


async def _seconds(count: int) -> float:
    begin = perf_counter()
    persistence = memory_persistence(update_interval=60)
    bot = await begun(persistence)
    when = datetime.now(UTC) + timedelta(hours=1)
    for number in range(count):
        bot.job_queue.run_once(note, when, data=number, chat_id=number)
    await end(bot)
    bot = await begun(persistence.restarted())
    assert len(bot.job_queue.jobs()) == count
    for job in bot.job_queue.jobs():
        job.schedule_removal()
    await end(bot)
    assert await saved(persistence) == {}
    return perf_counter() - begin
