"""A server that answers reads of a blob as bytes tell it to, and what the reader makes of that."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import struct
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, Self
from unittest import mock

from tests.vectors import reference

from ptb_s3._engine import blob_reads
from ptb_s3._engine.blob_reads import BlobReads
from ptb_s3._format.entities import Kind
from ptb_s3._keys.keyring import Key, Keyring
from ptb_s3._storage import reads
from ptb_s3._storage.answers import Answer
from ptb_s3._storage.reads import Reads
from ptb_s3._storage.s3 import S3Store
from ptb_s3._storage.streams import Deadline
from ptb_s3.errors import PersistenceError

ENTITIES: Final = dict(reference.INTS)
BLOB: Final = reference.of_pieces(reference.cut(reference.INTS, 2, 1, 3))
_KEYS: Final = Keyring(Key(reference.SECRET))
# Some of the keys, in two of three segments, and one that is in none.
_ASKED: Final = (-5, 3, 99)
# What the blob is asked for first: from too little for the header up to all of it.
_FIRST: Final = 256
_STEP: Final = 40
# Bytes that a server without an end sends before the test gives up.
_PATIENCE: Final = 2**20

# One answer: how it refuses, what it says of the range, how far the body is moved, by how much it
# is longer, how much of it does not come, what else is wrong, and the bytes of a piece.
FORM: Final = struct.Struct("<BBhhHBB")
_REFUSALS: Final = (
    *(None,) * 7,
    Answer("NoSuchKey", 404),
    Answer("NoSuchVersion", 404),
    Answer("404", 404),
    Answer("PreconditionFailed", 412),
    Answer("InvalidRange", 416),
    Answer("AccessDenied", 403),
    Answer("InternalError", 500),
)
_SAID: Final[tuple[Callable[[int, int], str | None], ...]] = (
    lambda first, size: f"bytes {first}-{first + size - 1}/{len(BLOB)}",
    lambda first, size: f"bytes {first}-{first + size - 1}/*",
    lambda first, size: f"bytes {first}-{first + size - 1}/{first + size}",
    lambda first, size: f"bytes {first}-{first + size - 1}/{'9' * 5000}",
    lambda first, _: f"bytes {first}-{'9' * 5000}/{len(BLOB)}",
    lambda *_: f"bytes */{len(BLOB)}",
    lambda *_: "",
    lambda *_: None,
)
_OTHER_TAG, _NO_TAG, _UNSAID, _ENDLESS, _WHOLE, _PLAIN, _OTHER_BYTES = (1 << at for at in range(7))


class Told(NamedTuple):
    """Answer that bytes tell the server to give: see `FORM`. By default it is as it should be."""

    refusal: int = 0
    said: int = 0
    moved: int = 0
    longer: int = 0
    lacks: int = 0
    faults: int = 0
    piece: int = 0


def any_ranges(data: bytes) -> None:
    """Any answers to reads of a blob: how much is asked for first, then answers by `FORM`.

    Once these are used up, all further ones are right. What comes out is what is in the blob.
    """
    if data:
        whole = len(data) - (len(data) - 1) % FORM.size
        told = [Told(*one) for one in FORM.iter_unpack(data[1:whole])]
        with contextlib.suppress(PersistenceError):
            all_read(_FIRST + _STEP * data[0], told)


def all_read(first_bytes: int, told: Iterable[Told]) -> bool:
    """Read a blob from a server that answers as it is told, and return whether all was there.

    Raises:
        PersistenceError: The answers were not to be used.
        AssertionError: What was read is not in the blob.
    """
    with (
        mock.patch.object(blob_reads, "INDEX_BYTES", first_bytes),
        mock.patch.object(reads, "jitter", return_value=0),
    ):
        return asyncio.run(_read(_Server(iter(told))))


async def _read(server: _Server) -> bool:
    store = S3Store("bucket")
    store._reads = Reads(server, store._conditional_get)  # type: ignore[arg-type] # as much as it uses
    parts = BlobReads(store, _KEYS)
    source = await parts.lying(Kind.USER_DATA, reference.STORE)
    if source is None:
        return False
    found, some = await parts.all_in(source), await parts.entities(source, _ASKED)
    assert found in (None, ENTITIES)
    assert some in (None, {key: ENTITIES[key] for key in _ASKED if key in ENTITIES})
    return found is not None and some is not None


@dataclass
class _Server:
    """What `Reads` uses of a `Requester`."""

    told: Iterator[Told]

    @contextlib.asynccontextmanager
    async def opened(self, _: object) -> AsyncIterator[None]:
        yield

    @contextlib.asynccontextmanager
    async def in_time(self, _: object) -> AsyncIterator[Deadline]:
        async with Deadline(60) as deadline:
            yield deadline

    async def answer(self, *_: object, **request: Any) -> dict[str, Any] | Answer:
        return answered(next(self.told, Told()), request.get("Range"))


def answered(told: Told, asked: str | None) -> dict[str, Any] | Answer:
    """Return botocore's view of an answer to a request for a range, or for the whole."""
    if refusal := _REFUSALS[told.refusal % len(_REFUSALS)]:
        return refusal
    faults, tag = told.faults, "other" if told.faults & _OTHER_TAG else "tag"
    first, last = (0, len(BLOB) - 1) if asked is None else map(int, asked[6:].split("-"))
    whole = asked is None or bool(faults & _WHOLE)
    first = max((0 if whole else first) + told.moved, 0)
    body = BLOB[first : max((len(BLOB) if whole else last + 1) + told.moved + told.longer, 0)]
    said = _SAID[told.said % len(_SAID)](first, len(body))
    return {
        "ResponseMetadata": {"HTTPStatusCode": 200 if asked is None or faults & _PLAIN else 206},
        **({} if faults & _NO_TAG else {"ETag": tag}),
        **({} if said is None else {"ContentRange": said}),
        **({} if faults & _UNSAID else {"ContentLength": len(body)}),
        "Body": _Body(
            reference.noise(len(body)) if faults & _OTHER_BYTES else body,
            piece=told.piece * 8 or _PATIENCE,
            left=len(body) - told.lacks % (len(body) + 1),
            endless=bool(faults & _ENDLESS and faults & _UNSAID),
        ),
    }


@dataclass
class _Body:
    """Body of an answer, as aiobotocore gives it: one that breaks off raises."""

    data: bytes
    piece: int
    left: int
    endless: bool
    at: int = 0
    close: Callable[[], None] = field(default=lambda: None)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None: ...

    async def read(self, most: int) -> bytes:
        size = min(most, self.piece, self.left - self.at)
        if size > 0:
            self.at += size
            return self.data[self.at - size : self.at]
        if self.endless:
            size = min(most, self.piece)
            self.at = self.left = self.left + size
            assert self.at < _PATIENCE, "more was read than was asked for"
            return bytes(size)
        if self.left < len(self.data):
            raise ConnectionError
        return b""


@functools.cache
def seeds() -> list[bytes]:
    """Return answers to start with: right ones, and each single fault at the second request."""
    told = (*BEARABLE, *_UNBEARABLE)
    return [
        bytes([first]) + b"".join(FORM.pack(*one) for one in (Told(), fault, fault))
        for first in (0, 10, 255)
        for fault in told
    ]


# What a server may do (RFC 9110, section 14.2), or does, and what says nothing wrong of the bytes.
BEARABLE: Final = (
    Told(),
    *(Told(said=number) for number in (3, 6, 7)),
    Told(longer=300),
    Told(faults=_UNSAID),
    Told(faults=_UNSAID | _ENDLESS),
    Told(faults=_WHOLE | _PLAIN),
    Told(faults=_WHOLE | _PLAIN | _UNSAID, piece=3),
    Told(piece=1),
)
_UNBEARABLE: Final = (
    *(Told(refusal=number) for number in range(len(_REFUSALS))),
    *(Told(said=number) for number in (1, 2, 4, 5)),
    *(Told(moved=number) for number in (-1, 1, 300)),
    *(Told(longer=number) for number in (-1, 1, -300)),
    *(Told(lacks=number) for number in (1, 300)),
    *(Told(faults=1 << number) for number in range(7)),
)
