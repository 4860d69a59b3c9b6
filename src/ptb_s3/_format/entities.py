"""Kinds, keys, entities and changes: what the state is, as bytes. Pure.

Pages of entities are FORMAT.md's, sections 6 and 7.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from enum import StrEnum
from types import GenericAlias
from typing import Annotated, Any, NamedTuple, Protocol, TypeVar, cast

import msgspec

from ptb_s3._format.container import MAX_PAGE, PAGE_SIZE
from ptb_s3.errors import DamagedObjectError


class Kind(StrEnum):
    """One of the five maps PTB persists. The value is the object's name in the bucket."""

    USER_DATA = "user_data"
    CHAT_DATA = "chat_data"
    BOT_DATA = "bot_data"
    CALLBACK_DATA = "callback_data"
    CONVERSATIONS = "conversations"


# A user's or chat's id; (conversation, (parts of its key)); 0 for bot_data; ("k", uuid) and
# ("q", id) for callback_data's keyboards and queries.
EntityKey = int | tuple[str, str] | tuple[str, tuple[int | str, ...]]

# The bytes of each entity. Bytes are the truth; objects are made from them when asked for.
Entities = dict[EntityKey, bytes]
# The same in order, as they stand in a page.
Entries = list[tuple[EntityKey, bytes]]

# What became of entities: new bytes, or None for a deletion (a tombstone).
Changes = dict[Kind, dict[EntityKey, bytes | None]]


class Resolution(NamedTuple):
    """Outcome of a merge of one entity that two sides changed.

    Attributes:
        value: Its bytes; None: it is deleted.
        overridden: Number of changes of theirs that ours has won over.
        contested: Whether both sides changed the same thing, and neither fields nor ``merge=``
            settled it: also where they changed it to the same value, as two counters do.
    """

    value: bytes | None
    overridden: int = 0
    contested: bool = False


class Resolve(Protocol):
    """Merge function of entities that two sides changed, given to the engine from above.

    The engine sees bytes only: values are the caller's, and so is how to merge them.
    """

    def __call__(
        self,
        kind: Kind,
        key: EntityKey,
        base: bytes | None,
        ours: bytes | None,
        theirs: bytes | None,
    ) -> Resolution:
        """Merge two values of an entity against the one that both had in common.

        Args:
            kind: The entity's kind.
            key: Its key.
            base: Its bytes in the common base; None: there was no entity.
            ours: Its bytes on our side; None: deleted.
            theirs: Its bytes on their side; None: deleted.

        Raises:
            ConflictError: They cannot be merged.
        """
        ...


KEY_TYPES: Mapping[Kind, object] = {
    Kind.USER_DATA: int,
    Kind.CHAT_DATA: int,
    Kind.BOT_DATA: int,
    Kind.CALLBACK_DATA: tuple[str, str],
    Kind.CONVERSATIONS: tuple[str, tuple[int | str, ...]],
}
BOT_DATA_KEY: EntityKey = 0
# Kinds of which there are many values, and much the same in each.
MANY_ALIKE = (Kind.USER_DATA, Kind.CHAT_DATA)
# Bytes of one entity, its key included: with it, a page that was almost full stays within what a
# reader takes.
MAX_ENTITY = MAX_PAGE - 2 * PAGE_SIZE

_Entry = TypeVar("_Entry", bound=tuple[Any, ...])

# MessagePack's own bytes for one entry, at most about this many.
_ENTRY_OVERHEAD = 32

# Entries of one page, at most: no more than this many fit where each counts for at least that much.
MAX_ENTRIES = PAGE_SIZE // _ENTRY_OVERHEAD


def page_of(*members: object) -> Any:  # noqa: ANN401 - a type, for msgspec
    """Return the type of a page whose entries have these members."""
    entries = GenericAlias(list, GenericAlias(tuple, members))
    return Annotated[entries, msgspec.Meta(max_length=MAX_ENTRIES)]


_encode = msgspec.msgpack.Encoder().encode
_blob_decoders: Mapping[Kind, msgspec.msgpack.Decoder[Entries]] = {
    kind: msgspec.msgpack.Decoder(page_of(key_type, bytes)) for kind, key_type in KEY_TYPES.items()
}


def is_key(kind: Kind, key: object) -> bool:
    """Tell whether something can be the key of an entity, and so be written."""
    try:
        msgspec.convert(key, cast("Any", KEY_TYPES[kind]), strict=True)
        _encode(key)
    except (msgspec.ValidationError, OverflowError, UnicodeEncodeError):
        return False
    return True


def fault_of(kind: Kind, key: object, value: bytes) -> str | None:
    """Return why an entity cannot be written, as a clause without its value; None: it can."""
    if not is_key(kind, key):
        return f"a {type(key).__name__} of this form cannot be its key"
    size = len(value) + _key_size(cast("EntityKey", key))
    if size > MAX_ENTITY:
        return f"it takes {size} bytes with its key, and at most {MAX_ENTITY} fit"
    return None


def pages(entries: Iterable[_Entry], limit: int = PAGE_SIZE) -> Iterator[list[_Entry]]:
    """Cut entries, whose last item is the value, into pages of about so many bytes."""
    page: list[_Entry] = []
    size = 0
    for entry in entries:
        page.append(entry)
        size += _size(entry)
        if size >= limit:
            yield page
            page, size = [], 0
    if page:
        yield page


def is_full(page: Iterable[_Entry], limit: int = PAGE_SIZE) -> bool:
    """Tell whether nothing more goes into a page of about so many bytes."""
    return sum(map(_size, page)) >= limit


def _size(entry: tuple[Any, ...]) -> int:
    return len(entry[-1] or b"") + _key_size(entry[0]) + _ENTRY_OVERHEAD


def _key_size(key: EntityKey) -> int:
    if isinstance(key, int):
        return 0  # within the overhead of any entry
    name, own = key
    parts = (own,) if isinstance(own, str) else own
    # An integer takes up to nine bytes.
    return len(name.encode()) + sum(len(p.encode()) if isinstance(p, str) else 9 for p in parts)


def encode_blob(entries: Iterable[tuple[EntityKey, bytes]]) -> Iterator[bytes]:
    """Make the pages of a blob of these entities."""
    return map(_encode, pages(entries))


class BlobDecoder:
    """Reads the pages of a blob, one after another."""

    def __init__(self, kind: Kind) -> None:
        self._kind = kind
        self._entities: Entities = {}
        self._read = 0

    def add(self, page: bytes) -> Entries:
        """Read the next page; return its entries.

        Raises:
            DamagedObjectError: It is not what the format says.
        """
        entries = decode_page(self._kind, page)
        self._read += len(entries)
        self._entities.update(entries)
        return entries

    def finish(self, count: int) -> Entities:
        """Return the entities, of which there are to be so many.

        Raises:
            DamagedObjectError: There are not, or one stands there twice.
        """
        read, entities = self._read, self._entities
        if not read == len(entities) == count:
            reason = f"it holds {len(entities)} entities in {read} entries and should hold {count}"
            raise DamagedObjectError(self._kind, reason)
        return entities


def decode_page(kind: Kind, page: bytes) -> Entries:
    """Read one page of a blob.

    Raises:
        DamagedObjectError: It is not what the format says.
    """
    try:
        entries = _blob_decoders[kind].decode(page)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise DamagedObjectError(kind, "a page is not as the format says") from None
    if not entries:
        raise DamagedObjectError(kind, "a page is empty")
    return entries


def decode_blob(kind: Kind, blob_pages: Iterable[bytes], count: int) -> Entities:
    """Read the pages of a blob that is to hold `count` entities.

    Raises:
        DamagedObjectError: They are not what the format says.
    """
    decoder = BlobDecoder(kind)
    for page in blob_pages:
        decoder.add(page)
    return decoder.finish(count)


def apply(entities: Entities, changes: Mapping[EntityKey, bytes | None]) -> None:
    """Lay changes over entities, in place."""
    for key, value in changes.items():
        if value is None:
            entities.pop(key, None)
        else:
            entities[key] = value


def difference(before: Entities, after: Entities) -> dict[EntityKey, bytes | None]:
    """Return the changes that turn one set of entities into the other."""
    changed: dict[EntityKey, bytes | None] = {
        key: value for key, value in after.items() if before.get(key) != value
    }
    return changed | dict.fromkeys(before.keys() - after.keys())


def merge(
    ours: Changes, theirs: Changes, resolve: Callable[[Kind, EntityKey], bytes | None]
) -> Changes:
    """Merge two sets of changes to one base.

    Args:
        ours: Changes on one side.
        theirs: Changes on the other.
        resolve: Decides, for an entity that the two sides changed differently, what becomes of it.
    """
    merged: Changes = {}
    for kind in ours.keys() | theirs.keys():
        mine, other = ours.get(kind, {}), theirs.get(kind, {})
        both = {key: resolve(kind, key) for key in mine.keys() & other if mine[key] != other[key]}
        merged[kind] = other | mine | both
    return merged


def counted(entities: Mapping[Kind, Collection[EntityKey]]) -> str:
    """Say how many entities of each kind these are; an empty text: none."""
    return ", ".join(f"{len(keys):,} of {kind.value}" for kind, keys in entities.items() if keys)
