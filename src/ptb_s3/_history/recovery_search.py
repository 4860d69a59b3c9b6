"""Search for the newest commit that opens, among all versions of head.

Commits are found by their headers, newest first (`ptb_s3._history.order`), and then opened. A
commit may be there several times, as copies of one version; any one of them will do.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ptb_s3._format.container import HEAD, Header
from ptb_s3._format.head import Head
from ptb_s3._format.reader import Reader
from ptb_s3._history.headers import of_store
from ptb_s3._history.order import Commit, in_order
from ptb_s3._storage.contract import Store, Version
from ptb_s3._storage.threads import Offload
from ptb_s3.errors import (
    AccessDeniedError,
    DamagedObjectError,
    NothingThereError,
    PersistenceError,
    StorageUnavailableError,
)


class Unread(NamedTuple):
    """Version of head that does not open, and is newer than the commit that was found.

    Attributes:
        version: The version.
        header: Its header, not authenticated; None where it cannot be read.
        fault: Why it does not open.
    """

    version: Version
    header: Header | None
    fault: PersistenceError


class RecoverySearch:
    """Search through pages of commits, newest first, for one that opens.

    Args:
        store: Where the objects lie.
        reader: Opens them; see `Reader.for_history`.
        offload: Runs decryption, which would hold up the event loop.
        store_id: The store whose commit it is to be; None: that of the newest one which opens.

    Attributes:
        found: The newest commit that opens, with its head; None until there is one.
        unread: Versions that do not open, and are newer than that commit.
        others: Heads of branches of the same store that the found head did not come after. Their
            restore requests and erasures count, too.
        newest: The highest revision that a header of that store gives, on the page of the find.
    """

    def __init__(
        self, store: Store, reader: Reader, offload: Offload, store_id: str | None
    ) -> None:
        self._store, self._reader, self._offload = store, reader, offload
        self._store_id = store_id
        self.found: tuple[Commit, Head] | None = None
        self.unread: list[Unread] = []
        self.others: list[Head] = []
        self.newest = 0

    async def through(self, commits: list[Commit]) -> bool:
        """Search one page of commits, and tell whether the newest one that opens is found."""
        for copies in newest_first(commits):
            header = copies[0].known_header
            if self._store_id not in (None, header.store):
                continue
            opened = await self._open(copies)
            if opened is not None:
                self.found, self._store_id = opened, header.store
                break
        if self.found is None:
            self.unread += [_unreadable(c.version) for c in commits if c.header is None]
            return False
        await self._learn(commits, *self.found)
        return True

    async def _open(self, copies: Sequence[Commit]) -> tuple[Commit, Head] | None:
        """Open a commit in any of its copies, or note it as unread and return None."""
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
        self.unread += [failed] if failed is not None else []
        return None

    async def _learn(self, commits: list[Commit], found: Commit, head: Head) -> None:
        """Note what the page of the find tells besides: other branches, and newer garbage."""
        self.unread += [
            _unreadable(commit.version)
            for commit in commits
            if commit.header is None and commit.version.modified > found.version.modified
        ]
        seen = {one.version.version_id for one in self.unread}
        ours = of_store(commits, found.known_header.store)
        self.newest = max(commit.revision for commit in ours)
        lines = set[str]()
        for copies in newest_first(ours):
            header = copies[0].known_header
            past = head.has(header.revision, header.line, header.writer)
            if past or header.line in lines or copies[0].version.version_id in seen:
                continue
            other = await self._open(copies)
            if other is not None:
                lines.add(header.line)
                self.others.append(other[1])

    def nothing(self) -> NothingThereError:
        """Return the error to raise where no commit was found, with how many do not open."""
        if not self.unread:
            return NothingThereError(
                "There is no version of head here: nothing can be brought back. Check "
                "PTB_S3_BUCKET and PTB_S3_PREFIX, and whether the bucket keeps versions."
            )
        newest = by_age(self.unread)[0]
        nothing = NothingThereError(
            f"Of the versions of head that are left, {len(self.unread)} in number, none opens; "
            f"the newest: {newest.fault}"
        )
        nothing.unread = len(self.unread)
        return nothing


def by_age(unread: Iterable[Unread]) -> list[Unread]:
    """Sort versions that do not open newest first, by the storage's time."""
    return sorted(unread, key=lambda one: one.version.modified, reverse=True)


def newest_first(commits: Iterable[Commit]) -> list[list[Commit]]:
    """Sort commits newest first, each by when it was first written, followed by its copies."""
    copies: defaultdict[str, list[Commit]] = defaultdict(list)
    for commit in sorted(commits, key=lambda one: one.version.modified):
        if commit.header is not None:
            version = commit.version._replace(is_latest=False)
            copies[commit.header.commit].append(Commit(version, commit.header))
    return [
        copies[commit.known_header.commit]
        for commit in in_order(each[0] for each in copies.values())
    ]


def _unreadable(version: Version) -> Unread:
    return Unread(version, None, DamagedObjectError(HEAD, "its header cannot be read"))
