"""Base: the committed state of a store, as far as this process knows. Pure.

Rule: whoever has a base may look at all of it, and only the methods of `Base` change it. Each of
them is one event:

==================================  ==============================================
event                               method
==================================  ==============================================
a load opens the objects            `Base.lay_blob`, `Base.lay_differential`
a commit of ours took effect        `Base.advance`, and `Base.apply` for its changes
another writer's commit is taken    `Base.take_over`, and `Base.apply` for its changes
the same head is another object     `Base.take_copy`
a blob was written, or found        `Base.note_blob`
an object is no base for the head   `Base.misplace`, and `Base.note_rewritten` once it is replaced
the state is written over a loss    `Base.note_current`, `Base.continue_from`
==================================  ==============================================

The entities are not copied with each commit (there may be a million), which is why a base changes
in place rather than being replaced by the next one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from types import MappingProxyType
from typing import NamedTuple

from ptb_s3._format import entities as _state
from ptb_s3._format.blobs import Blob, BlobSource, PartialKind, UnknownEntityError
from ptb_s3._format.container import Header
from ptb_s3._format.entities import Entities, EntityKey, Kind
from ptb_s3._format.frozen import FrozenEntities
from ptb_s3._format.head import Head, Part, Ref
from ptb_s3.errors import DamagedObjectError


class Identity(NamedTuple):
    """Identity of a store, which the header of each of its objects names.

    Attributes:
        store: Store id: a random UUID, drawn with the first commit.
        serializer: Id of the serializer of its values.
    """

    store: str
    serializer: str


class Stored(NamedTuple):
    """Header and size of an object that was read.

    Attributes:
        header: Its header, authenticated.
        size: Bytes of the whole object.
    """

    header: Header
    size: int


class Base:
    """Snapshot of the last commit that this process has seen.

    Invariant: `entities` is the state of `head`, and any blob in `blobs` is one that `head` takes,
    but for those of kinds in `misplaced`.

    Args:
        identity: Store and serializer.
        head: The head; at revision 0 in a new store.
        etag: ETag of its object; None in a new store.
        objects: Header and size of each object that was read, by name.
        blobs: Blob of each kind that has one.
        entities: The state; None: empty. These very dicts are kept, and changed.
    """

    __slots__ = (
        *("_blobs", "_entities", "_etag", "_frozen", "_head", "_identity", "_misplaced"),
        *("_objects", "_partial", "_view"),
    )

    def __init__(
        self,
        identity: Identity,
        head: Head,
        etag: str | None = None,
        objects: Mapping[str, Stored] | None = None,
        *,
        blobs: Mapping[Kind, Blob] | None = None,
        entities: Mapping[Kind, Entities] | None = None,
    ) -> None:
        self._identity = identity
        self._head = head
        self._etag = etag
        self._objects = dict(objects or {})
        self._blobs = dict(blobs or {})
        self._entities = {kind: {} for kind in Kind} if entities is None else dict(entities)
        self._view = MappingProxyType(self._entities)  # made once: it is asked for per entity
        self._misplaced: set[Kind] = set()
        self._frozen: dict[Kind, list[FrozenEntities]] = {kind: [] for kind in Kind}
        self._partial: dict[Kind, PartialKind] = {}

    @property
    def identity(self) -> Identity:
        """Return the store and its serializer."""
        return self._identity

    @property
    def head(self) -> Head:
        """Return the last head seen, at revision 0 in a new store."""
        return self._head

    @property
    def etag(self) -> str | None:
        """Return the ETag that the next head is to replace, or None in a new store."""
        return self._etag

    @property
    def objects(self) -> Mapping[str, Stored]:
        """Return header and size of each object, by name, as of when it was read."""
        return MappingProxyType(self._objects)

    @property
    def blobs(self) -> Mapping[Kind, Blob]:
        """Return the newest known blob of each kind that has one."""
        return MappingProxyType(self._blobs)

    @property
    def entities(self) -> Mapping[Kind, Entities]:
        """Return the committed entities by kind: the base's own dicts, not to be changed."""
        return self._view

    @property
    def misplaced(self) -> AbstractSet[Kind]:
        """Return the kinds whose current object is no base for `head`, and is to be rewritten."""
        return frozenset(self._misplaced)

    @property
    def unpublished(self) -> bool:
        """Return whether a blob was written that `head` does not refer to yet."""
        return any(blob.ref != self._head.parts[kind].ref for kind, blob in self._blobs.items())

    # Kinds that are read on demand --------------------------------------------------------------

    @property
    def partial(self) -> Mapping[Kind, PartialKind]:
        """Return the kinds of which entities are read when they are asked for."""
        return MappingProxyType(self._partial)

    def knows(self, kind: Kind, key: EntityKey) -> bool:
        """Tell whether it is known if there is an entity, and what its bytes are.

        Of what is no key, it is: there is none.
        """
        partial = self._partial.get(kind)
        if partial is None or key in self._entities[kind] or partial.has_not(key):
            return True
        return not _state.is_key(kind, key)

    def get(self, kind: Kind, key: EntityKey) -> bytes | None:
        """Return the bytes of an entity, or None if there is none.

        Raises:
            UnknownEntityError: It has to be read first.
        """
        value = self._entities[kind].get(key)
        if value is None and not self.knows(kind, key):
            raise UnknownEntityError(kind.value)
        return value

    def count_after(self, kind: Kind, changes: Mapping[EntityKey, bytes | None]) -> int:
        """Return how many entities of a kind there are once changes are made, none of them new.

        Raises:
            UnknownEntityError: One of them has to be read first.
        """
        entities = self._entities[kind]
        before = self._head.parts[kind].entities if kind in self._partial else len(entities)
        gone = sum(self.get(kind, key) is not None for key in changes)
        return before - gone + sum(value is not None for value in changes.values())

    def lay_partial(self, kind: Kind, source: BlobSource | None) -> None:
        """Begin a kind whose entities are read when they are asked for.

        Args:
            kind: The kind.
            source: Blob that the head takes; None: there is none, and nothing to read.
        """
        self._partial[kind] = PartialKind(source)
        if source is not None:
            self._objects[kind] = Stored(source.header, source.size)
            ref = ref_of(source.header, source.version_id, source.size)
            self._blobs[kind] = Blob(source.etag, ref, source.index)
        self.learn(kind, {k: e.value for k, e in self._head.parts[kind].differential.items()})

    def learn(self, kind: Kind, found: Mapping[EntityKey, bytes | None]) -> None:
        """Note entities of a partial kind that were read: None is one that there is not."""
        _state.apply(self._entities[kind], found)
        self._partial[kind].note(found)

    def read_from(self, kind: Kind, source: BlobSource) -> None:
        """Note where a partial kind is read from, from now on: a blob that the head takes."""
        self._partial[kind].source = source

    # Reading ------------------------------------------------------------------------------------

    def lay_blob(self, kind: Kind, entities: Entities, stored: Stored, blob: Blob) -> None:
        """Begin a kind with the entities of a blob that the head takes.

        Args:
            kind: The kind.
            entities: All entities of the blob; kept, and changed from now on.
            stored: Its header and size.
            blob: Its ETag and reference.
        """
        self._entities[kind] = entities
        self._objects[kind] = stored
        self._blobs[kind] = blob

    def lay_differential(self, kind: Kind) -> None:
        """Lay the head's differential of a kind over its entities.

        Raises:
            DamagedObjectError: There are more or fewer then than the head counts.
        """
        part, entities = self._head.parts[kind], self._entities[kind]
        overlay(entities, part)
        if len(entities) != part.entities:
            reason = f"it and head make {len(entities)} entities, and head counts {part.entities}"
            raise DamagedObjectError(kind, reason)

    def misplace(self, kinds: Collection[Kind]) -> None:
        """Note that the current objects of kinds are not the blobs that were read.

        Whatever lies there has another ETag than the version that was read in its place, so the
        next compaction looks at it first.
        """
        for kind in self._blobs.keys() & set(kinds):
            self._blobs[kind] = self._blobs[kind]._replace(etag=None)
        self._misplaced.update(kinds)

    # Committing ---------------------------------------------------------------------------------

    def apply(self, kind: Kind, changes: Mapping[EntityKey, bytes | None]) -> None:
        """Lay committed changes over the entities of a kind.

        None is a deletion.
        """
        for frozen in self._frozen[kind]:
            frozen.note(changes)
        _state.apply(self._entities[kind], changes)
        if (partial := self._partial.get(kind)) is not None:
            partial.note(changes)

    def advance(self, head: Head, etag: str | None) -> None:
        """Go on to the head that a commit of this process has made.

        Args:
            head: That head.
            etag: ETag of the object that the next head is to replace; see `Settler.settle`.
        """
        self._head, self._etag = head, etag

    def take_over(self, theirs: Base, blobs: Mapping[Kind, Blob]) -> None:
        """Go on to the head that another writer has committed.

        Its entities come by `apply`.

        Args:
            theirs: The base of that head.
            blobs: The newest blobs known, theirs and ours; see `rebase.blobs_after`.
        """
        self._identity, self._head, self._etag = theirs.identity, theirs.head, theirs.etag
        self._blobs = dict(blobs)
        self._misplaced |= theirs.misplaced
        for kind, partial in theirs.partial.items():
            self._partial[kind].source = partial.source

    def take_copy(self, etag: str) -> None:
        """Go on from the same head where it is another object by now, such as a copy."""
        self._etag = etag

    # Blobs --------------------------------------------------------------------------------------

    @contextmanager
    def frozen(self, kind: Kind) -> Iterator[FrozenEntities]:
        """Lend the entities of a kind as they are now, whatever is committed meanwhile.

        To several at once, too: a compaction whose event loop is gone ends at any time.
        """
        frozen = FrozenEntities(self._entities[kind])
        self._frozen[kind].append(frozen)
        try:
            yield frozen
        finally:
            self._frozen[kind].remove(frozen)

    def note_blob(self, kind: Kind, blob: Blob) -> None:
        """Note the blob that lies in a kind's place, unless a newer one is known by now."""
        known = self._blobs.get(kind)  # a commit may have taken over another writer's meanwhile
        if known is None or known.ref.revision <= blob.ref.revision:
            self._blobs[kind] = blob
        self.note_rewritten(kind)

    def note_rewritten(self, kind: Kind) -> None:
        """Note that the current object of a kind is a base for the head again."""
        self._misplaced.discard(kind)

    # Writing over a loss ------------------------------------------------------------------------

    def note_current(
        self,
        etag: str | None,
        blobs: Mapping[Kind, Blob],
        objects: Mapping[str, Stored],
        misplaced: Collection[Kind],
    ) -> None:
        """Note the objects that lie there now, to be replaced by this state.

        Args:
            etag: ETag of the current head; None: there is none.
            blobs: Current objects of all kinds: blobs that will do, and others by their ETags.
            objects: Header and size of those that will do.
            misplaced: Kinds whose objects will not.
        """
        self._etag = etag
        self._blobs = dict(blobs)
        self._objects.update(objects)
        self._misplaced.update(misplaced)

    def continue_from(self, head: Head) -> None:
        """Have the next commit follow this head, of the same state but a higher revision."""
        self._head = head


def ref_of(header: Header, version_id: str | None, size: int) -> Ref:
    """Return the reference that a head has to a blob that was read.

    Args:
        header: The blob's header.
        version_id: Id of its version; None in a bucket without versioning.
        size: Bytes of the whole object.
    """
    return Ref(header.revision, version_id, size, header.entities, header.key, header.commit)


def overlay(entities: Entities, part: Part) -> None:
    """Lay a kind's differential over the entities of its blob, in place."""
    _state.apply(entities, {key: entry.value for key, entry in part.differential.items()})
