"""Thinning out the history: what is kept can be restored, what is current is never touched."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support import KEY, OTHER_KEY, opened
from tests.unit.test_erasure import MALLORY, erased, with_mallory
from tests.unit.test_history import expected, with_history
from tests.unit.test_repository import USER, committed

from ptb_s3._format.entities import Kind
from ptb_s3._format.reader import Reader
from ptb_s3._format.restore_point import RestorePoint
from ptb_s3._history.deletion import DeletionPlan, carry_out
from ptb_s3._history.prune import plan_prune
from ptb_s3._history.purge import plan_purge
from ptb_s3._history.retention import Policy
from ptb_s3._keys.keyring import Keyring
from ptb_s3._storage.contract import Lock
from ptb_s3._storage.faults import Call, Fault, ProcessKilled
from ptb_s3._storage.memory import MemoryStore
from ptb_s3.errors import AccessDeniedError, StorageUnavailableError, UnknownKeyError

READER = Reader(Keyring(KEY))


def silent(_done: int, _total: int | None) -> None:
    """Show nothing."""


def clock(step: timedelta) -> Iterator[datetime]:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    while True:
        yield now
        now += step


async def history(commits: int = 30, step: timedelta = timedelta(minutes=10)) -> MemoryStore:
    ticks = clock(step)
    store = MemoryStore(clock=lambda: next(ticks))
    await with_history(store, commits)
    return store


async def pruned(store: MemoryStore, policy: Policy) -> DeletionPlan:
    plan = await plan_prune(store, READER, policy, UTC, silent)
    await carry_out(store, plan, silent)
    return plan


async def revisions(store: MemoryStore) -> list[int]:
    commits = (await opened(store)).history.commits()
    return [commit.header.revision async for commit in commits if commit.header is not None]


async def restored(store: MemoryStore, revision: int) -> dict[Kind, object]:
    snapshot = await (await opened(store)).history.state_at(RestorePoint.parse(str(revision)))
    return dict(snapshot.entities)


@settings(max_examples=40, deadline=None)
@given(
    commits=st.integers(1, 25),
    minutes=st.integers(1, 2000),
    numbers=st.tuples(*[st.integers(0, 5)] * 4).filter(any),
)
async def test_what_is_kept_comes_back(
    commits: int, minutes: int, numbers: tuple[int, int, int, int]
) -> None:
    """After any pruning the current state is the same, and every kept commit is whole."""
    store = await history(commits, timedelta(minutes=minutes))
    before = store.current()
    plan = await pruned(store, Policy(*numbers))
    assert store.current() == before
    assert [header.revision for header in plan.kept] == await revisions(store)
    assert plan.kept[0].revision == commits
    for header in plan.kept:
        state = await restored(store, header.revision)
        assert state[USER] == expected(header.revision)


async def test_what_no_rule_keeps_is_gone() -> None:
    """Heads go by the policy, and blobs with the last head that needs them."""
    store = await history(30)
    plan = await pruned(store, Policy(last=3))
    assert await revisions(store) == [30, 29, 28]
    assert len(plan.doomed["head"]) == 27
    blobs = [version async for version in store.versions(USER)]
    assert len(blobs) == 2  # the current one, and the one that revision 28 and 29 build on
    assert plan.versions == 27 + 8
    assert plan.size > 0


async def test_a_blob_that_no_head_refers_to_yet_stays() -> None:
    """A bot may be about to commit the head that refers to its newest blob."""
    store = await history(10)
    running = await opened(store)
    await running.compact(USER)
    await pruned(store, Policy(last=1))
    await committed(running, u1=b"later")
    assert (await opened(store)).staged.entities(USER)[1] == b"later"
    assert (await restored(store, running.revision))[USER] == running.staged.entities(USER)


@pytest.mark.parametrize("at", range(1, 8))
@pytest.mark.parametrize("fault", [Fault.KILL_BEFORE, Fault.KILL_AFTER, Fault.FAIL_AFTER])
async def test_broken_off_anywhere_nothing_kept_is_lost(
    at: int, fault: Fault, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However far it comes, all commits that are still listed can be brought back."""
    monkeypatch.setattr("ptb_s3._history.deletion._BATCH", 5)
    store = await history(30)
    plan = await plan_prune(store, READER, Policy(last=4), UTC, silent)
    first = len(store.calls)

    def break_off(call: Call) -> Fault | None:
        return fault if call.number == first + at else None

    store.faults = break_off
    with pytest.raises((ProcessKilled, StorageUnavailableError)):
        await carry_out(store, plan, silent)
    store.faults = lambda _: None
    for revision in await revisions(store):
        assert (await restored(store, revision))[USER] == expected(revision)
    await pruned(store, Policy(last=4))
    assert await revisions(store) == [30, 29, 28, 27]


@settings(max_examples=40, deadline=None)
@given(commits=st.integers(2, 20), locked=st.sets(st.integers(0, 60)), told=st.booleans())
async def test_what_is_locked_stays_and_can_be_restored(
    commits: int, locked: set[int], *, told: bool
) -> None:
    """Nobody can delete it; it is a point to go back to, whether the storage told of it or not."""
    store = await history(commits)
    ids = [v.written.version_id or "" for h in store._history.values() for v in h]
    store.locked = {id_: Lock(None) for at, id_ in enumerate(ids) if at in locked}
    plan = await plan_prune(store, READER, Policy(last=1), UTC, silent, lockable=told)
    refused = {v.version_id for vs in plan.doomed.values() for v in vs} & store.locked.keys()
    assert not (told and refused)
    if refused:
        with pytest.raises(AccessDeniedError, match="Locked are"):
            await carry_out(store, plan, silent)
    else:
        await carry_out(store, plan, silent)
        assert plan.gone == plan.versions
    assert store.locked.keys() <= {v.written.version_id for h in store._history.values() for v in h}
    for revision in await revisions(store):
        assert (await restored(store, revision))[USER] == expected(revision)


async def test_a_damaged_commit_does_not_take_the_place_of_a_good_one() -> None:
    """What cannot be restored is not worth keeping: the next older commit is kept instead."""
    store = await history(6)
    damaged = store._history["head"][-2]
    body = damaged.body[:-1] + bytes([damaged.body[-1] ^ 1])
    store._history["head"][-2] = damaged._replace(body=body)
    plan = await pruned(store, Policy(last=2))
    assert [header.revision for header in plan.kept] == [6, 4]


async def test_without_the_key_nothing_is_planned() -> None:
    """A commit that cannot be opened may need any blob: that is an error, and nothing changes."""
    store = await history(6)
    stranger = Reader(Keyring(OTHER_KEY))
    with pytest.raises(UnknownKeyError):
        await plan_prune(store, stranger, Policy(last=2), UTC, silent)
    with pytest.raises(UnknownKeyError):
        await plan_purge(store, stranger, 1, silent)
    assert await revisions(store) == [6, 5, 4, 3, 2, 1]


async def test_a_blob_known_by_no_version_id_keeps_all() -> None:
    """Where a head names no version of its blob, none of that kind is deleted."""
    store = MemoryStore(versioned=False)
    await with_history(store, 5)
    store.versioned = True
    repository = await opened(store)
    for number in range(6):
        await committed(repository, u1=str(number).encode())
    plan = await plan_prune(store, READER, Policy(last=1), UTC, silent)
    assert plan.doomed[USER] == []


async def test_a_purge_takes_all_that_names_somebody() -> None:
    """Every version that holds the erased goes, with the commits that cannot do without it."""
    store = MemoryStore()
    await with_mallory(store)
    await erased(store)
    plan = await plan_purge(store, READER, MALLORY, silent)
    assert [header.revision for header in plan.lost] == [3, 2, 1]
    assert plan.current == []
    before = store.current()
    await carry_out(store, plan, silent)
    assert store.current() == before
    left = await plan_purge(store, READER, MALLORY, silent)
    assert (left.versions, left.lost) == (0, [])
    assert left.kept_versions == sum([len(h) for h in store._history.values()])


async def test_a_purge_spares_what_does_not_name_them() -> None:
    """Commits from before somebody came are kept, and can be brought back."""
    store = MemoryStore()
    repository = await opened(store)
    await committed(repository, u1=b"1")
    await repository.compact(USER)
    await committed(repository, u1=b"2")
    await committed(repository, **{f"u{MALLORY}": b"x"})
    await repository.compact(USER)
    await committed(repository, u1=b"3")
    await erased(store)
    plan = await plan_purge(store, READER, MALLORY, silent)
    await carry_out(store, plan, silent)
    assert [header.revision for header in plan.lost] == [5, 4, 3]
    assert (await restored(store, 1))[USER] == {1: b"1"}
    assert (await restored(store, 2))[USER] == {1: b"2"}


async def test_a_commit_goes_with_the_blob_it_builds_on() -> None:
    """A head that does not name the erased, but whose only blob does, is a restore point lost."""
    store = MemoryStore()
    repository = await opened(store)
    await committed(repository, u1=b"1", **{f"u{MALLORY}": b"x"})
    await repository.compact(USER)
    await committed(repository, u1=b"2")
    revision = repository.revision
    await erased(store)
    plan = await plan_purge(store, READER, MALLORY, silent)
    assert revision in {header.revision for header in plan.lost}
    await carry_out(store, plan, silent)
    for left in await revisions(store):
        await restored(store, left)


async def test_a_damaged_version_is_purged_as_well() -> None:
    """Nobody can say that a damaged version does not hold the erased."""
    store = MemoryStore()
    await with_mallory(store)
    oldest = store._history["head"][0]
    store._history["head"][0] = oldest._replace(body=oldest.body[:-1])
    await erased(store)
    plan = await plan_purge(store, READER, MALLORY, silent)
    assert oldest.written.version_id in {v.version_id for v in plan.doomed["head"]}


async def test_who_is_saved_again_meanwhile_is_seen() -> None:
    """A bot that remembers the erased and commits makes current objects part of the plan."""
    store = MemoryStore()
    await with_mallory(store)
    repository = await erased(store)
    await committed(repository, **{f"u{MALLORY}": b"again"})
    plan = await plan_purge(store, READER, MALLORY, silent)
    assert plan.current == ["head"]
