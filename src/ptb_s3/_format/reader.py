"""Reader: open the objects of one bot, and put them together to a base. Pure.

DESIGN's rules of reading bind here: which answers make a new store, which blob a head can build on,
and whose objects they are.

The range rule of blobs. A blob holds committed state only, and its revision only grows. So a head
at revision *h*, whose ref for a kind names a blob of revision *r*, can build on any blob of that
kind from *r* to *h*, whichever version the storage gives: the differential holds every entity
changed since *r*, with its last value, and laying it over a newer blob gives the same state::

        revision        r . . . . . . b . . . . . . h
        blob named      |-- all up to r
        blob found      |---- all up to b ----|
        differential      |------- changed after r -----|      found + differential = state at h

===========================  ======================================================================
blob found                   outcome
===========================  ======================================================================
the very one named, by its   taken (also where its line has left head's list)
commit id
from r to h, of a line that  taken: `Head.takes`
head has at that revision
from r to h, another line    of a branch that was given up: `TornReadError`, final; the version
                             that head names is read in its place
newer than h                 a commit may be on its way: `TornReadError`; read again
older than r                 not a writer's doing, since revisions only grow: `TornReadError`
none, and head names one     `TornReadError` for `MissingObjectError`
===========================  ======================================================================
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

from ptb_s3._format import head_pages
from ptb_s3._format.blobs import Blob
from ptb_s3._format.committed import Base, Identity, Stored, ref_of
from ptb_s3._format.container import HEAD, Header
from ptb_s3._format.entities import Entities, Entries, Kind
from ptb_s3._format.head import Head, Part, Ref
from ptb_s3._format.key_source import KeySource, for_history
from ptb_s3._format.openers import NOTHING_STREAMED, BlobOpener, HeadOpener, OpenedHead, Streamed
from ptb_s3._format.unsealer import open_sealed
from ptb_s3._storage.contract import Fetched, Received
from ptb_s3.errors import (
    DamagedObjectError,
    ForeignStoreError,
    MissingObjectError,
    NothingThereError,
    SettingsError,
)


class TornReadError(Exception):
    """Objects that were read one after another do not fit together.

    Another writer may have committed in between, so that a second read succeeds.

    Attributes:
        fault: The error to raise if they never fit.
        kind: Kind whose current object is no base for the head; None: no blob is to blame.
        ref: Blob that head names for that kind, which is a base; None: head needs none.
        final: Whether no commit since can have made it a base: to read it again is no use.
    """

    def __init__(
        self,
        fault: DamagedObjectError,
        kind: Kind | None = None,
        ref: Ref | None = None,
        *,
        final: bool = False,
    ) -> None:
        self.fault = fault
        self.kind = kind
        self.ref = ref
        self.final = final
        super().__init__(fault)


@dataclass(frozen=True, slots=True)
class Reader:
    """Opener of the objects of one bot, which refuses those of another.

    Attributes:
        keys: Gives the keys that open them.
        bot: Telegram id of the bot whose state they must be; None: any bot's.
        serializer: Id of the serializer that must have made the values; None: any.
    """

    keys: KeySource
    bot: int | None = None
    serializer: str | None = None

    @property
    def for_history(self) -> Reader:
        """Return a reader of versions that are not current, which more keys may open."""
        return replace(self, keys=for_history(self.keys))

    def assemble(
        self,
        objects: Mapping[str, Fetched | Received | None],
        randomness: Callable[[int], bytes],
        streamed: Streamed = NOTHING_STREAMED,
    ) -> Base:
        """Put a base together from head and all blobs.

        No object at all makes a new store, at revision 0, of an id drawn here.

        Args:
            objects: The objects by name; None: surely not there. One that was opened while it
                arrived is `Received`.
            randomness: Returns as many random bytes as it is asked for.
            streamed: Objects that were opened while they arrived.

        Raises:
            TornReadError: They do not fit together; read them again before believing it.
            NothingThereError: There is no object, and this reader knows no bot or serializer to
                begin a store for.
            PersistenceError: They cannot be read.
        """
        fetched = objects[HEAD]
        if fetched is None:
            left = [str(name) for name, blob in objects.items() if blob is not None]
            if left:
                reason = f"it is gone, while {', '.join(left)} remain"
                raise TornReadError(MissingObjectError(HEAD, reason))
            if self.bot is None or self.serializer is None:
                raise no_state()
            store = str(uuid.UUID(bytes=randomness(16), version=4))
            return Base(Identity(store, self.serializer), Head(revision=0, commit="", bot=self.bot))
        body = _body_of(fetched)
        opened = streamed.head or OpenedHead(*self.open_head(body), len(body))
        return self.build(opened, fetched.etag, objects, streamed)

    def build(
        self,
        opened: OpenedHead,
        etag: str,
        blobs: Mapping[str, Fetched | Received | None],
        streamed: Streamed = NOTHING_STREAMED,
    ) -> Base:
        """Lay an opened head over the blobs of the kinds that are given.

        Args:
            opened: The head.
            etag: Its ETag.
            blobs: Blobs by kind; None: surely not there. The base has no entities of kinds that
                are left out.
            streamed: Blobs that were opened while they arrived.

        Raises:
            TornReadError: They do not fit together.
        """
        header, head, size = opened
        identity = Identity(header.store, header.serializer)
        base = Base(identity, head, etag, {HEAD: Stored(header, size)})
        for kind, part in head.parts.items():
            if kind in blobs:
                self._place_blob(base, kind, part, blobs[kind], streamed.blobs.get(kind))
                base.lay_differential(kind)
        return base

    def open_head(self, body: bytes) -> tuple[Header, Head]:
        """Open a head of any store and revision, whose bytes are all there."""
        header, pages = open_sealed(HEAD, body, self.keys)
        return header, self.decode_head(header, pages)

    def head_opener(self, size: int) -> HeadOpener:
        """Return an opener of a head of so many bytes, which is about to arrive."""
        return HeadOpener(size, self.keys, self.decode_head)

    def decode_head(self, header: Header, pages: Iterator[bytes]) -> Head:
        """Decode the pages of an authenticated head, and check that it is of this bot.

        Raises:
            DamagedObjectError: They are not what the format says.
            ForeignStoreError: It is of another bot.
            SettingsError: Its values were written with another serializer.
        """
        head = head_pages.decode(
            pages, revision=header.revision, commit=header.commit, count=header.entities
        )
        if header.line != head.line:
            raise DamagedObjectError(HEAD, "its record and its header name two lines")
        if self.bot not in (None, head.bot):
            raise ForeignStoreError(
                "The state in this place belongs to another bot. Give each bot a prefix of its own "
                "(PTB_S3_PREFIX), or use the token of the bot that wrote it. Nothing was changed."
            )
        if self.serializer not in (None, header.serializer):
            raise SettingsError(
                f"The state was written with serializer {header.serializer!r}, and this one is "
                f"{self.serializer!r}. Pass the serializer= that wrote it. Nothing was changed."
            )
        return head

    def open(self, name: str, body: bytes) -> tuple[Header, Head | Entities]:
        """Open any object of any store and revision: a head, or the entities of a blob."""
        if name == HEAD:
            return self.open_head(body)
        opener = self._opened(Kind(name), body)
        return opener.result()

    def open_blob(self, kind: Kind, body: bytes, store: str) -> tuple[Header, Entities]:
        """Open a blob of the given store, of any revision, whose bytes are all there."""
        return self._opened(kind, body).result(store)

    def blob_opener(
        self, kind: Kind, size: int, decoded: Callable[[Entries], None] | None = None
    ) -> BlobOpener:
        """Return an opener of a blob of so many bytes, which is about to arrive.

        Args:
            kind: The blob's kind.
            size: Bytes of the whole object.
            decoded: Called with the entries of each segment as soon as it is authenticated.
        """
        return BlobOpener(kind, size, self.keys, decoded)

    def _opened(self, kind: Kind, body: bytes) -> BlobOpener:
        opener = self.blob_opener(kind, len(body))
        opener.feed(body)
        return opener

    def _place_blob(
        self,
        base: Base,
        kind: Kind,
        part: Part,
        fetched: Fetched | Received | None,
        opener: BlobOpener | None,
    ) -> None:
        """Begin a kind with its blob, by the range rule (see the module's docstring).

        Raises:
            TornReadError: It is no base for this head.
            PersistenceError: It cannot be read.
        """
        if fetched is None:
            if part.ref is not None:
                reason = "it is gone, while head refers to it"
                raise TornReadError(MissingObjectError(kind, reason))
            return
        opener = opener or self._opened(kind, _body_of(fetched))
        header, entities = opener.result(base.identity.store)
        if not base.head.takes(kind, header):
            oldest = part.ref.revision if part.ref else 1
            reason = (
                f"it holds revision {header.revision} of line {header.line}, and head needs one "
                f"from {oldest} to {base.head.revision} of its own lines"
            )
            fault = DamagedObjectError(kind, reason)
            if header.revision < oldest:
                raise TornReadError(fault)  # no writer's doing: a blob's revision only grows
            within = header.revision <= base.head.revision
            raise TornReadError(fault, kind, part.ref, final=within)
        ref = ref_of(header, fetched.version_id, opener.size)
        blob = Blob(fetched.etag, ref, opener.index)
        base.lay_blob(kind, entities, Stored(header, opener.size), blob)


def _body_of(found: Fetched | Received) -> bytes:
    """Return an object's body, of which nothing is left where it was opened on arrival."""
    return found.body if isinstance(found, Fetched) else b""


def no_state() -> NothingThereError:
    """Return the error for a place where no bot has saved any state."""
    return NothingThereError(
        "There is no state here: no bot has saved any. Check PTB_S3_BUCKET and PTB_S3_PREFIX."
    )
