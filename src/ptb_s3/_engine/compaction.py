"""Write a kind's blob anew: when it pays, and how it is settled whose blob is there then.

A blob holds only committed state, and its revision only grows. It is off the commit path: a crash
before a head refers to it loses nothing, since any blob between the one that head refers to and
head itself gives the same state.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from itertools import islice
from typing import NamedTuple

import msgspec

from ptb_s3._engine.context import EngineContext
from ptb_s3._engine.loop_locks import LoopLock
from ptb_s3._format import container
from ptb_s3._format import head as _head
from ptb_s3._format.committed import Base, Blob, ref_of
from ptb_s3._format.container import HEAD, MAX_PREAMBLE
from ptb_s3._format.entities import Entities, Kind
from ptb_s3._format.head import Head, Ref
from ptb_s3._format.sealer import Mark
from ptb_s3._storage.conditional import current_etag
from ptb_s3._storage.contract import PreconditionFailed, Written
from ptb_s3._storage.threads import Offload
from ptb_s3.errors import (
    ConflictError,
    DamagedObjectError,
    ForeignStoreError,
    StorageUnavailableError,
)

# Each further try follows a change of the object behind our back.
TRIES = 3

# Entities that are copied in one tick of the loop: about 1 ms.
COPIED_AT_ONCE = 5_000
# How many times their size in a blob the values of bots take unpacked, or less.
_RATIO = 4

_LOGGER = logging.getLogger("ptb_s3")


def due(base: Base, sealing: str, *, alone: bool) -> list[Kind]:
    """Return the kinds whose blobs should be written anew: it pays, or their key is retired.

    Args:
        base: What is committed.
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
    """Return kinds, each after about how many bytes have to be packed for its blob."""
    return sorted((_unpacked(base, kind), kind) for kind in kinds)


def _unpacked(base: Base, kind: Kind) -> int:
    # Not added up where it can be told: a million values take a tenth of a second, on the loop.
    blob = base.blobs.get(kind)
    return blob.ref.size * _RATIO if blob else sum(map(len, base.entities[kind].values()))


class _Found(NamedTuple):
    """What lies in a blob's place.

    Attributes:
        etag: Its ETag; None: nothing is there.
        blob: The same, if the differential can build on it; None: it cannot.
    """

    etag: str | None
    blob: Blob | None


class Compactor:
    """Writes blobs, one at a time.

    Args:
        context: What it works with.
        offload: Makes them, which would hold up the event loop.
    """

    def __init__(self, context: EngineContext, offload: Offload) -> None:
        self._store = context.store
        self._conditional = context.conditional_store
        self._reader = context.reader
        self._sealer = context.sealer
        self._offload = offload
        self._undecided: dict[str, Ref] = {}
        self._one_at_a_time = LoopLock()

    async def compact(self, base: Base, kind: Kind) -> int:
        """Write a kind's blob anew, and note it in the base; return the bytes sent.

        Where another writer has just done so, theirs is noted, and will do as well.

        Raises:
            ConflictError: Another writer has written it, from a commit that we have not seen yet.
            StorageError: It is not known to be written. The state is as safe as before.
        """
        async with self._one_at_a_time.here():
            sent = 0
            for _ in range(TRIES):
                head, parts = await _snapshot(base, kind)
                if head.line is None:
                    break  # nothing was ever committed, so there is nothing to write
                writer, commit = head.writers[-1].writer, self._sealer.new_commit()
                mark = Mark(head.revision, head.line, writer, commit)
                ref, body = await self._offload(self._sealer.blob, base.identity, kind, mark, parts)
                self._undecided[ref.commit] = ref
                blob = await self._put(base, kind, ref, body)
                sent += len(body)
                if base.head.has(mark.revision, mark.line, mark.writer):
                    _note(base, kind, blob)
                    break
                # The store was rolled back meanwhile, and what was just written is of a branch that
                # was given up.
            return sent

    async def _put(self, base: Base, kind: Kind, ref: Ref, body: bytes) -> Blob:
        """Replace a blob, unless there is a newer one; return the one that is there then."""
        known = base.blobs.get(kind)
        etag = known.etag if known is not None else None
        if known is not None and etag is None:  # another writer's, at which nobody has looked
            etag, known = await self._look(base, kind)
            if known is None:
                await self._check_head(base, kind)
        if known is not None and known.ref.revision > ref.revision:
            return known
        for _ in range(TRIES):
            named = base.head.parts[kind].ref
            if named is not None and named.revision > ref.revision:
                break  # head has gone on meanwhile, and needs a newer one
            try:
                written = await self._conditional.put(kind, body, if_match=etag)
                return self._written(ref.commit, written)
            except (PreconditionFailed, StorageUnavailableError) as failure:
                found = await self._look(base, kind)
                if found.etag == etag:
                    raise _refused(kind, failure) from None
            if found.blob is not None:
                return found.blob
            await self._check_head(base, kind)
            etag = found.etag
        raise StorageUnavailableError(f"Object {kind.value!r} changes faster than it can be read.")

    async def _look(self, base: Base, kind: Kind) -> _Found:
        """Learn whose blob is there now: ours, from this or an earlier try, or another writer's.

        Raises:
            ConflictError: Another writer has made it of a commit that was not seen here yet.
        """
        fetched = await self._store.get(kind, first_bytes=MAX_PREAMBLE)
        if fetched is None:
            return _Found(None, None)
        try:
            header, _ = container.read_header(kind, fetched.body)
            if header.commit in self._undecided:
                blob = self._written(header.commit, Written(fetched.etag, fetched.version_id))
                # One that was sent before head was put back is of a branch that was given up.
                return _Found(fetched.etag, blob if base.head.takes(kind, header) else None)
            return await self._read(base, kind)
        except (DamagedObjectError, ForeignStoreError):
            return _Found(fetched.etag, None)

    async def _read(self, base: Base, kind: Kind) -> _Found:
        """Open another writer's blob: head is to refer to nothing that nobody can read."""
        fetched = await self._store.get(kind)
        if fetched is None:
            return _Found(None, None)
        store = base.identity.store
        header, _ = await self._offload(self._reader.open_blob, kind, fetched.body, store)
        # Newer than head is what stayed when head alone was put back, too.
        if header.revision > base.head.revision and not await self._is_current(base):
            raise ConflictError(
                f"Another writer has written object {kind.value!r} from a commit that has not been "
                "seen here yet. Nothing was overwritten."
            )
        if base.head.takes(kind, header):  # which may have gone on meanwhile
            ref = ref_of(header, fetched.version_id, len(fetched.body))
            return _Found(fetched.etag, Blob(fetched.etag, ref))
        return _Found(fetched.etag, None)

    async def _check_head(self, base: Base, kind: Kind) -> None:
        """Make sure that what is in memory is the current state before it replaces what is no blob.

        Raises:
            ConflictError: It is not.
        """
        if not await self._is_current(base):
            raise ConflictError(
                f"Object {kind.value!r} is gone, damaged or of another state, and head has changed "
                "as well, so that it was left as it is. Nothing was overwritten."
            )
        _LOGGER.warning(
            "Object %r was gone, damaged or of another state than head. All of it is in memory, "
            "and it is written anew.",
            kind.value,
        )

    async def _is_current(self, base: Base) -> bool:
        etag = await current_etag(self._store, HEAD, known=base.etag)
        return etag is not None and etag == base.etag  # which may be another by now

    def _written(self, commit: str, written: Written) -> Blob:
        ref = self._undecided.pop(commit)
        return Blob(written.etag, msgspec.structs.replace(ref, version_id=written.version_id))


def _note(base: Base, kind: Kind, blob: Blob) -> None:
    known = base.blobs.get(kind)  # head may have gone on meanwhile
    if known is None or known.ref.revision <= blob.ref.revision:
        base.blobs[kind] = blob
    base.misplaced.discard(kind)


async def _snapshot(base: Base, kind: Kind) -> tuple[Head, list[Entities]]:
    """Copy a kind's committed entities, in parts; return which state that is, and the parts."""
    for _ in range(TRIES):
        head, parts = base.head, list[Entities]()
        entries = iter(base.entities[kind].items())
        while base.head is head:
            part = dict(islice(entries, COPIED_AT_ONCE))
            if not part:
                return head, parts
            parts.append(part)
            await asyncio.sleep(0)
        # Something was committed meanwhile, and the copy is of neither state.
    return base.head, [dict(base.entities[kind])]


def _refused(kind: Kind, failure: Exception) -> Exception:
    if not isinstance(failure, PreconditionFailed):
        return failure
    return StorageUnavailableError(
        f"The storage refused a conditional write of object {kind.value!r} that it should have "
        "taken. The state is as safe as before; try again."
    )
