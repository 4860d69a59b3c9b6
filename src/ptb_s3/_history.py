"""A store's history: its commits, and the state that any of them stands for.

Commits are told from the headers of the versions of ``head``, which takes a kilobyte each however
large they are, and no key. A header is believed for finding a commit; the commit itself is opened,
and so authenticated, before anything of it is used.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
    Mapping,
)
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from typing import NamedTuple, TypeVar

from ptb_s3 import _container
from ptb_s3._base import Reader, overlay
from ptb_s3._container import HEAD, MAX_PREAMBLE, Header
from ptb_s3._erasure import Erasures
from ptb_s3._head import Head, Part
from ptb_s3._state import Entities, Kind
from ptb_s3._store import Fetched, Store, Version
from ptb_s3.errors import DamagedObjectError, RestorePointError

# A revision has fewer digits than this; a version id of digits alone has more.
_REVISION_DIGITS = 16
# Requests under way at once where many versions are looked at.
_WIDTH = 16
# A writer's clock and the storage's differ by no more, or S3 would have refused the request
# (Amazon S3 API Reference, "Error responses": RequestTimeTooSkewed).
_MAX_SKEW = timedelta(minutes=15)

_T = TypeVar("_T")
_R = TypeVar("_R")


class Commit(NamedTuple):
    """A version of head.

    Attributes:
        version: What the storage says of it.
        header: What it says of itself, not yet authenticated; None where it cannot be read.
    """

    version: Version
    header: Header | None


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
        erasures: Those that the current head records.
    """

    def __init__(
        self, store: Store, reader: Reader, store_id: str, erasures: Erasures | None = None
    ) -> None:
        self._store = store
        self._reader = reader
        self._store_id = store_id
        self._erasures = erasures

    async def commits(
        self, *, since: datetime | None = None, until: datetime | None = None
    ) -> AsyncGenerator[Commit, None]:
        """Iterate over the commits of a span of time, newest first, those that cannot be read too.

        Args:
            since: The oldest; None: from the first one.
            until: The newest; None: to the current one.
        """

        async def in_span() -> AsyncIterator[Version]:
            async for version in self._store.versions(HEAD):
                if since is not None and version.modified < since - _MAX_SKEW:
                    return
                if until is None or version.modified <= until + _MAX_SKEW:
                    yield version

        async with aclosing(ahead(in_span(), self._commit)) as commits:
            async for commit in commits:
                made = commit.header.created if commit.header else commit.version.modified
                if since is not None and made < since:
                    return
                ours = commit.header is None or commit.header.store == self._store_id
                if ours and (until is None or made <= until):
                    yield commit

    async def oldest(self, advance: Callable[[int], None]) -> tuple[int, Header | None]:
        """Count the commits, and return the header of the oldest; None where it cannot be read.

        Args:
            advance: Called with how many versions have been listed.
        """
        versions = []
        async for version in self._store.versions(HEAD):
            versions.append(version)
            advance(len(versions))
        for position in range(len(versions) - 1, -1, -1):
            header = (await self._commit(versions[position])).header
            if header is not None and header.store == self._store_id:
                return position + 1, header
        return 0, None

    async def state_at(self, request: str) -> Snapshot:
        """Return the whole state as of the commit that a request names.

        Args:
            request: A revision, a time (ISO 8601; UTC unless it says otherwise), or the version id
                of a head.

        Raises:
            RestorePointError: No commit that is still held answers to it.
        """
        found = await self._find(request)
        header, head = self._reader.open_head(found.body)
        if header.store != self._store_id:
            raise _no_point(request, "that commit is of another store")
        entities = {}
        for kind, part in head.parts.items():
            blob = await self._blob_at(kind, part, head.revision)
            if blob is None:
                raise await self._half_expired(request, head.revision, kind)
            overlay(blob, part)
            if self._erasures is not None:
                self._erasures.apply(kind, blob, head.revision)
            entities[kind] = blob
        return Snapshot(header, head, entities)

    async def _find(self, request: str) -> Fetched:
        if request.isdecimal() and len(request) < _REVISION_DIGITS:
            return await self._at_revision(request, int(request))
        try:
            moment = datetime.fromisoformat(request)
        except ValueError:
            found = await self._store.get(HEAD, version_id=request)
            if found is None:
                raise _no_point(request, "there is no such version of head") from None
            return found
        return await self._at_time(request, moment if moment.tzinfo else moment.replace(tzinfo=UTC))

    async def _at_revision(self, request: str, revision: int) -> Fetched:
        newest = await self._newest(HEAD, lambda header: header.revision <= revision)
        if newest is None:
            raise _no_point(request, "history does not reach back so far")
        if newest[1].revision != revision:
            raise _no_point(request, f"the nearest one before it is {newest[1].revision}")
        return await self._get(request, newest[0])

    async def _at_time(self, request: str, moment: datetime) -> Fetched:
        newest = await self._newest(HEAD, lambda header: header.created <= moment)
        if newest is None:
            raise _no_point(request, "no commit so old is left")
        return await self._get(request, newest[0])

    async def _get(self, request: str, version: Version) -> Fetched:
        found = await self._store.get(HEAD, version_id=version.version_id)
        if found is None:
            raise _no_point(request, "it has just expired")
        return found

    async def _newest(
        self, name: str, accept: Callable[[Header], bool]
    ) -> tuple[Version, Header] | None:
        """Find the newest version that is accepted, by bisection: all older ones must be, too."""
        versions = [version async for version in self._store.versions(name)]
        low, high, newest = 0, len(versions), None
        while low < high:
            middle = (low + high) // 2
            try:
                header = await self._header(name, versions[middle])
            except DamagedObjectError:  # it cannot tell where it belongs: go by the others
                del versions[middle]
                high -= 1
                continue
            # Of another store, or just expired: older than anything of ours.
            if header is None or header.store != self._store_id or accept(header):
                high, newest = middle, header
            else:
                low = middle + 1
        if newest is None or newest.store != self._store_id:
            return None
        return versions[low], newest

    async def _commit(self, version: Version) -> Commit:
        try:
            return Commit(version, await self._header(HEAD, version))
        except DamagedObjectError:
            return Commit(version, None)

    async def _header(self, name: str, version: Version) -> Header | None:
        return await header_of(self._store, name, version)

    async def _blob_at(self, kind: Kind, part: Part, newest: int) -> Entities | None:
        """Read any version of a blob whose revision lies between a head's reference and its own."""
        if part.ref is None:
            return {}
        damage = None
        if part.ref.version_id is not None:
            found = await self._store.get(kind, version_id=part.ref.version_id)
            try:
                if found is not None:
                    return self._reader.open_blob(kind, found.body, self._store_id)[1]
            except DamagedObjectError as error:
                damage = error
        other = await self._newest(kind, lambda header: header.revision <= newest)
        if other is not None and other[1].revision >= part.ref.revision:
            found = await self._store.get(kind, version_id=other[0].version_id)
            if found is not None:
                return self._reader.open_blob(kind, found.body, self._store_id)[1]
        if damage is not None:
            raise damage
        return None

    async def _half_expired(self, request: str, revision: int, kind: Kind) -> RestorePointError:
        """Say which commits can still be brought back, where one cannot for want of a blob."""
        left = await self._oldest_whole(revision)
        what = f"Revisions from {left} on can." if left else "No other can, either."
        return _no_point(
            request, f"no version of {kind.value} is left that it can build on. {what}"
        )

    async def _oldest_whole(self, after: int) -> int | None:
        """Find the oldest commit after a revision whose blobs are all left.

        Retention takes the oldest first, so that all commits after a whole one are whole.
        """
        revisions = {kind: await self._revisions(kind) for kind in Kind}
        newer = [c.version async for c in self.commits() if c.header and c.header.revision > after]
        low, high, oldest = 0, len(newer), None
        while low < high:
            middle = (low + high) // 2
            found = await self._get(f"the commit after {after}", newer[middle])
            head = self._reader.open_head(found.body)[1]
            if restorable(head, revisions):
                oldest, low = head.revision, middle + 1
            else:
                high = middle
        return oldest

    async def _revisions(self, name: str) -> list[int]:
        headers = [
            await self._header(name, version) async for version in self._store.versions(name)
        ]
        return [h.revision for h in headers if h is not None and h.store == self._store_id]


async def header_of(store: Store, name: str, version: Version) -> Header | None:
    """Read the header of a version; None if the version is gone.

    Raises:
        DamagedObjectError: It is none.
    """
    found = await store.get(name, version_id=version.version_id, first_bytes=MAX_PREAMBLE)
    return found and _container.read_header(name, found.body)[0]


def restorable(head: Head, blobs: Mapping[Kind, Iterable[int]]) -> bool:
    """Tell whether a commit can be brought back from blobs of these revisions, of its store."""
    return all(
        part.ref is None
        or any(part.ref.revision <= revision <= head.revision for revision in blobs[kind])
        for kind, part in head.parts.items()
    )


async def ahead(
    items: AsyncIterable[_T], work: Callable[[_T], Awaitable[_R]], width: int = _WIDTH
) -> AsyncGenerator[_R, None]:
    """Do the work for each item, up to `width` at once, and yield what comes out in their order."""
    tasks: deque[asyncio.Future[_R]] = deque()
    try:
        async for item in items:
            tasks.append(asyncio.ensure_future(work(item)))
            if len(tasks) >= width:
                yield await tasks.popleft()
        while tasks:
            yield await tasks.popleft()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _no_point(request: str, why: str) -> RestorePointError:
    return RestorePointError(
        f"Cannot go back to {request!r}: {why.removesuffix('.')}. Give a revision, a time, or the "
        "version id of a head that the bucket still holds. Nothing was changed."
    )
