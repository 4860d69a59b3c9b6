"""Where inputs are cut off: at each boundary of what they hold, and at places drawn from a seed."""

from __future__ import annotations

import contextlib
import itertools
import json
import pickletools
import random
import struct
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from tests.fuzzing import ranges, spools
from tests.vectors import reference

# Bytes of a chunk of a sealed message, with its tag, and of nonce and commitment before the first:
# see FORMAT.md.
_CHUNK: Final = 16 * 1024 + 16
_START: Final = 24 + 32
# Places at either end that are all taken, and places that are drawn in between.
_EDGE: Final = 12
_DRAWN: Final = 16


def many(target: str, data: bytes) -> list[int]:
    """Return every seventh place, and the chosen ones."""
    return sorted({*chosen(target, data), *range(len(data), -1, -7)})


def chosen(target: str, data: bytes) -> list[int]:
    """Return both ends, each boundary and the place before it, and a sample of all places."""
    size = len(data)
    ends = set(boundaries(target, data))
    places = {*range(_EDGE), *range(size - _EDGE, size + 1), *ends, *(end - 1 for end in ends)}
    drawn = random.Random(size).choices(range(size + 1), k=_DRAWN)  # noqa: S311 - no secret
    return sorted(place for place in places.union(drawn) if 0 <= place <= size)


def boundaries(target: str, data: bytes) -> Iterator[int]:
    """Yield the places where a part of an input ends, as far as the input is what it should be."""
    with contextlib.suppress(Exception):  # a seed may be damaged on purpose
        yield from _BOUNDARIES[target](data)


def _of_object(data: bytes) -> Iterator[int]:
    """After the two lines of the header, after what begins the message, and after each chunk.

    In a blob, after its first message, too.
    """
    magic = data.index(b"\n") + 1
    header = data.index(b"\n", magic) + 1
    yield from (magic, header)
    yield from range(header + _START, len(data), _CHUNK)
    size = json.loads(data[magic:header])["size"]
    yield header + reference.sealed(size)


def _of_plaintext(data: bytes) -> Iterator[int]:
    """After each page and its length. The last length is zero, and padding follows."""
    yield from _lengths(data, struct.Struct("<I"))


def _of_pages(data: bytes) -> Iterator[int]:
    yield from _lengths(data, struct.Struct("<H"))


def _lengths(data: bytes, form: struct.Struct) -> Iterator[int]:
    place = 2  # number of the object, and of its entities
    while place + form.size <= len(data):
        (length,) = form.unpack_from(data, place)
        yield from (place, place + form.size)
        if not length:
            return
        place += form.size + length


def _of_pickle(data: bytes) -> Iterator[int]:
    yield from (at for _, _, at in pickletools.genops(data) if at is not None)


_BOUNDARIES: Final[Mapping[str, Callable[[bytes], Iterator[int]]]] = {
    "any_header": _of_object,
    "any_object": _of_object,
    "sealed_plaintext": _of_plaintext,
    "sealed_pages": _of_pages,
    "sealed_segments": _of_pages,
    "any_index": lambda data: iter([len(data) // 2]),
    "any_segment": lambda data: iter([len(data) // 2]),
    "any_pickle": _of_pickle,
    "any_ranges": lambda data: itertools.islice(range(len(data)), 1, None, ranges.FORM.size),
    "any_spool": lambda data: iter([spools.FORM.size, len(data) // 2]),
    "mutated_pickle": lambda data: itertools.islice(range(len(data)), 2, None, 4),
}
