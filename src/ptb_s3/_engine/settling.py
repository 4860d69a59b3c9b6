"""Settle: learn from `head` which commits took effect, ours or others', and go on from there.

An answer to a commit may be a refusal that is none, or missing (`conditional_writer`). So after any
unclear answer, before a commit while attempts are undecided, and whenever a bot looks for others'
commits, head is read:

=======================  ================================  ========================================
head, when read          it shows                          what follows
=======================  ================================  ========================================
same ETag as before      nothing new                       nothing; attempts stay undecided, for
                                                           one may arrive yet
another object           the commit id of an undecided     that attempt took effect: `adopt`. All
                         attempt, in its list of writers   others are decided, too: the head that
                                                           their conditions name is gone
another object           the base's own commit id          a copy was put there: go on from it, on
                                                           a new line
another object           none of these                     another writer's: `takeover`
none, or damaged                                           `HeadLostError`; nothing is overwritten
=======================  ================================  ========================================

An attempt may have won *and* others have committed on top of it: head lists the last commit of each
writer for that. Then ours is adopted with the ETag from before, so that the next commit is refused,
and takes over the rest.
"""

from __future__ import annotations

import asyncio

from ptb_s3._engine.attempts import Attempt, Attempts
from ptb_s3._engine.context import EngineContext
from ptb_s3._engine.head_loss import HeadLoss
from ptb_s3._engine.merging import Merger
from ptb_s3._engine.reading import LOAD_PAUSE, LOAD_TRIES, fetch_head
from ptb_s3._engine.run import Run
from ptb_s3._engine.staging import Staged
from ptb_s3._engine.takeover import Takeover
from ptb_s3._format.committed import Base
from ptb_s3._format.openers import OpenedHead
from ptb_s3._format.reader import TornReadError
from ptb_s3._storage.conditional import NO_ETAG
from ptb_s3._storage.contract import NotModified, Received
from ptb_s3.errors import DamagedObjectError, StorageUnavailableError

# Seconds that a commit whose outcome is unknown waits for head to tell. Longer is no use to a bot
# that is being stopped; the next commit asks again.
SETTLE_PATIENCE = 5.0


class Settler:
    """Follower of `head`: keeps the base, and what is staged, in step with what is committed.

    Args:
        context: Store, clock and counters.
        staged: The base, and what is staged on it.
        run: This writer; renewed while an attempt under its id may yet take effect.
        attempts: Attempts to commit.
        merger: Puts what is staged on top of an abandoned attempt that took effect.
        takeover: Takes over other writers' commits.
        loss: Watches for a head that is lost.
    """

    def __init__(
        self,
        context: EngineContext,
        staged: Staged,
        run: Run,
        attempts: Attempts,
        *,
        merger: Merger,
        takeover: Takeover,
        loss: HeadLoss,
    ) -> None:
        self._context = context
        self._staged = staged
        self._run = run
        self._attempts = attempts
        self._merger = merger
        self._takeover = takeover
        self._loss = loss

    @property
    def base(self) -> Base:
        """Return the base."""
        return self._staged.base

    @property
    def seen(self) -> tuple[str, str | None]:
        """Return the head that this process goes by: its commit id, and its ETag."""
        return self.base.head.commit, self.base.etag

    async def settle_after(self, failure: StorageUnavailableError, *, rebase: bool) -> None:
        """Settle an attempt to which there was no answer, within `SETTLE_PATIENCE` seconds.

        Args:
            failure: Why there was none.
            rebase: See `settle`.

        Raises:
            StorageUnavailableError: The failure, where head cannot be read either.
            PersistenceError: See `settle`.
        """
        try:
            async with asyncio.timeout(SETTLE_PATIENCE):
                await self.settle(rebase=rebase)
        except (StorageUnavailableError, TimeoutError):
            raise failure from None
        finally:
            if self._attempts.undecided:  # one may yet take effect
                self._run.renew()

    async def settle(self, *, rebase: bool) -> None:
        """Read head, and go on from what has been committed since it was last seen.

        Args:
            rebase: Whether to go on from another writer's commit as well.

        Raises:
            ConflictError: It is another writer's, and we cannot go on from there.
            HeadLostError: Head is gone, damaged or an older one.
            StorageError: It cannot be read.
        """
        for number in range(1, LOAD_TRIES + 1):
            found = await self._look()
            if found is None:
                return
            opened, fetched = found
            if self._is_known(opened, fetched.etag):
                return
            last = number == LOAD_TRIES
            try:
                await self._takeover.follow(opened, fetched, rebase=rebase, last=last)
            except TornReadError as torn:
                if last:
                    raise torn.fault from None
                await self._context.pause(LOAD_PAUSE * number)
            else:
                return

    async def _look(self) -> tuple[OpenedHead, Received] | None:
        """Fetch and open the head, or return None if it is still as it was last seen.

        An attempt may yet arrive then, and stays remembered.
        """
        known = self.base.etag
        try:
            fetched = await fetch_head(self._context, known)
            if fetched is None and known is None:
                return None
            if fetched is None:
                raise self._loss.error("it is gone")
            received, opener = fetched
            return await self._context.offload(opener.result), received
        except NotModified:
            return None
        except DamagedObjectError as error:
            reason = error.reason
        raise self._loss.error(f"it is damaged: {reason}")

    def _is_known(self, opened: OpenedHead, etag: str) -> bool:
        """Go on from a head that shows a commit of ours or the base's, and tell whether it does."""
        won = self._attempts.winner(opened.head)
        if won is not None:
            # If somebody else has committed on top, that is for the next settle to take over. The
            # ETag from before refuses the next commit; before a store's first, there is none.
            before = self.base.etag or NO_ETAG
            self.adopt(won, etag if won.commit == opened.head.commit else before)
            return True
        if opened.head.commit == self.base.head.commit:
            self._take_copy(etag)
            return True
        return False

    def _take_copy(self, etag: str) -> None:
        """Go on from the very commit that we know, which lies there as another object by now.

        Whoever put it there may have put it back from behind others, so that a revision would be
        given twice on one line: our next commit begins a new one.
        """
        self.base.take_copy(etag)
        self._run.renew()
        self._loss.note_found()

    def adopt(self, attempt: Attempt, etag: str | None) -> None:
        """Make an attempt that took effect the new base.

        Args:
            attempt: The attempt.
            etag: ETag of its object, or of the one before; see `settle`.

        Raises:
            ConflictError: It was abandoned, and in a transaction, what is staged by now cannot go
                on top of it.
        """
        staged, attempts = self._staged, self._attempts
        abandoned = attempts.is_abandoned(attempt)
        with staged.vocabulary.learning(attempt.head.words):
            # What an abandoned one was made of was taken back: to what is staged by now, it is
            # another writer's.
            on_top = self._merger.work_out(attempt.changes, attempt.head) if abandoned else None
        self.base.advance(attempt.head, etag)
        attempts.decide()
        attempts.own = attempt.commit
        self._loss.note_found()
        self._run.note_commit(attempt.writer)
        self._context.counters.commits += 1
        self._context.counters.committed_at = self._context.clock()
        if on_top is not None:
            self._merger.put_on_top(attempt.changes, on_top)
        else:
            staged.advance(attempt.changes, attempt.updates)
