"""The objects of one load, opened while they arrive.

What has come is opened in a thread, while more comes, and values are made of it on the event loop,
where classes of the bot's own expect to be made. None of it is handed on before its end is there,
and authentic (FORMAT.md, section 4).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Protocol

from ptb_s3._format.committed import Arrived, HeadOpening, OpenedHead, Opening, Reader
from ptb_s3._format.entities import Entries, Kind
from ptb_s3._storage.contract import Sink
from ptb_s3._storage.threads import Offload

# Bytes that are worth a thread: it takes about 1 ms to open them.
_BATCH = 128 * 1024


class Ahead(Protocol):
    """Makes values of what has arrived, before it is known to be the state. Must not raise."""

    def begin(self, words: tuple[str, ...]) -> None:
        """Begin anew.

        Args:
            words: Those of the head, to which values may refer.
        """
        ...

    def make(self, kind: Kind, entries: Entries) -> None:
        """Make the values of some entities."""
        ...


class Arrivals:
    """The objects of one load.

    They are opened one piece after another, whosever it is: so no more than one thread is taken,
    and keys are asked for one at a time.

    Args:
        reader: Opens them.
        offload: Runs that, which would hold up the event loop.
        ahead: Makes values of what is opened; None: nobody does.
    """

    def __init__(self, reader: Reader, offload: Offload, ahead: Ahead | None) -> None:
        self._reader = reader
        self._offload = offload
        self._ahead = ahead
        self._head: OpenedHead | None = None
        self._openings: dict[Kind, Opening] = {}
        self._waiting: list[tuple[Opening, bytes]] = []
        self._decoded: deque[tuple[Kind, Entries]] = deque()
        self._work: asyncio.Task[None] | None = None
        self._one_at_a_time = asyncio.Lock()

    def into(self, kind: Kind) -> Sink:
        """Return the sink of a kind's blob; each attempt to read the blob opens it anew."""
        # Without `self`: a cycle would hold the state when everybody else has let go of it.
        decoded = None if self._ahead is None else partial(_note, self._decoded, kind)

        def begin(size: int) -> Callable[[bytes], None]:
            opening = self._openings[kind] = self._reader.opening(kind, size, decoded)
            return partial(self._take, opening)

        return begin

    async def take_head(self, opening: HeadOpening) -> None:
        """Open the head. From then on, values are made, since now it is known whose they are.

        Raises:
            PersistenceError: It cannot be opened.
        """
        async with self._one_at_a_time:
            self._head = await self._offload(opening.result)
        if self._ahead is not None:
            self._ahead.begin(self._head.head.words)

    async def opened(self) -> Arrived:
        """Return what has arrived, all of it opened but for the ends of blobs."""
        if self._work is not None:
            await self._work
        await self._open_waiting()
        return Arrived(self._head, self._openings)

    def _take(self, opening: Opening, piece: bytes) -> None:
        self._waiting.append((opening, piece))
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
        while self._head is not None and self._ahead is not None and self._decoded:
            self._ahead.make(*self._decoded.popleft())
            await asyncio.sleep(0)  # and take in what has come meanwhile


def _note(decoded: deque[tuple[Kind, Entries]], kind: Kind, entries: Entries) -> None:
    decoded.append((kind, entries))


def _open(pieces: list[tuple[Opening, bytes]]) -> None:
    for opening, piece in pieces:
        opening.feed(piece)
