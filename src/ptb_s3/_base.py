"""The base: what is committed, as far as this process knows, put together from objects. Pure.

DESIGN's rules of reading bind here: what makes a new store, which blob a head can build on, and
whose objects they are.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from ptb_s3 import _container, _head_pages, _state
from ptb_s3._container import HEAD, Header
from ptb_s3._head import Head, Part, Ref
from ptb_s3._keyring import KeySource
from ptb_s3._state import Entities, Kind
from ptb_s3._store import Fetched
from ptb_s3.errors import (
    DamagedObjectError,
    ForeignStoreError,
    MissingObjectError,
    NothingThereError,
    SettingsError,
)


class Identity(NamedTuple):
    """What all objects of a store have in common.

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
    """What is committed, as far as we know.

    Attributes:
        identity: Whose it is.
        head: The last head seen; at revision 0 in a new store.
        etag: Its ETag; None in a new store.
        objects: Header and size of each object, by name, as they were when they were read.
        blobs: Current blob of each kind that has one.
        entities: The committed state.
    """

    identity: Identity
    head: Head
    etag: str | None = None
    objects: dict[str, Stored] = field(default_factory=dict)
    blobs: dict[Kind, Blob] = field(default_factory=dict)
    entities: dict[Kind, Entities] = field(default_factory=lambda: {kind: {} for kind in Kind})

    @property
    def unpublished(self) -> bool:
        """Whether a blob was written that the head does not refer to yet."""
        return any(blob.ref != self.head.parts[kind].ref for kind, blob in self.blobs.items())


class MovedError(Exception):
    """What was read does not fit together, as when another writer commits between two reads.

    Attributes:
        fault: What it is if it stays so.
    """

    def __init__(self, fault: DamagedObjectError) -> None:
        self.fault = fault
        super().__init__(fault)


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

    def assemble(
        self, objects: Mapping[str, Fetched | None], randomness: Callable[[int], bytes]
    ) -> Base:
        """Put a base together from the six objects (None: definitely not there).

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
        header, head = self.open_head(fetched.body)
        return self.build(header, head, fetched, objects)

    def build(
        self, header: Header, head: Head, fetched: Fetched, blobs: Mapping[str, Fetched | None]
    ) -> Base:
        """Lay an opened head over the blobs of the kinds that are given.

        Raises:
            MovedError: They do not fit together.
        """
        base = Base(Identity(header.store, header.serializer), head, fetched.etag)
        base.objects[HEAD] = Stored(header, len(fetched.body))
        for kind, part in head.parts.items():
            if kind in blobs:
                self._place_blob(base, kind, part, blobs[kind])
                overlay(base.entities[kind], part)
        return base

    def open_head(self, body: bytes) -> tuple[Header, Head]:
        """Open a head, of whatever revision."""
        header, pages = _container.open_sealed(HEAD, body, self.keys)
        head = _head_pages.decode(
            pages, revision=header.revision, commit=header.commit, count=header.entities
        )
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
        return header, head

    def open(self, name: str, body: bytes) -> tuple[Header, Head | Entities]:
        """Open any object, of whatever store and revision."""
        if name == HEAD:
            return self.open_head(body)
        header, pages = _container.open_sealed(name, body, self.keys)
        return header, _state.decode_blob(Kind(name), pages, header.entities)

    def open_blob(self, kind: Kind, body: bytes, store: str) -> tuple[Header, Entities]:
        """Open a blob of the given store, of whatever revision."""
        header, _ = _container.read_header(kind, body)
        if header.store != store:
            raise ForeignStoreError(
                f"Object {kind.value!r} belongs to store {header.store}, and head to {store}. "
                "Bring back the version of it that belongs here. Nothing was changed."
            )
        header, pages = _container.open_sealed(kind, body, self.keys)
        return header, _state.decode_blob(kind, pages, header.entities)

    def _place_blob(self, base: Base, kind: Kind, part: Part, fetched: Fetched | None) -> None:
        if fetched is None:
            if part.ref is not None:
                reason = "it is gone, while head refers to it"
                raise MovedError(MissingObjectError(kind, reason))
            return
        header, entities = self.open_blob(kind, fetched.body, base.identity.store)
        oldest = part.ref.revision if part.ref else 0
        if not oldest <= header.revision <= base.head.revision:
            reason = (
                f"it holds revision {header.revision}, and head needs one from {oldest} "
                f"to {base.head.revision}"
            )
            raise MovedError(DamagedObjectError(kind, reason))
        base.objects[kind] = Stored(header, len(fetched.body))
        base.entities[kind] = entities
        size = len(fetched.body)
        ref = Ref(header.revision, fetched.version_id, size, header.entities, header.key)
        base.blobs[kind] = Blob(fetched.etag, ref)


def no_state() -> NothingThereError:
    """Return the error for a place where no bot has saved any state."""
    return NothingThereError(
        "There is no state here: no bot has saved any. Check PTB_S3_BUCKET and PTB_S3_PREFIX."
    )


def overlay(entities: Entities, part: Part) -> None:
    """Lay a kind's differential over the entities of its blob, in place."""
    _state.apply(entities, {key: entry.value for key, entry in part.differential.items()})
