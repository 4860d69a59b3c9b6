"""The state that is loaded whole, or on demand: with an empty differential, and an average one."""

from __future__ import annotations

import gc
import statistics
from typing import NamedTuple

from tests.benchmarks import data
from tests.benchmarks.contestants import OnPickle, OnS3
from tests.benchmarks.prepare import EARLY, write
from tests.benchmarks.setting import BUCKET, Setting
from tests.benchmarks.shop import Shop

from ptb_s3._format.container import HEAD
from ptb_s3._format.entities import Kind


class Stored(NamedTuple):
    """Bytes in the bucket.

    Attributes:
        head: Of head.
        blobs: Of all blobs together.
    """

    head: int
    blobs: int


async def fill(setting: Setting) -> None:
    """Write the users by ours, with an empty differential, and by `PicklePersistence`."""
    gc.disable()  # it would walk through all users, again and again
    users = data.make_users(setting.users, setting.data)
    chats, bot_data = data.make_chats(setting.users), data.make_bot_data()
    bot = OnS3(setting, prefix(setting))
    await bot.app.bot.initialize()
    early = dict(list(users.items())[:EARLY])
    for part in (early, users):
        await bot.persistence.get_user_data()
        await write(bot.persistence, part, chats, bot_data)
    await _empty_differential(setting)
    pickled = OnPickle(setting).persistence
    await pickled.get_user_data()
    pickled.user_data, pickled.chat_data, pickled.bot_data = users, chats, bot_data
    pickled._dump_singlefile()


async def _empty_differential(setting: Setting) -> None:
    bot = OnS3(setting, prefix(setting))
    await bot.app.initialize()
    await write_anew(bot)
    await bot.store.close()


async def write_anew(bot: OnS3) -> None:
    """Write all blobs anew, and the head that refers to them."""
    commits = bot.persistence._commits
    assert commits is not None
    await commits.repository.seal_anew(commits.repository.written_kinds())


async def age(setting: Setting) -> Stored:
    """Let the bot work until its differential is of the average size; return the bytes then.

    That is the average from one compaction to the next, of one whole cycle.
    """
    bot = OnS3(setting, prefix(setting))
    shop = Shop(bot)
    await shop.open()
    gc.freeze()  # passes of the collector would take longer than all else
    heads = []
    while not await _compacted(bot):
        heads.append(await _head_after_interval(bot, shop, setting))
    average = statistics.mean(heads)
    while await _head_after_interval(bot, shop, setting) < average:
        await _compacted(bot)
    await bot.close()
    return await stored(setting)


async def _head_after_interval(bot: OnS3, shop: Shop, setting: Setting) -> int:
    sent = bot.persistence.stats.bytes_sent
    shop.visit(setting.at_work)
    await bot.app.update_persistence()
    return bot.persistence.stats.bytes_sent - sent


async def _compacted(bot: OnS3) -> bool:
    """Wait for what is done in the background; tell whether users' data were written anew."""
    before = bot.store.calls[f"put {Kind.USER_DATA}"]
    await bot.settle()
    return bot.store.calls[f"put {Kind.USER_DATA}"] > before


async def stored(setting: Setting) -> Stored:
    """Return the bytes of the current state in the bucket."""
    import aioboto3  # noqa: PLC0415 - a second that the parent process need not wait for

    async with aioboto3.Session().client("s3", endpoint_url=setting.endpoint_url) as s3:
        listed = await s3.list_objects_v2(Bucket=BUCKET, Prefix=prefix(setting))
    sizes = {
        entry["Key"].removeprefix(prefix(setting)): entry["Size"] for entry in listed["Contents"]
    }
    head = sizes.pop(HEAD)
    return Stored(head, sum(sizes.values()))


def prefix(setting: Setting) -> str:
    return f"on-demand-{setting.data}-{setting.users}/"
