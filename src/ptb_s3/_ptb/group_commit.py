"""One commit for all that PTB hands over in one interval, and the blobs that follow from it.

PTB starts all its ``update_*`` calls of an interval in one tick of the event loop, tells nobody
when that was all, and awaits each. So the first call starts a task, which runs in the next tick;
all of them wait for it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from typing import Any

from ptb_s3._engine.loop_locks import running
from ptb_s3._engine.repository import Repository
from ptb_s3._format.entities import EntityKey, Kind, counted
from ptb_s3._ptb.background_compaction import Blobs
from ptb_s3._ptb.change_capture import Said, Staging
from ptb_s3._ptb.commit_group import Call, Group, Update, in_parts, together
from ptb_s3._ptb.live_objects import LiveObjects
from ptb_s3._ptb.poller import Poller, Sync
from ptb_s3._ptb.save_watchdog import Asked
from ptb_s3._ptb.shutdown_deadline import Stop
from ptb_s3._values.saved_forms import Unsaved
from ptb_s3._values.serializer import Serializer
from ptb_s3.errors import ConflictError, OvertakenError, PersistenceError, StorageUnavailableError

# Seconds for which the event loop is held at a time, while an interval's values are serialised.
SLICE = 0.002
# Calls of PTB that go on in one tick of the loop once they are saved; each takes some 10 us.
AT_ONCE = 250
# Ticks in which others go on who wait for the loop. What waits for a timer or a socket takes three:
# one to see that it is there, one to tell the future, one to resume the task.
TURNS = 3
# Seconds that a commit which is given up has to end; it waits for nothing but the loop.
GIVEN_UP = 0.25

_LOGGER = logging.getLogger("ptb_s3")


class GroupCommit:
    """Serialises, stages and commits what PTB hands over; compacts in the background.

    Args:
        repository: Where it goes, loaded.
        serializer: Turns values into bytes.
        sync: How often to look for what other instances have committed.
        stop: Says how long a commit may take while the bot is being stopped.
        unsaved: Top-level keys that are never saved, by kind.
        asked: Is told of each save and update.

    Attributes:
        repository: The same.
        objects: What PTB holds of it.
        faults: Where to add what could not be saved, and why, if somebody asks for it.
        overtaken: Why an update was taken back as a whole, since somebody has forgotten that; see
            `Repository.transactional`. Not raised, since it is no error of the bot's.
        stop: As above.
    """

    def __init__(
        self,
        repository: Repository,
        serializer: Serializer,
        sync: Sync = "auto",
        stop: Stop | None = None,
        unsaved: Unsaved | None = None,
        *,
        asked: Asked | None = None,
    ) -> None:
        self.repository = repository
        self.objects = LiveObjects(repository.staged, serializer, unsaved)
        self.stop = stop or Stop()
        self._asked = asked
        self._poller = Poller(repository, sync)
        self.faults: list[PersistenceError] | None = None
        self.overtaken: OvertakenError | None = None
        self._blobs = Blobs(repository, serializer)
        self._staging = Staging(repository, serializer, unsaved)
        self._group: Group | None = None
        self._committing: set[asyncio.Task[None]] = set()
        self._unheard: list[PersistenceError] = []
        self.objects.held = self._is_held

    @property
    def compaction(self) -> asyncio.Task[None] | None:
        """The blobs being written, if there are any."""
        return self._blobs.compaction

    async def settle(self, seconds: float) -> None:
        """Wait for blobs that are being written; give them up after so many seconds."""
        await self._blobs.settle(seconds)

    # What others have committed -----------------------------------------------------------------

    async def look(self) -> None:
        """Take over what other instances have committed, if it is time to look.

        Not in the middle of an update that is a transaction: it works on one state to its end.
        """
        if self.repository.transactional:
            return
        await self._poller.look(asyncio.get_running_loop().time())

    async def catch_up(self) -> None:
        """Take over what other instances have committed, now.

        Raises:
            PersistenceError: It cannot be read or, with what is staged, merged.
        """
        self._poller.looked(asyncio.get_running_loop().time())
        await self.repository.sync()

    def _is_held(self) -> bool:
        return self._group is not None and bool(self._group.updates)

    def refresh(
        self, kind: Kind, key: EntityKey, live: object, pristine: Callable[[], object]
    ) -> None:
        """Bring what an entity is now into a live object; see `LiveObjects.refresh`."""
        overtaken = self.repository.staged.overtaken[kind]
        if key in overtaken:
            self.objects.refresh(kind, key, live, pristine)
            if key not in overtaken:
                self.note_unchanged(kind, {key: live})

    def note_update(self) -> None:
        """Note that an update is processed, for somebody to save what it changes.

        `deliver` saves each, or takes it back; and a save that takes its time is none that is
        missing.
        """
        if self._asked is not None and self.faults is None and not self._under_way():
            self._asked.note_update(asyncio.get_running_loop().time())

    def note_unchanged(
        self, kind: Kind, values: Mapping[EntityKey, object], *, loaded: bool = False
    ) -> None:
        """Note what PTB's copies of fresh objects are written as; see `Staging`."""
        self._staging.note_unchanged(kind, values, loaded=loaded)

    @property
    def said(self) -> Said:
        """What was said to be refused; to set it again has the rest be said once more."""
        return self._staging.said

    @said.setter
    def said(self, said: Said) -> None:
        self._staging.said = said

    # What PTB hands over ------------------------------------------------------------------------

    def join(self) -> Coroutine[Any, Any, None]:
        """Wait for the commit of this interval, with nothing to add to it; see `record`."""
        return self.record(Kind.BOT_DATA, {})

    def record(
        self,
        kind: Kind,
        values: Mapping[EntityKey, object],
        *,
        dropped: Sequence[EntityKey] = (),
        whole: bool = False,
        shared: bool = True,
    ) -> Coroutine[Any, Any, None]:
        """Hand over changes; return what waits until they are durable.

        They are handed over here and now, so that nothing comes between the copies that PTB makes
        of its data and this, and none of them is lost where what waits is cancelled.

        Args:
            kind: Whose entities they are.
            values: What entities have become.
            dropped: Entities that were deleted.
            whole: Whether `values` are all there are.
            shared: Whether it is one of the calls that an application makes together: of these, one
                says that the commit failed, so that PTB's error handlers hear it once.

        Raises:
            SerializationError: A value cannot be saved. Everything else is.
            ConflictError: An entity, best one of these, cannot be merged. Everything else is saved.
            PersistenceError: The commit failed; what failed goes with the next one.
        """
        group = self._group
        # PTB makes thousands of these calls in one tick of the loop, so each is to be short. One
        # whose commit has been cancelled meanwhile is salvaged with the others.
        if group is None or group.loop is not asyncio.get_running_loop():
            group = self._joinable()
        update = Update(kind, values, dropped, whole, [])
        group.updates.append(update)
        return self._recorded(group, update, shared=shared)

    async def _recorded(self, group: Group, update: Update, *, shared: bool) -> None:
        kind, values, dropped, _, faults = update
        call = Call(group.loop, faults, [(kind, values), (kind, dropped)], shared=shared)
        failure = await self._outcome(group, call)
        if call.faults:
            raise together(call.faults) from failure
        if failure is not None:
            raise failure
        if call.left_out:
            raise together(call.left_out)

    def record_many(
        self, kind: Kind, values: dict[EntityKey, Any], heard: list[Exception] | None = None
    ) -> Coroutine[Any, Any, list[PersistenceError]]:
        """Hand over what many entities have become, in one call; see `record`.

        Args:
            kind: Whose entities they are.
            values: What they have become. Is emptied, so that each goes once it is serialised: to
                let go of ten thousand at once would hold up the loop.
            heard: Where to add what is returned as well.

        Returns:
            What could not be saved, and why. Everything else is.

        Raises:
            PersistenceError: The commit failed; see `record`.
        """
        group, keys, faults = self._joinable(), tuple(values), list[PersistenceError]()
        group.updates.extend(in_parts(kind, values, faults))
        call = Call(group.loop, faults, [(kind, keys)], shared=True, many=True)
        return self._recorded_many(group, call, heard)

    async def _recorded_many(
        self, group: Group, call: Call, heard: list[Exception] | None
    ) -> list[PersistenceError]:
        failure = await self._outcome(group, call)
        faults = [*call.faults, *call.left_out]
        if heard is not None:
            heard += faults
        elif failure is not None:
            self._unheard += faults  # they are not said a second time
        if failure is not None:
            raise failure
        return faults

    def _joinable(self) -> Group:
        """Return the group whose commit takes what is handed over now."""
        group = self._group
        if group is None or group.is_lost:
            self._salvage()
            group = self._group = self._begin()
        return group

    async def _outcome(self, group: Group, call: Call) -> BaseException | None:
        """Return when the commit is done; and why it failed, if this call is to say so."""
        try:
            await group.wait(call)
        except asyncio.CancelledError:
            self._unheard += call.take_unheard()  # to be told by somebody else
            raise
        return group.failure_for(call)

    def withdraw(self, kind: Kind, key: EntityKey) -> None:
        """Take back a value that was handed over before its entity was dropped, if it waits."""
        self._staging.forget(kind, key)
        for update in self._group.updates if self._group is not None else ():
            if update.kind is kind and isinstance(update.values, dict):
                update.values.pop(key, None)

    def _begin(self) -> Group:
        self.stop.look()  # its time begins with the first call that is made in it
        if self._asked is not None:
            self._asked.note_save()
        group = Group()
        # A task of its own: if one of PTB's calls is cancelled, the others still commit.
        group.task = asyncio.create_task(self._commit(group))
        self._committing = {group.task, *self._under_way()}
        group.task.add_done_callback(self._ended)
        return group

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._committing.discard(task)
        self._salvage()

    def _salvage(self) -> None:
        """Keep what was handed over to a commit that never began, and let go on who waits for it.

        It was cancelled before its first step, as when a framework cancels all tasks, or its loop
        was closed.
        """
        group = self._group
        if group is None or not group.is_lost:
            return
        self._group = None
        group.failure = group.failure or _given_up()
        while group.updates:
            self._stage(group)
        self._unheard = group.share_out(self._unheard)
        if group.is_here:
            group.release()

    async def flush(self, deadline: float, seconds: float) -> None:
        """Commit what is left, and write blobs if there is time.

        Args:
            deadline: When it is to be over, on the loop's clock.
            seconds: How long that was, for whoever reads the error.

        Raises:
            SerializationError: A value could not be saved, and its caller was cancelled before it
                heard of it. Everything else is.
            ConflictError: An entity cannot be merged. Everything else is saved.
            PersistenceError: The commit failed. What it held stays staged.
        """
        try:
            async with asyncio.timeout_at(deadline):
                if committing := self._under_way():
                    await asyncio.wait(committing)
                self._salvage()
                await self.repository.commit()
        except TimeoutError:
            raise await self._too_late(seconds) from None
        except BaseException:
            self._blobs.give_up()  # or they would go on with a client that is closed
            raise
        if self.repository.has_committed:
            await self._blobs.write_until(deadline)
        self._raise_left_out()

    async def idle(self) -> None:
        """Wait for a commit that is under way."""
        if committing := self._under_way():
            await asyncio.wait(committing)
        else:
            self._salvage()  # nobody is going to commit it, if its event loop is gone

    async def give_up(self) -> None:
        """End a commit that is under way; what it held stays staged, and its outcome is unknown."""
        for task in self._under_way():
            task.cancel()
        if self._group is not None and not running(self._group.task):
            self._group.updates.clear()  # of a loop that is gone, and of an update to be taken back
        await self.idle()

    async def _too_late(self, seconds: float) -> StorageUnavailableError:
        """End what hangs, which would go on with a client that is closed; say what is unsaved."""
        self._blobs.give_up()
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

    def waiting(self) -> dict[Kind, set[EntityKey]]:
        """Return the entities that were handed over and are not known to be durable."""
        waiting = {kind: set(keys) for kind, keys in self.repository.staged.dirty.items()}
        for update in self._group.updates if self._group is not None else ():
            waiting[update.kind].update(update.values, update.dropped)
        return waiting

    def _under_way(self) -> list[asyncio.Task[None]]:
        return [task for task in self._committing if running(task)]

    def _raise_left_out(self) -> None:
        faults, self._unheard = [*self._unheard, *self.repository.take_faults()], []
        for fault in faults:
            _LOGGER.error("Not saved, as is told at flush: %s", fault)
        if faults:
            raise faults[0]
        if stuck := self.repository.stuck:
            raise ConflictError(
                "Everything is saved but what could not be merged with another writer's changes, "
                f"as the error handlers were told: of {', '.join(stuck)}. It is lost when the bot "
                "ends. Mend merge= or trusted= first, and flush again."
            )

    # The commit ---------------------------------------------------------------------------------

    async def _commit(self, group: Group) -> None:
        committed = False
        try:
            await self._stage_all(group)
            if self.repository.dirty:
                async with self.stop.bound():
                    await self.repository.commit()
                committed = True
        except OvertakenError as overtaken:
            self.overtaken = overtaken
        except ConflictError as failure:
            self.tell([failure] if failure.kind is not None else [])  # others, the next one raises
            group.failure = failure
        except TimeoutError:
            group.failure = StorageUnavailableError(
                "The storage did not take it within the time that a stop of the bot may take "
                "(flush_timeout)."
            ).while_saving(counted(self.waiting()))
        except asyncio.CancelledError:
            # PTB drops a CancelledError without a word; this one its error handlers should see.
            group.failure = _given_up()
        except BaseException as failure:  # noqa: BLE001 - handed over to whoever is to say so
            group.failure = failure
        finally:
            left_out = self.repository.take_faults()
            self.tell(left_out)
            self._unheard = group.share_out([*self._unheard, *left_out])
            await self._release(group)
        if committed:  # those who waited go on first: a blob's thread would hold them up
            self._blobs.write_due()

    async def _release(self, group: Group) -> None:
        """Let everybody go on who waited for the commit; not all in one tick of the loop."""
        if group.is_over:
            return
        try:
            while len(group) > AT_ONCE:
                group.release(AT_ONCE)
                await _give_way()
        finally:
            group.release()

    async def _stage_all(self, group: Group) -> None:
        """Serialise what was handed over, in slices between which the loop does other work."""
        clock = asyncio.get_running_loop().time
        try:
            await _give_way()  # PTB's copies, and the start of its calls, have held the loop enough
            begun = clock()
            while group.updates:
                self._stage(group)
                if clock() - begun > SLICE:
                    await _give_way()
                    begun = clock()
        finally:
            if self._group is group:
                self._group = None  # what comes from now on is for the next commit
            while group.updates:  # cut short: what was handed over is kept all the same
                self._stage(group)

    def _stage(self, group: Group) -> None:
        """Stage the next of what was handed over."""
        update = group.updates.popleft()
        known = len(update.faults)
        self._staging.stage(update)
        self.tell(update.faults[known:])
        if update.faults and not known:  # parts of one call share them
            group.faulty.append(update.faults)

    def tell(self, faults: Iterable[Exception]) -> None:
        """Tell whoever asks for it what could not be saved, and why."""
        if self.faults is not None:
            self.faults += [fault for fault in faults if isinstance(fault, PersistenceError)]


def _given_up() -> StorageUnavailableError:
    return StorageUnavailableError(
        "The save was given up when the bot was stopped. What changed is kept in memory."
    )


async def _give_way() -> None:
    for _ in range(TURNS):
        await asyncio.sleep(0)
