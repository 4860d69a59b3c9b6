"""One commit for all that PTB hands over in one interval, and the blobs that follow from it.

PTB starts all its ``update_*`` calls of an interval in one tick of the event loop, tells nobody
when that was all, and awaits each. So the first call starts a task, which runs in the next tick;
all of them wait for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, NamedTuple, TypeVar

from ptb_s3 import _codec
from ptb_s3._codec import PickleSerializer, Serializer
from ptb_s3._live import Lookout, Objects, Sync
from ptb_s3._repository import Repository
from ptb_s3._state import MANY_ALIKE, MAX_ENTITY, Key, Kind, is_key
from ptb_s3._words import MAX_WORDS, common_words, sample
from ptb_s3.errors import (
    ConflictError,
    OvertakenError,
    PersistenceError,
    SerializationError,
    StorageUnavailableError,
)

# Seconds for which the event loop is held at a time, while an interval's values are serialised.
SLICE = 0.002
# Calls of PTB that go on in one tick of the loop once they are saved; each takes some 10 us.
AT_ONCE = 250
# Ticks in which others go on who wait for the loop. What waits for a timer or a socket takes three:
# one to see that it is there, one to tell the future, one to resume the task.
TURNS = 3
# Values that are serialised before somebody looks at the clock; each takes some 10 us.
PART = 50
# Seconds of a flush that are kept for the head that refers to blobs just written.
PUBLISH_RESERVE = 1.0
# Bytes a second that a host is trusted to compress, encrypt and upload while it is being stopped.
FLUSH_RATE = 2 * 1024 * 1024

_LOGGER = logging.getLogger("ptb_s3")
_T = TypeVar("_T")


class _Update(NamedTuple):
    """What one of PTB's calls hands over, and where the faults in it are gathered.

    Attributes:
        kind: Whose entities they are.
        values: What entities have become.
        dropped: Entities that were deleted.
        whole: Whether `values` are all there are, so that every other entity was deleted.
        faults: What could not be saved, and why.
    """

    kind: Kind
    values: Mapping[Key, object]
    dropped: Iterable[Key]
    whole: bool
    faults: list[PersistenceError]


class _Group:
    """The updates that share a commit, and what became of it."""

    __slots__ = ("failure", "updates", "waiting")

    def __init__(self) -> None:
        self.updates: deque[_Update] = deque()
        self.waiting: deque[asyncio.Future[None]] = deque()
        self.failure: BaseException | None = None

    def release(self, count: int) -> None:
        """Let so many of those go on who wait for the commit."""
        for _ in range(count):
            done = self.waiting.popleft()
            if not done.done():  # else it was cancelled
                done.set_result(None)


class GroupCommit:
    """Serialises, stages and commits what PTB hands over; compacts in the background.

    Args:
        repository: Where it goes, loaded.
        serializer: Turns values into bytes.
        sync: How often to look for what other instances have committed.

    Attributes:
        repository: The same.
        objects: What PTB holds of it.
        pristine: Bytes of values that entities are born with, which are no change while an entity
            was never saved.
        compaction: The blobs being written, if there are any.
        faults: Where to add what could not be saved, and why, if somebody asks for it.
        overtaken: Why an update was taken back as a whole, since somebody has forgotten that; see
            `Repository.transactional`. Not raised, since it is no error of the bot's.
    """

    def __init__(self, repository: Repository, serializer: Serializer, sync: Sync = "auto") -> None:
        self.repository = repository
        self.objects = Objects(repository.staged, serializer)
        self._lookout = Lookout(repository, sync)
        self.pristine: dict[tuple[Kind, Key], bytes] = {}
        self.compaction: asyncio.Task[None] | None = None
        self.faults: list[PersistenceError] | None = None
        self.overtaken: OvertakenError | None = None
        self._serializer = serializer
        self._group: _Group | None = None
        self._committing: asyncio.Task[None] | None = None

    async def look(self) -> None:
        """Take over what other instances have committed, if it is time to look.

        Not in the middle of an update that is a transaction: it works on one state to its end.
        """
        if self.repository.transactional:
            return
        await self._lookout.look(asyncio.get_running_loop().time())

    async def catch_up(self) -> None:
        """Take over what other instances have committed, now.

        Raises:
            PersistenceError: It cannot be read or, with what is staged, merged.
        """
        self._lookout.looked(asyncio.get_running_loop().time())
        await self.repository.sync()

    async def join(self) -> None:
        """Wait for the commit of this interval, with nothing to add to it; see `record`."""
        await self.record(Kind.BOT_DATA, {})

    async def record(
        self,
        kind: Kind,
        values: Mapping[Key, object],
        *,
        dropped: Iterable[Key] = (),
        whole: bool = False,
    ) -> None:
        """Hand over changes, and return when they are durable.

        Args:
            kind: Whose entities they are.
            values: What entities have become.
            dropped: Entities that were deleted.
            whole: Whether `values` are all there are.

        Raises:
            SerializationError: A value cannot be saved. Everything else is.
            PersistenceError: The commit failed. Only the group's first member raises it, so that
                PTB's error handlers see it once; what failed goes with the next commit.
        """
        update = _Update(kind, values, dropped, whole, [])
        failure = await self._hand_over((update,))
        if update.faults:
            raise update.faults[0] from failure
        if failure is not None:
            raise failure

    async def record_many(self, kind: Kind, values: dict[Key, Any]) -> list[PersistenceError]:
        """Hand over what many entities have become, in one call; return when that is durable.

        Args:
            kind: Whose entities they are.
            values: What they have become. Is emptied, so that each goes once it is serialised: to
                let go of ten thousand at once would hold up the loop.

        Returns:
            What could not be saved, and why. Everything else is.

        Raises:
            PersistenceError: The commit failed; see `record`.
        """
        faults: list[PersistenceError] = []
        failure = await self._hand_over(_parts(kind, values, faults))
        if failure is not None:
            raise failure
        return faults

    async def _hand_over(self, updates: Iterable[_Update]) -> BaseException | None:
        """Return when the commit of these is done; and why it failed, if this call is to say so."""
        group, leads = self._group, self._group is None
        if group is None:
            group = self._group = _Group()
            # A task of its own: if one of PTB's calls is cancelled, the others still commit.
            self._committing = asyncio.create_task(self._commit(group))
        done = asyncio.get_running_loop().create_future()
        group.updates.extend(updates)
        group.waiting.append(done)
        await done
        return group.failure if leads else None

    async def flush(self, seconds: float) -> None:
        """Commit what is left, and write blobs if there is time.

        Args:
            seconds: How long it may take, all told.

        Raises:
            PersistenceError: The commit failed. What it held stays staged.
        """
        deadline = asyncio.get_running_loop().time() + seconds
        try:
            async with asyncio.timeout_at(deadline):
                if committing := _running(self._committing):
                    await asyncio.wait([committing])
                await self.repository.commit()
        except TimeoutError:
            if committing := _running(self._committing):
                committing.cancel()  # or it would go on with a client that is closed
                await asyncio.wait([committing])
            raise StorageUnavailableError(
                f"The storage did not take the last commit within {seconds} s (flush_timeout). "
                "What changed is kept in memory; flush again to try again."
            ) from None
        if self.repository.has_committed:
            await self._write_blobs(deadline)

    async def idle(self) -> None:
        """Wait for a commit that is under way."""
        if committing := _running(self._committing):
            await asyncio.wait([committing])
        else:
            self._group = None  # nobody is going to commit it, if its event loop is gone

    async def give_up(self) -> None:
        """End a commit that is under way; what it held stays staged, and its outcome is unknown."""
        if committing := _running(self._committing):
            committing.cancel()
        await self.idle()

    async def settle(self, seconds: float) -> None:
        """Wait for blobs that are being written; give them up after so many seconds."""
        if compaction := _running(self.compaction):
            await asyncio.wait([compaction], timeout=seconds)
            compaction.cancel()
            await asyncio.wait([compaction])

    async def _commit(self, group: _Group) -> None:
        committed = False
        try:
            await self._stage_all(group)
            if self.repository.dirty:
                await self.repository.commit()
                committed = True
        except OvertakenError as overtaken:
            self.overtaken = overtaken
        except ConflictError as failure:
            self.tell([failure] if failure.kind is not None else [])  # others, the next one raises
            group.failure = failure
        except asyncio.CancelledError:
            # PTB drops a CancelledError without a word; this one its error handlers should see.
            group.failure = StorageUnavailableError(
                "The commit was given up when the bot was stopped. What changed is kept in memory."
            )
        except BaseException as failure:  # noqa: BLE001 - handed over to whoever leads the group
            group.failure = failure
        finally:
            await self._release(group)
        if committed:  # those who waited go on first: a blob's thread would hold them up
            self._compact_in_background()

    async def _release(self, group: _Group) -> None:
        """Let everybody go on who waited for the commit; not all in one tick of the loop."""
        try:
            while len(group.waiting) > AT_ONCE:
                group.release(AT_ONCE)
                await _give_way()
        finally:
            group.release(len(group.waiting))

    async def _stage_all(self, group: _Group) -> None:
        """Serialise what was handed over, in slices between which the loop does other work."""
        clock = asyncio.get_running_loop().time
        try:
            await _give_way()  # PTB's copies, and the start of its calls, have held the loop enough
            begun = clock()
            while group.updates:
                self._stage(group.updates.popleft())
                if clock() - begun > SLICE:
                    await _give_way()
                    begun = clock()
        finally:
            self._group = None  # what comes from now on is for the next commit
            while group.updates:  # cut short: what was handed over is kept all the same
                self._stage(group.updates.popleft())

    def _stage(self, update: _Update) -> None:
        kind, values = update.kind, update.values
        for key in [*update.dropped, *(self._gone(kind, values) if update.whole else ())]:
            self.repository.staged.drop(kind, key)
        for key, value in values.items():
            try:
                data = self._dump(kind, key, value)
                unborn = self.repository.staged.get(kind, key) is None
                if not (unborn and data == self.pristine.get((kind, key))):
                    self.repository.stage(kind, key, data)
            except SerializationError as fault:
                self._note(update, fault.locate(kind.value, key))
            except OvertakenError:
                pass  # the commit raises it
            except ConflictError as fault:
                self._note(update, fault)

    def _note(self, update: _Update, fault: PersistenceError) -> None:
        update.faults.append(fault)
        self.tell([fault])

    def tell(self, faults: Iterable[Exception]) -> None:
        """Tell whoever asks for it what could not be saved, and why."""
        if self.faults is not None:
            self.faults += [fault for fault in faults if isinstance(fault, PersistenceError)]

    def _gone(self, kind: Kind, values: Mapping[Key, object]) -> list[Key]:
        """Return what is not among all values any more, and was, as far as PTB has seen."""
        staged = self.repository.staged
        # What others have deleted as well: if it comes back, PTB is not to be taken to have it.
        known = staged.entities(kind).keys() | staged.overtaken[kind].keys()
        return [key for key in known - values.keys() if staged.seen(kind, key) is not None]

    def _dump(self, kind: Kind, key: Key, value: object) -> bytes:
        if not is_key(kind, key):
            raise SerializationError(f"a {type(key).__name__} of this form cannot be its key")
        data = _codec.dump(self._serializer, value)
        if len(data) > MAX_ENTITY:
            raise SerializationError(f"it takes {len(data)} bytes, and at most {MAX_ENTITY} fit")
        return data

    def _compact_in_background(self) -> None:
        if self.repository.due() and not _running(self.compaction):
            self.compaction = asyncio.create_task(self._compact())

    async def _compact(self) -> None:
        for kind in self.repository.due():
            try:
                await self._write_blob(kind)
            except PersistenceError as exc:
                _LOGGER.warning("Could not write blob %s yet; nothing is lost. %s", kind, exc)

    async def _write_blob(self, kind: Kind) -> None:
        await self.repository.compact(kind)
        if kind in MANY_ALIKE and isinstance(self._serializer, PickleSerializer):
            await self._look_for_words(kind)

    async def _look_for_words(self, kind: Kind) -> None:
        """Have what many values have in common stand once in head, from the next commit on."""
        if len(self.repository.words) == MAX_WORDS:
            return
        some = sample(self.repository.base.entities[kind])
        with contextlib.suppress(PersistenceError):  # whoever asks for such a value, learns of it
            values = _codec.load_all(self._serializer, kind, some)
            await asyncio.sleep(0)  # each of the two holds the loop for some milliseconds
            self.repository.suggest(common_words(list(values.values())))

    async def _write_blobs(self, deadline: float) -> None:
        """Make the next cold start cheaper. What fails here costs nothing: all is durable."""
        clock = asyncio.get_running_loop().time
        try:
            async with asyncio.timeout_at(deadline - PUBLISH_RESERVE):
                if compaction := _running(self.compaction):
                    await compaction
                for size, kind in self.repository.worth_flushing():
                    if size <= (deadline - PUBLISH_RESERVE - clock()) * FLUSH_RATE:
                        await self._write_blob(kind)
            async with asyncio.timeout_at(deadline):
                await self.repository.commit(publish=True)
        except (TimeoutError, PersistenceError) as exc:
            _LOGGER.info("Left blobs as they were at flush: %s", str(exc) or "no time was left")


def _parts(kind: Kind, values: dict[Key, Any], faults: list[PersistenceError]) -> Iterator[_Update]:
    """Cut many values into updates that share their list of faults, and empty the dict."""
    entries = iter(values.items())
    while part := dict(islice(entries, PART)):
        yield _Update(kind, part, (), whole=False, faults=faults)
    values.clear()


async def _give_way() -> None:
    for _ in range(TURNS):
        await asyncio.sleep(0)


def _running(task: asyncio.Task[_T] | None) -> asyncio.Task[_T] | None:
    """Return a task that is still under way, and not left behind on a loop that is gone."""
    if task is None or task.done() or task.get_loop() is not asyncio.get_running_loop():
        return None
    return task
