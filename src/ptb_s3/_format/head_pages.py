"""Pages of the head: its record, then the differential. Pure.

FORMAT.md, section 8, is the specification. A page of the differential that is full goes into every
head as it is, so that a commit packs its newest entries only::

    head n      record | full 1 | full 2 | recent
    head n+1    record | full 1 | full 2 | recent, with what n+1 changes
    head n+2    record | full 1 | full 2 | full 3 | recent     the page before was full

An entity that stands in several pages counts by the last one. Four full pages are merged into one,
which drops what was overtaken.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Annotated

import msgspec

from ptb_s3._format import entities
from ptb_s3._format.container import Hex16
from ptb_s3._format.delivered import MAX_RANGES, Delivered, Range
from ptb_s3._format.entities import KEY_TYPES, EntityKey, Kind, is_full, page_of, pages
from ptb_s3._format.erasure import DIGEST_BYTES, SECRET_BYTES, Erasures
from ptb_s3._format.head import (
    MAX_LINES,
    MAX_REQUEST,
    MAX_RESTORED,
    MAX_WRITERS,
    Conditions,
    Entry,
    Head,
    Line,
    Page,
    Part,
    Ref,
    Writer,
)
from ptb_s3._format.words import MAX_LENGTH, MAX_WORDS
from ptb_s3.errors import DamagedObjectError

PAGE = 256 * 1024
"""Bytes of entries in one page of the differential: the most that a commit packs anew."""
MERGED = 4
"""Number of full pages that become one, which compresses better, and holds an entity but once."""

_Secret = Annotated[bytes, msgspec.Meta(min_length=SECRET_BYTES, max_length=SECRET_BYTES)]
_Digest = Annotated[bytes, msgspec.Meta(min_length=DIGEST_BYTES, max_length=DIGEST_BYTES)]


_Word = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_LENGTH)]
_Count = Annotated[int, msgspec.Meta(ge=0, le=2**53 - 1)]
_Request = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_REQUEST)]
_Range = tuple[_Count, _Count]


class _PartRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Member of ``kinds`` in the record (section 8)."""

    ref: Ref | None
    cost: _Count
    entities: _Count


class _Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Record of a head as MessagePack (section 8): the same members in the same order."""

    bot: int
    writers: Annotated[list[Writer], msgspec.Meta(min_length=1, max_length=MAX_WRITERS)]
    lines: Annotated[list[Line], msgspec.Meta(min_length=1, max_length=MAX_LINES)]
    restored: Annotated[list[_Request], msgspec.Meta(max_length=MAX_RESTORED)]
    keys: dict[Hex16, int]
    erasures: tuple[_Secret, list[tuple[_Digest, int]]] | None
    conditions: Conditions | None
    updates: Annotated[list[_Range], msgspec.Meta(max_length=MAX_RANGES)]
    words: Annotated[list[_Word], msgspec.Meta(max_length=MAX_WORDS)]
    kinds: dict[Kind, _PartRecord]


_ENTRY = 16
"""Bytes that an entry takes beside its value, roughly."""

_encode = msgspec.msgpack.Encoder().encode
_record_decoder = msgspec.msgpack.Decoder(_Record)
_page_decoder = msgspec.msgpack.Decoder(tuple[Kind, msgspec.Raw])
_entry_decoders: Mapping[
    Kind, msgspec.msgpack.Decoder[list[tuple[EntityKey, int, bytes | None]]]
] = {
    kind: msgspec.msgpack.Decoder(page_of(key_type, int, bytes | None))
    for kind, key_type in KEY_TYPES.items()
}


def encode(head: Head, compress: Callable[[bytes], bytes], key_id: str) -> tuple[Head, list[bytes]]:
    """Encode a head to frames, the one of its record first.

    Args:
        head: The head, as `ptb_s3._format.head.follow` returns it.
        compress: Compresses a page to a frame.
        key_id: Id of the key that is going to seal them.

    Returns:
        The head as it is encoded, and its frames. Encoding adds to it what is known only now: the
        bytes that each kind's differential was carried along, its full pages, and the keys needed.
    """
    parts: dict[Kind, Part] = {}
    frames: list[bytes] = []
    for kind, part in head.parts.items():
        parts[kind], own = _pack(kind, part, head.revision, compress)
        frames += own
    needed = {key_id, *(part.ref.key for part in parts.values() if part.ref)}
    keys = {**head.keys, **dict.fromkeys(sorted(needed), head.revision)}
    head = replace(head, parts=parts, keys=keys)
    record = _Record(
        bot=head.bot,
        writers=list(head.writers),
        lines=list(head.lines),
        restored=list(head.restored),
        keys=dict(keys),
        erasures=_encode_erasures(head.erasures),
        conditions=head.conditions,
        updates=list(head.updates),
        words=list(head.words),
        kinds={
            kind: _PartRecord(part.ref, part.cost, part.entities) for kind, part in parts.items()
        },
    )
    return head, [compress(_encode(record)), *frames]


def decode(head_pages: Iterator[bytes], *, revision: int, commit: str, count: int | None) -> Head:
    """Decode a head from its pages, with revision and commit id from its header.

    Args:
        head_pages: Pages, the one of the record first.
        revision: Revision of the head.
        commit: Id of the attempt that made it.
        count: Number of entries that all pages must have; None: not all pages are given.

    Raises:
        DamagedObjectError: They are not as the format says.
    """
    try:
        record = _record_decoder.decode(next(head_pages, b""))
        differentials, entries = _decode_differentials(head_pages)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise _damaged("a page is not as the format says") from None
    if record.kinds.keys() != set(Kind):
        raise _damaged("its record does not name each kind once")
    head = Head(
        revision=revision,
        commit=commit,
        bot=record.bot,
        writers=tuple(record.writers),
        lines=tuple(record.lines),
        restored=tuple(record.restored),
        keys=record.keys,
        erasures=_decode_erasures(record, revision),
        conditions=record.conditions,
        updates=Delivered(Range(*one) for one in record.updates),
        words=tuple(record.words),
        parts={
            kind: Part(one.ref, one.cost, differentials[kind], entities=one.entities)
            for kind, one in ((kind, record.kinds[kind]) for kind in Kind)
        },
    )
    if count not in (None, entries):
        raise _damaged(f"its differential has {entries} entries and should have {count}")
    _check(head)
    return head


def check_page(page: bytes) -> None:
    """Check the form of a page of a differential that was just made.

    That it fits the other pages holds by construction, and would take longer to check.

    Raises:
        DamagedObjectError: It is not as the format says.
    """
    try:
        kind, raw = _page_decoder.decode(page)
        entries = _entry_decoders[kind].decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise _damaged("a page is not as the format says") from None
    if not entries:
        raise _damaged("a page is empty")


def _pack(
    kind: Kind, part: Part, revision: int, compress: Callable[[bytes], bytes]
) -> tuple[Part, list[bytes]]:
    """Pack the entries that are in no full page yet, and return the new part and its frames."""

    def page(entries: Mapping[EntityKey, Entry]) -> Page:
        packed = _encode((kind, [(key, *entry) for key, entry in entries.items()]))
        newest = max(entry.revision for entry in entries.values())
        return Page(entries, newest, len(packed), compress(packed))

    full, recent, last = list(part.full), {}, list[Page]()
    for entries, complete in _cut(part.recent):
        if not complete:
            recent, last = entries, [page(entries)]
            continue
        full.append(page(entries))
        if _may_be_merged(full[-MERGED:]):
            changes = [entry for one in full[-MERGED:] for entry in one.entries.items()]
            full[-MERGED:] = [page(dict(changes))]
    carried = sum(_carried(one, revision) for one in [*full, *last])
    frames = [one.frame for one in [*full, *last]]
    packed, cost = tuple(full), part.cost + carried
    size = sum(map(len, frames))
    return replace(part, cost=cost, recent=recent, full=packed, size=size), frames


def _carried(page: Page, revision: int) -> int:
    """Return the bytes of a page's frame that are due to changes before a revision.

    The changes of a commit itself have to be sent in any case, whether blobs are rewritten or not.
    """
    if page.newest < revision:
        return len(page.frame)
    sizes = [(_size(entry), entry.revision < revision) for entry in page.entries.values()]
    return len(page.frame) * sum(size for size, old in sizes if old) // sum(s for s, _ in sizes)


def _size(entry: Entry) -> int:
    return _ENTRY + len(entry.value or b"")


def _may_be_merged(last: Sequence[Page]) -> bool:
    """Tell whether the last full pages make up one larger page."""
    # Not pages that were merged before, nor one of a single huge entity, nor more entries than a
    # reader takes: pages of deletions, and of users without data, are small however many there are.
    entries = sum(len(page.entries) for page in last)
    small = all(page.size < 2 * PAGE for page in last)
    return len(last) == MERGED and small and entries <= entities.MAX_ENTRIES


def _cut(recent: Mapping[EntityKey, Entry]) -> Iterator[tuple[dict[EntityKey, Entry], bool]]:
    """Cut entries into pages, each with whether it is full."""
    for page in pages(((key, *entry) for key, entry in recent.items()), PAGE):
        entries = {key: Entry(revision, value) for key, revision, value in page}
        yield entries, is_full(page, PAGE)


def _decode_differentials(
    head_pages: Iterator[bytes],
) -> tuple[dict[Kind, dict[EntityKey, Entry]], int]:
    """Decode the differential of each kind, and count the entries of all pages."""
    differentials: dict[Kind, dict[EntityKey, Entry]] = {kind: {} for kind in Kind}
    count = 0
    for page in head_pages:
        kind, raw = _page_decoder.decode(page)
        entries = _entry_decoders[kind].decode(raw)
        if not entries:
            raise _damaged("a page is empty")
        page_entries = {key: Entry(revision, value) for key, revision, value in entries}
        if len(page_entries) != len(entries):
            raise _damaged("a page of its differential names an entity twice")
        known = differentials[kind]
        if any(
            known[key].revision >= page_entries[key].revision
            for key in known.keys() & page_entries.keys()
        ):
            raise _damaged("its differential names an older change after a newer one")
        known.update(page_entries)
        count += len(entries)
    return differentials, count


def _encode_erasures(erasures: Erasures | None) -> tuple[bytes, list[tuple[bytes, int]]] | None:
    return None if erasures is None else (erasures.secret, list(erasures.revisions.items()))


def _decode_erasures(record: _Record, newest: int) -> Erasures | None:
    if record.erasures is None:
        return None
    secret, entries = record.erasures
    erasures = Erasures(secret, dict(entries))
    if len(erasures.revisions) != len(entries):
        raise _damaged("it records an erasure twice")
    if not all(0 < revision <= newest for revision in erasures.revisions.values()):
        raise _damaged("it records an erasure of no revision that fits")
    return erasures


def _check(head: Head) -> None:
    """Check the rules of section 8 that hold between members of a record.

    Raises:
        DamagedObjectError: One of them is broken.
    """
    if not head.updates.distinct:
        raise _damaged("its ranges of updates overlap or touch, or one ends before it begins")
    if len(set(head.restored)) != len(head.restored):
        raise _damaged("it names a restore request twice")
    begun = [line.revision for line in head.lines]
    if begun != sorted({*begun}) or not 0 < begun[0] <= begun[-1] <= head.revision:
        raise _damaged("its lines do not begin one after another, up to its own revision")
    if len({line.line for line in head.lines}) != len(head.lines):
        raise _damaged("it names a line twice")
    if len(set(head.words)) != len(head.words):
        raise _damaged("it names a word twice")
    if any(revision > head.revision for revision in head.keys.values()):
        raise _damaged("it says that a key is needed by a later one")
    for part in head.parts.values():
        after = part.ref.revision if part.ref else 0
        if after > head.revision:
            raise _damaged("it refers to a blob newer than itself")
        if any(not after < entry.revision <= head.revision for entry in part.differential.values()):
            raise _damaged("an entry of its differential is of no revision that fits")


def _damaged(reason: str) -> DamagedObjectError:
    return DamagedObjectError("head", reason)
