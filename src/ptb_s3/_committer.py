"""The commit protocol: one conditional PUT of `head`, and whose it is that is there then.

What is committed, as far as this process knows, is its *base*; what is not yet is *staged*; an
attempt to commit whose outcome is unknown is *undecided*.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import datetime, timedelta
from functools import partial
from typing import NamedTuple

from ptb_s3 import _head, _rebase
from ptb_s3._base import Base, MovedError
from ptb_s3._container import HEAD, Header
from ptb_s3._erasure import SECRET_BYTES, Erasures
from ptb_s3._guarded import NO_ETAG, refused
from ptb_s3._head import Conditions, Head
from ptb_s3._locks import LoopLock
from ptb_s3._means import LOAD_PAUSE, LOAD_TRIES, Means
from ptb_s3._rebase import Resolve
from ptb_s3._staged import Staged
from ptb_s3._state import Changes, Key, Kind
from ptb_s3._store import Fetched, PreconditionFailed, Written
from ptb_s3.errors import (
    ConflictError,
    MissingObjectError,
    NoConditionalPutError,
    StorageUnavailableError,
)

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


class Committer:
    """Commits what is staged.

    Args:
        means: What it works with.
        staged: What is committed, and what is to follow.

    Attributes:
        staged: The same.
        words: The store's, as far as this process knows; never fewer.
    """

    def __init__(self, means: Means, staged: Staged) -> None:
        self.staged = staged
        self.words = staged.base.head.words
        self._means = means
        self._conditions: Conditions | None = None
        self._undecided: dict[str, Attempt] = {}
        self._met: datetime | None = None
        stored = staged.base.objects.get(HEAD)
        self._last_by_another = stored and stored.header.created
        self._warned_of_no_history = False
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
        return self._lately(self._met)

    def _lately(self, moment: datetime | None) -> bool:
        return moment is not None and self._means.clock() - moment < COMPANY

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
        async with self._committing.here():
            try:
                await self._commit(publish=publish, occasion=occasion)
            except ConflictError:
                raise
            except BaseException:  # to be cancelled is to fail, too
                self._means.counters.failures += 1
                raise

    async def sync(self) -> None:
        """Take over what other writers have committed, unless a commit, which does, is under way.

        Raises:
            PersistenceError: It cannot be read or, with what is staged, merged.
        """
        if not self._committing.here().locked():
            async with self._committing.here():
                await self._settle(rebase=True)

    async def _commit(self, *, publish: bool, occasion: Occasion | None) -> None:
        if self._undecided:
            await self._settle(rebase=occasion is None)
        for number in range(COMMIT_TRIES):
            if number > 1:  # and look again: what was seen before a wait is old by now
                await self._means.pause(self._jitter(number))
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
        share = int.from_bytes(self._means.randomness(4)) / 2**32
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
            written = await self._means.guarded.put(HEAD, body, if_match=base.etag)
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
        self._means.counters.bytes_sent += len(body)
        last = base.head.last_commit(self._means.sealer.writer)
        return last == attempt.head.commit

    async def _sealed(
        self, changes: Changes, occasion: Occasion | None, conditions: Conditions | None = None
    ) -> tuple[Attempt, bytes]:
        """Make a head that commits these changes, and remember it until its outcome is known.

        Even if the storage says no: it may have been sent twice, and refused the second time alone.
        """
        base, updates = self.base, tuple(self.staged.updates)
        occasion = occasion or Occasion()
        follow = partial(
            _head.follow,
            base.head,
            changes,
            commit=self._means.sealer.new_commit(),
            writer=self._means.sealer.writer,
            refs={kind: blob.ref for kind, blob in base.blobs.items()},
            restored=occasion.restored,
            erasures=self._erasures_with(occasion.erased),
            conditions=conditions or self._conditions,
            updates=updates,
            words=self.staged.words,
        )
        identity, sealer = base.identity, self._means.sealer
        head, body = await self._means.offload(lambda: sealer.head(identity, follow()))
        attempt = Attempt(head, changes, updates)
        self._undecided[head.commit] = attempt
        if len(self._undecided) > MAX_UNDECIDED:
            del self._undecided[next(iter(self._undecided))]
        return attempt, body

    def _erasures_with(self, subject: int | None) -> Erasures | None:
        head = self.base.head
        if subject is None:
            return head.erasures
        erasures = head.erasures or Erasures(self._means.randomness(SECRET_BYTES), {})
        return erasures.adding(subject, head.revision + 1)

    # Conditional PUT ----------------------------------------------------------------------------

    async def recall_conditions(self) -> None:
        """Go by what head says of this storage, if it is this one that it says it of."""
        known = self.base.head.conditions
        if known is not None and known.place == await self._means.store.place():
            self._conditions = known
            self._means.guarded.conditional = known.kept

    def require_conditions(self) -> None:
        """Refuse a storage that is known to overwrite unseen, unless the user vouches for it.

        Raises:
            NoConditionalPutError: It is one.
        """
        if not (self._means.guarded.conditional or self._means.single_writer):
            raise refused(saved=False)

    async def _probe(self, changes: Changes, occasion: Occasion | None) -> bool:
        """Find out whether the storage keeps to conditions; tell whether that was a commit.

        What is sent is the commit itself, on a condition that cannot be true, and with the record
        that the storage does not keep to it. If it takes that, what is there is true; and nothing
        was overwritten but what has come since a look that was the last thing before.
        """
        base, place = self.base, await self._means.store.place()
        found = await self._means.store.get(HEAD, unless=base.etag)
        if (found and found.etag) != base.etag:
            await self._settle(rebase=occasion is None)
            return False
        attempt, body = await self._sealed(changes, occasion, Conditions(place, kept=False))
        try:
            written = await self._means.store.put(HEAD, body, if_match=NO_ETAG)
        except PreconditionFailed:
            self._conditions = Conditions(place, kept=True)
            return False
        except NoConditionalPutError:
            self._conditions, self._means.guarded.conditional = attempt.head.conditions, False
            if not self._means.single_writer:
                raise
            return False
        except StorageUnavailableError as failure:
            await self._settle_after(failure, rebase=occasion is None)
            if base.head is not attempt.head:
                raise
        else:
            self._adopt(attempt, written.etag)
        self._conditions, self._means.guarded.conditional = attempt.head.conditions, False
        if not self._means.single_writer:
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
            fetched = await self._means.store.get(HEAD, unless=self.base.etag)
            if fetched is None and self.base.etag is None:
                return
            if fetched is None:
                raise MissingObjectError(HEAD, "it was deleted while the bot was running")
            if fetched.etag == self.base.etag:
                return  # still as we last saw it; an attempt may yet arrive, and stays remembered
            header, head = await self._means.offload(self._means.reader.open_head, fetched.body)
            won = self._undecided.get(head.last_commit(self._means.sealer.writer) or "")
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
                await self._means.pause(LOAD_PAUSE * number)
            else:
                return

    def _adopt(self, attempt: Attempt, etag: str | None) -> None:
        """Make an attempt that took effect the new common base."""
        base, staged = self.base, self.staged
        base.head = attempt.head
        base.etag = etag
        self.words = base.head.words
        staged.words = tuple(word for word in staged.words if word not in self.words)
        self._undecided.clear()
        staged.updates = [update for update in staged.updates if update not in attempt.updates]
        staged.advance(attempt.changes)
        self._means.counters.commits += 1
        self._means.counters.committed_at = self._means.clock()

    async def _follow(self, header: Header, head: Head, fetched: Fetched, *, rebase: bool) -> None:
        """Make another writer's commit the new base, and put what is staged on top of it."""
        base = self.base
        self._met = self._means.clock()
        self._means.counters.conflicts += 1
        if self._means.resolve is None or not rebase:
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
        blobs: dict[str, Fetched | None] = {
            kind: await self._means.store.get(kind) for kind in whole
        }
        theirs = await self._means.offload(self._means.reader.build, header, head, fetched, blobs)
        changes = await self._means.offload(_rebase.changes_since, base, theirs, whole)
        self._take_over(theirs, changes)

    def _take_over(self, theirs: Base, changes: Changes) -> None:
        base, staged, head = self.base, self.staged, theirs.head
        if not set(staged.updates).isdisjoint(head.updates):
            # Another instance was sent the same update, and was first. Whoever waits for a later
            # one finds that it is not among those that were delivered.
            staged.discard()
        self.words = head.words  # what they have changed may refer to them
        rebased = staged.rebase(changes, self._merging)
        base.blobs = _rebase.blobs_after(base, theirs)
        base.identity, base.head, base.etag = theirs.identity, head, theirs.etag
        self._undecided.clear()  # the head that they were to replace is gone for good
        self._means.counters.merged += rebased.merged
        self._means.counters.overridden += rebased.overridden
        _LOGGER.info(
            "Took over revision %d of another writer: %d entities; merged %d, overrode %d changes",
            head.revision,
            sum(map(len, changes.values())),
            rebased.merged,
            rebased.overridden,
        )

    @property
    def _merging(self) -> Resolve:
        assert self._means.resolve is not None  # noqa: S101 - for mypy; `_follow` has looked
        return self._means.resolve

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
