"""Object locks: which versions nobody can delete yet, and until when."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import aclosing
from datetime import UTC

from ptb_s3._history.pipeline import pipelined
from ptb_s3._storage.bucket_config import Bucket, Unknown
from ptb_s3._storage.contract import Archive, Lock, Version


async def is_lockable(bucket: Bucket) -> bool:
    """Tell whether versions of a bucket may be locked, so that it pays to ask of each.

    Who may not ask of the bucket's configuration may still be told of a version, so a denial counts
    as yes.
    """
    lock = await bucket.object_lock()
    return lock.denied if isinstance(lock, Unknown) else lock.enabled


async def locks(store: Archive, name: str, versions: Sequence[Version]) -> dict[str, Lock]:
    """Return the locks that keep versions of an object from being deleted, by version id."""

    async def ask(version: Version) -> tuple[str, Lock | None]:
        return version.version_id, await store.lock(name, version.version_id)

    found: dict[str, Lock] = {}
    async with aclosing(pipelined(versions, ask)) as answers:
        async for version_id, lock in answers:
            found |= {} if lock is None else {version_id: lock}
    return found


def locked_until(locked: Mapping[str, Mapping[str, Lock]]) -> str:
    """Say how many versions of each object are locked, and until when, in UTC.

    Args:
        locked: Their locks, by object and version id.

    Returns:
        Text such as ``2 of head until 2026-11-23 14:00:00 UTC``; empty where nothing is locked.
    """
    return "; ".join(
        f"{len(locks):,} of {name} {_latest(locks.values())}"
        for name, locks in locked.items()
        if locks
    )


def _latest(locks: Collection[Lock]) -> str:
    ends = [lock.until for lock in locks if lock.until is not None]
    held = "by a legal hold, which somebody has to end" if len(ends) < len(locks) else ""
    dated = f"until {max(ends).astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC" if ends else ""
    return " and ".join(filter(None, (dated, held)))
