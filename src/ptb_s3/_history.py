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
    Sequence,
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
from ptb_s3.errors import DamagedObjectError, RestorePointError, UnknownKeyError

# A revision has fewer digits than this; a version id of digits alone has more.
_REVISION_DIGITS = 16
# Requests under way at once where many versions are looked at.
_WIDTH = 16
# A writer's clock and the storage's differ by no more, or S3 would have refused the request
# (Amazon S3 API Reference, "Error responses": RequestTimeTooSkewed).
_MAX_SKEW = timedelta(minutes=15)
# The last moment of a second: commits are shown to the second, and that must find them again.
_TO_THE_END = timedelta(microseconds=999_999)

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
            until: The newest; None: to the current one. To the second, it includes all of it.
        """
        last = None if until is None else _all_of(until)

        async def in_span() -> AsyncIterator[Version]:
            async for version in self._until(last):
                # Only this way round: a bucket that was copied has newer versions of old commits.
                if since is not None and since - version.modified > _MAX_SKEW:
                    return
                yield version

        async with aclosing(ahead(in_span(), self._commit)) as commits:
            async for commit in commits:
                made = commit.header.created if commit.header else commit.version.modified
                # Not the end of the span: the writer before may have had a clock that is ahead.
                early = since is not None and made < since
                late = last is not None and made > last
                ours = commit.header is None or commit.header.store == self._store_id
                if ours and not early and not late:
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
            request: A revision, a time (ISO 8601; UTC unless it says otherwise; to the second, it
                is the end of that second), or the version id of a head.

        Raises:
            RestorePointError: No commit that is still held, and intact, answers to it.
        """
        found = await self._find(request)
        try:
            header, head = self._reader.open_head(found.body)
        except DamagedObjectError as error:
            raise _no_point(request, f"that commit is damaged: {error.reason}") from None
        if header.store != self._store_id:
            raise _no_point(request, "that commit is of another store")
        entities = {}
        for kind, part in head.parts.items():
            try:
                blob = await self._blob_at(kind, part, head.revision)
            except DamagedObjectError as error:
                why = f"the version of {kind.value} that it builds on is damaged: {error.reason}"
                raise _no_point(request, why) from None
            if blob is None:
                why = f"no version of {kind.value} is left that it can build on"
                raise await self._expired(request, why, found.version_id)
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
            # An empty id would be that of the current version.
            found = await self._store.get(HEAD, version_id=request) if request else None
            if found is None:
                raise _no_point(request, "there is no such version of head") from None
            return found
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return await self._at_time(request, _all_of(moment))

    async def _at_revision(self, request: str, revision: int) -> Fetched:
        newest = await self._newest(HEAD, lambda header: header.revision <= revision)
        if newest is None:
            raise await self._expired(request, "history does not reach back so far")
        if newest[1].revision != revision:
            raise _no_point(request, f"the nearest one before it is {newest[1].revision}")
        return await self._get(request, newest[0])

    async def _at_time(self, request: str, moment: datetime) -> Fetched:
        newest = await self._newest(HEAD, lambda header: header.created <= moment)
        if newest is None:
            raise await self._expired(request, "no commit so old is left")
        return await self._get(request, newest[0])

    async def _get(self, request: str, version: Version) -> Fetched:
        found = await self._store.get(HEAD, version_id=version.version_id)
        if found is None:
            raise _no_point(request, "it has just expired")
        return found

    async def _until(self, last: datetime | None) -> AsyncIterator[Version]:
        """Iterate over the versions of head from the newest on that is no younger than a time."""
        if last is None:
            async for version in self._store.versions(HEAD):
                yield version
            return
        # Somewhat younger ones as well: the writer before may have had a clock that is ahead.
        versions = [version async for version in self._store.versions(HEAD)]
        found = await self._bisect(HEAD, versions, lambda h: h.created - last <= _MAX_SKEW)
        if found is not None:
            for version in versions[versions.index(found[0]) :]:
                yield version

    async def _newest(
        self, name: str, accept: Callable[[Header], bool]
    ) -> tuple[Version, Header] | None:
        """Find the newest version that is accepted; all older ones must be, too."""
        versions = [version async for version in self._store.versions(name)]
        return await self._bisect(name, versions, accept)

    async def _bisect(
        self, name: str, versions: Sequence[Version], accept: Callable[[Header], bool]
    ) -> tuple[Version, Header] | None:
        readable = list(versions)
        low, high, newest = 0, len(readable), None
        while low < high:
            middle = (low + high) // 2
            try:
                header = await self._header(name, readable[middle])
            except DamagedObjectError:  # it cannot tell where it belongs: go by the others
                del readable[middle]
                high -= 1
                continue
            # Of another store, or just expired: older than anything of ours.
            if header is None or header.store != self._store_id or accept(header):
                high, newest = middle, header
            else:
                low = middle + 1
        if newest is None or newest.store != self._store_id:
            return None
        return readable[low], newest

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

    async def _expired(
        self, request: str, why: str, version_id: str | None = None
    ) -> RestorePointError:
        """Say why a commit cannot be brought back, and which ones still can.

        Args:
            request: What was asked for.
            why: Why it cannot.
            version_id: The commit's, if there is one.
        """
        versions = [version async for version in self._store.versions(HEAD)]
        if all(version.version_id == "null" for version in versions):
            return _no_point(request, "the bucket keeps no versions, so there is no history")
        ids = [version.version_id for version in versions]
        newer = versions[: ids.index(version_id)] if version_id in ids else versions
        left = await self._oldest_whole(newer)
        if left is None:
            return _no_point(request, f"{why}. No other commit can be brought back, either")
        made = left.created.astimezone().isoformat(" ", "seconds")
        left_over = f"Revisions from {left.revision} ({made}) on can be brought back"
        return _no_point(request, f"{why}. {left_over}")

    async def _oldest_whole(self, versions: list[Version]) -> Header | None:
        """Find the oldest commit whose blobs are all left.

        Retention takes the oldest first, so that all commits after a whole one are whole.
        """
        revisions = {kind: await self._revisions(kind) for kind in Kind}
        low, high, oldest = 0, len(versions), None
        while low < high:
            middle = (low + high) // 2
            try:
                whole = await self._whole(versions[middle], revisions)
            except DamagedObjectError:
                del versions[middle]
                high -= 1
                continue
            if whole is None:
                high = middle
            else:
                oldest, low = whole, middle + 1
        return oldest

    async def _whole(
        self, version: Version, revisions: Mapping[Kind, Iterable[int]]
    ) -> Header | None:
        """Return the header of a commit that can be brought back; None if it cannot."""
        found = await self._store.get(HEAD, version_id=version.version_id)
        try:
            header, head = self._reader.open_head(found.body) if found else (None, None)
        except UnknownKeyError:
            return None
        if header is None or head is None or header.store != self._store_id:
            return None
        return header if restorable(head, revisions) else None

    async def _revisions(self, name: str) -> list[int]:
        """Return the revisions of which there is a version of a blob."""

        async def read(version: Version) -> Header | None:
            try:
                return await self._header(name, version)
            except DamagedObjectError:
                return None

        async with aclosing(ahead(self._store.versions(name), read)) as headers:
            return [h.revision async for h in headers if h and h.store == self._store_id]


async def newest_store(store: Store) -> str | None:
    """Return the id of the store that the newest head is of, among those that can be read."""
    async for version in store.versions(HEAD):
        try:
            header = await header_of(store, HEAD, version)
        except DamagedObjectError:
            continue
        if header is not None:
            return header.store
    return None


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


def _all_of(moment: datetime) -> datetime:
    """Return the end of the second that a time names, if it names no fraction of one."""
    return moment if moment.microsecond else moment + _TO_THE_END


def _no_point(request: str, why: str) -> RestorePointError:
    return RestorePointError(
        f"Cannot go back to {request!r}: {why.removesuffix('.')}. Give a revision, a time, or the "
        "version id of a head that the bucket still holds. Nothing was changed."
    )
