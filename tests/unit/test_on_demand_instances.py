"""Two instances on one state, of which one or both read on demand: neither sees half a commit."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from telegram.ext import MessageHandler, filters
from tests.support import StoreAround, make_persistence, state_of
from tests.support.bots import App, gather_errors, say
from tests.support.on_demand import (
    COUNT,
    agreed,
    compacted,
    filled,
    on_demand,
    own,
    repository_of,
    small_segments,
)

from ptb_s3._storage.memory import MemoryStore
from ptb_s3.errors import StorageUnavailableError

MODES = [("on_demand", "on_demand"), ("all", "on_demand"), ("on_demand", "all")]
BUCKETS = ["versioned", "expiring", "unversioned"]


@pytest.fixture(autouse=True)
def _small_segments() -> Iterator[None]:
    with small_segments():
        yield


def seeing(seen: list[Any]) -> MessageHandler[Any, Any]:
    """Return a handler that notes its user's and chat's data, and adds its text to a set."""

    async def see(update: Any, context: Any) -> None:
        seen.append((dict(context.user_data), dict(context.chat_data)))
        if update.message.text != "look":
            context.user_data[update.message.text] = True
            context.chat_data[update.message.text] = True

    return MessageHandler(filters.ALL, see)


async def begun(store: Any, load: str, seen: list[Any]) -> App:
    app = on_demand(store, seeing(seen), load=load, sync=0)
    await app.initialize()
    return app


def expire(store: MemoryStore) -> None:
    """Delete all versions of blobs that are not current, as a lifecycle rule does."""
    for name in ("user_data", "chat_data"):
        current = store._current[name].written.version_id
        for stored in list(store._history[name]):
            if stored.written.version_id != current:
                store.lose(name, stored.written.version_id)


async def compact(app: App, store: MemoryStore, bucket: str, *, publish: bool = True) -> None:
    await compacted(app.persistence, publish=publish)  # type: ignore[arg-type]
    if bucket == "expiring":
        expire(store)


@pytest.mark.parametrize("modes", MODES)
async def test_what_one_changes_the_other_sees(modes: tuple[str, str]) -> None:
    """In live objects, and in those that are made later; what is dropped is gone in both."""
    store = MemoryStore()
    await filled(store)
    seen: list[Any] = []
    one, other = [await begun(store, load, seen) for load in modes]
    await say(other, "look", user=1, chat=2)
    live = other.user_data[1]
    await say(one, "tea", user=1, chat=2)
    await say(one, "tea", user=3, chat=4)
    one.drop_user_data(5)
    await one.update_persistence()
    seen.clear()
    await say(other, "look", user=1, chat=2)
    await say(other, "look", user=3, chat=4)
    await say(other, "look", user=5, chat=6)
    assert seen == [
        ({**own(1), "tea": True}, {**own(2), "tea": True}),
        ({**own(3), "tea": True}, {**own(4), "tea": True}),
        ({}, own(6)),
    ]
    assert other.user_data[1] is live
    await agreed(other, store)
    one.drop_user_data(1)
    one.drop_user_data(7)
    await one.update_persistence()
    await say(other, "look", user=8)
    assert 1 not in other.user_data
    assert 7 not in other.user_data
    assert other.user_data.get(1) is None
    await agreed(other, store)
    for app in (one, other):
        await app.shutdown()


@pytest.mark.parametrize("modes", MODES)
async def test_what_both_change_is_merged(modes: tuple[str, str]) -> None:
    """Also where one has compacted what the other has not seen, and users of one are new."""
    store = MemoryStore()
    await filled(store)
    one, other = [await begun(store, load, []) for load in modes]
    for app, text in ((one, "tea"), (other, "milk")):
        await say(app, text, user=1, chat=2)
        await say(app, text, user=900)
    await one.update_persistence()
    await compact(one, store, "versioned")
    await other.update_persistence()
    await say(other, "look", user=50)  # brings theirs in
    state = await agreed(other, store)
    assert state["user_data"][1] == {**own(1), "tea": True, "milk": True}
    assert state["chat_data"][2] == {**own(2), "tea": True, "milk": True}
    assert state["user_data"][900] == {"tea": True, "milk": True}
    await say(one, "look", user=9)
    assert (await agreed(one, store))["user_data"] == state["user_data"] | {9: own(9)}
    for app in (one, other):
        await app.shutdown()


@pytest.mark.parametrize("bucket", BUCKETS)
@pytest.mark.parametrize("modes", MODES)
async def test_the_other_may_compact_at_any_time(bucket: str, modes: tuple[str, str]) -> None:
    """Whatever is fetched then is as it is committed, whether the old blob is there or not."""
    store = MemoryStore(versioned=bucket != "unversioned")
    await filled(store)
    seen: list[Any] = []
    one, other = [await begun(store, load, seen) for load in modes]
    model = {key: own(key) for key in range(1, COUNT + 1)}
    for number in range(1, 30, 3):
        await say(one, "tea", user=number, chat=number)
        model[number] = {**model[number], "tea": True}
        await one.update_persistence()
        await compact(one, store, bucket)
        seen.clear()
        for key in (number, number + 1, 60 - number):
            await say(other, "look", user=key, chat=key)
            assert seen.pop() == (model[key], model[key])
        assert len(other.user_data) == COUNT
    assert not gather_errors(other)
    assert (await agreed(other, store))["user_data"] == model
    assert sorted(other.chat_data) == sorted(model)
    for app in (one, other):
        await app.shutdown()


@pytest.mark.parametrize("bucket", BUCKETS)
async def test_a_blob_may_be_there_before_its_head(bucket: str) -> None:
    """Awaiting code takes over the head that goes with it; code that cannot await says so."""
    store = MemoryStore(versioned=bucket != "unversioned")
    await filled(store)
    seen: list[Any] = []
    one, other = [await begun(store, "on_demand", seen) for _ in range(2)]
    await say(one, "tea", user=30, chat=30)
    await one.update_persistence()
    await compact(one, store, bucket, publish=False)
    if bucket != "versioned":
        with pytest.raises(StorageUnavailableError, match=r"prefetch\(users="):
            _ = other.user_data[31]
        with pytest.raises(StorageUnavailableError):
            _ = 30 in other.user_data
        assert not dict.keys(other._user_data)
    await other.prefetch(users=[30], chats=[30])  # type: ignore[attr-defined]
    assert other.user_data[30] == {**own(30), "tea": True} or bucket == "versioned"
    await say(other, "look", user=30, chat=30)
    assert seen[-1] == ({**own(30), "tea": True},) * 2
    await agreed(other, store)
    for app in (one, other):
        await app.shutdown()


class Meddled(StoreAround):
    """A store in which another commits in the middle of a read of a range."""

    def __init__(self, store: MemoryStore) -> None:
        super().__init__(store)
        self.memory = store
        self.meddle: Any = None

    async def get_range(
        self, name: str, start: int, length: int, *, etag: str, version_id: str | None = None
    ) -> bytes | None:
        meddle, self.meddle = self.meddle, None
        if name == "user_data" and meddle is not None:
            found = await super().get_range(name, start, length, etag=etag, version_id=version_id)
            await meddle()
            return found
        self.meddle = meddle
        return await super().get_range(name, start, length, etag=etag, version_id=version_id)

    def twin(self) -> Any:
        return self.memory.twin()


@pytest.mark.parametrize("bucket", BUCKETS)
@pytest.mark.parametrize("compacts", [False, True])
@pytest.mark.parametrize("syncs", [False, True])
async def test_no_handler_sees_a_mixture(bucket: str, *, compacts: bool, syncs: bool) -> None:
    """Of its user before and its chat after a commit that changed both in the middle of it."""
    memory = MemoryStore(versioned=bucket != "unversioned")
    await filled(memory)
    store, seen = Meddled(memory), list[Any]()
    one = await begun(memory, "all", [])
    other = await begun(store, "on_demand", seen)

    async def meddle() -> None:
        await say(one, "tea", user=30, chat=30)
        await one.update_persistence()
        if compacts:
            await compact(one, memory, bucket)
        if syncs:
            await repository_of(other).sync()

    store.meddle = meddle
    await say(other, "milk", user=30, chat=30)
    user, chat = seen.pop()
    assert user == chat
    state = await agreed(other, memory)
    merged = {**own(30), "tea": True, "milk": True}
    assert (state["user_data"][30], state["chat_data"][30]) == (merged, merged)
    for app in (one, other):
        await app.shutdown()


async def test_updates_at_once_fetch_side_by_side() -> None:
    """Of the same and of other users, while another instance compacts again and again."""
    store = MemoryStore(versioned=False)
    await filled(store)
    seen: list[Any] = []
    one, other = [await begun(store, "on_demand", seen) for _ in range(2)]

    async def meddle() -> None:
        for number in range(5):
            await say(one, f"n{number}", user=50)
            await one.update_persistence()
            await compact(one, store, "unversioned")

    keys = [*range(1, 40), *range(1, 40)]
    await asyncio.gather(meddle(), *(say(other, "tea", user=key) for key in keys))
    await say(other, "look", user=50)
    assert seen[-1][0] == {**own(50), **{f"n{number}": True for number in range(5)}}
    state = await agreed(other, store)
    assert all(state["user_data"][key] == {**own(key), "tea": True} for key in keys)
    assert len((await state_of(make_persistence(store)))["user_data"]) == COUNT
    for app in (one, other):
        await app.shutdown()
