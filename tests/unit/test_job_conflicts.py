"""One job that two writers have changed: what has run is not run again, and no cancel is lost."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ptb_s3._jobs import claims
from ptb_s3._jobs.conflicts import merge_jobs

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)
ONCE = ("date", {"at": NOW})
JOB: dict[str, Any] = {"name": "tea", "trigger": ONCE, "next": NOW, "data": 1, "claim": None}
MINE, THEIRS = claims.new("run", "mine", NOW), claims.new("run", "theirs", NOW)
LATER = NOW + timedelta(days=1)


def test_of_two_claims_the_first_one_holds() -> None:
    """The other writer has committed, so it was first."""
    merged = merge_jobs(JOB, JOB | {"claim": MINE}, JOB | {"claim": THEIRS})
    assert merged.value == JOB | {"claim": THEIRS}
    assert not merged.overridden


def test_what_has_run_is_not_claimed_again() -> None:
    """Their next run stays as they have written it, and nobody has a claim on it."""
    theirs = JOB | {"next": LATER, "data": 2}
    assert merge_jobs(JOB, JOB | {"claim": MINE}, theirs).value == theirs
    assert merge_jobs(JOB, JOB | {"claim": MINE}, None).value is None


def test_to_cancel_a_job_wins() -> None:
    """Whatever others have made of it."""
    for theirs in (JOB | {"claim": THEIRS}, JOB | {"next": LATER}, None):
        assert merge_jobs(JOB, None, theirs).value is None


def test_a_job_that_was_put_off_here_while_it_ran_there_is_kept() -> None:
    """They removed it since it had run; here, the user has asked for another time."""
    ours = JOB | {"trigger": ("date", {"at": LATER}), "next": LATER}
    assert merge_jobs(JOB, ours, None).value == ours


def test_a_job_that_was_cancelled_there_while_it_ran_here_stays_cancelled() -> None:
    """Its end is no wish of anybody's to have it again. Another trigger is."""
    base = JOB | {"claim": MINE}
    for ours in (JOB | {"next": LATER}, JOB | {"next": LATER, "data": 2}, base | {"data": 3}):
        assert merge_jobs(base, ours, None).value is None
    ours = JOB | {"trigger": ("date", {"at": LATER}), "next": LATER}
    assert merge_jobs(base, ours, None).value == ours


def test_of_two_fixed_jobs_that_are_made_at_once_the_first_one_counts() -> None:
    """Both instances make it at their start. It may have run there by now."""
    theirs = JOB | {"fixed": 0, "next": LATER}
    merged = merge_jobs(None, JOB | {"fixed": 0}, theirs)
    assert merged.value == theirs
    assert not merged.overridden
    ours = JOB | {"fixed": None, "data": 2}
    assert merge_jobs(None, ours, JOB | {"fixed": None}).value == ours


def test_a_claim_goes_on_a_job_whose_data_has_changed() -> None:
    """It is the same run of the same job."""
    merged = merge_jobs(JOB, JOB | {"claim": MINE}, JOB | {"data": 2})
    assert merged.value == JOB | {"claim": MINE, "data": 2}


def test_the_end_of_a_run_whose_claim_has_lapsed() -> None:
    """It has run here, and runs there: their claim stays, on the next run."""
    base = JOB | {"claim": MINE}
    merged = merge_jobs(base, JOB | {"next": LATER}, base | {"claim": THEIRS})
    assert merged.value == JOB | {"next": LATER, "claim": THEIRS}


def test_members_merge_one_by_one_and_ours_wins_what_is_left() -> None:
    """As those of any other dictionary, and it is counted."""
    merged = merge_jobs(JOB, JOB | {"data": 2}, JOB | {"data": 3, "name": "coffee"})
    assert merged.value == JOB | {"data": 2, "name": "coffee"}
    assert merged.overridden == 1


@pytest.mark.parametrize("claim", [None, claims.new("run", "old", NOW - 2 * claims.LASTS)])
def test_a_claim_lasts_for_its_time(claim: Any) -> None:
    """One whose time is up holds no more than none."""
    assert not claims.holds(claim, NOW)
    assert claims.holds(MINE, NOW)
    assert not claims.holds(MINE, NOW + claims.LASTS)
    assert claims.is_of(MINE, "mine")
    assert not claims.is_of(claim, "mine")
