"""How long a stop may take: when its time begins, and what it bounds."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from ptb_s3._ptb import shutdown_deadline
from ptb_s3._ptb.shutdown_deadline import ShutdownDeadline


class Bot:
    """As much of an application as a stop looks at."""

    def __init__(self) -> None:
        self.running = True
        self.shut_down = False
        self.fetching = True
        task = SimpleNamespace(done=lambda: not self.fetching)
        self._Application__update_fetcher_task = task

    def stop(self, seconds: float = 5.0) -> ShutdownDeadline:
        stop = ShutdownDeadline(lambda: seconds, lambda: self.shut_down)
        stop.application = cast("Any", self)
        return stop


class Clock:
    """The running loop's time, set by hand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: self.now)


async def test_one_time_for_all_of_a_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    """It begins with the first look, and a later one gets no more."""
    clock, bot = Clock(monkeypatch), Bot()
    stop = bot.stop()
    assert stop.check() is None
    bot.shut_down = True
    assert stop.check() == 105.0
    clock.now += 4
    assert stop.check() == 105.0
    clock.now += 2
    assert stop.check() == 105.0, "its time is up, and what is left of it ends at once"


async def test_a_stop_that_failed_is_followed_by_one_with_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After a flush that gave up, and where none came for as long again."""
    clock, bot = Clock(monkeypatch), Bot()
    stop = bot.stop()
    bot.shut_down = True
    assert stop.check() == 105.0
    stop.end()
    clock.now += 6
    assert stop.check() == 111.0
    clock.now += 11
    assert stop.check() == 122.0


async def test_a_stop_begins_when_nothing_else_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """While the application still processes updates, it does not wait for what is saved."""
    Clock(monkeypatch)
    bot = Bot()
    stop = bot.stop()
    assert stop.check() is None
    bot.running = False
    assert stop.check() is None
    bot.fetching = False
    assert stop.check() == 105.0


async def test_what_never_ran_is_not_being_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a host that calls the application for each update, and never starts it."""
    Clock(monkeypatch)
    bot = Bot()
    bot.running = bot.fetching = False
    assert bot.stop().check() is None


async def test_what_is_under_way_is_bounded_by_a_stop_that_begins_meanwhile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """PTB waits for a commit of the last interval before it shuts anything down."""
    monkeypatch.setattr(shutdown_deadline, "LOOK", 0)
    bot = Bot()
    stop = bot.stop(seconds=0.01)
    bot.fetching = False

    async def commit() -> None:
        async with stop.bound():
            bot.running = False
            await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        await commit()
    assert stop.check() is not None, "it is over for what follows, too"


async def test_a_storage_that_answers_leaves_the_rest_its_time() -> None:
    """What was under way when the bot was stopped is saved: that costs the flush nothing."""
    bot = Bot()
    stop = bot.stop()
    assert stop.check() is None
    bot.running = bot.fetching = False
    async with stop.bound():
        first = stop.check()
    assert first is not None
    later = stop.check()
    assert later is not None
    assert later > first
    bot.shut_down = True
    async with stop.bound():
        await asyncio.sleep(0)
    assert stop.check() == later, "within shutdown(), one time counts for all"


async def test_reads_end_in_the_first_part_of_a_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those under way, and those that begin meanwhile; what is saved after them has the rest."""
    monkeypatch.setattr(shutdown_deadline, "READS", 0.01)
    bot = Bot()
    stop = bot.stop()
    loop = asyncio.get_running_loop()

    async def read() -> None:
        async with stop.bound_reads():
            await asyncio.Event().wait()

    under_way = asyncio.create_task(read())
    await asyncio.sleep(0)
    assert not under_way.done()
    deadline = stop.check(begins=True)
    assert deadline is not None
    stop.relax()  # the first save was answered
    for reading in (under_way, read()):
        with pytest.raises(TimeoutError):
            await reading
    assert stop.check() == pytest.approx(deadline), "the storage does not answer: no time anew"
    for over in (stop.end, stop.allow_reads):
        over()
        async with stop.bound_reads():
            await asyncio.sleep(0)
        stop.check(begins=True)
    assert loop.time() < deadline


async def test_a_read_that_is_cancelled_is_none_that_ran_out_of_time() -> None:
    """As of an update whose own time is up: nothing follows from it for a stop."""
    bot = Bot()
    stop = bot.stop()
    stop.check(begins=True)
    stop.relax()
    with pytest.raises(TimeoutError, match="own"):
        async with stop.bound_reads():
            raise TimeoutError("own")
    assert stop.check() is None
