"""What is left of the erased after `forget`: for how long, and what is out of reach."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, datetime
from typing import Any, NamedTuple

from ptb_s3._history.scan import NAMES
from ptb_s3._storage.bucket_config import Bucket, ObjectLock, Unknown, Versioning
from ptb_s3._storage.lifecycle import NewestStay, expiry
from ptb_s3._storage.s3 import S3Store

_PURGE = "--purge deletes them at once."


class Remains(NamedTuple):
    """What the bucket keeps of what was replaced just now.

    Attributes:
        versioned: Whether it keeps anything.
        until: The day (UTC) on which its lifecycle rules remove the last of it; None: never.
        lock: Whether versions may be locked against deletion.
        replicas: ARNs of the buckets that versions are copied to.
    """

    versioned: bool
    until: date | NewestStay | Unknown | None
    lock: ObjectLock | Unknown
    replicas: tuple[str, ...] | Unknown


async def remains(store: S3Store, now: datetime) -> Remains:
    """Ask what the bucket keeps of what is replaced now."""
    bucket = Bucket(store)
    return Remains(
        await bucket.versioning() is not Versioning.NEVER,
        await _until(bucket, store.prefix, now),
        await bucket.object_lock(),
        await bucket.replicated_to(),
    )


async def _until(bucket: Bucket, prefix: str, now: datetime) -> date | NewestStay | Unknown | None:
    rules = await bucket.lifecycle()
    if isinstance(rules, Unknown):
        return rules
    days = [expiry(rules, prefix + name, now) for name in NAMES]
    if None in days:
        return None
    staying = [day for day in days if isinstance(day, NewestStay)]
    return max(staying) if staying else max(day for day in days if isinstance(day, date))


def told(left: Remains, *, purged: bool) -> Iterable[str]:
    """Say what is left, in sentences.

    Args:
        left: What the bucket keeps.
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
    """Return what is left, for programs."""
    until, lock, replicas = left.until, left.lock, left.replicas
    return {
        "versioned": left.versioned,
        "until": until.isoformat() if isinstance(until, date) else None,
        "until_unknown": isinstance(until, Unknown | NewestStay),
        "object_lock": None if isinstance(lock, Unknown) else lock.enabled,
        "replicas": None if isinstance(replicas, Unknown) else list(replicas),
    }
