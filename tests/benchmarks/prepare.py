"""Before anything is measured: the same data in the bucket and in the pickle files."""

from __future__ import annotations

import asyncio
import pickle
from typing import Any

from tests.benchmarks import data
from tests.benchmarks.bots import BUCKET, Setting, pickle_bot, s3_bot


async def fill(setting: Setting) -> None:
    """Write all users by each persistence, and as one plain pickle."""
    users, chats = data.make_users(setting.users), data.make_chats(setting.users)
    setting.dict_file.write_bytes(pickle.dumps(users, pickle.HIGHEST_PROTOCOL))
    for persistence in (
        await _on_new_bucket(setting),
        pickle_bot(setting, on_flush=True).persistence,
    ):
        await asyncio.gather(
            persistence.update_bot_data(data.make_bot_data()),
            *(persistence.update_user_data(user_id, user) for user_id, user in users.items()),
            *(persistence.update_chat_data(chat_id, chat) for chat_id, chat in chats.items()),
        )
        await persistence.flush()


async def _on_new_bucket(setting: Setting) -> Any:
    import aioboto3  # noqa: PLC0415 - a second that the parent process need not wait for

    client = aioboto3.Session().client("s3", endpoint_url=setting.endpoint_url)
    async with client as s3:
        await s3.create_bucket(Bucket=BUCKET)
        await s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
    bot = s3_bot(setting)
    await bot.app.bot.initialize()
    await bot.persistence.get_user_data()
    return bot.persistence
