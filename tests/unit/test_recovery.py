"""What was lost by accident comes back from the versions, and nothing begins above a deletion."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.support import (
    BOT_ID,
    KEY,
    OTHER_KEY,
    AnyOrder,
    Persistence,
    StoreAround,
    make_persistence,
    opened,
    update,
)
from tests.unit.test_lines import ours_wins

from ptb_s3 import Keyring
from ptb_s3._engine.head_builder import Operation
from ptb_s3._engine.repository import Repository
from ptb_s3._format.container import HEAD
from ptb_s3._format.entities import Kind
from ptb_s3._format.restore_point import RestorePoint
from ptb_s3._history import listing, recovery
from ptb_s3._history.recovery import Found
from ptb_s3._storage.contract import Fetched
from ptb_s3._storage.memory import MemoryStore
from ptb_s3.errors import (
    ConflictError,
    DamagedObjectError,
    DeletedStateError,
    ForeignStoreError,
    HeadLostError,
    NothingThereError,
    PersistenceError,
    RestorePointError,
    UnknownKeyError,
)

USER, CHAT = Kind.USER_DATA, Kind.CHAT_DATA
START = datetime(2026, 11, 29, tzinfo=UTC)
ALL = [HEAD, *Kind]


def ticking() -> Callable[[], datetime]:
    times: Iterator[int] = iter(range(10**6))
    return lambda: START + timedelta(seconds=next(times))


async def a_store(commits: int = 6, *, versioned: bool = True) -> MemoryStore:
    """Revision n has user 1 at n; blobs of users and chats are written with every third."""
    store = MemoryStore(clock=ticking(), versioned=versioned)
    repository = await opened(store)
    for number in range(1, commits + 1):
        repository.stage(USER, 1, b"%d" % number)
        repository.stage(CHAT, -number, b"x")
        await repository.commit()
        if number % 3 == 0:
            await repository.compact(USER)
            await repository.compact(CHAT)
    return store


def users(repository: Repository) -> dict[Any, bytes]:
    return dict(repository.base.entities[USER])


async def repaired(store: MemoryStore, keys: Keyring | None = None) -> tuple[Repository, Found]:
    """Do as `ptb-s3 repair`; return what is read afterwards, and what it was made of."""
    repository = Repository(store, keys or Keyring(KEY))
    found = (await repository.recover()).found
    await repository.mend()
    await repository.commit(publish=True, operation=Operation())
    return await opened(store, keys), found


def garble(store: MemoryStore, name: str, how: str) -> None:
    body = store.current()[name]
    if how == "deleted":
        store.lose(name)
    elif how == "older":
        history = store._history[name]
        store.replace(name, history[0].body)
    else:
        bodies = {"empty": b"", "garbage": b"<html>no</html>", "cut": body[:-9]}
        bodies["flipped"] = body[:-1] + bytes([body[-1] ^ 1])
        store.replace(name, bodies[how])


# Deleted is not new -------------------------------------------------------------------------------


async def test_a_deleted_state_is_not_a_new_one() -> None:
    """The error says when it was deleted, how much is left, and which deletion is meant."""
    store = await a_store()
    newest = store._history[HEAD][-1].written.version_id
    for name in list(store.current()):
        store.lose(name)
    with pytest.raises(DeletedStateError) as caught:
        await opened(store)
    error = caught.value
    assert (error.version_id, error.commits, error.exit_code) == (newest, 6, 3)
    assert error.deleted is not None
    assert all(
        text in str(error) for text in (f"begin-anew {newest}", "ptb-s3 repair", "brought back: 6")
    )
    assert store.current() == {}


async def test_a_command_says_the_same() -> None:
    store = await a_store()
    for name in list(store.current()):
        store.lose(name)
    with pytest.raises(DeletedStateError):
        await Repository(store, Keyring(KEY)).load()


async def test_a_new_state_is_begun_above_the_very_deletion_that_is_named() -> None:
    """A later deletion has another id, and the same request begins nothing then."""
    store = await a_store()
    for name in list(store.current()):
        store.lose(name)
    with pytest.raises(DeletedStateError) as caught:
        await opened(store, begin_anew="v1")
    anew = await opened(store, begin_anew=caught.value.version_id)
    anew.stage(USER, 7, b"new")
    await anew.commit()
    assert users(await opened(store)) == {7: b"new"}
    store.lose(HEAD)
    with pytest.raises(DeletedStateError):
        await opened(store, begin_anew=caught.value.version_id)


async def test_nothing_is_begun_above_what_was_deleted_meanwhile() -> None:
    """S3 takes a first commit again above a delete marker."""
    store = MemoryStore(clock=ticking())
    early = await opened(store)
    other = await opened(store)
    other.stage(USER, 1, b"1")
    await other.commit()
    store.lose(HEAD)
    early.stage(USER, 2, b"2")
    with pytest.raises(DeletedStateError):
        await early.commit()
    assert store.current() == {}
    assert early.dirty


async def test_without_versions_nothing_is_left_to_tell() -> None:
    store = await a_store(versioned=False)
    for name in list(store.current()):
        store.lose(name)
    assert (await opened(store)).revision == 0


# Bringing it back ---------------------------------------------------------------------------------


async def test_all_deleted_comes_back() -> None:
    store = await a_store()
    before = (await opened(store)).base.entities
    for name in list(store.current()):
        store.lose(name)
    after, found = await repaired(store)
    assert after.base.entities == before
    assert (found.header.revision, after.revision) == (6, 7)
    assert set(found.of.values()) == {6}


async def test_an_older_head_that_was_put_back() -> None:
    """It can be read, and what came after it is still there: each commit is taken as first made."""
    store = await a_store()
    before = (await opened(store)).base.entities
    garble(store, HEAD, "older")
    assert users(await opened(store)) == {1: b"1"}
    after, found = await repaired(store)
    assert after.base.entities == before
    assert (found.header.revision, found.unread, after.revision) == (6, [], 7)


@pytest.mark.parametrize("how", ["deleted", "empty", "garbage", "cut", "flipped"])
@pytest.mark.parametrize("name", [HEAD, USER])
async def test_one_object_lost(name: str, how: str) -> None:
    """Whatever became of it, the last acknowledged state comes back."""
    store = await a_store()
    before = (await opened(store)).base.entities
    garble(store, name, how)
    with pytest.raises(PersistenceError):
        await opened(store)
    after, found = await repaired(store)
    assert after.base.entities == before
    # A copy that was cut short is no commit of its own.
    assert len(found.unread) == (name == HEAD and how in ("empty", "garbage"))


async def test_no_revision_is_given_twice() -> None:
    """Newer commits that do not open keep their numbers; whoever has them in memory can tell."""
    store = await a_store(5)
    bot = await opened(store, resolve=ours_wins)
    bot.stage(USER, 9, b"seen")
    await bot.commit()
    newest = store._history[HEAD][-1]
    store.lose(HEAD, newest.written.version_id)
    store.replace(HEAD, newest.body[:-1] + bytes([newest.body[-1] ^ 1]))
    bot.stage(USER, 10, b"unsaved")
    after, found = await repaired(store)
    assert [one.header and one.header.revision for one in found.unread] == [6]
    assert (found.header.revision, after.revision) == (5, 7)
    await bot.commit()
    assert users(await opened(store)) == {1: b"5", 10: b"unsaved"}


async def test_the_next_start_reads_what_was_written_anew() -> None:
    """And goes on from there, blobs included."""
    store = await a_store()
    garble(store, HEAD, "garbage")
    garble(store, USER, "garbage")
    after, _ = await repaired(store)
    after.stage(USER, 5, b"later")
    await after.commit()
    await after.compact(USER)
    await after.commit(publish=True)
    assert users(await opened(store)) == {1: b"6", 5: b"later"}


async def test_a_kind_beyond_help_does_not_keep_the_others() -> None:
    """It begins empty, or with what an older version of it has; and that is said."""
    store = await a_store(7)
    for stored in store._history[USER][1:]:
        store.lose(USER, stored.written.version_id)
    garble(store, USER, "garbage")
    after, found = await repaired(store)
    assert found.of[USER] == 3
    assert users(after) == {1: b"3"}
    assert len(after.base.entities[CHAT]) == 7

    store = await a_store(7)
    for stored in list(store._history[USER]):
        store.lose(USER, stored.written.version_id)
    after, found = await repaired(store)
    assert (found.of[USER], found.of[CHAT]) == (None, 7)
    assert users(after) == {}
    assert len(after.base.entities[CHAT]) == 7


async def test_a_repair_that_was_interrupted_is_no_state() -> None:
    """What it has written of a kind beyond help is taken for nothing until its head is there."""
    store = await a_store(7)
    for stored in list(store._history[USER]):
        store.lose(USER, stored.written.version_id)
    interrupted = Repository(store, Keyring(KEY))
    await interrupted.recover()
    await interrupted.mend()
    with pytest.raises(DamagedObjectError):
        await opened(store)
    after, _ = await repaired(store)
    assert users(after) == {}
    assert len(after.base.entities[CHAT]) == 7


async def test_a_lost_key_leaves_what_a_retired_one_opens() -> None:
    store = await a_store(3)
    keyring = Keyring(OTHER_KEY, [KEY])
    rotated = await opened(store, keyring)
    rotated.stage(USER, 1, b"sealed anew")
    await rotated.commit()
    after, found = await repaired(store, Keyring(KEY))
    assert users(after) == {1: b"3"}
    assert [one.header and one.header.revision for one in found.unread] == [4]


async def test_nothing_left_is_said() -> None:
    store = MemoryStore()
    with pytest.raises(NothingThereError, match="no version of head"):
        await Repository(store, Keyring(KEY)).recover()
    store.replace(HEAD, b"garbage")
    with pytest.raises(NothingThereError, match="none opens"):
        await Repository(store, Keyring(KEY)).recover()


async def test_whoever_commits_meanwhile_is_not_overwritten() -> None:
    store = await a_store()
    intact = store.current()[HEAD]
    garble(store, HEAD, "garbage")
    repository = Repository(store, Keyring(KEY))
    await repository.recover()
    await repository.mend()
    store.replace(HEAD, intact)
    bot = await opened(store)
    bot.stage(USER, 2, b"meanwhile")
    await bot.commit()
    with pytest.raises(ConflictError):
        await repository.commit(operation=Operation())
    assert users(await opened(store)) == {1: b"6", 2: b"meanwhile"}


# Going back ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["deleted", "garbage"])
async def test_a_restore_needs_no_current_state(how: str) -> None:
    store = await a_store()
    for name in list(store.current()):
        garble(store, name, how)
    repository = Repository(store, Keyring(KEY))
    await repository.recover()
    assert await repository.restore(RestorePoint.parse("2"))
    after = await opened(store)
    assert users(after) == {1: b"2"}
    assert after.base.head.restored == ("2",)
    assert after.revision == 7


async def test_damage_carries_no_old_request_out_again() -> None:
    """What any version records counts, also one of a branch that was given up."""
    store = await a_store()
    point = store.current()[HEAD]
    bot = await opened(store)
    assert await bot.restore(RestorePoint.parse("2"))
    store.replace(HEAD, point)
    other = await opened(store)
    other.stage(USER, 1, b"gone on")
    await other.commit()
    garble(store, HEAD, "garbage")
    repository = Repository(store, Keyring(KEY))
    await repository.recover()
    assert users(repository) == {1: b"gone on"}
    assert not await repository.restore(RestorePoint.parse("2"))


async def test_damage_brings_nobody_back_who_was_erased() -> None:
    store = await a_store()
    bot = await opened(store)
    await bot.erase(1)
    assert users(await opened(store)) == {}
    newest = store._history[HEAD][-1]
    store.replace(HEAD, newest.body[:-1] + bytes([newest.body[-1] ^ 1]))
    repository = Repository(store, Keyring(KEY))
    await repository.recover()
    assert users(repository) == {}
    snapshot = await repository.restorable(RestorePoint.parse("3"))
    assert snapshot.entities[USER] == {}
    with pytest.raises(RestorePointError):
        await repository.restorable(RestorePoint.parse("99"))


@pytest.mark.parametrize("how", ["deleted", "garbage"])
async def test_a_bot_without_a_shell_is_brought_back_by_its_environment(how: str) -> None:
    """`restore=` needs no current state, either; carried out before, it says what is wrong."""
    store = MemoryStore(clock=ticking())
    for number in (1, 2):
        await update(await loaded(store), {"user_data": {1: {"n": number}}})
    for name in list(store.current()):
        garble(store, name, how)
    assert await users_of(make_persistence(store, restore="1")) == {1: {"n": 1}}
    assert await users_of(make_persistence(store)) == {1: {"n": 1}}
    for name in list(store.current()):
        garble(store, name, how)
    with pytest.raises(PersistenceError):
        await users_of(make_persistence(store, restore="1"))


async def test_another_bots_state_is_never_restored_over() -> None:
    store = MemoryStore(clock=ticking())
    await update(await loaded(store), {"user_data": {1: {"n": 1}}})
    with pytest.raises(ForeignStoreError):
        await users_of(make_persistence(store, bot=BOT_ID + 1, restore="1"))


async def users_of(persistence: Persistence) -> dict[int, Any]:
    return await persistence.get_user_data()


async def loaded(store: MemoryStore) -> Persistence:
    persistence = make_persistence(store)
    await persistence.get_user_data()
    return persistence


# Under a running bot ------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["deleted", "garbage"])
@pytest.mark.parametrize("versioned", [True, False])
async def test_memory_is_written_where_that_was_said_beforehand(
    how: str,
    versioned: bool,  # noqa: FBT001 - a parameter
) -> None:
    """In place of what is lost, if the versions give nothing newer; and it can be read again."""
    store = await a_store(versioned=versioned)
    alone = not versioned  # else nothing tells whether anybody has committed since
    bot = await opened(store, resolve=ours_wins, rewrites_lost=True, single_writer=alone)
    for name in list(store.current()):
        garble(store, name, how)
    bot.stage(USER, 2, b"unsaved")
    await bot.commit()
    after = await opened(store)
    assert users(after) == {1: b"6", 2: b"unsaved"}
    assert len(after.base.entities[CHAT]) == 6
    assert after.revision == 7


async def test_memory_is_not_written_where_nothing_tells_of_others() -> None:
    """Without versions, others may have committed since, unless it is known that there are none."""
    store = await a_store(versioned=False)
    bot = await opened(store, resolve=ours_wins, rewrites_lost=True)
    store.lose(HEAD)
    bot.stage(USER, 2, b"unsaved")
    with pytest.raises(HeadLostError) as caught:
        await bot.commit()
    assert "PTB_S3_SINGLE_WRITER" in caught.value.__notes__[0]
    assert HEAD not in store.current()


@pytest.mark.parametrize("broken_off", [1, 2])
async def test_memory_is_not_written_over_what_was_read_in_part(broken_off: int) -> None:
    """An older head that was put back is not lost, though its body broke off on the way."""

    class BreakingOff(StoreAround):
        left = 0

        async def get(self, name: str, **options: Any) -> Fetched | None:
            found = await self.store.get(name, **options)
            if found is not None and name == HEAD and found.body and self.left:
                self.left -= 1
                found = found._replace(body=found.body[: len(found.body) // 2])
            return found

    memory = await a_store()
    store = BreakingOff(memory)
    bot = await opened(store, resolve=ours_wins, rewrites_lost=True)
    older = memory._history[HEAD][-2].body
    memory.replace(HEAD, older)
    bot.stage(USER, 2, b"unsaved")
    store.left = broken_off
    with pytest.raises(HeadLostError):
        await bot.commit()
    assert memory.current()[HEAD] == older


async def test_memory_is_not_written_over_what_others_committed() -> None:
    """It may have slept: what the versions give is newer."""
    store = await a_store()
    slept = await opened(store, resolve=ours_wins, rewrites_lost=True)
    other = await opened(store, resolve=ours_wins)
    other.stage(USER, 3, b"theirs")
    await other.commit()
    for name in list(store.current()):
        store.lose(name)
    slept.stage(USER, 2, b"unsaved")
    with pytest.raises(HeadLostError):
        await slept.commit()
    assert store.current() == {}
    await repaired(store)
    await slept.commit()
    assert users(await opened(store)) == {1: b"6", 2: b"unsaved", 3: b"theirs"}


async def test_by_default_a_running_bot_waits() -> None:
    """It says at each interval how much waits, and follows a repair by itself."""
    store = await a_store()
    bot = await opened(store, resolve=ours_wins)
    for name in list(store.current()):
        store.lose(name)
    bot.stage(USER, 2, b"unsaved")
    for _ in range(2):
        with pytest.raises(HeadLostError, match="1 unsaved changes are kept in memory"):
            await bot.commit()
    assert store.current() == {}
    await repaired(store)
    await bot.commit()
    assert users(await opened(store)) == {1: b"6", 2: b"unsaved"}


@pytest.mark.parametrize("on_demand", [(), (USER, CHAT)], ids=["all", "on_demand"])
@pytest.mark.parametrize("left", [0, 1])
async def test_a_running_bot_learns_what_a_repair_has_lost(
    on_demand: tuple[Kind, ...], left: int
) -> None:
    """A kind of which the versions give less than it has in memory, or nothing, is read anew.

    Else its next commit would count what is not there, and nobody could start on it.
    """
    store = await a_store(7)
    bot = await opened(store, resolve=ours_wins, on_demand=on_demand)
    if on_demand:
        await bot.fetch({USER: [1, 2], CHAT: [-1]})
    for stored in store._history[USER][left:]:
        store.lose(USER, stored.written.version_id)
    store.replace(USER, b"<html>no</html>")
    found = users((await repaired(store))[0])
    assert found == ({1: b"3"} if left else {})
    bot.stage(USER, 2, b"unsaved")
    await bot.commit()
    assert users(bot) == {**found, 2: b"unsaved"}
    after = await opened(store)
    assert users(after) == {**found, 2: b"unsaved"}
    assert len(after.base.entities[CHAT]) == 7


@pytest.mark.parametrize("order", ["newest first", "oldest first", "null last", "1", "2"])
async def test_in_whatever_order_versions_are_listed(
    order: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A page is enough where the storage lists the newest first, and only there: it is said."""
    monkeypatch.setattr(listing, "PAGE", 4)
    store = await a_store(12)
    listed = store if order == "newest first" else AnyOrder(store, order)
    store.replace(HEAD, b"garbage")
    before = len(store.calls)
    repository = Repository(listed, Keyring(KEY))
    assert (await repository.recover()).found.header.revision == 12
    headers = [c for c in store.calls[before:] if (c.operation, c.name) == ("get", HEAD)]
    in_order = order in ("newest first", "null last")
    assert (len(headers) < 8) == in_order
    assert ("which takes a while" in caplog.text) == (not in_order)


@pytest.mark.parametrize("sealed", ["by another key", "in versions alone"])
async def test_memory_is_not_written_over_what_cannot_be_opened(sealed: str) -> None:
    """Others may have gone on under a key that this bot has not: it is no garbage."""
    store = await a_store()
    slept = await opened(store, resolve=ours_wins, rewrites_lost=True)
    other = await opened(store, Keyring(OTHER_KEY, [KEY]), resolve=ours_wins)
    other.stage(USER, 3, b"theirs")
    await other.commit()
    if sealed == "in versions alone":
        for stored in store._history[HEAD][:-1]:
            store.lose(HEAD, stored.written.version_id)
        for name in list(store.current()):
            store.lose(name)
    before = store.current()
    slept.stage(USER, 2, b"unsaved")
    with pytest.raises(PersistenceError):
        await slept.commit()
    assert store.current() == before


async def test_a_revision_that_nobody_authenticated_is_believed_within_bounds() -> None:
    """One that a header claims, and that nothing opens, must not use up all there are."""
    store = await a_store()
    body = store.current()[HEAD]
    assert b'"revision":6,' in body
    store.replace(HEAD, body.replace(b'"revision":6,', b'"revision":9007199254740991,'))
    after, found = await repaired(store)
    assert found.header.revision == 6
    assert after.revision == 6 + recovery.MAX_GAP + 1
    after.stage(USER, 2, b"later")
    await after.commit()


async def test_a_bot_that_can_restore_nothing_says_what_is_wrong() -> None:
    store = MemoryStore(versioned=False)
    await update(await loaded(store), {"user_data": {1: {"n": 1}}})
    garble(store, HEAD, "garbage")
    with pytest.raises(DamagedObjectError, match="head"):
        await users_of(make_persistence(store, restore="1"))


async def test_a_missing_key_restores_nothing() -> None:
    """The request stays in the environment, and may have been carried out under that key."""
    store = MemoryStore(clock=ticking())
    await update(await loaded(store), {"user_data": {1: {"n": 1}}})
    both = Keyring(OTHER_KEY, [KEY])
    assert await users_of(make_persistence(store, keyring=both, restore="1")) == {1: {"n": 1}}
    rotated = make_persistence(store, keyring=both)
    await rotated.get_user_data()
    await update(rotated, {"user_data": {1: {"n": 2}}})
    with pytest.raises(UnknownKeyError):
        await users_of(make_persistence(store, restore="1"))
    assert await users_of(make_persistence(store, keyring=both)) == {1: {"n": 2}}
