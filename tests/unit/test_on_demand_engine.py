"""The engine with kinds that are read on demand: what it gives is what one gives that reads all."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from random import Random
from typing import Any
from unittest import mock

import pytest
from tests.support import BOT_ID, KEY, opened

from ptb_s3._engine import blob_reads
from ptb_s3._engine.head_builder import Operation
from ptb_s3._engine.repository import Repository
from ptb_s3._format import segments
from ptb_s3._format.blobs import UnknownEntityError
from ptb_s3._format.committed import Base
from ptb_s3._format.entities import Kind, Resolution
from ptb_s3._keys.keyring import Keyring
from ptb_s3._storage.blocking import BlockingStore
from ptb_s3._storage.memory import MemoryStore
from ptb_s3.errors import (
    ConflictError,
    DamagedObjectError,
    ForeignStoreError,
    MissingObjectError,
)

USER = Kind.USER_DATA
DEMANDED = (Kind.USER_DATA, Kind.CHAT_DATA)


@pytest.fixture(autouse=True)
def small_segments() -> Iterator[None]:
    with mock.patch.object(segments, "SEGMENT_SIZE", 300):
        yield


def ours(_: Any, __: Any, ___: bytes | None, own: bytes | None, ____: bytes | None) -> Resolution:
    return Resolution(own)


async def committed(repository: Repository, **users: bytes | None) -> None:
    for name, value in users.items():
        repository.stage(USER, int(name[1:]), value)
    await repository.commit()


def lazily_made(store: Any, **options: Any) -> Repository:
    """Make a repository that reads users and chats on demand, and load nothing."""
    given: dict[str, Any] = {"bot": BOT_ID, "serializer": "pickle5", "on_demand": DEMANDED}
    return Repository(store, Keyring(KEY), **given, **options)


async def lazily(store: Any, **options: Any) -> Repository:
    """Open a repository that reads users and chats on demand."""
    blocking = BlockingStore(lambda: store)
    return await opened(store, on_demand=DEMANDED, blocking=blocking, **options)


async def get(repository: Repository, key: int) -> bytes | None:
    await repository.fetch({USER: [key]})
    return repository.staged.get(USER, key)


async def filled(store: MemoryStore, count: int = 200) -> Repository:
    repository = await opened(store)
    await committed(repository, **{f"u{number}": b"%d" % number for number in range(count)})
    await repository.compact(USER)
    await repository.commit(publish=True)
    return repository


async def test_an_entity_is_read_when_it_is_asked_for() -> None:
    store = MemoryStore()
    await filled(store)
    repository = await lazily(store)
    assert not repository.base.entities[USER]
    with pytest.raises(UnknownEntityError):
        repository.staged.get(USER, 7)
    assert await get(repository, 7) == b"7"
    assert await get(repository, 1007) is None
    assert repository.base.entities[USER] == {7: b"7"}
    assert repository.staged.count(USER) == 200
    assert sorted(await asyncio.to_thread(list, repository.keys_now(USER))) == list(range(200))


async def test_code_that_cannot_await_blocks() -> None:
    store = MemoryStore()
    await filled(store)
    repository = await lazily(store)
    repository.fetch_now(USER, [9, 999])
    assert repository.base.entities[USER] == {9: b"9"}


@pytest.mark.parametrize("seed", range(40))
async def test_it_is_the_same_as_one_that_reads_all(seed: int) -> None:
    """Two writers, compactions of both, and commits on top of each other's."""
    rng = Random(seed)  # noqa: S311 - to be repeatable is the point
    store = MemoryStore(versioned=bool(seed % 3))
    model = {number: b"%d" % number for number in range(100)}
    await filled(store, 100)
    lazy: list[Repository] = [await lazily(store, resolve=ours) for _ in range(2)]
    whole = await opened(store, resolve=ours)
    for step in range(60):
        repository = rng.choice([*lazy, whole])
        key = rng.randrange(130)
        action = rng.choice(["set", "set", "drop", "compact", "read", "sync"])
        await repository.sync()
        if action in ("set", "drop"):
            await repository.fetch({USER: [key]}) if repository is not whole else None
            value = b"%d of %d" % (step, key) if action == "set" else None
            repository.stage(USER, key, value)
            await repository.commit()
            model.pop(key, None)
            if value is not None:
                model[key] = value
        elif action == "compact":
            await repository.compact(USER)
            if rng.random() < 0.7:
                await repository.commit(publish=True)
        elif repository is not whole:
            assert await get(repository, key) == model.get(key)
        assert repository.base.head.parts[USER].entities == len(model) or repository.dirty
    assert (await opened(store)).base.entities[USER] == model
    for repository in lazy:
        await repository.sync()
        await repository.fetch({USER: range(130)})
        assert repository.base.entities[USER] == model
        assert repository.staged.count(USER) == len(model)


async def test_a_blob_of_another_store_is_no_state_of_ours() -> None:
    """Put in the place of ours, it stops a start, as where all of it is read."""
    store, other = MemoryStore(), MemoryStore()
    await filled(store)
    await filled(other)
    store.replace(USER, other.current()[USER])
    with pytest.raises(ForeignStoreError, match="belongs to store"):
        await lazily(store)


async def test_an_index_is_opened_as_it_arrives() -> None:
    """A gigabyte that a forged header promises is not fetched, let alone held, to find that out."""
    store = MemoryStore()
    await filled(store)
    magic, header, _ = store.current()[USER].split(b"\n", 2)
    longer = {**json.loads(header), "size": 2**30, "rest": 16}
    text = json.dumps(longer, separators=(",", ":")).encode()
    store.replace(USER, b"\n".join([magic, text, bytes(2**20)]))
    since = len(store.calls)
    with pytest.raises(DamagedObjectError, match="fails authentication"):
        await lazily(store)
    assert "get_range" not in {call.operation for call in store.calls[since:]}


async def test_a_long_index_is_read_in_pieces() -> None:
    """However short the pieces; and one that ends too early is damaged."""
    store = MemoryStore()
    await filled(store)
    with mock.patch.multiple(blob_reads, INDEX_BYTES=700, BATCH=200):
        repository = await lazily(store)
        assert await get(repository, 7) == b"7"
        store.replace(USER, store.current()[USER][:1000])
        with pytest.raises(DamagedObjectError, match="cut short"):
            await lazily(store)


async def test_of_what_is_read_only_a_few_segments_are_held() -> None:
    """Whoever is prefetched, and however many: requests at once are bounded, and so is memory."""
    store = MemoryStore()
    await filled(store)
    repository = await lazily(store)
    get_range = store.get_range
    at_once: list[int] = []
    under_way = 0

    async def counted(*place: Any, **version: Any) -> bytes | None:
        nonlocal under_way
        under_way += 1
        at_once.append(under_way)
        await asyncio.sleep(0)
        found = await get_range(*place, **version)
        under_way -= 1
        return found

    with mock.patch.object(store, "get_range", counted):
        await repository.fetch({USER: range(0, 200, 2)})
    assert len(at_once) > 2 * blob_reads.AT_ONCE >= 2 * max(at_once)
    assert repository.base.entities[USER].keys() == set(range(0, 200, 2)), "asked for, and no other"


async def test_what_arrives_when_head_has_gone_on_is_not_believed() -> None:
    """Others have changed the user and compacted while the segment was under way: it is old."""
    store = MemoryStore()
    other = await filled(store)
    repository = await lazily(store, resolve=ours)
    get_range = store.get_range
    taken: list[bool] = []

    async def get_and_sync(*place: Any, **version: Any) -> bytes | None:
        found = await get_range(*place, **version)
        if not taken:
            taken.append(True)
            await committed(other, u7=b"another")
            await other.compact(USER)
            await other.commit(publish=True)
            await repository.sync()
        return found

    with mock.patch.object(store, "get_range", get_and_sync):
        assert await get(repository, 7) == b"another"


async def test_a_state_that_was_restored_whole_goes_on_beside_others() -> None:
    """A lost one, brought back from its versions: all of it is in memory, and others compact."""
    store = MemoryStore()
    await filled(store)
    store.lose("head")
    repository = lazily_made(store, resolve=ours)
    await repository.recover()
    await repository.mend()
    await repository.commit(operation=Operation())
    other = await opened(store)
    await committed(other, u7=b"another", u8=None)
    await other.compact(USER)
    await other.commit(publish=True)
    await repository.sync()
    assert repository.staged.entities(USER) == other.base.entities[USER]


async def test_all_that_is_read_is_of_one_revision() -> None:
    """Others compact, and are taken over, while the segments arrive: it is read again."""
    store = MemoryStore()
    other = await filled(store)
    repository = await lazily(store, resolve=ours)
    get_range = store.get_range
    taken: list[bool] = []

    async def get_and_sync(*place: Any, **version: Any) -> bytes | None:
        found = await get_range(*place, **version)
        if not taken:
            taken.append(True)
            await committed(other, u7=b"another", u8=None)
            await other.compact(USER)
            await other.commit(publish=True)
            await repository.sync()
        return found

    with mock.patch.object(store, "get_range", get_and_sync):
        assert await repository.fetch_all(USER) == other.base.entities[USER]


@pytest.mark.parametrize("published", [True, False])
@pytest.mark.parametrize("seen", [True, False])
async def test_a_compaction_beside_anothers_is_a_conflict_at_most(
    monkeypatch: pytest.MonkeyPatch, *, published: bool, seen: bool
) -> None:
    """Where the blob that it reads from is gone, it is not damage: theirs is there."""
    store = MemoryStore(versioned=False)
    other = await filled(store)
    reader = await lazily(store, resolve=ours)
    await committed(other, u1=b"theirs")
    await other.compact(USER)
    if published:
        await other.commit(publish=True)
    if seen:
        await reader.compact(USER)
        assert await get(reader, 1) == b"theirs"
    else:  # as while a commit of ours is under way

        async def nothing() -> None: ...

        with monkeypatch.context() as patch:
            patch.setattr(reader._fetcher, "_sync", nothing)
            with pytest.raises(ConflictError, match="has not been seen"):
                await reader.compact(USER)
    await get(reader, 2)
    await committed(reader, u2=b"ours")
    assert await get(await lazily(store), 1) == b"theirs"
    store.lose(USER)
    with pytest.raises(MissingObjectError):
        await reader.compact(USER)


@pytest.mark.parametrize("awaits", [True, False])
async def test_what_is_read_in_the_middle_of_a_takeover_is_taken_over(*, awaits: bool) -> None:
    """Of the blob before, while the other's index arrives: it is read from theirs as well."""
    store = MemoryStore()
    other = await filled(store)
    repository = await lazily(store, resolve=ours)
    await get(repository, 150)
    await committed(other, u7=b"another", u150=b"another", u9=None)
    await other.compact(USER)
    await other.commit(publish=True)
    store_get = store.get
    read: list[bool] = []

    async def get_and_fetch(name: str, **how: Any) -> Any:
        found = await store_get(name, **how)
        if name == USER and not read:
            read.append(True)
            if awaits:
                await repository.fetch({USER: [7, 8, 9]})
            else:
                repository.fetch_now(USER, [7, 8, 9])
        return found

    with mock.patch.object(store, "get", get_and_fetch):
        await repository.sync()
    assert read
    assert repository.base.entities[USER] == {7: b"another", 8: b"8", 150: b"another"}


async def test_a_blob_is_made_only_of_one_that_head_takes() -> None:
    """While its index arrives, the other has compacted again, and head has gone on to that."""
    store = MemoryStore()
    await filled(store)
    other = await opened(store, resolve=ours)
    repository = await lazily(store, resolve=ours)
    await committed(other, u1=b"one")
    await other.compact(USER)
    await repository.sync()
    await repository.compact(USER)  # theirs will do
    assert await get(repository, 2) == b"2"
    await committed(repository, u2=b"two")  # and is head's from now on
    await other.sync()
    store_get = store.get
    read: list[bool] = []

    async def get_and_sync(name: str, **how: Any) -> Any:
        found = await store_get(name, **how)
        if name == USER and not read:
            read.append(True)
            await committed(other, u7=b"another")
            await other.compact(USER)
            await other.commit(publish=True)
            await repository.sync()
        return found

    with mock.patch.object(store, "get", get_and_sync):
        await repository.compact(USER)
    assert read
    await repository.commit(publish=True)
    entities = (await opened(store)).base.entities[USER]
    assert entities == {n: b"%d" % n for n in range(200)} | {1: b"one", 2: b"two", 7: b"another"}


@pytest.mark.parametrize("reads", [True, False])
async def test_a_blob_that_is_newer_than_head_is_no_damage(*, reads: bool) -> None:
    """The bucket keeps no versions: head is taken over, and all of it read, or written anew."""
    store = MemoryStore(versioned=False)
    await filled(store)
    other = await opened(store, resolve=ours)
    repository = await lazily(store, resolve=ours)
    await committed(other, u7=b"another")
    await other.compact(USER)
    if reads:
        assert await repository.fetch_all(USER) == other.base.entities[USER]
    else:
        await repository.compact(USER)
        await repository.commit(publish=True)
        assert (await opened(store)).base.entities[USER] == other.base.entities[USER]


async def test_a_blob_that_is_ahead_of_head_is_no_damage_to_a_compaction() -> None:
    """Nor while a commit is under way, so that head cannot be taken over: it is a conflict."""
    store = MemoryStore(versioned=False)
    await filled(store)
    other = await opened(store, resolve=ours)
    repository = await lazily(store, resolve=ours)
    await committed(other, u7=b"another")
    await other.compact(USER)
    async with repository._begun._committing.here():
        with pytest.raises(ConflictError, match="has not been seen here yet"):
            await repository.compact(USER)
    store.lose(USER)
    with pytest.raises(MissingObjectError):
        await repository.compact(USER)


async def test_all_is_read_also_while_a_commit_that_takes_over_is_under_way() -> None:
    """The blob that was read from is gone, and theirs is ahead of head as it is known here."""
    store = MemoryStore(versioned=False)
    await filled(store)
    other = await opened(store, resolve=ours)
    repository = await lazily(store, resolve=ours, pause=lambda _: asyncio.sleep(0))
    await committed(other, u7=b"another")
    await other.compact(USER)
    async with repository._begun._committing.here():
        reading = asyncio.create_task(repository.fetch_all(USER))
        for _ in range(20):
            await asyncio.sleep(0)
        assert not reading.done()
    assert await reading == other.base.entities[USER]


async def test_a_deletion_is_taken_over_of_a_user_who_is_read_at_that_very_moment() -> None:
    """Their changes are worked out in a thread, while the event loop reads on."""
    store = MemoryStore()
    await filled(store)
    other = await opened(store, resolve=ours)
    repository = await lazily(store, resolve=ours)
    await committed(other, u7=None)
    knows = Base.knows

    def read_and_ask(base: Base, kind: Kind, key: Any) -> bool:
        if base is repository.base and key == 7 and not knows(base, kind, key):
            base.learn(kind, {7: b"7"})
        return knows(base, kind, key)

    with mock.patch.object(Base, "knows", read_and_ask):
        await repository.sync()
    assert repository.staged.get(USER, 7) is None
