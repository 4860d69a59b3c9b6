"""Make one commit of all that PTB hands over in one interval.

PTB starts all its ``update_*`` calls of an interval in one iteration of the event loop, tells
nobody when that was all, and awaits each. So the first call starts a task, which runs in the next
iteration, when all have been started; all of them wait for it:

    iteration 1    update_user_data(1)  update_user_data(2)  update_bot_data    one group
    iteration 2    task: serialise and stage, in slices; one conditional PUT
    afterwards     each call returns, and one of them raises if the commit failed

`commit_group` says which call tells of what, `group_writer` does the work, `change_capture` finds
what has changed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any

from ptb_s3._engine.loop_locks import running
from ptb_s3._engine.repository import Repository
from ptb_s3._format.entities import EntityKey, Kind, counted
from ptb_s3._options import Sync
from ptb_s3._ptb.background_compaction import BackgroundCompaction
from ptb_s3._ptb.change_capture import ChangeCapture, Reported
from ptb_s3._ptb.commit_group import CommitGroup, Submission, Waiter, combined, in_parts
from ptb_s3._ptb.commit_report import CommitReport
from ptb_s3._ptb.group_writer import GroupWriter
from ptb_s3._ptb.live_objects import LiveObjects
from ptb_s3._ptb.participants import Participant
from ptb_s3._ptb.peers import Peers
from ptb_s3._ptb.save_watchdog import SaveWatchdog
from ptb_s3._ptb.shutdown_deadline import ShutdownDeadline
from ptb_s3._ptb.stall_meter import StallMeter
from ptb_s3._values.partial_saves import Unsaved
from ptb_s3._values.serializer import Serializer
from ptb_s3.errors import ConflictError, PersistenceError, StorageUnavailableError

# Seconds that a commit which is cancelled has to end; it waits for nothing but the loop.
GIVEN_UP = 0.25

_LOGGER = logging.getLogger("ptb_s3")


class GroupCommit:
    """Group commit: PTB's calls of one interval become one commit of a loaded repository.

    What was handed over is never lost while the process lives: it is in a group, or staged, or was
    reported as a fault.

    Args:
        repository: Repository, loaded.
        serializer: Serializer of the values.
        sync: How often to poll for commits of other writers.
        shutdown: Bounds commits while the bot is being stopped.
        unsaved: Top-level keys that are never saved, by kind.
        watchdog: Told of each save and each update.
        stalls: Measures for how long a commit holds the event loop; None: one that counts in the
            repository's counters.
        participants: What is saved besides PTB's maps, in the same commits.

    Attributes:
        repository: As above.
        objects: Live objects of PTB, compared with what was last seen of them.
        peers: Other writers, whose commits are taken over.
        shutdown: As above.
        compaction: Writes blobs in the background.
        report: Collects what could not be saved.
    """

    def __init__(
        self,
        repository: Repository,
        serializer: Serializer,
        sync: Sync = "auto",
        shutdown: ShutdownDeadline | None = None,
        unsaved: Unsaved | None = None,
        *,
        watchdog: SaveWatchdog | None = None,
        stalls: StallMeter | None = None,
        participants: Sequence[Participant] = (),
    ) -> None:
        self.repository = repository
        self._participants = participants
        self._stalls = stalls or StallMeter(repository.counters)
        self.objects = LiveObjects(repository.staged, serializer, unsaved, self._is_held)
        self.shutdown = shutdown or ShutdownDeadline()
        self.compaction = BackgroundCompaction(repository, serializer)
        self.report = CommitReport()
        self._watchdog = watchdog
        self._capture = ChangeCapture(repository, serializer, unsaved)
        self.peers = Peers(repository, self.objects, self._capture, sync)
        self._writer = GroupWriter(
            repository,
            capture=self._capture,
            shutdown=self.shutdown,
            compaction=self.compaction,
            report=self.report,
            waiting=self.waiting,
            stalls=self._stalls,
        )
        self._group: CommitGroup | None = None
        self._committing: set[asyncio.Task[None]] = set()

    def note_update(self) -> None:
        """Note that an update is processed, after which somebody should ask for a save.

        Not while a listener takes faults: `deliver` saves each update, or takes it back. Nor while
        a save is under way, which may take long and is none that is missing.
        """
        watchdog = self._watchdog
        if watchdog is not None and self.report.faults is None and not self._under_way():
            watchdog.note_update(asyncio.get_running_loop().time())

    def note_unchanged(
        self, kind: Kind, values: Mapping[EntityKey, object], *, loaded: bool = False
    ) -> None:
        """Note the bytes of unchanged objects, as `ChangeCapture.note_unchanged`."""
        self._capture.note_unchanged(kind, values, loaded=loaded)

    @property
    def reported(self) -> Reported:
        """Return the refusals that were reported, as `ChangeCapture.reported`."""
        return self._capture.reported

    @reported.setter
    def reported(self, reported: Reported) -> None:
        self._capture.reported = reported

    # What PTB hands over ------------------------------------------------------------------------

    def join(self, *, shared: bool = True) -> Coroutine[Any, Any, None]:
        """Return a coroutine that waits for this interval's commit, with what participants have.

        Args:
            shared: As for `record`.
        """
        self._joinable()
        return self.record(Kind.BOT_DATA, {}, shared=shared)

    def record(
        self,
        kind: Kind,
        values: Mapping[EntityKey, object],
        *,
        dropped: Sequence[EntityKey] = (),
        whole: bool = False,
        shared: bool = True,
    ) -> Coroutine[Any, Any, None]:
        """Hand over changes at once, and return a coroutine that waits until they are durable.

        Nothing comes between the copies that PTB makes of its data and this call, and none of them
        is lost if what waits is cancelled.

        Args:
            kind: Kind of all these entities.
            values: New values by entity key.
            dropped: Keys of the entities that were deleted.
            whole: Whether `values` are all entities of the kind.
            shared: Whether an application makes this call together with others; see `commit_group`.

        Raises:
            SerializationError: When awaited: a value cannot be saved. Everything else is.
            ConflictError: When awaited: an entity, preferably one of these, cannot be merged.
                Everything else is saved.
            PersistenceError: When awaited: the commit failed. Its changes go with the next one.
            RuntimeError: No event loop is running.
        """
        group = self._group
        # PTB makes thousands of these calls in one iteration of the loop, so each has to be short.
        # A group whose commit has been cancelled meanwhile is salvaged with the calls in it.
        if group is None or group.loop is not asyncio.get_running_loop():
            group = self._joinable()
        submission = Submission(kind, values, dropped, whole, [])
        group.submissions.append(submission)
        return self._recorded(group, submission, shared=shared)

    async def _recorded(self, group: CommitGroup, submission: Submission, *, shared: bool) -> None:
        kind, values, dropped, _, faults = submission
        waiter = Waiter(group.loop, faults, [(kind, values), (kind, dropped)], shared=shared)
        failure = await self._outcome(group, waiter)
        if waiter.faults:
            raise combined(waiter.faults) from failure
        if failure is not None:
            raise failure
        if waiter.left_out:
            raise combined(waiter.left_out)

    def record_many(
        self, kind: Kind, values: dict[EntityKey, Any], heard: list[Exception] | None = None
    ) -> Coroutine[Any, Any, list[PersistenceError]]:
        """Hand over many changed entities in one call, otherwise as `record`.

        Args:
            kind: Kind of all these entities.
            values: New values by entity key. Is emptied, so that each value is freed once it is
                serialised: to free ten thousand at once would hold up the loop.
            heard: List that the returned faults are added to as well.

        Returns:
            When awaited: why entities could not be saved. All others are saved.

        Raises:
            PersistenceError: When awaited: the commit failed, as for `record`.
        """
        group, keys, faults = self._joinable(), tuple(values), list[PersistenceError]()
        group.submissions.extend(in_parts(kind, values, faults))
        waiter = Waiter(group.loop, faults, [(kind, keys)], shared=True, many=True)
        return self._recorded_many(group, waiter, heard)

    async def _recorded_many(
        self, group: CommitGroup, waiter: Waiter, heard: list[Exception] | None
    ) -> list[PersistenceError]:
        failure = await self._outcome(group, waiter)
        faults = [*waiter.faults, *waiter.left_out]
        if heard is not None:
            heard += faults
        elif failure is not None:
            self.report.unheard += faults  # they are not reported a second time by themselves
        if failure is not None:
            raise failure
        return faults

    async def _outcome(self, group: CommitGroup, waiter: Waiter) -> BaseException | None:
        """Wait for the commit, and return its failure if this call is to raise it."""
        try:
            await group.wait(waiter)
        except asyncio.CancelledError:
            self.report.unheard += waiter.take_unheard()  # to be told by somebody else
            raise
        return group.failure_for(waiter)

    def withdraw(self, kind: Kind, key: EntityKey) -> None:
        """Take back a value that waits in the group: its entity was dropped after it was copied."""
        self._capture.forget(kind, key)
        for submission in self._group.submissions if self._group is not None else ():
            if submission.kind is kind and isinstance(submission.values, dict):
                submission.values.pop(key, None)

    def _is_held(self) -> bool:
        return self._group is not None and bool(self._group.submissions)

    def waiting(self) -> dict[Kind, set[EntityKey]]:
        """Return the keys of entities handed over and not known to be durable, by kind."""
        waiting = {kind: set(keys) for kind, keys in self.repository.staged.dirty.items()}
        for submission in self._group.submissions if self._group is not None else ():
            waiting[submission.kind].update(submission.values, submission.dropped)
        return waiting

    # The group that calls join ------------------------------------------------------------------

    def _joinable(self) -> CommitGroup:
        """Return the group that takes what is handed over now."""
        group = self._group
        if group is None or group.is_lost:
            self._salvage()
            group = self._group = self._begin()
        for participant in self._participants:
            if contribution := participant.contribute():
                group.submissions.append(Submission(*contribution, whole=False, faults=[]))
        return group

    @property
    def pending(self) -> bool:
        """Return whether a participant has changes that no group has yet."""
        return any(participant.pending for participant in self._participants)

    def bring_in(self) -> None:
        """Have participants take over what other writers have committed."""
        for participant in self._participants:
            participant.bring_in()

    def take_back(self) -> None:
        """Have participants reset what an update has changed that is taken back."""
        for participant in self._participants:
            participant.take_back()

    def _begin(self) -> CommitGroup:
        self.shutdown.check()  # the time of a shutdown begins with the first call made in it
        if self._watchdog is not None:
            self._watchdog.note_save()
        group = CommitGroup()
        # A task of its own: if one of PTB's calls is cancelled, the others still commit.
        group.task = asyncio.create_task(self._writer.write(group, self._close))
        self._committing = {group.task, *self._under_way()}
        group.task.add_done_callback(self._ended)
        return group

    def _close(self, group: CommitGroup) -> None:
        if self._group is group:
            self._group = None  # later calls are for the next commit

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._committing.discard(task)
        self._salvage()

    def _salvage(self) -> None:
        """Stage what was handed over to a commit that never began, and resume its calls.

        It was cancelled before its first step, as when a framework cancels all tasks, or its event
        loop was closed.
        """
        group = self._group
        if group is not None and group.is_lost:
            self._group = None
            self._writer.salvage(group)

    def _under_way(self) -> list[asyncio.Task[None]]:
        return [task for task in self._committing if running(task)]

    # The end ------------------------------------------------------------------------------------

    async def commit(self) -> None:
        """Commit what is staged, outside of any group, with its stall measured.

        Raises:
            PersistenceError: The commit failed. Its changes stay staged.
        """
        await self._stalls.metered(self.repository.commit())

    async def idle(self) -> None:
        """Wait until no commit is under way."""
        if committing := self._under_way():
            await asyncio.wait(committing)
        else:
            self._salvage()  # nobody commits it if its event loop is gone

    async def give_up(self) -> None:
        """Cancel the commit that is under way: what it held stays staged, its outcome unknown."""
        for task in self._under_way():
            task.cancel()
        if self._group is not None and not running(self._group.task):
            # Of an event loop that is gone, and of an update that is about to be taken back.
            self._group.submissions.clear()
        await self.idle()

    async def flush(self, deadline: float, seconds: float) -> None:
        """Commit what is left, and write blobs if there is time.

        Args:
            deadline: Time on the loop's clock at which it has to be over.
            seconds: Seconds that the shutdown may take, for the text of the error.

        Raises:
            SerializationError: A value could not be saved, and its caller was cancelled before it
                heard of it. Everything else is saved.
            ConflictError: An entity cannot be merged. Everything else is saved.
            PersistenceError: The commit failed. Its changes stay staged.
        """
        try:
            async with asyncio.timeout_at(deadline):
                await self.idle()
                self._salvage()
                await self.commit()
        except TimeoutError:
            raise await self._too_late(seconds) from None
        except BaseException:
            self.compaction.cancel()  # or it would go on with a client that is closed
            raise
        if self.repository.has_committed:
            await self.compaction.write_until(deadline)
        self._raise_left_out()

    async def _too_late(self, seconds: float) -> StorageUnavailableError:
        """Cancel what hangs, since the client is closed next, and return the error to raise."""
        self.compaction.cancel()
        committing = self._under_way()
        for task in committing:
            task.cancel()
        if committing:
            await asyncio.wait(committing, timeout=GIVEN_UP)
        self._salvage()
        unsaved = counted(self.waiting()) or "nothing"
        return StorageUnavailableError(
            f"The storage did not take the last save within {seconds} s (flush_timeout). What "
            f"changed is kept in memory ({unsaved}); flush again to try again."
        )

    def _raise_left_out(self) -> None:
        """Raise the first fault that nobody has been told of, and log all of them."""
        faults = [*self.report.take_unheard(), *self.repository.take_faults()]
        for fault in faults:
            _LOGGER.error("Not saved, as is told at flush: %s", fault)
        if faults:
            raise faults[0]
        if stuck := self.repository.unmerged_kinds:
            raise ConflictError(
                "Everything is saved but what could not be merged with another writer's changes, "
                f"as the error handlers were told: of {', '.join(stuck)}. It is lost when the bot "
                "ends. Mend merge= or trusted= first, and flush again."
            )
