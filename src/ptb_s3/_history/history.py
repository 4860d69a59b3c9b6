"""History of a store: its commits, and the state that any of them stands for.

Commits are listed from the headers of the versions of head, which takes a kilobyte each and no key
(`ptb_s3._history.headers`). Whoever goes back opens the commit, and so authenticates it, before
anything of it is used.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing, suppress
from datetime import datetime
from typing import NamedTuple

from ptb_s3._format.committed import overlay
from ptb_s3._format.container import HEAD, Header
from ptb_s3._format.entities import Entities, Kind
from ptb_s3._format.head import Head, Part
from ptb_s3._format.reader import Reader, no_state
from ptb_s3._format.restore_point import RestorePoint
from ptb_s3._history.blobs import BlobVersions, restorable
from ptb_s3._history.commit_search import CommitSearch
from ptb_s3._history.headers import (
    of_store,
    read_current_header,
    read_header,
    read_headers,
    stream_headers,
)
from ptb_s3._history.listing import is_kept, list_versions
from ptb_s3._history.order import RESOLUTION, Commit, end_of_second, in_order, moments
from ptb_s3._storage.contract import Fetched, Store, Version
from ptb_s3.errors import DamagedObjectError, NothingThereError, RestorePointError, UnknownKeyError


class Snapshot(NamedTuple):
    """State as of a commit, whole, without entities that were erased since.

    Attributes:
        header: The commit's header, authenticated.
        head: The commit.
        entities: The state, blobs and differential put together.
    """

    header: Header
    head: Head
    entities: dict[Kind, Entities]


class Extent(NamedTuple):
    """Extent of a store's history.

    Attributes:
        commits: How many versions of head there are, of this store and, in the same second as the
            oldest, perhaps of others.
        oldest: The header of the oldest commit, not authenticated; None: it cannot be read, or
            there is none.
        others: The newest header of each store that lay in the same place before.
    """

    commits: int
    oldest: Header | None
    others: list[Header]


class History:
    """Commits of one store that its bucket still holds.

    Args:
        store: Where the objects lie.
        reader: Opens them; see `Reader.for_history`.
        store_id: The store whose history it is; others may have lain in the same place.
        head: The current head, as far as it is known. It records erasures, and which commits came
            before it rather than in a branch that was given up.
    """

    def __init__(
        self, store: Store, reader: Reader, store_id: str, head: Head | None = None
    ) -> None:
        self._store = store
        self._reader = reader
        self.store_id = store_id
        self._head = head
        self._search = CommitSearch(store, store_id, head)
        self.blobs = BlobVersions(store, reader, store_id)

    # Listing ------------------------------------------------------------------------------------

    async def commits(
        self, *, since: datetime | None = None, until: datetime | None = None
    ) -> AsyncGenerator[Commit, None]:
        """Iterate over the commits of a span of time, newest first, those that cannot be read too.

        Args:
            since: The beginning; None: the first commit.
            until: The end; None: the current commit. A time to the second includes all of it.
        """
        last = None if until is None else end_of_second(until)
        versions = await self._search.until(last)
        # No commit was made after the storage took it.
        in_span = [v for v in versions if since is None or v.modified + RESOLUTION >= since]
        async with aclosing(self._in_order(in_span)) as commits:
            async for commit in commits:
                early = since is not None and commit.made < since
                late = last is not None and commit.made > last
                ours = commit.header is None or commit.header.store == self.store_id
                if ours and not early and not late:
                    yield commit

    async def _in_order(self, versions: Sequence[Version]) -> AsyncGenerator[Commit, None]:
        """Read the headers of versions by time, and order those of one moment by their lines."""
        left = iter(moments(versions))
        together: list[Commit] = []
        missing = len(next(left, ()))
        async with aclosing(stream_headers(self._store, versions)) as commits:
            async for commit in commits:
                together += [] if commit is None else [commit]
                missing -= 1
                if not missing:
                    for each in in_order(together):
                        yield each
                    together, missing = [], len(next(left, ()))

    async def extent(self, advance: Callable[[int], None]) -> Extent:
        """Count the commits, and find the oldest one and the stores that lay here before.

        Args:
            advance: Called with how many versions have been listed.

        Raises:
            NoHistoryError: The storage lists no versions.
        """
        groups = moments(await list_versions(self._store, HEAD, advance, strict=True))
        others: dict[str, Header] = {}
        while groups:
            commits = await read_headers(self._store, groups[-1])
            headers = [commit.header for commit in commits if commit.header is not None]
            headers.sort(key=lambda header: header.revision)
            others |= {h.store: h for h in headers if h.store != self.store_id}
            ours = of_store(commits, self.store_id)  # of the same second, perhaps
            if ours:
                oldest = min(ours, key=lambda commit: commit.revision).header
                return Extent(sum(map(len, groups)), oldest, list(others.values()))
            groups.pop()
        return Extent(0, None, list(others.values()))

    # Going back ---------------------------------------------------------------------------------

    async def state_at(self, point: RestorePoint) -> Snapshot:
        """Return the whole state as of the commit that a point names.

        Args:
            point: The commit. A time to the second is the end of that second.

        Raises:
            RestorePointError: No intact commit that the bucket still holds answers to it.
        """
        found, header, head = await self._opened(point)
        if header.store != self.store_id:
            raise point.refused("that commit is of another store")
        entities = {}
        for kind, part in head.parts.items():
            try:
                blob = await self.blobs.at(kind, part, head)
            except DamagedObjectError as error:
                why = f"the version of {kind.value} that it builds on is damaged: {error.reason}"
                raise point.refused(why) from None
            if blob is None:
                why = f"no version of {kind.value} is left that it can build on"
                raise await self._expired(point, why, found.version_id)
            entities[kind] = self._completed(kind, blob, part, head)
        return Snapshot(header, head, entities)

    def _completed(self, kind: Kind, blob: Entities, part: Part, head: Head) -> Entities:
        """Put the differential on top of a blob, and leave out entities that were erased since."""
        overlay(blob, part)
        if self._head is not None and self._head.erasures is not None:
            self._head.erasures.apply(kind, blob, head.revision)
        return blob

    async def _opened(self, point: RestorePoint) -> tuple[Fetched, Header, Head]:
        """Fetch and open the head that a restore point names.

        A copy of it that is damaged may lie beside the intact one: of a revision, any will do.
        """
        found = await self._find(point)
        try:
            return found, *self._reader.open_head(found.body)
        except DamagedObjectError as error:
            reason = error.reason
        copies = [] if point.revision is None else await self._search.all_at(point.revision)
        for commit in copies:
            with suppress(DamagedObjectError):
                found = await self._get(point, commit.version)
                return found, *self._reader.open_head(found.body)
        raise point.refused(f"that commit is damaged: {reason}")

    async def _find(self, point: RestorePoint) -> Fetched:
        """Fetch the head that a restore point names, in any of its three forms."""
        if point.revision is not None:
            return await self._at_revision(point, point.revision)
        if point.moment is not None:
            commit = await self._search.at_time(end_of_second(point.moment))
            if commit is None:
                raise await self._expired(point, "no commit so old is left")
            return await self._get(point, commit.version)
        # An empty id would be that of the current version.
        found = await self._store.get(HEAD, version_id=point.text) if point.text else None
        if found is None:
            raise point.refused("there is no such version of head")
        return found

    async def _at_revision(self, point: RestorePoint, revision: int) -> Fetched:
        commit = await self._search.at_revision(revision)
        if commit is None:
            raise await self._expired(point, "history does not reach back so far")
        if commit.revision != revision:
            raise point.refused(f"the nearest one before it is {commit.revision}")
        return await self._get(point, commit.version)

    async def _get(self, point: RestorePoint, version: Version) -> Fetched:
        found = await self._store.get(HEAD, version_id=version.version_id)
        if found is None:
            raise point.refused("it has just expired")
        return found

    # Refusals -----------------------------------------------------------------------------------

    async def _expired(
        self, point: RestorePoint, why: str, version_id: str | None = None
    ) -> RestorePointError:
        """Return the error that says why a commit cannot be restored, and which ones still can.

        Args:
            point: The commit that was asked for.
            why: Why it cannot.
            version_id: The commit's version id, if there is one.
        """
        versions = await list_versions(self._store, HEAD)
        if not any(map(is_kept, versions)):
            return point.refused("the bucket keeps no versions, so there is no history")
        ids = [version.version_id for version in versions]
        newer = versions[: ids.index(version_id)] if version_id in ids else versions
        left = await self._oldest_whole(newer)
        if left is None:
            return point.refused(f"{why}. No other commit can be brought back, either")
        made = left.made.astimezone().isoformat(" ", "seconds")
        left_over = f"Revisions from {left.revision} ({made}) on can be brought back"
        return point.refused(f"{why}. {left_over}")

    async def _oldest_whole(self, versions: list[Version]) -> Commit | None:
        """Find the oldest commit whose blobs are all left, by bisection.

        Retention takes the oldest versions first, so that all commits after a whole one are whole.
        """
        blobs = {kind: [c.known_header for c in await self.blobs.headers(kind)] for kind in Kind}
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
        """Return the header of a commit if it can be restored, else None."""
        found = await self._store.get(HEAD, version_id=version.version_id)
        try:
            header, head = self._reader.open_head(found.body) if found else (None, None)
        except UnknownKeyError:
            return None
        if header is None or head is None or header.store != self.store_id:
            return None
        return header if restorable(head, blobs) else None


async def find_history(
    store: Store, reader: Reader
) -> tuple[History, NothingThereError | DamagedObjectError | None]:
    """Return the history to list where nobody says of which store. No key is needed to list it.

    That is the store of the current head or, without a readable one, of the newest readable head.
    To go back, use a repository's history, which knows of erasures and branches.

    Returns:
        The history, and why the current head is no help; None: it is.

    Raises:
        NothingThereError: There is no head, and no older version of it can be read.
        DamagedObjectError: The header of head cannot be read, and that of no older version.
    """
    try:
        header = await read_current_header(store)
        if header is None:
            raise no_state()
    except (DamagedObjectError, NothingThereError) as fault:
        store_id = await newest_store(store)
        if store_id is None:
            raise
        return History(store, reader.for_history, store_id), fault
    return History(store, reader.for_history, header.store), None


async def newest_store(store: Store) -> str | None:
    """Return the id of the store that the newest readable head is of, or None."""
    for version in await list_versions(store, HEAD):
        commit = await read_header(store, version)
        if commit is not None and commit.header is not None:
            return commit.header.store
    return None
