"""Prune the history by a policy: plan which versions go. The current state always stays.

A version stays if it is any of these, of a head or a blob:

| it is                            | why it stays                                           |
|----------------------------------|--------------------------------------------------------|
| current                          | the state                                              |
| a commit that the policy keeps   | the policy                                             |
| a blob that such a commit needs  | the commit could not be restored without it            |
| of another store                 | the policy is for one store, unless it is for all      |
| unreadable, or damaged           | it may be needed, and nothing shows that it is not     |
| locked                           | it cannot be deleted, and stays with what it needs     |
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Container, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import tzinfo
from typing import NamedTuple

from ptb_s3._format.container import HEAD, Header
from ptb_s3._format.entities import Kind
from ptb_s3._format.head import Head
from ptb_s3._format.reader import Reader
from ptb_s3._history.blobs import BlobHeaders
from ptb_s3._history.deletion import DeletionPlan, plan_deletion
from ptb_s3._history.headers import require_headers
from ptb_s3._history.listing import require_gone
from ptb_s3._history.object_lock import locks
from ptb_s3._history.order import Commit, in_order, moments
from ptb_s3._history.retention import Policy
from ptb_s3._history.scan import Advance, Listing, Opened, list_all, open_all, unseen
from ptb_s3._storage.contract import Archive, Lock, Store, Version


async def plan_prune(
    store: Archive,
    reader: Reader,
    policy: Policy,
    zone: tzinfo | None,
    advance: Advance,
    *,
    store_id: str | None = None,
    lockable: bool = False,
) -> DeletionPlan:
    """Plan to delete the versions that a policy does not keep. Nothing is changed.

    Args:
        store: Where the objects lie.
        reader: Opens the commits that are kept, to see which blobs they need.
        policy: How many commits to keep.
        zone: Whose hours and days count; None: this machine's.
        advance: Called with how many versions have been listed; then with how many headers have
            been read, and of how many; then with how many kept commits have been opened, likewise.
        store_id: The store that the policy is for: everything of any other that lay here stays.
            None: it is for all of them.
        lockable: Whether versions may be locked, so that it pays to ask of each.

    Raises:
        UnknownKeyError: A commit to be kept is sealed with a key that is not at hand.
        StorageError: The storage lists what it does not give, or has what it does not list.
    """
    listing = await list_all(store, advance)
    commits = await require_headers(store, listing[HEAD], HEAD, advance)
    locked = await locks(store, HEAD, listing[HEAD]) if lockable else {}
    choice = _Choice(policy, zone, store_id, _current(listing[HEAD]), locked)
    kept = await _open_kept(store, reader, choice, commits, advance)
    staying: dict[str, _Staying] = {HEAD: choice.staying(commits, kept)}
    needed = _needed_blobs(kept, listing)
    for kind in Kind:
        at_least = needed[kind] | _current(listing[kind])
        staying[kind] = await _blobs_that_stay(
            store, kind, listing[kind], at_least, choice.is_other, lockable=lockable
        )
    plan = plan_deletion(listing, lambda name, version: version.version_id not in staying[name].ids)
    plan.kept = await _restorable(store, kept, listing)
    plan.unread = sum(len(one.unread) for one in staying.values())
    plan.others = len(choice.others(commits))
    plan.locked = {name: one.locked for name, one in staying.items()}
    return plan


class _Staying(NamedTuple):
    """Versions of an object that stay, by the reason for it.

    Attributes:
        needed: Ids of those that are current, that a kept commit needs, or of another store.
        unread: Ids of those that cannot be read.
        locked: The locks of the others, which cannot be deleted, by id.
    """

    needed: set[str]
    unread: set[str]
    locked: dict[str, Lock]

    @property
    def ids(self) -> set[str]:
        return self.needed | self.unread | self.locked.keys()


@dataclass(slots=True)
class _Choice:
    """Choice of the commits that stay, made again where a kept one turns out to be damaged.

    Attributes:
        policy: How many commits to keep.
        zone: Whose hours and days count.
        store_id: The store that the policy is for; None: all.
        current: Ids of the current head.
        locked: Locks of heads, by id.
        damaged: Ids of heads that turned out to be damaged so far.
    """

    policy: Policy
    zone: tzinfo | None
    store_id: str | None
    current: set[str]
    locked: dict[str, Lock]
    damaged: set[str] = field(default_factory=set)

    def is_other(self, commit: Commit) -> bool:
        """Tell whether a commit is of a store that the policy is not for."""
        return commit.header is not None and self.store_id not in (None, commit.header.store)

    def others(self, commits: Iterable[Commit]) -> set[str]:
        """Return the ids of commits of other stores."""
        return _ids(filter(self.is_other, commits))

    def kept(self, commits: Iterable[Commit]) -> list[Version]:
        """Return the versions to keep and to open, newest first: locked ones need blobs as well."""
        return self._chosen(self._good(commits), self.current | self.locked.keys())

    def staying(self, commits: Sequence[Commit], kept: Sequence[Opened]) -> _Staying:
        """Return the heads that stay, once all that are kept have been opened."""
        others = self.others(commits)
        wanted = self._chosen(self._good(commits), self.current)
        spoken_for = others | {version.version_id for version in wanted}
        return _Staying(
            self.current | others | {opened.version.version_id for opened in kept},
            self.damaged | _ids(commit for commit in commits if commit.header is None),
            {id_: lock for id_, lock in self.locked.items() if id_ not in spoken_for},
        )

    def _good(self, commits: Iterable[Commit]) -> list[Commit]:
        """Order the commits that the policy counts: of its store, readable, not damaged."""
        ordered = in_order(c for c in commits if c.header is not None and not self.is_other(c))
        return [commit for commit in ordered if commit.version.version_id not in self.damaged]

    def _chosen(self, ordered: list[Commit], also: Container[str]) -> list[Version]:
        keep = self.policy.keeps([commit.made.astimezone(self.zone) for commit in ordered])
        pairs = zip((commit.version for commit in ordered), keep, strict=True)
        return [version for version, kept in pairs if kept or version.version_id in also]


async def _open_kept(
    store: Store, reader: Reader, choice: _Choice, commits: Sequence[Commit], advance: Advance
) -> list[Opened]:
    """Open the commits that are kept, newest first.

    A damaged commit is no point to go back to, so that another one is kept in its place: the choice
    notes it, and is made again.

    Raises:
        UnknownKeyError: One cannot be opened for want of a key.
    """
    while True:
        keep = {HEAD: choice.kept(commits)}
        opened = await _open(store, reader, keep, advance)
        seen = {(HEAD, one.version.version_id) for one in opened}
        await require_gone(store, unseen(keep, seen))
        bad = {one.version.version_id for one in opened if one.fault is not None}
        if not bad:
            return opened
        choice.damaged |= bad


async def _open(store: Store, reader: Reader, listing: Listing, advance: Advance) -> list[Opened]:
    """Open heads, of which there may be thousands, and keep their references to blobs alone."""
    found = []
    async with aclosing(open_all(store, reader, listing, advance)) as versions:
        async for opened in versions:
            opened.refuse_without_key()
            content = opened.content
            slim = content.refs_alone if isinstance(content, Head) else None
            found.append(opened._replace(content=slim))
    return found


async def _blobs_that_stay(
    store: Archive,
    kind: Kind,
    versions: Sequence[Version],
    needed: set[str],
    is_other: Callable[[Commit], bool],
    *,
    lockable: bool,
) -> _Staying:
    """Choose a kind's blobs: those needed, of another store, unreadable or locked stay."""
    rest = [version for version in versions if version.version_id not in needed]
    read = [c for c in await require_headers(store, rest, kind) if c.header is not None]
    staying = _Staying(
        needed | _ids(filter(is_other, read)),
        {version.version_id for version in rest} - _ids(read),
        {},
    )
    going = [version for version in rest if version.version_id not in staying.ids]
    return staying._replace(locked=await locks(store, kind, going) if lockable else {})


def _ids(commits: Iterable[Commit]) -> set[str]:
    return {commit.version.version_id for commit in commits}


def _current(versions: list[Version]) -> set[str]:
    """Return the ids of the current versions or, of a deleted object, of its last ones.

    There may be several where the storage's time does not order them.
    """
    latest = [version for version in versions if version.is_latest]
    return {version.version_id for version in latest or next(iter(moments(versions)), [])}


def _needed_blobs(heads: Iterable[Opened], listing: Listing) -> dict[str, set[str]]:
    """Return the ids of the blob versions that these commits build on, by kind."""
    needed: dict[str, set[str]] = defaultdict(set)
    for kind in Kind:
        held = {version.version_id for version in listing[kind]}
        for opened in heads:
            ref = opened.content.parts[kind].ref if isinstance(opened.content, Head) else None
            if ref is None:
                continue
            # Without the very version, any of a range would do: keep them all rather than guess.
            needed[kind] |= {id_ for id_ in held if id_ == ref.version_id} or held
    return needed


async def _restorable(store: Store, kept: list[Opened], listing: Listing) -> list[Header]:
    """Return the headers of those kept commits whose blobs are all there."""
    heads = [(o.header, o.content) for o in kept if o.header and isinstance(o.content, Head)]
    held = {kind: {version.version_id for version in listing[kind]} for kind in Kind}
    if all(
        part.ref is None or part.ref.version_id in held[kind]
        for _, head in heads
        for kind, part in head.parts.items()
    ):
        return [header for header, _ in heads]
    blobs = BlobHeaders()  # another one of a range would do as well
    for kind in Kind:
        for commit in await require_headers(store, listing[kind], kind):
            if commit.header is not None:
                blobs.add(commit.header)
    return [header for header, head in heads if blobs.suffice(header.store, head)]
