"""Restore, rotation, erasure, repair, copy and import without the command line."""

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
from ptb_s3._history.key_needs import NOT_AT_HAND, Need, key_needs
from ptb_s3._keys.keyring import Keyring
from ptb_s3._storage.memory import MemoryStore
from ptb_s3._transfer.import_plan import Counts as ImportCounts
from ptb_s3._transfer.import_plan import State, adopt_words, plan_import, require_built_in
from ptb_s3.errors import ConflictError, DamagedObjectError, SettingsError


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


async def test_an_import_adds_what_is_not_there(store: MemoryStore) -> None:
    """A store that is not empty takes it only where one says so, and keeps its own values."""
    repository = await opened(store)
    await committed(repository, u1=b"ours")
    state: State = {USER: {1: b"theirs", 2: b"new"}}
    with pytest.raises(ConflictError, match="not empty"):
        plan_import(repository, state, merge=False, replace=False)
    plan = plan_import(repository, state, merge=True, replace=False)
    assert plan.changes == {USER: {2: b"new"}}
    assert plan.counts[USER] == ImportCounts(found=2, imported=1, kept=1)
    plan = plan_import(repository, state, merge=True, replace=True)
    assert plan.changes == {USER: {1: b"theirs", 2: b"new"}}


async def test_words_of_a_new_store_are_those_of_the_source(store: MemoryStore) -> None:
    """A file's values share words that are found in them; another store's come along."""
    repository = await opened(store)
    state: State = {USER: {1: b"plain"}}
    shared: State = {USER: {1: b"shared"}}
    assert adopt_words(repository, state, None, lambda _: (shared, ("word",))) == shared
    assert adopt_words(repository, state, ("other",), lambda _: (shared, ())) == state
    assert repository.staged.vocabulary.suggested == ("word", "other")


def test_values_of_another_serializer_are_refused() -> None:
    """Only the bot can read them."""
    require_built_in("pickle5")
    with pytest.raises(SettingsError, match="json"):
        require_built_in("json")


async def test_a_key_is_needed_by_what_it_sealed(store: MemoryStore) -> None:
    """Of a key that is not at hand, one learns what it is needed for."""
    await with_history(store, 5)
    base = (await opened(store)).base
    needs = key_needs(base, Keyring(KEY), None)
    assert needs == {KEY.id: Need("seals", len(base.objects), None)}
    needs = key_needs(base, Keyring(OTHER_KEY), base.objects[HEAD].header)
    assert list(needs) == [OTHER_KEY.id, KEY.id]
    assert needs[KEY.id] == Need(NOT_AT_HAND, len(base.objects), 5)
