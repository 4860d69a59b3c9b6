"""Schedules of bots with jobs; and that they would find the jobs broken."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.simulation.jobs import simulate_jobs
from tests.simulation.model import Violation

from ptb_s3._jobs import conflicts, keeper, making
from ptb_s3._jobs.job import PersistentJob
from ptb_s3._jobs.keeper import JobKeeper
from ptb_s3._jobs.record import JobRecord
from ptb_s3._jobs.runs import Runs
from ptb_s3._jobs.schedule import JobSchedule
from ptb_s3._jobs.table import JobTable
from ptb_s3._storage.reply_clock import ReplyClock

SCHEDULES = 60
SEEDS = (4, 28)
"""Seeds at which a job was not scheduled again whose run was cancelled before it had begun."""
PATIENCE = 60.0
"""Seconds of CPU within which whatever is broken must be found, however busy the machine is."""


def test_each_acknowledged_job_runs_and_none_too_often() -> None:
    """Under crashes at any await, lost and late replies, wrong clocks, and two writers."""
    tally = sum((simulate_jobs(seed) for seed in range(SCHEDULES)), Counter[str]())
    print(dict(tally))  # noqa: T201 - seen with -s, or where it fails
    assert tally["acknowledged"] >= 5 * SCHEDULES
    assert tally["killed"] >= SCHEDULES / 4
    assert tally["again"] >= SCHEDULES / 10, "some were cut off, and done again"
    assert tally["jumped"] >= SCHEDULES / 4
    assert tally["cancelled"] >= SCHEDULES / 4
    assert tally["taken back"] >= SCHEDULES
    assert tally["started again"] >= SCHEDULES / 2


def test_a_schedule_of_jobs_is_the_same_each_time() -> None:
    """What a seed found once, it finds again."""
    assert simulate_jobs(3) == simulate_jobs(3)


@pytest.mark.parametrize("seed", SEEDS)
def test_what_a_seed_has_found_once(seed: int) -> None:
    """A fault that was there does not come back."""
    simulate_jobs(seed)


async def _claims_nothing(*_: Any) -> bool:
    return True


def _forgets(self: JobTable, job_id: str, _: Any) -> None:
    """Forget a job that somebody else has claimed, as APScheduler does with one that it ran."""
    self._schedule.take_out(job_id)


def _ignores(*_: Any) -> None:
    """Leave a job to the next start, as APScheduler does."""


def _is_free(*_: Any) -> bool:
    return False


def _always(*_: Any) -> bool:
    return True


def _any_id(*_: Any) -> str:
    return next(_IDS)


_IDS = map(str, itertools.count())
_KEEPER: Any = keeper  # whose `datetime` is the virtual one


def _own_time(_: JobKeeper) -> Any:
    return _KEEPER.datetime.now(UTC)


def _ahead_as_it_was(self: Any) -> Any:
    return self.as_it_was


def _note_ahead(self: Any, date: datetime) -> None:
    self.as_it_was = date - self._now()


def _put_early(self: JobSchedule, record: JobRecord, job: Any, at: Any = None) -> Any:
    early = record.next and record.next - timedelta(seconds=10)
    return _SCHEDULING(self, record, job, at or early)


async def _end_anyway(self: PersistentJob, application: Any) -> None:
    with suppress(asyncio.CancelledError):
        await _CALL(self, application)


_CALL: Any = PersistentJob.call
_SCHEDULING: Any = JobSchedule._scheduling

MUTANTS: dict[str, tuple[tuple[Any, str, Any], ...]] = {
    "runs without a claim": ((Runs, "_claim", _claims_nothing),),
    "claims what is another's": ((Runs, "_is_taken", _is_free),),
    "forgets what another has claimed": ((JobTable, "look_again", _forgets),),
    "claims by its own clock": ((JobKeeper, "_storage_time", _own_time),),
    "takes its clock's being set for time": (
        (ReplyClock, "ahead", property(_ahead_as_it_was)),
        (ReplyClock, "note", _note_ahead),
    ),
    "takes a cancelled run for one that has ended": ((PersistentJob, "call", _end_anyway),),
    "leaves what was cancelled unbegun": ((JobSchedule, "failed", _ignores),),
    "brings back what another has cancelled": ((conflicts, "_is_new", _always),),
    "gives a fixed job another id each time": ((making, "fixed_id", _any_id),),
    "runs what is not due": ((JobSchedule, "_scheduling", _put_early),),
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_broken_jobs_are_found(mutant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Broken in one place, they are caught within a minute."""
    for target, name, broken in MUTANTS[mutant]:
        monkeypatch.setattr(target, name, broken)
    with pytest.raises(Violation):
        _simulate_for(PATIENCE)


def _simulate_for(seconds: float) -> None:
    until = time.process_time() + seconds
    seeds = itertools.count()
    while time.process_time() < until:
        simulate_jobs(next(seeds))
