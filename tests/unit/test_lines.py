"""Lines: no blob of a branch that was given up is ever taken for a base."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.support import opened

from ptb_s3._engine.repository import Repository
from ptb_s3._format import head as _head
from ptb_s3._format.container import HEAD, read_header
from ptb_s3._format.entities import Kind, Resolution
from ptb_s3._format.restore_point import RestorePoint
from ptb_s3._storage.body import Body, joined
from ptb_s3._storage.faults import Call, Fault, ProcessKilled
from ptb_s3._storage.memory import MemoryStore
from ptb_s3.errors import DamagedObjectError, HeadLostError, StorageUnavailableError

USER = Kind.USER_DATA


def ours_wins(_: Kind, __: Any, ___: Any, ours: bytes | None, ____: Any) -> Resolution:
    return Resolution(ours, 1, contested=True)


async def committed(repository: Repository, value: bytes, user: int = 1) -> None:
    repository.stage(USER, user, value)
    await repository.commit()


async def published(repository: Repository) -> None:
    await repository.compact(USER)
    await repository.commit(publish=True)


def put_back(store: MemoryStore, objects: dict[str, bytes]) -> None:
    for name, body in objects.items():
        store.replace(name, body)


async def two_on_one_line(store: MemoryStore) -> tuple[Repository, Repository]:
    """Give a writer that has begun a line before, and another one that has begun the newest."""
    behind = await opened(store, resolve=ours_wins)
    await committed(behind, b"0")
    one = await opened(store, resolve=ours_wins)
    await committed(one, b"1")
    return behind, one


async def test_a_writer_that_was_behind_begins_a_line_on_a_head_that_was_put_back(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It never saw what was given up, and would give its revisions again on the same line."""
    now = datetime(2026, 11, 29, tzinfo=UTC)
    store = MemoryStore(clock=lambda: now)
    one = await opened(store, clock=lambda: now, resolve=ours_wins)
    await committed(one, b"1")
    behind = await opened(store, clock=lambda: now, resolve=ours_wins)
    await committed(behind, b"2", user=2)
    await committed(one, b"3", user=3)
    point = store.current()[HEAD]
    await committed(one, b"given up", user=5)
    await one.compact(USER)
    now += timedelta(minutes=16)
    store.replace(HEAD, point)
    await committed(behind, b"4", user=4)
    fresh = await opened(store)
    assert fresh.staged.entities(USER) == {1: b"1", 2: b"2", 3: b"3", 4: b"4"}
    assert "is not what head builds on" in caplog.text
    await committed(behind, b"5", user=4)
    await one.sync()  # which tells the branch from two winners, too
    fresh = await opened(store)
    assert one.staged.entities(USER) == fresh.staged.entities(USER)


@pytest.mark.parametrize("further", [0, 2])
async def test_a_blob_of_a_branch_on_a_line_that_went_on_is_no_base(
    further: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Put back a moment before, an older head looks like any other to a writer that was behind.

    It goes on with the line, and so gives revisions of it again. Who committed tells them apart:
    the writer whose commit the blob was made of has none of that revision here.
    """
    store = MemoryStore()
    behind, one = await two_on_one_line(store)
    point = store.current()[HEAD]
    for number in range(3):
        await committed(one, b"given up", user=10 + number)
    await one.compact(USER)
    store.replace(HEAD, point)
    for number in range(3 + further):
        await committed(behind, b"%d" % number, user=2)
    header, _ = read_header(USER, store.current()[USER])
    head = behind.base.head
    assert head.line_at(header.revision) == header.line
    assert not head.takes(USER, header)
    fresh = await opened(store)
    assert fresh.staged.entities(USER) == {1: b"1", 2: b"%d" % (2 + further)}
    assert "is not what head builds on" in caplog.text


async def test_a_commit_of_a_branch_that_went_on_is_not_gone_back_to() -> None:
    """Two commits of one revision and line: the one that the current head came after is meant."""
    store = MemoryStore()
    behind, one = await two_on_one_line(store)
    point = store.current()[HEAD]
    await committed(one, b"given up", user=2)
    given_up = store.current()[HEAD]
    store.replace(HEAD, point)
    await committed(behind, b"ours", user=2)
    await committed(behind, b"later", user=2)
    for body in (given_up, given_up, given_up, store.current()[HEAD]):  # tried, and taken back
        store.replace(HEAD, body)
    fresh = await opened(store)
    assert (await fresh.restorable(RestorePoint.parse("3"))).entities[USER] == {1: b"1", 2: b"ours"}


@pytest.mark.parametrize("commits", [0, 6])
async def test_a_blob_of_ours_that_arrived_is_no_base_on_another_branch(commits: int) -> None:
    """Its outcome was unknown when head was put back: it is ours, and of what was given up."""
    store = MemoryStore()
    bot = await opened(store, resolve=ours_wins)
    await committed(bot, b"1")
    point = store.current()[HEAD]
    for number in range(4):
        await committed(bot, b"given up", user=10 + number)

    def lose_answers(call: Call) -> Fault | None:
        arrived = USER in store.current()
        return Fault.FAIL_AFTER if arrived or call.operation == "put" else None

    store.faults = lose_answers
    with pytest.raises(StorageUnavailableError):
        await bot.compact(USER)
    store.faults = lambda _: None
    store.replace(HEAD, point)
    with pytest.raises(HeadLostError):
        await committed(bot, b"2", user=2)
    operator = await opened(store)
    await committed(operator, b"3", user=3)
    for number in range(commits):
        await committed(bot, b"%d" % number, user=4)
    await bot.commit()
    await bot.compact(USER)
    await bot.commit(publish=True)
    fresh = await opened(store)
    assert fresh.staged.entities(USER) == bot.staged.entities(USER)
    assert fresh.staged.entities(USER).keys() == {1, 2, 3, *([4] if commits else [])}


async def test_each_load_begins_a_line_with_its_first_commit() -> None:
    """The next ones go on with the newest line, whoever began it."""
    store = MemoryStore()
    one = await opened(store)
    await committed(one, b"1")
    other = await opened(store)
    await committed(other, b"2")
    await committed(other, b"3")
    lines = other.base.head.lines
    assert [line.revision for line in lines] == [1, 2]
    assert [line.line for line in lines] == [w.writer for w in other.base.head.writers]
    header, _ = read_header(HEAD, store.current()[HEAD])
    assert header.line == lines[-1].line
    await other.compact(USER)
    header, _ = read_header(USER, store.current()[USER])
    assert (header.revision, header.line) == (3, lines[-1].line)


@pytest.mark.parametrize("versioned", [True, False])
async def test_a_blob_of_a_branch_that_was_given_up_is_no_base(
    *, versioned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """The store was rolled back before a cold start: its revisions were given a second time."""
    store = MemoryStore(versioned=versioned)
    given_up = await opened(store)
    await committed(given_up, b"common")
    await published(given_up)
    point = store.current()
    for number in range(5):
        await committed(given_up, b"given up %d" % number)
    await given_up.compact(USER)
    blob = store.current()[USER]
    put_back(store, point)
    current = await opened(store)
    for number in range(9):
        await committed(current, b"current %d" % number)
    store.replace(USER, blob)
    if not versioned:
        with pytest.raises(DamagedObjectError, match="of its own lines"):
            await opened(store)
        return
    fresh = await opened(store)  # from the version that head names
    assert fresh.staged.entities(USER) == {1: b"current 8"}
    assert "is not what head builds on" in caplog.text
    assert fresh.due() == [USER]


@pytest.mark.parametrize("before", [True, False])
async def test_a_blob_of_an_honest_neighbour_will_do(*, before: bool) -> None:
    """Any version within the range, of the line that head has at its revision, is a base."""
    store = MemoryStore()
    one = await opened(store)
    await committed(one, b"1")
    await one.compact(USER)
    await committed(one, b"2")
    older = store.current()[USER]
    if before:  # another process has begun a line since
        one = await opened(store)
    await committed(one, b"3")
    await one.compact(USER)  # and ends before any head refers to it
    assert (await opened(store)).staged.entities(USER) == {1: b"3"}
    store.replace(USER, older)
    assert (await opened(store)).staged.entities(USER) == {1: b"3"}


async def test_a_crash_between_blob_and_head_loses_nothing() -> None:
    """The next process loads the blob, and its first commit refers to it."""

    def die(call: Call) -> Fault | None:
        return Fault.KILL_BEFORE if call.operation == "put" and call.name == HEAD else None

    store = MemoryStore()
    one = await opened(store)
    await committed(one, b"1")
    await one.compact(USER)
    store.faults = die
    with pytest.raises(ProcessKilled):
        await one.commit(publish=True)
    store.faults = lambda _: None
    other = await opened(store)
    assert other.staged.entities(USER) == {1: b"1"}
    await committed(other, b"2")
    ref = other.base.head.parts[USER].ref
    assert ref is not None
    assert ref.commit == read_header(USER, store.current()[USER])[0].commit


async def test_a_line_that_has_left_the_list_is_known_by_the_commit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The very blob that head refers to is taken however old its line is, and no other one."""
    monkeypatch.setattr(_head, "MAX_LINES", 3)
    store = MemoryStore(versioned=False)
    repository = await opened(store)
    await committed(repository, b"1")
    await published(repository)
    blob = store.current()[USER]
    await repository.compact(USER)
    twin = store.current()[USER]
    store.replace(USER, blob)
    for number in range(5):
        await committed(await opened(store), b"%d" % number)
    fresh = await opened(store)
    assert len(fresh.base.head.lines) == 3
    assert fresh.base.head.line_at(1) is None
    assert fresh.staged.entities(USER) == {1: b"4"}
    store.replace(USER, twin)
    with pytest.raises(DamagedObjectError, match="of its own lines"):
        await opened(store)


async def test_an_unknown_outcome_is_looked_up_under_the_id_it_was_sent_with() -> None:
    """After an attempt that stays undecided the process goes on as another writer."""
    store = MemoryStore()
    repository = await opened(store)
    await committed(repository, b"1")
    store.faults = lambda call: Fault.FAIL_BEFORE if call.operation != "versions" else None
    with pytest.raises(StorageUnavailableError):
        await committed(repository, b"2")
    store.faults = lambda _: None
    await repository.commit()
    head = repository.base.head
    assert head.revision == 2
    assert len({writer.writer for writer in head.writers}) == 2
    assert [line.revision for line in head.lines] == [1, 2]


async def test_a_blob_that_arrives_when_its_line_has_left_the_list_stops_nobody(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The version that head names is read in its place, and the blob is written anew."""
    monkeypatch.setattr(_head, "MAX_LINES", 3)
    store = MemoryStore()
    frozen = await opened(store)
    await committed(frozen, b"0", user=9)
    await published(frozen)
    await committed(frozen, b"1")
    late: list[bytes] = []

    async def put(name: str, body: bytes | Body, **_: Any) -> Any:
        late.append(joined(body))  # as its file is gone by the time it arrives
        raise ProcessKilled(name)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "put", put)
        with pytest.raises(ProcessKilled):
            await frozen.compact(USER)
    for number in range(5):
        await committed(await opened(store), b"%d" % number)
    store.replace(USER, late[0])
    fresh = await opened(store)
    assert fresh.staged.entities(USER) == {1: b"4", 9: b"0"}
    assert "is not what head builds on" in caplog.text
    assert fresh.due() == [USER]
    await fresh.compact(USER)
    await committed(fresh, b"5")
    caplog.clear()
    assert (await opened(store)).staged.entities(USER) == {1: b"5", 9: b"0"}
    assert not caplog.text


async def test_a_start_says_that_objects_were_put_back(caplog: pytest.LogCaptureFixture) -> None:
    """The storage took them long after they were written, which costs no request to know."""
    now = datetime(2026, 11, 29, tzinfo=UTC)
    store = MemoryStore(clock=lambda: now)
    repository = await opened(store, clock=lambda: now)
    await committed(repository, b"1")
    await opened(store)
    assert not caplog.text
    now += timedelta(minutes=14)
    store.replace(HEAD, store.current()[HEAD])
    await opened(store)
    assert not caplog.text
    now += timedelta(minutes=2)
    store.replace(HEAD, store.current()[HEAD])
    calls = len(store.calls)
    await opened(store)
    assert "Written long before the storage took them: head." in caplog.text
    assert len(store.calls) == calls + 1 + len(Kind)
