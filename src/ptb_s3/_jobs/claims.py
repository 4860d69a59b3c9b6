"""Claims: who runs a job, so that one of several instances does. Pure.

A claim is part of a job's record, committed before the job runs::

    {"id": of the run, "by": random, "until": ten minutes on, by the storage's clock}

====================================  =======================================================
the record has                        another instance
====================================  =======================================================
no claim                              may claim the job once it is due
a claim, and its time is not up       leaves the job alone, and looks again when the time is up
a claim whose time is up              may claim it: whoever had it is taken for dead
====================================  =======================================================

A run is of one job at one due moment, and its id is made of the two. So the second attempt at one,
after a crash in the first, has the same id: for a payment service, it is the same payment.

While the job runs, its claim is renewed. The storage's clock, since two hosts' may differ.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

LASTS: Final = timedelta(minutes=10)
"""How long a claim lasts (DESIGN: ten minutes). A run of a dead instance waits for so long."""
RENEWED: Final = LASTS / 3
"""Time between two renewals: two may fail before the claim lapses."""

Claim = dict[str, Any]


def run_id(job_id: str, due: datetime) -> str:
    """Return the id of a run, the same in each process.

    Args:
        job_id: Id of the job.
        due: When the run is due.
    """
    return hashlib.sha256(f"{job_id}\n{due.astimezone(UTC).isoformat()}".encode()).hexdigest()[:32]


def new(run: str, by: str, now: datetime) -> Claim:
    """Return a claim.

    Args:
        run: Id of the run.
        by: Random id of whoever claims it, to recognise the claim by.
        now: The storage's time.
    """
    return {"id": run, "by": by, "until": now + LASTS}


def holds(claim: Mapping[str, Any] | None, now: datetime) -> bool:
    """Tell whether there is a claim whose time is not up."""
    return claim is not None and claim_until(claim) > now


def claim_until(claim: Mapping[str, Any]) -> datetime:
    """Return when a claim's time is up, by the storage's clock."""
    until: datetime = claim["until"]
    return until


def is_of(claim: Mapping[str, Any] | None, by: str) -> bool:
    """Tell whether a record's claim is the one of an attempt, by its random id."""
    return claim is not None and claim["by"] == by
