"""Getters: what a start is given becomes PTB's live objects; whoever asks later changes nothing."""

from __future__ import annotations

import asyncio
import gc
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import pytest
from telegram.ext import ContextTypes, ExtBot
from tests.support import Persistence, StoreAround, make_persistence, settled, state_of, update
from tests.support.bots import (
    App,
    asking,
    make_application,
    persistence_of,
    remembering,
    say,
)

from ptb_s3._format.entities import Kind
from ptb_s3._storage.contract import Fetched
from ptb_s3._storage.faults import Fault
from ptb_s3._storage.memory import MemoryStore
from ptb_s3.errors import DamagedObjectError, StorageUnavailableError, UnknownTypeError


def application(store: Any, **options: Any) -> App:
    return make_application(make_persistence(store, **options), [remembering(), asking("order")])


async def add(app: App, name: str) -> None:
    """What a handler of one instance does: it sets a field that no other one sets."""
    app.user_data[7][name] = 1
    app.mark_data_for_update_persistence(user_ids=7)
    await app.update_persistence()


async def users(store: Any) -> dict[int, Any]:
    return await make_persistence(store).get_user_data()


# At run time --------------------------------------------------------------------------------------


@pytest.mark.parametrize("flushed", [False, True])
async def test_a_getter_at_run_time_forgets_nothing_of_what_is_live(flushed: bool) -> None:  # noqa: FBT001 - a case
    """Nor does one after a `flush()` by hand: the next save is merged, as ever."""
    store = MemoryStore()
    ours, theirs = application(store), application(store)
    await ours.initialize()
    await add(ours, "a0")
    persistence = persistence_of(ours)
    if flushed:
        await persistence.flush()
    await theirs.initialize()
    await add(theirs, "b1")
    if not flushed:
        await persistence.catch_up()
    assert "b1" not in ours.user_data[7]
    await state_of(persistence, "order")
    await add(ours, "a2")
    assert await users(store) == {7: {"a0": 1, "b1": 1, "a2": 1}}
    assert persistence.stats.overridden == 0


async def test_a_getter_at_run_time_gives_what_is_there_now() -> None:
    """With what others have committed and what is not committed yet, in objects of its own."""
    store = MemoryStore()
    ours, theirs = application(store), application(store)
    await ours.initialize()
    await add(ours, "a")
    await theirs.initialize()
    await add(theirs, "b")
    persistence = persistence_of(ours)
    await persistence.catch_up()
    persistence._commits.repository.stage(Kind.USER_DATA, 8, None)  # type: ignore[union-attr]  # loaded
    found = await persistence.get_user_data()
    assert found == {7: {"a": 1, "b": 1}}
    found[7]["mine"] = True
    assert (await persistence.get_user_data())[7] == {"a": 1, "b": 1}
    assert ours.user_data[7] == {"a": 1}


async def test_a_getter_at_run_time_puts_nothing_past_the_collector() -> None:
    """Or all garbage of that moment would stay, each time."""
    store = MemoryStore()
    writer = make_persistence(store)
    await state_of(writer)
    await update(writer, {"user_data": {number: {"n": number} for number in range(1500)}})
    app = application(store)
    gc.unfreeze()
    try:
        await app.initialize()
        assert gc.get_freeze_count() >= 1500, "those of the start are kept"
        gc.unfreeze()
        assert len(await persistence_of(app).get_user_data()) == 1500
        assert gc.get_freeze_count() == 0
        assert gc.isenabled()
    finally:
        gc.unfreeze()


async def test_a_getter_at_run_time_that_fails_leaves_connections_open() -> None:
    """A commit may be under way on them."""

    class Closing(StoreAround):
        closed = 0

        async def close(self) -> None:
            Closing.closed += 1

    store = MemoryStore()
    app = application(Closing(store))
    await app.initialize()
    persistence = persistence_of(app)
    persistence._commits.repository.stage(Kind.CONVERSATIONS, ("x", (1,)), b"bad")  # type: ignore[union-attr]  # loaded
    with pytest.raises(DamagedObjectError):
        await persistence.get_conversations("x")
    assert Closing.closed == 1, "this one counts as a start's: nobody has asked for it before"
    persistence._commits.repository.stage(Kind.USER_DATA, 1, b"bad")  # type: ignore[union-attr]  # as above
    with pytest.raises(DamagedObjectError):
        await persistence.get_user_data()
    assert Closing.closed == 1


# Before the start ---------------------------------------------------------------------------------


async def test_a_getter_works_before_the_bot_is_initialised() -> None:
    """The token begins with the bot's id; and the start reads again what is there then."""
    store = MemoryStore()
    writer = application(store)
    await writer.initialize()
    await add(writer, "a")
    app = application(store)
    assert await persistence_of(app).get_user_data() == {7: {"a": 1}}
    await add(writer, "b")
    await app.initialize()
    assert app.user_data == {7: {"a": 1, "b": 1}}
    assert persistence_of(app)._bot_id() == app.bot.id


async def test_a_token_that_is_none_is_no_id() -> None:
    """Then PTB's own error says what is missing."""
    persistence = make_persistence(MemoryStore())
    persistence.bot = ExtBot("offline")
    with pytest.raises(RuntimeError, match="not properly initialized"):
        await persistence.get_user_data()


# Another start ------------------------------------------------------------------------------------


async def test_a_start_after_a_shutdown_reads_anew() -> None:
    """What others have committed since is there."""
    store = MemoryStore()
    app, other = application(store), application(store)
    async with app:
        await add(app, "a")
    async with other:
        await add(other, "b")
    async with app:
        assert app.user_data[7] == {"a": 1, "b": 1}


async def test_what_is_unsaved_after_a_good_flush_outlives_the_next_start() -> None:
    """It is in memory alone: to read everything again would lose it."""
    store = MemoryStore()
    app = application(store)
    async with app:
        await add(app, "a")
    store.faults = lambda call: Fault.FAIL_BEFORE if call.operation == "put" else None
    persistence = persistence_of(app)
    with pytest.raises(StorageUnavailableError):
        await persistence.update_user_data(8, {"late": 1})
    store.faults = lambda _: None
    await app.initialize()
    assert app.user_data == {7: {"a": 1}, 8: {"late": 1}}
    await app.shutdown()
    assert await users(store) == {7: {"a": 1}, 8: {"late": 1}}


async def test_a_handler_added_while_the_bot_runs_is_given_its_states() -> None:
    """PTB asks for them then; nothing else is read again, or forgotten."""
    store = MemoryStore()
    writer = application(store)
    await writer.initialize()
    await say(writer, "/start")
    await writer.update_persistence()
    app = make_application(make_persistence(store), [remembering()])
    await app.initialize()
    reads = len(store.calls)
    handler = asking("order")
    await app._add_ch_to_persistence(handler)
    assert handler._conversations == {(1, 1): 0}
    assert len(store.calls) == reads


async def test_another_application_is_given_what_is_its_own() -> None:
    """Built with the same persistence, its live objects are new, and have seen everything."""
    store = MemoryStore()
    persistence = make_persistence(store)
    first, other = make_application(persistence, [remembering()]), application(store)
    await first.initialize()
    await other.initialize()
    await add(other, "b")
    await persistence.catch_up()
    second = make_application(persistence, [remembering()])
    await second.initialize()
    del second.user_data[7]["b"]
    await add(second, "a")
    assert await users(store) == {7: {"a": 1}}


# Two loads at once --------------------------------------------------------------------------------


class Slow(StoreAround):
    """A storage whose answers wait; counts the loads that it is asked for.

    Attributes:
        gate: Set: answers come.
    """

    def __init__(self, store: MemoryStore) -> None:
        super().__init__(store)
        self.gate = asyncio.Event()
        self.asked = asyncio.Event()
        self.loads = self.closed = 0

    async def get(self, name: str, **options: Any) -> Fetched | None:
        self.loads += name == "head"
        self.asked.set()
        await self.gate.wait()
        return await super().get(name, **options)

    async def close(self) -> None:
        self.closed += 1


async def _given_up(persistence: Persistence, store: Slow) -> None:
    """Begin to load, and give up waiting for it."""
    first = asyncio.create_task(persistence.get_user_data())
    await store.asked.wait()
    first.cancel()
    await asyncio.wait([first])


async def test_a_load_under_way_is_joined() -> None:
    """A start that timed out, and a second one: one load, and its words are those of all."""
    memory = MemoryStore()
    other = make_persistence(memory)
    await state_of(other)
    await update(other, {"user_data": {number: {"name": "u"} for number in range(100)}})
    await settled(other)
    store = Slow(memory)
    persistence = make_persistence(store)
    await _given_up(persistence, store)
    second = asyncio.create_task(state_of(persistence))
    await asyncio.sleep(0)
    store.gate.set()
    assert len((await second)["user_data"]) == 100
    assert store.loads == 1
    (await other._opened()).repository.suggest(["name", "lang"])
    await update(other, {"user_data": {50: {"name": "x"}}})
    await update(other, {"user_data": {1: {"name": "u", "lang": "de"}}})
    await update(persistence, {"user_data": {1: {"name": "n"}, 2: {"name": "m"}}})
    found = await users(memory)
    assert (found[1], found[2]) == ({"name": "n", "lang": "de"}, {"name": "m"})


async def test_a_load_that_hangs_keeps_no_collector_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is paused while a state arrives, and not while nothing does."""
    monkeypatch.setattr("ptb_s3._ptb.preload.PAUSE", 0)
    store = Slow(MemoryStore())
    persistence = make_persistence(store)
    assert gc.isenabled()
    loading = asyncio.create_task(persistence.get_user_data())
    await store.asked.wait()
    await asyncio.sleep(0.001)
    assert gc.isenabled()
    store.gate.set()
    await loading
    assert gc.isenabled()


async def test_a_load_that_nobody_waits_for_closes_its_connections() -> None:
    """What it has loaded is there for whoever asks next."""
    store = Slow(MemoryStore())
    persistence = make_persistence(store)
    await _given_up(persistence, store)
    assert (store.closed, persistence._commits) == (0, None)
    store.gate.set()
    for _ in range(20):
        await asyncio.sleep(0)
    assert store.closed == 1
    assert persistence._commits is not None
    assert await persistence.get_user_data() == {}
    assert store.loads == 1


async def test_a_start_whose_values_do_not_load_closes_its_connections() -> None:
    """Nobody else would: such a bot does not start."""
    memory = MemoryStore()
    writer = make_persistence(memory, trusted=[__name__])
    await state_of(writer)
    await writer.update_user_data(1, {"basket": Basket()})
    store = Slow(memory)
    store.gate.set()
    with pytest.raises(UnknownTypeError):
        await make_persistence(store).get_user_data()
    assert store.closed == 1


@dataclass
class Basket:
    """Of a class that only one of two persistences trusts."""

    items: list[str] = field(default_factory=list)


# An idle bot --------------------------------------------------------------------------------------


class Unstable:
    """A serializer that writes what holds a loaded object otherwise than it was before."""

    id = "unstable"

    def dumps(self, value: object) -> bytes:
        parts = value.values() if isinstance(value, dict) else value
        loaded = isinstance(parts, Iterable) and any(isinstance(part, Loaded) for part in parts)
        return b" " * loaded + json.dumps(value).encode()

    def loads(self, data: bytes) -> object:
        value = json.loads(data, object_hook=Loaded)
        return dict(value) if isinstance(value, Loaded) else value


class Loaded(dict[Any, Any]):
    """Of a class that tells that it was loaded."""


async def test_an_idle_bot_commits_nothing_after_a_start() -> None:
    """Though its bot_data and its buttons come back as objects that are written otherwise."""
    data = {"inner": {"n": 1}}

    def persistence() -> Persistence:
        return make_persistence(store, serializer=Unstable())

    store = MemoryStore()
    writer = persistence()
    await state_of(writer)
    buttons = ([("k", 1.0, {"b": data})], {"q": "k"})
    await update(writer, {"bot_data": data, "callback_data": buttons})
    await writer.flush()
    for _ in range(2):
        app = make_application(persistence())
        async with app:
            before = len(store.calls)
            for _ in range(3):
                await app.update_persistence()
            assert [call for call in store.calls[before:] if call.operation == "put"] == []
    async with app:  # and what is changed, and changed back, is saved each time
        for change in ({"more": 1}, {}):
            app.bot_data.pop("more", None)
            app.bot_data.update(change)
            await app.update_persistence()
            assert await persistence().get_bot_data() == data | change


async def test_bot_data_of_a_type_of_its_own_that_never_was_is_no_change() -> None:
    """An idle bot makes no store."""
    store = MemoryStore()
    types: Any = ContextTypes(bot_data=Basket)
    persistence = make_persistence(store, context_types=types, trusted=[__name__])
    app = make_application(persistence, context_types=types)
    async with app:
        await app.update_persistence()
    assert store.current() == {}


async def test_what_was_brought_in_by_a_refresh_is_no_change() -> None:
    """Or two idle instances would go on to commit what the other one has."""
    store = MemoryStore()
    one, other = (
        make_application(make_persistence(store, serializer=Unstable(), sync=0)) for _ in range(2)
    )
    for app in (one, other):
        await app.initialize()
    one.bot_data["a"] = {"n": 1}
    await one.update_persistence()
    await persistence_of(other).catch_up()
    await persistence_of(other).refresh_bot_data(other.bot_data)
    assert other.bot_data == {"a": {"n": 1}}
    revision = persistence_of(one).stats.revision
    await other.update_persistence()
    assert persistence_of(other).stats.revision == revision
