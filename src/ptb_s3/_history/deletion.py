"""Deletion of versions: the plan of it, and carrying it out.

Objects are deleted head first. So wherever a deletion is broken off, each commit that is still
listed has its blobs, and can be restored.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from ptb_s3._format.container import HEAD, Header
from ptb_s3._history.listing import is_kept
from ptb_s3._history.object_lock import locked_until, locks
from ptb_s3._history.scan import Advance, Listing
from ptb_s3._storage.answers import MAY_NOT_DELETE
from ptb_s3._storage.contract import Archive, Lock, Version
from ptb_s3.errors import AccessDeniedError

# Versions deleted by one request (Amazon S3 API Reference, DeleteObjects: at most 1,000), and so at
# most how many go after an interrupt.
_BATCH = 1000


@dataclass(slots=True)
class DeletionPlan:
    """Plan of a deletion, which counts what is gone while it is carried out.

    Attributes:
        doomed: The versions that go, by object, head first.
        kept: The commits that stay and can be restored, newest first.
        lost: The commits that go, newest first, as far as they were opened.
        current: The objects whose current version is among those that go.
        versioned: Whether the bucket keeps versions, so that there is any history.
        kept_versions: How many versions stay.
        kept_size: Bytes of all versions that stay.
        unread: How many of them stay because they cannot be read.
        searched: How many versions were opened, of all that the storage lists.
        others: How many commits of other stores, which lay here before, stay.
        locked: The locks of versions that would go, and cannot be deleted yet, by object and id.
        gone: How many versions have been deleted so far.
        gone_size: Bytes of those.
    """

    doomed: dict[str, list[Version]]
    kept: list[Header] = field(default_factory=list)
    lost: list[Header] = field(default_factory=list)
    current: list[str] = field(default_factory=list)
    versioned: bool = True
    kept_versions: int = 0
    kept_size: int = 0
    unread: int = 0
    searched: int = 0
    others: int = 0
    locked: dict[str, dict[str, Lock]] = field(default_factory=dict)
    gone: int = 0
    gone_size: int = 0

    @property
    def versions(self) -> int:
        """Return how many versions go."""
        return sum(map(len, self.doomed.values()))

    @property
    def size(self) -> int:
        """Return the bytes of the versions that go."""
        return sum(version.size for versions in self.doomed.values() for version in versions)


def plan_deletion(listing: Listing, doomed: Callable[[str, Version], bool]) -> DeletionPlan:
    """Return the plan to delete some of the versions listed.

    Args:
        listing: All versions of all objects, head first.
        doomed: Tells of an object's version whether it goes.
    """
    plan = DeletionPlan({}, versioned=any(map(is_kept, listing[HEAD])))
    for name, versions in listing.items():
        going = [version for version in versions if doomed(name, version)]
        plan.doomed[name] = going
        plan.kept_versions += len(versions) - len(going)
        if any(version.is_latest for version in going):
            plan.current.append(name)
        plan.kept_size += sum(v.size for v in versions) - sum(v.size for v in going)
    return plan


async def carry_out(archive: Archive, plan: DeletionPlan, advance: Advance) -> None:
    """Delete the versions of a plan for good. May be broken off, and the rest planned anew.

    Args:
        archive: Where the versions lie.
        plan: The versions that go; it counts those that are gone.
        advance: Called with how many are gone, and of how many.

    Raises:
        AccessDeniedError: The storage would not delete some. Blobs are not deleted after heads that
            stay: those may need them.
    """
    for name, versions in plan.doomed.items():
        refused: list[Version] = []
        for at in range(0, len(versions), _BATCH):
            batch = versions[at : at + _BATCH]
            left = set(await archive.delete(name, [version.version_id for version in batch]))
            refused += [version for version in batch if version.version_id in left]
            plan.gone += len(batch) - len(left)
            plan.gone_size += sum(v.size for v in batch if v.version_id not in left)
            advance(plan.gone, plan.versions)
        if refused:
            raise await _refusal(archive, name, refused)


async def _refusal(archive: Archive, name: str, refused: list[Version]) -> AccessDeniedError:
    """Return the error for versions that were not deleted: some locked, others not permitted."""
    held = await locks(archive, name, refused)
    why = [f"Locked are {locked_until({name: held})}."] if held else []
    why += [MAY_NOT_DELETE] if len(held) < len(refused) else []
    return AccessDeniedError(
        f"Versions of object {name!r} that the storage would not delete: {len(refused):,}. "
        + " ".join(why)
    )
