"""Segments of a blob, in and out: sealed one after another, and opened as they arrive. Pure.

Sections are FORMAT.md's. A blob is messages of their own, so that a part of it can be fetched and
opened by itself::

    header   index   segment 1   segment 2  ...  segment n   padding
             |       keys from   keys from                   up to a length that tells little
             |       the first   the second
             +-----> first key, length, number of entities and newest revision of each
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import chain, pairwise

import msgspec

from ptb_s3._format import container
from ptb_s3._format.container import LENGTH, Header, padding_of, sealed_size
from ptb_s3._format.entities import (
    EntityKey,
    Entries,
    Kind,
    decode_segment,
    encode_segment,
    is_full,
    order,
    pages,
)
from ptb_s3._format.index import Ages, Index, Segment, decode_page, encode_index
from ptb_s3._format.key_source import KeySource, SealingKey
from ptb_s3._format.unsealer import Unsealer
from ptb_s3.errors import DamagedObjectError

SEGMENT_SIZE = 128 * 1024
"""Bytes of entities in one segment: what is fetched for one user, at least.

Measured on the benchmark's state of 100,000 users, with words: its blob is 4.7 % larger than with
1 MiB, and with 256 KiB 2.5 %.
"""


class BlobSealer:
    """Writer of one blob: its segments go to a sink, and come before what is in front of them.

    Args:
        header: Header of the object, of which the number of entities and the sizes are filled in.
        key: Key to seal with.
        level: zstd compression level.
        write: Takes the sealed segments and the padding, in order.
    """

    def __init__(
        self, header: Header, key: SealingKey, *, level: int, write: Callable[[bytes], object]
    ) -> None:
        self._header = msgspec.structs.replace(
            header, key=key.key_id, wrapped_key=key.wrapped_key, rest=0
        )
        self._key = key
        self._level = level
        self._write = write
        self._made: list[Segment] = []
        self._left: Entries = []  # that do not fill a segment yet

    def add(self, entities: Iterable[tuple[EntityKey, bytes]]) -> None:
        """Seal further entities of the kind, in the order of their keys."""
        segments = pages(chain(self._left, entities), SEGMENT_SIZE)
        self._left = []
        for entries in segments:
            if not is_full(entries, SEGMENT_SIZE):
                self._left = entries  # the last one
                break
            self._add(entries)

    def finish(self, ages: Ages) -> tuple[bytes, Index]:
        """Seal what is left, and the index.

        Args:
            ages: Newest revisions, for the index.

        Returns:
            The beginning of the object, which comes before all that was written; and the index.
        """
        if self._left:
            self._add(self._left)
        index = Index(tuple(self._aged(ages)))
        return self._beginning(index), index

    def _add(self, entries: Entries) -> None:
        frame = container.compress(encode_segment(entries), self._level)
        self._made.append(Segment(entries[0][0], len(frame), len(entries), 0))
        self._write(container.seal_part(self._header, len(self._made), frame, self._key))

    def _aged(self, ages: Ages) -> Iterator[Segment]:
        starts = [None, *(order(segment.first) for segment in self._made[1:]), None]
        for segment, (low, high) in zip(self._made, pairwise(starts), strict=False):
            yield segment._replace(newest=ages.newest(low, high))

    def _beginning(self, index: Index) -> bytes:
        frames = [container.compress(page, self._level) for page in encode_index(index)]
        length = sum(LENGTH.size + len(frame) for frame in frames) + LENGTH.size
        padding, rest = _padding(index, container.padded(length))
        header = msgspec.structs.replace(self._header, entities=index.entities, rest=rest)
        self._write(container.seal_part(header, len(self._made) + 1, bytes(padding), self._key))
        return container.seal(header, frames, self._key)


class BlobUnsealer:
    """Incremental opener of one blob: bytes are fed as they arrive, and segments come out.

    What comes out is authentic and complete by itself. That it is all of the blob is known when
    `finish` has returned.

    Args:
        kind: The blob's kind.
        size: Bytes that the storage says it has.
        keys: Source of the key.

    Attributes:
        index: Its index, once that has arrived; None before.
    """

    def __init__(self, kind: Kind, size: int, keys: KeySource) -> None:
        self.index: Index | None = None
        self._kind = kind
        self._first = Unsealer(kind, size, keys)
        self._waiting = bytearray()
        self._sizes: list[int] = []  # of all messages after the first one
        self._number = 0  # of the message that was opened last

    @property
    def header(self) -> Header | None:
        """Return the header, once it has arrived. To be believed once there is an index."""
        return self._first.header

    @property
    def key(self) -> bytes:
        """Return the key that opens its segments, once there is an index."""
        return self._first.key

    def feed(self, data: bytes | memoryview) -> list[Entries]:
        """Take further bytes, and return the entries of each segment that is complete by now.

        Raises:
            DamagedObjectError: It is not what was written.
            UnknownKeyError: It is sealed with a key that is not at hand.
        """
        self._waiting += self._first.feed(data)
        if self.index is None and self._first.complete:
            self._read_index()
        start, opened = 0, []
        while (end := start + self._next_size()) <= len(self._waiting) and end > start:
            opened += self._opened(bytes(memoryview(self._waiting)[start:end]))
            start = end
        del self._waiting[:start]
        return opened

    def finish(self) -> Header:
        """Check that all of the blob has arrived, and return its header.

        Raises:
            DamagedObjectError: It has not.
        """
        if self.index is None:
            self._first.finish()  # which refuses half a preamble, or half an index
        if self.header is None or self._number < len(self._sizes):
            raise DamagedObjectError(self._kind, "it was cut short")
        return self.header

    def _read_index(self) -> None:
        header = self._first.finish()
        pages_of_it = self._first.pages()
        segments = [segment for page in pages_of_it for segment in decode_page(self._kind, page)]
        self.index = Index(tuple(segments))
        self._check_index(header, self.index)
        padding, _ = _padding(self.index, header.size)
        self._sizes = [sealed_size(size) for size in (*(s.size for s in segments), padding)]

    def _check_index(self, header: Header, index: Index) -> None:
        places = index._places  # noqa: SLF001 - of the class beside this one
        if any(low >= high for low, high in pairwise(places)):
            raise DamagedObjectError(self._kind, "the segments of its index do not ascend")
        if any(segment.newest > header.revision for segment in index.segments):
            raise DamagedObjectError(self._kind, "its index knows of changes after its revision")
        if index.entities != header.entities:
            reason = f"its index has {index.entities} entities and should have {header.entities}"
            raise DamagedObjectError(self._kind, reason)
        if _padding(index, header.size)[1] != header.rest:
            raise DamagedObjectError(self._kind, "its index and its header differ in its length")

    def _next_size(self) -> int:
        """Return the bytes of the next message, or 0 where there is none or nobody knows."""
        return self._sizes[self._number] if self._number < len(self._sizes) else 0

    def _opened(self, message: bytes) -> list[Entries]:
        """Return the entries of the next message, if it is a segment."""
        assert self.header is not None and self.index is not None  # noqa: PT018, S101 - for mypy
        header, number, key = self.header, self._number, self._first.key
        self._number += 1
        if number < len(self.index.segments):
            return [open_segment(header, self.index, number, message, key)]
        if any(container.open_part(header, number + 1, message, key)):
            raise DamagedObjectError(self._kind, "its padding is not as the format says")
        return []


def open_segment(header: Header, index: Index, number: int, message: bytes, key: bytes) -> Entries:
    """Open one segment of a blob.

    Args:
        header: Header of the blob, authenticated.
        index: Its index.
        number: Number of the segment, counted from 0.
        message: Its sealed bytes.
        key: Key that opens it.

    Raises:
        DamagedObjectError: It is not what was written there.
    """
    kind = Kind(header.object)
    frame = container.open_part(header, number + 1, message, key)
    entries = decode_segment(kind, container.decompress(kind, frame))
    segment = index.segments[number]
    if (entries[0][0], len(entries)) != (segment.first, segment.entities):
        raise DamagedObjectError(kind, "a segment is not what its index says")
    if index.number_of(entries[-1][0]) != number:
        raise DamagedObjectError(kind, "the keys of its segments do not ascend")
    return entries


def _padding(index: Index, size: int) -> tuple[int, int]:
    """Return the bytes of a blob's padding, and of all messages after the first one.

    Args:
        index: Its index.
        size: Bytes of the index's plaintext.
    """
    segments = sum(sealed_size(segment.size) for segment in index.segments)
    padding = padding_of(sealed_size(size) + segments + sealed_size(0))
    return padding, segments + sealed_size(padding)
