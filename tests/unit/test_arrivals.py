"""A state is opened while it arrives; nothing of it shows before its end is there."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from collections.abc import Callable
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from telegram.ext import PersistenceInput
from tests.support import BOT_ID, KEY, StoreAround, make_persistence, settled, state_of, update

from ptb_s3 import Keyring
from ptb_s3._engine.repository import Repository
from ptb_s3._format.entities import Entries, Kind
from ptb_s3._format.openers import BlobOpener
from ptb_s3._storage.contract import Fetched, Received, Sink
from ptb_s3._storage.memory import MemoryStore
from ptb_s3._values.serializer import PickleSerializer
from ptb_s3.errors import DamagedObjectError, PersistenceError, StorageUnavailableError

_NOISE = Random(5)  # noqa: S311 - incompressible is enough
USERS = {number: {"noise": _NOISE.randbytes(2**16), "list": [number]} for number in range(60)}


class InPieces(StoreAround):
    """Hands over each object in pieces, and does something in between.

    Attributes:
        between: Called after each piece with the object's name, and what it is handed over to.
    """

    def __init__(self, store: MemoryStore, size: int = 2**18) -> None:
        super().__init__(store)
        self.size = size
        self.between: Callable[[str, Sink], Any] = lambda *_: None

    async def stream(self, name: str, into: Sink, **options: Any) -> Received | None:
        found = await self.get(name, **options)
        if found is None:
            return None
        take = into(len(found.body))
        for at in range(0, len(found.body), self.size):
            take(found.body[at : at + self.size])
            await asyncio.sleep(0.003 if self.size >= 2**16 else 0)
            again = self.between(name, into)
            if again is not None:
                await again
                return Received(*found[1:])
        return Received(*found[1:])


@pytest.fixture
async def saved() -> MemoryStore:
    """A store with a blob of several pages, and a differential on top of it."""
    store = MemoryStore()
    writer = make_persistence(store)
    await state_of(writer)
    await update(writer, {"user_data": USERS, "chat_data": {7: {"a": 1}}})
    await writer.flush()
    assert len(store.current()["user_data"]) > 3 * 2**20
    await writer.get_user_data()
    await update(writer, {"user_data": {3: {"changed": 1}, 999: {"new": 1}}})
    await writer.drop_user_data(5)
    await settled(writer)
    return store


CURRENT = {**{k: v for k, v in USERS.items() if k != 5}, 3: {"changed": 1}, 999: {"new": 1}}


class Noting:
    """Notes what it is to make values of."""

    def __init__(self) -> None:
        self.words: list[tuple[str, ...]] = []
        self.keys: list[object] = []

    def begin(self, words: tuple[str, ...]) -> None:
        self.words.append(words)

    def make(self, _: Kind, entries: Entries) -> None:
        self.keys += [key for key, _ in entries]


async def test_it_is_opened_while_more_is_to_come(saved: MemoryStore) -> None:
    """When half of a blob is there, values of that half can be made."""
    store, noting = InPieces(saved), Noting()
    seen: list[int] = []
    store.between = lambda *_: seen.append(len(noting.keys))
    repository = Repository(store, Keyring(KEY), bot=BOT_ID, serializer="pickle5")
    await repository.load(noting)
    assert noting.words == [repository.words]
    assert seen[0] == 0
    assert 0 < seen[len(seen) // 2] < len(USERS)
    assert seen == sorted(seen)


@pytest.mark.parametrize("size", [509, 2**13, 2**17, 2**30], ids=str)
async def test_it_is_the_same_in_whatever_pieces(saved: MemoryStore, size: int) -> None:
    """What changed since the blob, came or went is right, and everything else, too."""
    reader = make_persistence(InPieces(saved, size))
    assert await reader.get_user_data() == CURRENT
    assert await reader.get_chat_data() == {7: {"a": 1}}
    assert await reader.get_bot_data() == {}


@given(st.lists(st.dictionaries(st.integers(0, 9), st.none() | st.integers(0, 3)), max_size=5))
def test_any_history_is_read_as_it_was_written(history: list[dict[int, int | None]]) -> None:
    """Whatever is in a blob and whatever is on top of it: a new reader has what was saved."""

    async def check() -> None:
        store, expected = MemoryStore(), dict[int, Any]()
        writer = make_persistence(store)
        await state_of(writer)
        for number, changes in enumerate(history):
            for key, size in changes.items():
                if size is None:
                    expected.pop(key, None)
                    await writer.drop_user_data(key)
                else:
                    expected[key] = {"n": number, "noise": Random(size).randbytes(size * 2**14)}  # noqa: S311
                    await writer.update_user_data(key, expected[key])
            if number % 2:
                await writer.flush()
        await settled(writer)
        reader = make_persistence(InPieces(store, 2**16))
        assert await reader.get_user_data() == expected

    asyncio.run(check())


async def test_the_last_to_arrive_waits_for_what_is_being_opened(saved: MemoryStore) -> None:
    """A machine may be slower to open than the line is to bring."""
    at_work = 0

    async def slowly(work: Any, *args: Any) -> Any:
        nonlocal at_work
        assert at_work == 0
        at_work += 1
        await asyncio.sleep(0.05)
        result = await asyncio.to_thread(work, *args)
        at_work -= 1
        return result

    offload: Any = slowly
    repository = Repository(
        InPieces(saved), Keyring(KEY), bot=BOT_ID, serializer="pickle5", offload=offload
    )
    await repository.load(Noting())
    assert repository.base.entities[Kind.USER_DATA].keys() == CURRENT.keys()


async def test_a_fault_of_our_own_is_not_swallowed(saved: MemoryStore) -> None:
    """What goes wrong while values are made, though it must not, ends the load."""

    class Broken(Noting):
        def make(self, kind: Kind, entries: Entries) -> None:
            super().make(kind, entries)
            if len(self.keys) == len(entries):  # the first time, while more is to come
                raise ZeroDivisionError

    repository = Repository(InPieces(saved), Keyring(KEY), bot=BOT_ID, serializer="pickle5")
    with pytest.raises(ZeroDivisionError):
        await repository.load(Broken())


async def test_a_transfer_that_begins_anew_counts_from_there(saved: MemoryStore) -> None:
    """Another version may arrive then: of the first one, nothing is taken."""
    store = InPieces(saved)
    older = saved.current()
    writer = make_persistence(saved)
    await writer.get_user_data()
    anew = {number: {"noise": _NOISE.randbytes(2**16), "anew": number} for number in range(60)}
    await update(writer, {"user_data": anew})
    await writer.flush()
    newer = saved.current()
    times = 0

    def begin_anew(name: str, into: Sink) -> Any:
        nonlocal times
        times += name == "user_data"
        if name != "user_data" or times < 8:
            return None

        async def whole() -> None:
            into(len(newer[name]))(newer[name])

        return whole()

    store.between = begin_anew
    get = saved.get

    async def older_blob(name: str, **options: Any) -> Fetched | None:
        found = await get(name, **options)
        return found and found._replace(body=older[name] if name == "user_data" else found.body)

    saved.get = older_blob  # type: ignore[method-assign]
    reader = make_persistence(store)
    assert await reader.get_user_data() == {**CURRENT, **anew}
    assert times >= 8


async def test_a_changed_end_lets_nothing_through(saved: MemoryStore) -> None:
    """All but the last chunk is authentic, and was opened; and still there is nothing."""
    body = bytearray(saved.current()["user_data"])
    body[-1] ^= 1
    saved.replace("user_data", bytes(body))
    reader = make_persistence(InPieces(saved))
    for _ in range(2):
        with pytest.raises(DamagedObjectError, match="user_data"):
            await reader.get_user_data()
    assert reader._loader.preload is None
    with pytest.raises(DamagedObjectError, match="user_data"):
        await reader.get_chat_data()


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
async def test_a_transfer_that_breaks_off_is_an_error(saved: MemoryStore, share: float) -> None:
    """However much of it was opened, and the collector is as before."""
    store = InPieces(saved)
    pieces = 0

    def fail(name: str, _: Sink) -> None:
        nonlocal pieces
        pieces += name == "user_data"
        if pieces > share * len(saved.current()["user_data"]) / store.size:
            raise StorageUnavailableError("gone")

    store.between = fail
    reader = make_persistence(store)
    with pytest.raises(StorageUnavailableError):
        await reader.get_user_data()
    assert gc.isenabled()
    store.between = lambda *_: None
    assert await reader.get_user_data() == CURRENT
    assert gc.isenabled()


async def test_values_are_fresh_each_time(saved: MemoryStore) -> None:
    """What was made ahead is given once; who asks again gets other objects."""
    reader = make_persistence(InPieces(saved))
    first = await reader.get_user_data()
    second = await reader.get_user_data()
    assert first == second == CURRENT
    assert all(first[key] is not second[key] for key in first)


class Placed:
    """Notes in which thread it is made."""

    threads: set[int] = set()  # noqa: RUF012 - what the class is for

    def __init__(self) -> None:
        self.noise = _NOISE.randbytes(2**16)

    def __setstate__(self, state: dict[str, Any]) -> None:
        Placed.threads.add(threading.get_ident())
        self.__dict__.update(state)


async def test_values_are_made_in_the_thread_of_the_loop() -> None:
    """As they ever were: classes may hold locks of asyncio, or what belongs to a thread."""
    store = MemoryStore()
    writer = make_persistence(store, trusted=[__name__])
    await state_of(writer)
    await update(writer, {"user_data": {number: {"placed": Placed()} for number in range(60)}})
    await writer.flush()
    Placed.threads.clear()
    made = 0
    reader = make_persistence(pieces := InPieces(store), trusted=[__name__])

    def look(*_: object) -> None:
        nonlocal made
        made = max(made, len(Placed.threads))

    pieces.between = look
    assert len(await reader.get_user_data()) == 60
    assert made == 1  # before the end was there
    assert Placed.threads == {threading.get_ident()}


async def test_a_serializer_of_ones_own_is_asked_once(saved: MemoryStore) -> None:
    """It may count on that a value is loaded when it is asked for."""
    loaded: list[bytes] = []

    class Own(PickleSerializer):
        def loads(self, data: bytes) -> object:
            loaded.append(data)
            return super().loads(data)

    reader = make_persistence(InPieces(saved), serializer=Own())
    await reader.get_bot_data()
    assert loaded == []
    await reader.get_user_data()
    assert len(loaded) == len(CURRENT)


async def test_of_kinds_that_are_switched_off_nothing_is_made(
    saved: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody is going to ask for them."""
    kinds: set[str] = set()

    def load_all(_: object, kind: Kind, __: object) -> dict[object, object]:
        kinds.add(kind)
        return {}

    monkeypatch.setattr("ptb_s3._ptb.preload.load_all", load_all)
    store_data = PersistenceInput(user_data=False)
    reader = make_persistence(InPieces(saved), store_data=store_data)
    assert await reader.get_chat_data() == {7: {"a": 1}}
    assert Kind.USER_DATA not in kinds


async def test_one_value_that_does_not_load_is_named(saved: MemoryStore) -> None:
    """When it is asked for, and as if nobody had tried before."""
    writer = make_persistence(saved, trusted=[__name__])
    await writer.get_user_data()
    await update(writer, {"user_data": {8: {"own": Placed(), "noise": _NOISE.randbytes(2**16)}}})
    await writer.flush()
    reader = make_persistence(InPieces(saved), trusted=[])
    with pytest.raises(PersistenceError, match="Placed"):
        await reader.get_user_data()
    assert await reader.get_chat_data() == {7: {"a": 1}}


async def test_nothing_holds_what_was_opened(
    saved: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No cycle does: what is loaded is out of the collector's sight."""
    openings: list[weakref.ref[BlobOpener]] = []
    init = BlobOpener.__init__

    def note(self: BlobOpener, *args: Any) -> None:
        openings.append(weakref.ref(self))
        init(self, *args)

    monkeypatch.setattr(BlobOpener, "__init__", note)
    gc.collect()
    gc.disable()
    try:
        await make_persistence(InPieces(saved)).get_user_data()
        await asyncio.sleep(0)
        assert len(openings) >= 2
        assert [opening() for opening in openings] == [None] * len(openings)
    finally:
        gc.enable()


@pytest.mark.parametrize(("users", "past"), [(900, False), (1800, True)])
async def test_many_values_are_put_past_the_collector(users: int, past: bool) -> None:  # noqa: FBT001 - a parameter
    """However many pages they came in: else each full pass would walk through all of them."""
    store = MemoryStore()
    writer = make_persistence(store)
    await state_of(writer)
    some = {number: {"noise": _NOISE.randbytes(1500)} for number in range(users)}
    await update(writer, {"user_data": some})
    await writer.flush()
    gc.unfreeze()
    try:
        reader = make_persistence(InPieces(store))
        assert await reader.get_user_data() == some
        assert (gc.get_freeze_count() >= users) == past
    finally:
        gc.unfreeze()
