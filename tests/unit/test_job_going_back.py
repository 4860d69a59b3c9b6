"""A restore does not run again what has run since."""

from __future__ import annotations

import pickle
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.support import opened
from tests.unit.test_repository import committed

from ptb_s3._engine.past_jobs import judge_past_jobs
from ptb_s3._engine.repository import Repository
from ptb_s3._engine.restore import Counts, RestorePlan, plan_restore
from ptb_s3._format.entities import Kind
from ptb_s3._format.restore_point import RestorePoint
from ptb_s3._jobs.going_back import JobsOfPast, going_on, is_overdue
from ptb_s3._jobs.record import JobRecord
from ptb_s3._storage.memory import MemoryStore
from ptb_s3._values.serializer import PickleSerializer
from ptb_s3._values.transcoder import Transcoder

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)
EARLIER, LATER = NOW - timedelta(hours=1), NOW + timedelta(hours=1)
CODEC = PickleSerializer(trusted=())
CLAIM = {"id": "c", "by": "b", "until": LATER}


def job(due: datetime | None, job_id: str = "a1", **members: Any) -> JobRecord:
    """Return a reminder that is due at a moment."""
    trigger = ("date", {"at": EARLIER})
    return JobRecord(job_id, "tea", "shop:remind", trigger, due, chat=5, **members)


def saved(record: JobRecord) -> bytes:
    return CODEC.dumps(record.value())


JUDGE = JobsOfPast(Transcoder(), NOW)


def test_what_is_not_due_comes_back_as_it_was() -> None:
    """One that waits for its time, and one that is paused, whatever is there now."""
    for older in (job(LATER), job(None), job(LATER, claim=CLAIM)):
        for current in (None, saved(job(NOW)), saved(job(None))):
            assert JUDGE(saved(older), current) == saved(older)


def test_what_has_run_since_is_left_out() -> None:
    """A reminder that was sent is not sent again; due this very moment counts as overdue."""
    assert JUDGE(saved(job(EARLIER)), None) is None
    assert JUDGE(saved(job(NOW)), None) is None


def test_what_repeats_goes_on_from_its_next_run() -> None:
    """With its older data; who runs it now goes on with that."""
    older, current = job(EARLIER, data="older"), job(LATER, data="newer", claim=CLAIM)
    judged = JUDGE(saved(older), saved(current))
    assert judged is not None
    assert judged == saved(job(LATER, data="older", claim=CLAIM))


def test_a_timeout_is_treated_alike() -> None:
    """Its other members come back, too."""
    older = CODEC.dumps({"update": 1, "next": EARLIER, "claim": None})
    current = CODEC.dumps({"update": 2, "next": LATER, "claim": None})
    assert JUDGE(older, None) is None
    judged = JUDGE(older, current)
    assert judged is not None
    assert CODEC.loads(judged) == {"update": 1, "next": LATER, "claim": None}


@pytest.mark.parametrize("bad", [b"", b"garbage", pickle.dumps(None), pickle.dumps({"name": 1})])
def test_what_cannot_be_read_stays_as_it_is(bad: bytes) -> None:
    """It may have run: better none than the same again."""
    assert JUDGE(bad, None) is None
    assert JUDGE(bad, b"current") == b"current"
    assert JUDGE(saved(job(EARLIER)), bad) == bad


class _OfTheBot:
    """A class that no program but the bot can load."""


def test_nobody_s_code_runs() -> None:
    """Data of a bot's own class comes back as the bytes that the bot has made."""
    codec = PickleSerializer(trusted=(__name__,))
    older, current = job(EARLIER, data=_OfTheBot()), job(LATER)
    judged = JUDGE(codec.dumps(older.value()), codec.dumps(current.value()))
    assert judged == codec.dumps(job(LATER, data=older.data).value())


KEY_A, KEY_B, KEY_C, KEY_D = (job(NOW, one).key for one in ("a", "b", "c", "d"))


async def grown(store: MemoryStore) -> Repository:
    """Return a store in which, since revision 1, one job has run, one repeated, one was made."""
    repository = await opened(store)
    before = {KEY_A: saved(job(EARLIER, "a")), KEY_B: saved(job(EARLIER, "b"))}
    await repository.commit_only({Kind.JOBS: {**before, KEY_C: saved(job(LATER, "c"))}})
    after = {KEY_A: None, KEY_B: saved(job(LATER, "b")), KEY_C: None, KEY_D: saved(job(LATER, "d"))}
    await repository.commit_only({Kind.JOBS: after, Kind.USER_DATA: {1: b"user"}})
    return repository


async def planned(repository: Repository, **options: Any) -> RestorePlan:
    snapshot = await repository.restorable(RestorePoint.parse("1"))
    return plan_restore(repository, snapshot, judge=JUDGE, **options)


async def test_a_plan_says_what_it_leaves_out() -> None:
    """And brings back what was not due yet; what was made since goes, as ever."""
    plan = await planned(await grown(MemoryStore()))
    assert (plan.jobs.left_out, plan.jobs.going_on) == ((KEY_A,), (KEY_B,))
    assert plan.changes[Kind.JOBS] == {KEY_C: saved(job(LATER, "c")), KEY_D: None}
    assert plan.counts[Kind.JOBS] == Counts(added=1, changed=0, removed=1)
    assert plan.changes[Kind.USER_DATA] == {1: None}


async def test_overdue_jobs_come_back_if_asked_for() -> None:
    """As they were, and the plan counts them."""
    plan = await planned(await grown(MemoryStore()), overdue_jobs=True)
    assert plan.changes[Kind.JOBS][KEY_A] == saved(job(EARLIER, "a"))
    assert plan.changes[Kind.JOBS][KEY_B] == saved(job(EARLIER, "b"))
    assert (plan.jobs.left_out, plan.jobs.going_on) == ((KEY_A,), (KEY_B,))


async def test_jobs_alone_are_restored() -> None:
    """All other kinds stay; and without jobs, nothing is said of them."""
    repository = await grown(MemoryStore())
    assert set((await planned(repository, kind=Kind.JOBS)).changes) == {Kind.JOBS}
    assert (await planned(repository, kind=Kind.JOBS, key=KEY_A)).jobs.left_out == (KEY_A,)
    users = await planned(repository, kind=Kind.USER_DATA)
    assert (users.jobs.left_out, set(users.changes)) == ((), {Kind.USER_DATA})


async def test_what_has_not_changed_is_no_change() -> None:
    """An overdue job that nobody has run is the same in both states, and is due as before."""
    repository = await opened(MemoryStore())
    late = saved(job(EARLIER, "a"))
    await repository.commit_only({Kind.JOBS: {KEY_A: late}})
    await committed(repository, u1=b"one")
    plan = await planned(repository)
    assert (plan.jobs.left_out, plan.jobs.going_on) == ((), ())
    assert not plan.changes[Kind.JOBS]


async def test_a_restore_at_a_start_leaves_them_out(caplog: pytest.LogCaptureFixture) -> None:
    """And logs how many, without a name or an id."""
    repository = await grown(MemoryStore())
    assert await repository.restore(RestorePoint.parse("1"), JUDGE)
    assert repository.base.entities[Kind.JOBS].keys() == {KEY_B, KEY_C}
    assert "were left out" in caplog.text
    assert "cancelled): 1." in caplog.text
    assert not [secret for secret in ("tea", "remind", str(KEY_A)) if secret in caplog.text]


def check() -> None:
    """See that the rule holds where there is no APScheduler."""
    assert is_overdue(job(EARLIER).value(), NOW)
    assert going_on(job(EARLIER).value(), job(LATER).value())["next"] == LATER
    assert judge_past_jobs is not None
