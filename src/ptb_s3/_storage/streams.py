"""Bodies of requests and replies, a piece at a time, so that none holds up the event loop.

A body is up to hundreds of megabytes. Whatever touches all of it at once (copying, hashing,
joining) stops the bot for as long: 40 ms for 64 MiB. So bodies to send are readied in a thread, and
bodies to receive go piece by piece into a sink, under a deadline that grows with their size.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

from ptb_s3._storage.answers import Question, to_failure
from ptb_s3._storage.buffers import empty_stream
from ptb_s3._storage.contract import SLOWEST, Sink
from ptb_s3._storage.ranges import Span
from ptb_s3.errors import StorageError

MAX_OBJECT = 5 * 2**30
"""Bytes: the most that one PUT takes (Amazon S3 User Guide, "Uploading objects")."""
_PIECE = 2**20


def readied(body: bytes) -> tuple[io.BytesIO, str]:
    """Return a body as a stream, and its Content-MD5 in base64. Slow: for a thread.

    The stream is filled piece by piece, too: `io.BytesIO(body)` puts off the copy until aiohttp
    asks for its buffer, on the loop (40 ms for 64 MiB).
    """
    stream, digest = empty_stream(len(body)), hashlib.md5(usedforsecurity=False)
    with memoryview(body) as view:
        for start in range(0, len(body), _PIECE):
            piece = view[start : start + _PIECE]
            stream.write(piece)
            digest.update(piece)
    stream.seek(0)
    return stream, b64encode(digest.digest()).decode()


class Deadline:
    """Time limit of one read, all attempts together, extended by the size of the object.

    It is the only limit on a server that sends a byte now and then, since that keeps any time-out
    between two bytes from ending. A transfer is given the time that its bytes take at `SLOWEST`.

    Args:
        patience: Seconds until the reply has to begin.
    """

    def __init__(self, patience: float) -> None:
        self._until = asyncio.get_running_loop().time() + patience
        self._timeout = asyncio.timeout_at(self._until)

    async def __aenter__(self) -> Self:
        await self._timeout.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._timeout.__aexit__(kind, error, traceback)

    def allow_for(self, size: int) -> None:
        """Extend the limit by the time that this many bytes take at `SLOWEST`, if that is later."""
        until = self._until + size / SLOWEST
        if not self.expired and until > (self._timeout.when() or 0):
            self._timeout.reschedule(until)

    @property
    def expired(self) -> bool:
        """Return whether the limit was reached, and what ran under it cancelled."""
        return self._timeout.expired()


class Whole:
    """Sink that keeps a body in memory: the pieces of its last transfer."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def begin(self, _size: int) -> Callable[[bytes], None]:
        """Begin a transfer, and drop the pieces of an earlier one."""
        self._pieces = []
        return self._pieces.append

    def body(self) -> bytes:
        """Return all bytes of the last transfer."""
        return b"".join(self._pieces)


class Transfer:
    """Transfer of one object into a sink, in as many attempts as it takes.

    Args:
        question: Description of the request, for an error's text.
        deadline: Time limit of the read, extended once the size is known.
        span: Range of the bytes that are wanted; None: all.
        into: Sink for them.

    Attributes:
        refusal: The exception that the sink has raised, if it has: no failure of the storage's, so
            that it is neither translated nor a reason to try again.
    """

    def __init__(
        self, question: Question, deadline: Deadline, span: Span | None, into: Sink
    ) -> None:
        self._question = question
        self._deadline = deadline
        self._span = span
        self._into = into
        self.refusal: BaseException | None = None

    async def read(self, response: dict[str, Any]) -> None:
        """Read the body of a reply into the sink.

        No more is read than is wanted: what is left of the reply is dropped with its connection.
        What lies before it, where a server gives the whole object for a range, is not kept.

        Raises:
            StorageError: It is over 5 GiB, and so nothing of ours; or it is another range.
            StorageUnavailableError: It broke off.
        """
        expected, span = response.get("ContentLength", 0), self._span
        stream = response["Body"]
        async with stream:
            before = 0 if span is None else span.place(response)
            if before is None:
                raise self._another_range()
            left = max(expected - before, 0)
            wanted = left if span is None else min(left, span.length)
            if wanted > MAX_OBJECT:
                raise self._too_large()
            self._deadline.allow_for(wanted)
            if expected:
                take = self._taken(wanted)
                if wanted:
                    await self._pieces(stream, before, span, take)
                return
            # The sink has to be told the size first, so an object of unknown size is kept until
            # it is complete.
            whole = Whole()
            await self._pieces(stream, before, span, whole.begin(0))
        body = whole.body()
        self._taken(len(body))(body)

    async def _pieces(
        self,
        stream: Any,  # noqa: ANN401 - aioboto3's
        before: int,
        span: Span | None,
        take: Callable[[bytes], None],
    ) -> None:
        size, end = 0, None if span is None else before + span.length
        while end is None or size < end:
            piece = await self._next(stream, _PIECE if end is None else min(_PIECE, end - size))
            if not piece:
                return
            skipped = max(before - size, 0)
            size += len(piece)
            if size > MAX_OBJECT:
                raise self._too_large()
            self._deadline.allow_for(size)
            if size > before:
                take(piece[skipped:])

    async def _next(self, stream: Any, most: int) -> bytes:  # noqa: ANN401 - aioboto3's
        try:
            piece: bytes = await stream.read(most)  # raises where less comes than was said
        except Exception as exc:
            failure = to_failure(self._question, exc, "the storage, to the end")
            if failure is None:
                raise
            raise failure from None
        return piece

    def _taken(self, size: int) -> Callable[[bytes], None]:
        """Begin a transfer at the sink, and remember what it raises, now or of a piece."""
        with self._noting():
            take = self._into(size)

        def noting(piece: bytes) -> None:
            with self._noting():
                take(piece)

        return noting

    @contextmanager
    def _noting(self) -> Iterator[None]:
        try:
            yield
        except BaseException as refusal:
            self.refusal = refusal
            raise

    def _another_range(self) -> StorageError:
        return StorageError(
            f"Could not {self._question}: the storage answered another range of its bytes than the "
            "one asked for. Look for a proxy or cache on the way that changes Range, or use "
            "another storage; docs/providers.md lists some."
        )

    def _too_large(self) -> StorageError:
        return StorageError(
            f"Could not {self._question}: it is over 5 GiB, so ptb-s3 has not written it."
        )
