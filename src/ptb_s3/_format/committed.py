"""The base: what is committed, as far as this process knows, put together from objects. Pure.

DESIGN's rules of reading bind here: what makes a new store, which blob a head can build on, and
whose objects they are.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import NamedTuple

from ptb_s3._format import entities as _state
from ptb_s3._format import head_pages
from ptb_s3._format.container import HEAD, Header
from ptb_s3._format.entities import Entities, Entries, Kind
from ptb_s3._format.head import Head, Part, Ref
from ptb_s3._format.key_source import KeySource, for_history
from ptb_s3._format.unsealer import Unsealer, open_sealed
from ptb_s3._storage.contract import Fetched, Received
from ptb_s3.errors import (
    DamagedObjectError,
    ForeignStoreError,
    MissingObjectError,
    NothingThereError,
    SettingsError,
)


class Identity(NamedTuple):
    """Identity of a store, which each of its objects bears.

    Attributes:
        store: Store id.
        serializer: Id of the serializer of its values.
    """

    store: str
    serializer: str


class Stored(NamedTuple):
    """An object that was read: its header, and the bytes of all of it."""

    header: Header
    size: int


class Blob(NamedTuple):
    """A kind's newest blob that we know of.

    Attributes:
        etag: What to hand back to replace it; None where another writer made it, and nobody has
            looked yet.
        ref: What the next head says of it.
    """

    etag: str | None
    ref: Ref


@dataclass(slots=True)
class Base:
    """Snapshot of the last commit that this process has seen.

    Attributes:
        identity: Whose it is.
        head: The last head seen; at revision 0 in a new store.
        etag: Its ETag; None in a new store.
        objects: Header and size of each object, by name, as they were when they were read.
        blobs: Current blob of each kind that has one.
        entities: The committed state.
        misplaced: Kinds whose current object is no base: what head names is.
    """

    identity: Identity
    head: Head
    etag: str | None = None
    objects: dict[str, Stored] = field(default_factory=dict)
    blobs: dict[Kind, Blob] = field(default_factory=dict)
    entities: dict[Kind, Entities] = field(default_factory=lambda: {kind: {} for kind in Kind})
    misplaced: set[Kind] = field(default_factory=set)

    @property
    def unpublished(self) -> bool:
        """Whether a blob was written that the head does not refer to yet."""
        return any(blob.ref != self.head.parts[kind].ref for kind, blob in self.blobs.items())


class MovedError(Exception):
    """Objects that were read one after another do not fit together.

    Attributes:
        fault: What it is if it stays so.
        kind: The kind whose current blob is no base; None: it is about something else.
        ref: The blob that head names for that kind, which is one; None: it needs none.
        final: Whether it stays so: no commit since could have made it one.
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


class Opening:
    """A blob that is opened while it arrives.

    Args:
        kind: Whose blob it is.
        size: Bytes that it is said to have.
        keys: Opens it.
        decoded: Told what is in each page. It is authentic, but not known to be all, or current,
            before `result` has returned.

    Attributes:
        size: The same.
    """

    def __init__(
        self,
        kind: Kind,
        size: int,
        keys: KeySource,
        decoded: Callable[[Entries], None] | None = None,
    ) -> None:
        self.size = size
        self._decoded = decoded
        self._unsealer = Unsealer(kind, size, keys)
        self._decoder = _state.BlobDecoder(kind)
        self._fault: Exception | None = None
        self._result: tuple[Header, Entities] | None = None

    def feed(self, data: bytes) -> None:
        """Open what is complete with these further bytes. What is wrong with it, `result` says."""
        if self._fault is None:
            try:
                self._unsealer.feed(data)
                self._decode()
            except Exception as fault:  # noqa: BLE001 - to be raised in its turn
                self._fault = fault

    def result(self, store: str) -> tuple[Header, Entities]:
        """Authenticate the end; return what it is, if it is a blob of the given store.

        Raises:
            PersistenceError: It is not, or it cannot be opened.
        """
        header = self._unsealer.header
        if header is not None and header.store != store:
            raise ForeignStoreError(
                f"Object {header.object!r} belongs to store {header.store}, and head to {store}. "
                "Nothing was changed. ptb-s3 repair says what can be brought back, and does it."
            )
        if self._fault is not None:
            raise self._fault
        if self._result is None:  # it is asked again where another object did not fit
            try:
                header = self._unsealer.finish()
                self._decode()
                self._result = header, self._decoder.finish(header.entities)
            except DamagedObjectError as fault:
                self._fault = fault
                raise
        return self._result

    def _decode(self) -> None:
        for page in self._unsealer.pages():
            entries = self._decoder.add(page)
            if self._decoded is not None:
                self._decoded(entries)


class HeadOpening:
    """A head that is opened while it arrives: garbage in its place is refused at its first bytes.

    Args:
        size: Bytes that it is said to have.
        reader: Opens it.

    Attributes:
        size: The same.
    """

    def __init__(self, size: int, reader: Reader) -> None:
        self.size = size
        self._reader = reader
        self._unsealer = Unsealer(HEAD, size, reader.keys)

    def feed(self, data: bytes) -> None:
        """Authenticate what is complete with these further bytes.

        Raises:
            PersistenceError: It is none, or cannot be opened. No more of it is worth reading.
        """
        self._unsealer.feed(data)

    def result(self) -> OpenedHead:
        """Authenticate the end, and decode it.

        Raises:
            PersistenceError: It is none, or not one that this reader takes.
        """
        header = self._unsealer.finish()
        return OpenedHead(
            header, self._reader.decode_head(header, self._unsealer.pages()), self.size
        )


class OpenedHead(NamedTuple):
    """A head that was read: its header, what it says, and its bytes."""

    header: Header
    head: Head
    size: int


class Arrived(NamedTuple):
    """Objects of a store that were opened while they arrived.

    Attributes:
        head: The head, if there is one.
        blobs: The blobs, but for their ends.
    """

    head: OpenedHead | None
    blobs: Mapping[Kind, Opening]


NOTHING_YET = Arrived(None, MappingProxyType({}))


@dataclass(frozen=True, slots=True)
class Reader:
    """Opens the objects of one bot.

    Attributes:
        keys: Opens them.
        bot: Id of the bot whose state they must be; None: any bot's.
        serializer: Id of the serializer that must have made the values; None: any.
    """

    keys: KeySource
    bot: int | None = None
    serializer: str | None = None

    @property
    def for_history(self) -> Reader:
        """The same for versions that are not current, which more keys may open."""
        return replace(self, keys=for_history(self.keys))

    def assemble(
        self,
        objects: Mapping[str, Fetched | Received | None],
        randomness: Callable[[int], bytes],
        arrived: Arrived = NOTHING_YET,
    ) -> Base:
        """Put a base together from the six objects (None: definitely not there).

        Args:
            objects: The objects. One that was opened while it arrived is `Received`.
            randomness: Returns as many random bytes as it is asked for.
            arrived: What was opened already.

        Raises:
            MovedError: They do not fit together; read them again before believing it.
            PersistenceError: They cannot be read.
        """
        fetched = objects[HEAD]
        if fetched is None:
            left = [str(name) for name, blob in objects.items() if blob is not None]
            if left:
                reason = f"it is gone, while {', '.join(left)} remain"
                raise MovedError(MissingObjectError(HEAD, reason))
            if self.bot is None or self.serializer is None:
                raise no_state()
            store = str(uuid.UUID(bytes=randomness(16), version=4))
            return Base(Identity(store, self.serializer), Head(revision=0, commit="", bot=self.bot))
        body = _body_of(fetched)
        opened = arrived.head or OpenedHead(*self.open_head(body), len(body))
        return self.build(opened, fetched.etag, objects, arrived)

    def build(
        self,
        opened: OpenedHead,
        etag: str,
        blobs: Mapping[str, Fetched | Received | None],
        arrived: Arrived = NOTHING_YET,
    ) -> Base:
        """Lay an opened head over the blobs of the kinds that are given.

        Raises:
            MovedError: They do not fit together.
        """
        header, head, size = opened
        base = Base(Identity(header.store, header.serializer), head, etag)
        base.objects[HEAD] = Stored(header, size)
        for kind, part in head.parts.items():
            if kind in blobs:
                self._place_blob(base, kind, part, blobs[kind], arrived.blobs.get(kind))
                overlay(base.entities[kind], part)
        return base

    def open_head(self, body: bytes) -> tuple[Header, Head]:
        """Open a head, of whatever revision."""
        header, pages = open_sealed(HEAD, body, self.keys)
        return header, self.decode_head(header, pages)

    def opening_head(self, size: int) -> HeadOpening:
        """Begin to open a head, which is about to arrive; see `HeadOpening`."""
        return HeadOpening(size, self)

    def decode_head(self, header: Header, pages: Iterator[bytes]) -> Head:
        """Decode the pages of an authenticated head, and see that it is of this bot."""
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
        """Open any object, of whatever store and revision."""
        if name == HEAD:
            return self.open_head(body)
        header, pages = open_sealed(name, body, self.keys)
        return header, _state.decode_blob(Kind(name), pages, header.entities)

    def open_blob(self, kind: Kind, body: bytes, store: str) -> tuple[Header, Entities]:
        """Open a blob of the given store, of whatever revision."""
        return self._opened(kind, body).result(store)

    def opening(
        self, kind: Kind, size: int, decoded: Callable[[Entries], None] | None = None
    ) -> Opening:
        """Begin to open a blob, which is about to arrive; see `Opening`."""
        return Opening(kind, size, self.keys, decoded)

    def _opened(self, kind: Kind, body: bytes) -> Opening:
        opening = self.opening(kind, len(body))
        opening.feed(body)
        return opening

    def _place_blob(
        self,
        base: Base,
        kind: Kind,
        part: Part,
        fetched: Fetched | Received | None,
        opening: Opening | None,
    ) -> None:
        if fetched is None:
            if part.ref is not None:
                reason = "it is gone, while head refers to it"
                raise MovedError(MissingObjectError(kind, reason))
            return
        opening = opening or self._opened(kind, _body_of(fetched))
        header, entities = opening.result(base.identity.store)
        if not base.head.takes(kind, header):
            oldest = part.ref.revision if part.ref else 1
            reason = (
                f"it holds revision {header.revision} of line {header.line}, and head needs one "
                f"from {oldest} to {base.head.revision} of its own lines"
            )
            fault = DamagedObjectError(kind, reason)
            if header.revision < oldest:
                raise MovedError(fault)  # no writer's doing: a blob's revision only grows
            within = header.revision <= base.head.revision
            raise MovedError(fault, kind, part.ref, final=within)
        base.objects[kind] = Stored(header, opening.size)
        base.entities[kind] = entities
        base.blobs[kind] = Blob(fetched.etag, ref_of(header, fetched.version_id, opening.size))


def _body_of(found: Fetched | Received) -> bytes:
    """Return an object's body, of which nothing is left where it was opened on arrival."""
    return found.body if isinstance(found, Fetched) else b""


def ref_of(header: Header, version_id: str | None, size: int) -> Ref:
    """Return what a head says of a blob that was read."""
    return Ref(header.revision, version_id, size, header.entities, header.key, header.commit)


def no_state() -> NothingThereError:
    """Return the error for a place where no bot has saved any state."""
    return NothingThereError(
        "There is no state here: no bot has saved any. Check PTB_S3_BUCKET and PTB_S3_PREFIX."
    )


def overlay(entities: Entities, part: Part) -> None:
    """Lay a kind's differential over the entities of its blob, in place."""
    _state.apply(entities, {key: entry.value for key, entry in part.differential.items()})
