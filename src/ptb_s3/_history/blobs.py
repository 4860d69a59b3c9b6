"""Versions of blobs: which of them a head can build on, and their entities.

Which blobs fit a head is the range rule of FORMAT.md, section 9 (`ptb_s3._format.head.Head.takes`):
the very blob that the head names, or any of its branch whose revision lies between that one's and
the head's own. So a commit can still be restored where the blob it names has expired and a later
one of the range is left.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import aclosing

from ptb_s3._format.container import Header
from ptb_s3._format.entities import Entities, Kind
from ptb_s3._format.head import Head, Part, Ref
from ptb_s3._format.reader import Reader
from ptb_s3._history.headers import of_store, read_headers
from ptb_s3._history.listing import list_versions
from ptb_s3._history.order import Commit
from ptb_s3._storage.contract import Store
from ptb_s3.errors import DamagedObjectError, UnknownKeyError


class BlobVersions:
    """Reader of one store's blobs, in whichever version a head can build on.

    Args:
        store: Where the objects lie.
        reader: Opens them.
        store_id: The store whose blobs count; others may have lain in the same place.
    """

    def __init__(self, store: Store, reader: Reader, store_id: str) -> None:
        self._store = store
        self._reader = reader
        self._store_id = store_id

    async def headers(self, kind: Kind) -> list[Commit]:
        """Read the headers of a kind's blobs, those of the highest revisions first."""
        commits = await read_headers(self._store, await list_versions(self._store, kind), kind)
        ours = of_store(commits, self._store_id)
        return sorted(ours, key=lambda commit: commit.revision, reverse=True)

    async def at(self, kind: Kind, part: Part, head: Head) -> Entities | None:
        """Read a version of a blob that a head can build on, the very one that it names first.

        Args:
            kind: Whose blob.
            part: The head's part of that kind.
            head: The head.

        Returns:
            The blob's entities, without the head's differential; None: no such version is left.

        Raises:
            DamagedObjectError: Such versions are there, and damaged.
        """
        if part.ref is None:
            return {}
        damage = None
        async with aclosing(self._bases(kind, part.ref, head)) as ids:
            async for version_id in ids:
                try:
                    opened = await self._open(kind, version_id)
                except DamagedObjectError as error:
                    damage = damage or error
                else:
                    if opened is not None and head.takes(kind, opened[0]):
                        return opened[1]
        if damage is not None:
            raise damage
        return None

    async def newest(self, kind: Kind) -> tuple[Entities, int | None]:
        """Read the blob of the highest revision that opens.

        Returns:
            Its entities and its revision; no entities and None where no version opens.
        """
        for commit in await self.headers(kind):
            try:
                opened = await self._open(kind, commit.version.version_id)
            except (DamagedObjectError, UnknownKeyError):
                continue
            if opened is not None:
                return opened[1], opened[0].revision
        return {}, None

    async def _bases(self, kind: Kind, ref: Ref, head: Head) -> AsyncGenerator[str, None]:
        """Iterate over the version ids of blobs that a head takes, by their headers."""
        if ref.version_id is not None:
            yield ref.version_id
        for commit in await self.headers(kind):
            if head.takes(kind, commit.known_header):
                yield commit.version.version_id

    async def _open(self, kind: Kind, version_id: str) -> tuple[Header, Entities] | None:
        found = await self._store.get(kind, version_id=version_id)
        return found and self._reader.open_blob(kind, found.body, self._store_id)


class BlobHeaders:
    """Set of blob headers by store and kind, to ask which commits they can restore."""

    def __init__(self) -> None:
        self._headers: dict[str, dict[Kind, list[Header]]] = defaultdict(
            lambda: {kind: [] for kind in Kind}
        )

    def add(self, header: Header) -> None:
        """Add the header of a blob."""
        self._headers[header.store][Kind(header.object)].append(header)

    def suffice(self, store_id: str, head: Head) -> bool:
        """Tell whether a commit of a store can be restored from these blobs."""
        return restorable(head, self._headers[store_id])


def restorable(head: Head, blobs: Mapping[Kind, Iterable[Header]]) -> bool:
    """Tell whether a commit can be restored from blobs with these headers, of its store."""
    return all(
        part.ref is None or any(head.takes(kind, blob) for blob in blobs[kind])
        for kind, part in head.parts.items()
    )
