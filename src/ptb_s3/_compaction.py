"""Write a kind's blob anew: when it pays, and how it is settled whose blob is there then.

A blob holds only committed state, and its revision only grows. It is off the commit path: a crash
before a head refers to it loses nothing, since any blob between the one that head refers to and
head itself gives the same state.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import ParamSpec, Protocol, TypeVar

from ptb_s3 import _container, _head
from ptb_s3._base import Base, Blob
from ptb_s3._container import MAX_PREAMBLE
from ptb_s3._head import Ref
from ptb_s3._sealer import Sealer
from ptb_s3._state import Kind
from ptb_s3._store import PreconditionFailed, Store, Written
from ptb_s3.errors import ConflictError, StorageUnavailableError

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


def due(base: Base, sealing: str | None) -> list[Kind]:
    """Return the kinds whose blobs should be written anew: it pays, or their key is retired.

    Args:
        base: What is committed.
        sealing: Id of the key that seals.
    """
    kinds = []
    for kind, part in base.head.parts.items():
        blob = base.blobs.get(kind)
        waiting = blob is not None and blob.ref != part.ref  # for the next head to refer to it
        retired = blob is not None and blob.ref.key != sealing
        if retired or (not waiting and _head.due(part)):
            kinds.append(kind)
    return kinds


def worth_flushing(base: Base) -> list[tuple[int, Kind]]:
    """Return the kinds with a differential, each after about how many bytes its blob takes."""
    return sorted(
        (sum(map(len, base.entities[kind].values())), kind)
        for kind, part in base.head.parts.items()
        if part.differential and (kind not in base.blobs or base.blobs[kind].ref == part.ref)
    )


class Compactor:
    """Writes blobs, one at a time.

    Args:
        store: Where they lie.
        sealer: Makes them.
        offload: Runs that, which would hold up the event loop.
    """

    def __init__(self, store: Store, sealer: Sealer, offload: Offload) -> None:
        self._store = store
        self._sealer = sealer
        self._offload = offload
        self._undecided: dict[str, Ref] = {}
        self._one_at_a_time = asyncio.Lock()

    async def compact(self, base: Base, kind: Kind) -> int:
        """Write a kind's blob anew, and note it in the base; return its bytes.

        Raises:
            ConflictError: Another writer has written it.
            StorageError: It is not known to be written. The state is as safe as before.
        """
        async with self._one_at_a_time:
            # Both in one step of the loop, so that they belong together.
            revision, entities = base.head.revision, dict(base.entities[kind])
            commit = self._sealer.new_commit()
            ref, body = await self._offload(
                self._sealer.blob, base.identity, kind, revision, commit, entities
            )
            self._undecided[commit] = ref
            base.blobs[kind] = await self._put(kind, base.blobs.get(kind), body, commit)
            _LOGGER.debug("Wrote blob %s: revision %d, %d bytes", kind, revision, len(body))
            return len(body)

    async def _put(self, kind: Kind, blob: Blob | None, body: bytes, commit: str) -> Blob:
        try:
            written = await self._store.put(kind, body, if_match=blob and blob.etag)
        except PreconditionFailed:
            settled = await self._settle(kind, blob)
            if settled is not None and settled != blob:
                return settled
            if settled is not None or blob is None:
                raise StorageUnavailableError(
                    f"The storage refused a conditional write of object {kind.value!r} that it "
                    "should have taken. The state is as safe as before; try again."
                ) from None
            # It was deleted behind our back. All of it is in memory: this is how it comes back.
            written = await self._store.put(kind, body, if_match=None)
        except StorageUnavailableError:
            settled = await self._settle(kind, blob)
            if settled is None or settled == blob:
                raise
            return settled
        return self._written(commit, written)

    async def _settle(self, kind: Kind, blob: Blob | None) -> Blob | None:
        """Learn whose blob is there now: ours, from this or an earlier try, or a stranger's."""
        fetched = await self._store.get(kind, first_bytes=MAX_PREAMBLE)
        if fetched is None:
            return None
        if blob is not None and fetched.etag == blob.etag:
            return blob
        header, _ = _container.read_header(kind, fetched.body)
        if header.commit not in self._undecided:
            raise ConflictError(f"Another writer has written object {kind.value!r}.")
        return self._written(header.commit, Written(fetched.etag, fetched.version_id))

    def _written(self, commit: str, written: Written) -> Blob:
        ref = self._undecided.pop(commit)
        return Blob(
            written.etag, Ref(ref.revision, written.version_id, ref.size, ref.entities, ref.key)
        )
