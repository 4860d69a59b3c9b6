"""Streamed load: the objects of one load, opened while they arrive.

Pieces that have come are opened in a thread while more come, and values are made of them on the
event loop, where classes of the bot's own expect to be made. None of it is handed on as the state
before its end is there, and authentic (FORMAT.md, section 4).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Protocol

from ptb_s3._format.entities import Entries, Kind
from ptb_s3._format.openers import BlobOpener, HeadOpener, OpenedHead, Streamed
from ptb_s3._format.reader import Reader
from ptb_s3._storage.contract import Sink
from ptb_s3._storage.threads import Offload

# Bytes that are worth the switch to a thread: it takes about 1 ms to open them.
_BATCH = 128 * 1024


class Preloader(Protocol):
    """Maker of values from entities that have arrived, before they are known to be the state.

    Its methods must not raise.
    """

    def begin(self, words: tuple[str, ...]) -> None:
        """Begin anew, with the head of another try.

        Args:
            words: Words of the head, to which values may refer.
        """
        ...

    def make(self, kind: Kind, entries: Entries) -> None:
        """Make the values of some entities of a kind."""
        ...


class StreamedLoad:
    """Pipeline of one load: pieces of objects in, opened objects out.

    Invariant: one piece is opened at a time, whichever object it is of. So no more than one thread
    is taken, and the key source is asked for one key at a time.

    Args:
        reader: Opens the objects.
        offload: Runs that in a thread, since it would hold up the event loop.
        preloader: Makes values of what is opened; None: nobody does.
    """

    def __init__(self, reader: Reader, offload: Offload, preloader: Preloader | None) -> None:
        self._reader = reader
        self._offload = offload
        self._preloader = preloader
        self._head: OpenedHead | None = None
        self._openers: dict[Kind, BlobOpener] = {}
        self._waiting: list[tuple[BlobOpener, bytes]] = []
        self._decoded: deque[tuple[Kind, Entries]] = deque()
        self._work: asyncio.Task[None] | None = None
        self._one_at_a_time = asyncio.Lock()

    def into(self, kind: Kind) -> Sink:
        """Return the sink of a kind's blob, for `Store.stream`.

        Each try to read the blob opens it anew.
        """
        # Without `self`: a cycle would hold the state when everybody else has let go of it.
        decoded = None if self._preloader is None else partial(_note, self._decoded, kind)

        def begin(size: int) -> Callable[[bytes], None]:
            opener = self._openers[kind] = self._reader.blob_opener(kind, size, decoded)
            return partial(self._take, opener)

        return begin

    async def take_head(self, opener: HeadOpener) -> None:
        """Open the head, from when on values are made.

        Before, neither its words nor its bot are known.

        Args:
            opener: Opener of the head, which has been fed all bytes.

        Raises:
            PersistenceError: It cannot be opened.
        """
        async with self._one_at_a_time:
            self._head = await self._offload(opener.result)
        if self._preloader is not None:
            self._preloader.begin(self._head.head.words)

    async def opened(self) -> Streamed:
        """Return the objects once all pieces are opened.

        The ends of blobs are not checked yet.

        Raises:
            BaseException: Opening has failed other than by what is in an object.
        """
        if self._work is not None:
            await self._work
        await self._open_waiting()
        return Streamed(self._head, self._openers)

    def _take(self, opener: BlobOpener, piece: bytes) -> None:
        self._waiting.append((opener, piece))
        if self._worthwhile and self._idle:
            self._work = asyncio.create_task(self._open_on())

    @property
    def _idle(self) -> bool:
        work = self._work
        if work is None:
            return True
        # One that has failed stays: `opened` is to raise what it raised.
        return work.done() and not work.cancelled() and work.exception() is None

    @property
    def _worthwhile(self) -> bool:
        return sum(len(piece) for _, piece in self._waiting) >= _BATCH

    async def _open_on(self) -> None:
        while self._worthwhile:
            await self._open_waiting()

    async def _open_waiting(self) -> None:
        pieces, self._waiting = self._waiting, []
        async with self._one_at_a_time:
            await self._offload(_open, pieces)
        while self._head is not None and self._preloader is not None and self._decoded:
            self._preloader.make(*self._decoded.popleft())
            await asyncio.sleep(0)  # and take in what has come meanwhile


def _note(decoded: deque[tuple[Kind, Entries]], kind: Kind, entries: Entries) -> None:
    decoded.append((kind, entries))


def _open(pieces: list[tuple[BlobOpener, bytes]]) -> None:
    for opener, piece in pieces:
        opener.feed(piece)
