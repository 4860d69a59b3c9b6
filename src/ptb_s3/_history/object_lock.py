"""Versions that nobody can delete yet: which they are, and until when."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import aclosing
from datetime import UTC

from ptb_s3._history.listing import ahead, each
from ptb_s3._storage.contract import Archive, Lock, Version


async def locks(store: Archive, name: str, versions: Sequence[Version]) -> dict[str, Lock]:
    """Return what keeps the versions of an object from being deleted, by the ids of those."""

    async def ask(version: Version) -> tuple[str, Lock | None]:
        return version.version_id, await store.lock(name, version.version_id)

    found: dict[str, Lock] = {}
    async with aclosing(ahead(each(versions), ask)) as answers:
        async for version_id, lock in answers:
            found |= {} if lock is None else {version_id: lock}
    return found


def locked_until(locked: Mapping[str, Mapping[str, Lock]]) -> str:
    """Say of how many versions of which object the lock ends when, in UTC."""
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
