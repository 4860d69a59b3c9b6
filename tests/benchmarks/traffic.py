"""What is sent in the long run: bytes and requests, over so many intervals that it evens out."""

from __future__ import annotations

import gc
import time
from typing import NamedTuple

from tests.benchmarks.contestants import CONTESTANTS, OURS, OnS3
from tests.benchmarks.setting import BUCKET, Setting
from tests.benchmarks.shop import Shop


class Traffic(NamedTuple):
    """Of an average interval.

    Attributes:
        sent: Bytes, those of blobs written anew included.
        puts: Writing requests.
        rewrites: Blobs written anew, all told.
        cpu: Seconds of CPU time, those of blobs written anew included.
        whole: Bytes of everything, as it lies in the bucket in the end.
    """

    sent: float
    puts: float
    rewrites: int
    cpu: float
    whole: int


async def traffic(setting: Setting, name: str) -> Traffic:
    """Let a bot work for as many intervals as were asked for, or one, if all are alike."""
    bot = CONTESTANTS[name](setting)
    count = setting.intervals if name == OURS else 1
    shop = Shop(bot)
    await shop.open()
    gc.freeze()  # passes of the collector would take longer than all else, and send nothing
    sent, asked, cpu = bot.sent() or 0, bot.requests(), 0.0
    for _ in range(count):
        shop.visit(setting.at_work)
        begun = time.process_time() - shop.others.cpu
        with shop.others.timed():
            await bot.app.update_persistence()
            await bot.settle()
        cpu += time.process_time() - shop.others.cpu - begun
    rewrites = bot.persistence.stats.compactions if isinstance(bot, OnS3) else 0
    sent, asked = (bot.sent() or 0) - sent, bot.requests() - asked
    await bot.close()
    whole = await _stored(setting) if name == OURS else sent
    return Traffic(sent / count, asked / count, rewrites, cpu / count, whole)


async def _stored(setting: Setting) -> int:
    import aioboto3  # noqa: PLC0415 - as elsewhere

    async with aioboto3.Session().client("s3", endpoint_url=setting.endpoint_url) as s3:
        listed = await s3.list_objects_v2(Bucket=BUCKET, Prefix=setting.prefix)
    return sum(entry["Size"] for entry in listed["Contents"])
