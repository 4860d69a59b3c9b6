"""What an interval costs: stalls of the event loop, CPU time, requests; and a flush."""

from __future__ import annotations

import statistics
import time
from typing import NamedTuple

from tests.benchmarks.contestants import CONTESTANTS, OURS, Entrant, OnNothing, OnS3, OnS3Mended
from tests.benchmarks.setting import Setting
from tests.benchmarks.shop import Saved, Shop

_WARM_UP = 2
# The others do the same in each interval, and take long.
_OF_ALTERNATIVES = 3


class Intervals(NamedTuple):
    """What a bot does in its intervals, with 1 % of its users changed unless it says otherwise.

    Attributes:
        stalls: The longest of each interval, in seconds.
        copies: Seconds of PTB's deep copies in each.
        cpu: Seconds of CPU time in each.
        cpu_of_few: The same with as many users changed at every size.
        collector: Seconds of a full pass of Python's collector.
        rewriting: Seconds of the longest stall while a blob was written anew; None: none was.
        requests: The most of an interval, until `update_persistence()` returned.
        idle_requests: Of one in which users were marked, but nothing changed.
        shutdown: Seconds of the longest stall while the bot shuts down, with changes to save.
    """

    stalls: list[float]
    copies: list[float]
    cpu: list[float]
    cpu_of_few: list[float]
    collector: float
    rewriting: float | None
    requests: int
    idle_requests: int
    shutdown: float


async def intervals(setting: Setting, name: str) -> Intervals:
    """Let a bot work for a while, and shut it down."""
    bot = CONTESTANTS[name](setting)
    shop = Shop(bot)
    collector = await shop.open()
    samples = setting.samples if name == OURS else min(_OF_ALTERNATIVES, setting.samples)
    few, times_few = _changed(bot, setting.a_few)
    many, times = _changed(bot, setting.one_per_cent)
    cpu_of_few = [await _cpu(shop, few) * times_few for _ in range(samples + _WARM_UP)]
    saved, rewriting = await _work(shop, many, samples)
    shop.visit(many, buy=False)
    idle = await shop.save()
    shop.visit(many)
    return Intervals(
        stalls=[interval.stall * times for interval in saved],
        copies=[interval.copies for interval in saved],
        cpu=[interval.cpu * times for interval in saved],
        cpu_of_few=cpu_of_few[_WARM_UP:],
        collector=collector,
        rewriting=max(rewriting) if rewriting else None,
        requests=max(interval.requests for interval in saved) * times,
        idle_requests=idle.requests,
        shutdown=await shop.shut_down() * times,
    )


async def floor(setting: Setting) -> float:
    """Return the longest stall, at the median, of intervals in which nothing is saved."""
    return await _median_stall(setting, OnNothing(setting))


async def mended(setting: Setting) -> float:
    """Return the same with a `PersistentApplication`, which saves."""
    return await _median_stall(setting, OnS3Mended(setting))


async def _median_stall(setting: Setting, bot: OnS3) -> float:
    shop = Shop(bot)
    await shop.open()
    saved, _ = await _work(shop, setting.one_per_cent, setting.samples)
    await bot.close()
    return statistics.median(interval.stall for interval in saved)


async def flush(setting: Setting, name: str) -> float:
    """Return the seconds that it takes to save and flush, with 1 % of the users changed."""
    bot = CONTESTANTS[name](setting)
    shop = Shop(bot)
    await shop.open()
    many, times = _changed(bot, setting.one_per_cent)
    shop.visit(many)
    begun = time.perf_counter()
    await bot.app.update_persistence()
    saved = time.perf_counter()
    assert bot.app.persistence is not None
    await bot.app.persistence.flush()
    return (saved - begun) * times + time.perf_counter() - saved


def _changed(bot: Entrant, count: int) -> tuple[int, int]:
    """Return how many users to change, and by what to multiply what that takes."""
    return (1, count) if bot.for_each_user else (count, 1)


async def _cpu(shop: Shop, count: int) -> float:
    shop.visit(count)
    cpu = await shop.save_unwatched()
    await shop.settle()
    return cpu


async def _work(shop: Shop, count: int, samples: int) -> tuple[list[Saved], list[float]]:
    """Return what each interval took, and the longest stall of each rewriting after one."""
    saved, rewriting = [], []
    for number in range(samples + _WARM_UP):
        shop.visit(count)
        interval = await shop.save()
        rewritten = await shop.settle()
        if number >= _WARM_UP:
            saved.append(interval)
            rewriting += [] if rewritten is None else [rewritten]
    return saved, rewriting
