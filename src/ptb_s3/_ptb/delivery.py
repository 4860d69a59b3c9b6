"""Deliver one update: process it in a transaction, again and again until it commits or time is up.

Between two updates nothing is unsaved. What somebody else has changed is saved before an update
begins (`host.prepare`), and what an update has changed is committed, or taken back, before it ends.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Callable

from telegram import Update

from ptb_s3._ptb.application_state import App
from ptb_s3._ptb.group_commit import GroupCommit
from ptb_s3._ptb.host import Host, bring_up_to_date, prepare
from ptb_s3._ptb.state_loader import StateLoader
from ptb_s3._ptb.transaction import OnConflict, Transaction
from ptb_s3.errors import (
    ConflictError,
    OvertakenError,
    PersistenceError,
    StorageUnavailableError,
)

# Seconds that a call may take by default, besides handlers and the first load. Hosts give an update
# 30 s or more, and Telegram waits for longer than that.
PATIENCE = 20.0
# Seconds that a compaction after the commit may delay the answer. It makes the next cold start
# cheaper, and nothing is lost without it.
BLOBS_PATIENCE = 5.0
# Seconds: upper bound of the random wait before the third attempt, doubled with each further one.
# The second comes at once: two instances that take turns conflict once each time.
RETRY_PAUSE = 0.05
MAX_RETRY_PAUSE = 1.0


class Delivery:
    """Retry loop of one update: each attempt is a transaction, until one commits.

    Args:
        application: Application that processes the update.
        number: Id of the update.
        parse: Makes the update anew, as an object, for each attempt: processing changes it.
        on_conflict: As given to `deliver`.
        limit: Timeout that surrounds `run`. One without a deadline is given one, to which the time
            of handlers and of the first load does not count.
    """

    def __init__(
        self,
        application: App,
        number: int,
        parse: Callable[[], Update],
        on_conflict: OnConflict,
        limit: asyncio.Timeout,
    ) -> None:
        self._application = application
        self._number = number
        self._parse = parse
        self._on_conflict = on_conflict
        self._limit = limit
        self._patient = limit.when() is None
        self._overtaken = 0
        self._in_handlers = False

    async def run(self, loader: StateLoader, host: Host) -> bool:
        """Deliver the update, as `deliver` specifies. The caller holds the host's turn.

        Args:
            loader: Loads the state of the application's persistence.
            host: What is known of the application.

        Returns:
            False if the update's effects had been committed before.
        """
        if host.ready:
            self._allow(PATIENCE)
        commits = await prepare(self._application, loader, host)
        self._allow(PATIENCE)
        faults = await self._commit(host, commits)
        if faults is None:
            return False
        left = self._left()
        self._end_limit()  # it is durable, and not to be answered as if it were not
        await commits.compaction.settle(max(0.0, min(BLOBS_PATIENCE, left)))
        if faults:
            raise faults[0]
        return True

    async def _commit(self, host: Host, commits: GroupCommit) -> list[PersistenceError] | None:
        """Process the update until it commits.

        Returns:
            Why entities are not saved; None if the update was committed before.
        """
        while not commits.repository.has_delivered(self._number):
            try:
                return await self._try(host, commits)
            except OvertakenError:
                if self._on_conflict == "merge":
                    raise
            self._overtaken += 1
            if self._overtaken > 1:  # read after the wait: anything read before it is old by now
                longest = min(RETRY_PAUSE * 2.0 ** (self._overtaken - 2), MAX_RETRY_PAUSE)
                await asyncio.sleep(random.random() * longest)  # noqa: S311 - no secret
                await bring_up_to_date(self._application, commits, host)
        return None

    async def _try(self, host: Host, commits: GroupCommit) -> list[PersistenceError]:
        """Process the update once and commit it, or take it back and raise."""
        transaction = Transaction(self._application, commits, self._parse(), self._on_conflict)
        host.open = transaction
        try:
            await self._process(transaction)
            faults = await transaction.save(host.unsavable)
        except GeneratorExit:
            raise  # the loop is gone: nothing can be awaited, and the next call takes it back
        except BaseException:  # such as a timeout: Telegram sends the update again
            if host.open is transaction:
                await host.take_back()
            raise
        host.open = None
        return faults

    async def _process(self, transaction: Transaction) -> None:
        """Process the update. By default, handlers may take any time."""
        left = self._left()
        self._allow(math.inf)
        self._in_handlers = True
        await transaction.process()
        self._in_handlers = False
        self._allow(left)

    def _allow(self, seconds: float) -> None:
        """Set the deadline to so many seconds from now, unless `deliver` was given one."""
        if self._patient:
            when = asyncio.get_running_loop().time() + seconds
            self._limit.reschedule(when if math.isfinite(seconds) else None)

    def _end_limit(self) -> None:
        if not self._limit.expired():  # else a handler has gone on though it was cancelled
            self._limit.reschedule(None)

    def _left(self) -> float:
        """Return the seconds until the deadline."""
        when = self._limit.when()
        return math.inf if when is None else when - asyncio.get_running_loop().time()

    def failure(self) -> Exception:
        """Return the error to raise when the time is up."""
        number = self._number
        remedy = "Nothing of it stays: have it sent again, as Telegram does unless it is answered."
        if self._overtaken:
            return ConflictError(
                f"What update {number} changes, other instances have changed first each time that "
                f"it was processed, {self._overtaken} times until its time was up. {remedy}"
            )
        if self._in_handlers:
            return TimeoutError(f"Update {number} was not processed in time. {remedy}")
        return StorageUnavailableError(
            f"The storage, or those before it, left update {number} no time to be committed. "
            f"{remedy}"
        )
