"""Load, commit, compact and restore: the rules of DESIGN, on a `Store`.

All effects come in from outside: the store, the keys, the clock, randomness, the pause between two
tries, and where long work runs. What is committed, as far as this process knows, is its *base*;
what is not yet is *dirty*; an attempt to commit whose outcome is unknown is *undecided*.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from ptb_s3 import _compaction, _head, _rebase, _state
from ptb_s3._base import Base, MovedError, Reader
from ptb_s3._compaction import Compactor, Offload
from ptb_s3._container import HEAD, Header
from ptb_s3._erasure import SECRET_BYTES, Erasures, subjects
from ptb_s3._guarded import NO_ETAG, Guarded, refused
from ptb_s3._head import Conditions, Head
from ptb_s3._history import History
from ptb_s3._keyring import KeySource
from ptb_s3._rebase import Resolve
from ptb_s3._sealer import Sealer
from ptb_s3._staged import Staged
from ptb_s3._state import Changes, Entities, Key, Kind
from ptb_s3._store import Fetched, PreconditionFailed, Store, Written
from ptb_s3.errors import (
    ConflictError,
    MissingObjectError,
    NoConditionalPutError,
    StorageUnavailableError,
)

# Another writer may commit and compact between two of our reads; so often is the whole read again.
LOAD_TRIES = 4
LOAD_PAUSE = 0.2  # seconds, times the number of the try
# Seconds that a commit whose outcome is unknown waits for head to tell. Longer is no use to a bot
# that is being stopped; the next commit asks again.
SETTLE_PATIENCE = 5.0
# Tries at a commit, each but the first after somebody else's. Forty writers at once, with waits
# drawn at random, need about half as many.
COMMIT_TRIES = 16
# Seconds: upper bound of the wait before the third try, doubled with each further one. The second
# comes at once: two writers that take turns meet once each time.
COMMIT_PAUSE = 0.05
MAX_COMMIT_PAUSE = 1.0
# For how long another writer that was met is reckoned with.
COMPANY = timedelta(minutes=10)
# Undecided attempts remembered. Each was sent while its predecessors could still arrive, which
# takes no longer than the network's time-outs; one forgotten too early is reported as a conflict.
MAX_UNDECIDED = 16

_LOGGER = logging.getLogger("ptb_s3")


class Attempt(NamedTuple):
    """An attempt to commit: the head it sent, and the changes in it that its base had not."""

    head: Head
    changes: Changes
    updates: tuple[int, ...]


class Occasion(NamedTuple):
    """Why to commit even if nothing has changed, and what head is to record of it.

    Attributes:
        restored: The restore request that is carried out.
        erased: Id of the user or chat that is erased.
    """

    restored: str | None = None
    erased: int | None = None


@dataclass(slots=True)
class Counters:
    """What happened so far in this process.

    Attributes:
        bytes_sent: Bytes of objects that the storage took.
        commits: Commits that are known to be durable.
        compactions: Blobs written.
        conflicts: Times that another writer had committed before us.
        merged: Entities that had changed on both sides then.
        overridden: Changes of others in them that ours have won over.
        failures: Commits that failed otherwise.
        committed_at: When the last durable commit was made or, after a load, when it was loaded.
    """

    bytes_sent: int = 0
    commits: int = 0
    compactions: int = 0
    conflicts: int = 0
    merged: int = 0
    overridden: int = 0
    failures: int = 0
    committed_at: datetime | None = None


class Repository:
    """The state of one bot in one store.

    Args:
        store: Where the objects lie.
        keys: Seals and opens them.
        bot: Id of the bot whose state it is; None: whosever there is.
        serializer: Id of the serializer of the values; None: whichever made them.
        level: zstd compression level.
        clock: Gives the time, with time zone.
        randomness: Returns as many random bytes as it is asked for.
        pause: Waits for so many seconds.
        offload: Runs compression and encryption, which would hold up the event loop.
        counters: Counts on from these.
        resolve: Merges what another writer has changed as well; None: such a commit is refused.
        single_writer: Whether the user vouches that there is no other writer, where the storage
            could not tell.

    Attributes:
        counters: What happened so far.
    """

    def __init__(
        self,
        store: Store,
        keys: KeySource,
        *,
        bot: int | None = None,
        serializer: str | None = None,
        level: int = 3,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        randomness: Callable[[int], bytes] = os.urandom,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
        offload: Offload = asyncio.to_thread,
        counters: Counters | None = None,
        resolve: Resolve | None = None,
        single_writer: bool = False,
    ) -> None:
        self.counters = counters or Counters()
        self._store = store
        self._guarded = Guarded(store)
        self._reader = Reader(keys, bot, serializer)
        self._sealer = Sealer(keys, level=level, clock=clock, randomness=randomness)
        self._compactor = Compactor(store, self._guarded, self._reader, self._sealer, offload)
        self._resolve = resolve
        self._single_writer = single_writer
        self._clock = clock
        self._randomness = randomness
        self._pause = pause
        self._offload = offload
        self._staged: Staged | None = None
        self._conditions: Conditions | None = None
        self._undecided: dict[str, Attempt] = {}
        self._met: datetime | None = None
        self._last_by_another: datetime | None = None
        self._warned_of_no_history = False
        self._committing = asyncio.Lock()

    @property
    def revision(self) -> int:
        """The revision last known to be committed; 0 in a new store."""
        return self.base.head.revision

    @property
    def base(self) -> Base:
        """What is committed; to be looked at, and not touched."""
        return self.staged.base

    @property
    def staged(self) -> Staged:
        """What is committed, and what is to follow."""
        if self._staged is None:
            raise RuntimeError("The state is not loaded: call load() first.")
        return self._staged

    @property
    def dirty(self) -> bool:
        """Whether anything is staged that is not known to be committed."""
        return not self.staged.clean

    def has_delivered(self, update: int) -> bool:
        """Tell whether the effects of an update are committed, or staged to be."""
        return update in self.base.head.updates or update in self.staged.updates

    @property
    def has_committed(self) -> bool:
        """Whether this process has made a commit that head knows of."""
        return self.base.head.last_commit(self._sealer.writer) is not None

    @property
    def in_company(self) -> bool:
        """Whether another writer has been at work within the last ten minutes."""
        return self._lately(self._met) or self._lately(self._last_by_another)

    def _lately(self, moment: datetime | None) -> bool:
        return moment is not None and self._clock() - moment < COMPANY

    def stage(self, kind: Kind, key: Key, value: bytes | None) -> None:
        """Note what an entity has become (None: deleted), to go with the next commit.

        Raises:
            ConflictError: Another writer has changed it since the caller saw it, and the two values
                cannot be merged. What is committed stays.
        """
        self.staged.stage(kind, key, value, self._resolve)

    # Loading ------------------------------------------------------------------------------------

    async def load(self) -> None:
        """Read the committed state: once, before anything else.

        Raises:
            PersistenceError: It cannot be read. Nothing was changed, here or in the store.
        """
        for number in range(1, LOAD_TRIES + 1):
            objects = await self._fetch_all()
            try:
                base = await self._offload(self._reader.assemble, objects, self._randomness)
                break
            except MovedError as moved:
                if number == LOAD_TRIES:
                    raise moved.fault from None
            await self._pause(LOAD_PAUSE * number)
        self._staged = Staged(base)
        self.counters.committed_at = self._clock()
        stored = base.objects.get(HEAD)
        self._last_by_another = stored and stored.header.created
        await self._recall_conditions()

    async def close(self) -> None:
        """Release the store's connections."""
        await self._store.close()

    async def _fetch_all(self) -> dict[str, Fetched | None]:
        names = [HEAD, *Kind]
        answers = await asyncio.gather(*map(self._store.get, names), return_exceptions=True)
        found: dict[str, Fetched | None] = {}
        for name, answer in zip(names, answers, strict=True):
            if isinstance(answer, BaseException):
                raise answer
            found[name] = answer
        return found

    # Committing ---------------------------------------------------------------------------------

    async def commit(
        self,
        *,
        publish: bool = False,
        occasion: Occasion | None = None,
    ) -> None:
        """Commit everything staged, in one conditional PUT; without changes, do nothing.

        What another writer has committed meanwhile is taken over first, unless there is an
        occasion: what that is about was worked out on the state as it was.

        Args:
            publish: Commit as well if only a new blob is to be referred to.
            occasion: Commit even if nothing has changed, and have head record this.

        Raises:
            ConflictError: Another writer has committed, and what is staged cannot go on top of it.
            StorageError: It is not known to be durable. In all cases, what was staged stays so.
        """
        async with self._committing:
            try:
                await self._commit(publish=publish, occasion=occasion)
            except ConflictError:
                raise
            except BaseException:  # to be cancelled is to fail, too
                self.counters.failures += 1
                raise

    async def sync(self) -> None:
        """Take over what other writers have committed, unless a commit, which does, is under way.

        Raises:
            PersistenceError: It cannot be read or, with what is staged, merged.
        """
        if not self._committing.locked():
            async with self._committing:
                await self._settle(rebase=True)

    async def _commit(self, *, publish: bool, occasion: Occasion | None) -> None:
        if self._undecided:
            await self._settle(rebase=occasion is None)
        for number in range(COMMIT_TRIES):
            if number > 1:  # and look again: what was seen before a wait is old by now
                await self._pause(self._jitter(number))
                await self._settle(rebase=occasion is None)
            changes = self._changes()
            needed = changes or self.staged.updates or occasion is not None
            if not (needed or (publish and self.base.unpublished)):
                return
            if await self._attempt(changes, occasion):
                return
        raise self._conflict(
            f"it has committed first {COMMIT_TRIES} times in a row", "The next commit tries again."
        )

    def _changes(self) -> Changes:
        sent: dict[Kind, set[Key]] = {
            kind: {key for a in self._undecided.values() for key in a.changes.get(kind, ())}
            for kind in (Kind if self._undecided else ())
        }
        return self.staged.changes(sent)

    def _jitter(self, number: int) -> float:
        share = int.from_bytes(self._randomness(4)) / 2**32
        return share * min(COMMIT_PAUSE * 2.0 ** (number - 2), MAX_COMMIT_PAUSE)

    async def _attempt(self, changes: Changes, occasion: Occasion | None) -> bool:
        """Try once; tell whether it is committed, or has to be built anew on what is by now."""
        base, seen = self.base, self.base.head
        if self._conditions is None and await self._probe(changes, occasion):
            return True
        if base.head is not seen:
            return False
        self.require_conditions()
        attempt, body = await self._sealed(changes, occasion)
        try:
            written = await self._guarded.put(HEAD, body, if_match=base.etag)
        except PreconditionFailed:
            await self._settle(rebase=occasion is None)
            if base.head is seen:
                raise StorageUnavailableError(
                    "The storage refused a conditional write that it should have taken. What "
                    "changed is kept and goes with the next commit."
                ) from None
        except StorageUnavailableError as failure:
            await self._settle_after(failure, rebase=occasion is None)
            if base.head is seen:
                raise
        else:
            self._adopt(attempt, written.etag)
            self._warn_of_no_history(written)
        self.counters.bytes_sent += len(body)
        last = base.head.last_commit(self._sealer.writer)
        return last == attempt.head.commit

    async def _sealed(
        self, changes: Changes, occasion: Occasion | None, conditions: Conditions | None = None
    ) -> tuple[Attempt, bytes]:
        """Make a head that commits these changes, and remember it until its outcome is known.

        Even if the storage says no: it may have been sent twice, and refused the second time alone.
        """
        base, updates = self.base, tuple(self.staged.updates)
        occasion = occasion or Occasion()
        head = _head.follow(
            base.head,
            changes,
            commit=self._sealer.new_commit(),
            writer=self._sealer.writer,
            refs={kind: blob.ref for kind, blob in base.blobs.items()},
            restored=occasion.restored,
            erasures=self._erasures_with(occasion.erased),
            conditions=conditions or self._conditions,
            updates=updates,
        )
        head, body = await self._offload(self._sealer.head, base.identity, head)
        attempt = Attempt(head, changes, updates)
        self._undecided[head.commit] = attempt
        if len(self._undecided) > MAX_UNDECIDED:
            del self._undecided[next(iter(self._undecided))]
        return attempt, body

    def _erasures_with(self, subject: int | None) -> Erasures | None:
        head = self.base.head
        if subject is None:
            return head.erasures
        erasures = head.erasures or Erasures(self._randomness(SECRET_BYTES), {})
        return erasures.adding(subject, head.revision + 1)

    # Conditional PUT ----------------------------------------------------------------------------

    async def _recall_conditions(self) -> None:
        """Go by what head says of this storage, if it is this one that it says it of."""
        known = self.base.head.conditions
        if known is not None and known.place == await self._store.place():
            self._conditions = known
            self._guarded.conditional = known.kept

    def require_conditions(self) -> None:
        """Refuse a storage that is known to overwrite unseen, unless the user vouches for it.

        Raises:
            NoConditionalPutError: It is one.
        """
        if not (self._guarded.conditional or self._single_writer):
            raise refused(saved=False)

    async def _probe(self, changes: Changes, occasion: Occasion | None) -> bool:
        """Find out whether the storage keeps to conditions; tell whether that was a commit.

        What is sent is the commit itself, on a condition that cannot be true, and with the record
        that the storage does not keep to it. If it takes that, what is there is true; and nothing
        was overwritten but what has come since a look that was the last thing before.
        """
        base, place = self.base, await self._store.place()
        found = await self._store.get(HEAD, unless=base.etag)
        if (found and found.etag) != base.etag:
            await self._settle(rebase=occasion is None)
            return False
        attempt, body = await self._sealed(changes, occasion, Conditions(place, kept=False))
        try:
            written = await self._store.put(HEAD, body, if_match=NO_ETAG)
        except PreconditionFailed:
            self._conditions = Conditions(place, kept=True)
            return False
        except NoConditionalPutError:
            self._conditions, self._guarded.conditional = attempt.head.conditions, False
            if not self._single_writer:
                raise
            return False
        except StorageUnavailableError as failure:
            await self._settle_after(failure, rebase=occasion is None)
            if base.head is not attempt.head:
                raise
        else:
            self._adopt(attempt, written.etag)
        self._conditions, self._guarded.conditional = attempt.head.conditions, False
        if not self._single_writer:
            raise refused(saved=True)
        return True

    # Settling -----------------------------------------------------------------------------------

    async def _settle_after(self, failure: StorageUnavailableError, *, rebase: bool) -> None:
        try:
            async with asyncio.timeout(SETTLE_PATIENCE):
                await self._settle(rebase=rebase)
        except (StorageUnavailableError, TimeoutError):
            raise failure from None

    async def _settle(self, *, rebase: bool) -> None:
        """Learn from head what has been committed since we saw it last, and go on from there.

        Args:
            rebase: Whether to go on from another writer's commit as well.

        Raises:
            ConflictError: It is another writer's, and we cannot go on from there.
            MissingObjectError: The head is gone.
        """
        for number in range(1, LOAD_TRIES + 1):
            fetched = await self._store.get(HEAD, unless=self.base.etag)
            if fetched is None and self.base.etag is None:
                return
            if fetched is None:
                raise MissingObjectError(HEAD, "it was deleted while the bot was running")
            if fetched.etag == self.base.etag:
                return  # still as we last saw it; an attempt may yet arrive, and stays remembered
            header, head = await self._offload(self._reader.open_head, fetched.body)
            won = self._undecided.get(head.last_commit(self._sealer.writer) or "")
            if won is not None:
                # If somebody else has committed on top, that is for the next time to take over.
                ours = won.head.commit == head.commit
                self._adopt(won, fetched.etag if ours else self.base.etag)
                return
            try:
                await self._follow(header, head, fetched, rebase=rebase)
            except MovedError as moved:
                if number == LOAD_TRIES:
                    raise moved.fault from None
                await self._pause(LOAD_PAUSE * number)
            else:
                return

    def _adopt(self, attempt: Attempt, etag: str | None) -> None:
        """Make an attempt that took effect the new common base."""
        base, staged = self.base, self.staged
        base.head = attempt.head
        base.etag = etag
        self._undecided.clear()
        staged.updates = [update for update in staged.updates if update not in attempt.updates]
        staged.advance(attempt.changes)
        self.counters.commits += 1
        self.counters.committed_at = self._clock()

    async def _follow(self, header: Header, head: Head, fetched: Fetched, *, rebase: bool) -> None:
        """Make another writer's commit the new base, and put what is staged on top of it."""
        base = self.base
        self._met = self._clock()
        self.counters.conflicts += 1
        if self._resolve is None or not rebase:
            raise self._conflict(
                f"the store is at revision {head.revision}, and this process has seen "
                f"{base.head.revision}",
                "Do it again, on what is there now.",
            )
        if not head.follows(base.head) or (base.etag and header.store != base.identity.store):
            raise self._conflict(
                f"its revision {head.revision} does not follow the {base.head.revision} that was "
                "seen here, as when an older head is put back behind the bot's back",
                "Restart the bot: it goes on from what is there.",
            )
        whole = _rebase.compacted(base, head)
        blobs: dict[str, Fetched | None] = {kind: await self._store.get(kind) for kind in whole}
        theirs = await self._offload(self._reader.build, header, head, fetched, blobs)
        changes = await self._offload(_rebase.changes_since, base, theirs, whole)
        self._take_over(theirs, changes)

    def _take_over(self, theirs: Base, changes: Changes) -> None:
        base, staged, head = self.base, self.staged, theirs.head
        if not set(staged.updates).isdisjoint(head.updates):
            staged.discard()  # another instance was sent the same update, and was first
        rebased = staged.rebase(changes, self._merging)
        base.blobs = _rebase.blobs_after(base, theirs)
        base.identity, base.head, base.etag = theirs.identity, head, theirs.etag
        self._undecided.clear()  # the head that they were to replace is gone for good
        self.counters.merged += rebased.merged
        self.counters.overridden += rebased.overridden
        _LOGGER.info(
            "Took over revision %d of another writer: %d entities; merged %d, overrode %d changes",
            head.revision,
            sum(map(len, changes.values())),
            rebased.merged,
            rebased.overridden,
        )

    @property
    def _merging(self) -> Resolve:
        assert self._resolve is not None  # noqa: S101 - for mypy; `_follow` has looked
        return self._resolve

    @staticmethod
    def _conflict(what: str, remedy: str) -> ConflictError:
        return ConflictError(
            f"Another writer has committed: {what}. Nothing was overwritten; what changed here is "
            f"kept in memory. {remedy}"
        )

    def _warn_of_no_history(self, written: Written) -> None:
        if written.version_id is None and not self._warned_of_no_history:
            self._warned_of_no_history = True
            _LOGGER.warning(
                "The bucket keeps no versions: the state is safe, but there is no history to go "
                "back to. Turn on versioning for the bucket."
            )

    # Compacting ---------------------------------------------------------------------------------

    def due(self) -> list[Kind]:
        """Return the kinds whose blobs should be written anew: it pays, or the key is retired."""
        return _compaction.due(self.base, self._sealer.key_id, alone=not self._lately(self._met))

    def worth_flushing(self) -> list[tuple[int, Kind]]:
        """Return the kinds with a differential, each after about how many bytes its blob takes."""
        return _compaction.worth_flushing(self.base)

    async def compact(self, kind: Kind) -> None:
        """Write a kind's blob anew; the next head refers to it.

        Raises:
            ConflictError: Another writer has written it.
            StorageError: It is not known to be written. The state is as safe as before.
        """
        size = await self._compactor.compact(self.base, kind)
        self.counters.compactions += 1
        self.counters.bytes_sent += size

    # Going back ---------------------------------------------------------------------------------

    @property
    def history(self) -> History:
        """The commits that the bucket still holds."""
        base = self.base
        return History(self._store, self._reader, base.identity.store, base.head.erasures)

    async def restore(self, request: str) -> bool:
        """Bring back an older state as a new commit, unless this very request was carried out last.

        Args:
            request: A revision, a time (ISO 8601; UTC unless it says otherwise), or the version id
                of a head.

        Returns:
            Whether it was carried out now.

        Raises:
            RestorePointError: No commit that history still holds answers to it.
        """
        while self.base.head.restored != request:
            snapshot = await self.history.state_at(request)
            changes = self.changes_to(snapshot.entities)
            try:
                await self.commit_only(changes, Occasion(restored=request))
            except ConflictError:
                if self._resolve is None:
                    raise
                await self.sync()  # and see what there is to restore then, if anything
            else:
                _LOGGER.warning(
                    "Restored revision %d as revision %d", snapshot.head.revision, self.revision
                )
                return True
        return False

    def changes_to(self, entities: Mapping[Kind, Entities]) -> Changes:
        """Return what turns the committed state of the kinds given into these entities."""
        return {
            kind: _state.difference(self.base.entities[kind], wanted)
            for kind, wanted in entities.items()
        }

    async def commit_only(self, changes: Changes, occasion: Occasion | None = None) -> None:
        """Commit these changes, where nothing else is staged; if that fails, nothing is again."""
        self.staged.dirty = {kind: dict(changes.get(kind, {})) for kind in Kind}
        try:
            await self.commit(occasion=occasion)
        except BaseException:
            self.staged.dirty = {kind: {} for kind in Kind}
            raise

    # Sealing anew -------------------------------------------------------------------------------

    def sealed_otherwise(self) -> list[str]:
        """Return the names of the current objects that another than the sealing key has sealed."""
        key, base = self._sealer.sealing_key_id(), self.base
        head = [HEAD] if base.objects[HEAD].header.key != key else []
        return [*head, *(kind for kind, blob in base.blobs.items() if blob.ref.key != key)]

    def written_kinds(self) -> list[Kind]:
        """Return the kinds of which a blob or the head holds anything."""
        base = self.base
        return [
            kind
            for kind, part in base.head.parts.items()
            if kind in base.blobs or part.differential
        ]

    async def seal_anew(
        self, kinds: Iterable[Kind], done: Callable[[str], None] = lambda _: None
    ) -> None:
        """Write these kinds' blobs anew, and a head that refers to them.

        May end anywhere: a blob that no head refers to yet is as good as the one before.

        Args:
            kinds: Which blobs.
            done: Called with the name of each object that is written.
        """
        for kind in kinds:
            await self.compact(kind)
            done(kind)
        await self.commit(publish=True, occasion=Occasion())
        done(HEAD)

    async def erase(self, subject: int) -> Changes:
        """Delete all that is a user's or chat's, and record that, in one commit.

        What is current still holds it until it is sealed anew; call `seal_anew` for all kinds.

        Returns:
            What was deleted.
        """
        base = self.base
        changes: Changes = {
            kind: {key: None for key in entities if subject in subjects(kind, key)}
            for kind, entities in base.entities.items()
        }
        await self.commit_only(changes, Occasion(erased=subject))
        return changes
