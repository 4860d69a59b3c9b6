"""Compaction: write a kind's blob anew, so that its differential can be emptied.

A blob holds only committed state, and its revision only grows. So it is off the commit path: a
crash before a head refers to it loses nothing, since any blob between the one that head refers to
and head itself is a base for the differential (the range rule; see `_format.reader`).

It is a conditional PUT, too, so that no older blob replaces a newer one:

===============================  ==================================================================
lies there, when the PUT was     what follows
refused or got no answer
===============================  ==================================================================
the object seen before           the failure is raised; the state is as safe as before
one that we sent                 it was taken, by this or an earlier try
another writer's, to our head    it will do as well
another writer's, newer than     `ConflictError`: a commit that has not been seen here yet
our head
nothing, or none that will do    replaced, if head is still ours: all of it is in memory
===============================  ==================================================================
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from ptb_s3._engine.blob_places import BlobPlaces, PlacedObject
from ptb_s3._engine.blob_reads import BATCH, opened_segment
from ptb_s3._engine.conditional_writer import ConditionalWriter, Undecided
from ptb_s3._engine.context import EngineContext
from ptb_s3._engine.fetching import Fetcher
from ptb_s3._engine.loop_locks import LoopLock
from ptb_s3._engine.sorted_changes import SortedChanges
from ptb_s3._format import head as _head
from ptb_s3._format.blobs import Blob, BlobSource
from ptb_s3._format.committed import Base
from ptb_s3._format.entities import EntityKey, Kind
from ptb_s3._format.head import Entry
from ptb_s3._format.index import Ages
from ptb_s3._format.sealer import BlobInProgress, Mark, SealedBlob
from ptb_s3._storage.spool import Spool
from ptb_s3._storage.threads import Offload
from ptb_s3.errors import MissingObjectError, StorageUnavailableError

# Tries at a blob: each but the first follows a change of the object, or of head, behind our back.
TRIES = 3
# Upper bound of the compression ratio of bots' values: bytes unpacked for one byte in a blob.
_RATIO = 4


def due(base: Base, sealing: str, *, alone: bool) -> list[Kind]:
    """Return the kinds whose blobs should be written anew.

    That is where it pays (`_format.head.due`), where the blob's key is retired, and where the
    object there is no base for head.

    Args:
        base: The base.
        sealing: Id of the key that seals.
        alone: Whether no other writer has been met lately. Two of them, in the middle of a
            rotation, would each take the other's key for the retired one.
    """
    kinds = []
    for kind, part in base.head.parts.items():
        blob = base.blobs.get(kind)
        waiting = blob is not None and blob.ref != part.ref  # for the next head to refer to it
        retired = alone and blob is not None and blob.ref.key != sealing
        if retired or kind in base.misplaced or (not waiting and _head.due(part)):
            kinds.append(kind)
    return kinds


def by_size(base: Base, kinds: Iterable[Kind]) -> list[tuple[int, Kind]]:
    """Return kinds, smallest first, each behind about how many bytes are packed for its blob."""
    return sorted((_unpacked(base, kind), kind) for kind in kinds)


def _unpacked(base: Base, kind: Kind) -> int:
    # Estimated where there is a blob: to add up a million values holds the event loop for 0.1 s.
    blob = base.blobs.get(kind)
    return blob.ref.size * _RATIO if blob else sum(map(len, base.entities[kind].values()))


class Compactor:
    """Writer of blobs, one at a time.

    Args:
        context: Store, reader and sealer.
        offload: Seals blobs outside the event loop, which that would hold up.
        fetcher: Reads the blobs of kinds that are read on demand.
    """

    def __init__(self, context: EngineContext, offload: Offload, fetcher: Fetcher) -> None:
        self._fetcher = fetcher
        self._sealer = context.sealer
        self._offload = offload
        self._undecided = Undecided[Blob]()
        self._writer = ConditionalWriter(context.conditional_store)
        self._places = BlobPlaces(context, offload, self._undecided, fetcher)
        self._one_at_a_time = LoopLock()

    async def compact(self, base: Base, kind: Kind) -> int:
        """Write a kind's blob anew, and note it in the base.

        Returns the bytes sent.

        Where another writer has just done so, theirs is noted, and will do as well.

        Args:
            base: The base, which may go on to other heads meanwhile.
            kind: The kind.

        Raises:
            ConflictError: Another writer has written it, from a commit that we have not seen yet.
            StorageError: It is not known to be written. The state is as safe as before.
        """
        async with self._one_at_a_time.here():
            sent = 0
            await self._sealer.prepare()
            for _ in range(TRIES):
                if base.head.line is None:
                    break  # nothing was ever committed, so there is nothing to write
                with Spool() as spool:
                    try:
                        sealed, mark = await self._seal(base, kind, spool)
                        if sealed is None:
                            await self._fetcher.renew(base, kind)
                            continue
                    except MissingObjectError:
                        await self._places.look(base, kind)  # which raises if theirs is ahead
                        raise
                    self._undecided.remember(mark.commit, Blob(None, sealed.ref, sealed.segments))
                    blob = await self._put(base, kind, sealed)
                sent += sealed.ref.size
                if base.head.has(mark.revision, mark.line, mark.writer):
                    base.note_blob(kind, blob)
                    _read_from(base, kind, sealed, blob)
                    break
                # The store was rolled back meanwhile, and what was just written is of a branch that
                # was given up.
            else:
                raise StorageUnavailableError(
                    f"Object {kind.value!r} changes faster than it can be written anew."
                )
            return sent

    async def _seal(self, base: Base, kind: Kind, spool: Spool) -> tuple[SealedBlob | None, Mark]:
        """Seal the entities of a kind as they are now, in a thread.

        Returns:
            The blob, and its mark. None for the blob: the one that it is made from is gone.
        """
        is_partial = kind in base.partial
        source = await self._fetcher.source_of(base, kind) if is_partial else None
        head, known = base.head, base.blobs.get(kind)
        assert head.line is not None  # noqa: S101 - for mypy: the caller has looked
        mark = Mark(head.revision, head.line, head.writers[-1].writer, self._sealer.new_commit())
        blob = self._sealer.blob(base.identity, kind, mark, spool)
        index = known and known.segments
        if is_partial:
            index = None if source is None else source.index
            if not await self._merge(source, head.parts[kind].differential, blob):
                return None, mark
        else:
            with base.frozen(kind) as frozen:
                await self._offload(blob.add, frozen.in_order())
        ages = Ages(index, head.parts[kind], head.revision)
        return await self._offload(blob.finish, ages), mark

    async def _merge(
        self,
        source: BlobSource | None,
        differential: Mapping[EntityKey, Entry],
        blob: BlobInProgress,
    ) -> bool:
        """Seal the segments of the blob that a kind is read from, with a differential merged in.

        Returns:
            Whether its version was there to the end.
        """
        changes = SortedChanges(differential)
        for first, last in () if source is None else source.batches(BATCH):
            assert source is not None  # noqa: S101 - for mypy
            messages = await self._fetcher.reads.messages(source, first, last)
            if messages is None:
                return False
            merged = _merged(source, first, messages, changes)
            await self._offload(blob.add, merged)
        await self._offload(blob.add, changes.up_to(None))
        return True

    async def _put(self, base: Base, kind: Kind, sealed: SealedBlob) -> Blob:
        """Replace a blob unless there is a newer one, and return the one that is there then."""
        ref = sealed.ref
        known = base.blobs.get(kind)
        etag = known.etag if known is not None else None
        if known is not None and etag is None:  # another writer's, which nobody has looked at
            etag, known = await self._places.look(base, kind)
            if known is None:
                await self._places.check_head(base, kind)
        if known is not None and known.ref.revision > ref.revision:
            return known
        for _ in range(TRIES):
            named = base.head.parts[kind].ref
            if named is not None and named.revision > ref.revision:
                break  # head has gone on meanwhile, and needs a newer one
            place = _BlobTarget(self._places, base, kind, etag)
            written = await self._writer.swap(kind, sealed.body, if_match=etag, target=place)
            if written is not None:
                return self._places.taken(ref.commit, written)
            if place.found.blob is not None:
                return place.found.blob
            await self._places.check_head(base, kind)
            etag = place.found.etag
        raise StorageUnavailableError(f"Object {kind.value!r} changes faster than it can be read.")


class _BlobTarget:
    """Target of a compaction: the object in a blob's place, as it was seen.

    Args:
        places: Reads it.
        base: The base.
        kind: The blob's kind.
        etag: ETag of the object that is to be replaced; None: there is none.

    Attributes:
        found: The object that lies there after a put without a clear answer.
    """

    def __init__(self, places: BlobPlaces, base: Base, kind: Kind, etag: str | None) -> None:
        self.found = PlacedObject(etag, None)
        self._places = places
        self._base = base
        self._kind = kind
        self._etag = etag

    async def settle(self, failure: StorageUnavailableError | None) -> bool:  # noqa: ARG002
        """Learn whose blob is there now, and tell whether it is another object than before."""
        self.found = await self._places.look(self._base, self._kind)
        return self.found.etag != self._etag

    async def refused(self) -> None:
        """Raise the error for a refusal of a condition that holds: it is no conflict."""
        raise StorageUnavailableError(
            f"The storage refused a conditional write of object {self._kind.value!r} that it "
            "should have taken. The state is as safe as before; try again."
        )

    def interrupted(self) -> None:
        """Leave it undecided: a later look finds it by its commit id."""


def _merged(
    source: BlobSource, first: int, messages: list[bytes], changes: SortedChanges
) -> Iterator[tuple[EntityKey, bytes]]:
    """Iterate over the entities of some segments, with the changes up to there merged in."""
    for number, message in enumerate(messages, first):
        for key, value in opened_segment(source, number, message):
            yield from changes.up_to(key)
            if key not in changes:
                yield key, value


def _read_from(base: Base, kind: Kind, sealed: SealedBlob, blob: Blob) -> None:
    """Have a kind that is read on demand read from the blob that was just written."""
    if kind in base.partial and blob.etag is not None and blob.ref.commit == sealed.ref.commit:
        size, version_id = sealed.ref.size, blob.ref.version_id
        source = BlobSource(blob.etag, version_id, sealed.header, size, sealed.segments, sealed.key)
        base.read_from(kind, source)
