"""Storages that list in any order: history, prune, verify and purge do as on any other."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import count
from typing import Any

import pytest
from tests.support import KEY, AnyOrder, opened
from tests.unit.test_erasure import MALLORY, erased, with_mallory
from tests.unit.test_history import expected
from tests.unit.test_prune import silent
from tests.unit.test_repository import USER, committed

from ptb_s3._engine.repository import Repository
from ptb_s3._format.container import HEAD
from ptb_s3._format.reader import Reader
from ptb_s3._format.restore_point import RestorePoint
from ptb_s3._history.deletion import carry_out
from ptb_s3._history.history import History, newest_store
from ptb_s3._history.prune import plan_prune
from ptb_s3._history.purge import plan_purge
from ptb_s3._history.retention import Policy
from ptb_s3._history.verify import verify_history
from ptb_s3._keys.keyring import Keyring
from ptb_s3._storage.contract import Fetched, Version, Written
from ptb_s3._storage.memory import MemoryStore
from ptb_s3.errors import PersistenceError, RestorePointError, StorageError

point = RestorePoint.parse

READER = Reader(Keyring(KEY))
START = datetime(2026, 1, 1, tzinfo=UTC)

every_order = pytest.mark.parametrize(
    "order", ["newest first", "oldest first", "null last", "1", "2", "3"]
)


class _Clock:
    """Each look at it is a minute later, or in the same second as the one before."""

    def __init__(self, *, moving: bool = True) -> None:
        self._minutes = count()
        self._moving = moving

    def __call__(self) -> datetime:
        return START + timedelta(minutes=next(self._minutes)) * self._moving


class _Listed(AnyOrder):
    """The same, where newest first is an order as well."""

    async def versions(self, name: str) -> AsyncIterator[Version]:
        if self._order == "newest first":
            async for version in self.store.versions(name):
                yield version
        else:
            async for version in super().versions(name):
                yield version


async def lived(order: str, commits: int = 12, *, moving: bool = True) -> AnyOrder:
    """Revision n has user 1 at n, and users 100 to 100 + n; blobs are written now and then."""
    clock = _Clock(moving=moving)
    store = _Listed(MemoryStore(clock=clock), order)
    repository = await opened(store.memory, clock=clock)
    for revision in range(1, commits + 1):
        await go_on(repository, revision)
    return store


async def go_on(repository: Repository, revision: int) -> None:
    repository.stage(USER, 1, str(revision).encode())
    repository.stage(USER, 100 + revision, b"x")
    await repository.commit()
    if revision % 3 == 0:
        await repository.compact(USER)


async def looked(store: AnyOrder) -> Repository:
    return await opened(store)


async def suspended(store: AnyOrder) -> None:
    """Suspend versioning: what is written from now on is the version ``null``, again and again.

    Each object is copied onto itself, as an operator does to change its storage class.
    """
    for name, body in store.memory.current().items():
        replace_null(store.memory, name, body)
    memory = store.memory
    memory.replace = partial(replace_null, memory)  # type: ignore[method-assign] # as said above


def replace_null(store: MemoryStore, name: str, body: bytes) -> Written:
    """Write the version ``null``, in the place of the one before; those with ids stay."""
    history = store._history.setdefault(name, [])
    history[:] = [stored for stored in history if stored.written.version_id is not None]
    store.versioned = False
    kept = list(history)
    written = MemoryStore.replace(store, name, body)
    store._history[name] = [*kept, store._current[name]]
    return written


@every_order
@pytest.mark.parametrize("moving", [True, False], ids=["minutes", "one second"])
async def test_every_commit_is_found(order: str, *, moving: bool) -> None:
    """By revision, version id and in the list, also where all were made within a second."""
    store = await lived(order, moving=moving)
    history = (await looked(store)).history
    listed = [commit async for commit in history.commits()]
    assert [c.header and c.header.revision for c in listed] == list(range(12, 0, -1))
    for commit in listed:
        assert commit.header is not None
        for request in (str(commit.header.revision), commit.version.version_id):
            snapshot = await history.state_at(point(request))
            assert snapshot.head.revision == commit.header.revision
            assert snapshot.entities[USER] == expected(commit.header.revision)
    number, oldest, _ = await history.extent(lambda _: None)
    assert number == 12
    assert oldest is not None
    assert oldest.revision == 1
    assert await newest_store(store) == oldest.store
    with pytest.raises(RestorePointError, match="nearest one before it is 12"):
        await history.state_at(point("99"))


@every_order
async def test_every_time_gives_the_commit_before_it(order: str) -> None:
    """By the storage's time; a span of time has what was made in it."""
    store = await lived(order)
    history = (await looked(store)).history
    made = {c.header.revision: c.made async for c in history.commits() if c.header}
    for revision, moment in made.items():
        snapshot = await history.state_at(point(moment.isoformat()))
        assert snapshot.head.revision == revision
    span = history.commits(since=made[4], until=made[9])
    assert [c.header.revision async for c in span if c.header] == [9, 8, 7, 6, 5, 4]


@every_order
async def test_a_blob_is_made_up_for(order: str) -> None:
    """Where the very blob is gone, one of the range is found wherever it is listed."""
    store = await lived(order)
    versions = [stored.written.version_id for stored in store.memory._history[USER]]
    store.memory.lose(USER, versions[1])
    history = (await looked(store)).history
    for revision in (1, 4, 5, 12):
        assert (await history.state_at(point(str(revision)))).entities[USER] == expected(revision)
    with pytest.raises(RestorePointError, match="Revisions from 9 "):
        await history.state_at(point("7"))


@every_order
@pytest.mark.parametrize("moving", [True, False], ids=["minutes", "one second"])
async def test_prune_keeps_the_newest_and_what_they_need(order: str, *, moving: bool) -> None:
    """The current state stays, and the commits before it, whatever is listed first."""
    store = await lived(order, moving=moving)
    before = store.memory.current()
    plan = await plan_prune(store, READER, Policy(last=3), UTC, silent)
    assert [header.revision for header in plan.kept] == [12, 11, 10]
    assert (len(plan.doomed[HEAD]), plan.current, plan.unread) == (9, [], 0)
    await carry_out(store, plan, silent)
    assert store.memory.current() == before
    history = (await looked(store)).history
    for revision in (10, 11, 12):
        assert (await history.state_at(point(str(revision)))).entities[USER] == expected(revision)


@every_order
async def test_prune_keeps_the_version_null_where_it_is_current(order: str) -> None:
    """Versioning suspended, each object copied onto itself, commits: the last state stays."""
    store = await lived(order)
    await suspended(store)
    repository = await looked(store)
    for revision in (13, 14):
        await go_on(repository, revision)
    before = store.memory.current()
    plan = await plan_prune(store, READER, Policy(last=1), UTC, silent)
    assert [header.revision for header in plan.kept] == [14]
    await carry_out(store, plan, silent)
    assert store.memory.current() == before
    assert (await looked(store)).staged.entities(USER) == expected(14)


@every_order
async def test_what_a_read_gives_is_current_though_no_entry_says_so(order: str) -> None:
    """A listing that marks nothing as the latest, with times that are wrong, prunes no state."""

    class Unmarked(_Listed):
        async def versions(self, name: str) -> AsyncIterator[Version]:
            async for version in super().versions(name):
                backwards = START - timedelta(minutes=int(version.version_id[1:]))
                yield version._replace(is_latest=False, modified=backwards)

    lived_in = await lived(order)
    store = Unmarked(lived_in.memory, order)
    before = store.memory.current()
    plan = await plan_prune(store, READER, Policy(last=1), UTC, silent)
    await carry_out(store, plan, silent)
    assert store.memory.current() == before


@every_order
async def test_a_head_that_was_put_back_is_current(order: str) -> None:
    """An older head copied onto the top: it stays, and going back by time finds what was there."""
    store = await lived(order)
    fifth = store.memory._history[HEAD][4]
    store.memory.replace(HEAD, fifth.body)
    copied = store.memory._current[HEAD]
    late = copied._replace(modified=START + timedelta(hours=5))
    store.memory._current[HEAD] = store.memory._history[HEAD][-1] = late
    plan = await plan_prune(store, READER, Policy(last=2), UTC, silent)
    assert [header.revision for header in plan.kept] == [5, 12]
    made = [stored.modified for stored in store.memory._history[HEAD]]
    header = READER.open_head(fifth.body)[0]
    past = History(store, READER, header.store)
    for index in (6, 8, 11):
        snapshot = await past.state_at(point(made[index].isoformat()))
        assert snapshot.head.revision == index + 1
    assert (
        await past.state_at(point((START + timedelta(hours=4)).isoformat()))
    ).head.revision == 12
    assert (await past.state_at(point((START + timedelta(hours=6)).isoformat()))).head.revision == 5


async def rolled_back(order: str) -> AnyOrder:
    """Revision 5 is put back after the twelfth, and a bot goes on from there to revision 8."""
    store = await lived(order)
    memory = store.memory
    memory.replace(HEAD, memory._history[HEAD][4].body)
    memory.replace(USER, memory._history[USER][0].body)  # of revision 3, as that head has it
    repository = await opened(memory, clock=memory.clock)
    assert repository.revision == 5
    for revision in (6, 7, 8):
        repository.stage(USER, 1, b"new %d" % revision)
        await repository.commit()
        if revision == 6:
            await repository.compact(USER)
    return store


@every_order
async def test_a_revision_is_of_the_branch_that_is_current(order: str) -> None:
    """Where a store was rolled back and went on, what is gone back to came before what is there."""
    store = await rolled_back(order)
    history = (await looked(store)).history
    for revision in (6, 7, 8):
        snapshot = await history.state_at(point(str(revision)))
        assert snapshot.entities[USER][1] == b"new %d" % revision
    for revision in (3, 5, 12):  # the last is of the branch that was given up, and of no other
        assert (await history.state_at(point(str(revision)))).entities[USER] == expected(revision)
    plan = await plan_prune(store, READER, Policy(last=4), UTC, silent)
    assert [header.revision for header in plan.kept] == [8, 7, 6, 12]


@every_order
async def test_blobs_of_a_branch_that_was_given_up_are_not_built_on(order: str) -> None:
    """Their revisions may lie in the range; going back to such a mixture is refused."""
    store = await rolled_back(order)
    memory = store.memory
    made_anew = memory._history[USER][-1].written.version_id
    old = [s.written.version_id for s in memory._history[USER] if s.written.version_id != made_anew]
    report = await verify_history(store, READER, silent)
    assert report.stranded == []
    memory.lose(USER, made_anew)
    for version_id in old[:1]:
        memory.lose(USER, version_id)
    past = await looked_past(store)
    for revision in ("7", "8"):
        with pytest.raises(RestorePointError, match="no version of user_data is left"):
            await past.state_at(point(revision))
    report = await verify_history(store, READER, silent)
    assert report.stranded[:2] == [8, 7]


async def looked_past(store: AnyOrder) -> History:
    """The history, though the current state may not be readable any more."""
    fetched = await store.get(HEAD)
    assert fetched is not None
    header, head = READER.open_head(fetched.body)
    return History(store, READER, header.store, head)


@every_order
async def test_prune_keeps_what_it_cannot_read(order: str) -> None:
    """A head or a blob whose header nobody can read has no place in the order, so it stays."""
    store = await lived(order)
    damaged = set()
    for name, position in ((HEAD, 2), (USER, 0)):
        stored = store.memory._history[name][position]
        store.memory._history[name][position] = stored._replace(body=b"garbage")
        damaged.add(stored.written.version_id)
    plan = await plan_prune(store, READER, Policy(last=1), UTC, silent)
    assert plan.unread == 2
    assert not damaged & {v.version_id for going in plan.doomed.values() for v in going}


@every_order
async def test_purge_finds_every_version(order: str) -> None:
    """All that hold somebody go, and none that is current."""
    memory = MemoryStore(clock=_Clock())
    await with_mallory(memory)
    await erased(memory)
    store = _Listed(memory, order)
    plan = await plan_purge(store, READER, MALLORY, silent)
    assert [header.revision for header in plan.lost] == [3, 2, 1]
    assert plan.current == []
    await carry_out(store, plan, silent)
    left = await plan_purge(store, READER, MALLORY, silent)
    assert (left.versions, left.searched) == (0, left.kept_versions)


@every_order
async def test_verify_opens_everything(order: str) -> None:
    """And tells which commits lack their blobs, newest first."""
    store = await lived(order)
    for stored in store.memory._history[USER][:-1]:
        store.memory.lose(USER, stored.written.version_id)
    report = await verify_history(store, READER, silent)
    assert (report.findings, report.commits) == ([], 12)
    assert report.stranded == [11, 10, 9, 8, 7, 6, 5, 4]


class _Hiding(AnyOrder):
    """Lists less than it has, or lists what it does not give.

    Args:
        store: The store.
        hidden: Tells which versions are not listed.
        refused: Tells which versions are not given by their ids.
    """

    def __init__(
        self,
        store: MemoryStore,
        hidden: Callable[[Version], bool] = lambda _: False,
        refused: Callable[[str], bool] = lambda _: False,
    ) -> None:
        super().__init__(store, "1")
        self._hidden = hidden
        self._refused = refused

    async def versions(self, name: str) -> AsyncIterator[Version]:
        async for version in super().versions(name):
            if not self._hidden(version):
                yield version

    async def get(self, name: str, **options: Any) -> Fetched | None:
        if self._refused(str(options.get("version_id"))):
            return None
        return await self.store.get(name, **options)


@pytest.mark.parametrize("all_of_it", [True, False], ids=["all", "latest"])
async def test_what_is_there_and_not_listed_is_an_error(*, all_of_it: bool) -> None:
    """A list without what a read has just given vouches for nothing, and nothing is done by it."""
    lived_in = await lived("1")
    store = _Hiding(lived_in.memory, lambda version: all_of_it or version.is_latest)
    before = store.memory.current(), {n: len(h) for n, h in store.memory._history.items()}
    history = (await looked(store)).history
    for work in (
        plan_prune(store, READER, Policy(last=1), UTC, silent),
        plan_purge(store, READER, 1, silent),
        verify_history(store, READER, silent),
        history.state_at(point("99")),
        history.extent(lambda _: None),
        anext(history.commits()),
    ):
        with pytest.raises(StorageError, match="does not list what it has"):
            await work
    assert before == (store.memory.current(), {n: len(h) for n, h in store.memory._history.items()})


async def test_what_is_listed_and_not_given_is_not_vouched_for() -> None:
    """Of a version that is listed and cannot be read, nobody says that it does not hold anybody."""
    lived_in = await lived("1")
    third = lived_in.memory._history[HEAD][2].written.version_id
    blob = lived_in.memory._history[USER][1].written.version_id
    for refused in (third, blob):
        store = _Hiding(lived_in.memory, refused=lambda id_, refused=refused: id_ == refused)  # type: ignore[misc]
        with pytest.raises(StorageError, match="says of each that there is none"):
            await plan_purge(store, READER, 1, silent)
    store = _Hiding(lived_in.memory, refused=lambda id_: id_ == third)
    with pytest.raises(StorageError, match="1 of the versions of head"):
        await plan_prune(store, READER, Policy(last=1), UTC, silent)
    ((name, version_id, _, error),) = (await verify_history(store, READER, silent)).findings
    assert (name, version_id) == (HEAD, third)
    assert isinstance(error, PersistenceError)


@every_order
async def test_a_copied_bucket_goes_by_the_writers_clock(order: str) -> None:
    """Where the storage took all of it later than it was made, times are those of the commits."""
    store = await lived(order)
    later = START + timedelta(days=9)
    for history in store.memory._history.values():
        history[:] = [stored._replace(modified=later) for stored in history]
    for name in store.memory.current():
        store.memory._current[name] = store.memory._history[name][-1]
    repository = await looked(store)
    created = {
        c.header.revision: c.header.created async for c in repository.history.commits() if c.header
    }
    assert list(created) == list(range(12, 0, -1))
    for revision, moment in created.items():
        snapshot = await repository.history.state_at(point(moment.isoformat()))
        assert snapshot.head.revision == revision
    await committed(repository, u1=b"native")
    assert (await repository.history.state_at(point(created[5].isoformat()))).head.revision == 5
    span = repository.history.commits(since=created[3], until=created[6])
    assert [c.header.revision async for c in span if c.header] == [6, 5, 4, 3]
