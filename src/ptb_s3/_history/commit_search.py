"""Search for the commit that a revision or a time names, by headers alone.

A revision is found by bisection, since revisions grow with the storage's time; only where that does
not find it, all headers are read. A time is found by the list, whose times are the storage's; in a
bucket that was copied these are all of one moment, and the writers' times in the headers decide.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import aclosing
from datetime import datetime

from ptb_s3._format.container import HEAD
from ptb_s3._format.head import Head
from ptb_s3._history.headers import of_store, read_headers
from ptb_s3._history.listing import list_versions, pages_by_age
from ptb_s3._history.order import Commit, in_order, moments
from ptb_s3._storage.contract import Store, Version


class CommitSearch:
    """Search through the headers of one store's commits, none of them authenticated yet.

    Args:
        store: Where the objects lie.
        store_id: The store whose commits count; others may have lain in the same place.
        head: The current head, as far as it is known. Where two branches have a commit of one
            revision, it tells which of them it came after.
    """

    def __init__(self, store: Store, store_id: str, head: Head | None) -> None:
        self._store = store
        self._store_id = store_id
        self._head = head

    async def at_revision(self, revision: int) -> Commit | None:
        """Find the commit of a revision, else the nearest one before it, else None."""
        async with aclosing(pages_by_age(self._store)) as pages:
            async for page in pages:
                found = await self._on_page(page, revision)
                if found is not None and self._is_it(found, revision):
                    return found
        # Absence is told by a list only after `list_versions` has checked that list.
        return await self._scan(await list_versions(self._store, HEAD), revision)

    async def all_at(self, revision: int) -> list[Commit]:
        """Find all versions that say that they are the commit of a revision, the newest first."""
        ours = in_order(await self._ours(await list_versions(self._store, HEAD)))
        return [commit for commit in ours if self._is_it(commit, revision)]

    async def at_time(self, moment: datetime) -> Commit | None:
        """Find the newest commit up to a moment, or None where none is so old."""
        versions = await self.until(moment)
        if any(version.modified > moment for version in versions):
            return await self._last_of_copies(versions, moment)
        return await self._first(versions, moment)

    async def until(self, last: datetime | None) -> list[Version]:
        """List the versions of head by time, without those that are surely younger than that.

        A version that the storage took later may be the copy of an older commit, if the bucket was
        copied. Then the first of the later versions is a copy already, and of a commit that is
        newer than the ones before.

        Args:
            last: The end of the span; None: it has none.
        """
        versions = await list_versions(self._store, HEAD)
        if last is None:
            return versions
        older = [version for version in versions if version.modified <= last]
        newer = [version for version in versions if version.modified > last]
        for moment in reversed(moments(newer)):
            commits = await self._ours(moment)
            if commits:
                before = await self._ours(older[:1])
                return versions if _are_copies(commits, before) else older
        return older

    async def _ours(self, versions: Sequence[Version]) -> list[Commit]:
        """Read the headers of versions, and keep those of this store."""
        return of_store(await read_headers(self._store, versions), self._store_id)

    async def _first(self, versions: Sequence[Version], moment: datetime) -> Commit | None:
        """Return the newest commit up to a moment that can be read."""
        for group in moments(versions):
            commits = await self._ours(group)
            in_time = [commit for commit in commits if commit.is_copy or commit.made <= moment]
            if in_time:
                return in_order(in_time)[0]
        return None

    async def _last_of_copies(self, versions: Sequence[Version], moment: datetime) -> Commit | None:
        """Return the last commit up to a moment, in a bucket that was copied.

        A copy of a copy, as when an older head was put back there, is no commit of its own.
        """
        first: dict[str, Commit] = {}
        for commit in reversed(in_order(await self._ours(versions))):
            first.setdefault(commit.known_header.commit, commit)
        fitting = [commit for commit in first.values() if commit.made <= moment]
        return fitting[-1] if fitting else None

    async def _on_page(self, versions: Sequence[Version], revision: int) -> Commit | None:
        """Find a commit as `_bisect` does, unless everything on the page is surely newer."""
        oldest = await self._ours(moments(versions)[-1]) if versions else []
        if any(commit.revision > revision for commit in oldest):
            return None
        return await self._bisect(versions, revision)

    async def _bisect(self, versions: Sequence[Version], revision: int) -> Commit | None:
        """Find the newest commit up to a revision, if revisions grow with the storage's time."""
        groups = moments(versions)
        low, high, newest = 0, len(groups), list[Commit]()
        while low < high:
            middle = (low + high) // 2
            commits = await read_headers(self._store, groups[middle])
            if commits and all(commit.header is None for commit in commits):
                del groups[middle]  # it cannot tell where it belongs: go by the others
                high -= 1
                continue
            ours = of_store(commits, self._store_id)
            fitting = [commit for commit in ours if commit.revision <= revision]
            # None of ours: of another store, or just expired, so older than anything of ours.
            if fitting or not ours:
                high, newest = middle, fitting
            else:
                low = middle + 1
        return max(newest, key=_revision, default=None)

    async def _scan(self, versions: Sequence[Version], revision: int) -> Commit | None:
        """Find the commit of a revision, or the nearest one before it, wherever it is listed.

        Of several, it is the one that the current head came after, else the newest.
        """
        ours = in_order(await self._ours(versions))
        fitting = [commit for commit in ours if commit.revision <= revision]
        these = (commit for commit in fitting if self._is_it(commit, revision))
        return next(these, max(fitting, key=_revision, default=None))

    def _is_it(self, commit: Commit, revision: int) -> bool:
        """Tell whether it is the commit of a revision that the current head came after."""
        head, header = self._head, commit.known_header
        if head is None or head.line_at(revision) is None:  # it cannot be known
            return header.revision == revision
        return header.revision == revision and head.has(revision, header.line, header.writer)


def _revision(commit: Commit) -> int:
    return commit.revision


def _are_copies(commits: Iterable[Commit], before: Iterable[Commit]) -> bool:
    """Tell whether these are of a copied bucket, and no older commit that was put back."""
    newest = max(map(_revision, before), default=0)
    return all(c.is_copy and c.revision > newest for c in commits)
