"""Prepare an application for the next update of a host that may freeze or end it in between.

A host calls `deliver` for each update, perhaps on another event loop and from another thread each
time. Between two updates nothing is unsaved; `prepare` establishes that, whatever broke off before.
"""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress

from ptb_s3._format.entities import BOT_DATA_KEY, Kind
from ptb_s3._ptb.application_state import App, will_read
from ptb_s3._ptb.group_commit import GroupCommit
from ptb_s3._ptb.internals import Internals
from ptb_s3._ptb.state_loader import StateLoader
from ptb_s3._ptb.takeover import bring_in
from ptb_s3._ptb.time_limit import TimeLimit
from ptb_s3._ptb.transaction import Entity, Transaction, entity_of
from ptb_s3._ptb.unsaved_changes import has_unsaved
from ptb_s3.errors import ConflictError, SerializationError


class Host:
    """State of an application between two deliveries: one update at a time, on one event loop.

    Attributes:
        loop: Event loop of the last call.
        turn: Lock held by the call that is under way, so that it is known which changes are its.
        moved: Whether the loop has changed, and connections of the old one are left behind.
        begun: Whether the application is initialised.
        ready: Whether its `post_init` was carried out.
        open: Transaction that is under way, or was when its event loop was closed.
        unsavable: Entities that cannot be saved because of changes that are no update's.
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
        self.unsavable: set[Entity] = set()

    def enter(self, loop: asyncio.AbstractEventLoop) -> bool:
        """Begin a call, and return whether it may go on.

        It may not while another thread is in the middle of one, on a loop that runs.

        Args:
            loop: Event loop of the caller.
        """
        with self._entrance:
            if self.loop is not loop:
                if self._calls and self.loop is not None and self.loop.is_running():
                    return False
                self.moved = self.moved or self.loop is not None
                self.loop, self.turn, self._calls = loop, asyncio.Lock(), 0
            self._calls += 1
            return True

    def leave(self, loop: asyncio.AbstractEventLoop) -> None:
        """End a call that was begun on this event loop."""
        with self._entrance:
            if self.loop is loop:
                self._calls -= 1

    async def take_back(self) -> None:
        """Take back the update that is under way, if there is one."""
        if self.open is not None:
            await self.open.take_back()
            self.open = None


async def prepare(
    application: App, loader: StateLoader, host: Host, limit: TimeLimit | None = None
) -> GroupCommit:
    """Initialise an application or bring its state up to date, and save what is no update's.

    One that runs, as by `run_polling`, is initialised already, and its `post_init` is done.

    Args:
        application: Application that is to process an update.
        loader: Loads the state of its persistence.
        host: What is known of the application.
        limit: Time limit of the call.

    Returns:
        The group commit of its persistence, with nothing unsaved.

    Raises:
        PersistenceError: The state cannot be read, or what is unsaved cannot be saved.
    """
    fresh = loader.commits is None
    if limit is not None and (host.ready or application.running):
        limit.allow_storage()
    if not application.running:
        await _begin(application, loader, host)
    await host.take_back()
    commits = await loader.opened()
    commits.compaction.in_call = not application.running
    if fresh:
        await _save_others(application, commits, host)
    else:
        await commits.idle()  # a read would not wait for a commit under way, and find less
        await bring_up_to_date(application, commits, host)
    if limit is not None:
        limit.allow_storage()
    return commits


async def _begin(application: App, loader: StateLoader, host: Host) -> None:
    """Initialise an application and carry out its `post_init`, unless that is done."""
    if not host.begun:
        if loader.commits is not None and will_read(application):
            Internals(application).forget()
        await application.initialize()
        host.begun = True
    if not host.ready:  # one that failed, as for want of a network, is called again
        if application.post_init is not None:
            await application.post_init(application)
        for participant in loader.participants:
            participant.settle()
        host.ready = True


async def bring_up_to_date(application: App, commits: GroupCommit, host: Host) -> None:
    """Take over what other instances have committed, and bring it into the live objects.

    Raises:
        PersistenceError: It cannot be read or, with what is unsaved, merged.
    """
    await commits.peers.catch_up()
    await _save_others(application, commits, host)
    internals = Internals(application)
    if internals.stores(Kind.BOT_DATA):
        pristine = application.context_types.bot_data
        commits.peers.refresh(Kind.BOT_DATA, BOT_DATA_KEY, application.bot_data, pristine)
    bring_in(internals, commits.objects)
    commits.bring_in()


async def _save_others(application: App, commits: GroupCommit, host: Host) -> None:
    """Save changes that are no update's, such as `post_init`'s: they must survive its rollback."""
    host.unsavable = set()
    if has_unsaved(Internals(application), commits) or commits.repository.dirty:
        faults = commits.report.faults = []
        await application.update_persistence()
        await save_participants(commits)
        await commits.commit()
        host.unsavable = {entity_of(fault) for fault in faults}


async def save_participants(commits: GroupCommit) -> None:
    """Save what PTB's own `Application` has saved nothing along with, such as jobs.

    What cannot be saved is told to the listener of `CommitReport.faults`.

    Raises:
        PersistenceError: The commit failed.
    """
    if commits.pending:
        with suppress(SerializationError, ConflictError):
            await commits.join(shared=False)
