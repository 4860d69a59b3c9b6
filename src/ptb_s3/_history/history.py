"""A store's history: its commits, and the state that any of them stands for.

Commits are told from the headers of the versions of ``head``, which takes a kilobyte each however
large they are, and no key. A header is believed for finding a commit; the commit itself is opened,
and so authenticated, before anything of it is used.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from datetime import datetime, timedelta
from typing import NamedTuple

from ptb_s3._format.committed import Reader, overlay
from ptb_s3._format.container import HEAD, Header
from ptb_s3._format.entities import Entities, Kind
from ptb_s3._format.head import Head, Part, Ref
from ptb_s3._format.restore_point import RestorePoint
from ptb_s3._history.listing import by_age, is_kept, listed, read_commit, read_commits
from ptb_s3._history.order import RESOLUTION, Commit, in_order, moments
from ptb_s3._storage.contract import Fetched, Store, Version
from ptb_s3.errors import DamagedObjectError, RestorePointError, UnknownKeyError

# The last moment of a second: commits are shown to the second, and that must find them again.
_TO_THE_END = timedelta(microseconds=999_999)


class Snapshot(NamedTuple):
    """The whole state as of a commit, without whoever was erased since.

    Attributes:
        header: The commit's.
        head: The commit.
        entities: The state.
    """

    header: Header
    head: Head
    entities: dict[Kind, Entities]


class History:
    """The commits of one store that its bucket still holds.

    Args:
        store: Where the objects lie.
        reader: Opens them.
        store_id: The store whose history it is; a prefix may have held another one before.
        head: The current one, as far as it is known: it records erasures, and which commits came
            before it, rather than in a branch that was given up.
    """

    def __init__(
        self, store: Store, reader: Reader, store_id: str, head: Head | None = None
    ) -> None:
        self._store = store
        self._reader = reader
        self._store_id = store_id
        self._head = head

    async def commits(
        self, *, since: datetime | None = None, until: datetime | None = None
    ) -> AsyncGenerator[Commit, None]:
        """Iterate over the commits of a span of time, newest first, those that cannot be read too.

        Args:
            since: The oldest; None: from the first one.
            until: The newest; None: to the current one. To the second, it includes all of it.
        """
        last = None if until is None else _all_of(until)
        versions = await self._until(last)
        # None was made after the storage took it.
        in_span = [v for v in versions if since is None or v.modified + RESOLUTION >= since]
        async with aclosing(self._in_order(in_span)) as commits:
            async for commit in commits:
                early = since is not None and commit.made < since
                late = last is not None and commit.made > last
                ours = commit.header is None or commit.header.store == self._store_id
                if ours and not early and not late:
                    yield commit

    async def _in_order(self, versions: Sequence[Version]) -> AsyncGenerator[Commit, None]:
        """Read the headers of versions by time; those of one moment come in order."""
        left = iter(moments(versions))
        together: list[Commit] = []
        missing = len(next(left, ()))
        async with aclosing(read_commits(self._store, versions)) as commits:
            async for commit in commits:
                together += [] if commit is None else [commit]
                missing -= 1
                if not missing:
                    for each in in_order(together):
                        yield each
                    together, missing = [], len(next(left, ()))

    async def oldest(
        self, advance: Callable[[int], None]
    ) -> tuple[int, Header | None, list[Header]]:
        """Count the commits; return the header of the oldest, and of those of other stores.

        That of the oldest is None where it cannot be read. Of each store that lay here before, it
        is the newest one's.

        Args:
            advance: Called with how many versions have been listed.

        Raises:
            NoHistoryError: The storage lists no versions.
        """
        groups = moments(await listed(self._store, HEAD, advance, strict=True))
        others: dict[str, Header] = {}
        while groups:
            commits = await self._read(groups[-1])
            headers = [commit.header for commit in commits if commit.header is not None]
            headers.sort(key=lambda header: header.revision)
            others |= {h.store: h for h in headers if h.store != self._store_id}
            ours = self._ours(commits)  # of the same second, perhaps
            if ours:
                oldest = min(ours, key=_revision).header
                return sum(map(len, groups)), oldest, list(others.values())
            groups.pop()
        return 0, None, list(others.values())

    async def state_at(self, point: RestorePoint) -> Snapshot:
        """Return the whole state as of the commit that a point names.

        Args:
            point: The commit. A time to the second is the end of that second.

        Raises:
            RestorePointError: No commit that is still held, and intact, answers to it.
        """
        found = await self._find(point)
        try:
            header, head = self._reader.open_head(found.body)
        except DamagedObjectError as error:
            raise point.refused(f"that commit is damaged: {error.reason}") from None
        if header.store != self._store_id:
            raise point.refused("that commit is of another store")
        entities = {}
        for kind, part in head.parts.items():
            try:
                blob = await self.blob_at(kind, part, head)
            except DamagedObjectError as error:
                why = f"the version of {kind.value} that it builds on is damaged: {error.reason}"
                raise point.refused(why) from None
            if blob is None:
                why = f"no version of {kind.value} is left that it can build on"
                raise await self._expired(point, why, found.version_id)
            overlay(blob, part)
            if self._head is not None and self._head.erasures is not None:
                self._head.erasures.apply(kind, blob, head.revision)
            entities[kind] = blob
        return Snapshot(header, head, entities)

    async def _find(self, point: RestorePoint) -> Fetched:
        if point.revision is not None:
            return await self._at_revision(point, point.revision)
        if point.moment is not None:
            return await self._at_time(point, _all_of(point.moment))
        # An empty id would be that of the current version.
        found = await self._store.get(HEAD, version_id=point.text) if point.text else None
        if found is None:
            raise point.refused("there is no such version of head")
        return found

    async def _at_revision(self, point: RestorePoint, revision: int) -> Fetched:
        async with aclosing(by_age(self._store)) as pages:
            async for page in pages:
                found = await self._on_page(page, revision)
                if found is not None and self._is_it(found, revision):
                    return await self._get(point, found.version)
        # Nothing is said of what is not there by a list that leaves out what is.
        found = await self._scan(await listed(self._store, HEAD), revision)
        if found is None:
            raise await self._expired(point, "history does not reach back so far")
        if _revision(found) != revision:
            raise point.refused(f"the nearest one before it is {_revision(found)}")
        return await self._get(point, found.version)

    async def _at_time(self, point: RestorePoint, moment: datetime) -> Fetched:
        versions = await self._until(moment)
        if any(version.modified > moment for version in versions):
            found = await self._last_of_copies(versions, moment)
        else:
            found = await self._first(versions, moment)
        if found is None:
            raise await self._expired(point, "no commit so old is left")
        return await self._get(point, found.version)

    async def _get(self, point: RestorePoint, version: Version) -> Fetched:
        found = await self._store.get(HEAD, version_id=version.version_id)
        if found is None:
            raise point.refused("it has just expired")
        return found

    async def _until(self, last: datetime | None) -> list[Version]:
        """List the versions of head by time, but for those that are surely younger than that.

        A version that the storage took later may be the copy of an older one, if the bucket was
        copied: then the first of them is a copy already, and of no commit that came before.
        """
        versions = await listed(self._store, HEAD)
        if last is None:
            return versions
        older = [version for version in versions if version.modified <= last]
        newer = [version for version in versions if version.modified > last]
        for moment in reversed(moments(newer)):
            commits = self._ours(await self._read(moment))
            if commits:
                before = self._ours(await self._read(older[:1]))
                return versions if _are_copies(commits, before) else older
        return older

    async def _first(self, versions: Sequence[Version], moment: datetime) -> Commit | None:
        """Return the newest commit up to a moment that can be read."""
        for group in moments(versions):
            commits = self._ours(await self._read(group))
            in_time = [commit for commit in commits if commit.is_copy or commit.made <= moment]
            if in_time:
                return in_order(in_time)[0]
        return None

    async def _last_of_copies(self, versions: Sequence[Version], moment: datetime) -> Commit | None:
        """Return the last commit up to a moment, in a bucket that was copied.

        A copy of a copy, as when an older head was put back there, is no commit of its own.
        """
        first: dict[str, Commit] = {}
        for commit in reversed(in_order(self._ours(await self._read(versions)))):
            first.setdefault(_header(commit).commit, commit)
        fitting = [commit for commit in first.values() if commit.made <= moment]
        return fitting[-1] if fitting else None

    async def _read(self, versions: Sequence[Version], name: str = HEAD) -> list[Commit]:
        """Read the headers of versions; those that are gone are left out."""
        async with aclosing(read_commits(self._store, versions, name)) as commits:
            return [commit async for commit in commits if commit is not None]

    def _ours(self, commits: Iterable[Commit]) -> list[Commit]:
        """Return those that can be read, and are of this store."""
        return [c for c in commits if c.header is not None and c.header.store == self._store_id]

    async def _on_page(self, versions: Sequence[Version], revision: int) -> Commit | None:
        """Find a commit as `_bisect` does, unless all that is there is surely newer."""
        oldest = self._ours(await self._read(moments(versions)[-1])) if versions else []
        if any(_revision(commit) > revision for commit in oldest):
            return None
        return await self._bisect(versions, revision)

    async def _bisect(self, versions: Sequence[Version], revision: int) -> Commit | None:
        """Find the newest commit up to a revision, if revisions grow with the storage's time."""
        groups = moments(versions)
        low, high, newest = 0, len(groups), list[Commit]()
        while low < high:
            middle = (low + high) // 2
            commits = await self._read(groups[middle])
            if commits and all(commit.header is None for commit in commits):
                del groups[middle]  # it cannot tell where it belongs: go by the others
                high -= 1
                continue
            # None of ours: of another store, or just expired, so older than anything of ours.
            ours = [c for c in self._ours(commits) if _header(c).revision <= revision]
            if ours or not self._ours(commits):
                high, newest = middle, ours
            else:
                low = middle + 1
        return max(newest, key=_revision, default=None)

    async def _scan(self, versions: Sequence[Version], revision: int) -> Commit | None:
        """Find the commit of a revision, or the nearest one before it, wherever it is listed.

        Of several, it is the one that the current head came after, else the newest.
        """
        ours = in_order(self._ours(await self._read(versions)))
        fitting = [commit for commit in ours if _revision(commit) <= revision]
        these = (commit for commit in fitting if self._is_it(commit, revision))
        return next(these, max(fitting, key=_revision, default=None))

    def _is_it(self, commit: Commit, revision: int) -> bool:
        """Tell whether it is the commit of a revision that the current head came after."""
        head, header = self._head, _header(commit)
        if head is None or head.line_at(revision) is None:  # it cannot be known
            return header.revision == revision
        return header.revision == revision and head.has(revision, header.line, header.writer)

    async def blob_at(self, kind: Kind, part: Part, head: Head) -> Entities | None:
        """Read a version of a blob that a head can build on, the very one first."""
        if part.ref is None:
            return {}
        damage = None
        async with aclosing(self._bases(kind, part.ref, head)) as ids:
            async for version_id in ids:
                found = await self._store.get(kind, version_id=version_id)
                try:
                    if found is not None:
                        header, blob = self._reader.open_blob(kind, found.body, self._store_id)
                        if head.takes(kind, header):
                            return blob
                except DamagedObjectError as error:
                    damage = damage or error
        if damage is not None:
            raise damage
        return None

    async def newest_blob(self, kind: Kind) -> tuple[Entities, int | None]:
        """Read the blob of the highest revision that opens, and its revision; None: none does."""
        for commit in await self._blobs(kind):
            found = await self._store.get(kind, version_id=commit.version.version_id)
            try:
                if found is not None:
                    header, blob = self._reader.open_blob(kind, found.body, self._store_id)
                    return blob, header.revision
            except (DamagedObjectError, UnknownKeyError):
                continue
        return {}, None

    async def _bases(self, kind: Kind, ref: Ref, head: Head) -> AsyncGenerator[str, None]:
        """Iterate over the versions that a blob may be read from."""
        if ref.version_id is not None:
            yield ref.version_id
        for commit in await self._blobs(kind):
            if head.takes(kind, _header(commit)):
                yield commit.version.version_id

    async def _blobs(self, kind: Kind) -> list[Commit]:
        """Read the headers of a kind's blobs, those of the highest revisions first."""
        blobs = self._ours(await self._read(await listed(self._store, kind), kind))
        return sorted(blobs, key=_revision, reverse=True)

    async def _expired(
        self, point: RestorePoint, why: str, version_id: str | None = None
    ) -> RestorePointError:
        """Say why a commit cannot be brought back, and which ones still can.

        Args:
            point: The commit that was asked for.
            why: Why it cannot.
            version_id: The commit's, if there is one.
        """
        versions = await listed(self._store, HEAD)
        if not any(map(is_kept, versions)):
            return point.refused("the bucket keeps no versions, so there is no history")
        ids = [version.version_id for version in versions]
        newer = versions[: ids.index(version_id)] if version_id in ids else versions
        left = await self._oldest_whole(newer)
        if left is None:
            return point.refused(f"{why}. No other commit can be brought back, either")
        made = left.made.astimezone().isoformat(" ", "seconds")
        left_over = f"Revisions from {_revision(left)} ({made}) on can be brought back"
        return point.refused(f"{why}. {left_over}")

    async def _oldest_whole(self, versions: list[Version]) -> Commit | None:
        """Find the oldest commit whose blobs are all left.

        Retention takes the oldest first, so that all commits after a whole one are whole.
        """
        blobs = {kind: list(map(_header, await self._blobs(kind))) for kind in Kind}
        low, high, oldest = 0, len(versions), None
        while low < high:
            middle = (low + high) // 2
            try:
                whole = await self._whole(versions[middle], blobs)
            except DamagedObjectError:
                del versions[middle]
                high -= 1
                continue
            if whole is None:
                high = middle
            else:
                oldest, low = Commit(versions[middle], whole), middle + 1
        return oldest

    async def _whole(
        self, version: Version, blobs: Mapping[Kind, Iterable[Header]]
    ) -> Header | None:
        """Return the header of a commit that can be brought back; None if it cannot."""
        found = await self._store.get(HEAD, version_id=version.version_id)
        try:
            header, head = self._reader.open_head(found.body) if found else (None, None)
        except UnknownKeyError:
            return None
        if header is None or head is None or header.store != self._store_id:
            return None
        return header if restorable(head, blobs) else None


async def newest_store(store: Store) -> str | None:
    """Return the id of the store that the newest head is of, among those that can be read."""
    for version in await listed(store, HEAD):
        commit = await read_commit(store, version)
        if commit is not None and commit.header is not None:
            return commit.header.store
    return None


def restorable(head: Head, blobs: Mapping[Kind, Iterable[Header]]) -> bool:
    """Tell whether a commit can be brought back from these blobs, of its store."""
    return all(
        part.ref is None or any(head.takes(kind, blob) for blob in blobs[kind])
        for kind, part in head.parts.items()
    )


def _header(commit: Commit) -> Header:
    if commit.header is None:
        raise ValueError("A commit whose header cannot be read has no place.")
    return commit.header


def _revision(commit: Commit) -> int:
    return _header(commit).revision


def _are_copies(commits: Iterable[Commit], before: Iterable[Commit]) -> bool:
    """Tell whether these are of a copied bucket, and no older commit that was put back."""
    newest = max(map(_revision, before), default=0)
    return all(c.is_copy and _revision(c) > newest for c in commits)


def _all_of(moment: datetime) -> datetime:
    """Return the end of the second that a time names, if it names no fraction of one."""
    return moment if moment.microsecond else moment + _TO_THE_END
