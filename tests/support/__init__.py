"""What several tests need: a persistence on a store in memory, and the state it holds."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from types import TracebackType
from typing import Any, NamedTuple, cast

from telegram.ext import ExtBot

from ptb_s3 import Keyring, S3Persistence
from ptb_s3._engine.repository import Repository
from ptb_s3._format.entities import Changes, Kind
from ptb_s3._format.key_source import KeySource
from ptb_s3._keys.keyring import Key
from ptb_s3._storage.contract import Fetched, Lock, MemoryStore, Remains, Store, Version, Written

KEY = Key(bytes(range(32)))
OTHER_KEY = Key(bytes(range(1, 33)))
BOT_ID = 4711
Persistence = S3Persistence[Any, Any, Any]


class _Bot(NamedTuple):
    """As much of a bot as a persistence asks for before it has met Telegram."""

    id: int


async def _no_pause(_: float) -> None:
    """Stand in for waiting."""


async def opened(store: Store, keys: KeySource | None = None, **options: Any) -> Repository:
    """Return a repository that has loaded a store, and never waits before it tries again."""
    given: dict[str, Any] = {"bot": BOT_ID, "serializer": "pickle5", "pause": _no_pause}
    repository = Repository(store, keys or Keyring(KEY), **{**given, **options})
    await repository.load()
    return repository


class StoreAround:
    """A store that does as another one does: what a double of a store begins as."""

    def __init__(self, store: Store) -> None:
        self.store = store

    async def get(self, name: str, **options: Any) -> Fetched | None:
        return await self.store.get(name, **options)

    async def put(self, name: str, body: bytes, *, if_match: str | None) -> Written:
        return await self.store.put(name, body, if_match=if_match)

    async def overwrite(self, name: str, body: bytes) -> Written:
        return await self.store.overwrite(name, body)

    def versions(self, name: str) -> AsyncIterator[Version]:
        return self.store.versions(name)

    async def remains(self, name: str) -> Remains | None:
        return await self.store.remains(name)

    async def neighbours(self, name: str) -> list[str]:
        return await self.store.neighbours(name)

    async def place(self) -> str:
        return await self.store.place()

    async def close(self) -> None:
        await self.store.close()


class AnyOrder(StoreAround):
    """Lists versions in an order of its own, as S3's documentation lets nobody expect.

    Args:
        store: The store.
        order: ``oldest first`` (gofakes3 1.2.0), ``null last`` (SeaweedFS 4.48), or a seed to
            shuffle by.
    """

    def __init__(self, store: MemoryStore, order: str) -> None:
        super().__init__(store)
        self.memory = store
        self._order = order

    async def versions(self, name: str) -> AsyncIterator[Version]:
        listed = [version async for version in self.store.versions(name)]
        if self._order == "oldest first":
            listed.reverse()
        elif self._order == "null last":
            listed.sort(key=lambda version: version.version_id == "null")
        else:
            random.Random(f"{self._order}{name}").shuffle(listed)  # noqa: S311 - to be repeatable
        for version in listed:
            yield version

    async def delete(self, name: str, version_ids: Sequence[str]) -> list[str]:
        return await self.memory.delete(name, version_ids)

    async def lock(self, name: str, version_id: str) -> Lock | None:
        return await self.memory.lock(name, version_id)


def make_persistence(
    store: Store,
    *,
    bot: int = BOT_ID,
    **options: Any,
) -> Persistence:
    """Make a persistence on a given store, in the place of S3."""
    options.setdefault("keyring", Keyring(KEY))
    persistence = S3Persistence("bucket", **options)
    persistence._store = store
    persistence.bot = cast("ExtBot[None]", _Bot(bot))
    return persistence


async def state_of(persistence: Persistence, *conversations: str) -> dict[str, Any]:
    """Load everything that a persistence holds, as PTB would."""
    return {
        "user_data": await persistence.get_user_data(),
        "chat_data": await persistence.get_chat_data(),
        "bot_data": await persistence.get_bot_data(),
        "callback_data": await persistence.get_callback_data(),
        "conversations": {
            name: await persistence.get_conversations(name) for name in conversations
        },
    }


async def update(persistence: Persistence, state: dict[str, Any]) -> None:
    """Send a state as PTB sends an interval's changes: all calls gathered, in no order.

    Raises:
        ExceptionGroup: What the calls raised.
    """
    calls = [
        *(persistence.update_user_data(k, v) for k, v in state.get("user_data", {}).items()),
        *(persistence.update_chat_data(k, v) for k, v in state.get("chat_data", {}).items()),
        *(
            persistence.update_conversation(name, key, value)
            for name, states in state.get("conversations", {}).items()
            for key, value in states.items()
        ),
    ]
    if "bot_data" in state:
        calls.append(persistence.update_bot_data(state["bot_data"]))
    if "callback_data" in state:
        calls.append(persistence.update_callback_data(state["callback_data"]))
    results = await asyncio.gather(*calls, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException) and not isinstance(result, Exception):
            raise result
    failures = [result for result in results if isinstance(result, Exception)]
    if failures:
        raise ExceptionGroup("update", failures)


async def settled(persistence: Persistence) -> None:
    """Wait until a blob that is being written in the background is written."""
    if persistence._commits is not None and persistence._commits.compaction is not None:
        await persistence._commits.compaction


def changes(**kinds: dict[Any, bytes | None]) -> Changes:
    """Write changes down by the names of their kinds."""
    return {Kind(name): entities for name, entities in kinds.items()}


def locals_of_ours(error: BaseException | None) -> list[str]:
    """Return what an error tracker would send of our frames: their locals, of causes as well."""
    shown: list[str] = []
    while error is not None:
        shown += _locals(error.__traceback__)
        shown += map(repr, [error, vars(error)])
        error = error.__cause__ or error.__context__
    return shown


def _locals(place: TracebackType | None) -> list[str]:
    shown = []
    while place is not None:
        frame, place = place.tb_frame, place.tb_next
        if str(frame.f_globals.get("__name__")).startswith("ptb_s3"):
            shown += [f"{frame.f_code.co_qualname}: {n}={v!r}" for n, v in frame.f_locals.items()]
    return shown
