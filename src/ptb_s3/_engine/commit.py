"""Commit: `head`, with one conditional PUT, as often as another writer is first.

A commit has one instant, that PUT. The loop around it::

    settle what is undecided --> staged changes --> build and seal head --> PUT, if head is as seen
          ^                                                                  |
          +---- another writer was first: its head is the base now, ours on top

It ends when head lists the commit id of an attempt (`settling`), when nothing is left to commit, or
after `COMMIT_TRIES`.
"""

from __future__ import annotations

import logging
from functools import partial

from ptb_s3._engine.active_writers import ActiveWriters
from ptb_s3._engine.attempts import Attempt, Attempts
from ptb_s3._engine.conditional_writer import ConditionalWriter
from ptb_s3._engine.context import EngineContext
from ptb_s3._engine.fetching import Fetcher
from ptb_s3._engine.head_builder import HeadBuilder, Operation
from ptb_s3._engine.head_loss import HeadLoss
from ptb_s3._engine.loop_locks import LoopLock
from ptb_s3._engine.merging import Merger
from ptb_s3._engine.probe import Probe, Seal
from ptb_s3._engine.run import Run
from ptb_s3._engine.save_failures import SaveFailures
from ptb_s3._engine.settling import Settler
from ptb_s3._engine.staging import Staged
from ptb_s3._engine.takeover import Takeover, conflict
from ptb_s3._format.committed import Base
from ptb_s3._format.container import HEAD
from ptb_s3._format.entities import Changes
from ptb_s3._format.head import Conditions
from ptb_s3._storage.contract import Written
from ptb_s3.errors import ConflictError, StorageUnavailableError

# Tries at a commit, each but the first after somebody else's. Forty writers at once, with waits
# drawn at random, need about half as many.
COMMIT_TRIES = 16
# Seconds: upper bound of the wait before the third try, doubled with each further one. The second
# comes at once: two writers that take turns meet once each time.
COMMIT_PAUSE = 0.05
# Seconds: upper bound of any wait before a try.
MAX_COMMIT_PAUSE = 1.0

_LOGGER = logging.getLogger("ptb_s3")


class Committer:
    """Optimistic writer: commits what is staged, on top of what others have committed.

    Invariant: what is staged stays so until head is known to have it.

    Args:
        context: Store, clock, randomness and counters.
        staged: The base, and what is to follow it.
        run: This writer.
        fetcher: Reads what others have changed of kinds that are read on demand.

    Attributes:
        staged: The same.
        merger: Stages entities, and merges them with what others have committed.
        probe: Finds out what the storage makes of conditional PUT.
        others: Knows whether other writers are about.
    """

    def __init__(self, context: EngineContext, staged: Staged, run: Run, fetcher: Fetcher) -> None:
        loaded = staged.base.objects.get(HEAD)
        loss = HeadLoss(staged)
        self.staged = staged
        self.others = ActiveWriters(context.clock, loaded and loaded.header.created)
        self._context = context
        self._run = run
        self._attempts = Attempts()
        self.merger = Merger(context, staged, self._attempts)
        takeover = Takeover(
            context,
            staged,
            run,
            self._attempts,
            merger=self.merger,
            others=self.others,
            loss=loss,
            fetcher=fetcher,
        )
        self._settler = Settler(
            context, staged, run, self._attempts, merger=self.merger, takeover=takeover, loss=loss
        )
        self.probe = Probe(context, self._settler, self._attempts)
        self._builder = HeadBuilder(context, staged, run, self._attempts)
        self._writer = ConditionalWriter(context.conditional_store)
        self._failures = SaveFailures(context.clock, context.counters)
        self._warned_of_no_history = False
        self._committing = LoopLock()

    @property
    def base(self) -> Base:
        """Return the base."""
        return self.staged.base

    @property
    def has_committed(self) -> bool:
        """Return whether head lists a commit of this process as a writer's last one."""
        own = self._attempts.own
        return own is not None and self.base.head.lists(own)

    async def commit(self, *, publish: bool = False, operation: Operation | None = None) -> None:
        """Commit everything staged in one conditional PUT.

        Without changes, nothing is sent.

        What another writer has committed meanwhile is taken over first, but for an operation, whose
        changes were worked out on the base as it was.

        Args:
            publish: Commit as well if only a new blob is to be referred to.
            operation: Operation to carry out; commits even if nothing has changed.

        Raises:
            ConflictError: Another writer has committed, and what is staged cannot go on top of it.
            StorageError: It is not known to be durable. In all cases, what was staged stays so.
        """
        async with self._committing.here():
            try:
                await self._commit(publish=publish, operation=operation)
            except ConflictError:
                if not self.merger.transactional:  # else it is taken back, and tried again
                    self._failures.note_failure()
                raise
            except BaseException:  # to be cancelled is to fail, too
                self._context.counters.failures += 1
                self._failures.note_failure()
                raise
            self._failures.note_success(self.base.head.revision)

    async def sync(self) -> None:
        """Take over what other writers have committed, unless a commit, which does, is under way.

        Raises:
            PersistenceError: It cannot be read or, with what is staged, merged.
        """
        if not self._committing.here().locked():
            async with self._committing.here():
                await self._settler.settle(rebase=True)

    async def _commit(self, *, publish: bool, operation: Operation | None) -> None:
        self.merger.refuse_spoiled()
        if self._attempts.undecided:
            await self._settler.settle(rebase=operation is None)
        self.merger.retry()
        for number in range(COMMIT_TRIES):
            if number > 1:  # and read head again: what was seen before a wait is old by now
                await self._context.pause(self._jitter(number))
                await self._settler.settle(rebase=operation is None)
            changes = self.staged.changes(self._attempts.in_flight())
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
        """Return the seconds to wait before a try: up to a bound that doubles, drawn at random."""
        share = int.from_bytes(self._context.randomness(4)) / 2**32
        return share * min(COMMIT_PAUSE * 2.0 ** (number - 2), MAX_COMMIT_PAUSE)

    async def _attempt(self, changes: Changes, operation: Operation | None) -> bool:
        """Try once, and tell whether it is committed.

        If not, it is to be built on the new base.
        """
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
        target = _HeadTarget(self._settler, self.probe, self._run, seal, rebase=rebase)
        written = await self._writer.swap(HEAD, body, if_match=base.etag, target=target)
        if written is not None:
            await self._taken(attempt, written, created=seen[1] is None)
        self._context.counters.bytes_sent += len(body)
        return base.head.lists(attempt.commit)

    async def _taken(self, attempt: Attempt, written: Written, *, created: bool) -> None:
        """Go on from an attempt that the storage has acknowledged."""
        self._settler.adopt(attempt, written.etag)
        self._warn_of_no_history(written)
        self.probe.taken()
        if created:
            await self.probe.creating(partial(self._sealed, {}, Operation()))

    async def _sealed(
        self, changes: Changes, operation: Operation | None, conditions: Conditions | None = None
    ) -> tuple[Attempt, bytes]:
        """Seal a head that commits these changes (see `HeadBuilder.seal`)."""
        return await self._builder.seal(changes, operation, conditions or self.probe.known)

    def _warn_of_no_history(self, written: Written) -> None:
        if written.version_id is None and not self._warned_of_no_history:
            self._warned_of_no_history = True
            _LOGGER.warning(
                "The bucket keeps no versions: the state is safe, but there is no history to go "
                "back to. Turn on versioning for the bucket."
            )


class _HeadTarget:
    """Target of a commit: `head`, as it was seen when the attempt was built.

    Args:
        settler: Reads it.
        probe: Told of refusals of a condition that holds.
        run: Renewed where an attempt may yet take effect.
        seal: Seals the attempt again, to probe the storage.
        rebase: Whether to go on from another writer's commit.
    """

    def __init__(
        self, settler: Settler, probe: Probe, run: Run, seal: Seal, *, rebase: bool
    ) -> None:
        self._settler = settler
        self._probe = probe
        self._run = run
        self._seal = seal
        self._rebase = rebase
        self._seen = settler.seen

    async def settle(self, failure: StorageUnavailableError | None) -> bool:
        """Go on from what head shows, and tell whether it is another one by now."""
        if failure is None:
            await self._settler.settle(rebase=self._rebase)
        else:
            await self._settler.settle_after(failure, rebase=self._rebase)
        return self._settler.seen != self._seen

    async def refused(self) -> None:
        """Go on after a refusal of a condition that holds (see `Probe.not_taken`)."""
        await self._probe.not_taken(self._seal, rebase=self._rebase)

    def interrupted(self) -> None:
        """Go on as another writer: an attempt under this id may yet take effect."""
        self._run.renew()
