"""Poll `head` for commits of other writers before an update is processed.

A poll is a conditional GET of one small object, and nobody depends on its success: an update that
works on an older state is merged when it is committed, as if it had come earlier. So a storage that
is silent costs an update at most `PATIENCE`, and is left alone for `PAUSE` after that.
"""

from __future__ import annotations

import asyncio
import logging

from ptb_s3._engine.repository import Repository
from ptb_s3._options import Sync
from ptb_s3.errors import PersistenceError

# Seconds between two polls with "auto", while another writer is active. A conversation that moves
# between two instances is seldom faster than a person types.
AUTO_INTERVAL = 1.0
# Seconds that one update waits for a poll, and for which polls are suspended after one has failed:
# a storage that does not answer must not hold up every update.
PATIENCE = 2.0
PAUSE = 10.0

_LOGGER = logging.getLogger("ptb_s3")


class Poller:
    """Rate limiter of polls: takes over the commits of other writers as often as `sync=` says.

    Args:
        repository: Repository whose head is polled.
        sync: Staleness that is accepted. "auto" polls every `AUTO_INTERVAL` while
            `Repository.in_company` says that another writer is active, and never otherwise.
    """

    def __init__(self, repository: Repository, sync: Sync) -> None:
        self._repository = repository
        self._sync = sync
        self._looked: float | None = None
        self._failed = False

    def looked(self, now: float) -> None:
        """Count a read of head that somebody else makes as a poll.

        Args:
            now: Seconds on a monotonic clock, the one that `look` is given.
        """
        self._looked = now

    async def look(self, now: float) -> None:
        """Take over the commits of other writers, if a poll is due.

        A storage that fails or does not answer is logged once until a poll succeeds again, and
        raises nothing.

        Args:
            now: Seconds on a monotonic clock.
        """
        if self._sync is None or (self._sync == "auto" and not self._repository.in_company):
            return
        interval = AUTO_INTERVAL if self._sync == "auto" else self._sync
        if self._looked is not None and now - self._looked < interval:
            return
        self._looked = now
        try:
            async with asyncio.timeout(PATIENCE):
                await self._repository.sync()
        except (PersistenceError, TimeoutError) as error:
            self._note_failure(error)
            self._looked = now + PAUSE
        else:
            self._failed = False

    def _note_failure(self, error: Exception) -> None:
        if not self._failed:  # a line for each poll would fill the log
            why = str(error) or f"The storage gave no answer within {PATIENCE} s."
            _LOGGER.warning("Could not look for commits of other writers. %s", why)
        self._failed = True
