"""Places of blobs: the objects that lie there, whose they are, and whether they will do."""

from __future__ import annotations

import logging
from typing import NamedTuple

import msgspec

from ptb_s3._engine.conditional_writer import Undecided
from ptb_s3._engine.context import EngineContext
from ptb_s3._engine.fetching import Fetcher
from ptb_s3._format import container
from ptb_s3._format.blobs import Blob
from ptb_s3._format.committed import Base, ref_of
from ptb_s3._format.container import HEAD, MAX_PREAMBLE, Header
from ptb_s3._format.entities import Kind
from ptb_s3._storage.conditional import current_etag
from ptb_s3._storage.contract import Written
from ptb_s3._storage.threads import Offload
from ptb_s3.errors import ConflictError, DamagedObjectError, ForeignStoreError

_LOGGER = logging.getLogger("ptb_s3")


class PlacedObject(NamedTuple):
    """Object that lies in a blob's place.

    Attributes:
        etag: Its ETag; None: nothing is there.
        blob: The same, if the differential can build on it; None: it cannot.
    """

    etag: str | None
    blob: Blob | None


class BlobPlaces:
    """Reader of the objects that lie in the places of blobs.

    Args:
        context: Store and reader.
        offload: Opens them outside the event loop.
        undecided: Blobs that were sent, by commit id.
        fetcher: Opens the indexes of kinds that are read on demand.
    """

    def __init__(
        self,
        context: EngineContext,
        offload: Offload,
        undecided: Undecided[Blob],
        fetcher: Fetcher,
    ) -> None:
        self._fetcher = fetcher
        self._store = context.store
        self._reader = context.reader
        self._offload = offload
        self._undecided = undecided

    async def look(self, base: Base, kind: Kind) -> PlacedObject:
        """Learn whose blob is there now: ours, from this or an earlier try, or another writer's.

        Raises:
            ConflictError: Another writer has made it of a commit that was not seen here yet.
        """
        fetched = await self._store.get(kind, first_bytes=MAX_PREAMBLE)
        if fetched is None:
            return PlacedObject(None, None)
        try:
            header, _ = container.read_header(kind, fetched.body)
            if header.commit in self._undecided:
                blob = self.taken(header.commit, Written(fetched.etag, fetched.version_id))
                # One that was sent before head was put back is of a branch that was given up.
                return PlacedObject(fetched.etag, blob if base.head.takes(kind, header) else None)
            return await self._read(base, kind)
        except (DamagedObjectError, ForeignStoreError):
            return PlacedObject(fetched.etag, None)

    async def _read(self, base: Base, kind: Kind) -> PlacedObject:
        """Open another writer's blob: head is to refer to nothing that nobody can read.

        Of a kind that is read on demand, its index: all of it may not fit into memory.
        """
        if kind in base.partial:
            found = await self._fetcher.lying(kind, base.identity.store)
        else:
            found = await self._read_whole(base, kind)
        if found is None:
            return PlacedObject(None, None)
        header, blob = found
        # Where head alone was put back, too, the blob that stayed is newer than head.
        if header.revision > base.head.revision and not await self._is_current(base):
            raise ConflictError(
                f"Another writer has written object {kind.value!r} from a commit that has not been "
                "seen here yet. Nothing was overwritten."
            )
        takes = base.head.takes(kind, header)  # head may have gone on meanwhile
        return PlacedObject(blob.etag, blob if takes else None)

    async def _read_whole(self, base: Base, kind: Kind) -> tuple[Header, Blob] | None:
        fetched = await self._store.get(kind)
        if fetched is None:
            return None
        store = base.identity.store
        header, _ = await self._offload(self._reader.open_blob, kind, fetched.body, store)
        ref = ref_of(header, fetched.version_id, len(fetched.body))
        return header, Blob(fetched.etag, ref)

    async def check_head(self, base: Base, kind: Kind) -> None:
        """Check that this is the current state, before it replaces an object that is no base.

        Raises:
            ConflictError: It does not.
        """
        if not await self._is_current(base):
            raise ConflictError(
                f"Object {kind.value!r} is gone, damaged or of another state, and head has changed "
                "as well, so that it was left as it is. Nothing was overwritten."
            )
        _LOGGER.warning(
            "Object %r was gone, damaged or of another state than head. All of it is at hand, "
            "and it is written anew.",
            kind.value,
        )

    async def _is_current(self, base: Base) -> bool:
        etag = await current_etag(self._store, HEAD, known=base.etag)
        return etag is not None and etag == base.etag  # which may be another by now

    def taken(self, commit: str, written: Written) -> Blob:
        """Return a blob of ours that took effect, with the version that the storage gave it."""
        _, ref, index = self._undecided.take(commit)
        ref = msgspec.structs.replace(ref, version_id=written.version_id)
        return Blob(written.etag, ref, index)
