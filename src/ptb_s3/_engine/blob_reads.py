"""Reads of single segments of blobs: their indexes first, and then no more than is asked for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection

from ptb_s3._format.blobs import BlobSource
from ptb_s3._format.container import MAX_PREAMBLE, read_header, sealed_size
from ptb_s3._format.entities import Entities, EntityKey, Entries, Kind
from ptb_s3._format.head import Head
from ptb_s3._format.key_source import KeySource, key_service
from ptb_s3._format.openers import require_store
from ptb_s3._format.segments import BlobUnsealer, open_segment
from ptb_s3._storage.contract import Fetched, Store
from ptb_s3.errors import DamagedObjectError, MissingObjectError

INDEX_BYTES = MAX_PREAMBLE
"""Bytes of a blob that are asked for first: header and index of some hundred thousand users."""
BATCH = 2 * 1024 * 1024
"""Bytes of sealed segments that are fetched in one request, where all of a blob is read."""
AT_ONCE = 8
"""Segments that are requested at once, and held, where single ones are read."""


class BlobReads:
    """Reader of parts of blobs in one store.

    Args:
        store: The store.
        keys: Gives the keys that open them.
    """

    def __init__(self, store: Store, keys: KeySource) -> None:
        self._store = store
        self._keys = keys

    # Indexes ------------------------------------------------------------------------------------

    async def source(self, head: Head, kind: Kind, store_id: str) -> BlobSource:
        """Read the index of a blob that a head takes: the one that lies there, or the one it names.

        Raises:
            MissingObjectError: There is none.
            PersistenceError: It cannot be opened.
        """
        ref = head.parts[kind].ref
        versions = [None] if ref is None or ref.version_id is None else [None, ref.version_id]
        for version_id in versions:
            source = await self.lying(kind, store_id, version_id)
            if source is not None and head.takes(kind, source.header):
                return source
        raise gone(kind)

    async def lying(
        self, kind: Kind, store_id: str, version_id: str | None = None
    ) -> BlobSource | None:
        """Read the index of the blob that lies there or of a version, or return None for none.

        Raises:
            PersistenceError: It cannot be opened.
        """
        found = await self._store.get(kind, version_id=version_id, first_bytes=INDEX_BYTES)
        return None if found is None else await self.opened(kind, found, store_id)

    async def opened(self, kind: Kind, found: Fetched, store_id: str) -> BlobSource | None:
        """Open the index of a blob, or return None if its version is gone by now.

        Args:
            kind: The blob's kind.
            found: Its first `INDEX_BYTES`.
            store_id: Id of the store that it must be of.

        Raises:
            ForeignStoreError: It is of another store.
            PersistenceError: It cannot be opened.
        """
        header, start = read_header(kind, found.body)
        require_store(header, store_id)
        if (service := key_service(self._keys)) is not None:
            await service.prepare_opening(header)  # the store does so for what is read whole
        end = start + sealed_size(header.size)
        size = end + (header.rest or 0)
        unsealer = BlobUnsealer(kind, size, self._keys)
        if not await self._feed(unsealer, kind, found, end):
            return None
        if unsealer.index is None or unsealer.header is None:
            raise DamagedObjectError(kind, "it was cut short")
        index, key = unsealer.index, unsealer.key
        return BlobSource(found.etag, found.version_id, unsealer.header, size, index, key)

    async def _feed(self, unsealer: BlobUnsealer, kind: Kind, found: Fetched, end: int) -> bool:
        """Feed a blob's bytes up to an end, and tell whether its version is still there.

        Where that end lies is the header's word, which nothing has authenticated yet: so what has
        arrived is opened before more is asked for, and no more than `BATCH` is held unopened.
        """
        unsealer.feed(memoryview(found.body)[:end])
        at = min(len(found.body), end)
        while at < end:
            more = await self._store.get_range(
                kind, at, min(end - at, BATCH), etag=found.etag, version_id=found.version_id
            )
            if more is None:
                return False
            if not more:
                raise DamagedObjectError(kind, "it was cut short")
            unsealer.feed(more)
            at += len(more)
        return True

    # Segments -----------------------------------------------------------------------------------

    async def entities(self, source: BlobSource, keys: Collection[EntityKey]) -> Entities | None:
        """Read those of some entities that a blob has, or return None if its version is gone.

        No more than `AT_ONCE` segments are held, whoever is asked for.
        """
        found: Entities = {}
        wanted = set(keys)
        numbers = sorted({source.index.number_of(key) for key in wanted} - {-1})
        for at in range(0, len(numbers), AT_ONCE):
            read = (self.segment(source, number) for number in numbers[at : at + AT_ONCE])
            for entries in await asyncio.gather(*read):
                if entries is None:
                    return None
                found.update((key, value) for key, value in entries if key in wanted)
        return found

    async def segment(self, source: BlobSource, number: int) -> Entries | None:
        """Read one segment, or return None if the version is gone."""
        messages = await self.messages(source, number, number)
        return None if messages is None else opened_segment(source, number, messages[0])

    async def messages(self, source: BlobSource, first: int, last: int) -> list[bytes] | None:
        """Read neighbouring segments in one request, or return None if the version is gone.

        They are sealed still.

        Args:
            source: The blob.
            first: Number of the first segment, counted from 0.
            last: Number of the last one.
        """
        kind = Kind(source.header.object)
        start, _ = source.span(first)
        sizes = [sealed_size(segment.size) for segment in source.index.segments[first : last + 1]]
        body = await self._store.get_range(
            kind, start, sum(sizes), etag=source.etag, version_id=source.version_id
        )
        if body is None:
            return None
        if len(body) != sum(sizes):
            raise DamagedObjectError(kind, "it was cut short")
        messages, at = [], 0
        for size in sizes:
            messages.append(body[at : at + size])
            at += size
        return messages

    async def all_in(
        self, source: BlobSource, progress: Callable[[], None] = lambda: None
    ) -> Entities | None:
        """Read all entities of a blob, or return None if its version is gone.

        Args:
            source: The blob.
            progress: Called whenever some have arrived.
        """
        found: Entities = {}
        for first, last in source.batches(BATCH):
            messages = await self.messages(source, first, last)
            if messages is None:
                return None
            progress()
            for number, message in enumerate(messages, first):
                found.update(opened_segment(source, number, message))
        return found


def opened_segment(source: BlobSource, number: int, message: bytes) -> Entries:
    """Open one segment.

    Raises:
        DamagedObjectError: It is not what was written there.
    """
    return open_segment(source.header, source.index, number, message, source.key)


def gone(kind: Kind) -> MissingObjectError:
    """Return the error for a blob that is not there, or is none that head takes."""
    return MissingObjectError(kind, "it is gone, or is no blob that head takes")
