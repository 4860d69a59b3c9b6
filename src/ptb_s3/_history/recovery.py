"""Find the newest state that the versions give, whatever became of the current objects.

Nothing is written here. Commits are told from headers and then opened, as in `history`; what the
current objects hold is looked at, and never relied on.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import NamedTuple

from ptb_s3._format.committed import overlay
from ptb_s3._format.container import HEAD, Header
from ptb_s3._format.entities import Entities, Kind
from ptb_s3._format.erasure import Erasures
from ptb_s3._format.head import MAX_RESTORED, Head, Part
from ptb_s3._format.reader import Reader
from ptb_s3._history.current import Current
from ptb_s3._history.history import History
from ptb_s3._history.listing import by_age, read_commits
from ptb_s3._history.order import Commit, in_order
from ptb_s3._storage.contract import Store, Version
from ptb_s3._storage.threads import Offload
from ptb_s3.errors import (
    AccessDeniedError,
    DamagedObjectError,
    NothingThereError,
    PersistenceError,
    StorageUnavailableError,
    UnknownKeyError,
)

# Revisions after the newest commit that opens, of which nothing does. Those are told from headers
# that nobody has authenticated: believed without a bound, one could use up all that there are.
MAX_GAP = 2**20


class Unread(NamedTuple):
    """A version of head that does not open, and is newer than what was found.

    Attributes:
        version: The version.
        header: What it says of itself, not authenticated; None where nothing.
        fault: Why it does not open.
    """

    version: Version
    header: Header | None
    fault: PersistenceError


@dataclass(slots=True)
class Found:
    """The newest state that the versions give.

    Attributes:
        commit: The commit that it is of.
        header: What that says of itself.
        head: The same commit, opened.
        entities: The state, without whoever was erased since.
        of: The revision that each kind's data is of; None: no version of it is left.
        unread: Newer versions of head that do not open, newest first.
        newest: The highest revision that anything of the store says of itself, within `MAX_GAP`.
        restored: Restore requests that versions which open have carried out, oldest first.
        erasures: What they record of who was erased: as a rule, once.
    """

    commit: Commit
    header: Header
    head: Head
    entities: dict[Kind, Entities]
    of: dict[Kind, int | None]
    unread: list[Unread]
    newest: int
    restored: tuple[str, ...]
    erasures: list[Erasures]


async def find_newest(
    store: Store,
    reader: Reader,
    current: Mapping[str, Current],
    offload: Offload,
    *,
    store_id: str | None = None,
    advance: Callable[[int], None] = lambda _: None,
) -> Found:
    """Find the newest state that the versions give.

    Where the storage lists versions newest first, as S3 does, it takes a page as a rule.

    Args:
        store: Where they lie.
        reader: Opens them; see `Reader.for_history`.
        current: What lies there now.
        offload: Runs what would hold up the event loop.
        store_id: The store whose state it is to be; None: that of the newest version which opens.
        advance: Called with how many versions have been listed.

    Raises:
        NothingThereError: No version opens.
        StorageError: The versions cannot be listed or read.
    """
    search = _Search(store, reader, current, offload, store_id)
    async for versions in by_age(store, advance):
        if await search.through(await _commits(store, versions)):
            break
    return await search.result()


class _Search:
    """Search through commits, newest first, for one that opens."""

    def __init__(
        self,
        store: Store,
        reader: Reader,
        current: Mapping[str, Current],
        offload: Offload,
        store_id: str | None,
    ) -> None:
        self._store, self._reader, self._current = store, reader, current
        self._offload = offload
        self._store_id = store_id
        self._unread: list[Unread] = []
        self._found: tuple[Commit, Head] | None = None
        self._others: list[Head] = []
        self._newest = 0

    async def through(self, commits: list[Commit]) -> bool:
        """Look for the newest commit that opens; tell whether there is one."""
        for copies in _newest_first(commits):
            header = _header(copies[0])
            if self._store_id not in (None, header.store):
                continue
            opened = await self._open(copies)
            if opened is not None:
                self._found, self._store_id = opened, header.store
                break
        if self._found is None:
            self._unread += [_unreadable(c.version) for c in commits if c.header is None]
            return False
        await self._learn(commits, *self._found)
        return True

    async def _open(self, copies: list[Commit]) -> tuple[Commit, Head] | None:
        """Open a commit, of which there may be copies: one of them will do."""
        failed: Unread | None = None
        for commit in copies:
            fetched = await self._store.get(HEAD, version_id=commit.version.version_id)
            if fetched is None:
                continue  # it has just expired
            try:
                _, head = await self._offload(self._reader.open_head, fetched.body)
            except (StorageUnavailableError, AccessDeniedError):
                raise
            except PersistenceError as fault:
                failed = failed or Unread(commit.version, commit.header, fault)
            else:
                return commit, head
        self._unread += [failed] if failed is not None else []
        return None

    async def _learn(self, commits: list[Commit], found: Commit, head: Head) -> None:
        """Note what else the commits tell of that store: branches that were given up, too."""
        self._unread += [
            _unreadable(commit.version)
            for commit in commits
            if commit.header is None and commit.version.modified > found.version.modified
        ]
        seen = {one.version.version_id for one in self._unread}
        ours = [c for c in commits if c.header is not None and c.header.store == self._store_id]
        self._newest = max(_header(commit).revision for commit in ours)
        lines = set[str]()
        for copies in _newest_first(ours):
            header = _header(copies[0])
            past = head.has(header.revision, header.line, header.writer)
            if past or header.line in lines or copies[0].version.version_id in seen:
                continue
            other = await self._open(copies)
            if other is not None:
                lines.add(header.line)
                self._others.append(other[1])

    async def result(self) -> Found:
        """Return what was found, with all kinds' data that any version gives.

        Raises:
            NothingThereError: Nothing was.
        """
        if self._found is None:
            raise _nothing(self._unread)
        commit, head = self._found
        header = _header(commit)
        headers = [c.header for c in self._current.values() if c.header is not None]
        newest = max([self._newest, *(h.revision for h in headers if h.store == header.store)])
        erasures = _erasures([head, *self._others])
        history = History(self._store, self._reader, header.store, head)
        entities, of = dict[Kind, Entities](), dict[Kind, int | None]()
        for kind, part in head.parts.items():
            entities[kind], of[kind] = await _kind_at(history, kind, part, head)
            for erased in erasures:
                erased.apply(kind, entities[kind], of[kind] or 0)
        restored = [request for other in [*self._others, head] for request in other.restored]
        return Found(
            commit=commit,
            header=header,
            head=head,
            entities=entities,
            of=of,
            unread=sorted(self._unread, key=lambda one: one.version.modified, reverse=True),
            newest=min(newest, head.revision + MAX_GAP),
            restored=tuple(dict.fromkeys(reversed(restored)))[:MAX_RESTORED][::-1],
            erasures=erasures,
        )


async def _kind_at(
    history: History, kind: Kind, part: Part, head: Head
) -> tuple[Entities, int | None]:
    """Return a kind's data as of a head or, where its blob is beyond help, as any version has it.

    With the revision that it is of; None: there is nothing left of it.
    """
    try:
        entities = await history.blob_at(kind, part, head)
    except (DamagedObjectError, UnknownKeyError):
        entities = None
    if entities is not None:
        overlay(entities, part)
        return entities, head.revision
    return await history.newest_blob(kind)


def _erasures(heads: Iterable[Head]) -> list[Erasures]:
    """Return what heads record of who was erased, that of one secret together."""
    found: dict[bytes, Erasures] = {}
    for erasures in (head.erasures for head in heads):
        if erasures is None:
            continue
        known = found.setdefault(erasures.secret, erasures)
        digests = {*known.revisions, *erasures.revisions}
        newest = {
            digest: max(known.revisions.get(digest, 0), erasures.revisions.get(digest, 0))
            for digest in digests
        }
        found[erasures.secret] = Erasures(erasures.secret, newest)
    return list(found.values())


async def _commits(store: Store, versions: list[Version]) -> list[Commit]:
    async with aclosing(read_commits(store, versions)) as commits:
        return [commit async for commit in commits if commit is not None]


def _newest_first(commits: Iterable[Commit]) -> list[list[Commit]]:
    """Order commits newest first, each by when it was first written, with its copies."""
    copies: defaultdict[str, list[Commit]] = defaultdict(list)
    for commit in sorted(commits, key=lambda one: one.version.modified):
        if commit.header is not None:
            version = commit.version._replace(is_latest=False)
            copies[commit.header.commit].append(Commit(version, commit.header))
    return [
        copies[_header(commit).commit] for commit in in_order(each[0] for each in copies.values())
    ]


def _unreadable(version: Version) -> Unread:
    return Unread(version, None, DamagedObjectError(HEAD, "its header cannot be read"))


def _nothing(unread: list[Unread]) -> NothingThereError:
    unread = sorted(unread, key=lambda one: one.version.modified, reverse=True)
    if not unread:
        return NothingThereError(
            "There is no version of head here: nothing can be brought back. Check PTB_S3_BUCKET "
            "and PTB_S3_PREFIX, and whether the bucket keeps versions."
        )
    nothing = NothingThereError(
        f"Of the versions of head that are left, {len(unread)} in number, none opens; the newest: "
        f"{unread[0].fault}"
    )
    nothing.unread = len(unread)
    return nothing


def _header(commit: Commit) -> Header:
    if commit.header is None:
        raise ValueError("A commit whose header cannot be read has no place.")
    return commit.header
