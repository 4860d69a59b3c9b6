"""Restore, rotation, erasure, repair and copy without the command line: plans, and doing them."""

from __future__ import annotations

import pytest
from tests.support import KEY, OTHER_KEY, opened
from tests.unit.test_history import expected, with_history
from tests.unit.test_repository import USER, committed

from ptb_s3._engine.erase import count_held, erase
from ptb_s3._engine.publication import publish, require_empty, require_same
from ptb_s3._engine.repair import find_fault, losses, plan_repair
from ptb_s3._engine.repository import Repository
from ptb_s3._engine.restore import Counts, plan_restore, restore, snapshot_of
from ptb_s3._engine.rotation import locks_out, rotate
from ptb_s3._format.container import HEAD
from ptb_s3._format.entities import Kind
from ptb_s3._format.restore_point import RestorePoint
from ptb_s3._keys.keyring import Keyring
from ptb_s3._storage.contract import MemoryStore
from ptb_s3.errors import ConflictError, DamagedObjectError


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


def fresh(store: MemoryStore) -> Repository:
    return Repository(store, Keyring(KEY))


async def test_a_restore_is_planned_then_done(store: MemoryStore) -> None:
    """The plan counts what changes; done, the state is that of the older commit."""
    await with_history(store, 12)
    repository = await opened(store)
    snapshot = await snapshot_of(repository, fresh(store), RestorePoint.parse("5"), None)
    plan = plan_restore(repository, snapshot)
    assert plan.counts[USER] == Counts(added=0, changed=1, removed=7)
    assert (plan.header.revision, plan.before, plan.is_needed) == (5, 12, True)
    await restore(repository, plan)
    again = await opened(store)
    assert (again.revision, again.base.entities[USER]) == (13, expected(5))


async def test_a_part_is_restored(store: MemoryStore) -> None:
    """One entity goes back, and the others stay."""
    await with_history(store, 12)
    repository = await opened(store)
    snapshot = await snapshot_of(repository, fresh(store), RestorePoint.parse("5"), None)
    plan = plan_restore(repository, snapshot, kind=USER, key=1)
    assert plan.changes == {USER: {1: b"5"}}
    plan = plan_restore(repository, snapshot, kind=Kind.CHAT_DATA)
    assert not plan.is_needed


async def test_everything_is_sealed_with_the_new_key(store: MemoryStore) -> None:
    """A rotation reports each object, and leaves none sealed with the old key."""
    await with_history(store, 5)
    repository = await opened(store, Keyring(OTHER_KEY, retired=[KEY]))
    assert repository.sealed_otherwise()
    assert not locks_out(repository)  # nobody has been at work within ten minutes
    seen: list[tuple[int, int]] = []
    await rotate(repository, lambda done, total: seen.append((done, total)))
    assert (await opened(store, Keyring(OTHER_KEY))).sealed_otherwise() == []
    assert seen[-1][0] == seen[-1][1]


async def test_an_erasure_leaves_nothing_current(store: MemoryStore) -> None:
    """What is held is counted, then gone, and everything current is written anew."""
    await with_history(store, 5)
    repository = await opened(store)
    assert count_held(repository.base, 101)[USER] == 1
    await erase(repository, 101, lambda _done, _total: None)
    assert not any(count_held((await opened(store)).base, 101).values())


async def test_a_repair_says_what_it_does(store: MemoryStore) -> None:
    """Garbage in place of head is named; published, the state is there again, whole."""
    await with_history(store, 5)
    store.replace(HEAD, b"garbage")

    async def load() -> Repository:
        return await opened(store)

    fault = await find_fault(load, fresh(store))
    assert isinstance(fault, DamagedObjectError)
    repository = fresh(store)
    recovery = await repository.recover()
    head, *blobs = plan_repair(recovery)
    assert (head.name, head.is_written, head.revision) == (HEAD, True, 5)
    assert not any(one.is_written for one in blobs)
    lost = losses(recovery.found)
    assert (lost.revisions, lost.unknown, lost.kinds) == (set(), 1, {})
    written: list[str] = []
    await publish(repository, written.append)
    assert written == [HEAD]
    assert (await load()).base.entities[USER] == expected(5)
    assert await find_fault(load, fresh(store)) is None


async def test_a_copy_is_read_back(store: MemoryStore) -> None:
    """It is written in an empty place only, and compared with what is read from there."""
    source = await with_history(store, 5)
    place = MemoryStore()

    async def load() -> Repository:
        repository = fresh(place)
        await repository.load()
        return repository

    await require_empty(load, "s3://bucket/copy/")
    target = fresh(place)
    target.begin_from(source.base)
    await publish(target, lambda _: None)
    copied = await load()
    require_same(source.base, copied.base, "copied")
    with pytest.raises(ConflictError, match="There is a state at s3://bucket/copy/"):
        await require_empty(load, "s3://bucket/copy/")
    await committed(source, u1=b"later")
    with pytest.raises(DamagedObjectError, match="what was copied is not what is read back"):
        require_same(source.base, copied.base, "copied")
