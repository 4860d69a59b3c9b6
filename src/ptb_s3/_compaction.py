"""Write a kind's blob anew: when it pays, and how it is settled whose blob is there then.

A blob holds only committed state, and its revision only grows. It is off the commit path: a crash
before a head refers to it loses nothing, since any blob between the one that head refers to and
head itself gives the same state.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from itertools import islice
from typing import ParamSpec, Protocol, TypeVar

from ptb_s3 import _container, _head
from ptb_s3._base import Base, Blob, Reader
from ptb_s3._container import MAX_PREAMBLE
from ptb_s3._guarded import Guarded
from ptb_s3._head import Ref
from ptb_s3._locks import LoopLock
from ptb_s3._sealer import Sealer
from ptb_s3._state import Entities, Kind
from ptb_s3._store import PreconditionFailed, Store, Written
from ptb_s3.errors import ConflictError, StorageUnavailableError

# Each further try follows a change of the object behind our back.
TRIES = 3

# Entities that are copied in one tick of the loop: about 1 ms.
COPIED_AT_ONCE = 5_000
# How many times their size in a blob the values of bots take unpacked, or less.
_RATIO = 4

_LOGGER = logging.getLogger("ptb_s3")
_P = ParamSpec("_P")
_R = TypeVar("_R")


class Offload(Protocol):
    """Runs long work somewhere else, such as `asyncio.to_thread`."""

    def __call__(
        self, work: Callable[_P, _R], /, *args: _P.args, **kwargs: _P.kwargs
    ) -> Awaitable[_R]:
        """Run it and give what it returns."""
        ...


def due(base: Base, sealing: str | None, *, alone: bool) -> list[Kind]:
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
        if retired or (not waiting and _head.due(part)):
            kinds.append(kind)
    return kinds


def worth_flushing(base: Base) -> list[tuple[int, Kind]]:
    """Return the kinds with a differential, each after about how many bytes have to be packed."""
    return sorted(
        (_unpacked(base, kind), kind)
        for kind, part in base.head.parts.items()
        if part.has_changed and (kind not in base.blobs or base.blobs[kind].ref == part.ref)
    )


def _unpacked(base: Base, kind: Kind) -> int:
    # Not added up where it can be told: a million values take a tenth of a second, on the loop.
    blob = base.blobs.get(kind)
    return blob.ref.size * _RATIO if blob else sum(map(len, base.entities[kind].values()))


class Compactor:
    """Writes blobs, one at a time.

    Args:
        store: Where they lie.
        guarded: The same, to write to.
        reader: Opens those of other writers.
        sealer: Makes them.
        offload: Runs that, which would hold up the event loop.
    """

    def __init__(
        self, store: Store, guarded: Guarded, reader: Reader, sealer: Sealer, offload: Offload
    ) -> None:
        self._store = store
        self._guarded = guarded
        self._reader = reader
        self._sealer = sealer
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
            revision, parts = await _snapshot(base, kind)
            replaced = base.blobs.get(kind)
            commit = self._sealer.new_commit()
            ref, body = await self._offload(
                self._sealer.blob, base.identity, kind, revision, commit, parts
            )
            self._undecided[commit] = ref
            blob = await self._put(base, kind, replaced, ref, body=body, commit=commit)
            known = base.blobs.get(kind)  # head may have gone on meanwhile
            if known is None or known.ref.revision <= blob.ref.revision:
                base.blobs[kind] = blob
            _LOGGER.debug("Wrote blob %s: revision %d, %d bytes", kind, revision, len(body))
            return len(body)

    async def _put(
        self, base: Base, kind: Kind, blob: Blob | None, ref: Ref, *, body: bytes, commit: str
    ) -> Blob:
        """Replace a blob, unless there is a newer one; return the one that is there then."""
        for _ in range(TRIES):
            if blob is not None and blob.etag is None:
                blob = await self._settle(base, kind, blob)
            if blob is not None and blob.ref.revision > ref.revision:
                return blob
            try:
                written = await self._guarded.put(kind, body, if_match=blob and blob.etag)
                return self._written(commit, written)
            except (PreconditionFailed, StorageUnavailableError) as failure:
                settled = await self._settle(base, kind, blob)
                if settled == blob:
                    raise _refused(kind, failure) from None
            if settled is not None and _is_base_of(base, kind, settled):
                return settled
            blob = settled  # deleted, or an older one put back: all of it is in memory
        raise StorageUnavailableError(f"Object {kind.value!r} changes faster than it can be read.")

    async def _settle(self, base: Base, kind: Kind, blob: Blob | None) -> Blob | None:
        """Learn whose blob is there now: ours, from this or an earlier try, or another writer's."""
        fetched = await self._store.get(kind, first_bytes=MAX_PREAMBLE)
        if fetched is None:
            return None
        if blob is not None and fetched.etag == blob.etag:
            return blob
        header, _ = _container.read_header(kind, fetched.body)
        if header.commit in self._undecided:
            return self._written(header.commit, Written(fetched.etag, fetched.version_id))
        return await self._read(base, kind)

    async def _read(self, base: Base, kind: Kind) -> Blob | None:
        """Open another writer's blob: head is to refer to nothing that nobody can read."""
        fetched = await self._store.get(kind)
        if fetched is None:
            return None
        store = base.identity.store
        header, _ = await self._offload(self._reader.open_blob, kind, fetched.body, store)
        if header.revision > base.head.revision:
            raise ConflictError(
                f"Another writer has written object {kind.value!r} from a commit that has not been "
                "seen here yet. Nothing was overwritten."
            )
        size = len(fetched.body)
        ref = Ref(header.revision, fetched.version_id, size, header.entities, header.key)
        return Blob(fetched.etag, ref)

    def _written(self, commit: str, written: Written) -> Blob:
        ref = self._undecided.pop(commit)
        return Blob(
            written.etag, Ref(ref.revision, written.version_id, ref.size, ref.entities, ref.key)
        )


async def _snapshot(base: Base, kind: Kind) -> tuple[int, list[Entities]]:
    """Copy a kind's committed entities, in parts; return whose state that is, and the parts."""
    for _ in range(TRIES):
        revision, parts = base.head.revision, list[Entities]()
        entries = iter(base.entities[kind].items())
        while base.head.revision == revision:
            part = dict(islice(entries, COPIED_AT_ONCE))
            if not part:
                return revision, parts
            parts.append(part)
            await asyncio.sleep(0)
        # Something was committed meanwhile, and the copy is of neither state.
    return base.head.revision, [dict(base.entities[kind])]


def _is_base_of(base: Base, kind: Kind, blob: Blob) -> bool:
    needed = base.head.parts[kind].ref
    return needed is None or blob.ref.revision >= needed.revision


def _refused(kind: Kind, failure: Exception) -> Exception:
    if not isinstance(failure, PreconditionFailed):
        return failure
    return StorageUnavailableError(
        f"The storage refused a conditional write of object {kind.value!r} that it should have "
        "taken. The state is as safe as before; try again."
    )
