"""Commit `head` with one conditional PUT, and resolve ambiguous outcomes.

What is committed, as far as this process knows, is its *base*; what is not yet is *staged*. How the
two follow what others commit is `_engine.settling`'s.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import datetime, timedelta
from functools import partial
from typing import NamedTuple

from ptb_s3._engine.context import EngineContext
from ptb_s3._engine.loop_locks import LoopLock
from ptb_s3._engine.probe import Probe
from ptb_s3._engine.run import Run
from ptb_s3._engine.settling import Attempt, Settler, conflict
from ptb_s3._engine.staging import Staged
from ptb_s3._format import head as _head
from ptb_s3._format.committed import Base
from ptb_s3._format.container import HEAD
from ptb_s3._format.entities import Changes, EntityKey, Kind
from ptb_s3._format.erasure import SECRET_BYTES, Erasures
from ptb_s3._format.head import Conditions
from ptb_s3._storage.contract import PreconditionFailed, Written
from ptb_s3.errors import (
    ConflictError,
    StorageUnavailableError,
)

# Tries at a commit, each but the first after somebody else's. Forty writers at once, with waits
# drawn at random, need about half as many.
COMMIT_TRIES = 16
# Seconds: upper bound of the wait before the third try, doubled with each further one. The second
# comes at once: two writers that take turns meet once each time.
COMMIT_PAUSE = 0.05
MAX_COMMIT_PAUSE = 1.0
# For how long another writer that was met is reckoned with.
ACTIVE_FOR = timedelta(minutes=10)
_LOGGER = logging.getLogger("ptb_s3")


class Operation(NamedTuple):
    """Why to commit even if nothing has changed, and what head is to record of it.

    Attributes:
        restored: The restore request that is carried out.
        erased: Id of the user or chat that is erased.
    """

    restored: str | None = None
    erased: int | None = None


class _Failing(NamedTuple):
    """Since when commits fail.

    Attributes:
        since: When the first one did.
        commits: How many were known to be durable by then.
    """

    since: datetime
    commits: int


class Committer:
    """Optimistic writer: commits what is staged, on top of what others have committed.

    Args:
        context: What it works with.
        staged: What is committed, and what is to follow.
        run: Who commits.

    Attributes:
        staged: The same.
        probe: Finds out what the storage makes of conditions.
    """

    def __init__(self, context: EngineContext, staged: Staged, run: Run) -> None:
        self.staged = staged
        self._context = context
        self._run = run
        self._settler = Settler(context, staged, run)
        self.probe = Probe(context, self._settler)
        self._spoiled: ConflictError | None = None
        stored = staged.base.objects.get(HEAD)
        self._last_by_another = stored and stored.header.created
        self._warned_of_no_history = False
        self._failing: _Failing | None = None
        self._committing = LoopLock()

    @property
    def base(self) -> Base:
        """What is committed."""
        return self.staged.base

    @property
    def in_company(self) -> bool:
        """Whether another writer has been at work within the last ten minutes."""
        return self.has_met_another or self._lately(self._last_by_another)

    @property
    def has_met_another(self) -> bool:
        """Whether it has done so before the eyes of this process."""
        return self._lately(self._settler.met)

    @property
    def has_committed(self) -> bool:
        """Whether a commit of this process is the last one of a writer that head lists."""
        own = self._settler.own
        return own is not None and self.base.head.lists(own)

    def take_faults(self) -> list[ConflictError]:
        """Return, once, why entities could not be merged and were left out of a commit."""
        return self._settler.take_faults()

    @property
    def transactional(self) -> bool:
        """Whether all that is staged is taken back where others were first with any of it."""
        return self._settler.transactional

    @transactional.setter
    def transactional(self, value: bool) -> None:
        self._settler.transactional, self._spoiled = value, None

    def stage(self, kind: Kind, key: EntityKey, value: bytes | None) -> None:
        """Note what an entity has become; see `Staged.stage`.

        Raises:
            ConflictError: It cannot be merged with what others have committed. In a transaction,
                the next commit takes back all, and raises the same.
        """
        resolve, transactional = self._context.resolve, self.transactional
        try:
            merged = self.staged.stage(kind, key, value, resolve, transactional=transactional)
        except ConflictError as error:
            if transactional:
                self._spoiled = self._spoiled or error
            raise
        if merged is not None:
            self._context.counters.merged += 1
            self._context.counters.overridden += merged.overridden

    def discard(self) -> None:
        """Take back all that is staged, ids of updates included.

        What was sent already may yet take effect; then it counts as another writer's.
        """
        self._settler.discard()

    @property
    def words(self) -> tuple[str, ...]:
        """The store's words, as far as this process knows."""
        return self._settler.words

    def _lately(self, moment: datetime | None) -> bool:
        return moment is not None and self._context.clock() - moment < ACTIVE_FOR

    async def commit(
        self,
        *,
        publish: bool = False,
        operation: Operation | None = None,
    ) -> None:
        """Commit everything staged, in one conditional PUT; without changes, do nothing.

        What another writer has committed meanwhile is taken over first, unless there is an
        operation: what that is about was worked out on the state as it was.

        Args:
            publish: Commit as well if only a new blob is to be referred to.
            operation: Commit even if nothing has changed, and have head record this.

        Raises:
            ConflictError: Another writer has committed, and what is staged cannot go on top of it.
            StorageError: It is not known to be durable. In all cases, what was staged stays so.
        """
        async with self._committing.here():
            try:
                await self._commit(publish=publish, operation=operation)
            except ConflictError:
                if not self.transactional:  # else it is taken back, and tried again
                    self._note_failure()
                raise
            except BaseException:  # to be cancelled is to fail, too
                self._context.counters.failures += 1
                self._note_failure()
                raise
            self._note_success()

    def _note_failure(self) -> None:
        context = self._context
        self._failing = self._failing or _Failing(context.clock(), context.counters.commits)

    def _note_success(self) -> None:
        """Say that saving works again, if anything was committed since it failed."""
        failing, context = self._failing, self._context
        if failing is None or context.counters.commits == failing.commits:
            return
        self._failing = None
        seconds = (context.clock() - failing.since).total_seconds()
        revision = self.base.head.revision
        _LOGGER.info("Saving works again after %.0f s: revision %d is saved.", seconds, revision)

    async def sync(self) -> None:
        """Take over what other writers have committed, unless a commit, which does, is under way.

        Raises:
            PersistenceError: It cannot be read or, with what is staged, merged.
        """
        if not self._committing.here().locked():
            async with self._committing.here():
                await self._settler.settle(rebase=True)

    async def _commit(self, *, publish: bool, operation: Operation | None) -> None:
        if self._spoiled is not None:
            spoiled, self._spoiled = self._spoiled, None
            self.discard()
            raise spoiled
        if self._settler.undecided:
            await self._settler.settle(rebase=operation is None)
        if self.staged.unmerged:
            self.staged.retry(self._settler.merging)
        for number in range(COMMIT_TRIES):
            if number > 1:  # and look again: what was seen before a wait is old by now
                await self._context.pause(self._jitter(number))
                await self._settler.settle(rebase=operation is None)
            changes = self.staged.changes(self._settler.in_flight())
            if not changes:
                self.staged.forget()
            needed = changes or self.staged.updates or operation is not None
            if not (needed or (publish and self.base.unpublished)):
                return
            if await self._attempt(changes, operation):
                return
        raise conflict(
            f"it has committed first {COMMIT_TRIES} times in a row", "The next commit tries again."
        )

    def _jitter(self, number: int) -> float:
        share = int.from_bytes(self._context.randomness(4)) / 2**32
        return share * min(COMMIT_PAUSE * 2.0 ** (number - 2), MAX_COMMIT_PAUSE)

    async def _attempt(self, changes: Changes, operation: Operation | None) -> bool:
        """Try once; tell whether it is committed, or has to be built anew on what is by now."""
        base, seen = self.base, self._settler.seen
        if not base.head.revision:  # S3 takes a first commit again above a delete marker
            await self._context.require_new()
        seal = partial(self._sealed, changes, operation)
        rebase = operation is None
        if self.probe.known is None and await self.probe.replacing(seal, rebase=rebase):
            return True
        if self._settler.seen != seen:
            return False
        self.probe.require()
        attempt, body = await seal()
        try:
            written = await self._context.conditional_store.put(HEAD, body, if_match=base.etag)
        except PreconditionFailed:
            await self._settler.settle(rebase=rebase)
            if self._settler.seen == seen:
                await self.probe.not_taken(seal, rebase=rebase)
        except StorageUnavailableError as failure:
            await self._settler.settle_after(failure, rebase=rebase)
            if self._settler.seen == seen:
                raise
        except asyncio.CancelledError:
            self._run.renew()  # it may yet take effect
            raise
        else:
            await self._taken(attempt, written, created=seen[1] is None)
        self._context.counters.bytes_sent += len(body)
        return base.head.lists(attempt.head.commit)

    async def _taken(self, attempt: Attempt, written: Written, *, created: bool) -> None:
        self._settler.adopt(attempt, written.etag)
        self._warn_of_no_history(written)
        self.probe.taken()
        if created:
            await self.probe.creating(partial(self._sealed, {}, Operation()))

    async def _sealed(
        self, changes: Changes, operation: Operation | None, conditions: Conditions | None = None
    ) -> tuple[Attempt, bytes]:
        """Make a head that commits these changes, and remember it until its outcome is known.

        Even if the storage says no: it may have been sent twice, and refused the second time alone.
        """
        base, updates = self.base, tuple(self.staged.updates)
        operation = operation or Operation()
        follow = partial(
            _head.follow,
            base.head,
            changes,
            commit=self._context.sealer.new_commit(),
            writer=self._run.writer,
            begins_line=self._run.begins_line,
            own=self._settler.own,
            refs={kind: blob.ref for kind, blob in base.blobs.items()},
            restored=operation.restored,
            erasures=self._erasures_with(operation.erased),
            conditions=conditions or self.probe.known,
            updates=updates,
            words=self.staged.words,
        )
        identity, sealer = base.identity, self._context.sealer
        head, body = await self._context.offload(lambda: sealer.head(identity, follow()))
        attempt = Attempt(head, changes, updates)
        self._settler.remember(attempt)
        return attempt, body

    def _erasures_with(self, subject: int | None) -> Erasures | None:
        head = self.base.head
        if subject is None:
            return head.erasures
        erasures = head.erasures or Erasures(self._context.randomness(SECRET_BYTES), {})
        return erasures.adding(subject, head.revision + 1)

    def _warn_of_no_history(self, written: Written) -> None:
        if written.version_id is None and not self._warned_of_no_history:
            self._warned_of_no_history = True
            _LOGGER.warning(
                "The bucket keeps no versions: the state is safe, but there is no history to go "
                "back to. Turn on versioning for the bucket."
            )
