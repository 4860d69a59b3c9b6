"""The base: what is committed, as far as this process knows. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from ptb_s3._format import entities as _state
from ptb_s3._format.container import Header
from ptb_s3._format.entities import Entities, Kind
from ptb_s3._format.head import Head, Part, Ref


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


def ref_of(header: Header, version_id: str | None, size: int) -> Ref:
    """Return what a head says of a blob that was read."""
    return Ref(header.revision, version_id, size, header.entities, header.key, header.commit)


def overlay(entities: Entities, part: Part) -> None:
    """Lay a kind's differential over the entities of its blob, in place."""
    _state.apply(entities, {key: entry.value for key, entry in part.differential.items()})
