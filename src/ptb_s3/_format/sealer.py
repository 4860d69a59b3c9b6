"""Sealer of heads and blobs: the counterpart of `Reader`.

Rule: nothing leaves here that the reader would refuse. An object that was acknowledged and cannot
be read is lost, so each is opened again before anybody sends it: a broken key source, compressor or
memory chip is an error of this save, not of the next start.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import NamedTuple

from ptb_s3._format import container, head_pages
from ptb_s3._format.committed import Identity
from ptb_s3._format.container import HEAD, Changed, Header
from ptb_s3._format.entities import EntityKey, Kind
from ptb_s3._format.head import Head, Ref
from ptb_s3._format.index import Ages, Index
from ptb_s3._format.key_source import KeySource, SealingKey, key_service, sealing_key
from ptb_s3._format.segments import BlobSealer, BlobUnsealer
from ptb_s3._format.unsealer import Unsealer
from ptb_s3._storage.body import Body
from ptb_s3._storage.spool import Spool
from ptb_s3.errors import DamagedObjectError, UnknownKeyError, UnreadableError


class Mark(NamedTuple):
    """Identity of one object among all of its name, as its header states it.

    Attributes:
        revision: Revision of the commit, or of the state that a blob holds.
        line: Line of that revision.
        writer: Id of the run of a process that made the commit of that revision.
        commit: Id of the attempt to write the object.
    """

    revision: int
    line: str
    writer: str
    commit: str


class SealedBlob(NamedTuple):
    """Blob that was sealed, and is to be sent.

    Attributes:
        ref: Reference for a head, without the version id that only the storage knows.
        segments: Its index.
        body: The object's bytes.
        header: Its header.
        key: Key that opens it.
    """

    ref: Ref
    segments: Index
    body: Body
    header: Header
    key: bytes

    def __repr__(self) -> str:
        return f"SealedBlob({self.ref})"  # without the key


class Sealer:
    """Sealer of one process: encodes, compresses, seals and checks its objects.

    Args:
        keys: Source of the sealing key.
        level: zstd compression level.
        clock: Returns the time, with time zone.
        randomness: Returns the given number of random bytes.

    Attributes:
        key_id: Id of the key that sealed the last object; None before the first one.
    """

    def __init__(
        self,
        keys: KeySource,
        *,
        level: int,
        clock: Callable[[], datetime],
        randomness: Callable[[int], bytes],
    ) -> None:
        self.key_id: str | None = None
        self._keys = keys
        self._level = level
        self._clock = clock
        self._randomness = randomness

    def new_commit(self) -> str:
        """Return a random id for an attempt to write: 32 hex digits."""
        return self._randomness(16).hex()

    def new_writer(self) -> str:
        """Return a random id for a run of this process: 16 hex digits."""
        return self._randomness(8).hex()

    @property
    def asks(self) -> bool:
        """Return whether the sealing key comes from a key service, which has to be asked first."""
        return key_service(self._keys) is not None

    async def prepare(self) -> None:
        """Have a key service hand out the sealing key, unless it has.

        Raises:
            PersistenceError: It does not.
        """
        service = key_service(self._keys)
        if service is not None:
            await service.prepare_sealing()

    def sealing_key_id(self) -> str:
        """Return the id of the key that the next object is sealed with.

        Raises:
            KeyFormatError: The source returns a key that no reader would take.
        """
        return sealing_key(self._keys).key_id

    def head(self, identity: Identity, head: Head) -> tuple[Head, bytes]:
        """Seal a head.

        Args:
            identity: Identity of the store.
            head: The head, as `ptb_s3._format.head.follow` returns it.

        Returns:
            The head with its costs counted and its full pages kept, and the object's bytes.

        Raises:
            UnreadableError: No reader would take the object.
        """
        key = sealing_key(self._keys)
        carried = {id(page.frame) for part in head.parts.values() for page in part.full}
        head, frames = head_pages.encode(head, self._compress, key.key_id)
        last = head.writers[-1]
        mark = Mark(head.revision, head.lines[-1].line, last.writer, head.commit)
        header = self._header(HEAD, identity, mark, head.entries, changed=head.changed)
        with _must_be_readable(HEAD):
            body = self._seal(header, [*frames], key)
            self._check_head(body, frames, carried)
        return head, body

    def blob(self, identity: Identity, kind: Kind, mark: Mark, spool: Spool) -> BlobInProgress:
        """Begin to seal a blob.

        Args:
            identity: Identity of the store.
            kind: Kind of its entities.
            mark: Identity of the object.
            spool: Takes what is sealed. To be closed when the blob is written.
        """
        key = sealing_key(self._keys)
        self.key_id = key.key_id
        header = self._header(kind, identity, mark, 0)
        sealer = BlobSealer(header, key, level=self._level, write=spool.write)
        return BlobInProgress(kind, mark, sealer, spool, self._keys)

    # Reading it again ---------------------------------------------------------------------------

    def _check_head(self, body: bytes, frames: list[bytes], carried: set[int]) -> None:
        """Open a head that was just sealed. Frames of older heads are compared, not decoded."""
        unsealer = Unsealer(HEAD, len(body), self._keys)
        unsealer.feed(body)
        header = unsealer.finish()
        if [*unsealer.frames()] != frames:
            raise DamagedObjectError(HEAD, "its frames are not those that were sealed")
        record, *new = (frame for frame in frames if id(frame) not in carried)
        pages = iter([container.decompress(HEAD, record)])
        head_pages.decode(pages, revision=header.revision, commit=header.commit, count=None)
        for frame in new:
            head_pages.check_page(container.decompress(HEAD, frame))

    # Parts --------------------------------------------------------------------------------------

    def _seal(self, header: Header, frames: list[bytes], key: SealingKey) -> bytes:
        self.key_id = key.key_id
        return container.seal(header, frames, key)

    def _compress(self, page: bytes) -> bytes:
        return container.compress(page, self._level)

    def _header(
        self,
        name: str,
        identity: Identity,
        mark: Mark,
        entities: int,
        *,
        changed: Changed | None = None,
    ) -> Header:
        return Header(
            object=name,
            store=identity.store,
            revision=mark.revision,
            commit=mark.commit,
            created=self._clock(),
            writer=mark.writer,
            line=mark.line,
            key="",  # `seal` fills it in, and the size
            serializer=identity.serializer,
            entities=entities,
            changed=changed,
            size=0,
        )


class BlobInProgress:
    """Blob that is being sealed, a segment at a time.

    Args:
        kind: Kind of its entities.
        mark: Identity of the object.
        sealer: Seals its segments.
        spool: Has what is sealed.
        keys: Open it again.
    """

    def __init__(
        self, kind: Kind, mark: Mark, sealer: BlobSealer, spool: Spool, keys: KeySource
    ) -> None:
        self._kind = kind
        self._mark = mark
        self._sealer = sealer
        self._spool = spool
        self._keys = keys

    def add(self, entities: Iterable[tuple[EntityKey, bytes]]) -> None:
        """Seal further entities, in the order of their keys."""
        self._sealer.add(entities)

    def finish(self, ages: Ages) -> SealedBlob:
        """Seal the rest, and return the blob.

        Args:
            ages: Newest revisions of its segments.

        Raises:
            UnreadableError: No reader would take the object.
        """
        beginning, index = self._sealer.finish(ages)
        body = self._spool.body(beginning)
        with _must_be_readable(self._kind):
            header, key = self._opened_again(body)
        revision, _, _, commit = self._mark
        ref = Ref(revision, None, len(body), index.entities, header.key, commit)
        return SealedBlob(ref, index, body, header, key)

    def _opened_again(self, body: Body) -> tuple[Header, bytes]:
        """Open the blob, a segment at a time, from where it is sent. Return header and key."""
        unsealer = BlobUnsealer(self._kind, len(body), self._keys)
        for piece in body.pieces():
            unsealer.feed(piece)
        return unsealer.finish(), unsealer.key


@contextmanager
def _must_be_readable(name: str) -> Iterator[None]:
    """Report what a reader would refuse as `UnreadableError`."""
    try:
        yield
    except UnknownKeyError as error:
        reason = f"the key source does not open what it has sealed, with key {error.needed}"
    except DamagedObjectError as error:
        reason = error.reason
    else:
        return
    raise UnreadableError(name, reason)
