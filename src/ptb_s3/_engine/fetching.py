"""Fetches: single entities of kinds that are read on demand, from the segments of their blobs.

An entity is *known* if its bytes are here, or it is certain that there is none. Any other one has
not changed since the blob was written, so that it stands there as it is, if at all (`PartialKind`).

=====================================  ==========================================================
the blob's version, when it is asked   what follows
=====================================  ==========================================================
is there                               its segment is opened, and the entities asked for are known
is gone, and the object that lies      that one is read from now on: another writer has compacted,
there is a blob that head takes        or a lifecycle rule has expired the version
is gone, and what lies there is newer  awaiting code takes over the head that goes with it, which
than head                              may still be on its way; synchronous code raises
=====================================  ==========================================================

What a fetch has brought counts only if head still takes the blob that it is from when it is there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Mapping
from functools import partial
from typing import TypeVar

from ptb_s3._engine.blob_reads import AT_ONCE, BlobReads, gone
from ptb_s3._engine.context import EngineContext
from ptb_s3._engine.patience import Progress, patiently
from ptb_s3._format.blobs import Blob, BlobSource
from ptb_s3._format.committed import Base, ref_of
from ptb_s3._format.container import Header
from ptb_s3._format.entities import Entities, EntityKey, Kind, order
from ptb_s3._format.index import Index
from ptb_s3._storage.contract import Fetched
from ptb_s3.errors import MissingObjectError, StorageUnavailableError

_T = TypeVar("_T")


class Fetcher:
    """Reader of single entities of a base's partial kinds.

    Args:
        context: Store, reader and threads.
        base: Gives the base.
        sync: Takes over what other writers have committed.

    Attributes:
        reads: Reads parts of blobs, for code that awaits.
    """

    def __init__(
        self,
        context: EngineContext,
        base: Callable[[], Base],
        sync: Callable[[], Awaitable[None]],
    ) -> None:
        self._context = context
        self._base = base
        self._sync = sync
        self.reads = BlobReads(context.store, context.reader.keys)

    async def fetch(self, wanted: Mapping[Kind, Collection[EntityKey]]) -> None:
        """Read entities that are not known yet.

        Args:
            wanted: Keys of the entities, by kind.

        Raises:
            StorageUnavailableError: Nothing more of them can be read, for 30 s.
            PersistenceError: What lies there cannot be opened.
        """
        await patiently(partial(self._fetch_each, wanted), self._context.pause)

    def fetch_now(self, kind: Kind, keys: Collection[EntityKey]) -> None:
        """Read entities that are not known yet, and block until they are.

        It takes no lock, and leaves the head as it is: the event loop that it blocks may be in the
        middle of a commit.

        Raises:
            StorageUnavailableError: They cannot be read, or not without another writer's head.
            PersistenceError: What lies there cannot be opened.
        """
        base = self._base()
        while unknown := self._unknown(base, kind, keys):
            source = self._source_now(base, kind)
            for some in _by_segments(source.index, unknown):
                found = self._now(partial(BlobReads.entities, source=source, keys=some))
                if found is None:
                    self._renewed_now(base, kind)
                    break
                if not base.head.takes(kind, source.header):
                    break  # a thread asks, and the loop went on
                _learn(base, kind, some, found)

    def keys_now(self, kind: Kind) -> Iterator[EntityKey]:
        """Iterate over the keys of all entities in the blob of a partial kind, known or not.

        One segment after the other is read, and none is held. If another blob takes the place of
        the one that is read, the iteration goes on in that one.

        Raises:
            PersistenceError: As for `fetch_now`.
        """
        base, last = self._base(), None
        source = None if self._has_no_blob(base, kind) else self._source_now(base, kind)
        number = 0
        while source is not None and number < len(source.index.segments):
            found = self._now(partial(BlobReads.segment, source=source, number=number))
            if found is None:
                source = self._renewed_now(base, kind)
                number = 0 if last is None else max(source.index.number_of(last), 0)
                continue
            for key, _ in found:
                if last is None or order(key) > order(last):
                    last = key
                    yield key
            number += 1

    async def all_of(self, kind: Kind) -> dict[EntityKey, bytes]:
        """Read all entities of a partial kind, without keeping them, as they are committed.

        Raises:
            PersistenceError: As for `fetch`.
        """
        return await patiently(partial(self._all_of, kind), self._context.pause)

    async def lying(self, kind: Kind, store_id: str) -> tuple[Header, Blob] | None:
        """Open the index of the blob that lies there now, or return None if there is none.

        Raises:
            PersistenceError: It cannot be opened.
        """
        source = await self.reads.lying(kind, store_id)
        if source is None:
            return None
        ref = ref_of(source.header, source.version_id, source.size)
        return source.header, Blob(source.etag, ref, source.index)

    async def source_at_start(
        self, base: Base, kind: Kind, beginning: Fetched | None
    ) -> BlobSource | None:
        """Return the blob that a kind is read from after a load, or None where there is none.

        Args:
            base: The base, with its head.
            kind: The kind.
            beginning: First `INDEX_BYTES` of the object that lies there, if there is one.

        Raises:
            MissingObjectError: There is none that head takes, and head names one.
            PersistenceError: It cannot be opened.
        """
        if base.head.parts[kind].ref is None and beginning is None:
            return None
        store_id = base.identity.store
        if beginning is not None:
            source = await self.reads.opened(kind, beginning, store_id)
            if source is not None and base.head.takes(kind, source.header):
                return source
        if base.head.parts[kind].ref is None:
            return None  # what lies there is of another branch, or not committed
        if beginning is None:  # its version may be there yet, and goes when a rule expires it
            raise MissingObjectError(kind, "it is gone, while head refers to it")
        return await self.reads.source(base.head, kind, store_id)

    async def source_of(self, base: Base, kind: Kind) -> BlobSource | None:
        """Return the blob that a partial kind is read from, or None where there is nothing to read.

        Raises:
            MissingObjectError: It is gone.
        """
        if self._has_no_blob(base, kind):
            return None
        while (source := self._usable(base, kind)) is None:
            await self._renewed(base, kind)  # head may have gone on by then
        return source

    async def renew(self, base: Base, kind: Kind) -> None:
        """Read a kind from the blob that lies there now, from now on.

        Raises:
            MissingObjectError: There is none that head takes.
        """
        await self._renewed(base, kind)

    async def known_of(
        self, source: BlobSource, keys: Collection[EntityKey], newer: int | None
    ) -> dict[EntityKey, bytes | None]:
        """Read entities of a blob, as they are there.

        Args:
            source: The blob.
            keys: Keys of the entities.
            newer: Revision: those whose segments have not changed since are left out; None: none.

        Raises:
            MissingObjectError: Its version is gone.
        """
        index = source.index
        asked = [
            key
            for key in keys
            if newer is None
            or (number := index.number_of(key)) < 0
            or index.segments[number].newest > newer
        ]
        found = await self.reads.entities(source, asked)
        if found is None:
            raise gone(Kind(source.header.object))
        return {key: found.get(key) for key in asked}

    # --------------------------------------------------------------------------------------------

    async def _fetch_each(
        self, wanted: Mapping[Kind, Collection[EntityKey]], progress: Progress
    ) -> None:
        fetches = (self._fetch(*one, progress) for one in wanted.items())
        # So gathered, none of them goes on when this has returned.
        ends = await asyncio.gather(*fetches, return_exceptions=True)
        faults = [end for end in ends if end is not None]
        passing = StorageUnavailableError, MissingObjectError
        for fault in sorted(faults, key=lambda fault: isinstance(fault, passing)):
            raise fault  # one that passes is told where there is no other

    async def _all_of(self, kind: Kind, progress: Progress) -> dict[EntityKey, bytes]:
        base = self._base()
        while True:
            source = await self.source_of(base, kind)
            found = {} if source is None else await self.reads.all_in(source, progress)
            if found is None:
                await self._renewed(base, kind)
            elif source is None or base.head.takes(kind, source.header):
                break  # else others have compacted since: what they changed before is not in it
        for key in base.partial[kind].absent:
            found.pop(key, None)
        return {**found, **base.entities[kind]}

    def _now(self, ask: Callable[[BlobReads], Awaitable[_T]]) -> _T:
        """Read parts of blobs, and block until they are there."""
        blocking, keys = self._context.blocking, self._context.reader.keys
        assert blocking is not None  # noqa: S101 - for mypy: where code may ask so
        return blocking(lambda store: ask(BlobReads(store, keys)))

    async def _fetch(self, kind: Kind, keys: Collection[EntityKey], progress: Progress) -> None:
        base = self._base()
        while unknown := self._unknown(base, kind, keys):
            source = self._usable(base, kind) or await self._renewed(base, kind)
            for some in _by_segments(source.index, unknown):
                found = await self.reads.entities(source, some)
                if found is None:
                    await self._renewed(base, kind)
                    break
                if not base.head.takes(kind, source.header):
                    break  # others have compacted since
                _learn(base, kind, some, found)
                progress()

    def _unknown(self, base: Base, kind: Kind, keys: Collection[EntityKey]) -> list[EntityKey]:
        """Return those keys that have to be read. Where there is no blob yet, no others are."""
        unknown = [key for key in keys if not base.knows(kind, key)]
        if unknown and self._has_no_blob(base, kind):
            base.learn(kind, dict.fromkeys(unknown))
            return []
        return unknown

    async def _renewed(self, base: Base, kind: Kind) -> BlobSource:
        """Read from another blob from now on, and return it.

        Raises:
            MissingObjectError: There is none that head takes, nor one that a newer head does.
        """
        while True:
            head = base.head
            try:
                source = await self.reads.source(head, kind, base.identity.store)
            except MissingObjectError:
                await self._sync()  # and look what there is then
                if base.head is head:
                    raise
            else:
                base.read_from(kind, source)
                return source

    def _has_no_blob(self, base: Base, kind: Kind) -> bool:
        return base.partial[kind].source is None and base.head.parts[kind].ref is None

    def _source_now(self, base: Base, kind: Kind) -> BlobSource:
        return self._usable(base, kind) or self._renewed_now(base, kind)

    def _renewed_now(self, base: Base, kind: Kind) -> BlobSource:
        """Read from another blob from now on, and return it."""
        head, store_id = base.head, base.identity.store
        try:
            source = self._now(lambda reads: reads.source(head, kind, store_id))
        except MissingObjectError as fault:
            raise StorageUnavailableError(
                f"Data of {kind.value} was asked for that is not loaded, and code that cannot "
                "await cannot get it now: another writer has just written object "
                f"{kind.value!r} anew, and its head has not been read here yet; or the object is "
                "gone. Nothing was changed. Prefetch it (await application.prefetch(users=..., "
                "chats=...)), which waits for that head."
            ) from fault
        base.read_from(kind, source)
        return source

    def _usable(self, base: Base, kind: Kind) -> BlobSource | None:
        source = base.partial[kind].source
        return source if source is not None and base.head.takes(kind, source.header) else None


def _by_segments(index: Index, keys: Iterable[EntityKey]) -> Iterator[list[EntityKey]]:
    """Yield the keys that are in the same few segments together, in their order."""
    in_segment: dict[int, list[EntityKey]] = {}
    for key in keys:
        in_segment.setdefault(index.number_of(key), []).append(key)
    numbers = sorted(in_segment)
    for at in range(0, len(numbers), AT_ONCE):
        yield [key for number in numbers[at : at + AT_ONCE] for key in in_segment[number]]


def _learn(base: Base, kind: Kind, unknown: Collection[EntityKey], found: Entities) -> None:
    """Note entities that were read, unless they have become known by another way meanwhile."""
    base.learn(kind, {key: found.get(key) for key in unknown if not base.knows(kind, key)})
