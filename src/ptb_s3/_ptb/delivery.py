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
from ptb_s3._ptb.on_demand import prefetch
from ptb_s3._ptb.state_loader import StateLoader
from ptb_s3._ptb.time_limit import TimeLimit
from ptb_s3._ptb.transaction import OnConflict, Transaction, work_of
from ptb_s3.errors import (
    ConflictError,
    OvertakenError,
    PersistenceError,
    StorageUnavailableError,
)

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
        limit: Surrounds `run`. The time of handlers and of the first load does not count, unless
            `deliver` was given one.
    """

    def __init__(
        self,
        application: App,
        number: int,
        parse: Callable[[], Update],
        on_conflict: OnConflict,
        limit: TimeLimit,
    ) -> None:
        self._application = application
        self._number = number
        self._parse = parse
        self._on_conflict = on_conflict
        self._limit = limit
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
        commits = await prepare(self._application, loader, host, self._limit)
        faults = await self._commit(host, commits)
        if faults is None:
            return False
        await self._limit.settle(commits.compaction)
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
        update = self._parse()
        await prefetch(commits, work_of(update).subjects)
        transaction = Transaction(self._application, commits, work_of(update), self._on_conflict)
        host.open = transaction
        try:
            await self._process(transaction, update)
            faults = await transaction.save(host.unsavable)
        except GeneratorExit:
            raise  # the loop is gone: nothing can be awaited, and the next call takes it back
        except BaseException:  # such as a timeout: Telegram sends the update again
            if host.open is transaction:
                await host.take_back()
            raise
        host.open = None
        return faults

    async def _process(self, transaction: Transaction, update: Update) -> None:
        """Process the update. By default, handlers may take any time."""
        left = self._limit.left()
        self._limit.allow(math.inf)
        self._in_handlers = True
        await transaction.process(update)
        self._in_handlers = False
        self._limit.allow(left)

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
