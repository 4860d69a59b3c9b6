"""One update on its way to its durable effects, tried until it commits or its time is up.

Between two updates nothing is unsaved: what somebody else has changed is saved before an update
begins, and what an update has changed is committed or taken back before it ends.
"""

from __future__ import annotations

import asyncio
import math
import random
import threading
from collections.abc import Callable
from typing import Protocol

from telegram import Update

from ptb_s3._format.entities import BOT_DATA_KEY, Kind
from ptb_s3._ptb.group_commit import GroupCommit
from ptb_s3._ptb.internals import Internals, will_read
from ptb_s3._ptb.rollback import has_unsaved
from ptb_s3._ptb.transaction import App, OnConflict, Transaction, entity_of
from ptb_s3.errors import (
    ConflictError,
    OvertakenError,
    PersistenceError,
    StorageUnavailableError,
)

# Seconds for which a call goes on by default, besides what handlers and the first load take. Hosts
# give an update 30 s or more, and Telegram waits for longer than that.
PATIENCE = 20.0
# Seconds that blobs written after a commit may hold up the answer. They make the next cold start
# cheaper, and nothing is lost if they are not written.
BLOBS_PATIENCE = 5.0
# Seconds: upper bound of the wait before the third try, doubled with each further one. The second
# comes at once: two instances that take turns meet once each time.
RETRY_PAUSE = 0.05
MAX_RETRY_PAUSE = 1.0


class Persistence(Protocol):
    """As much of an `S3Persistence` as is needed here."""

    @property
    def open_already(self) -> GroupCommit | None: ...

    async def opened(self) -> GroupCommit: ...


class Host:
    """What there is to know of an application between two calls.

    Attributes:
        loop: The event loop of the last call.
        turn: Held by the call that is under way: one update at a time, so that it is known what
            belongs to it.
        moved: Whether there is something left to be put from the loop before on this one.
        begun: Whether the application is initialised.
        ready: Whether its `post_init` was carried out.
        open: The update that is under way; of a call that broke off, if its loop is gone.
        unsavable: Entities that cannot be saved for what others than updates have made of them.
    """

    def __init__(self) -> None:
        self.loop: asyncio.AbstractEventLoop | None = None
        self.turn = asyncio.Lock()
        self.moved = False
        self._calls = 0
        self._entrance = threading.Lock()
        self.begun = False
        self.ready = False
        self.open: Transaction | None = None
        self.unsavable: set[tuple[str | None, object]] = set()

    def enter(self, loop: asyncio.AbstractEventLoop) -> bool:
        """Begin a call; tell if that may be: not while another thread is in the middle of one."""
        with self._entrance:
            if self.loop is not loop:
                if self._calls and self.loop is not None and self.loop.is_running():
                    return False
                self.moved = self.moved or self.loop is not None
                self.loop, self.turn, self._calls = loop, asyncio.Lock(), 0
            self._calls += 1
            return True

    def leave(self, loop: asyncio.AbstractEventLoop) -> None:
        """End a call."""
        with self._entrance:
            if self.loop is loop:
                self._calls -= 1

    async def take_back(self) -> None:
        """Take back the update that is under way, if there is one."""
        if self.open is not None:
            await self.open.take_back()
            self.open = None


async def prepare(application: App, persistence: Persistence, host: Host) -> GroupCommit:
    """Initialise the application, or bring its state up to date; nothing is unsaved afterwards."""
    fresh = persistence.open_already is None
    if not host.begun:
        if not fresh and will_read(application):
            Internals(application).forget()
        await application.initialize()
        host.begun = True
    if not host.ready:  # one that failed, as for the network's sake, is called again
        if application.post_init is not None:
            await application.post_init(application)
        host.ready = True
    await host.take_back()
    commits = await persistence.opened()
    if fresh:
        await _save_others(application, commits, host)
    else:
        await commits.idle()  # a look would not wait for what is under way, and find less
        await _refresh(application, commits, host)
    return commits


async def _refresh(application: App, commits: GroupCommit, host: Host) -> None:
    """Bring in what others have committed."""
    await commits.catch_up()
    await _save_others(application, commits, host)
    internals = Internals(application)
    if internals.stores(Kind.BOT_DATA):
        pristine = application.context_types.bot_data
        commits.refresh(Kind.BOT_DATA, BOT_DATA_KEY, application.bot_data, pristine)
    internals.bring_in(commits.objects)


async def _save_others(application: App, commits: GroupCommit, host: Host) -> None:
    """Save what is no update's, such as `post_init`'s: it is not to be taken back with one."""
    host.unsavable = set()
    unsaved = has_unsaved(application, Internals(application), commits.objects)
    if unsaved or commits.repository.dirty:
        faults = commits.faults = []
        await application.update_persistence()
        await commits.repository.commit()
        host.unsavable = {entity_of(fault) for fault in faults}


class Delivery:
    """One update on its way to its durable effects.

    Args:
        application: The application.
        number: The update's id.
        parse: Makes the update anew, as an object: processing changes it.
        on_conflict: As given to `deliver`.
        limit: Ends it when its time is up. One without an end is given one, which handlers and the
            first load do not count for.
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

    async def run(self, persistence: Persistence, host: Host) -> bool:
        """Do what `deliver` says, when it is its turn."""
        if host.ready:
            self._allow(PATIENCE)
        commits = await prepare(self._application, persistence, host)
        self._allow(PATIENCE)
        faults = await self._commit(host, commits)
        if faults is None:
            return False
        left = self._left()
        self._end_limit()  # it is durable, and not to be answered as if it were not
        await commits.settle(max(0.0, min(BLOBS_PATIENCE, left)))
        if faults:
            raise faults[0]
        return True

    async def _commit(self, host: Host, commits: GroupCommit) -> list[PersistenceError] | None:
        """Process the update until it commits.

        Returns:
            What of it is not saved; None: all was committed before.
        """
        while not commits.repository.has_delivered(self._number):
            try:
                return await self._try(host, commits)
            except OvertakenError:
                if self._on_conflict == "merge":
                    raise
            self._overtaken += 1
            if self._overtaken > 1:  # and look again: what was seen before a wait is old by now
                longest = min(RETRY_PAUSE * 2.0 ** (self._overtaken - 2), MAX_RETRY_PAUSE)
                await asyncio.sleep(random.random() * longest)  # noqa: S311 - no secret
                await _refresh(self._application, commits, host)
        return None

    async def _try(self, host: Host, commits: GroupCommit) -> list[PersistenceError]:
        """Process the update once and commit it, or take it back and raise."""
        transaction = Transaction(self._application, commits, self._parse(), self._on_conflict)
        host.open = transaction
        try:
            await self._process(transaction)
            faults = await transaction.save(host.unsavable)
        except GeneratorExit:
            raise  # of a loop that is gone: nothing can be awaited, and the next call takes it back
        except BaseException:  # out of time, for one: Telegram sends it again
            if host.open is transaction:
                await host.take_back()
            raise
        host.open = None
        return faults

    async def _process(self, transaction: Transaction) -> None:
        """Process the update; by default, that may take as long as it does."""
        left = self._left()
        self._allow(math.inf)
        self._in_handlers = True
        await transaction.process()
        self._in_handlers = False
        self._allow(left)

    def _allow(self, seconds: float) -> None:
        """Have the time be up in so many seconds, unless the caller of `deliver` has said when."""
        if self._patient:
            when = asyncio.get_running_loop().time() + seconds
            self._limit.reschedule(when if math.isfinite(seconds) else None)

    def _end_limit(self) -> None:
        if not self._limit.expired():  # or a handler has gone on though it was cancelled
            self._limit.reschedule(None)

    def _left(self) -> float:
        """Return the seconds until the time is up."""
        when = self._limit.when()
        return math.inf if when is None else when - asyncio.get_running_loop().time()

    def failure(self) -> Exception:
        """Return what to raise when the time is up."""
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
