"""A host's call begins no compaction that does not fit into it, and what is overdue is told."""

from __future__ import annotations

import asyncio
import logging
import os
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from telegram.ext import MessageHandler, filters
from tests.support import make_persistence, settled, state_of, update
from tests.support.bots import App
from tests.support.deliveries import application, calls_of, message

from ptb_s3._engine import head_bound
from ptb_s3._engine.head_bound import HeadBound
from ptb_s3._format.entities import Kind
from ptb_s3._ptb import pace
from ptb_s3._ptb.group_commit import GroupCommit
from ptb_s3._ptb.pace import Pace
from ptb_s3._storage.faults import Call, Fault
from ptb_s3._storage.memory import MemoryStore
from ptb_s3.errors import HeadTooLargeError
from ptb_s3.serverless import begin, committed, compact, deliver

BLOBS = {kind.value for kind in Kind}
MB = 1_000_000


def blobs(store: MemoryStore, since: int = 0) -> list[str]:
    """Names of the blobs of which a PUT was sent, or that were read."""
    return [name for _, name in calls_of(store, since) if name in BLOBS]


async def add_text(context_update: Any, context: Any) -> None:
    context.user_data[context_update.message.message_id] = os.urandom(50_000).hex()
    context.bot_data["n"] = context.bot_data.get("n", 0) + 1


def growing(store: MemoryStore, **options: Any) -> App:
    """A bot of which each update of a user adds much to its data."""
    return application(store, MessageHandler(filters.TEXT, add_text), **options)


def commits_of(app: App) -> GroupCommit:
    commits: GroupCommit = app.persistence._commits  # type: ignore[union-attr]
    assert commits is not None
    return commits


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host that takes hours for a blob of a kilobyte."""
    monkeypatch.setattr(pace, "SEALING", 0.1)
    monkeypatch.setattr(pace, "UNSEEN", 0.1)


# What fits, and what does not ---------------------------------------------------------------------


async def test_what_fits_is_written_before_the_call_returns() -> None:
    """The first commit makes all that it holds due, and there is time for it."""
    store = MemoryStore()
    await deliver(growing(store), message())
    assert {"user_data", "bot_data"} <= set(blobs(store))


@pytest.mark.usefixtures("slow")
async def test_what_does_not_fit_is_not_begun_call_after_call(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No blob is sent or read or sealed; commits go on, and head carries what has changed."""
    store = MemoryStore()
    app = growing(store)
    sealed: list[Kind] = []
    await begin(app)
    monkeypatch.setattr(commits_of(app).repository, "compact", sealed.append)
    before, sizes = len(store.calls), []
    for user in range(4):
        assert await deliver(app, message(user=user + 1))
        sizes.append(len(store.current()["head"]))
    assert blobs(store, before) == []
    assert sealed == []
    assert sizes == sorted(sizes)
    assert sizes[-1] > sizes[0] + 3 * 50_000
    assert len(await make_persistence(store).get_user_data()) == 4


async def test_the_smallest_is_written_and_the_largest_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whatever fits is done: the bot's data, and not the users' beside it."""
    monkeypatch.setattr(pace, "UNSEEN", 5_000)
    monkeypatch.setattr(pace, "SEALING", 5_000)
    store = MemoryStore()
    app = growing(store)
    await deliver(app, message())
    assert "bot_data" in store.current()
    assert "user_data" not in store.current()
    assert commits_of(app).compaction.overdue == [Kind.USER_DATA]


@pytest.mark.usefixtures("slow")
async def test_nor_is_it_begun_by_a_block_of_committed() -> None:
    """That is a call of a host's, too; on a bot that runs, it is not."""
    store = MemoryStore()
    async with committed(growing(store), users=[1]) as state:
        state.user_data[1]["paid"] = True
    assert blobs(store) == [kind.value for kind in Kind]  # read by the start, as ever
    assert set(store.current()) == {"head"}


async def test_commits_tell_how_fast_the_line_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the bytes of head, and the time that they took."""
    noted: list[tuple[int, float]] = []
    monkeypatch.setattr(Pace, "note_commit", lambda _, *given: noted.append(given))
    store = MemoryStore()
    app = growing(store)
    await deliver(app, message())
    ((sent, seconds),) = noted
    assert sent > 50_000
    assert 0 < seconds < 60


@pytest.mark.usefixtures("slow")
async def test_a_bot_that_runs_begins_always() -> None:
    """Nobody freezes it: what takes hours is done in hours."""
    store = MemoryStore()
    persistence = make_persistence(store)
    await state_of(persistence)
    await update(persistence, {"user_data": {1: {"a": 1}}})
    await settled(persistence)
    assert "user_data" in store.current()
    assert persistence.stats.overdue == ()


async def test_one_that_was_broken_off_is_not_begun_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The call's time was up in the middle: as little time will not do the next time, either."""
    store = MemoryStore()
    app = growing(store)
    await begin(app)
    repository = commits_of(app).repository
    begun: list[Kind] = []

    async def never(kind: Kind) -> None:
        begun.append(kind)
        await asyncio.Event().wait()

    monkeypatch.setattr(repository, "compact", never)
    monkeypatch.setattr("ptb_s3._ptb.time_limit.BLOBS_PATIENCE", 0.05)
    monkeypatch.setattr(pace, "SEALING", 1e9)
    monkeypatch.setattr(pace, "UNSEEN", 1e9)
    for user in range(4):
        await deliver(app, message(user=user + 1))
    assert len(begun) <= 2


# How long it takes --------------------------------------------------------------------------------


def test_before_anything_was_seen_a_host_is_trusted_with_little() -> None:
    """2 MiB a second, packed."""
    assert Pace().seconds(20 * 2**20) == 10


def test_a_commit_of_some_size_tells_of_the_line() -> None:
    """Of a small one, the time is that of round trips."""
    seen = Pace()
    seen.note_commit(4_000, 1.0)
    assert seen.seconds(20 * 2**20) == 10
    seen.note_commit(1 * MB, 1.0)
    assert seen.seconds(20 * MB) == 10
    seen.note_commit(1 * MB, 10.0)
    assert seen.seconds(20 * MB) == 100


def test_however_fast_the_line_a_core_has_to_seal() -> None:
    """A commit seals little of what it sends: its frames are there already."""
    seen = Pace()
    seen.note_commit(1 * MB, 0.0)
    assert seen.seconds(160 * 2**20) == 10


def test_a_blob_tells_more_than_commits() -> None:
    """It was compressed, sealed, opened and sent, as the next one will be."""
    seen = Pace()
    seen.note_blob(10 * MB, 2.0)
    seen.note_commit(1 * MB, 1.0)
    assert seen.seconds(20 * MB) == 4


def test_one_that_was_broken_off_takes_longer_than_it_had() -> None:
    """Else it would be begun for the same time again; a day later it may."""
    seen = Pace()
    seen.note_broken_off(10 * MB, 5.0)
    assert seen.seconds(10 * MB) == 10
    seen.forget_blobs()
    assert seen.seconds(20 * 2**20) == 10


# What is overdue ----------------------------------------------------------------------------------


def overdue_lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [
        record.getMessage()
        for record in caplog.records
        if record.levelno == logging.WARNING and "overdue" in record.getMessage()
    ]


@pytest.mark.usefixtures("slow")
async def test_one_line_a_day_says_what_is_overdue(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which kinds, what each commit carries, what it would send, how long, and the way out."""
    app, now = growing(MemoryStore()), [1_000_000.0]
    await begin(app)
    monkeypatch.setattr(commits_of(app).compaction, "_clock", lambda: now[0])
    for hours in (0, 10, 10):
        now[0] += hours * 3600
        await deliver(app, message())
    (line,) = overdue_lines(caplog)
    assert "of chat_data, bot_data, user_data." in line
    assert "ptb-s3 compact" in line
    assert "schedule" in line
    now[0] += 4 * 3600
    await deliver(app, message())
    assert len(overdue_lines(caplog)) == 2


@pytest.mark.usefixtures("slow")
async def test_stats_say_what_is_overdue_until_it_is_written() -> None:
    """Kinds, bytes that each commit carries, and bytes that a compaction sends."""
    app = growing(MemoryStore())
    await deliver(app, message())
    stats = app.persistence.stats  # type: ignore[union-attr]
    assert set(stats.overdue) == {"user_data", "bot_data", "chat_data"}
    assert 50_000 < stats.overdue_carried < 60_000
    assert stats.overdue_sends == stats.overdue_carried
    await compact(app)
    stats = app.persistence.stats  # type: ignore[union-attr]
    assert (stats.overdue, stats.overdue_carried, stats.overdue_sends) == ((), 0, 0)


# A schedule's call --------------------------------------------------------------------------------


@pytest.mark.usefixtures("slow")
async def test_a_call_for_it_writes_all_that_is_due_however_long_it_takes() -> None:
    """Then head is small again, and a second call sends nothing."""
    store = MemoryStore()
    app = growing(store)
    for user in range(3):
        await deliver(app, message(user=user + 1))
    before = await make_persistence(store).get_user_data()
    large = len(store.current()["head"])
    assert set(await compact(app)) == {"user_data", "chat_data", "bot_data"}
    assert len(store.current()["head"]) < large / 10
    assert await make_persistence(store).get_user_data() == before
    calls = len(store.calls)
    assert await compact(app) == []
    assert calls_of(store, calls) == [("get", "head")]


@pytest.mark.usefixtures("slow")
async def test_a_call_for_it_that_has_too_little_time_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is no success, and the state is as it was."""
    app = growing(store := MemoryStore())
    await deliver(app, message())
    before = await make_persistence(store).get_user_data()

    async def never(_: Kind) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(commits_of(app).repository, "compact", never)
    with pytest.raises(TimeoutError, match=r"within 0\.05 s\. Nothing is lost"):
        await compact(app, timeout=0.05)
    assert await make_persistence(store).get_user_data() == before
    assert await deliver(app, message())


# The bound of head --------------------------------------------------------------------------------


@pytest.mark.usefixtures("slow")
async def test_a_head_over_the_bound_is_refused_before_it_is_sent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The update is taken back, what was committed stays, and compaction is the way out."""
    store = MemoryStore()
    app = growing(store)
    await deliver(app, message())
    monkeypatch.setattr(head_bound, "MAX_HEAD", 80_000)
    before = len(store.calls)
    refused = message(user=2)
    with pytest.raises(HeadTooLargeError, match="ptb-s3 compact") as caught:
        await deliver(app, refused)
    assert 80_000 < caught.value.size < 200_000
    assert caught.value.limit == 80_000
    assert "put" not in [operation for operation, _ in calls_of(store, before)]
    assert list(await make_persistence(store).get_user_data()) == [1]
    await compact(app)
    assert await deliver(app, refused)
    assert list(await make_persistence(store).get_user_data()) == [1, 2]


def _no_blobs(call: Call) -> Fault | None:
    return Fault.FAIL_BEFORE if call.operation == "put" and call.name in BLOBS else None


async def test_a_bot_that_runs_compacts_what_was_refused_and_saves_it_then(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Otherwise nothing would: a compaction comes after a commit, and there is none any more."""
    store = MemoryStore(faults=_no_blobs)
    persistence = make_persistence(store)
    await state_of(persistence)
    await persistence.update_user_data(1, {"a": os.urandom(50_000)})
    await settled(persistence)
    store.faults = lambda _: None
    monkeypatch.setattr(head_bound, "MAX_HEAD", 80_000)
    with pytest.raises(HeadTooLargeError):
        await persistence.update_user_data(2, {"a": os.urandom(50_000)})
    await settled(persistence)
    assert "user_data" in store.current()
    await persistence.update_user_data(3, {"a": 1})
    assert list(await make_persistence(store).get_user_data()) == [1, 2, 3]


def test_from_a_quarter_of_the_bound_one_line_a_day_warns(caplog: pytest.LogCaptureFixture) -> None:
    """Long before a commit is refused."""
    now = [datetime(2026, 11, 30, tzinfo=UTC)]
    bound = HeadBound(lambda: now[0])
    bound.check(head_bound.MAX_HEAD // 4)
    assert caplog.records == []
    for hours in (0, 23, 1):
        now[0] += timedelta(hours=hours)
        bound.check(head_bound.MAX_HEAD // 4 + 1)
        bound.check(head_bound.MAX_HEAD)
    assert len(caplog.records) == 2
    assert "ptb-s3 compact" in caplog.records[0].getMessage()
    with pytest.raises(HeadTooLargeError):
        bound.check(head_bound.MAX_HEAD + 1)


async def test_beside_a_bot_that_runs_a_call_ends_no_compaction() -> None:
    """It goes on in the background, for as long as it takes: nothing is about to freeze."""
    app = growing(MemoryStore())
    await app.initialize()
    compaction = commits_of(app).compaction
    compaction.task = task = asyncio.create_task(asyncio.sleep(60))
    await compaction.settle(0.01)
    assert not task.done()
    compaction.in_call = True
    await compaction.settle(0.01)
    assert task.cancelled()
