"""Flush a persistence: commit what is left, write blobs if there is time, close connections.

A flush may come at the end of a shutdown or by hand in the middle of the bot's life, and several
may overlap. The last one that is under way closes the connections.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from ptb_s3._engine.loop_locks import running
from ptb_s3._ptb.shutdown_deadline import ShutdownDeadline
from ptb_s3._ptb.start_cycle import StartCycle
from ptb_s3._ptb.state_loader import StateLoader

# Seconds that connections have to close at the end of a shutdown whose time is up. To close one
# takes a round trip at most, where the peer answers at all.
CLOSE_RESERVE = 0.25

_LOGGER = logging.getLogger("ptb_s3")


class Flush:
    """Coordinator of flushes: each is bound by the shutdown's deadline, and the last one closes.

    Args:
        loader: Gives what is loaded.
        cycle: Told when a flush is over, since a new start may follow.
        shutdown: Deadline of the shutdown, if one is under way.
    """

    def __init__(self, loader: StateLoader, cycle: StartCycle, shutdown: ShutdownDeadline) -> None:
        self._loader = loader
        self._cycle = cycle
        self._shutdown = shutdown
        self._under_way: set[asyncio.Task[Any] | None] = set()

    async def run(self, bot: object, seconds: float, close: Callable[[], Awaitable[None]]) -> None:
        """Flush, if anything is loaded.

        Args:
            bot: The bot, as it is set now.
            seconds: Seconds that a flush by hand may take.
            close: Closes connections.

        Raises:
            ConflictError: An entity cannot be merged. Everything else is saved.
            PersistenceError: The commit failed. What is not durable is kept in memory.
        """
        commits = self._loader.commits
        if commits is None:
            return
        deadline = self._shutdown.check() or asyncio.get_running_loop().time() + seconds
        own = asyncio.current_task()
        self._under_way = {other for other in self._under_way if running(other)} | {own}
        try:
            await commits.flush(deadline, seconds)
            self._cycle.note_flushed(bot)
        finally:
            self._cycle.note_flush_ended(bot)
            self._shutdown.end()
            self._under_way.discard(own)
            if not any(map(running, self._under_way)):
                await _close_by(deadline, close)


async def _close_by(deadline: float, close: Callable[[], Awaitable[None]]) -> None:
    """Close connections until a deadline, and leave the rest to the process's end."""
    earliest = asyncio.get_running_loop().time() + CLOSE_RESERVE
    try:
        async with asyncio.timeout_at(max(deadline, earliest)):
            await close()
    except TimeoutError:
        _LOGGER.warning(
            "Closed connections in use, or left them open: requests did not end, or they did "
            "not close, within flush_timeout."
        )
