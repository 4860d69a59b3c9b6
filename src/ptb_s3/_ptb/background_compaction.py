"""When blobs are written: in the background after a commit, and at a flush where there is time."""

from __future__ import annotations

import asyncio
import contextlib
import logging

from ptb_s3._engine.loop_locks import running
from ptb_s3._engine.repository import Repository
from ptb_s3._format.entities import MANY_ALIKE, Kind
from ptb_s3._format.words import MAX_WORDS
from ptb_s3._values import serializer as _codec
from ptb_s3._values.serializer import PickleSerializer, Serializer
from ptb_s3._values.shared_strings import common_words, sample
from ptb_s3.errors import PersistenceError

# Seconds of a flush that are kept for the head that refers to blobs just written.
PUBLISH_RESERVE = 1.0
# Bytes a second that a host is trusted to compress, encrypt and upload while it is being stopped.
FLUSH_RATE = 2 * 1024 * 1024

_LOGGER = logging.getLogger("ptb_s3")


class Blobs:
    """Writes the blobs that are due. A failure costs nothing: all that they hold is durable.

    Args:
        repository: Whose blobs they are.
        serializer: Makes its values, in which words are looked for.

    Attributes:
        compaction: The blobs being written, if there are any.
    """

    def __init__(self, repository: Repository, serializer: Serializer) -> None:
        self.compaction: asyncio.Task[None] | None = None
        self._repository = repository
        self._serializer = serializer

    def write_due(self) -> None:
        """Begin to write, in the background, what pays or has a retired key."""
        if self._repository.due() and not running(self.compaction):
            self.compaction = asyncio.create_task(self._compact())

    async def settle(self, seconds: float) -> None:
        """Wait for blobs that are being written; give them up after so many seconds."""
        if compaction := running(self.compaction):
            await asyncio.wait([compaction], timeout=seconds)
            self.give_up()
            await asyncio.wait([compaction])

    def give_up(self) -> None:
        """Leave the rest as it is."""
        if compaction := running(self.compaction):
            compaction.cancel()

    async def write_until(self, deadline: float) -> None:
        """Make the next cold start cheaper, as far as that is done by then."""
        clock = asyncio.get_running_loop().time
        try:
            async with asyncio.timeout_at(deadline - PUBLISH_RESERVE):
                if compaction := running(self.compaction):
                    await asyncio.wait([compaction])  # which may be given up by somebody else
                for size, kind in self._repository.due_by_size():
                    if size <= (deadline - PUBLISH_RESERVE - clock()) * FLUSH_RATE:
                        await self._write(kind)
            async with asyncio.timeout_at(deadline):
                await self._repository.commit(publish=True)
        except (TimeoutError, PersistenceError) as exc:
            _LOGGER.info("Left blobs as they were at flush: %s", str(exc) or "no time was left")

    async def _compact(self) -> None:
        for kind in self._repository.due():
            try:
                await self._write(kind)
            except PersistenceError as exc:
                _LOGGER.warning("Could not write blob %s yet; nothing is lost. %s", kind, exc)

    async def _write(self, kind: Kind) -> None:
        await self._repository.compact(kind)
        if kind in MANY_ALIKE and isinstance(self._serializer, PickleSerializer):
            await self._look_for_words(kind)

    async def _look_for_words(self, kind: Kind) -> None:
        """Have what many values have in common stand once in head, from the next commit on."""
        if len(self._repository.words) == MAX_WORDS:
            return
        some = sample(self._repository.base.entities[kind])
        with contextlib.suppress(PersistenceError):  # whoever asks for such a value, learns of it
            values = _codec.load_all(self._serializer, kind, some)
            await asyncio.sleep(0)  # each of the two holds the loop for some milliseconds
            self._repository.suggest(common_words(list(values.values())))
