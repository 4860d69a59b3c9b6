"""Write blobs off the commit path: in the background after a commit, and at a flush.

A blob holds committed state only, so a failure here loses nothing: the differential in head still
has every change. Compaction makes the next cold start and the next commits cheaper, and yields to
whatever is more urgent.

A host that may freeze the process between two calls gives it the rest of a call (`in_call`). What
does not fit into that is not begun: it would be thrown away at each call, and done at none.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable
from typing import Any

from ptb_s3._engine.loop_locks import running
from ptb_s3._engine.overdue import price
from ptb_s3._engine.repository import Repository
from ptb_s3._format.entities import Kind
from ptb_s3._ptb.pace import Pace
from ptb_s3._ptb.word_search import suggest_words
from ptb_s3._values.serializer import Serializer
from ptb_s3.errors import PersistenceError

# Seconds of a flush that are kept for the commit of the head that refers to blobs just written.
PUBLISH_RESERVE = 1.0
# Seconds between two log lines about what is overdue.
DAY = 86_400

_LOGGER = logging.getLogger("ptb_s3")


class BackgroundCompaction:
    """Scheduler of compactions: at most one background task, which writes the blobs that are due.

    Args:
        repository: Repository that says which blobs are due, and writes them.
        serializer: Serializer of its values, in which shared strings are looked for.
        clock: Returns the time in seconds, time in which the process was frozen included.

    Attributes:
        task: Background task of the last compaction; None before the first. It may be done, or
            belong to an event loop that is gone.
        in_call: Whether a host's call is under way, after which it may freeze the process. Then
            nothing is begun but by `settle`.
        pace: How long a blob takes here.
    """

    def __init__(
        self,
        repository: Repository,
        serializer: Serializer,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.task: asyncio.Task[None] | None = None
        self.in_call = False
        self.pace = Pace()
        self._repository = repository
        self._serializer = serializer
        self._clock = clock
        self._left_out: list[Kind] = []
        self._told = -math.inf

    @property
    def overdue(self) -> list[Kind]:
        """Return the kinds that are due, and were left out for want of time."""
        if not self._left_out:
            return []
        due = self._repository.due()
        return [kind for kind in self._left_out if kind in due]

    def figures(self) -> dict[str, Any]:
        """Return what `Stats` says of overdue kinds."""
        overdue = self.overdue
        carried, sends = price(self._repository.base, overdue)
        names = tuple(kind.value for kind in overdue)
        return {"overdue": names, "overdue_carried": carried, "overdue_sends": sends}

    def start(self) -> None:
        """Begin to write the blobs that are due, unless that is under way or up to `settle`."""
        if not self.in_call and self._repository.due() and not running(self.task):
            self.task = asyncio.create_task(self._compact())

    async def settle(self, seconds: float) -> None:
        """Write what fits at the end of a host's call, and wait until no blob is being written.

        Beside an application that runs, as by `run_polling`, there is nothing to wait for.

        Args:
            seconds: Time after which the compaction is cancelled.
        """
        if not self.in_call:
            return
        if self._repository.due() and not running(self.task):
            deadline = asyncio.get_running_loop().time() + seconds
            self.task = asyncio.create_task(self._compact_until(deadline))
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
        try:
            async with asyncio.timeout_at(deadline - PUBLISH_RESERVE):
                await self._write_fitting(deadline - PUBLISH_RESERVE)
            async with asyncio.timeout_at(deadline):
                await self._repository.commit(publish=True)
        except (TimeoutError, PersistenceError) as exc:
            _LOGGER.info("Left blobs as they were at flush: %s", str(exc) or "no time was left")

    async def write_due(self) -> list[Kind]:
        """Write all blobs that are due, smallest first, commit, and return their kinds.

        Whatever time that takes: to be called by a schedule, and not with an update.

        Raises:
            PersistenceError: A blob, or the head that refers to it, is not written. The state is as
                safe as before.
        """
        written = []
        for size, kind in self._repository.due_by_size():
            await self._write(kind, size)
            written.append(kind)
        await self._repository.commit(publish=True)
        return written

    async def _compact(self) -> None:
        for kind in self._repository.due():
            await self._try(kind)

    async def _compact_until(self, deadline: float) -> None:
        """Write the due blobs that fit, smallest first, and note which are left out."""
        now = asyncio.get_running_loop().time
        due = self._repository.due_by_size()
        self._left_out = [kind for _, kind in due]
        for size, kind in due:
            if self.pace.seconds(size) > deadline - now():
                break
            await self._try(kind, size)
            self._left_out.remove(kind)
        self._tell_left_out(due)

    async def _write_fitting(self, deadline: float) -> None:
        now = asyncio.get_running_loop().time
        if task := running(self.task):
            await asyncio.wait([task])  # which may be cancelled by somebody else
        for size, kind in self._repository.due_by_size():
            if self.pace.seconds(size) <= deadline - now():
                await self._write(kind, size)

    async def _try(self, kind: Kind, size: int = 0) -> None:
        try:
            await self._write(kind, size)
        except PersistenceError as exc:
            _LOGGER.warning("Could not write blob %s yet; nothing is lost. %s", kind, exc)

    async def _write(self, kind: Kind, size: int) -> None:
        now = asyncio.get_running_loop().time
        begun = now()
        try:
            await self._repository.compact(kind)
        except asyncio.CancelledError:
            self.pace.note_broken_off(size, now() - begun)
            raise
        self.pace.note_blob(size, now() - begun)
        await suggest_words(self._repository, self._serializer, kind)

    def _tell_left_out(self, due: list[tuple[int, Kind]]) -> None:
        """Log what is overdue, what that costs and the way out, at most once a day."""
        if not self._left_out or self._clock() - self._told < DAY:
            return
        if math.isfinite(self._told):
            self.pace.forget_blobs()  # a storage that was slow a day ago may be quick by now
        self._told = self._clock()
        seconds = sum(self.pace.seconds(size) for size, kind in due if kind in self._left_out)
        carried, sends = price(self._repository.base, self._left_out)
        _LOGGER.warning(
            "Compaction is overdue, and takes longer than this host gives: of %s. Each commit "
            "carries %d bytes along for it. It would send some %d bytes and take about %.0f s. "
            "Run ptb-s3 compact, or have a schedule do so; nothing is lost meanwhile.",
            ", ".join(self._left_out),
            carried,
            sends,
            math.ceil(seconds),
        )
