"""Write blobs off the commit path: in the background after a commit, and at a flush.

A blob holds committed state only, so a failure here loses nothing: the differential in head still
has every change. Compaction makes the next cold start and the next commits cheaper, and yields to
whatever is more urgent.
"""

from __future__ import annotations

import asyncio
import logging

from ptb_s3._engine.loop_locks import running
from ptb_s3._engine.repository import Repository
from ptb_s3._format.entities import Kind
from ptb_s3._ptb.word_search import suggest_words
from ptb_s3._values.serializer import Serializer
from ptb_s3.errors import PersistenceError

# Seconds of a flush that are kept for the commit of the head that refers to blobs just written.
PUBLISH_RESERVE = 1.0
# Bytes a second that a host is trusted to compress, encrypt and upload while it is being stopped.
# Low on purpose: a blob that is begun and not finished has only cost time.
FLUSH_RATE = 2 * 1024 * 1024

_LOGGER = logging.getLogger("ptb_s3")


class BackgroundCompaction:
    """Scheduler of compactions: at most one background task, which writes the blobs that are due.

    Args:
        repository: Repository that says which blobs are due, and writes them.
        serializer: Serializer of its values, in which shared strings are looked for.

    Attributes:
        task: Background task of the last compaction; None before the first. It may be done, or
            belong to an event loop that is gone.
    """

    def __init__(self, repository: Repository, serializer: Serializer) -> None:
        self.task: asyncio.Task[None] | None = None
        self._repository = repository
        self._serializer = serializer

    def start(self) -> None:
        """Begin to write the blobs that are due, unless that is under way already."""
        if self._repository.due() and not running(self.task):
            self.task = asyncio.create_task(self._compact())

    async def settle(self, seconds: float) -> None:
        """Wait until no blob is being written.

        Args:
            seconds: Time after which the compaction is cancelled.
        """
        if task := running(self.task):
            await asyncio.wait([task], timeout=seconds)
            self.cancel()
            await asyncio.wait([task])

    def cancel(self) -> None:
        """Cancel the compaction that is under way, if there is one."""
        if task := running(self.task):
            task.cancel()

    async def write_until(self, deadline: float) -> None:
        """Write as many of the due blobs as there is time for, smallest first, and refer to them.

        Raises nothing if time is up or the storage fails: all changes are durable already.

        Args:
            deadline: Time on the loop's clock at which it has to be over.
        """
        clock = asyncio.get_running_loop().time
        try:
            async with asyncio.timeout_at(deadline - PUBLISH_RESERVE):
                if task := running(self.task):
                    await asyncio.wait([task])  # which may be cancelled by somebody else
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
        await suggest_words(self._repository, self._serializer, kind)
