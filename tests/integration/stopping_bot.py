"""Run a bot that polls an offline Telegram, until it is sent SIGTERM: a program for `test_stop`.

It has one unsaved change, or none, once "go" is said to it, and prints how it has ended. Moods:
``raises`` or ``waits``: what its post_stop does; ``stops``: by itself, after the change;
``no-signals``: PTB is not to hear any, so that Ctrl-C is Python's own `KeyboardInterrupt`.
"""

from __future__ import annotations

import asyncio
import sys
from functools import partial
from typing import Any

from telegram.ext import ApplicationBuilder
from tests.support import KEY
from tests.support.bots import TOKEN, App, OfflineTelegram, persistence_of

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


async def save_and_change(app: App, *, stops: bool) -> None:
    """Save once, then change something when the storage is silent."""
    app.bot_data["n"] = 1
    await app.update_persistence()
    commits = await persistence_of(app)._opened()
    await commits.compaction.settle(10)  # else a blob is what is under way
    print("ready", flush=True)  # noqa: T201 - whoever runs it waits for that

    async def change() -> None:
        await asyncio.to_thread(sys.stdin.readline)
        app.bot_data["n"] = 2
        print("changed", flush=True)  # noqa: T201 - as above
        if stops:
            while not app.running:  # noqa: ASYNC110 - PTB has no event for that
                await asyncio.sleep(0.01)
            app.stop_running()

    _held.add(asyncio.create_task(change()))


async def raise_it(_: App) -> None:
    raise OSError("no route to the monitoring")


async def wait(_: App) -> None:
    print("waiting", flush=True)  # noqa: T201 - as above
    await asyncio.sleep(60)


def main(url: str, bucket: str, ours: str, interval: str, *moods: str) -> None:
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
        .post_init(partial(save_and_change, stops="stops" in moods))
        .post_stop(wait if "waits" in moods else raise_it if "raises" in moods else None)
        .build()
    )
    try:
        app.run_polling(**({"stop_signals": None} if "no-signals" in moods else {}))
    except PersistenceError as error:
        print(type(error).__name__, error, flush=True)  # noqa: T201 - as above


if __name__ == "__main__":
    main(*sys.argv[1:])
