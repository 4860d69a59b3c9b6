"""S3Persistence by itself: arguments, group commit, what is a change, what an error says."""

from __future__ import annotations

import asyncio
import os
import threading
import weakref
from decimal import Decimal
from typing import Any

import pytest
from tests.support import make_persistence, settled, state_of, update

from ptb_s3 import Key, Keyring, S3Persistence
from ptb_s3._format.entities import Kind
from ptb_s3._ptb import background_compaction
from ptb_s3._storage.body import Body
from ptb_s3._storage.faults import Call, Fault
from ptb_s3._storage.memory import MemoryStore
from ptb_s3.errors import (
    SerializationError,
    SettingsError,
    StorageUnavailableError,
    UntrustedTypeError,
)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"update_interval": 0}, "would save without a pause, at full load"),
        ({"update_interval": -1}, "above 0"),
        ({"compression_level": 0}, "from 1 to 19"),
        ({"compression_level": 22}, "from 1 to 19"),
        ({"flush_timeout": 0}, "flush_timeout= is not a number of seconds above 0"),
        ({"sync": -1}, 'Give "auto", a number of seconds, or "none"'),
        ({"sync": "always"}, "sync= is not understood"),
    ],
)
def test_an_argument_that_cannot_be_used_is_refused(options: dict[str, Any], text: str) -> None:
    """A bad argument is an error at once, which says what would be right."""
    with pytest.raises(SettingsError, match=text) as caught:
        S3Persistence("bucket", keyring=Keyring(Key.generate()), **options)
    assert caught.value.exit_code == 2


async def test_updates_of_one_tick_are_one_commit() -> None:
    """However many calls PTB gathers, they share one PUT, and return when it is durable."""
    store = MemoryStore()
    persistence = make_persistence(store)
    await state_of(persistence)
    await update(persistence, {"bot_data": {1: 1}})
    await settled(persistence)
    before = len(store.calls)
    await update(persistence, {"user_data": {i: {"n": i} for i in range(100)}, "bot_data": {1: 2}})
    assert [c.name for c in store.calls[before : before + 1]] == ["head"]
    await settled(persistence)
    commits = [call for call in store.calls[before:] if call.name == "head"]
    assert [call.operation for call in commits] == ["put"]


async def test_an_interval_without_changes_is_no_request() -> None:
    """Equal bytes are no change; PTB's bot_data, sent every interval, costs nothing."""
    store = MemoryStore()
    persistence = make_persistence(store)
    await state_of(persistence)
    state = {"user_data": {1: {"n": 1}}, "bot_data": {"b": 1}, "callback_data": ([], {})}
    await update(persistence, state)
    await settled(persistence)
    before = len(store.calls)
    await update(persistence, state)
    assert len(store.calls) == before


async def test_what_was_changed_back_before_it_was_saved_is_no_change() -> None:
    """No commit, no blob, and nothing that is unsaved: the next start reads everything anew."""
    store = MemoryStore()
    before = make_persistence(store)
    await state_of(before)
    await update(before, {"user_data": {1: {"n": 1}}})
    await before.flush()
    persistence = make_persistence(store)
    await state_of(persistence)
    calls = len(store.calls)
    await asyncio.gather(*(persistence.update_user_data(1, {"n": n}) for n in (2, 1)))
    await settled(persistence)
    assert len(store.calls) == calls
    assert not (await persistence._opened()).repository.dirty


async def test_an_idle_bot_writes_nothing() -> None:
    """Empty bot_data and callback data, as PTB sends them from the start, make no store."""
    store = MemoryStore()
    persistence = make_persistence(store)
    await state_of(persistence)
    await update(persistence, {"bot_data": {}, "callback_data": ([], {})})
    await persistence.flush()
    assert store.current() == {}


async def test_bot_data_emptied_again_is_saved() -> None:
    """Empty bot_data is no change only while none was ever saved."""
    store = MemoryStore()
    persistence = make_persistence(store)
    await state_of(persistence)
    await update(persistence, {"bot_data": {"b": 1}})
    await update(persistence, {"bot_data": {}})
    assert await make_persistence(store).get_bot_data() == {}


async def test_a_failure_is_told_to_every_caller_and_made_up_for() -> None:
    """No call returns as if durable; what they held goes with the next commit, unasked."""
    store = MemoryStore()
    persistence = make_persistence(store)
    await state_of(persistence)
    store.faults = lambda _: Fault.FAIL_BEFORE
    with pytest.raises(ExceptionGroup) as caught:
        await update(persistence, {"user_data": {i: {} for i in range(10)}})
    assert [type(error) for error in caught.value.exceptions] == [StorageUnavailableError] * 10
    assert persistence.stats.failures == 1
    store.faults = lambda _: None
    await update(persistence, {"bot_data": {"b": 1}})
    assert len(await make_persistence(store).get_user_data()) == 10


async def test_a_value_that_cannot_be_saved_stops_no_other() -> None:
    """Its error names kind, key and path; its last good value stays; the rest is saved."""
    store = MemoryStore()
    persistence = make_persistence(store)
    await state_of(persistence)
    await update(persistence, {"user_data": {1: {"cart": [1], "good": 0}}})
    bad: dict[str, Any] = {"cart": [1, {"lock": threading.Lock()}], "good": 1}
    with pytest.raises(ExceptionGroup) as caught:
        await update(persistence, {"user_data": {1: bad, 2: {"fine": 2}}})
    (error,) = caught.value.exceptions
    assert isinstance(error, SerializationError)
    assert (error.kind, error.key, error.path) == ("user_data", 1, "['cart'][1]['lock']")
    assert "cart" not in str(error)
    saved = await make_persistence(store).get_user_data()
    assert saved == {1: {"cart": [1], "good": 1}, 2: {"fine": 2}}


async def test_a_button_that_cannot_be_saved_stops_no_other() -> None:
    """Each keyboard is an entity of its own."""
    store = MemoryStore()
    persistence = make_persistence(store)
    await state_of(persistence)
    keyboards = [("a", 1.0, {"x": threading.Lock()}), ("b", 2.0, {"y": "fine"})]
    with pytest.raises(ExceptionGroup):
        await update(persistence, {"callback_data": (keyboards, {})})
    found = await make_persistence(store).get_callback_data()
    assert found == ([("b", 2.0, {"y": "fine"})], {})


async def test_callback_data_comes_back_in_order_and_shrinks() -> None:
    """Keyboards come back least recently used first; what PTB dropped is gone."""
    store = MemoryStore()
    persistence = make_persistence(store)
    await state_of(persistence)
    three = [(name, time, {"b": name}) for name, time in (("a", 3.0), ("b", 1.0), ("c", 2.0))]
    await update(persistence, {"callback_data": (three, {"q1": "a", "q2": "b"})})
    await update(persistence, {"callback_data": (three[:2], {"q2": "b"})})
    found = await make_persistence(store).get_callback_data()
    assert found == ([("b", 1.0, {"b": "b"}), ("a", 3.0, {"b": "a"})], {"q2": "b"})


class Untrusted:
    """Of a module that nobody named."""


async def test_a_class_nobody_named_is_refused_when_first_saved() -> None:
    """What could not be loaded is not saved."""
    persistence = make_persistence(MemoryStore())
    await state_of(persistence)
    with pytest.raises(UntrustedTypeError, match="Untrusted"):
        await persistence.update_user_data(1, {"x": Untrusted()})


async def test_a_key_that_does_not_fit_poisons_no_commit() -> None:
    """A key that the format cannot hold is an error of its own call alone."""
    store = MemoryStore()
    persistence = make_persistence(store)
    await state_of(persistence)
    with pytest.raises(SerializationError, match="cannot be its key"):
        await persistence.update_conversation("name", (1, 2.5), "state")  # type: ignore[arg-type]  # wrong
    await persistence.update_user_data(1, {})
    assert await make_persistence(store).get_user_data() == {1: {}}


@pytest.mark.parametrize("key", [5.0, True, Decimal(5)])
async def test_a_drop_by_another_form_of_a_key_poisons_no_commit(key: Any) -> None:
    """It finds what the key is equal to, as PTB's own maps do, and is written by that one's key."""
    store = MemoryStore()
    persistence = make_persistence(store)
    await state_of(persistence)
    await update(persistence, {"user_data": {int(key): {"n": 1}, 2: {"n": 2}}})
    await persistence.drop_user_data(key)
    assert await make_persistence(store).get_user_data() == {2: {"n": 2}}


async def test_getters_return_fresh_objects() -> None:
    """What PTB does to a loaded value does not reach what is committed."""
    persistence = make_persistence(MemoryStore())
    await state_of(persistence)
    await persistence.update_user_data(1, {"list": [1]})
    first = await persistence.get_user_data()
    first[1]["list"].append(2)
    assert await persistence.get_user_data() == {1: {"list": [1]}}


async def test_a_cancelled_call_does_not_stop_the_others_commit() -> None:
    """PTB may give up waiting; what it handed over is committed all the same."""
    store = MemoryStore()
    persistence = make_persistence(store)
    await state_of(persistence)
    first = asyncio.create_task(persistence.update_user_data(1, {"a": 1}))
    second = asyncio.create_task(persistence.update_user_data(2, {"b": 2}))
    await asyncio.sleep(0)
    first.cancel()
    await second
    assert len(await make_persistence(store).get_user_data()) == 2


async def test_flush_gives_up_in_time_and_keeps_what_it_has() -> None:
    """Storage that never answers does not hold up the end; another flush tries again."""
    store = MemoryStore()
    persistence = make_persistence(store, flush_timeout=0.05)
    await state_of(persistence)
    persistence._commits.repository.stage(Kind.USER_DATA, 1, b"x")  # type: ignore[union-attr]  # loaded
    put, answer = store.put, asyncio.Event()

    async def hang(name: str, body: bytes | Body, *, if_match: str | None) -> Any:
        await answer.wait()
        return await put(name, body, if_match=if_match)

    store.put = hang  # type: ignore[method-assign]  # a storage that hangs
    with pytest.raises(StorageUnavailableError, match="flush_timeout"):
        await persistence.flush()
    answer.set()
    persistence.flush_timeout = 5
    await persistence.flush()
    assert "head" in store.current()


async def test_flush_ends_a_commit_that_hangs() -> None:
    """A flush whose time is up gives up the commit under way, which says so; nothing is lost."""
    store = MemoryStore()
    persistence = make_persistence(store, flush_timeout=0.05)
    await state_of(persistence)
    put = store.put

    async def hang(*_: Any, **__: Any) -> Any:
        await asyncio.Event().wait()

    store.put = hang  # type: ignore[method-assign]  # a storage that never answers
    updated = asyncio.create_task(persistence.update_user_data(1, {"a": 1}))
    await asyncio.sleep(0)
    with pytest.raises(StorageUnavailableError, match="flush_timeout"):
        await persistence.flush()
    with pytest.raises(StorageUnavailableError, match="given up when the bot was stopped"):
        await updated
    store.put = put  # type: ignore[method-assign]  # it answers again
    persistence.flush_timeout = 5
    await persistence.flush()
    assert await make_persistence(store).get_user_data() == {1: {"a": 1}}


async def test_an_interval_is_serialised_in_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between slices the loop does other work; what comes meanwhile belongs to the same commit."""
    monkeypatch.setattr("ptb_s3._ptb.group_writer.SLICE", 0)
    store = MemoryStore()
    persistence = make_persistence(store)
    await state_of(persistence)
    await update(persistence, {"bot_data": {1: 1}})
    await settled(persistence)
    before = len(store.calls)
    updates = asyncio.create_task(update(persistence, {"user_data": {i: {} for i in range(20)}}))
    for _ in range(5):
        await asyncio.sleep(0)
    await asyncio.gather(updates, persistence.update_chat_data(7, {"late": 1}))
    await settled(persistence)
    puts = [call.name for call in store.calls[before:] if call.name == "head"]
    assert puts == ["head"]
    reader = make_persistence(store)
    assert len(await reader.get_user_data()) == 20
    assert await reader.get_chat_data() == {7: {"late": 1}}


async def test_whoever_waits_for_the_loop_goes_on_between_two_slices(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A timer that fires resumes its task two ticks later; no second slice comes in between."""
    monkeypatch.setattr("ptb_s3._ptb.group_writer.SLICE", 0)
    persistence = make_persistence(MemoryStore())
    await state_of(persistence)
    commits = await persistence._opened()
    loop, stage = asyncio.get_running_loop(), commits._capture.stage
    log: list[str] = []

    async def wait_for(timer: asyncio.Future[None]) -> None:
        await timer
        log.append("resumed")

    def stage_one(update: Any) -> None:
        stage(update)
        log.append("staged")
        loop.call_at(loop.time(), timers.pop().set_result, None)

    timers: list[asyncio.Future[None]] = [loop.create_future() for _ in range(20)]
    waiting = [asyncio.create_task(wait_for(timer)) for timer in timers]
    monkeypatch.setattr(commits._capture, "stage", stage_one)
    await update(persistence, {"user_data": {number: {} for number in range(20)}})
    await asyncio.gather(*waiting)
    assert log == ["staged", "resumed"] * 20


async def test_values_go_as_soon_as_they_are_serialised() -> None:
    """Of many that are handed over in one call, none is held until the commit is done."""
    persistence = make_persistence(MemoryStore())
    await state_of(persistence)
    commits = await persistence._opened()
    values: dict[Any, Any] = {number: {number} for number in range(120)}
    alive = [weakref.ref(value) for value in values.values()]
    commit, left = commits.repository.commit, []

    async def look(**options: Any) -> None:
        left.append(sum(value() is not None for value in alive))
        await commit(**options)

    commits.repository.commit = look  # type: ignore[method-assign]
    assert await commits.record_many(Kind.USER_DATA, values) == []
    assert left == [0]


@pytest.mark.parametrize("ticks", [3, 4, 8])
async def test_a_commit_given_up_while_it_serialises_keeps_all(
    monkeypatch: pytest.MonkeyPatch, ticks: int
) -> None:
    """What PTB has handed over is staged even if the commit is cancelled half-way there."""
    monkeypatch.setattr("ptb_s3._ptb.group_writer.SLICE", 0)
    store = MemoryStore()
    persistence = make_persistence(store)
    await state_of(persistence)
    updates = asyncio.create_task(update(persistence, {"user_data": {i: {} for i in range(20)}}))
    for _ in range(ticks):
        await asyncio.sleep(0)
    commits = persistence._commits
    assert commits is not None
    (committing,) = commits._committing
    committing.cancel()
    with pytest.raises(ExceptionGroup):
        await updates
    assert "head" not in store.current()
    await persistence.flush()
    assert len(await make_persistence(store).get_user_data()) == 20


async def test_a_bot_that_committed_nothing_leaves_all_as_it_was() -> None:
    """A start and a stop write nothing, so that an instance that is tried out disturbs no other."""
    store = MemoryStore(faults=_no_blobs)
    persistence = make_persistence(store)
    await state_of(persistence)
    await persistence.update_user_data(1, {"a": 1})
    await settled(persistence)
    store.faults = lambda _: None
    other = make_persistence(store)
    await state_of(other)
    before = len(store.calls)
    await other.flush()
    assert len(store.calls) == before
    await persistence.update_user_data(1, {"a": 2})


def _no_blobs(call: Call) -> Fault | None:
    return Fault.FAIL_BEFORE if call.operation == "put" and call.name != "head" else None


async def test_flush_writes_blobs_and_is_idempotent(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a flush what pays lies in blobs; a second flush finds nothing to do."""
    monkeypatch.setattr(
        background_compaction.BackgroundCompaction, "start", lambda _: None
    )  # no time for it before
    store = MemoryStore()
    persistence = make_persistence(store)
    await state_of(persistence)
    await update(persistence, {"user_data": {1: {"a": 1}}, "chat_data": {2: {"b": 2}}})
    await update(persistence, {"user_data": {1: {"a": 2}}})
    await persistence.flush()
    revision = persistence.stats.revision
    reader = make_persistence(store)
    assert (await reader.get_user_data())[1] == {"a": 2}
    assert reader._commits is not None
    parts = reader._commits.repository.base.head.parts
    assert not any(part.differential for part in parts.values())
    before = len(store.calls)
    await persistence.flush()
    assert len(store.calls) == before
    assert persistence.stats.revision == revision


async def test_an_application_for_each_update_costs_what_changed() -> None:
    """A flush writes a blob where that pays, and not because something has changed."""
    store = MemoryStore()
    users = {user: {"n": 0, "blob": os.urandom(60).hex()} for user in range(1, 2001)}
    first = make_persistence(store)
    await state_of(first)
    await update(first, {"user_data": users})
    await first.flush()
    whole = len(store.current()["user_data"])
    for number in range(1, 4):
        persistence = make_persistence(store)
        users = await persistence.get_user_data()
        await update(persistence, {"user_data": {7: {**users[7], "n": number}}})
        await persistence.flush()
        assert persistence.stats.bytes_sent < whole / 10
        assert persistence.stats.compactions == 0
    assert (await make_persistence(store).get_user_data())[7]["n"] == 3


async def test_flush_of_what_was_never_opened_does_nothing() -> None:
    """PTB flushes at shutdown even if it never read a thing."""
    store = MemoryStore()
    await make_persistence(store).flush()
    assert store.calls == []


async def test_a_getter_after_flush_reads_anew() -> None:
    """Re-initialised after shutdown, a bot sees what the bucket holds now."""
    store = MemoryStore()
    ours, theirs = make_persistence(store), make_persistence(store)
    await state_of(ours)
    await ours.update_user_data(1, {"a": 1})
    await ours.flush()
    await state_of(theirs)
    await theirs.update_user_data(1, {"a": 2})
    await theirs.flush()
    assert await ours.get_user_data() == {1: {"a": 2}}
    await ours.update_user_data(1, {"a": 3})


async def test_without_a_bot_the_error_says_so() -> None:
    """Used by itself, outside an application, it says what is missing."""
    persistence: S3Persistence[Any, Any, Any] = S3Persistence(
        "bucket", keyring=Keyring(Key.generate())
    )
    with pytest.raises(RuntimeError, match="has no bot yet"):
        await persistence.get_user_data()


async def test_a_failed_start_can_be_tried_again() -> None:
    """An error at start leaves nothing half open."""
    store = MemoryStore(faults=lambda call: Fault.FAIL_BEFORE if call.number == 3 else None)
    persistence = make_persistence(store)
    with pytest.raises(StorageUnavailableError):
        await persistence.get_user_data()
    assert await persistence.get_user_data() == {}


async def test_restore_happens_before_the_first_getter_returns() -> None:
    """`restore=` brings the old state back at start, once."""
    store = MemoryStore()
    persistence = make_persistence(store)
    await state_of(persistence)
    for number in range(1, 4):
        await persistence.update_user_data(1, {"n": number})
    again = make_persistence(store, restore="1")
    assert await again.get_user_data() == {1: {"n": 1}}
    await again.update_user_data(1, {"n": 9})
    assert await make_persistence(store, restore="1").get_user_data() == {1: {"n": 9}}


async def test_a_compaction_that_fails_is_logged_and_harms_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A blob that could not be written is tried again later; the commit stands."""
    store = MemoryStore(faults=_no_blobs)
    persistence = make_persistence(store)
    await state_of(persistence)
    await persistence.update_user_data(1, {"a": 1})
    await settled(persistence)
    assert "Could not write blob user_data yet; nothing is lost" in caplog.text
    before = len(store.calls)
    await persistence.update_user_data(1, {"a": 1})
    await settled(persistence)
    assert len(store.calls) == before, "nothing changed is no request, here too"
    store.faults = lambda _: None
    await persistence.update_user_data(1, {"a": 2})
    await settled(persistence)
    assert "user_data" in store.current()
