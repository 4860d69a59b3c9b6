"""Remains of erased data in words: how long older versions stay, and which copies are beyond reach.

`ptb_s3._history.remains` asks the bucket for them.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from typing import Any

from ptb_s3._history.remains import Remains
from ptb_s3._storage.bucket_config import Unknown
from ptb_s3._storage.lifecycle import NewestStay

_PURGE = "--purge deletes them at once."


def told(left: Remains, *, purged: bool) -> Iterable[str]:
    """Yield the sentences that say which copies are left.

    Args:
        left: The copies that the bucket keeps.
        purged: Whether the old versions have been deleted.
    """
    if left.versioned and not purged:
        yield _until_told(left.until)
    if purged and not left.versioned:
        yield "The storage keeps no versions: there are no older ones to delete."
    if isinstance(left.lock, Unknown):
        yield f"Whether versions may be locked against deletion is not known: {left.lock}."
    elif left.lock.enabled:
        yield "The bucket has object lock: nobody can delete a locked version before its time."
    if isinstance(left.replicas, Unknown):
        yield f"Whether versions are copied to other buckets is not known: {left.replicas}."
    elif left.replicas:
        yield f"What was copied to {', '.join(left.replicas)} is not reached from here."


def _until_told(until: date | NewestStay | Unknown | None) -> str:
    """Say when the older versions go by themselves."""
    if until is None:
        return f"No lifecycle rule removes the older versions that hold it. {_PURGE}"
    if isinstance(until, Unknown):
        return f"When the older versions that hold it go is not known: {until}. {_PURGE}"
    if isinstance(until, NewestStay):
        return (
            f"The lifecycle rule keeps the newest {until.number} older versions of each object, so "
            f"no day can be told on which the last one that holds it goes. {_PURGE}"
        )
    return (
        f"The lifecycle rule removes the last version that holds it on {until} (UTC), or within "
        f"days of that. {_PURGE}"
    )


def remains_json(left: Remains) -> dict[str, Any]:
    """Return the copies that are left as JSON."""
    until, lock, replicas = left.until, left.lock, left.replicas
    return {
        "versioned": left.versioned,
        "until": until.isoformat() if isinstance(until, date) else None,
        "until_unknown": isinstance(until, Unknown | NewestStay),
        "object_lock": None if isinstance(lock, Unknown) else lock.enabled,
        "replicas": None if isinstance(replicas, Unknown) else list(replicas),
    }
