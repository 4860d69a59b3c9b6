"""Blobs as they lie in the bucket, and kinds of which single entities are read from there. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from ptb_s3._format.container import Header, sealed_size
from ptb_s3._format.entities import EntityKey
from ptb_s3._format.head import Ref
from ptb_s3._format.index import Index


class Blob(NamedTuple):
    """Newest blob of a kind that this process knows of.

    Attributes:
        etag: ETag to replace it by; None where another writer made it, and its object has not been
            looked at since.
        ref: Reference that the next head is to have to it.
        segments: Its index, if it has been read or written here.
    """

    etag: str | None
    ref: Ref
    segments: Index | None = None


@dataclass(frozen=True, slots=True)
class BlobSource:
    """Blob that single segments can be fetched from.

    Attributes:
        etag: ETag of its object.
        version_id: Id of its version; None in a bucket without versioning.
        header: Its header, authenticated.
        size: Bytes of the whole object.
        index: Its index.
        key: Key that opens its segments.
    """

    etag: str
    version_id: str | None
    header: Header
    size: int
    index: Index
    key: bytes = field(repr=False)

    def batches(self, size: int) -> Iterator[tuple[int, int]]:
        """Yield runs of neighbouring segments, by the numbers of the first and the last one.

        Args:
            size: Bytes of the segments of one run, about; one segment at least.
        """
        first, held = 0, 0
        for number, segment in enumerate(self.index.segments):
            held += segment.size
            if held >= size:
                yield first, number
                first, held = number + 1, 0
        if held:
            yield first, len(self.index.segments) - 1

    def span(self, number: int) -> tuple[int, int]:
        """Return the first byte of a segment in the object, and its number of bytes.

        Args:
            number: Number of the segment, counted from 0.
        """
        sizes = [sealed_size(segment.size) for segment in self.index.segments[: number + 1]]
        return self.size - (self.header.rest or 0) + sum(sizes[:-1]), sizes[-1]


class PartialKind:
    """Kind of which entities are read when they are asked for.

    Invariant: an entity that is neither among the base's nor noted as absent has not changed since
    the source was written, and is in it as it is, if it is at all.

    Args:
        source: Blob that they are read from; None: there is none, and so nothing to read.

    Attributes:
        source: As above.
    """

    def __init__(self, source: BlobSource | None) -> None:
        self.source = source
        self._absent: set[EntityKey] = set()

    def has_not(self, key: EntityKey) -> bool:
        """Tell whether there surely is no entity of a key, unless the base has it."""
        return key in self._absent

    @property
    def absent(self) -> frozenset[EntityKey]:
        """Return the keys of which it is known that there is no entity."""
        return frozenset(self._absent)

    def note(self, changes: Mapping[EntityKey, bytes | None]) -> None:
        """Note entities that are known from now on."""
        for key, value in changes.items():
            if value is None:
                self._absent.add(key)
            else:
                self._absent.discard(key)


class UnknownEntityError(RuntimeError):
    """Use of an entity before it was read: a fault of this package."""
