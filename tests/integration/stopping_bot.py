"""Run a bot that polls an offline Telegram, until it is sent SIGTERM: a program for `test_stop`.

It has one unsaved change, or none, once "go" is said to it, and prints how it has ended.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from telegram.ext import ApplicationBuilder
from tests.integration.bots import TOKEN, App, OfflineTelegram
from tests.support import KEY

from ptb_s3 import Keyring, PersistentApplication, S3Persistence
from ptb_s3.errors import PersistenceError

_held: set[asyncio.Task[None]] = set()  # or they would be collected


class Polled(OfflineTelegram):
    """Has no updates for the bot."""

    async def do_request(self, url: str, method: str, *args: Any, **options: Any) -> Any:
        if url.endswith("getUpdates"):
            await asyncio.sleep(0.05)
            return 200, b'{"ok":true,"result":[]}'
        return await super().do_request(url, method, *args, **options)


async def save_and_change(app: App) -> None:
    """Save once, then change something when the storage is silent."""
    app.bot_data["n"] = 1
    await app.update_persistence()
    print("ready", flush=True)  # noqa: T201 - whoever runs it waits for that

    async def change() -> None:
        await asyncio.to_thread(sys.stdin.readline)
        app.bot_data["n"] = 2
        print("changed", flush=True)  # noqa: T201 - as above

    _held.add(asyncio.create_task(change()))


def main(url: str, bucket: str, ours: str, interval: str) -> None:
    persistence: S3Persistence[Any, Any, Any] = S3Persistence(
        bucket,
        keyring=Keyring(KEY),
        endpoint_url=url,
        flush_timeout=2,
        update_interval=float(interval),
    )
    builder: Any = ApplicationBuilder().token(TOKEN)
    if ours == "ours":
        builder = builder.application_class(PersistentApplication)
    app = (
        builder.request(Polled(TOKEN))
        .get_updates_request(Polled(TOKEN))
        .job_queue(None)
        .persistence(persistence)
        .post_init(save_and_change)
        .build()
    )
    try:
        app.run_polling()
    except PersistenceError as error:
        print(type(error).__name__, error, flush=True)  # noqa: T201 - as above


if __name__ == "__main__":
    main(*sys.argv[1:])
