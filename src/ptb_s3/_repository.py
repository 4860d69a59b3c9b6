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
from datetime import UTC, datetime
from typing import NamedTuple

from ptb_s3 import _compaction, _head, _state
from ptb_s3._base import Base, MovedError, Reader
from ptb_s3._compaction import Compactor, Offload
from ptb_s3._container import HEAD
from ptb_s3._erasure import SECRET_BYTES, Erasures, subjects
from ptb_s3._head import Head
from ptb_s3._history import History
from ptb_s3._keyring import KeySource
from ptb_s3._sealer import Sealer
from ptb_s3._state import Changes, Entities, Key, Kind
from ptb_s3._store import Fetched, PreconditionFailed, Store, Written
from ptb_s3.errors import (
    ConflictError,
    MissingObjectError,
    StorageUnavailableError,
)

# Another writer may commit and compact between two of our reads; so often is the whole read again.
LOAD_TRIES = 4
LOAD_PAUSE = 0.2  # seconds, times the number of the try
# Seconds that a commit whose outcome is unknown waits for head to tell. Longer is no use to a bot
# that is being stopped; the next commit asks again.
SETTLE_PATIENCE = 5.0
# Each further try follows an earlier attempt that turned out to have succeeded.
COMMIT_TRIES = 3
# Undecided attempts remembered. Each was sent while its predecessors could still arrive, which
# takes no longer than the network's time-outs; one forgotten too early is reported as a conflict.
MAX_UNDECIDED = 16

_LOGGER = logging.getLogger("ptb_s3")


class Attempt(NamedTuple):
    """An attempt to commit: the head it sent, and the changes in it that its base had not."""

    head: Head
    changes: Changes


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
        conflicts: Commits refused because another writer had committed.
        failures: Commits that failed otherwise.
        committed_at: When the last durable commit was made or, after a load, when it was loaded.
    """

    bytes_sent: int = 0
    commits: int = 0
    compactions: int = 0
    conflicts: int = 0
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
    ) -> None:
        self.counters = counters or Counters()
        self._store = store
        self._reader = Reader(keys, bot, serializer)
        self._sealer = Sealer(keys, level=level, clock=clock, randomness=randomness)
        self._compactor = Compactor(store, self._sealer, offload)
        self._clock = clock
        self._randomness = randomness
        self._pause = pause
        self._offload = offload
        self._base: Base | None = None
        self._dirty: Changes = {kind: {} for kind in Kind}
        self._undecided: dict[str, Attempt] = {}
        self._superseded = False
        self._warned_of_no_history = False
        self._committing = asyncio.Lock()

    @property
    def revision(self) -> int:
        """The revision last known to be committed; 0 in a new store."""
        return self._loaded.head.revision

    @property
    def base(self) -> Base:
        """What is committed; to be looked at, and not touched."""
        return self._loaded

    @property
    def dirty(self) -> bool:
        """Whether anything is staged that is not known to be committed."""
        return any(self._dirty.values())

    @property
    def has_committed(self) -> bool:
        """Whether this process has made a commit that head knows of."""
        return self._loaded.head.last_commit(self._sealer.writer) is not None

    def entities(self, kind: Kind) -> Entities:
        """Return a kind's entities, staged changes included."""
        entities = dict(self._loaded.entities[kind])
        _state.apply(entities, self._dirty[kind])
        return entities

    def get(self, kind: Kind, key: Key) -> bytes | None:
        """Return one entity, staged changes included; None where there is none."""
        dirty = self._dirty[kind]
        return dirty[key] if key in dirty else self._loaded.entities[kind].get(key)

    def stage(self, kind: Kind, key: Key, value: bytes | None) -> None:
        """Note what an entity has become (None: deleted), to go with the next commit."""
        if value != self.get(kind, key):
            self._dirty[kind][key] = value

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
        self._base = base
        self.counters.committed_at = self._clock()

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

    @property
    def _loaded(self) -> Base:
        if self._base is None:
            raise RuntimeError("The state is not loaded: call load() first.")
        return self._base

    # Committing ---------------------------------------------------------------------------------

    async def commit(
        self,
        *,
        publish: bool = False,
        occasion: Occasion | None = None,
    ) -> None:
        """Commit everything staged, in one conditional PUT; without changes, do nothing.

        Args:
            publish: Commit as well if only a new blob is to be referred to.
            occasion: Commit even if nothing has changed, and have head record this.

        Raises:
            ConflictError: Another writer has committed.
            StorageError: It is not known to be durable. In all cases, what was staged stays so.
        """
        async with self._committing:
            try:
                await self._commit(publish=publish, occasion=occasion)
            except ConflictError:
                self.counters.conflicts += 1
                raise
            except BaseException:  # to be cancelled is to fail, too
                self.counters.failures += 1
                raise

    async def _commit(self, *, publish: bool, occasion: Occasion | None) -> None:
        if self._undecided:
            await self._settle()
        for _ in range(COMMIT_TRIES):
            changes = self._changes()
            if not (changes or occasion is not None or (publish and self._loaded.unpublished)):
                return
            if await self._attempt(changes, occasion or Occasion()):
                return
        raise StorageUnavailableError("The storage takes and refuses the same commit by turns.")

    def _changes(self) -> Changes:
        """Return what is staged and differs from the base, or from what may yet arrive there."""
        changes: Changes = {}
        for kind, dirty in self._dirty.items():
            base = self._loaded.entities[kind]
            sent = {key for a in self._undecided.values() for key in a.changes.get(kind, ())}
            changed = {k: v for k, v in dirty.items() if v != base.get(k) or k in sent}
            if changed:
                changes[kind] = changed
        return changes

    async def _attempt(self, changes: Changes, occasion: Occasion) -> bool:
        """Try once; tell whether it is committed, or has to be built anew on an earlier attempt."""
        base, seen = self._loaded, self._loaded.head
        if self._superseded:
            raise self._conflict(seen)
        head = _head.follow(
            seen,
            changes,
            commit=self._sealer.new_commit(),
            writer=self._sealer.writer,
            refs={kind: blob.ref for kind, blob in base.blobs.items()},
            restored=occasion.restored,
            erasures=self._erasures_with(occasion.erased),
        )
        head, body = await self._offload(self._sealer.head, base.identity, head)
        # Even a definite no is remembered: the store may have tried twice, and only the second
        # time been told no.
        self._remember(Attempt(head, changes))
        try:
            written = await self._store.put(HEAD, body, if_match=base.etag)
        except PreconditionFailed:
            await self._settle()
            if base.head is seen:
                raise StorageUnavailableError(
                    "The storage refused a conditional write that it should have taken. What "
                    "changed is kept and goes with the next commit."
                ) from None
        except StorageUnavailableError as failure:
            await self._settle_after(failure)
            if base.head.commit != head.commit:
                raise
        else:
            self._adopt(self._undecided[head.commit], written.etag)
            self._warn_of_no_history(written)
        self.counters.bytes_sent += len(body)
        return base.head.commit == head.commit

    def _erasures_with(self, subject: int | None) -> Erasures | None:
        head = self._loaded.head
        if subject is None:
            return head.erasures
        erasures = head.erasures or Erasures(self._randomness(SECRET_BYTES), {})
        return erasures.adding(subject, head.revision + 1)

    def _remember(self, attempt: Attempt) -> None:
        self._undecided[attempt.head.commit] = attempt
        if len(self._undecided) > MAX_UNDECIDED:
            del self._undecided[next(iter(self._undecided))]

    async def _settle_after(self, failure: StorageUnavailableError) -> None:
        try:
            async with asyncio.timeout(SETTLE_PATIENCE):
                await self._settle()
        except (StorageUnavailableError, TimeoutError):
            raise failure from None

    async def _settle(self) -> None:
        """Learn from head which undecided attempt took effect, if one did, and make it the base.

        Raises:
            ConflictError: Another writer has committed, and none of our attempts came before.
            MissingObjectError: The head is gone.
        """
        base = self._loaded
        fetched = await self._store.get(HEAD)
        if fetched is None:
            if base.etag is None:
                return
            raise MissingObjectError(HEAD, "it was deleted while the bot was running")
        if fetched.etag == base.etag:
            return  # still as we last saw it; an attempt may yet arrive, and stays remembered
        _, head = await self._offload(self._reader.open_head, fetched.body)
        won = self._undecided.get(head.last_commit(self._sealer.writer) or "")
        if won is None:
            raise self._conflict(head)
        # Somebody else may have committed on top: then ours stands, and the next one conflicts.
        self._superseded = head.commit != won.head.commit
        self._adopt(won, fetched.etag)

    def _adopt(self, attempt: Attempt, etag: str) -> None:
        """Make an attempt that took effect the new common base."""
        base = self._loaded
        for kind, changes in attempt.changes.items():
            _state.apply(base.entities[kind], changes)
        base.head = attempt.head
        base.etag = etag
        self._undecided.clear()
        self._forget_clean()
        self.counters.commits += 1
        self.counters.committed_at = self._clock()

    def _forget_clean(self) -> None:
        for kind, dirty in self._dirty.items():
            base = self._loaded.entities[kind]
            self._dirty[kind] = {k: v for k, v in dirty.items() if v != base.get(k)}

    def _conflict(self, theirs: Head) -> ConflictError:
        return ConflictError(
            f"Another writer has committed: the store is at revision {theirs.revision}, and this "
            f"process has seen {self._loaded.head.revision}. Nothing was overwritten; what changed "
            "here is kept in memory. Run one instance of the bot at a time, and restart this one."
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
        return _compaction.due(self._loaded, self._sealer.key_id)

    def worth_flushing(self) -> list[tuple[int, Kind]]:
        """Return the kinds with a differential, each after about how many bytes its blob takes."""
        return _compaction.worth_flushing(self._loaded)

    async def compact(self, kind: Kind) -> None:
        """Write a kind's blob anew; the next head refers to it.

        Raises:
            ConflictError: Another writer has written it.
            StorageError: It is not known to be written. The state is as safe as before.
        """
        size = await self._compactor.compact(self._loaded, kind)
        self.counters.compactions += 1
        self.counters.bytes_sent += size

    # Going back ---------------------------------------------------------------------------------

    @property
    def history(self) -> History:
        """The commits that the bucket still holds."""
        base = self._loaded
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
        if self._loaded.head.restored == request:
            return False
        snapshot = await self.history.state_at(request)
        changes = self.changes_to(snapshot.entities)
        await self.commit_only(changes, Occasion(restored=request))
        _LOGGER.warning(
            "Restored revision %d as revision %d", snapshot.head.revision, self.revision
        )
        return True

    def changes_to(self, entities: Mapping[Kind, Entities]) -> Changes:
        """Return what turns the committed state of the kinds given into these entities."""
        return {
            kind: _state.difference(self._loaded.entities[kind], wanted)
            for kind, wanted in entities.items()
        }

    async def commit_only(self, changes: Changes, occasion: Occasion | None = None) -> None:
        """Commit these changes, where nothing else is staged; if that fails, nothing is again."""
        self._dirty = {kind: dict(changes.get(kind, {})) for kind in Kind}
        try:
            await self.commit(occasion=occasion)
        except BaseException:
            self._dirty = {kind: {} for kind in Kind}
            raise

    # Sealing anew -------------------------------------------------------------------------------

    def sealed_otherwise(self) -> list[str]:
        """Return the names of the current objects that another than the sealing key has sealed."""
        key, base = self._sealer.sealing_key_id(), self._loaded
        head = [HEAD] if base.objects[HEAD].header.key != key else []
        return [*head, *(kind for kind, blob in base.blobs.items() if blob.ref.key != key)]

    def written_kinds(self) -> list[Kind]:
        """Return the kinds of which a blob or the head holds anything."""
        base = self._loaded
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
        base = self._loaded
        changes: Changes = {
            kind: {key: None for key in entities if subject in subjects(kind, key)}
            for kind, entities in base.entities.items()
        }
        await self.commit_only(changes, Occasion(erased=subject))
        return changes
