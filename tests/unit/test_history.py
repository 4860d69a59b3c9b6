"""Going back: any commit that history holds, as a new commit, once."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.support import opened
from tests.unit.test_repository import USER, committed

from ptb_s3._engine.repository import Repository
from ptb_s3._format.entities import Kind
from ptb_s3._format.restore_point import RestorePoint
from ptb_s3._history import listing
from ptb_s3._storage.memory import MemoryStore
from ptb_s3.errors import RestorePointError

point = RestorePoint.parse

START = datetime(2026, 1, 1, tzinfo=UTC)


def ticking() -> Iterator[datetime]:
    now = START
    while True:
        yield now
        now += timedelta(minutes=1)


async def with_history(store: MemoryStore, commits: int = 12, **options: Any) -> Repository:
    """Revision n has user 1 at n, and users 100 to 100 + n; blobs are written now and then."""
    clock = ticking()
    repository = await opened(store, clock=lambda: next(clock), **options)
    for revision in range(1, commits + 1):
        repository.stage(USER, 1, str(revision).encode())
        repository.stage(USER, 100 + revision, b"x")
        repository.stage(Kind.BOT_DATA, 0, str(revision).encode())
        await repository.commit()
        if revision % 3 == 0:
            await repository.compact(USER)
    return repository


def expected(revision: int) -> dict[int, bytes]:
    users = {100 + number: b"x" for number in range(1, revision + 1)}
    return {1: str(revision).encode(), **users}


@pytest.mark.parametrize("revision", range(1, 13))
async def test_any_revision_comes_back(revision: int) -> None:
    """Every commit can be restored, all kinds to one instant, as a new commit."""
    store = MemoryStore()
    await with_history(store)
    heads = len([v async for v in store.versions("head")])
    repository = await opened(store)
    assert await repository.restore(point(str(revision)))
    assert repository.revision == 13
    again = await opened(store)
    assert again.staged.entities(USER) == expected(revision)
    assert again.staged.entities(Kind.BOT_DATA) == {0: str(revision).encode()}
    assert len([v async for v in store.versions("head")]) == heads + 1


@pytest.mark.parametrize("page", [1, 4, 5, 1000])
async def test_a_revision_is_found_page_by_page(page: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The newest page first, and no further than where it is."""
    monkeypatch.setattr(listing, "PAGE", page)
    store = MemoryStore()
    ticks = itertools.count()
    store.clock = lambda: datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=next(ticks))
    await with_history(store, 40)
    history = (await opened(store)).history
    for revision in (40, 37, 36, 20, 3, 1):
        before = len(store.calls)
        assert (await history.state_at(point(str(revision)))).entities[USER] == expected(revision)
        read = [c for c in store.calls[before:] if (c.operation, c.name) == ("get", "head")]
        if revision >= 36 and page > 1:
            assert len(read) <= 12


async def test_a_request_is_carried_out_once() -> None:
    """The head remembers the request, through later commits, and does not repeat it."""
    store = MemoryStore()
    await with_history(store)
    repository = await opened(store)
    assert await repository.restore(point("4"))
    await committed(repository, u1=b"later")
    again = await opened(store)
    assert not await again.restore(point("4"))
    assert again.staged.entities(USER)[1] == b"later"
    assert await again.restore(point("5"))


async def test_the_present_state_restored_is_still_recorded() -> None:
    """Going back to where one is changes nothing, and is not tried at every start."""
    store = MemoryStore()
    repository = await with_history(store)
    assert await repository.restore(point("12"))
    assert not await (await opened(store)).restore(point("12"))


async def test_a_time_names_the_last_commit_before_it() -> None:
    """A time brings back the state as of then, to the second, in UTC unless it says otherwise."""
    store = MemoryStore()
    writer = await with_history(store)
    made = [v async for v in store.versions("head")]
    assert len(made) == 12
    created = {}
    for version in made:
        found = await store.get("head", version_id=version.version_id)
        assert found is not None
        header, _ = writer._context.reader.open_head(found.body)
        created[header.revision] = header.created
    moment = created[7].replace(tzinfo=None).isoformat()
    repository = await opened(store)
    await repository.restore(point(moment))
    assert repository.staged.entities(USER) == expected(7)
    await repository.restore(point((created[5] - timedelta(seconds=1)).isoformat()))
    assert repository.staged.entities(USER) == expected(4)


async def test_a_version_id_names_a_head() -> None:
    """What the storage calls a version can be restored by that name."""
    store = MemoryStore()
    await with_history(store)
    versions = [v.version_id async for v in store.versions("head")]
    repository = await opened(store)
    await repository.restore(point(versions[-3]))
    assert repository.staged.entities(USER) == expected(3)


async def test_an_expired_blob_is_replaced_by_any_that_fits() -> None:
    """A blob version between a head's reference and its own serves as well as the one named."""
    store = MemoryStore()
    repository = await opened(store)
    await committed(repository, u1=b"1")
    await repository.compact(USER)
    await committed(repository, u1=b"2")
    await repository.compact(USER)
    oldest = [v.version_id async for v in store.versions(USER)][-1]
    store.lose(USER, oldest)
    await committed(repository, u1=b"3")
    reader = await opened(store)
    await reader.restore(point("2"))
    assert reader.staged.entities(USER) == {1: b"2"}


async def test_an_expired_blob_that_nothing_replaces_is_said() -> None:
    """Where no blob is left to build on, the error says so and names the kind."""
    store = MemoryStore()
    await with_history(store)
    for version in [v async for v in store.versions(USER)][1:]:
        store.lose(USER, version.version_id)
    repository = await opened(store)
    with pytest.raises(RestorePointError, match="no version of user_data is left"):
        await repository.restore(point("7"))
    assert await repository.restore(point("12"))


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        ("99", "the nearest one before it is 12"),
        ("0", "history does not reach back so far"),
        ("2020-01-01", "no commit so old is left"),
        ("v99999", "no such version of head"),
        ("yesterday", "no such version of head"),
    ],
)
async def test_what_is_not_there_is_said(request_: str, reason: str) -> None:
    """A revision, time or version that history does not hold is an error; nothing changes."""
    store = MemoryStore()
    await with_history(store)
    before = store.current()
    repository = await opened(store)
    with pytest.raises(RestorePointError, match=reason) as caught:
        await repository.restore(point(request_))
    assert caught.value.exit_code == 3
    assert store.current() == before
    assert not repository.dirty


async def test_a_version_of_another_object_is_refused() -> None:
    """A blob's version id names no commit."""
    store = MemoryStore()
    await with_history(store)
    blob = (await anext(store.versions(USER))).version_id
    with pytest.raises(RestorePointError):
        await (await opened(store)).restore(point(blob))


async def test_a_store_that_lay_here_before_is_not_gone_back_to() -> None:
    """A prefix may have held another store: its versions are not this one's history."""
    store = MemoryStore()
    await with_history(store, commits=5)
    for name in list(store.current()):
        store.lose(name)
    deleted = await store.remains("head")
    assert deleted is not None
    repository = await with_history(store, commits=2, begin_anew=deleted.version_id)
    with pytest.raises(RestorePointError):
        await repository.restore(point("4"))
    assert await repository.restore(point("1"))
    assert repository.staged.entities(USER) == expected(1)


async def test_finding_a_commit_reads_few_headers() -> None:
    """A long history is bisected, not read."""
    store = MemoryStore()
    await with_history(store, commits=200)
    repository = await opened(store)
    before = len(store.calls)
    await repository.restore(point("77"))
    assert len(store.calls) - before < 20


@pytest.mark.long
async def test_a_long_history_is_listed_from_few_headers() -> None:
    """The newest of 50,000 commits take as many headers, and a few that were asked for ahead."""
    store = MemoryStore()
    repository = await with_history(store)
    body = store.current()["head"]
    for _ in range(50_000):
        store.replace("head", body)
    before = len(store.calls)
    found = []
    async with aclosing(repository.history.commits()) as commits:
        async for commit in commits:
            found.append(commit)
            if len(found) == 20:
                break
    calls = [call.operation for call in store.calls[before:]]
    assert calls.count("versions") == 1
    assert len(calls) < 40


async def test_commits_of_a_span_are_all_of_it() -> None:
    """From and to are both included, by the writers' clock, and what cannot be read is there."""
    # As if the bucket had been copied: the storage has all of it from much later.
    store = MemoryStore(clock=lambda: START + timedelta(days=9))
    repository = await with_history(store)
    history = repository.history
    every = [c.header async for c in history.commits() if c.header]
    assert [header.revision for header in every] == list(range(12, 0, -1))
    since, until = every[8].created, every[3].created
    span = [c.header async for c in history.commits(since=since, until=until) if c.header]
    assert [header.revision for header in span] == [9, 8, 7, 6, 5, 4]
    stored = store._history["head"][5]
    store._history["head"][5] = stored._replace(body=b"x")
    listed = [commit.header async for commit in history.commits()]
    assert len(listed) == 12
    assert listed.count(None) == 1


async def test_half_of_a_history_that_expired_names_the_other_half() -> None:
    """Where a commit has lost its blob, the error says from which revision on all can be had."""
    store = MemoryStore()
    await with_history(store)
    versions = [v async for v in store.versions(USER)]
    for version in versions[1:]:
        store.lose(USER, version.version_id)
    repository = await opened(store)
    with pytest.raises(RestorePointError, match=r"Revisions from 12 \(.*\) on can") as caught:
        await repository.restore(point("7"))
    assert "user_data" in str(caught.value)
    assert await repository.restore(point("12"))


async def test_a_damaged_copy_of_a_commit_hides_the_intact_one_from_nobody() -> None:
    """Somebody has put a garbled copy of it after it: both say that they are revision 4."""
    store, copy = MemoryStore(), MemoryStore()
    await with_history(store, commits=5)  # whose users' blob is of revision 3
    heads = [v.version_id async for v in store.versions("head")]
    *older, now = [(await store.get("head", version_id=v)).body for v in reversed(heads)]  # type: ignore[union-attr]  # all are there
    garbled = older[-1][:-1] + bytes([older[-1][-1] ^ 1])
    for name, body in store.current().items():
        if name != "head":
            copy.replace(name, body)
    for body in (*older, garbled, now):
        copy.replace("head", body)
    repository = await opened(copy)
    assert await repository.restore(point("4"))
    assert repository.staged.entities(USER) == expected(4)


async def test_a_damaged_blob_is_made_up_for_by_another() -> None:
    """Where the very blob is damaged and another fits, that one gives the same state."""
    store = MemoryStore()
    repository = await opened(store)
    await committed(repository, u1=b"1")
    await repository.compact(USER)
    await committed(repository, u1=b"2")
    await repository.compact(USER)
    await committed(repository, u1=b"3")
    first = store._history[USER][0]
    store._history[USER][0] = first._replace(body=first.body[:-1])
    reader = await opened(store)
    await reader.restore(point("2"))
    assert reader.staged.entities(USER) == {1: b"2"}


async def test_a_store_of_before_is_named_also_within_one_second() -> None:
    """A storage tells seconds, and the last commit of one may share one with the other."""
    store = MemoryStore(clock=lambda: START)
    first = await with_history(store, commits=3)
    store.lose("head")
    store.lose(USER)
    store.lose(Kind.BOT_DATA)
    deleted = await store.remains("head")
    assert deleted is not None
    anew = await with_history(store, commits=2, begin_anew=deleted.version_id)
    _, _, others = await anew.history.extent(lambda _: None)
    assert [(h.store, h.revision) for h in others] == [(first.base.identity.store, 3)]
