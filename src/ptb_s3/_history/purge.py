"""Purge one user or chat from the history: plan which versions go, before and after it is erased.

A version goes if it holds an entity of that id, a head also if it records the deletion of one, and
if the last blob that it can build on goes. A damaged version counts as one that holds it.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import aclosing
from dataclasses import dataclass, field

from ptb_s3._format.container import HEAD
from ptb_s3._format.entities import Kind
from ptb_s3._format.erasure import subjects
from ptb_s3._format.head import Head
from ptb_s3._format.reader import Reader
from ptb_s3._history.blobs import BlobHeaders
from ptb_s3._history.deletion import DeletionPlan, plan_deletion
from ptb_s3._history.listing import require_gone
from ptb_s3._history.object_lock import locks
from ptb_s3._history.order import Commit, in_order
from ptb_s3._history.scan import Advance, Listing, Opened, list_all, open_all, unseen
from ptb_s3._storage.contract import Archive, Lock
from ptb_s3.errors import ConflictError


async def plan_purge(
    store: Archive, reader: Reader, subject: int, advance: Advance, *, lockable: bool = False
) -> DeletionPlan:
    """Plan to delete every version that holds data of a user or chat. Nothing is changed.

    Args:
        store: Where the objects lie.
        reader: Opens them.
        subject: Id of the user or chat.
        advance: Called with how many versions have been listed; then with how many have been
            searched, and of how many.
        lockable: Whether versions may be locked, so that it pays to ask of each that is to go.

    Raises:
        UnknownKeyError: A version is sealed with a key that is not at hand, so none can be purged.
        StorageError: The storage lists what it does not give, or has what it does not list.
    """
    listing = await list_all(store, advance)
    search = _Search(subject)
    async with aclosing(open_all(store, reader, listing, advance)) as versions:
        async for opened in versions:
            opened.refuse_without_key()
            search.add(opened)
    await require_gone(store, unseen(listing, search.seen))
    holding = search.holding | search.stranded()
    locked = await _locks(store, listing, holding) if lockable else {}
    holding -= {(name, version_id) for name, held in locked.items() for version_id in held}
    plan = plan_deletion(listing, lambda name, version: (name, version.version_id) in holding)
    plan.locked = locked
    plan.searched = len(search.seen)
    _sort(plan, search.heads, search.after)
    return plan


def refuse_current(plan: DeletionPlan) -> None:
    """Stop before a current object is deleted, which holds the erased again by another's commit.

    Args:
        plan: A plan that was made after the erasure.

    Raises:
        ConflictError: A current version is among those that go.
    """
    if plan.current:
        raise ConflictError(
            f"A running bot has saved it again, into {', '.join(plan.current)}. Nothing was "
            "purged. Stop the bot, then run the same command again."
        )


@dataclass(slots=True)
class _Search:
    """Search for the versions that hold data of one id.

    Attributes:
        subject: The id.
        seen: Object name and version id of all that were opened, and of those that cannot be.
        holding: The same of those that hold data of that id.
        heads: The commits, with their references to blobs alone.
        before: Headers of all blobs.
        after: Headers of the blobs that do not hold it, and so stay.
    """

    subject: int
    seen: set[tuple[str, str]] = field(default_factory=set)
    holding: set[tuple[str, str]] = field(default_factory=set)
    heads: list[tuple[Commit, Head]] = field(default_factory=list)
    before: BlobHeaders = field(default_factory=BlobHeaders)
    after: BlobHeaders = field(default_factory=BlobHeaders)

    def add(self, opened: Opened) -> None:
        """Note of a version whether it holds data of that id, and what it is needed for."""
        place, header = (opened.name, opened.version.version_id), opened.header
        held = opened.content is None or _holds(opened, self.subject)
        self.seen.add(place)
        if held:
            self.holding.add(place)
        if header is None or opened.content is None:
            return
        if isinstance(opened.content, Head):
            self.heads.append((Commit(opened.version, header), opened.content.refs_alone))
            return
        self.before.add(header)
        if not held:
            self.after.add(header)

    def stranded(self) -> set[tuple[str, str]]:
        """Return the heads that could be restored, and cannot once the blobs are gone."""
        return {
            (HEAD, version.version_id)
            for (version, header), head in self.heads
            if header
            and self.before.suffice(header.store, head)
            and not self.after.suffice(header.store, head)
        }


def _holds(opened: Opened, subject: int) -> bool:
    """Tell whether a version names an id, also if it does so to record a deletion."""
    if isinstance(opened.content, Head):
        return any(
            subject in subjects(kind, key)
            for kind, part in opened.content.parts.items()
            for key in part.differential
        )
    kind = Kind(opened.name)
    return any(subject in subjects(kind, key) for key in opened.content or ())


async def _locks(
    store: Archive, listing: Listing, holding: set[tuple[str, str]]
) -> dict[str, dict[str, Lock]]:
    """Return the locks of the versions that are to go, by object and version id."""
    found = {}
    for name, versions in listing.items():
        going = [version for version in versions if (name, version.version_id) in holding]
        found[name] = await locks(store, name, going)
    return found


def _sort(plan: DeletionPlan, heads: Iterable[tuple[Commit, Head]], blobs: BlobHeaders) -> None:
    """Note in a plan which commits go, and which of the others can be restored."""
    doomed = {version.version_id for version in plan.doomed[HEAD]}
    of = {commit.version.version_id: head for commit, head in heads}
    for version, header in in_order(commit for commit, _ in heads):
        if header is None:
            continue
        if version.version_id in doomed:
            plan.lost.append(header)
        elif blobs.suffice(header.store, of[version.version_id]):
            plan.kept.append(header)
