"""Kinds, keys, entities and changes: the state as bytes, and the segments of a blob. Pure.

Keys are FORMAT.md's, section 6, and segments of entities section 7. In short::

    kind           entity key                          one entity is
    user_data      user id                             the data of one user
    chat_data      chat id                             the data of one chat
    bot_data       0                                   the bot's data
    callback_data  ("k", uuid) or ("q", query id)      one keyboard, or one callback query
    conversations  (name, (chat id, user id, ...))     the state of one conversation
    jobs           (id, (chat id, user id, ...))       one job of the job queue, or the timeout of
                                                       one conversation

Bytes are the truth: objects are made from them when PTB asks, and two values are the same if their
bytes are.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from enum import StrEnum
from numbers import Number
from operator import lt
from types import GenericAlias
from typing import Annotated, Any, NamedTuple, Protocol, TypeAlias, TypeVar, cast

import msgspec

from ptb_s3._format.container import MAX_PAGE, PAGE_SIZE
from ptb_s3.errors import DamagedObjectError


class Kind(StrEnum):
    """Kind of state: PTB's five maps, and jobs.

    Its value is the name of its object in the bucket.
    """

    USER_DATA = "user_data"
    CHAT_DATA = "chat_data"
    BOT_DATA = "bot_data"
    CALLBACK_DATA = "callback_data"
    CONVERSATIONS = "conversations"
    JOBS = "jobs"


EntityKey = int | tuple[str, str] | tuple[str, tuple[int | str, ...]]
"""Key of an entity; its form depends on the kind (see `KEY_TYPES`)."""
Place: TypeAlias = Any
"""Place of a key among those of its kind: an integer, or bytes, that compares with the others'."""
Entities = dict[EntityKey, bytes]
"""Entities of one kind: their serialised bytes, by key."""
Entries = list[tuple[EntityKey, bytes]]
"""Entities in the order in which they stand in a page."""
Changes = dict[Kind, dict[EntityKey, bytes | None]]
"""Changed entities: their new bytes, or None for a deletion (a tombstone)."""


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
    Kind.JOBS: tuple[str, tuple[int | str, ...]],
}
"""Types of entity keys, as msgspec checks them."""
BOT_DATA_KEY: EntityKey = 0
"""Key of the only entity of `Kind.BOT_DATA`."""
PTB_KINDS: tuple[Kind, ...] = tuple(kind for kind in Kind if kind is not Kind.JOBS)
"""Kinds that PTB persists: its own persistences keep these, and no others."""
MANY_ALIKE = (Kind.USER_DATA, Kind.CHAT_DATA)
"""Kinds with many entities, whose values have much in common: words pay for them."""
MAX_ENTITY = MAX_PAGE - 2 * PAGE_SIZE
"""Bytes of one entity, its key included.

With one more of this size, a page that was almost full stays within what a reader takes.
"""

_Entry = TypeVar("_Entry", bound=tuple[Any, ...])

_ENTRY_OVERHEAD = 32
"""Bytes that MessagePack adds to one entry, at most about this many."""
MAX_ENTRIES = PAGE_SIZE // _ENTRY_OVERHEAD
"""Entries of one page, at most (section 7): each counts for `_ENTRY_OVERHEAD` bytes or more."""


def page_of(*members: object) -> Any:  # noqa: ANN401 - a type, for msgspec
    """Return the type, for msgspec, of a page whose entries have these members."""
    entries = GenericAlias(list, GenericAlias(tuple, members))
    return Annotated[entries, msgspec.Meta(max_length=MAX_ENTRIES)]


_encode = msgspec.msgpack.Encoder().encode
_blob_decoders: Mapping[Kind, msgspec.msgpack.Decoder[Entries]] = {
    kind: msgspec.msgpack.Decoder(page_of(key_type, bytes)) for kind, key_type in KEY_TYPES.items()
}


def is_key(kind: Kind, key: object) -> bool:
    """Tell whether an object has the form of an entity key of this kind."""
    try:
        msgspec.convert(key, cast("Any", KEY_TYPES[kind]), strict=True)
        _encode(key)
    except (msgspec.ValidationError, OverflowError, UnicodeEncodeError):
        return False
    return True


def key_like(kind: Kind, key: object) -> EntityKey | None:
    """Return the entity key that an object is, or equals as 5.0 equals 5, or None.

    A dictionary finds the one by the other.
    """
    own: Any = key
    if not is_key(kind, own) and isinstance(own, Number):
        with suppress(ArithmeticError, TypeError, ValueError):  # infinite, complex, not a number
            whole = int(cast("Any", own))
            own = whole if whole == key else None
    return cast("EntityKey", own) if is_key(kind, own) else None


def fault_of(kind: Kind, key: object, value: bytes) -> str | None:
    """Return why an entity cannot be written, as a clause without its value, or None."""
    if not is_key(kind, key):
        return f"a {type(key).__name__} of this form cannot be its key"
    size = len(value) + _key_size(cast("EntityKey", key))
    if size > MAX_ENTITY:
        return f"it takes {size} bytes with its key, and at most {MAX_ENTITY} fit"
    return None


def pages(entries: Iterable[_Entry], limit: int = PAGE_SIZE) -> Iterator[list[_Entry]]:
    """Cut entries into pages, or into segments.

    Args:
        entries: Entries, each a tuple whose first item is the key and whose last is the value.
        limit: Bytes after which a page is full. An entry is never divided.
    """
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
    """Tell whether a page has reached the limit, in bytes."""
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


def order(key: EntityKey) -> Place:
    """Return what keys of one kind are ordered by in a blob (section 7)."""
    return key if isinstance(key, int) else _encode(key)


def encode_segment(entries: Entries) -> bytes:
    """Encode entities, in the order of their keys, to a segment of a blob."""
    return _encode(entries)


def decode_segment(kind: Kind, segment: bytes) -> Entries:
    """Decode one segment of a blob.

    Raises:
        DamagedObjectError: It is not what the format says.
    """
    try:
        entries = _blob_decoders[kind].decode(segment)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise DamagedObjectError(kind, "a segment is not as the format says") from None
    if not entries:
        raise DamagedObjectError(kind, "a segment is empty")
    places = [order(key) for key, _ in entries]
    if not all(map(lt, places, places[1:])):
        raise DamagedObjectError(kind, "the keys of a segment do not ascend")
    return entries


def apply(entities: Entities, changes: Mapping[EntityKey, bytes | None]) -> None:
    """Apply changes to entities, in place."""
    for key, value in changes.items():
        if value is None:
            entities.pop(key, None)
        else:
            entities[key] = value


def difference(before: Entities, after: Entities) -> dict[EntityKey, bytes | None]:
    """Return the changes that turn the first set of entities into the second."""
    changed: dict[EntityKey, bytes | None] = {
        key: value for key, value in after.items() if before.get(key) != value
    }
    return changed | dict.fromkeys(before.keys() - after.keys())


def merge(
    ours: Changes, theirs: Changes, resolve: Callable[[Kind, EntityKey], bytes | None]
) -> Changes:
    """Merge two sets of changes that were made to the same base.

    Args:
        ours: Changes of one side.
        theirs: Changes of the other side.
        resolve: Returns the bytes, or None for a deletion, of an entity that the two sides changed
            differently.
    """
    merged: Changes = {}
    for kind in ours.keys() | theirs.keys():
        mine, other = ours.get(kind, {}), theirs.get(kind, {})
        both = {key: resolve(kind, key) for key in mine.keys() & other if mine[key] != other[key]}
        merged[kind] = other | mine | both
    return merged


def counted(entities: Mapping[Kind, Collection[EntityKey]]) -> str:
    """Return the numbers of entities of each kind as a text, which is empty for none."""
    return ", ".join(f"{len(keys):,} of {kind.value}" for kind, keys in entities.items() if keys)
