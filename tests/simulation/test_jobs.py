"""Schedules of bots with jobs; and that they would find the jobs broken."""

from __future__ import annotations

import itertools
import time
from collections import Counter
from typing import Any

import pytest
from tests.simulation.jobs import simulate_jobs
from tests.simulation.model import Violation

from ptb_s3._jobs.runs import Runs
from ptb_s3._jobs.table import JobTable

SCHEDULES = 60
PATIENCE = 60.0
"""Seconds of CPU within which whatever is broken must be found, however busy the machine is."""


def test_each_acknowledged_job_runs_and_none_too_often() -> None:
    """Under crashes at any await, lost and late replies, and two writers."""
    tally = sum((simulate_jobs(seed) for seed in range(SCHEDULES)), Counter[str]())
    print(dict(tally))  # noqa: T201 - seen with -s, or where it fails
    assert tally["acknowledged"] >= 5 * SCHEDULES
    assert tally["killed"] >= SCHEDULES / 4
    assert tally["again"] >= SCHEDULES / 10, "some were cut off, and done again"


def test_a_schedule_of_jobs_is_the_same_each_time() -> None:
    """What a seed found once, it finds again."""
    assert simulate_jobs(3) == simulate_jobs(3)


async def _claims_nothing(*_: Any) -> bool:
    return True


def _forgets(self: JobTable, job_id: str, _: Any) -> None:
    """Forget a job that somebody else has claimed, as APScheduler does with one that it ran."""
    self._schedule.take_out(job_id)


def _is_free(*_: Any) -> bool:
    return False


MUTANTS: dict[str, tuple[Any, str, Any]] = {
    "runs without a claim": (Runs, "_claim", _claims_nothing),
    "claims what is another's": (Runs, "_is_taken", _is_free),
    "forgets what another has claimed": (JobTable, "look_again", _forgets),
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_broken_jobs_are_found(mutant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Broken in one place, they are caught within a minute."""
    monkeypatch.setattr(*MUTANTS[mutant])
    with pytest.raises(Violation):
        _simulate_for(PATIENCE)


def _simulate_for(seconds: float) -> None:
    until = time.process_time() + seconds
    seeds = itertools.count()
    while time.process_time() < until:
        simulate_jobs(next(seeds))
