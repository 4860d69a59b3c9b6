"""What an interval costs: stalls of the event loop, requests, bytes."""

from __future__ import annotations

import asyncio
import copy
import gc
import random
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import NamedTuple, Self
from unittest import mock

from tests.benchmarks import data
from tests.benchmarks.bots import App, S3Bot, Setting, pickle_bot, s3_bot

_PERIOD = 0.001
_WARM_UP = 2
_OLDEST = 2  # generation: a pass over it is a full one
# A dump of `PicklePersistence` takes seconds at 100,000 users, and it makes one for each changed
# user. So one is measured, and the rest follows by multiplication.
_DUMPS = 1


class Intervals(NamedTuple):
    """What a bot on S3 does in its intervals: seconds, requests and bytes.

    Attributes:
        stalls: The longest of each interval, beyond what others did meanwhile (see `_Others`).
        copies: PTB's deep copies in each interval.
        collector: The longest full pass of Python's collector.
        rewriting: The longest stall while a blob was written anew; 0 if none was.
        rewrites: Blobs written anew, all told.
        requests: The most that an interval made until `update_persistence()` returned.
        idle_requests: In an interval in which users were marked, but nothing changed.
        sent: Bytes in each interval, on average, with those of the rewrites.
        shutdown: The longest stall while the bot shuts down, with one interval's changes to save.
    """

    stalls: list[float]
    copies: list[float]
    collector: float
    rewriting: float
    rewrites: int
    requests: int
    idle_requests: int
    sent: float
    shutdown: float


class PickleIntervals(NamedTuple):
    """The same of a bot on a pickle file.

    Attributes:
        stall: In an interval, beyond what others did meanwhile.
        writes: Times that the whole file is written in an interval.
        idle_writes: In one in which nothing changed.
        written: Bytes in an interval.
    """

    stall: float
    writes: int
    idle_writes: int
    written: int


class _Others:
    """Times what holds up the loop in an interval, whatever the persistence.

    These are PTB's deep copies, and full passes of Python's collector: it makes one for every so
    many new objects, of which the copies are most, and walks through all users' data.

    Attributes:
        copies: Seconds of deep copies so far, with the collector's passes during these.
        passes: Seconds of full passes at other times.
        longest_pass: The longest of all.
        collecting: Whether one is being made.
    """

    collecting = False

    def __init__(self) -> None:
        self.copies = self.passes = self.longest_pass = 0.0
        self._copying = False
        self._begun = 0.0

    @property
    def seconds(self) -> float:
        return self.copies + self.passes

    @contextmanager
    def timed(self) -> Iterator[None]:
        gc.callbacks.append(self._collect)
        try:
            with mock.patch("telegram.ext._application.deepcopy", self._copy):
                yield
        finally:
            gc.callbacks.remove(self._collect)

    def _copy(self, value: object) -> object:
        begun = time.perf_counter()
        self._copying = True
        try:
            return copy.deepcopy(value)
        finally:
            self._copying = False
            self.copies += time.perf_counter() - begun

    def _collect(self, phase: str, details: dict[str, int]) -> None:
        if details["generation"] < _OLDEST:
            return
        if phase == "start":
            self.collecting, self._begun = True, time.perf_counter()
            return
        taken = time.perf_counter() - self._begun
        self.longest_pass = max(self.longest_pass, taken)
        self.passes += 0 if self._copying else taken
        self.collecting = False


class _Watch:
    """Measures how late a timer of 1 ms fires: so long, an update that arrives has to wait.

    Attributes:
        longest: The longest delay, without what others did meanwhile.
    """

    def __init__(self, others: _Others) -> None:
        self.longest = 0.0
        self._others = others
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._tick())
        await asyncio.sleep(3 * _PERIOD)
        self.longest = 0.0
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.sleep(3 * _PERIOD)  # the last delay counts, too
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _tick(self) -> None:
        while True:
            others, begun = self._others.seconds, time.perf_counter()
            await asyncio.sleep(_PERIOD)
            late = time.perf_counter() - begun - _PERIOD
            # In another thread, which is about to say how long it took, and needs the GIL for it.
            while self._others.collecting:  # noqa: ASYNC110 - for microseconds, and no loop is there
                await asyncio.sleep(0)
            self.longest = max(self.longest, late - (self._others.seconds - others))


class _Saved(NamedTuple):
    stall: float
    copies: float
    requests: int


class _Shop:
    """A bot at work: its users change, and its state is saved."""

    def __init__(self, app: App, calls: Counter[str] | None = None) -> None:
        self.app = app
        self.others = _Others()
        self._calls = Counter[str]() if calls is None else calls
        self._rng = random.Random(15)  # noqa: S311 - to be repeatable is the point

    async def start(self) -> None:
        await self.app.initialize()
        # What a start has made, the collector looks through once; no interval is to blame for it.
        gc.collect()

    def visit(self, count: int, *, buy: bool = True) -> None:
        """Let users come by, who change something or nothing."""
        visitors = data.active(list(self.app.user_data), count, self._rng)
        for user_id in visitors if buy else ():
            data.touch(self.app.user_data[user_id], self._rng)
        self.app.mark_data_for_update_persistence(user_ids=visitors)

    async def save(self) -> _Saved:
        """Save what changed, as PTB does in each interval."""
        copied, called = self.others.copies, self._calls.total()
        with self.others.timed():
            async with _Watch(self.others) as watch:
                await self.app.update_persistence()
                requests = self._calls.total() - called
        return _Saved(watch.longest, self.others.copies - copied, requests)

    async def shut_down(self) -> float:
        """Shut down, which saves and flushes; return the longest stall."""
        with self.others.timed():
            async with _Watch(self.others) as watch:
                await self.app.shutdown()
        return watch.longest


async def on_s3(setting: Setting) -> Intervals:
    """Intervals of a bot on S3: as many as were asked for, one without changes, a shutdown."""
    bot = s3_bot(setting)
    shop = _Shop(bot.app, bot.store.calls)
    await shop.start()
    for _ in range(_WARM_UP):
        await _interval(shop, bot, setting)
    before = bot.persistence.stats
    saved, rewriting = zip(
        *[await _interval(shop, bot, setting) for _ in range(setting.intervals)], strict=True
    )
    after = bot.persistence.stats
    assert after.commits - before.commits == setting.intervals
    shop.visit(setting.changed, buy=False)
    idle = await shop.save()
    shop.visit(setting.changed)
    return Intervals(
        stalls=[interval.stall for interval in saved],
        copies=[interval.copies for interval in saved],
        collector=shop.others.longest_pass,
        rewriting=max(rewriting),
        rewrites=after.compactions - before.compactions,
        requests=max(interval.requests for interval in saved),
        idle_requests=idle.requests,
        sent=(after.bytes_sent - before.bytes_sent) / setting.intervals,
        shutdown=await shop.shut_down(),
    )


async def _interval(shop: _Shop, bot: S3Bot, setting: Setting) -> tuple[_Saved, float]:
    """Let users change and save that; also return the longest stall of a rewriting after it."""
    shop.visit(setting.changed)
    saved = await shop.save()
    commits = bot.persistence._commits
    task = commits.compaction if commits is not None else None
    if task is None or task.done():
        return saved, 0.0
    with shop.others.timed():
        async with _Watch(shop.others) as watch:
            await task
    return saved, watch.longest


async def on_pickle(setting: Setting) -> PickleIntervals:
    """An interval of a bot on a pickle file, worked out from one of its dumps."""
    bot = pickle_bot(setting)
    shop = _Shop(bot.app)
    await shop.start()
    changed = min(_DUMPS, setting.changed)
    shop.visit(changed)
    saved = await shop.save()
    dumps, written = bot.persistence.dumps, bot.persistence.written
    shop.visit(changed, buy=False)
    await shop.save()
    times = setting.changed / changed
    return PickleIntervals(
        stall=saved.stall * times,
        writes=round(dumps * times),
        idle_writes=bot.persistence.dumps - dumps,
        written=round(written * times),
    )


async def on_pickle_flush(setting: Setting) -> float:
    """The stall with ``on_flush=True``, which saves at the shutdown and never before."""
    shop = _Shop(pickle_bot(setting, on_flush=True).app)
    await shop.start()
    shop.visit(setting.changed)
    return await shop.shut_down()
