"""One commit for many calls: who hears what of it, and what is kept whatever becomes of it."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Iterable
from typing import Any

import pytest
from tests.support import Persistence, make_persistence, settled, state_of, update
from tests.support.bots import App, gather_errors, make_application, persistence_of

from ptb_s3 import PersistentApplication
from ptb_s3._engine.repository import Repository
from ptb_s3._format import entities
from ptb_s3._format.entities import Kind
from ptb_s3._ptb.group_commit import GroupCommit
from ptb_s3._storage.faults import Call, Fault
from ptb_s3._storage.memory import MemoryStore
from ptb_s3.errors import ConflictError, SerializationError, StorageUnavailableError


async def loaded(store: MemoryStore, **options: Any) -> Persistence:
    persistence = make_persistence(store, **options)
    await state_of(persistence)
    return persistence


async def users(store: MemoryStore) -> dict[int, Any]:
    return await make_persistence(store).get_user_data()


def _no_put(call: Call) -> Fault | None:
    return Fault.FAIL_BEFORE if call.operation == "put" else None


def _kinds(results: Iterable[object]) -> list[type]:
    return [type(result) for result in results]


# Who hears of a failure ---------------------------------------------------------------------------


async def test_no_call_returns_as_if_durable() -> None:
    """Whoever calls it, and whatever others hear, is told that the commit has failed."""
    store = MemoryStore()
    persistence = await loaded(store)
    store.faults = _no_put
    calls = (
        persistence.update_user_data(1, {}),
        persistence.update_chat_data(1, {}),
        persistence.update_bot_data({1: 1}),
        persistence.update_callback_data(([("k", 1.0, {})], {})),
        persistence.update_conversation("c", (1,), 1),
        persistence.drop_user_data(2),
        persistence.drop_chat_data(2),
    )
    results: Any = await asyncio.gather(*calls, return_exceptions=True)
    assert _kinds(results) == [StorageUnavailableError] * 7


async def _interval(app: App) -> None:
    for user in range(5):
        app.user_data[user]["n"] = app.user_data[user].get("n", 0) + 1
        app.chat_data[user]["n"] = 1
        app.mark_data_for_update_persistence(user_ids=user, chat_ids=user)
    await app.update_persistence()


@pytest.mark.parametrize("cls", [None, PersistentApplication])
async def test_an_applications_error_handlers_hear_of_it_once(cls: type[App] | None) -> None:
    """However many calls an interval takes; a call of one's own in its midst hears as well."""
    store = MemoryStore()
    app = make_application(make_persistence(store), application_class=cls)
    errors = gather_errors(app)
    await app.initialize()
    await _interval(app)
    store.faults = _no_put
    own = asyncio.create_task(persistence_of(app).update_user_data(9, {}))
    await _interval(app)
    assert _kinds(errors) == [StorageUnavailableError]
    with pytest.raises(StorageUnavailableError):
        await own
    store.faults = lambda _: None
    await _interval(app)
    assert len(errors) == 1
    assert (await users(store))[4] == {"n": 3}


async def test_a_failure_whose_first_caller_was_cancelled_is_heard() -> None:
    """The next one that is alive says it, for calls that an application makes together, too."""
    store = MemoryStore()
    commits = await (await loaded(store))._opened()
    store.faults = _no_put
    first, *rest = [
        asyncio.create_task(commits.record(Kind.USER_DATA, {user: {}})) for user in (1, 2, 3)
    ]
    await asyncio.sleep(0)
    first.cancel()
    results: Any = await asyncio.gather(first, *rest, return_exceptions=True)
    assert _kinds(results) == [asyncio.CancelledError, StorageUnavailableError, type(None)]


# Cancelled ----------------------------------------------------------------------------------------


async def _cancel_all_but(*tasks: asyncio.Task[Any] | None) -> None:
    """What a framework does at its end."""
    for task in asyncio.all_tasks() - {*tasks, asyncio.current_task()}:
        task.cancel()


async def test_a_commit_cancelled_before_it_began_holds_nobody_up() -> None:
    """What was handed over to it goes with the next one."""
    store = MemoryStore()
    persistence = await loaded(store)
    me = asyncio.current_task()
    updating = asyncio.create_task(persistence.update_user_data(1, {"n": 1}))
    await asyncio.wait([updating, asyncio.create_task(_cancel_all_but(me))])
    async with asyncio.timeout(5):
        await persistence.update_user_data(2, {"n": 2})
    assert await users(store) == {1: {"n": 1}, 2: {"n": 2}}


async def test_whoever_waits_for_such_a_commit_is_told() -> None:
    """Though nobody else comes who could notice."""
    persistence = await loaded(MemoryStore())
    updating = asyncio.create_task(persistence.update_user_data(1, {"n": 1}))
    await asyncio.sleep(0)
    (committing,) = persistence._commits._committing  # type: ignore[union-attr]  # loaded
    committing.cancel()
    with pytest.raises(StorageUnavailableError, match="given up"):
        async with asyncio.timeout(5):
            await updating


@pytest.mark.parametrize("ticks", [0, 1, 2])
async def test_a_flush_saves_what_such_a_commit_was_to_save(ticks: int) -> None:
    """Also in the very tick in which it was cancelled; whoever waited for it is told."""
    store = MemoryStore()
    persistence = await loaded(store)
    updating = asyncio.create_task(persistence.update_user_data(1, {"n": 1}))
    await asyncio.sleep(0)
    (committing,) = persistence._commits._committing  # type: ignore[union-attr]  # loaded
    committing.cancel()
    for _ in range(ticks):
        await asyncio.sleep(0)
    await persistence.flush()
    with pytest.raises(StorageUnavailableError, match="given up"):
        await updating
    assert await users(store) == {1: {"n": 1}}


def test_what_a_closed_loop_was_to_commit_goes_with_the_next_one() -> None:
    """`asyncio.run` for each invocation, and one that left its tasks behind."""
    store = MemoryStore()
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda *_: None)  # it complains of the tasks, rightly
    persistence = loop.run_until_complete(loaded(store))

    async def leave() -> None:
        asyncio.get_running_loop().create_task(persistence.update_user_data(1, {"n": 1}))
        await asyncio.sleep(0)

    loop.run_until_complete(leave())
    for task in asyncio.all_tasks(loop):
        task._log_destroy_pending = False  # type: ignore[attr-defined]  # as above
    loop.close()
    asyncio.run(persistence.update_user_data(2, {"n": 2}))
    assert asyncio.run(users(store)) == {1: {"n": 1}, 2: {"n": 2}}
    gc.collect()


def test_a_look_and_a_commit_meet_on_one_loop_after_another() -> None:
    """Locks that somebody has waited for on an earlier loop refuse no later one."""
    store = MemoryStore()
    get = store.get

    async def late(name: str, **options: Any) -> Any:
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return await get(name, **options)

    persistence = asyncio.run(loaded(store))
    store.get = late  # type: ignore[method-assign]  # a storage that takes its time

    async def invocation(number: int) -> None:
        look = asyncio.create_task(persistence.catch_up())
        await asyncio.sleep(0)
        await persistence.update_user_data(1, {"n": number})
        await look
        await settled(persistence)

    for number in range(3):
        asyncio.run(invocation(number))
    assert asyncio.run(users(store)) == {1: {"n": 2}}


# One bad thing ------------------------------------------------------------------------------------


class Faults:
    """What a repository has left out of its commits."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.waiting: list[ConflictError] = []
        monkeypatch.setattr(Repository, "take_faults", lambda _: self._take())

    def add(self, kind: str, key: object) -> ConflictError:
        fault: Any = ConflictError(f"An entity of {kind} cannot be merged.")
        fault.kind, fault.key = kind, key
        self.waiting.append(fault)
        return fault  # type: ignore[no-any-return]

    def _take(self) -> list[ConflictError]:
        taken, self.waiting = self.waiting, []
        return taken


@pytest.fixture
def faults(monkeypatch: pytest.MonkeyPatch) -> Faults:
    return Faults(monkeypatch)


async def test_what_was_left_out_is_told_to_whoever_handed_it_over(faults: Faults) -> None:
    """And to nobody else; everything else is saved."""
    store = MemoryStore()
    persistence = await loaded(store)
    fault = faults.add("user_data", 2)
    results: Any = await asyncio.gather(
        *(persistence.update_user_data(user, {"n": 1}) for user in (1, 2, 3)),
        return_exceptions=True,
    )
    assert results == [None, fault, None]
    assert 1 in await users(store)
    faults.add("user_data", 7)
    await persistence.update_user_data(1, {"n": 2})


async def test_an_applications_call_tells_of_its_own_entity_first(faults: Faults) -> None:
    """And of another one's only where that is nobody's of the group."""
    commits = await (await loaded(MemoryStore()))._opened()
    other, own = faults.add("user_data", 7), faults.add("user_data", 3)
    results: Any = await asyncio.gather(
        *(commits.record(Kind.USER_DATA, {user: {}}) for user in (1, 2, 3)), return_exceptions=True
    )
    assert results == [other, None, own]
    other, own = faults.add("user_data", 7), faults.add("user_data", 1)
    results = await asyncio.gather(
        commits.record(Kind.USER_DATA, {1: {}}), commits.join(), return_exceptions=True
    )
    assert results == [own, other]


@pytest.mark.parametrize("cls", [None, PersistentApplication])
async def test_error_handlers_hear_of_each_entity_left_out_once(
    faults: Faults, cls: type[App] | None
) -> None:
    """Of those that a look in the background met as well, with the next interval's calls."""
    app = make_application(make_persistence(MemoryStore()), application_class=cls)
    errors = gather_errors(app)
    await app.initialize()
    expected = [faults.add("user_data", 3), faults.add("user_data", 4), faults.add("bot_data", 0)]
    await _interval(app)
    assert sorted(map(id, errors)) == sorted(map(id, expected))
    expected += [faults.add("user_data", user) for user in range(100, 103)]
    for _ in range(3):  # a plain one's interval without changes is two calls
        await app.update_persistence()
    await app.update_persistence()
    assert sorted(map(id, errors)) == sorted(map(id, expected))


async def test_what_nobody_was_told_is_told_with_the_next_commit(faults: Faults) -> None:
    """Of a commit that failed, and of a caller that was cancelled meanwhile."""
    store = MemoryStore(faults=_no_put)
    commits = await (await loaded(store))._opened()
    fault = faults.add("user_data", 1)
    with pytest.raises(StorageUnavailableError):
        await commits.record(Kind.USER_DATA, {1: {}})
    store.faults = lambda _: None
    with pytest.raises(ConflictError) as caught:
        await commits.join()
    assert caught.value is fault
    again = faults.add("user_data", 2)
    one = asyncio.create_task(commits.record(Kind.USER_DATA, {2: {}}))
    release = commits._writer._release

    async def cancel_and_release(group: Any) -> None:
        one.cancel()
        await release(group)

    commits._writer._release = cancel_and_release  # type: ignore[method-assign]  # at the last moment
    with pytest.raises(asyncio.CancelledError):
        await one
    commits._writer._release = release  # type: ignore[method-assign]  # as before
    with pytest.raises(ConflictError) as caught:
        await commits.join()
    assert caught.value is again
    await commits.join()


@pytest.mark.parametrize("by", ["the next commit", "flush"])
@pytest.mark.parametrize("ticks", [0, 1, 20])
async def test_a_refusal_whose_caller_was_cancelled_is_told(by: str, ticks: int) -> None:
    """Before the value was looked at, while the commit waits for it, or afterwards; and once."""
    persistence = await loaded(MemoryStore())
    commits = await persistence._opened()
    call = asyncio.ensure_future(persistence.update_user_data(1, {"f": lambda: 1}))
    for _ in range(ticks):
        await asyncio.sleep(0)
    heard = not call.cancel()
    with pytest.raises(SerializationError if heard else asyncio.CancelledError):
        await call
    if not heard:
        with pytest.raises(SerializationError) as caught:
            await (persistence.flush() if by == "flush" else commits.join())
        assert (caught.value.kind, caught.value.key) == ("user_data", 1)
    await commits.join()
    await persistence.flush()


async def test_a_refusal_of_a_commit_that_never_began_is_told() -> None:
    """Where all tasks are cancelled at once, as some frameworks do at their end."""
    persistence = await loaded(MemoryStore())
    call = asyncio.ensure_future(persistence.update_user_data(1, {"f": lambda: 1}))
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    with pytest.raises(SerializationError) as caught:
        await persistence.flush()
    assert caught.value.key == 1


async def test_a_flush_saves_the_rest_and_says_what_was_left_out(
    faults: Faults, caplog: pytest.LogCaptureFixture
) -> None:
    """Each in the log; the first is raised, when everything else is durable."""
    store = MemoryStore()
    persistence = await loaded(store)
    persistence._commits.repository.stage(Kind.USER_DATA, 1, b"\x80\x05}.")  # type: ignore[union-attr]  # loaded
    first = faults.add("user_data", 7)
    faults.add("chat_data", 8)
    with caplog.at_level(logging.ERROR, "ptb_s3"), pytest.raises(ConflictError) as caught:
        await persistence.flush()
    assert caught.value is first
    assert await users(store) == {1: {}}
    told = [r.getMessage() for r in caplog.records if r.levelno == logging.ERROR]
    assert ["user_data" in told[0], "chat_data" in told[1], len(told)] == [True, True, 2]
    await persistence.flush()


async def test_an_error_of_ones_own_in_staging_is_its_entitys_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whatever it is that is raised there, and without its text, which may quote the value."""
    store = MemoryStore()
    persistence = await loaded(store)
    stage = Repository.stage

    def fail(self: Repository, kind: Kind, key: Any, value: bytes | None) -> None:
        if key == 2:
            raise ZeroDivisionError("secret")
        stage(self, kind, key, value)

    monkeypatch.setattr(Repository, "stage", fail)
    with pytest.raises(ExceptionGroup) as caught:
        await update(persistence, {"user_data": {1: {}, 2: {}, 3: {}}})
    (error,) = caught.value.exceptions
    assert isinstance(error, SerializationError)
    assert (error.kind, error.key) == ("user_data", 2)
    assert "ZeroDivisionError" in str(error)
    assert "secret" not in str(error)
    assert error.__context__ is None
    assert await users(store) == {1: {}, 3: {}}


# What fits ----------------------------------------------------------------------------------------


async def test_a_value_too_large_is_its_entitys_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit counts the key as well, which may be long where it holds text."""
    store = MemoryStore()
    persistence = await loaded(store)
    monkeypatch.setattr(entities, "MAX_ENTITY", 200)
    with pytest.raises(SerializationError, match="at most 200 fit"):
        await persistence.update_user_data(1, {"text": "x" * 200})
    with pytest.raises(SerializationError, match="with its key"):
        await persistence.update_conversation("é" * 100, (1,), 1)
    with pytest.raises(SerializationError, match="with its key"):
        await persistence.update_conversation("c", ("x" * 200,), 1)
    await persistence.update_conversation("c", ("x" * 100, 2), 1)
    assert await make_persistence(store).get_conversations("c") == {("x" * 100, 2): 1}


@pytest.mark.parametrize("key", [("\ud800",), (2**70,), (1.5,), (None,)])
async def test_a_key_that_cannot_be_written_is_its_entitys_alone(key: Any) -> None:
    """Half of a surrogate pair is no text; the same for a drop, which drops nothing."""
    store = MemoryStore()
    persistence = await loaded(store)
    results: Any = await asyncio.gather(
        persistence.update_conversation("c", key, 1),
        persistence.update_conversation("c", (1,), 1),
        persistence.update_conversation("c", key, None),
        return_exceptions=True,
    )
    assert isinstance(results[0], SerializationError)
    assert "cannot be its key" in str(results[0])
    assert results[1:] == [None, None]
    assert await make_persistence(store).get_conversations("c") == {(1,): 1}


# The end ------------------------------------------------------------------------------------------


async def test_one_time_bounds_the_last_updates_and_the_flush() -> None:
    """A silent storage holds up `shutdown()` for no longer; the error names what is unsaved."""
    store = MemoryStore()
    app = make_application(make_persistence(store, flush_timeout=0.5))
    errors = gather_errors(app)
    await app.initialize()
    await _interval(app)
    put = store.put

    async def hang(*_: Any, **__: Any) -> Any:
        await asyncio.Event().wait()

    store.put = hang  # type: ignore[method-assign]  # a storage that never answers
    for user in (1, 2):
        app.user_data[user]["n"] = 9
        app.mark_data_for_update_persistence(user_ids=user)
    loop = asyncio.get_running_loop()
    begun = loop.time()
    with pytest.raises(StorageUnavailableError, match=r"kept in memory \(2 of user_data\)"):
        await app.shutdown()
    assert 0.5 <= loop.time() - begun < 0.9
    assert _kinds(errors) == [StorageUnavailableError]
    store.put = put  # type: ignore[method-assign]  # it answers again
    await persistence_of(app).flush()
    assert (await users(store))[2] == {"n": 9}


@pytest.mark.parametrize("cls", [None, PersistentApplication])
async def test_a_commit_under_way_when_the_bot_is_stopped_has_the_same_time(
    cls: type[App] | None,
) -> None:
    """`Application.stop()` waits for it, before anything is shut down."""
    store = MemoryStore()
    persistence = make_persistence(store, flush_timeout=0.5, update_interval=0.01)
    app = make_application(persistence, application_class=cls)
    errors = gather_errors(app)
    hangs = asyncio.Event()

    async def hang(*_: Any, **__: Any) -> Any:
        hangs.set()
        await asyncio.Event().wait()

    await app.initialize()
    await app.start()
    store.put = hang  # type: ignore[method-assign]  # a storage that never answers
    app.bot_data["n"] = 1
    async with asyncio.timeout(5):
        await hangs.wait()
        begun = asyncio.get_running_loop().time()
        await app.stop()
        with pytest.raises(StorageUnavailableError, match="flush_timeout"):
            await app.shutdown()
    assert 0.5 <= asyncio.get_running_loop().time() - begun < 0.9
    assert set(_kinds(errors)) == {StorageUnavailableError}


async def test_every_commit_that_hangs_is_ended_by_the_flush() -> None:
    """One may hold the lock that another waits for."""
    store = MemoryStore()
    persistence = await loaded(store, flush_timeout=0.05)
    put = store.put

    async def hang(*_: Any, **__: Any) -> Any:
        await asyncio.Event().wait()

    store.put = hang  # type: ignore[method-assign]  # a storage that never answers
    first = asyncio.create_task(persistence.update_user_data(1, {"a": 1}))
    for _ in range(20):
        await asyncio.sleep(0)
    second = asyncio.create_task(persistence.update_user_data(2, {"b": 2}))
    for _ in range(20):
        await asyncio.sleep(0)
    with pytest.raises(StorageUnavailableError, match="flush_timeout"):
        await persistence.flush()
    results: Any = await asyncio.gather(first, second, return_exceptions=True)
    assert _kinds(results) == [StorageUnavailableError] * 2
    store.put = put  # type: ignore[method-assign]  # it answers again
    persistence.flush_timeout = 5
    await persistence.flush()
    assert await users(store) == {1: {"a": 1}, 2: {"b": 2}}


async def test_connections_that_do_not_close_are_left_open(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The end of a stop does not wait for them."""
    store = MemoryStore()
    persistence = await loaded(store, flush_timeout=0.01)

    async def hang() -> None:
        await asyncio.Event().wait()

    store.close = hang  # type: ignore[method-assign]  # a peer that never answers
    async with asyncio.timeout(5):
        await persistence.flush()
    assert "Closed connections in use, or left them open" in caplog.text


def test_a_commit_has_a_time_of_its_own_where_there_is_no_application() -> None:
    """What takes changes needs nobody to tell it about stops."""

    async def save() -> None:
        repository = (await (await loaded(MemoryStore()))._opened()).repository
        commits = GroupCommit(repository, make_persistence(MemoryStore())._serializer)
        await commits.record(Kind.USER_DATA, {1: {}})
        assert repository.revision == 1

    asyncio.run(save())


async def test_a_flush_goes_on_where_somebody_else_gives_up_the_blobs() -> None:
    """Whoever waits for a task that is cancelled is not to be taken for cancelled."""
    store = MemoryStore()
    persistence = await loaded(store)
    await persistence.update_user_data(1, {"n": 1})
    await settled(persistence)
    blobs = (await persistence._opened()).compaction
    blobs.task = asyncio.create_task(asyncio.sleep(60))
    flush = asyncio.create_task(persistence.flush())
    while not blobs.task.done():
        await asyncio.sleep(0)
        blobs.cancel()
    await flush
    assert await users(store) == {1: {"n": 1}}
