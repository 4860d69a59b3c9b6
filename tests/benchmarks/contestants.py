"""Those that are measured: each builds a bot on its persistence, and says what it has done.

Left out:

* redis-persistence 0.0.4 imports `telegram.utils`, which PTB has not had since version 20, and its
  methods are no coroutines: it does not run with this PTB.
* mongopersistence 0.3.2 installs, but needs a MongoDB server, and no package registry has one.
  mongomock runs within the bot's process: its figures would say nothing of MongoDB.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any, ClassVar, Protocol

from telegram.ext import PicklePersistence
from tests.benchmarks.naive import NaiveS3Persistence
from tests.benchmarks.setting import BUCKET, STORED, App, Setting, application
from tests.support import StoreAround

from ptb_s3 import Keyring, PersistentApplication, S3Persistence
from ptb_s3._format.container import HEAD
from ptb_s3._format.entities import Kind
from ptb_s3._keys.keyring import Key
from ptb_s3._storage.body import Body
from ptb_s3._storage.contract import Fetched, Received, Sink, Store, Version, Written

OURS = "ptb-s3"
PICKLE = "Pickle"
PICKLE_ON_FLUSH = "Pickle, on_flush"
NAIVE = "naive S3"

_KEY = Key(bytes(range(32)))


class Entrant(Protocol):
    """A bot on one persistence.

    Attributes:
        app: The bot.
        for_each_user: Whether it writes everything once for each user that has changed. Then one
            such write is measured, and the rest follows by multiplication: a thousand take hours.
    """

    app: App
    for_each_user: ClassVar[bool]

    async def connect(self) -> None:
        """Import and open what takes a client, which is measured by itself."""
        ...

    def requests(self) -> int:
        """Return the requests so far or, where there is no storage to ask, the writes of a file."""
        ...

    def sent(self) -> int | None:
        """Return the bytes sent so far; None where nothing is sent."""
        ...

    async def settle(self) -> bool:
        """Wait for what is done in the background; tell whether there was anything."""
        ...

    async def rewrite(self) -> None:
        """Write everything anew."""
        ...

    async def transfer(self) -> None:
        """Ask for all that a start asks for, and open nothing."""
        ...

    async def close(self) -> None:
        """Close connections, and let go of the persistence."""
        ...


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

    async def stream(self, name: str, into: Sink, **options: Any) -> Received | None:
        self.calls[f"get {name}"] += 1
        return await self.store.stream(name, into, **options)

    async def get_range(self, name: str, *span: int, **options: Any) -> bytes | None:
        self.calls[f"get_range {name}"] += 1
        return await super().get_range(name, *span, **options)

    async def put(self, name: str, body: bytes | Body, *, if_match: str | None) -> Written:
        self.calls[f"put {name}"] += 1
        return await super().put(name, body, if_match=if_match)

    def versions(self, name: str) -> AsyncIterator[Version]:
        self.calls[f"versions {name}"] += 1
        return super().versions(name)


class OnS3:
    """A bot on `S3Persistence`, and what stands behind it."""

    for_each_user: ClassVar[bool] = False

    def __init__(self, setting: Setting, prefix: str | None = None, **options: Any) -> None:
        self.persistence: S3Persistence[Any, Any, Any] = S3Persistence(
            BUCKET,
            setting.prefix if prefix is None else prefix,
            keyring=Keyring(_KEY),
            endpoint_url=setting.endpoint_url,
            store_data=STORED,
            **options,
        )
        self.store = CountingStore(self.persistence._loader.store)
        self.persistence._loader.store = self.store
        self.app = application(self.persistence)

    async def connect(self) -> None:
        await self.store.get("nothing")
        self.store.calls.clear()

    def requests(self) -> int:
        return self.store.calls.total()

    def sent(self) -> int | None:
        return self.persistence.stats.bytes_sent

    async def settle(self) -> bool:
        commits = self.persistence._commits
        task = commits.compaction.task if commits is not None else None
        if task is None or task.done():
            return False
        await task
        return True

    async def rewrite(self) -> None:
        commits = self.persistence._commits
        assert commits is not None
        for kind in (Kind.USER_DATA, Kind.CHAT_DATA):
            await commits.repository.compact(kind)

    async def transfer(self) -> None:
        await asyncio.gather(*map(self.store.get, [HEAD, *Kind]))

    async def close(self) -> None:
        self.app.persistence = None
        del self.persistence
        await self.store.close()


class OnS3Mended(OnS3):
    """The same with a `PersistentApplication`, which hands over all users in one call."""

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        self.app = application(self.persistence, PersistentApplication)


class OnNothing(OnS3):
    """A bot whose state is loaded, and never saved: what PTB alone takes for an interval."""

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        for name in ("update_user_data", "update_chat_data", "update_bot_data"):
            setattr(self.persistence, name, _nothing)


async def _nothing(*_: object) -> None: ...


class CountingPickle(PicklePersistence[Any, Any, Any]):
    """`PicklePersistence` as it is, counting how often it writes its file, which it does whole."""

    dumps = 0

    def _dump_singlefile(self) -> None:
        super()._dump_singlefile()
        self.dumps += 1


class OnPickle:
    """A bot on `PicklePersistence`, as it comes."""

    for_each_user: ClassVar[bool] = True
    on_flush: ClassVar[bool] = False

    def __init__(self, setting: Setting) -> None:
        file = setting.pickle_file
        self.persistence = CountingPickle(file, store_data=STORED, on_flush=self.on_flush)
        self.app = application(self.persistence)

    async def connect(self) -> None: ...

    def requests(self) -> int:
        return self.persistence.dumps

    def sent(self) -> int | None:
        return None

    async def settle(self) -> bool:
        return False

    async def rewrite(self) -> None:
        self.persistence._dump_singlefile()

    async def transfer(self) -> None: ...

    async def close(self) -> None:
        self.app.persistence = None
        del self.persistence


class OnPickleFlush(OnPickle):
    """A bot on `PicklePersistence` with ``on_flush=True``: it saves at the end, never before."""

    for_each_user: ClassVar[bool] = False
    on_flush: ClassVar[bool] = True


class OnNaiveS3:
    """A bot on the S3 persistence that people write by hand."""

    for_each_user: ClassVar[bool] = False

    def __init__(self, setting: Setting) -> None:
        prefix = "naive-" + setting.prefix
        self.persistence = NaiveS3Persistence(BUCKET, prefix, setting.endpoint_url, STORED)
        self.app = application(self.persistence)

    async def connect(self) -> None:
        self.persistence.connect()

    def requests(self) -> int:
        return self.persistence.uploads

    def sent(self) -> int | None:
        return self.persistence.sent

    async def settle(self) -> bool:
        return False

    async def rewrite(self) -> None:
        self.persistence.upload()

    async def transfer(self) -> None:
        self.persistence.download()

    async def close(self) -> None:
        self.app.persistence = None
        del self.persistence


CONTESTANTS: dict[str, type[OnS3 | OnPickle | OnNaiveS3]] = {
    OURS: OnS3,
    PICKLE: OnPickle,
    PICKLE_ON_FLUSH: OnPickleFlush,
    NAIVE: OnNaiveS3,
}
ALTERNATIVES = [name for name in CONTESTANTS if name != OURS]
