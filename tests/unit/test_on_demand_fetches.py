"""Fetches of what is not loaded: they block, or are awaited, or fail, and nothing is lost."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Iterator
from time import sleep as blocking_sleep
from typing import Any

import pytest
from telegram.ext import MessageHandler, filters
from tests.support import StoreAround, make_persistence
from tests.support.bots import gather_errors, persistence_of, say
from tests.support.deliveries import message, users
from tests.support.on_demand import (
    COUNT,
    DEMANDED,
    agreed,
    compacted,
    filled,
    on_demand,
    own,
    ranges,
    repository_of,
    small_segments,
)

from ptb_s3._engine import fetching, patience
from ptb_s3._format.entities import Kind
from ptb_s3._storage import blocking
from ptb_s3._storage.body import Body
from ptb_s3._storage.contract import Written
from ptb_s3._storage.faults import Call, Fault
from ptb_s3._storage.memory import MemoryStore
from ptb_s3.errors import DamagedObjectError, StorageUnavailableError
from ptb_s3.serverless import begin, close, committed, deliver

USER, CHAT = DEMANDED


@pytest.fixture(autouse=True)
def _small_segments() -> Iterator[None]:
    with small_segments():
        yield


class Held(StoreAround):
    """A store whose writes, and reads of ranges, wait for an event that only the loop can set.

    A twin, which is for another loop, does not wait.
    """

    def __init__(self, store: MemoryStore) -> None:
        super().__init__(store)
        self.memory = store
        self.holds: set[str] = set()
        self.held = asyncio.Event()
        self.released = asyncio.Event()

    async def put(self, name: str, body: bytes | Body, *, if_match: str | None) -> Written:
        await self._wait(f"put {name}")
        return await super().put(name, body, if_match=if_match)

    async def get_range(
        self, name: str, start: int, length: int, *, etag: str, version_id: str | None = None
    ) -> bytes | None:
        await self._wait(f"get_range {name}")
        return await super().get_range(name, start, length, etag=etag, version_id=version_id)

    def twin(self) -> Any:
        return self.memory.twin()

    async def _wait(self, call: str) -> None:
        if call in self.holds:
            self.held.set()
            await self.released.wait()


def failing(store: MemoryStore, *operations: str, times: int = 1000) -> None:
    """Have the next calls of these operations fail."""
    left = [times]

    def fault(call: Call) -> Fault | None:
        if call.operation not in operations or not left[0]:
            return None
        left[0] -= 1
        return Fault.FAIL_BEFORE

    store.faults = fault


# Code that cannot await ---------------------------------------------------------------------------


@pytest.mark.parametrize("held", ["put head", "put user_data", "get_range user_data"])
async def test_it_does_not_wait_for_what_the_loop_it_blocks_is_doing(held: str) -> None:
    """A commit, a compaction or a fetch is under way, and holds whatever it holds."""
    store = Held(memory := MemoryStore())
    await filled(memory)
    async with on_demand(store) as app:
        app.user_data[1]["changed"] = 1
        app.mark_data_for_update_persistence(user_ids=1)
        store.holds = {held}
        repository = repository_of(app)
        calls: dict[str, Any] = {
            "put head": app.update_persistence,
            "put user_data": lambda: repository.compact(USER),
            "get_range user_data": lambda: app.prefetch(users=[30]),  # type: ignore[attr-defined]
        }
        task = asyncio.create_task(calls[held]())
        await store.held.wait()
        begun = asyncio.get_running_loop().time()
        assert app.user_data[50] == own(50)
        assert app.user_data[30] == own(30)
        assert 40 in app.chat_data
        assert len(list(app.chat_data)) == COUNT
        app.drop_user_data(51)
        app.migrate_chat_data(old_chat_id=40, new_chat_id=41)
        assert asyncio.get_running_loop().time() - begun < patience.PATIENCE / 2
        assert not task.done(), "the loop was blocked"
        store.released.set()
        await task
        state = await agreed(app, memory)
    assert state["user_data"][1] == {**own(1), "changed": 1}
    assert 51 not in state["user_data"]
    assert state["chat_data"][41] == own(40)


async def test_a_fetch_without_an_answer_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """In time, though a try is under way; and the next one works."""
    monkeypatch.setattr(patience, "PATIENCE", 0.1)
    store = Held(memory := MemoryStore())
    await filled(memory)
    async with on_demand(store) as app:
        prefetch: Any = app.prefetch  # type: ignore[attr-defined]
        store.holds = {"get_range user_data"}
        async with asyncio.timeout(5):
            with pytest.raises(StorageUnavailableError, match="did not answer"):
                await prefetch(users=[30], chats=[30])
        store.released.set()
        await prefetch(users=[30])
        assert app.user_data[30] == own(30)


async def test_a_process_that_was_frozen_in_a_fetch_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its time is up when it goes on, and nobody has asked the storage meanwhile."""
    monkeypatch.setattr(patience, "PATIENCE", 0.1)
    monkeypatch.setattr(patience, "FROZEN", 0.1)
    store, asked = MemoryStore(), list[str]()
    await filled(store)
    async with on_demand(store) as app:
        get_range = store.get_range

        async def freeze(*place: Any, **version: Any) -> bytes | None:
            asked.append(place[0])
            if len(asked) == 1:
                blocking_sleep(0.3)  # noqa: ASYNC251 - a freeze
                await asyncio.sleep(1)
            return await get_range(*place, **version)

        monkeypatch.setattr(store, "get_range", freeze)
        await app.prefetch(users=[30])  # type: ignore[attr-defined]
        assert asked == ["user_data", "user_data"]
        assert app.user_data[30] == own(30)


async def test_a_fetch_that_has_failed_does_not_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """One of two kinds cannot be opened: the other one's reads end before the error is raised."""
    store = Held(memory := MemoryStore())
    await filled(memory)
    async with on_demand(store) as app:
        store.holds = {"get_range chat_data"}

        get_range = memory.get_range

        async def answer(name: str, *place: Any, **version: Any) -> bytes | None:
            if name == USER:
                asyncio.get_running_loop().call_later(0.05, store.released.set)
                return b"damaged"
            return await get_range(name, *place, **version)

        monkeypatch.setattr(memory, "get_range", answer)
        with pytest.raises(DamagedObjectError):
            await app.prefetch(users=[30], chats=[31])  # type: ignore[attr-defined]
        assert repository_of(app).staged.knows(CHAT, 31)


@pytest.mark.parametrize("awaits", [True, False])
async def test_a_fetch_of_many_takes_its_time(
    monkeypatch: pytest.MonkeyPatch,
    *,
    awaits: bool,
) -> None:
    """However many are asked for: it is given up where nothing more arrives, and not before."""
    for module in (patience, blocking):
        monkeypatch.setattr(module, "PATIENCE", 0.6)
    store = MemoryStore()
    await filled(store)
    async with on_demand(store) as app:
        get_range = store.get_range

        async def slow(*place: Any, **version: Any) -> bytes | None:
            await asyncio.sleep(0.1)
            return await get_range(*place, **version)

        monkeypatch.setattr(fetching, "AT_ONCE", 1)
        monkeypatch.setattr(store, "get_range", slow)
        if awaits:
            await app.prefetch(users=range(1, COUNT + 1))  # type: ignore[attr-defined]
        else:
            repository_of(app).fetch_now(USER, range(1, COUNT + 1))
        assert ranges(store).count("user_data") > 8
        assert app.user_data[COUNT] == own(COUNT)


async def test_a_fetch_that_fails_raises_and_nothing_is_saved_over_what_was_not_read() -> None:
    """The error reaches the handler; the next attempt works."""
    store = MemoryStore()
    await filled(store)

    async def look(update: Any, context: Any) -> None:
        context.application.user_data[int(update.message.text)]["looked"] = True
        context.application.mark_data_for_update_persistence(user_ids=int(update.message.text))

    async with on_demand(store, MessageHandler(filters.ALL, look)) as app:
        errors = gather_errors(app)
        await say(app, "1", user=2)
        failing(store, "get_range")
        for ask in (
            lambda: app.user_data[30],
            lambda: app.user_data.get(30),
            lambda: 30 in app.user_data,
            lambda: list(app.user_data),
            lambda: app.drop_user_data(30),
            lambda: app.migrate_chat_data(old_chat_id=30, new_chat_id=31),
        ):
            with pytest.raises(StorageUnavailableError):
                ask()
        await say(app, "30", user=2)
        assert [type(error) for error in errors] == [StorageUnavailableError]
        store.faults = lambda _: None
        state = await agreed(app, store)
        assert state["user_data"][30] == own(30)
        assert state["chat_data"][30] == own(30)
        await say(app, "30", user=2)
        assert (await agreed(app, store))["user_data"][30] == {**own(30), "looked": True}
        assert len(errors) == 1


# Ahead --------------------------------------------------------------------------------------------


async def test_what_was_prefetched_costs_nothing_then(caplog: pytest.LogCaptureFixture) -> None:
    """Neighbours come in one range each, and whoever there is not is known not to be there."""
    store = MemoryStore()
    await filled(store)
    async with on_demand(store) as app:
        prefetch: Any = app.prefetch  # type: ignore[attr-defined]
        since = len(store.calls)
        await prefetch(users=[30, 30, 900], chats=iter([31]))
        assert sorted(ranges(store, since)) == ["chat_data", "user_data", "user_data"]
        since = len(store.calls)
        await prefetch(users=[30, 900], chats=[31])
        assert (app.user_data[30], app.chat_data[31]) == (own(30), own(31))
        assert 900 not in app.user_data
        assert app.user_data[900] == {}
        assert len(store.calls) == since
        assert not [r for r in caplog.records if r.levelno >= logging.WARNING]
    await prefetch(users=[1])  # of one that is shut down, it is no error
    await on_demand(store).prefetch(users=[1])  # type: ignore[attr-defined]
    await on_demand(store, load="all").prefetch(users=[1])  # type: ignore[attr-defined]


@pytest.mark.parametrize("view", ["items", "values", "copy"])
async def test_whoever_goes_through_all_data_reads_no_part_twice_for_it(
    view: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A part for its keys, and once more for its data, however many users it has."""
    monkeypatch.setattr("ptb_s3._ptb.on_demand.AHEAD", 25)
    store = MemoryStore()
    with small_segments(900):
        await filled(store)
    async with on_demand(store) as app:
        await say(app, "30", user=5)
        source = repository_of(app).base.partial[Kind.USER_DATA].source
        since, parts = len(store.calls), len(source.index.segments)
        found = list(getattr(app._user_data, view)())
        assert len(found) == COUNT
        at_a_border = 2  # of 25 users and the next
        assert parts < COUNT / 5
        assert len(ranges(store, since)) <= 2 * parts + at_a_border
        assert list(app.user_data.values()) == list(app._user_data.copy().values())
        assert len(ranges(store, since)) <= 2 * parts + at_a_border + 2 * parts


async def test_who_is_dropped_meanwhile_is_not_handed_out() -> None:
    """An empty object in the place of one that was dropped would bring that one back."""
    store = MemoryStore()
    await filled(store)
    async with on_demand(store) as app:
        seen = []
        for key, data in app.user_data.items():
            seen.append(key)
            assert data == own(key)
            if key < COUNT:
                app.drop_user_data(key + 1)
        assert len(seen) == COUNT / 2
        state = await agreed(app, store)
        assert sorted(state["user_data"]) == sorted(seen)


@pytest.mark.parametrize("load", ["all", "on_demand"])
async def test_drops_of_what_is_not_loaded_are_saved(load: str) -> None:
    """Also of whoever comes back within the same interval, and of whoever was never there."""
    store = MemoryStore()
    await filled(store)
    async with on_demand(store, load=load) as app:
        app.drop_user_data(30)
        app.drop_user_data(900)
        app.drop_chat_data(31)
        app.drop_user_data(32)
        app.user_data[32]["again"] = True
        app.mark_data_for_update_persistence(user_ids=32)
        assert len(app.user_data) == COUNT - 1
        assert 30 not in app.user_data
        assert app.user_data.get(30) is None
        state = await agreed(app, store)
    assert 30 not in state["user_data"]
    assert 31 not in state["chat_data"]
    assert state["user_data"][32] == {"again": True}
    assert len(state["user_data"]) == len(state["chat_data"]) == COUNT - 1


@pytest.mark.parametrize("load", ["all", "on_demand"])
async def test_a_drop_that_is_taken_back_was_none(load: str) -> None:
    """Of an update that fails in `deliver`; with it goes what it has changed of others."""
    store, fails = MemoryStore(), [True]
    await filled(store)

    async def drop(_: Any, context: Any) -> None:
        context.application.drop_user_data(30)
        context.application.drop_chat_data(1)
        context.application.user_data[31]["changed"] = True
        context.application.mark_data_for_update_persistence(user_ids=31)
        context.user_data["changed"] = True
        if fails[0]:
            raise asyncio.CancelledError

    app = on_demand(store, MessageHandler(filters.ALL, drop), load=load)
    with pytest.raises(asyncio.CancelledError):
        await deliver(app, message(user=1, number=77))
    assert app.user_data[30] == own(30)
    assert app.user_data[31] == own(31)
    assert app.chat_data[1] == own(1)
    assert app.user_data[1] == own(1)
    await agreed(app, store)
    fails[0] = False
    assert await deliver(app, message(user=1, number=77))
    state = await agreed(app, store)
    assert 30 not in state["user_data"]
    assert 1 not in state["chat_data"]
    assert state["user_data"][31] == {**own(31), "changed": True}
    await close(app)


@pytest.mark.parametrize("load", ["all", "on_demand"])
@pytest.mark.parametrize("loaded", [(), (30,), (31,), (30, 31)])
@pytest.mark.parametrize(("old", "new"), [(30, 31), (30, 900), (900, 31)])
async def test_a_chat_migrates_whatever_is_loaded_of_it(
    load: str, loaded: tuple[int, ...], old: int, new: int
) -> None:
    """Telegram says so twice, and the second time there is nothing left to move."""
    store = MemoryStore()
    await filled(store)
    async with on_demand(store, load=load) as app:
        for chat in loaded:
            assert app.chat_data[chat]
        app.migrate_chat_data(old_chat_id=old, new_chat_id=new)
        app.migrate_chat_data(old_chat_id=old, new_chat_id=new)
        state = await agreed(app, store)
    assert old not in state["chat_data"]
    assert state["chat_data"][new] == own(31 if old == 900 else old)


@pytest.mark.parametrize("load", ["all", "on_demand"])
async def test_marks_and_refreshes_of_what_is_not_loaded_change_nothing(load: str) -> None:
    store = MemoryStore()
    await filled(store)
    async with on_demand(store, load=load) as app:
        persistence: Any = app.persistence
        app.mark_data_for_update_persistence(user_ids=[30, 900], chat_ids=[31, 901])
        await persistence.refresh_user_data(33, {})
        await persistence.refresh_chat_data(33, {})
        before = persistence.stats.commits
        assert len((await agreed(app, store))["user_data"]) == COUNT
        if load == "on_demand":  # otherwise bytes may be others, of the same value
            assert persistence.stats.commits == before
            assert not app._user_data.live  # type: ignore[attr-defined]


@pytest.mark.parametrize("load", ["all", "on_demand"])
async def test_the_persistence_may_be_told_of_whoever_is_not_loaded(load: str) -> None:
    """As by code of a bot's own: it replaces what is there, as a save of the live object does."""
    store = MemoryStore()
    await filled(store)
    app = on_demand(store, load=load)
    async with app:
        persistence: Any = app.persistence
        await persistence.update_user_data(30, {"given": 30})
        await persistence.update_user_data(900, {"given": 900})
        await persistence.drop_user_data(31)
        await persistence.drop_user_data(901)
        await persistence.update_chat_data(32, own(32))
        whole = await users(store)
    assert whole == {
        **{key: own(key) for key in range(1, COUNT + 1) if key != 31},
        30: {"given": 30},
        900: {"given": 900},
    }


# A storage that fails -----------------------------------------------------------------------------


@pytest.fixture
def tries(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Have a fetch's time pass without waiting; the list fills with its pauses."""
    paused: list[float] = []
    loop_time = asyncio.BaseEventLoop.time
    monkeypatch.setattr(asyncio.BaseEventLoop, "time", lambda self: loop_time(self) + sum(paused))
    return paused


def pausing(app: Any, tries: list[float]) -> None:
    async def pause(seconds: float) -> None:
        tries.append(seconds)

    context = repository_of(app)._context
    assert callable(context.pause)
    object.__setattr__(context, "pause", pause)
    object.__setattr__(repository_of(app)._fetcher._context, "pause", pause)


async def test_an_update_whose_data_cannot_be_read_goes_to_the_error_handlers(
    tries: list[float],
) -> None:
    """It is tried for 30 s. No handler runs, nothing is saved, and the next update is fine."""
    store, seen = MemoryStore(), list[Any]()
    await filled(store)

    async def note(update: Any, context: Any) -> None:
        seen.append((update.message.text, dict(context.user_data)))
        context.user_data["said"] = update.message.text

    async with on_demand(store, MessageHandler(filters.ALL, note)) as app:
        errors = gather_errors(app)
        pausing(app, tries)
        failing(store, "get_range")
        await say(app, "lost", user=30)
        assert 29 <= sum(tries) <= 31
        assert (seen, [type(error) for error in errors]) == ([], [StorageUnavailableError])
        store.faults = lambda _: None
        assert len((await agreed(app, store))["user_data"]) == COUNT
        await say(app, "tea", user=30)
        assert seen == [("tea", own(30))]
        tries.clear()
        failing(store, "get_range", times=5)
        await say(app, "milk", user=40)
        assert seen[1:] == [("milk", own(40))]
        assert 1 <= len(tries) <= 5
        assert len(errors) == 1
        state = await agreed(app, store)
    assert state["user_data"][30] == {**own(30), "said": "tea"}


async def test_an_error_handler_does_not_wait_for_data_that_cannot_be_read(
    tries: list[float],
) -> None:
    """Such as PTB's own example, which writes down user_data and chat_data of the update."""
    store, told = MemoryStore(), list[Any]()
    await filled(store)

    async def tell(_: object, context: Any) -> None:
        asked = len(store.calls)
        for data in ("user_data", "chat_data"):
            with pytest.raises(StorageUnavailableError) as raised:
                str(getattr(context, data))
            told.append(raised.value is context.error)
        assert len(store.calls) == asked, "again"
        store.faults = lambda _: None
        assert context.application.user_data[31] == own(31), "another one is read"

    async with on_demand(store) as app:
        app.add_error_handler(tell)
        pausing(app, tries)
        failing(store, "get_range")
        await say(app, "lost", user=30)
        assert told == [True, True]
        assert app.user_data[30] == own(30)


async def test_an_update_whose_data_cannot_be_read_can_be_sent_again(tries: list[float]) -> None:
    """To `deliver`, which raises; the second time it takes effect, once."""
    store = MemoryStore()
    await filled(store)

    async def count(_: Any, context: Any) -> None:
        context.user_data["n"] = context.user_data.get("n", 0) + 1

    app = on_demand(store, MessageHandler(filters.ALL, count))
    await deliver(app, message(user=1))
    pausing(app, tries)
    failing(store, "get_range")
    with pytest.raises(StorageUnavailableError):
        await deliver(app, message(user=30, number=99))
    store.faults = lambda _: None
    assert (await users(store))[30] == own(30)
    assert await deliver(app, message(user=30, number=99))
    assert not await deliver(app, message(user=30, number=99))
    assert (await agreed(app, store))["user_data"][30] == {**own(30), "n": 1}
    failing(store, "get_range")
    with pytest.raises(StorageUnavailableError):
        async with committed(app, users=[40]) as state:
            state.user_data[40]["paid"] = True
    store.faults = lambda _: None
    async with committed(app, users=[40], chats=[41]) as state:
        assert (state.user_data[40], state.chat_data[41]) == (own(40), own(41))
        state.user_data[40]["paid"] = True
    assert (await agreed(app, store))["user_data"][40] == {**own(40), "paid": True}
    with pytest.raises(ZeroDivisionError):
        async with committed(app, users=[42]) as state:
            state.user_data[42]["paid"] = 1 / 0
    assert (await agreed(app, store))["user_data"][42] == own(42)
    await close(app)


ASKED: dict[str, Any] = {
    "[]": lambda app: app.user_data[31],
    "in": lambda app: 31 in app.user_data,
    "iter": lambda app: list(app.user_data),
    "drop": lambda app: app.drop_user_data(31),
    "prefetch": lambda app: app.prefetch(users=[31]),
}


@pytest.mark.parametrize("way", ASKED)
async def test_an_update_that_cannot_read_anybody_elses_data_is_sent_again(
    way: str, tries: list[float]
) -> None:
    """By `deliver`, which raises: PTB's error handlers take the error, and go on."""
    store = MemoryStore()
    await filled(store)

    async def count(_: Any, context: Any) -> None:
        context.user_data["n"] = context.user_data.get("n", 0) + 1
        asked = ASKED[way](context.application)
        if way == "prefetch":
            await asked

    app = on_demand(store, MessageHandler(filters.ALL, count))
    errors = gather_errors(app)
    await begin(app)
    await app.prefetch(users=[30], chats=[30])  # type: ignore[attr-defined]
    pausing(app, tries)
    failing(store, "get_range")
    with pytest.raises(StorageUnavailableError):
        await deliver(app, message(user=30, number=99))
    assert [type(error) for error in errors] == [StorageUnavailableError]
    store.faults = lambda _: None
    assert (await users(store))[30] == own(30)
    assert await deliver(app, message(user=30, number=99))
    assert (await agreed(app, store))["user_data"][30] == {**own(30), "n": 1}
    await close(app)


async def test_everything_is_given_to_whoever_asks_with_a_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """And nothing of it is kept: what is live, staged or dropped is as it is."""
    store = MemoryStore()
    await filled(store)
    async with on_demand(store) as app:
        persistence: Any = app.persistence
        app.user_data[30]["unsaved"] = True
        app.drop_user_data(31)
        await persistence.update_user_data(900, {"new": 900})
        caplog.clear()
        found = await persistence.get_user_data()
        assert [r.levelname for r in caplog.records] == ["WARNING"]
        assert found == {
            **{key: own(key) for key in range(1, COUNT + 1) if key != 31},
            900: {"new": 900},
        }
        assert len(await persistence.get_chat_data()) == COUNT
        assert sorted(repository_of(app).base.entities[Kind.CHAT_DATA]) == []
        assert sorted(app._user_data.live) == [30]  # type: ignore[attr-defined]
        found[30]["not live"] = True
        app.mark_data_for_update_persistence(user_ids=30)
        assert (await agreed(app, store))["user_data"][30] == {**own(30), "unsaved": True}
    assert await make_persistence(store).get_chat_data() == {
        key: own(key) for key in range(1, COUNT + 1)
    }


class Slow(StoreAround):
    """A store whose twin's reads of ranges wait for an event of threads."""

    def __init__(self, store: MemoryStore, *, is_twin: bool = False) -> None:
        super().__init__(store)
        self.memory = store
        self.is_twin = is_twin
        self.asked = threading.Event()
        self.released = threading.Event()

    async def get_range(
        self, name: str, start: int, length: int, *, etag: str, version_id: str | None = None
    ) -> bytes | None:
        found = await super().get_range(name, start, length, etag=etag, version_id=version_id)
        if self.is_twin:
            self.asked.set()
            self.released.wait(10)
        return found

    def twin(self) -> Any:
        twin = Slow(self.memory, is_twin=True)
        twin.asked, twin.released = self.asked, self.released
        return twin


@pytest.mark.parametrize("key", [30, 900])
async def test_a_thread_gets_the_object_that_the_loop_has_made_meanwhile(key: int) -> None:
    """Such as of a handler's `asyncio.to_thread`: two objects of one user would lose changes."""
    store = Slow(memory := MemoryStore())
    await filled(memory)
    async with on_demand(store) as app:
        in_thread = asyncio.create_task(asyncio.to_thread(lambda: app.user_data[key]))
        await asyncio.to_thread(store.asked.wait, 10)
        await say(app, "tea", user=key)
        live = app.user_data[key]
        live["changed"] = True
        store.released.set()
        assert await in_thread is live
        assert app.user_data[key] is live
        assert (await agreed(app, memory))["user_data"][key]["changed"]


async def test_what_a_thread_has_read_is_not_believed_where_head_has_gone_on() -> None:
    """Another instance has changed that user and compacted, and the loop has taken that over."""
    store = Slow(memory := MemoryStore())
    await filled(memory)
    async with on_demand(memory, load="all") as other, on_demand(store, sync=0) as app:
        in_thread = asyncio.create_task(asyncio.to_thread(lambda: app.user_data[30]))
        await asyncio.to_thread(store.asked.wait, 10)
        other.user_data[30]["changed"] = True
        other.mark_data_for_update_persistence(user_ids=30)
        await other.update_persistence()
        await compacted(persistence_of(other))
        await repository_of(app).sync()
        store.released.set()
        assert await in_thread == {**own(30), "changed": True}
