"""The bots that are measured: PTB's `Application`, offline, on one persistence or the other."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from telegram.ext import Application, ApplicationBuilder, PersistenceInput, PicklePersistence
from tests.support import StoreAround

from ptb_s3 import Keyring, S3Persistence
from ptb_s3._keyring import Key
from ptb_s3._store import Fetched, Store, Version, Written
from ptb_s3.cli._demo.offline import TOKEN, OfflineTelegram

App = Application[Any, Any, Any, Any, Any, Any]

BUCKET = "benchmark"
_KEY = Key(bytes(range(32)))
# `PicklePersistence` reads its whole file once more for each kind that is empty, as callback_data
# is in most bots. Left out, so that its starts are as fast as they can be.
_STORED = PersistenceInput(callback_data=False)


@dataclass(frozen=True)
class Setting:
    """What all measurements of one run share.

    Attributes:
        users: How many the bot has.
        changed: How many of them change in one interval.
        intervals: How many intervals of ours are measured.
        folder: Where the files of `PicklePersistence` lie.
        endpoint_url: The S3 server, on loopback.
        environment: Lets us into it.
    """

    users: int
    changed: int
    intervals: int
    folder: Path
    endpoint_url: str
    environment: dict[str, str] = field(repr=False)

    @property
    def pickle_file(self) -> Path:
        """Where `PicklePersistence` keeps everything."""
        return self.folder / "bot.pickle"

    @property
    def dict_file(self) -> Path:
        """The dict of all users as one plain pickle: the yardstick of a cold start."""
        return self.folder / "users.pickle"

    def enter(self) -> None:
        """Let this process in, whatever AWS settings and proxies its environment holds."""
        for name in list(os.environ):
            if name.startswith(("AWS_", "PTB_S3_")) or name.lower().endswith("_proxy"):
                del os.environ[name]
        os.environ |= {
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
            **self.environment,
        }


class CountingStore(StoreAround):
    """A store that counts the calls of another.

    Attributes:
        calls: How many there were, by operation and object.
    """

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self.calls: Counter[str] = Counter()

    async def get(self, name: str, **options: Any) -> Fetched | None:
        self.calls[f"get {name}"] += 1
        return await super().get(name, **options)

    async def put(self, name: str, body: bytes | bytearray, *, if_match: str | None) -> Written:
        self.calls[f"put {name}"] += 1
        return await super().put(name, body, if_match=if_match)

    def versions(self, name: str) -> AsyncIterator[Version]:
        self.calls[f"versions {name}"] += 1
        return super().versions(name)


class CountingPickle(PicklePersistence[Any, Any, Any]):
    """`PicklePersistence` as it is, counting what it writes.

    Attributes:
        dumps: How often it wrote its file, which it does whole.
        written: Bytes of all of that.
    """

    dumps = 0
    written = 0

    def _dump_singlefile(self) -> None:
        super()._dump_singlefile()
        self.dumps += 1
        self.written += self.filepath.stat().st_size


class S3Bot(NamedTuple):
    """A bot on `S3Persistence`, and what stands behind it."""

    app: App
    persistence: S3Persistence[Any, Any, Any]
    store: CountingStore

    async def open_client(self) -> None:
        """Import aioboto3 and open the client, which is measured by itself."""
        await self.store.get("nothing")
        self.store.calls.clear()


def s3_bot(setting: Setting, prefix: str = "bot/", **options: Any) -> S3Bot:
    """Make a bot on S3."""
    persistence: S3Persistence[Any, Any, Any] = S3Persistence(
        BUCKET,
        prefix,
        keyring=Keyring(_KEY),
        endpoint_url=setting.endpoint_url,
        store_data=_STORED,
        **options,
    )
    store = CountingStore(persistence._store)
    persistence._store = store
    return S3Bot(_application(persistence), persistence, store)


class PickleBot(NamedTuple):
    """A bot on `PicklePersistence`, and the persistence itself."""

    app: App
    persistence: CountingPickle


def pickle_bot(setting: Setting, *, on_flush: bool = False) -> PickleBot:
    """Make a bot on a pickle file."""
    persistence = CountingPickle(setting.pickle_file, store_data=_STORED, on_flush=on_flush)
    return PickleBot(_application(persistence), persistence)


def _application(persistence: Any) -> App:
    return (
        ApplicationBuilder()
        .token(TOKEN)
        .request(OfflineTelegram())
        .get_updates_request(OfflineTelegram())
        .job_queue(None)
        .persistence(persistence)
        .build()
    )
