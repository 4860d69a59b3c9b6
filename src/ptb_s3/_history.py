"""Find an older commit in a store's history, and the state it stands for."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from ptb_s3 import _container
from ptb_s3._base import HEAD, Reader, overlay
from ptb_s3._container import MAX_PREAMBLE, Header
from ptb_s3._head import Head, Ref
from ptb_s3._state import Entities, Kind
from ptb_s3._store import Fetched, Store, Version
from ptb_s3.errors import RestorePointError

# A revision has fewer digits than this; a version id of digits alone has more.
_REVISION_DIGITS = 16


class History:
    """The commits of one store that its bucket still holds.

    Args:
        store: Where the objects lie.
        reader: Opens them.
        store_id: The store whose history it is; a prefix may have held another one before.
    """

    def __init__(self, store: Store, reader: Reader, store_id: str) -> None:
        self._store = store
        self._reader = reader
        self._store_id = store_id

    async def state_at(self, request: str) -> tuple[Head, dict[Kind, Entities]]:
        """Return the commit that a request names, and the whole state as of it.

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
        state = {}
        for kind, part in head.parts.items():
            state[kind] = await self._blob_at(kind, part.ref, head.revision)
            overlay(state[kind], part)
        return head, state

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
            header = await self._header(name, versions[middle])
            # Of another store, or just expired: older than anything of ours.
            if header is None or header.store != self._store_id or accept(header):
                high, newest = middle, header
            else:
                low = middle + 1
        if newest is None or newest.store != self._store_id:
            return None
        return versions[low], newest

    async def _header(self, name: str, version: Version) -> Header | None:
        found = await self._store.get(name, version_id=version.version_id, first_bytes=MAX_PREAMBLE)
        return found and _container.read_header(name, found.body)[0]

    async def _blob_at(self, kind: Kind, ref: Ref | None, newest: int) -> Entities:
        """Read any version of a blob whose revision lies between a head's reference and its own."""
        if ref is None:
            return {}
        found = None
        if ref.version_id is not None:
            found = await self._store.get(kind, version_id=ref.version_id)
        if found is None:
            other = await self._newest(kind, lambda header: header.revision <= newest)
            if other is not None and other[1].revision >= ref.revision:
                found = await self._store.get(kind, version_id=other[0].version_id)
        if found is None:
            reason = f"no version of {kind.value} is left that it can build on"
            raise _no_point(str(newest), reason)
        return self._reader.open_blob(kind, found.body, self._store_id)[1]


def _no_point(request: str, why: str) -> RestorePointError:
    return RestorePointError(
        f"Cannot go back to {request!r}: {why}. Give a revision, a time, or the version id of a "
        "head that the bucket still holds. Nothing was changed."
    )
