"""Commit `head` with one conditional PUT, and resolve ambiguous outcomes.

What is committed, as far as this process knows, is its *base*; what is not yet is *staged*; an
attempt to commit whose outcome is unknown is *undecided*.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from typing import NamedTuple

from ptb_s3 import _head, _rebase
from ptb_s3._base import Base, HeadOpening, MovedError, OpenedHead
from ptb_s3._container import HEAD
from ptb_s3._erasure import SECRET_BYTES, Erasures
from ptb_s3._guarded import NO_ETAG, refused, two_winners
from ptb_s3._head import Conditions, Head
from ptb_s3._locks import LoopLock
from ptb_s3._means import LOAD_PAUSE, LOAD_TRIES, Means
from ptb_s3._rebase import Rebased, Resolve
from ptb_s3._run import Run
from ptb_s3._staged import Staged, overtaken_error
from ptb_s3._state import Changes, Key, Kind
from ptb_s3._store import Fetched, PreconditionFailed, Written
from ptb_s3.errors import (
    ConflictError,
    DamagedObjectError,
    HeadLostError,
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

    @property
    def writer(self) -> str:
        """The writer id that it was sent under."""
        return self.head.writers[-1].writer


class Occasion(NamedTuple):
    """Why to commit even if nothing has changed, and what head is to record of it.

    Attributes:
        restored: The restore request that is carried out.
        erased: Id of the user or chat that is erased.
    """

    restored: str | None = None
    erased: int | None = None


async def fetch_head(
    means: Means, unless: str | None = None
) -> tuple[Fetched | None, HeadOpening | None]:
    """Fetch the head, and open it while it arrives.

    Args:
        means: What to work with.
        unless: An ETag; if it is still the head's, nothing is opened.

    Returns:
        The head without its body, and what opens it; None where there is none.

    Raises:
        DamagedObjectError: It begins like none, and was not read to its end.
    """
    opening: HeadOpening | None = None

    def begin(size: int) -> Callable[[bytes], None]:
        nonlocal opening
        opening = means.reader.opening_head(size)
        return opening.feed

    fetched = await means.store.get(HEAD, unless=unless, into=begin)
    if fetched is not None and fetched.body:  # from a store that hands over what it has as a whole
        begin(len(fetched.body))(fetched.body)
    if fetched is None or (unless is not None and fetched.etag == unless):
        return fetched, None
    return fetched, opening or means.reader.opening_head(0)


class Committer:
    """Optimistic writer: commits what is staged, on top of what others have committed.

    Args:
        means: What it works with.
        staged: What is committed, and what is to follow.
        run: Who commits.

    Attributes:
        staged: The same.
        words: The store's, as far as this process knows; never fewer.
    """

    def __init__(self, means: Means, staged: Staged, run: Run) -> None:
        self.staged = staged
        self.words = staged.base.head.words
        self._means = means
        self._run = run
        self._transactional = False
        self._spoiled: ConflictError | None = None
        self._faults: list[ConflictError] = []
        self._conditions: Conditions | None = None
        self._undecided: dict[str, Attempt] = {}
        self._abandoned: set[str] = set()
        self._own: str | None = None
        self._lost = False
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

    @property
    def has_committed(self) -> bool:
        """Whether a commit of this process is the last one of a writer that head lists."""
        return self._own is not None and self.base.head.lists(self._own)

    def take_faults(self) -> list[ConflictError]:
        """Return, once, why entities could not be merged and were left out of a commit."""
        faults, self._faults = self._faults, []
        return faults

    @property
    def transactional(self) -> bool:
        """Whether all that is staged is taken back where others were first with any of it."""
        return self._transactional

    @transactional.setter
    def transactional(self, value: bool) -> None:
        self._transactional, self._spoiled = value, None

    def stage(self, kind: Kind, key: Key, value: bytes | None) -> None:
        """Note what an entity has become; see `Staged.stage`.

        Raises:
            ConflictError: It cannot be merged with what others have committed. In a transaction,
                the next commit takes back all, and raises the same.
        """
        resolve, transactional = self._means.resolve, self._transactional
        try:
            self.staged.stage(kind, key, value, resolve, transactional=transactional)
        except ConflictError as error:
            if transactional:
                self._spoiled = self._spoiled or error
            raise

    def discard(self) -> None:
        """Take back all that is staged, ids of updates included.

        What was sent already may yet take effect; then it counts as another writer's.
        """
        self.staged.discard()
        self._abandoned |= self._undecided.keys()

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
        if self._spoiled is not None:
            spoiled, self._spoiled = self._spoiled, None
            self.discard()
            raise spoiled
        if self._undecided:
            await self._settle(rebase=occasion is None)
        if self.staged.stuck:
            self.staged.retry(self._merging)
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
        base, seen = self.base, self._seen
        if self._conditions is None and await self._probe(changes, occasion):
            return True
        if self._seen != seen:
            return False
        self.require_conditions()
        attempt, body = await self._sealed(changes, occasion)
        try:
            written = await self._means.guarded.put(HEAD, body, if_match=base.etag)
        except PreconditionFailed:
            await self._settle(rebase=occasion is None)
            if self._seen == seen:
                raise StorageUnavailableError(
                    "The storage refused a conditional write that it should have taken. What "
                    "changed is kept and goes with the next commit."
                ) from None
        except StorageUnavailableError as failure:
            await self._settle_after(failure, rebase=occasion is None)
            if self._seen == seen:
                raise
        except asyncio.CancelledError:
            self._run.renew()  # it may yet take effect
            raise
        else:
            self._adopt(attempt, written.etag)
            self._warn_of_no_history(written)
        self._means.counters.bytes_sent += len(body)
        return base.head.lists(attempt.head.commit)

    @property
    def _seen(self) -> tuple[str, str | None]:
        """The head that this process goes by: its commit id and its ETag."""
        return self.base.head.commit, self.base.etag

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
            writer=self._run.writer,
            begins_line=self._run.begins_line,
            own=self._own,
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
            self._abandoned.discard(oldest := next(iter(self._undecided)))
            del self._undecided[oldest]
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
        finally:
            if self._undecided:  # one that may yet take effect is to be known from what follows
                self._run.renew()

    async def _settle(self, *, rebase: bool) -> None:
        """Learn from head what has been committed since we saw it last, and go on from there.

        Args:
            rebase: Whether to go on from another writer's commit as well.

        Raises:
            ConflictError: It is another writer's, and we cannot go on from there; or head is gone,
                damaged or an older one.
        """
        for number in range(1, LOAD_TRIES + 1):
            found = await self._look()
            if found is None:
                return
            opened, etag = found
            won = next((a for id_, a in self._undecided.items() if opened.head.lists(id_)), None)
            if won is not None:
                # If somebody else has committed on top, that is for the next time to take over.
                self._adopt(won, etag if won.head.commit == opened.head.commit else self.base.etag)
                return
            if opened.head.commit == self.base.head.commit:
                self._go_on_with_copy(etag)
                return
            try:
                await self._follow(opened, etag, rebase=rebase)
            except MovedError as moved:
                if number == LOAD_TRIES:
                    raise moved.fault from None
                await self._means.pause(LOAD_PAUSE * number)
            else:
                return

    async def _look(self) -> tuple[OpenedHead, str] | None:
        """Fetch and open the head; None: it is still as we last saw it.

        An attempt may yet arrive then, and stays remembered.
        """
        known = self.base.etag
        try:
            fetched, opening = await fetch_head(self._means, known)
            if fetched is None and known is None:
                return None
            if fetched is None:
                raise self._head_lost("it is gone")
            if opening is None:
                return None
            return await self._means.offload(opening.result), fetched.etag
        except DamagedObjectError as error:
            reason = error.reason
        raise self._head_lost(f"it is damaged: {reason}")

    def _go_on_with_copy(self, etag: str) -> None:
        """Go on from the very commit that we know, which lies there as another object by now.

        Whoever put it there may have put it back from behind others, so that a revision would be
        given twice on one line: our next commit begins a new one.
        """
        self.base.etag = etag
        self._run.renew()
        self._lost = False

    def _adopt(self, attempt: Attempt, etag: str | None) -> None:
        """Make an attempt that took effect the new common base."""
        base, staged = self.base, self.staged
        abandoned = attempt.head.commit in self._abandoned
        base.head, base.etag = attempt.head, etag
        self.words = base.head.words
        staged.words = tuple(word for word in staged.words if word not in self.words)
        self._decide()
        self._own, self._lost = attempt.head.commit, False
        self._run.note_commit(attempt.writer)
        self._means.counters.commits += 1
        self._means.counters.committed_at = self._means.clock()
        if abandoned:
            # What it was made of has been taken back; to what is staged by now, it is another's.
            self._put_on_top(attempt.changes)
        else:
            staged.updates = [one for one in staged.updates if one not in attempt.updates]
            staged.advance(attempt.changes)

    def _decide(self) -> None:
        """Forget all attempts: the head that they were to replace is gone for good."""
        self._undecided.clear()
        self._abandoned.clear()

    async def _follow(self, opened: OpenedHead, etag: str, *, rebase: bool) -> None:
        """Make another writer's commit the new base, and put what is staged on top of it."""
        base, head = self.base, opened.head
        if any(w.writer == self._run.writer and w.commit != self._own for w in head.writers):
            self._run.renew()  # a clone of this process, such as of a snapshot, goes by the same id
        self._met = self._means.clock()
        self._means.counters.conflicts += 1
        if base.etag and opened.header.store != base.identity.store:
            raise self._head_lost(f"it is of another store, {opened.header.store}")
        descends = head.follows(base.head)
        if not descends:
            self._refuse_unless_gone_on(head)
        if self._means.resolve is None or not rebase:
            raise self._conflict(
                f"the store is at revision {head.revision}, and this process has seen "
                f"{base.head.revision}",
                "Do it again, on what is there now.",
            )
        whole = _rebase.compacted(base, head) if descends else list(Kind)
        blobs: dict[str, Fetched | None] = {
            kind: await self._means.store.get(kind) for kind in whole
        }
        theirs = await self._means.offload(self._means.reader.build, opened, etag, blobs)
        if not descends:
            self._leave_branch(head)
        changes = await self._means.offload(_rebase.changes_since, base, theirs, whole)
        self._take_over(theirs, changes)

    def _refuse_unless_gone_on(self, head: Head) -> None:
        """Refuse a head that does not follow ours, unless somebody has gone on from an older one.

        Raises:
            ConflictError: It is an older one that was put back.
            NoConditionalPutError: Two writers have won with one revision.
        """
        known = self.base.head
        if head.precedes(known):
            raise self._head_lost(
                f"it is that of revision {head.revision} again, after revision {known.revision} "
                "was committed"
            )
        same_line = head.line_at(known.revision) == known.line
        replaced = head.revision == known.revision and known.commit == self._own
        if same_line or (replaced and not self._lost):
            raise two_winners(known.revision)

    def _leave_branch(self, head: Head) -> None:
        """Go over to a branch on which others have gone on from an older head."""
        _LOGGER.warning(
            "The store was put back to an older state, and others have committed revision %d on "
            "top of that: what was committed up to revision %d is not in it. Its versions are in "
            "the bucket's history. Going on from there, with what is unsaved here on top.",
            head.revision,
            self.base.head.revision,
        )
        if head.words[: len(self.words)] != self.words:
            self.staged.spell_out(self.words)
        self._run.renew()

    def _take_over(self, theirs: Base, changes: Changes) -> None:
        base, head = self.base, theirs.head
        descends = head.follows(base.head)
        self.words = head.words  # what they have changed may refer to them
        base.blobs = _rebase.blobs_after(base, theirs) if descends else dict(theirs.blobs)
        base.identity, base.head, base.etag = theirs.identity, head, theirs.etag
        self._decide()
        self._lost = False
        rebased = self._put_on_top(changes)
        self._means.counters.merged += rebased.merged
        self._means.counters.overridden += rebased.overridden
        _LOGGER.info(
            "Took over revision %d of another writer: %d entities; merged %d, overrode %d changes",
            head.revision,
            sum(map(len, changes.values())),
            rebased.merged,
            rebased.overridden,
        )

    def _put_on_top(self, theirs: Changes) -> Rebased:
        """Put what is staged on top of what others have committed, which the base's head has.

        Raises:
            ConflictError: In a transaction, it cannot go there; all of it was taken back.
        """
        staged = self.staged
        if any(map(self.base.head.updates.holds, staged.updates)):
            # Another instance was sent the same update, and was first. Whoever waits for a later
            # one finds that it is not among those that were delivered.
            staged.discard()
        rebased = staged.rebase(theirs, self._merging)
        refusal = self._refusal(rebased) if self._transactional else None
        if refusal is not None:
            staged.discard()
            rebased = Rebased(staged.dirty)
        staged.take_over(theirs, rebased)
        if refusal is not None:
            raise refusal
        self._faults += [one.fault for one in rebased.left_out]
        return rebased

    @staticmethod
    def _refusal(rebased: Rebased) -> ConflictError | None:
        """Return why a transaction cannot go on top of what others have committed, if it cannot."""
        if rebased.left_out:
            return rebased.left_out[0].fault
        return overtaken_error() if rebased.contested else None

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

    def _head_lost(self, what: str) -> HeadLostError:
        """Return the error for a head that was taken away, or replaced, under a running bot."""
        self._lost = True
        unsaved = sum(map(len, self.staged.dirty.values()))
        return HeadLostError(
            f"Object 'head' was changed by something else than a commit: {what}. Nothing was "
            f"overwritten; {unsaved} unsaved changes are kept in memory, and are committed once "
            "head is put right: bring back its newest version, or use ptb-s3 restore. Do not stop "
            "the bot before."
        )

    def _warn_of_no_history(self, written: Written) -> None:
        if written.version_id is None and not self._warned_of_no_history:
            self._warned_of_no_history = True
            _LOGGER.warning(
                "The bucket keeps no versions: the state is safe, but there is no history to go "
                "back to. Turn on versioning for the bucket."
            )
