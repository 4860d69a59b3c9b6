"""Two instances of a bot on one state: merged when it is committed, refreshed when it is read."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from telegram.ext import ContextTypes
from tests.support import (
    BOT_ID,
    KEY,
    TESTED_LOAD,
    Persistence,
    StoreAround,
    make_persistence,
    settled,
    state_of,
    update,
)

from ptb_s3 import Keyring, PickleSerializer, merge_values
from ptb_s3._engine.active_writers import ACTIVE_FOR
from ptb_s3._engine.repository import Repository
from ptb_s3._engine.staging import Staged
from ptb_s3._format.committed import Base, Identity
from ptb_s3._format.entities import Kind
from ptb_s3._format.head import Head
from ptb_s3._ptb import poller
from ptb_s3._ptb.on_demand import prefetch
from ptb_s3._ptb.poller import AUTO_INTERVAL, Poller
from ptb_s3._storage.body import Body
from ptb_s3._storage.contract import Store
from ptb_s3._storage.faults import Fault
from ptb_s3._storage.memory import MemoryStore
from ptb_s3._values.merge import Merger
from ptb_s3.errors import ConflictError, StorageUnavailableError

USER = Kind.USER_DATA


class Shopper:
    """A context type of a user's own."""

    def __init__(self) -> None:
        self.cart: list[str] = []


class Slotted:
    """One without a `__dict__`."""

    __slots__ = ("cart", "note")

    def __init__(self) -> None:
        self.cart: list[str] = []


class Elsewhere(StoreAround):
    """The same bucket by another name, as a proxy gives it one."""

    async def place(self) -> str:
        return "elsewhere"


def add_up(_: str, __: Any, base: Any, ours: Any, theirs: Any) -> Any:
    merged = merge_values(base, dict(ours), theirs)
    merged["n"] = ours["n"] + theirs["n"] - (base or {}).get("n", 0)
    return merged


async def two(store: MemoryStore, **options: Any) -> list[Persistence]:
    """Two instances that have started, and know nothing of each other yet."""
    instances = [instance_of(store, **options) for _ in range(2)]
    for instance in instances:
        await begun(instance)
    return instances


def instance_of(store: Store, **options: Any) -> Persistence:
    """An instance as an application has it, which reads users and chats as `TESTED_LOAD` says."""
    instance = make_persistence(store, **{"load": TESTED_LOAD, **options})
    instance._loader.application_starts = True
    instance._loader.reads_on_demand = True  # the place of an application's mappings is this test's
    return instance


async def begun(persistence: Persistence) -> dict[str, Any]:
    """Load all that is saved, as a start does, or have it known of the users that these tests have.

    An application that reads on demand has live objects of those whom its handlers have met.
    """
    state = await state_of(persistence)
    commits = persistence._commits
    if commits is not None and commits.repository.base.partial:
        for kind in commits.repository.base.partial:
            await prefetch(commits, [(kind, key) for key in (*range(-1, 5), 101, 102)])
            known = commits.repository.staged.known(kind)
            state[kind.value] = {key: commits.objects.fetch(kind, key) for key in known}
    return state


async def users(store: MemoryStore, **options: Any) -> dict[int, Any]:
    return await make_persistence(store, **options).get_user_data()


def head_reads(store: MemoryStore) -> int:
    return sum(call.name == "head" and call.operation == "get" for call in store.calls)


# What is committed --------------------------------------------------------------------------------


async def test_changes_to_different_users_are_both_there() -> None:
    """The second commit takes over the first, and nobody gets an error."""
    store = MemoryStore()
    one, other = await two(store)
    await update(one, {"user_data": {1: {"n": 1}}})
    await update(other, {"user_data": {2: {"n": 2}}})
    assert await users(store) == {1: {"n": 1}, 2: {"n": 2}}


async def test_two_first_commits_make_one_store() -> None:
    """Both started on an empty bucket: who comes second joins the store of the first."""
    store = MemoryStore()
    one, other = await two(store)
    await update(one, {"user_data": {1: {"n": 1}}})
    await update(other, {"user_data": {2: {"n": 2}}})
    await update(one, {"user_data": {3: {"n": 3}}})
    assert one.stats.revision == 3
    assert await users(store) == {1: {"n": 1}, 2: {"n": 2}, 3: {"n": 3}}


async def test_changes_to_different_fields_are_both_there() -> None:
    """Each instance saves a whole user; what it did not change is as the other has it."""
    store = MemoryStore()
    await update((await two(store))[0], {"user_data": {1: {"a": 1, "b": 1}}})
    one, other = await two(store)
    await update(one, {"user_data": {1: {"a": 2, "b": 1}}})
    await update(other, {"user_data": {1: {"a": 1, "b": 2, "c": 2}}})
    assert await users(store) == {1: {"a": 2, "b": 2, "c": 2}}


async def test_what_was_not_refreshed_is_merged_when_it_is_saved() -> None:
    """An object that is behind by several commits overwrites none of them."""
    store = MemoryStore()
    one, other = await two(store, sync=None)
    await update(one, {"user_data": {1: {"a": 1}}})
    await update(other, {"user_data": {2: {}}})  # takes over user 1, which nobody looks at
    await update(one, {"user_data": {1: {"a": 2, "b": 2}}})
    await update(other, {"user_data": {1: {"c": 3}}})
    await update(other, {"user_data": {1: {"c": 4}}})
    assert await users(store) == {1: {"a": 2, "b": 2, "c": 4}, 2: {}}


async def test_a_drop_wins_over_what_it_did_not_see() -> None:
    """Whoever is dropped is gone, with all that another instance has added meanwhile."""
    store = MemoryStore()
    await update((await two(store))[0], {"user_data": {1: {"a": 1}}})
    one, other = await two(store)
    await update(one, {"user_data": {1: {"a": 1, "b": 2}}})
    await other.drop_user_data(1)
    assert await users(store) == {}


async def test_a_drop_wins_over_what_cannot_be_loaded_here() -> None:
    """A newer version of the bot has saved a class of its own: no reason to keep who is dropped."""
    store = MemoryStore()
    one, other = (instance_of(store, trusted=(name,)) for name in (__name__, "nothing"))
    await begun(one)
    await update(one, {"user_data": {1: {"a": 1}, 2: {"a": 1}}})
    await begun(other)
    await update(one, {"user_data": {1: {"o": Shopper()}}})
    await other.drop_user_data(1)
    assert (await other._opened()).repository.unmerged_kinds == []
    assert other.stats.overridden == 1
    assert await users(store) == {2: {"a": 1}}


async def test_counters_add_up_with_merge() -> None:
    """`merge=` is asked about what both changed, though both changed it to the same."""
    store = MemoryStore()
    one, other = await two(store, merge=add_up)
    await update(one, {"user_data": {1: {"n": 1}}})
    await update(other, {"user_data": {1: {"n": 1}}})
    assert await users(store) == {1: {"n": 2}}


async def test_a_storage_that_is_new_to_a_writer_is_no_reason_to_overwrite() -> None:
    """The first commit by another name of the bucket probes it, and still merges."""
    store = MemoryStore()
    one = instance_of(store, merge=add_up)
    await begun(one)
    await update(one, {"user_data": {1: {"n": 1}}})
    other = instance_of(Elsewhere(store), merge=add_up)
    await begun(other)
    await update(one, {"user_data": {1: {"n": 2}}})
    await update(other, {"user_data": {1: {"n": 2}}})
    assert await users(store) == {1: {"n": 3}}


async def test_merging_is_counted_and_logged_without_values(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """`stats` and one line say how much was merged and overridden, and of whom they do not."""
    store = MemoryStore()
    await update((await two(store))[0], {"user_data": {101: {"a": "old"}, 102: {"a": "old"}}})
    one, other = await two(store)
    await update(one, {"user_data": {101: {"a": "theirs"}, 102: {"a": "old", "b": "theirs"}}})
    caplog.clear()
    with caplog.at_level(logging.DEBUG, "ptb_s3"):
        await update(other, {"user_data": {101: {"a": "ours"}, 102: {"a": "ours"}}})
    (line,) = [r.getMessage() for r in caplog.records if "Took over" in r.getMessage()]
    assert line == (
        "Took over revision 2 of another writer: 2 entities; merged 2, overrode 1 changes"
    )
    stats = other.stats
    assert (stats.conflicts, stats.merged, stats.overridden, stats.failures) == (1, 2, 1, 0)


async def test_what_is_merged_when_it_is_saved_is_counted_too() -> None:
    """Theirs was taken over by a look, while ours was in an object that nobody had saved."""
    store = MemoryStore()
    await update((await two(store))[0], {"user_data": {1: {"a": "old"}, 2: {"a": "old"}}})
    one, other = await two(store)
    await update(one, {"user_data": {1: {"a": "theirs"}, 2: {"a": "theirs"}}})
    await other.catch_up()
    await update(other, {"user_data": {1: {"a": "ours"}, 2: {"a": "old"}}})
    assert await users(store) == {1: {"a": "ours"}, 2: {"a": "theirs"}}
    assert (other.stats.merged, other.stats.overridden) == (1, 1)


async def test_what_cannot_be_merged_is_a_conflict_and_is_kept() -> None:
    """`merge=` raises: that entity alone is left out, and the next commit tries it again."""
    store, faults = MemoryStore(), [True]

    def fail(*values: Any) -> Any:
        if faults:
            raise ValueError("not now")
        return add_up(*values)

    one, other = await two(store, merge=fail)
    await update(one, {"user_data": {1: {"n": 1}}})
    refused = pytest.RaisesExc(ConflictError, match="merge= raised ValueError")
    with pytest.RaisesGroup(refused):  # the call that handed it over; the other one is saved
        await update(other, {"user_data": {1: {"n": 5}, 2: {"n": 2}}})
    repository = (await other._opened()).repository
    assert repository.take_faults() == []
    assert repository.unmerged_kinds == [Kind.USER_DATA]
    assert await users(store) == {1: {"n": 1}, 2: {"n": 2}}
    faults.clear()
    await update(other, {"bot_data": {"b": 1}})
    assert await users(store) == {1: {"n": 6}, 2: {"n": 2}}


async def test_what_cannot_be_merged_when_it_is_saved_is_told_once() -> None:
    """The object was overtaken: the same value is refused once, and another one once more."""
    store = MemoryStore()

    def fail(*_: Any) -> Any:
        raise ValueError("a bug in merge=")

    one, other = await two(store, merge=fail)
    await update(one, {"user_data": {1: {"n": 1}}})
    await other.catch_up()
    refused = pytest.RaisesExc(ConflictError, match="merge= raised ValueError")
    for number in (5, 6):
        with pytest.RaisesGroup(refused):
            await update(other, {"user_data": {1: {"n": number}, 2: {"n": number}}})
        for _ in range(3):
            await update(other, {"user_data": {1: {"n": number}}, "bot_data": {"n": number}})
    assert await users(store) == {1: {"n": 1}, 2: {"n": 6}}
    assert (await other._opened()).repository.unmerged_kinds == [Kind.USER_DATA]


async def test_what_is_dropped_does_not_come_back_with_what_could_not_be_merged() -> None:
    """A change that waits to be merged goes with its user, or its conversation."""
    store, faults = MemoryStore(), [True]

    def fail(_: str, __: Any, ___: Any, ours: Any, ____: Any) -> Any:
        if faults:
            raise ValueError("not now")
        return ours

    one, other = await two(store, merge=fail)
    await update(one, {"user_data": {1: {"n": 1}}, "conversations": {"talk": {(1,): 1}}})
    refused = pytest.RaisesExc(ConflictError, match="merge= raised ValueError")
    with pytest.RaisesGroup(refused, refused):
        await update(other, {"user_data": {1: {"n": 5}}, "conversations": {"talk": {(1,): 5}}})
    await other.drop_user_data(1)
    await other.update_conversation("talk", (1,), None)
    assert (await other._opened()).repository.unmerged_kinds == []
    faults.clear()
    await update(other, {"bot_data": {"b": 1}})
    fresh = make_persistence(store)
    assert (await fresh.get_user_data(), await fresh.get_conversations("talk")) == ({}, {})


async def test_a_merge_that_ends_the_process_leaves_nothing_half_taken_over() -> None:
    """A stop by Ctrl-C saves once more: what others have committed is in the blob, too."""
    store, stops = MemoryStore(), [True]

    def end(*values: Any) -> Any:
        if stops:
            raise KeyboardInterrupt
        return add_up(*values)

    one, other = await two(store, merge=end)
    await update(one, {"user_data": {1: {"n": 1}, 2: {"n": 2}}})
    repository = (await other._opened()).repository
    repository.stage(USER, 1, PickleSerializer().dumps({"n": 5}))
    with pytest.raises(KeyboardInterrupt):
        await repository.commit()
    stops.clear()
    await other.flush()
    assert repository.base.blobs.keys() == {USER}
    assert await users(store) == {1: {"n": 6}, 2: {"n": 2}}


@pytest.mark.long
async def test_forty_writers_at_once_all_commit() -> None:
    """As many as Telegram delivers to at a time: each gets through, within its tries."""

    class Slow(StoreAround):
        async def put(self, name: str, body: bytes | Body, *, if_match: str | None) -> Any:
            await asyncio.sleep(0.001)
            return await super().put(name, body, if_match=if_match)

    store = MemoryStore()
    await update((await two(store))[0], {"user_data": {0: {}}})
    instances = [instance_of(Slow(store), merge=add_up) for _ in range(40)]
    for instance in instances:
        await begun(instance)
    await asyncio.gather(
        *(update(p, {"user_data": {1: {"n": 1}, 100 + i: {}}}) for i, p in enumerate(instances))
    )
    found = await users(store)
    assert found[1] == {"n": 40}
    assert len(found) == 42


async def test_a_writer_that_rests_is_not_starved_by_one_that_does_not() -> None:
    """After a wait, head is looked at again: what was seen before it is old by then."""
    store, calm_is_done = MemoryStore(), asyncio.Event()
    busy, calm = await two(store)

    async def never_rest() -> None:
        number = 0
        while not calm_is_done.is_set():
            await update(busy, {"user_data": {1: {"n": (number := number + 1)}}})
            await asyncio.sleep(0.002)

    task = asyncio.create_task(never_rest())
    for number in range(30):
        await update(calm, {"user_data": {2: {"n": number}}})
    calm_is_done.set()
    await task
    assert (await users(store))[2] == {"n": 29}


async def test_an_older_head_put_back_is_no_commit_to_go_on_from() -> None:
    """It lacks what was acknowledged: the bot says so at each commit, and keeps what is unsaved."""
    store = MemoryStore()
    one, other = await two(store)
    await update(one, {"user_data": {1: {"n": 1}}})
    old = store.current()["head"]
    await update(one, {"user_data": {1: {"n": 2}}})
    newest = store.current()["head"]
    store.replace("head", old)
    for number in (3, 4):
        with pytest.RaisesGroup(pytest.RaisesExc(ConflictError, match="revision 1 again, after")):
            await update(one, {"user_data": {1: {"n": number}}})
    assert store.current()["head"] == old
    store.replace("head", newest)
    await update(one, {"user_data": {2: {"n": 5}}})
    assert await users(store) == {1: {"n": 4}, 2: {"n": 5}}
    del other


async def test_a_bot_goes_on_from_what_an_operator_has_brought_back() -> None:
    """Somebody has committed on top of the older head: that is followed, with what is unsaved."""
    store = MemoryStore()
    one, _ = await two(store)
    await update(one, {"user_data": {1: {"n": 1}, 2: {"n": 1}}})
    old = store.current()
    await update(one, {"user_data": {1: {"n": 2}, 2: {"n": 2}}})
    for name, body in old.items():
        store.replace(name, body)
    with pytest.RaisesGroup(pytest.RaisesExc(ConflictError, match="revision 1 again, after")):
        await update(one, {"user_data": {3: {"n": 3}}})
    operator = instance_of(store)
    await begun(operator)
    await update(operator, {"user_data": {4: {"n": 4}}})
    await update(one, {"user_data": {5: {"n": 5}}})
    assert await users(store) == {n: {"n": n if n > 2 else 1} for n in range(1, 6)}


async def test_compactions_of_two_writers_do_not_disturb_each_other() -> None:
    """Whose blob it is does not matter, as long as its revision only grows."""
    store = MemoryStore()
    one, other = await two(store)
    for number in range(8):
        for instance, user in ((one, 1), (other, 2)):
            await update(instance, {"user_data": {user: {"n": number, "x": "x" * 30_000}}})
            await settled(instance)
    await one.flush()
    await other.flush()
    found = await users(store)
    assert {user: value["n"] for user, value in found.items()} == {1: 7, 2: 7}
    assert one.stats.compactions + other.stats.compactions >= 2


async def test_keyboards_of_another_instance_stay() -> None:
    """PTB hands over all the buttons that it knows; others are not among the dropped."""
    store = MemoryStore()
    one, other = await two(store)
    await update(one, {"callback_data": ([("one", 1.0, {"b": 1})], {})})
    await update(other, {"callback_data": ([("other", 2.0, {"b": 2})], {"q": "other"})})
    await update(one, {"callback_data": ([], {})})
    found = await make_persistence(store).get_callback_data()
    assert found == ([("other", 2.0, {"b": 2})], {"q": "other"})


async def test_a_keyboard_that_both_dropped_may_come_back() -> None:
    """Restored with the very same content: whoever dropped it has not seen it, and lets it be."""
    store, keyboard = MemoryStore(), ("one", 1.0, {"b": 1})
    one, other = await two(store)
    await update(one, {"callback_data": ([keyboard], {})})
    one, other = await two(store)
    await update(other, {"callback_data": ([], {})})
    await one.catch_up()
    await update(one, {"callback_data": ([], {}), "bot_data": {"n": 1}})
    await update(other, {"callback_data": ([keyboard], {})})
    await one.catch_up()
    await update(one, {"callback_data": ([], {}), "bot_data": {"n": 2}})
    assert await make_persistence(store).get_callback_data() == ([keyboard], {})


async def test_a_restore_asked_of_two_instances_is_carried_out_once() -> None:
    """A rolling deploy starts both with `PTB_S3_RESTORE`: the second finds it done."""
    store = MemoryStore()
    first = instance_of(store)
    await begun(first)
    for number in range(1, 4):
        await update(first, {"user_data": {1: {"n": number}}})
    instances = [instance_of(store, restore="1") for _ in range(2)]
    await asyncio.gather(*(begun(instance) for instance in instances))
    assert [await p.get_user_data() for p in instances] == [{1: {"n": 1}}] * 2
    assert max(p.stats.revision for p in instances) == 4


# What is read -------------------------------------------------------------------------------------


async def test_refresh_brings_changes_into_the_live_object() -> None:
    """In place: handlers may hold on to it. New users fill, dropped ones empty."""
    store = MemoryStore()
    one, other = await two(store, sync=0)
    await update(one, {"user_data": {1: {"a": 1}, 2: {"a": 2}}, "chat_data": {-1: {"c": 1}}})
    live: dict[str, Any] = {}
    await other.refresh_user_data(1, live)
    assert live == {"a": 1}
    await other.update_user_data(1, dict(live))
    await one.drop_user_data(1)
    await update(one, {"chat_data": {-1: {"c": 2}}, "bot_data": {"b": 1}})
    chat: dict[str, Any] = {}
    bot: dict[str, Any] = {}
    await other.refresh_user_data(1, live)
    await other.refresh_chat_data(-1, chat)
    await other.refresh_bot_data(bot)
    assert (live, chat, bot) == ({}, {"c": 2}, {"b": 1})


@pytest.mark.parametrize("cls", [Shopper, Slotted])
async def test_refresh_changes_objects_of_own_types_in_place(cls: type[Any]) -> None:
    """Attributes and slots are set, and those that are gone are deleted."""
    types: Any = ContextTypes(user_data=cls)
    options: dict[str, Any] = {"context_types": types, "trusted": (__name__,), "sync": 0}
    store = MemoryStore()
    one, other = await two(store, **options)
    theirs, live = cls(), cls()
    theirs.cart, theirs.note = ["tea"], "fragile"
    await one.update_user_data(1, theirs)
    await other.refresh_user_data(1, live)
    assert (live.cart, live.note) == (["tea"], "fragile")
    del theirs.note
    await one.update_user_data(1, theirs)
    await other.refresh_user_data(1, live)
    assert not hasattr(live, "note")


async def test_refresh_leaves_alone_what_is_not_saved_yet() -> None:
    """A live object that differs from what was last seen holds somebody's work."""
    store = MemoryStore()
    await update((await two(store))[0], {"user_data": {1: {"a": 1}}})
    one, other = await two(store, sync=0)
    live = (await other.get_user_data())[1]
    live["mine"] = True
    await update(one, {"user_data": {1: {"a": 2}}})
    await other.refresh_user_data(1, live)
    assert live == {"a": 1, "mine": True}
    await other.update_user_data(1, dict(live))
    assert await users(store) == {1: {"a": 2, "mine": True}}
    await other.refresh_user_data(1, live)
    assert live == {"a": 2, "mine": True}


async def test_refresh_does_not_load_what_it_does_not_know(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A newer version of the bot has saved a class of its own: the live object stays."""
    store = MemoryStore()
    one = instance_of(store, trusted=(__name__,))
    other = instance_of(store, trusted=("nothing",), sync=0)
    for instance in (one, other):
        await begun(instance)
    await update(one, {"user_data": {1: {"o": Shopper()}}})
    live: dict[str, Any] = {}
    await other.refresh_user_data(1, live)
    assert live == {}
    assert "Left a live object of user_data as it was" in caplog.text


async def test_nobody_looks_while_nobody_else_is_there() -> None:
    """`sync="auto"` costs a bot that is alone nothing at all."""
    store = MemoryStore()
    persistence = instance_of(store)
    await begun(persistence)
    before = head_reads(store)
    for _ in range(5):
        await persistence.refresh_user_data(1, {})
        await update(persistence, {"user_data": {1: {"n": 1}}})
    assert head_reads(store) - before == 1  # before the first commit of all
    assert persistence._commits is not None


async def _poller(store: MemoryStore, sync: Any) -> tuple[Poller, Repository, list[datetime]]:
    times = [datetime(2026, 11, 25, tzinfo=UTC)]
    merger = Merger(PickleSerializer())
    repository = Repository(
        store,
        Keyring(KEY),
        bot=BOT_ID,
        serializer="pickle5",
        clock=lambda: times[0],
        resolve=merger,
    )
    await repository.load()
    return Poller(repository, sync), repository, times


async def test_auto_looks_once_a_second_while_another_is_about() -> None:
    """A writer that was met is reckoned with for ten minutes, by the second."""
    store = MemoryStore()
    lookout, repository, times = await _poller(store, "auto")
    repository.stage(USER, 1, b"a")
    await repository.commit()
    _, other, _ = await _poller(store, None)
    other.stage(USER, 2, b"b")
    await other.commit()
    await repository.sync()
    counts = Counter[str]()
    for tick in range(40):
        before = head_reads(store)
        await lookout.look(100.0 + tick * AUTO_INTERVAL / 4)
        counts["looks"] += head_reads(store) - before
    assert counts["looks"] == 10
    times[0] += ACTIVE_FOR + timedelta(seconds=1)
    before = head_reads(store)
    await lookout.look(1000.0)
    assert head_reads(store) == before


async def test_a_store_that_was_just_committed_to_may_have_a_writer() -> None:
    """A new instance in a rolling deploy looks from the start: the old one is still there."""
    store = MemoryStore()
    _, old, _ = await _poller(store, None)
    old.stage(USER, 1, b"a")
    await old.commit()
    lookout, new, times = await _poller(store, "auto")
    company = [new.in_company]
    times[0] += ACTIVE_FOR + timedelta(seconds=1)
    company.append(new.in_company)
    assert company == [True, False]
    before = head_reads(store)
    await lookout.look(1.0)
    assert head_reads(store) == before


@pytest.mark.parametrize(("sync", "looks"), [(None, 0), (0, 9), (2.0, 5)])
async def test_sync_says_how_often_to_look(sync: float | None, looks: int) -> None:
    """Never, each time, or after so many seconds, whoever is there."""
    store = MemoryStore()
    lookout, _, _ = await _poller(store, sync)
    before = head_reads(store)
    for second in range(9):
        await lookout.look(float(second))
    assert head_reads(store) - before == looks


async def test_a_look_that_fails_is_no_failure_of_the_update(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Handlers go on with what there is; one warning, until it works again."""
    store = MemoryStore()
    lookout, _, _ = await _poller(store, 0)
    store.faults = lambda _: Fault.FAIL_BEFORE
    before = head_reads(store)
    for second in range(12):  # and then it is left alone for a while
        await lookout.look(float(second))
    assert head_reads(store) - before == 2
    assert caplog.text.count("Could not look for commits of other writers") == 1
    store.faults = lambda _: None
    await lookout.look(25.0)
    store.faults = lambda _: Fault.FAIL_BEFORE
    await lookout.look(26.0)
    assert caplog.text.count("Could not look for commits of other writers") == 2


async def test_a_look_does_not_wait_for_a_silent_storage(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An update is not held up for as long as a commit may take."""
    monkeypatch.setattr(poller, "PATIENCE", 0.01)
    store = MemoryStore()
    lookout, repository, _ = await _poller(store, 0)

    async def hang(*_: Any, **__: Any) -> Any:
        await asyncio.Event().wait()

    get, store.get = store.get, hang  # type: ignore[method-assign]  # it has gone silent
    async with asyncio.timeout(5):
        await lookout.look(0.0)
    assert "no answer within 0.01 s" in caplog.text
    store.get = get  # type: ignore[method-assign]  # and is back
    repository.stage(USER, 1, b"a")
    await repository.commit()
    assert repository.revision == 1


async def test_catching_up_fails_loudly() -> None:
    """Whoever asks for what is committed now gets it, or an error."""
    store = MemoryStore()
    persistence = instance_of(store)
    await begun(persistence)
    store.faults = lambda _: Fault.FAIL_BEFORE
    with pytest.raises(StorageUnavailableError):
        await persistence.catch_up()


def test_what_was_taken_back_and_turns_out_to_be_committed_is_seen() -> None:
    """The caller's object is what is committed then: it is behind of nothing."""
    staged = Staged(Base(Identity("store", "pickle5"), Head(1, "", BOT_ID)))
    staged.stage(USER, 1, b"new", None)
    sent = staged.changes({})
    staged.discard()
    assert staged.overtaken[USER] == {1: b"new"}
    staged.advance(sent)
    assert staged.get(USER, 1) == b"new"
    assert staged.overtaken[USER] == {}


async def test_nothing_is_brought_in_between_a_copy_and_its_staging() -> None:
    """A copy was made before another instance's commit came in, and is staged after it."""
    store = MemoryStore()
    one, other = await two(store, sync=0)
    await update(one, {"user_data": {1: {"n": 0}}})
    await one.catch_up()
    await update(other, {"user_data": {1: {"n": 0, "theirs": 1}}})
    live = {"n": 0}
    await one.catch_up()
    call = asyncio.create_task(one.update_user_data(1, dict(live)))
    for _ in range(3):
        await one.refresh_user_data(1, live)
        await asyncio.sleep(0)
    await call
    await one.refresh_user_data(1, live)
    assert live == {"n": 0, "theirs": 1}
    assert await users(store) == {1: {"n": 0, "theirs": 1}}
