"""Before anything is measured: the same data in the bucket and in the pickle files."""

from __future__ import annotations

import asyncio
import gc
import pickle
from itertools import islice
from typing import Any

from tests.benchmarks import data
from tests.benchmarks.contestants import OnNaiveS3, OnPickleFlush, OnS3
from tests.benchmarks.setting import BUCKET, Setting

# No bot gets all its users in one interval; what these have in common, later ones do not repeat.
EARLY = 500


async def make_bucket(setting: Setting) -> None:
    """Make the bucket, with versions."""
    import aioboto3  # noqa: PLC0415 - a second that the parent process need not wait for

    client = aioboto3.Session().client("s3", endpoint_url=setting.endpoint_url)
    async with client as s3:
        await s3.create_bucket(Bucket=BUCKET)
        await s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})


async def fill(setting: Setting) -> None:
    """Write all users by `S3Persistence`."""
    bot = OnS3(setting)
    await bot.app.bot.initialize()
    for first in (EARLY, None):
        await bot.persistence.get_user_data()
        await _write(bot.persistence, setting, first)


async def fill_alternatives(setting: Setting) -> None:
    """Write all users by each of the others."""
    pickled = OnPickleFlush(setting)
    await pickled.persistence.get_user_data()
    await _write(pickled.persistence, setting)
    naive = OnNaiveS3(setting)
    await naive.connect()
    await _write(naive.persistence, setting)


async def fill_yardstick(setting: Setting) -> None:
    """Write everything as one plain pickle."""
    everything: dict[Any, Any] = {"bot": data.make_bot_data()}
    everything.update(data.make_users(setting.users, setting.data))
    everything.update(data.make_chats(setting.users))
    setting.dict_file.write_bytes(pickle.dumps(everything, pickle.HIGHEST_PROTOCOL))


async def _write(persistence: Any, setting: Setting, first: int | None = None) -> None:
    users = dict(islice(data.make_users(setting.users, setting.data).items(), first))
    await write(persistence, users, data.make_chats(setting.users), data.make_bot_data())


async def write(
    persistence: Any, users: dict[int, Any], chats: dict[int, Any], bot_data: dict[str, Any]
) -> None:
    """Save all of this in one interval, and flush."""
    gc.disable()  # a million calls at once: its passes would take longer than all else
    await asyncio.gather(
        persistence.update_bot_data(bot_data),
        *(persistence.update_user_data(user_id, user) for user_id, user in users.items()),
        *(persistence.update_chat_data(chat_id, chat) for chat_id, chat in chats.items()),
    )
    await persistence.flush()
