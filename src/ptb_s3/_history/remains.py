"""Remains of erased data: which copies a bucket keeps of objects that were replaced, and how long.

An erasure replaces the current objects. Their older versions stay until a lifecycle rule removes
them, and replicas in other buckets are out of reach.
"""

from __future__ import annotations

from datetime import date, datetime
from typing import NamedTuple

from ptb_s3._history.scan import NAMES
from ptb_s3._storage.bucket_config import Bucket, ObjectLock, Unknown, Versioning
from ptb_s3._storage.lifecycle import NewestStay, expiry


class Remains(NamedTuple):
    """Copies that a bucket keeps of objects that were replaced just now.

    Attributes:
        versioned: Whether it keeps any.
        until: The day (UTC) on which its lifecycle rules remove the last of them; None: never.
        lock: Whether versions may be locked against deletion.
        replicas: ARNs of the buckets that versions are copied to.
    """

    versioned: bool
    until: date | NewestStay | Unknown | None
    lock: ObjectLock | Unknown
    replicas: tuple[str, ...] | Unknown


async def remains(bucket: Bucket, prefix: str, now: datetime) -> Remains:
    """Ask a bucket which copies it keeps of objects that are replaced now.

    Args:
        bucket: The bucket.
        prefix: In front of the objects' names: lifecycle rules go by it.
        now: The time of the replacement.
    """
    return Remains(
        await bucket.versioning() is not Versioning.NEVER,
        await _until(bucket, prefix, now),
        await bucket.object_lock(),
        await bucket.replicated_to(),
    )


async def keeps_versions(bucket: Bucket) -> bool:
    """Tell whether a bucket says that it keeps versions, or has kept some.

    A bucket that does not say counts as one that keeps none.
    """
    return await bucket.versioning() in {Versioning.ENABLED, Versioning.SUSPENDED}


async def _until(bucket: Bucket, prefix: str, now: datetime) -> date | NewestStay | Unknown | None:
    rules = await bucket.lifecycle()
    if isinstance(rules, Unknown):
        return rules
    days = [expiry(rules, prefix + name, now) for name in NAMES]
    if None in days:
        return None
    staying = [day for day in days if isinstance(day, NewestStay)]
    return max(staying) if staying else max(day for day in days if isinstance(day, date))
