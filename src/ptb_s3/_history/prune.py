"""Thin out the history: which versions go, and their deletion. The current state always stays.

So does what cannot be read or put in order: nobody can say that it is not needed; and what is
locked, with what it needs. Heads go before blobs, so that wherever it is broken off, whatever
commit is still listed can still be brought back.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Container, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import tzinfo
from functools import partial
from typing import NamedTuple

from ptb_s3._format.container import HEAD, Header
from ptb_s3._format.entities import Kind
from ptb_s3._format.erasure import subjects
from ptb_s3._format.head import Head
from ptb_s3._format.reader import Reader
from ptb_s3._history.history import restorable
from ptb_s3._history.listing import is_kept, read_commits, require_gone
from ptb_s3._history.object_lock import locked_until, locks
from ptb_s3._history.order import Commit, in_order, moments
from ptb_s3._history.retention import Policy
from ptb_s3._history.scan import Advance, Listing, Opened, list_all, open_all
from ptb_s3._storage.answers import MAY_NOT_DELETE
from ptb_s3._storage.contract import Archive, Lock, Store, Version
from ptb_s3.errors import AccessDeniedError, DamagedObjectError

# Versions deleted by one request, and so at most how many after an interrupt.
_BATCH = 1000


@dataclass(slots=True)
class Plan:
    """What is to be deleted.

    Attributes:
        doomed: The versions that go, by object, head first.
        kept: The commits that stay and can be brought back, newest first.
        lost: The commits that go, or can no longer be brought back, newest first, as far as they
            were opened.
        current: The objects whose current version is among them.
        versioned: Whether there is any history.
        kept_versions: How many versions stay.
        kept_size: Bytes of all versions that stay.
        unread: How many of them stay because they cannot be read.
        searched: How many versions were opened, of all that the storage lists.
        others: How many commits of other stores stay, which lay here before.
        locked: The versions that would go and stay since nobody can delete them, by object and id.
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
        """How many versions go."""
        return sum(map(len, self.doomed.values()))

    @property
    def size(self) -> int:
        """Bytes of the versions that go."""
        return sum(version.size for versions in self.doomed.values() for version in versions)


async def plan_prune(
    store: Archive,
    reader: Reader,
    policy: Policy,
    zone: tzinfo | None,
    advance: Advance,
    *,
    store_id: str | None = None,
    lockable: bool = False,
) -> Plan:
    """Choose what a policy does not keep. Nothing is changed.

    Args:
        store: Where the objects lie.
        reader: Opens the commits that are kept, to see which blobs they need.
        policy: What to keep.
        zone: Whose hours and days count; None: this machine's.
        advance: Called with how many versions have been listed; then with how many headers have
            been read, and of how many; then with how many kept commits have been opened, likewise.
        store_id: The store that the policy is for: all of any other that lay here stays. None: it
            is for all of them.
        lockable: Whether versions may be locked, so that it pays to ask of each.

    Raises:
        UnknownKeyError: A commit to be kept is sealed with a key that is not at hand.
        StorageError: The storage lists what it does not give, or has what it does not list.
    """
    listing = await list_all(store, advance)
    commits = await _read(store, HEAD, listing[HEAD], advance)
    locked = await locks(store, HEAD, listing[HEAD]) if lockable else {}

    def is_other(commit: Commit) -> bool:
        return commit.header is not None and store_id not in (None, commit.header.store)

    def chosen(ordered: list[Commit], also: Container[str]) -> list[Version]:
        keep = policy.keeps([commit.made.astimezone(zone) for commit in ordered])
        pairs = zip((commit.version for commit in ordered), keep, strict=True)
        return [version for version, kept in pairs if kept or version.version_id in also]

    current = _current(listing[HEAD])
    ordered = in_order(c for c in commits if c.header is not None and not is_other(c))
    choose = partial(chosen, also=current | locked.keys())
    kept, damaged = await _kept_commits(store, reader, ordered, choose, advance)
    others = _ids(filter(is_other, commits))
    wanted = chosen([c for c in ordered if c.version.version_id not in damaged], current)
    staying = {
        HEAD: _Staying(
            current | others | {opened.version.version_id for opened in kept},
            damaged | _ids(commit for commit in commits if commit.header is None),
            _without(locked, others | {version.version_id for version in wanted}),
        )
    }
    needed = _needed_blobs(kept, listing)
    for kind in Kind:
        at_least = needed[kind] | _current(listing[kind])
        staying[kind] = await _blobs_that_stay(
            store, kind, listing[kind], at_least, is_other, lockable=lockable
        )
    plan = _dooming(listing, lambda name, version: version.version_id not in staying[name].ids)
    plan.kept = await _whole(store, kept, listing)
    plan.unread = sum(len(one.unread) for one in staying.values())
    plan.others = len(others)
    plan.locked = {name: one.locked for name, one in staying.items()}
    return plan


class _Staying(NamedTuple):
    """Which versions of an object stay.

    Attributes:
        needed: Those that are current, or that a commit which stays needs.
        unread: Those that cannot be read.
        locked: Those of the others that nobody can delete, by id.
    """

    needed: set[str]
    unread: set[str]
    locked: dict[str, Lock]

    @property
    def ids(self) -> set[str]:
        return self.needed | self.unread | self.locked.keys()


async def _blobs_that_stay(
    store: Archive,
    kind: Kind,
    versions: Sequence[Version],
    needed: set[str],
    is_other: Callable[[Commit], bool],
    *,
    lockable: bool,
) -> _Staying:
    """Choose a kind's blobs: what is needed, another store's, unreadable or locked stays."""
    rest = [version for version in versions if version.version_id not in needed]
    read = [c for c in await _read(store, kind, rest) if c.header is not None]
    staying = _Staying(
        needed | _ids(filter(is_other, read)),
        {version.version_id for version in rest} - _ids(read),
        {},
    )
    going = [version for version in rest if version.version_id not in staying.ids]
    return staying._replace(locked=await locks(store, kind, going) if lockable else {})


def _ids(commits: Iterable[Commit]) -> set[str]:
    return {commit.version.version_id for commit in commits}


def _without(locked: dict[str, Lock], ids: Container[str]) -> dict[str, Lock]:
    return {version_id: lock for version_id, lock in locked.items() if version_id not in ids}


def _current(versions: list[Version]) -> set[str]:
    """Return the ids of what is current; of a deleted object, it is what was there last."""
    latest = [version for version in versions if version.is_latest]
    return {version.version_id for version in latest or next(iter(moments(versions)), [])}


async def _read(
    store: Store, name: str, versions: Sequence[Version], advance: Advance = lambda _, __: None
) -> list[Commit]:
    """Read the headers of versions; those that have expired meanwhile are left out.

    Raises:
        StorageError: The storage still lists one that it does not give.
    """
    found = []
    async with aclosing(read_commits(store, versions, name)) as commits:
        async for commit in commits:
            found += [] if commit is None else [commit]
            advance(len(found), len(versions))
    read = {commit.version.version_id for commit in found}
    await require_gone(store, [(name, v) for v in versions if v.version_id not in read])
    return found


async def _whole(store: Store, kept: list[Opened], listing: Listing) -> list[Header]:
    """Return the headers of those commits whose blobs are all there."""
    heads = [(o.header, o.content) for o in kept if o.header and isinstance(o.content, Head)]
    held = {kind: {version.version_id for version in listing[kind]} for kind in Kind}
    if all(
        part.ref is None or part.ref.version_id in held[kind]
        for _, head in heads
        for kind, part in head.parts.items()
    ):
        return [header for header, _ in heads]
    blobs = _Blobs()  # another one of a range would do as well
    for kind in Kind:
        for commit in await _read(store, kind, listing[kind]):
            if commit.header is not None:
                blobs.add(commit.header)
    return [header for header, head in heads if blobs.suffice(header, head)]


async def _kept_commits(
    store: Store,
    reader: Reader,
    ordered: list[Commit],
    chosen: Callable[[list[Commit]], list[Version]],
    advance: Advance,
) -> tuple[list[Opened], set[str]]:
    """Open what is kept. A damaged commit is no point to go back to: another one is, in its place.

    Returns:
        What is kept, newest first, and the ids of the damaged ones.
    """
    damaged: set[str] = set()
    while True:
        good = [commit for commit in ordered if commit.version.version_id not in damaged]
        keep = {HEAD: chosen(good)}
        opened = await _opened(store, reader, keep, advance)
        await _require_gone(store, keep, {(HEAD, o.version.version_id) for o in opened})
        bad = {o.version.version_id for o in opened if o.fault is not None}
        if not bad:
            return opened, damaged
        damaged |= bad


async def _require_gone(store: Store, listing: Listing, seen: set[tuple[str, str]]) -> None:
    """Make sure that what was listed, and not seen, has expired meanwhile."""
    versions = ((name, version) for name, versions in listing.items() for version in versions)
    missing = [(name, v) for name, v in versions if (name, v.version_id) not in seen]
    await require_gone(store, missing)


async def _opened(store: Store, reader: Reader, listing: Listing, advance: Advance) -> list[Opened]:
    """Open versions; one that cannot be for want of a key is an error, since it may be needed."""
    found = []
    async with aclosing(open_all(store, reader, listing, advance)) as versions:
        async for opened in versions:
            _refuse_unopened(opened)
            content = opened.content
            slim = content.refs_alone if isinstance(content, Head) else None
            found.append(opened._replace(content=slim))
    return found


def _refuse_unopened(opened: Opened) -> None:
    if opened.fault is not None and not isinstance(opened.fault, DamagedObjectError):
        raise opened.fault


def _needed_blobs(heads: Iterable[Opened], listing: Listing) -> dict[str, set[str]]:
    """Return the blob versions that these commits build on."""
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


async def plan_purge(
    store: Archive, reader: Reader, subject: int, advance: Advance, *, lockable: bool = False
) -> Plan:
    """Find every version that holds what is a user's or chat's, and what goes with them.

    A damaged version counts as one that does: nobody can say that it does not.

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
    holding: set[tuple[str, str]] = set()
    seen: set[tuple[str, str]] = set()
    heads: list[tuple[Commit, Head]] = []
    before, after = _Blobs(), _Blobs()
    async with aclosing(open_all(store, reader, listing, advance)) as versions:
        async for opened in versions:
            _refuse_unopened(opened)
            name, version_id, header = opened.name, opened.version.version_id, opened.header
            held = opened.content is None or _holds(opened, subject)
            seen.add((name, version_id))
            if held:
                holding.add((name, version_id))
            if isinstance(opened.content, Head) and header is not None:
                heads.append((Commit(opened.version, header), opened.content.refs_alone))
            elif opened.content is not None and header is not None:
                before.add(header)
                if not held:
                    after.add(header)
    await _require_gone(store, listing, seen)
    for (version, header), head in heads:
        if header and before.suffice(header, head) and not after.suffice(header, head):
            holding.add((HEAD, version.version_id))
    locked = {}
    for name, all_ in listing.items() if lockable else ():
        going = [version for version in all_ if (name, version.version_id) in holding]
        locked[name] = await locks(store, name, going)
        holding -= {(name, version_id) for version_id in locked[name]}
    plan = _dooming(listing, lambda name, version: (name, version.version_id) in holding)
    plan.locked = locked
    plan.searched = len(seen)
    _sort(plan, heads, after)
    return plan


def _sort(plan: Plan, heads: Iterable[tuple[Commit, Head]], blobs: _Blobs) -> None:
    """Note which commits go, and which of the others can be brought back."""
    doomed = {version.version_id for version in plan.doomed[HEAD]}
    of = {commit.version.version_id: head for commit, head in heads}
    for version, header in in_order(commit for commit, _ in heads):
        if header is None:
            continue
        if version.version_id in doomed:
            plan.lost.append(header)
        elif blobs.suffice(header, of[version.version_id]):
            plan.kept.append(header)


class _Blobs:
    """Headers of blobs, by store and kind."""

    def __init__(self) -> None:
        self._headers: dict[str, dict[Kind, list[Header]]] = defaultdict(
            lambda: {kind: [] for kind in Kind}
        )

    def add(self, header: Header) -> None:
        self._headers[header.store][Kind(header.object)].append(header)

    def suffice(self, header: Header, head: Head) -> bool:
        return restorable(head, self._headers[header.store])


def _holds(opened: Opened, subject: int) -> bool:
    """Tell whether a version names somebody, be it in what it says of their deletion."""
    if isinstance(opened.content, Head):
        return any(
            subject in subjects(kind, key)
            for kind, part in opened.content.parts.items()
            for key in part.differential
        )
    kind = Kind(opened.name)
    return any(subject in subjects(kind, key) for key in opened.content or ())


async def carry_out(archive: Archive, plan: Plan, advance: Advance) -> None:
    """Delete what a plan says, for good. May be broken off, and the rest planned anew.

    Args:
        archive: Where the versions lie.
        plan: What goes; it counts what is gone.
        advance: Called with how many are gone, and of how many.

    Raises:
        AccessDeniedError: The storage would not delete some. No blobs are deleted after heads that
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
            held = await locks(archive, name, refused)
            why = [f"Locked are {locked_until({name: held})}."] if held else []
            why += [MAY_NOT_DELETE] if len(held) < len(refused) else []
            raise AccessDeniedError(
                f"Versions of object {name!r} that the storage would not delete: {len(refused):,}. "
                + " ".join(why)
            )


def _dooming(listing: Listing, doomed: Callable[[str, Version], bool]) -> Plan:
    plan = Plan({}, versioned=any(map(is_kept, listing[HEAD])))
    for name, versions in listing.items():
        going = [version for version in versions if doomed(name, version)]
        plan.doomed[name] = going
        plan.kept_versions += len(versions) - len(going)
        if any(version.is_latest for version in going):
            plan.current.append(name)
        plan.kept_size += sum(v.size for v in versions) - sum(v.size for v in going)
    return plan
