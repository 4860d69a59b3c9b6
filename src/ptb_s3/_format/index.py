"""Index of a blob: which of its segments holds what, and how new that is. Pure.

The **newest revision** of a segment says from when on nothing in it has changed, deletions
included (FORMAT.md, section 7). Whoever knows some of a blob's entities as of revision 9, and finds
a blob of revision 12, has to read the segments alone that are newer than 9.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from typing import Annotated, NamedTuple

import msgspec

from ptb_s3._format.entities import (
    KEY_TYPES,
    MAX_ENTRIES,
    EntityKey,
    Kind,
    Place,
    order,
    page_of,
)
from ptb_s3._format.head import Part
from ptb_s3.errors import DamagedObjectError

MANY_CHANGES = 100_000
"""Changed entities that are sorted to see in which segments they are: 10 MB of memory."""

_Positive = Annotated[int, msgspec.Meta(ge=1, le=2**53 - 1)]


class Segment(NamedTuple):
    """Entry of an index.

    Attributes:
        first: Its first key.
        size: Bytes of its frame.
        entities: Number of its entities.
        newest: Revision after which nothing in it has changed, deletions included.
    """

    first: EntityKey
    size: int
    entities: int
    newest: int


_encode = msgspec.msgpack.Encoder().encode
_decoders: dict[Kind, msgspec.msgpack.Decoder[list[tuple[EntityKey, int, int, int]]]] = {
    kind: msgspec.msgpack.Decoder(page_of(key_type, _Positive, _Positive, _Positive))
    for kind, key_type in KEY_TYPES.items()
}


class Index:
    """Index of one blob.

    Args:
        segments: Its segments, in order.
    """

    __slots__ = ("_places", "segments")

    def __init__(self, segments: tuple[Segment, ...]) -> None:
        self.segments = segments
        self._places = [order(segment.first) for segment in segments]

    @property
    def entities(self) -> int:
        """Return the number of entities in all segments."""
        return sum(segment.entities for segment in self.segments)

    def number_of(self, key: EntityKey) -> int:
        """Return the number of the segment that holds a key if any does, counted from 0.

        It is -1 where there is no segment. A key before all others belongs to the first one.
        """
        return max(bisect_right(self._places, order(key)) - 1, min(len(self.segments), 1) - 1)

    def newest(self, low: Place | None, high: Place | None) -> int:
        """Return the newest revision of the segments that a range of keys overlaps.

        Args:
            low: Place of the range's first key, by `order`; None: it begins before all keys.
            high: Place of the first key after it; None: there is none.
        """
        first = 0 if low is None else max(bisect_right(self._places, low) - 1, 0)
        last = len(self._places) if high is None else max(bisect_left(self._places, high), 1)
        return max((segment.newest for segment in self.segments[first:last]), default=0)


class Ages:
    """Newest revisions of ranges of keys, as the next blob's index is to have them.

    Args:
        index: Index of the blob that is replaced; None: nobody knows it, or there is none. Then all
            counts as changed, and so it does where very much has.
        part: Differential on top of that blob.
        revision: Revision of the next blob.
    """

    def __init__(self, index: Index | None, part: Part, revision: int) -> None:
        self._index = index if part.entries <= MANY_CHANGES else None
        self._revision = revision
        differential = {} if self._index is None else part.differential
        changed = sorted(differential, key=order)
        self._places = [order(key) for key in changed]
        self._revisions = [differential[key].revision for key in changed]

    def newest(self, low: Place | None, high: Place | None) -> int:
        """Return the newest revision of a change in a range of keys, as `Index.newest`."""
        if self._index is None:
            return self._revision
        first = 0 if low is None else bisect_left(self._places, low)
        last = len(self._places) if high is None else bisect_left(self._places, high)
        changed = max(self._revisions[first:last], default=0)
        return max(changed, self._index.newest(low, high)) or self._revision


def encode_index(index: Index) -> Iterator[bytes]:
    """Encode an index to its pages."""
    for at in range(0, len(index.segments), MAX_ENTRIES):
        yield _encode(index.segments[at : at + MAX_ENTRIES])


def decode_page(kind: Kind, page: bytes) -> list[Segment]:
    """Decode one page of an index.

    Raises:
        DamagedObjectError: It is not what the format says.
    """
    try:
        entries = _decoders[kind].decode(page)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise DamagedObjectError(kind, "its index is not as the format says") from None
    if not entries:
        raise DamagedObjectError(kind, "a page of its index is empty")
    return [Segment(*entry) for entry in entries]
