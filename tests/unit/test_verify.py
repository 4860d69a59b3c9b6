"""Verifying: each bad object is found, by name, version and reason, and no good one."""

from __future__ import annotations

import pytest
from tests.support import KEY, OTHER_KEY, opened
from tests.unit.test_history import with_history
from tests.unit.test_repository import USER, committed

from ptb_s3._format.reader import Reader
from ptb_s3._history.verify import Report, verify_current, verify_history
from ptb_s3._keys.keyring import Keyring
from ptb_s3._storage.faults import Fault
from ptb_s3._storage.memory import MemoryStore
from ptb_s3.errors import StorageUnavailableError

READER = Reader(Keyring(KEY))


async def of_history(store: MemoryStore, reader: Reader = READER) -> Report:
    return await verify_history(store, reader, lambda _done, _total: None)


def damage(store: MemoryStore, name: str, position: int) -> str:
    """Flip one bit of a version; return its id."""
    stored = store._history[name][position]
    damaged = stored._replace(body=stored.body[:-1] + bytes([stored.body[-1] ^ 1]))
    store._history[name][position] = damaged
    if store._current[name] is stored:
        store._current[name] = damaged
    return str(stored.written.version_id)


async def test_what_is_intact_is_found_so() -> None:
    """An intact store has no findings, and everything in it was opened."""
    store = MemoryStore()
    await with_history(store)
    report = await verify_current(store, READER)
    assert (report.findings, report.exit_code, report.objects) == ([], 0, len(store.current()))
    report = await of_history(store)
    assert (report.findings, report.exit_code) == ([], 0)
    assert report.objects == sum(map(len, store._history.values()))
    assert report.size == sum(len(s.body) for h in store._history.values() for s in h)
    assert (report.commits, report.stranded) == (12, [])


@pytest.mark.parametrize("name", ["head", "user_data"])
async def test_a_damaged_current_object_is_named(name: str) -> None:
    """One flipped bit in a current object is a finding, with its version and revision."""
    store = MemoryStore()
    await with_history(store)
    version = damage(store, name, -1)
    report = await verify_current(store, READER)
    ((found, version_id, revision, error),) = report.findings
    assert (found, version_id, revision) == (name, version, 12)
    assert "authentication" in str(error)
    assert report.exit_code == 5


async def test_each_damaged_version_is_named() -> None:
    """A bad version does not keep the others from being looked at."""
    store = MemoryStore()
    await with_history(store)
    bad = {damage(store, "head", 2), damage(store, "head", 5), damage(store, USER, 1)}
    assert (await verify_current(store, READER)).findings == []
    report = await of_history(store)
    assert {finding.version_id for finding in report.findings} == bad
    assert report.exit_code == 5
    assert report.objects == sum(map(len, store._history.values()))


async def test_another_key_is_another_exit_code() -> None:
    """What is intact but sealed with a key that is not at hand is no damage."""
    store = MemoryStore()
    await with_history(store, 3)
    reader = Reader(Keyring(OTHER_KEY))
    assert (await verify_current(store, reader)).exit_code == 4
    report = await of_history(store, reader)
    assert report.exit_code == 4
    assert len(report.findings) == report.objects
    damage(store, "head", 0)
    store._history["head"][0] = store._history["head"][0]._replace(body=b"x")
    assert (await of_history(store, reader)).exit_code == 5


async def test_a_blob_that_is_gone_is_a_finding() -> None:
    """A head that refers to a blob which is not there is found, though each object is intact."""
    store = MemoryStore()
    await with_history(store)
    store.lose(USER)
    ((name, version_id, _, error),) = (await verify_current(store, READER)).findings
    assert (name, version_id) == ("user_data", None)
    assert "gone" in str(error)


async def test_a_head_that_is_gone_is_a_finding() -> None:
    """Blobs without a head are found."""
    store = MemoryStore()
    await with_history(store)
    store.lose("head")
    ((name, *_),) = (await verify_current(store, READER)).findings
    assert name == "head"


async def test_an_older_blob_put_back_is_a_finding() -> None:
    """An intact blob that is too old for the head is found, with its version."""
    store = MemoryStore()
    await with_history(store)
    first = store._history[USER][0].body
    written = store.replace(USER, first)
    ((name, version_id, *_),) = (await verify_current(store, READER)).findings
    assert (name, version_id) == ("user_data", written.version_id)


async def test_commits_without_their_blobs_are_told() -> None:
    """A commit that is intact but cannot be brought back is named, and is no damage."""
    store = MemoryStore()
    await with_history(store)
    for version in [v async for v in store.versions(USER)][1:]:
        store.lose(USER, version.version_id)
    report = await of_history(store)
    assert report.stranded == [11, 10, 9, 8, 7, 6, 5, 4]
    assert (report.findings, report.exit_code) == ([], 0)


async def test_a_commit_between_two_reads_is_no_fault() -> None:
    """A bot that commits and compacts while its objects are read makes no finding."""
    store = MemoryStore()
    running = await with_history(store)
    read = store.get
    disturbed: list[str] = []

    async def get(name: str, **options: object) -> object:
        found = await read(name, **options)  # type: ignore[arg-type] # passed on as they are
        if name == "head" and not disturbed:
            disturbed.append(name)
            await committed(running, u1=b"later")
            await running.compact(USER)
        return found

    store.get = get  # type: ignore[assignment, method-assign] # the same, with a disturbance
    assert (await verify_current(store, READER)).findings == []
    assert disturbed


async def test_storage_out_of_reach_is_no_damage() -> None:
    """No answer says nothing of an object: it is an error of its own."""
    store = MemoryStore()
    await with_history(store, 3)
    store.faults = lambda _: Fault.FAIL_BEFORE
    with pytest.raises(StorageUnavailableError):
        await verify_current(store, READER)
    with pytest.raises(StorageUnavailableError):
        await of_history(store)


async def test_a_store_of_before_is_verified_too() -> None:
    """Versions of a store that lay here before are opened as well, and are not this one's fault."""
    store = MemoryStore()
    await with_history(store, 4)
    for name in list(store.current()):
        store.lose(name)
    deleted = await store.remains("head")
    assert deleted is not None
    await committed(await opened(store, begin_anew=deleted.version_id), u1=b"new")
    report = await of_history(store)
    assert (report.findings, report.stranded) == ([], [])
    assert report.commits == 5
