"""Learn from head what became of our commits and what others have committed, and go on from there.

An attempt to commit whose outcome is unknown is *undecided*. One whose changes were taken back
since is *abandoned*: if it takes effect all the same, it counts as another writer's.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping
from datetime import datetime
from typing import NamedTuple

from ptb_s3._engine import rebase as _rebase
from ptb_s3._engine.context import LOAD_PAUSE, LOAD_TRIES, EngineContext
from ptb_s3._engine.rebase import Rebased, Resolve
from ptb_s3._engine.run import Run
from ptb_s3._engine.staging import Staged, overtaken_error
from ptb_s3._format.committed import Base, HeadOpening, MovedError, OpenedHead
from ptb_s3._format.container import HEAD
from ptb_s3._format.entities import Changes, EntityKey, Kind
from ptb_s3._format.head import Head, Ref
from ptb_s3._history.order import put_back
from ptb_s3._storage.conditional import NO_ETAG, two_winners
from ptb_s3._storage.contract import Fetched, NotModified, Received
from ptb_s3.errors import (
    ConflictError,
    DamagedObjectError,
    HeadLostError,
    StorageUnavailableError,
)

# Undecided attempts remembered. Each was sent while its predecessors could still arrive, which
# takes no longer than the network's time-outs; one forgotten too early is reported as a conflict.
MAX_UNDECIDED = 16
# Seconds that a commit whose outcome is unknown waits for head to tell. Longer is no use to a bot
# that is being stopped; the next commit asks again.
SETTLE_PATIENCE = 5.0

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


class _OnTop(NamedTuple):
    """What is staged on top of what others have committed.

    Attributes:
        rebased: What is left of it.
        refusal: Why all of it was taken back, if it was: in a transaction, it cannot go there.
    """

    rebased: Rebased
    refusal: ConflictError | None


async def fetch_head(
    context: EngineContext, if_none_match: str | None = None
) -> tuple[Received, HeadOpening] | None:
    """Fetch the head, and open it while it arrives.

    Args:
        context: What to work with.
        if_none_match: An ETag.

    Returns:
        The head's metadata, and what opens its body; None where there is no head.

    Raises:
        NotModified: The head still has the ETag `if_none_match`.
        DamagedObjectError: It begins like none, and was not read to its end.
    """
    opening: HeadOpening | None = None

    def begin(size: int) -> Callable[[bytes], None]:
        nonlocal opening
        opening = context.reader.opening_head(size)
        return opening.feed

    received = await context.store.stream(HEAD, begin, if_none_match=if_none_match)
    if received is None:
        return None
    return received, opening or context.reader.opening_head(0)


async def build_base(
    context: EngineContext,
    blobs: Mapping[str, Fetched | Received | None],
    build: Callable[[Mapping[str, Fetched | Received | None], Collection[Kind]], Base],
    *,
    last: bool,
) -> Base:
    """Build a base of objects that were read.

    A blob that was sent long ago may arrive when others have gone on from an older state, or when
    its line has left head's list. Then the version that head names is read in its place.

    Args:
        context: What to work with.
        blobs: The objects.
        build: Builds it, of these objects; told the kinds whose objects are others by now.
        last: Whether objects that do not fit together are not to be read again.

    Raises:
        MovedError: They do not fit together.
    """
    replaced: set[Kind] = set()
    while True:
        try:
            base = await context.offload(build, blobs, replaced)
            break
        except MovedError as moved:
            kind, ref = moved.kind, moved.ref
            if kind is None or kind in replaced or not (moved.final or last):
                raise
            found = None if ref is None else await _named(context, kind, ref)
            if found is None and ref is not None:
                raise
        blobs = {**blobs, kind: found}
        replaced.add(kind)
        _LOGGER.warning(
            "Object %r is not what head builds on: it was put there, or arrived late. What head "
            "names was read in its place, and the object is written anew.",
            kind.value,
        )
    for kind in replaced & base.blobs.keys():  # what is to be replaced is not what was read
        base.blobs[kind] = base.blobs[kind]._replace(etag=None)
    base.misplaced |= replaced
    return base


async def _named(context: EngineContext, kind: Kind, ref: Ref) -> Fetched | None:
    if ref.version_id is None:
        return None
    return await context.store.get(kind, version_id=ref.version_id)


class Settler:
    """Follower of `head`: keeps the base and what is staged in step with what is committed.

    Args:
        context: What it works with.
        staged: What is committed, and what is to follow.
        run: Who commits.

    Attributes:
        staged: The same.
        words: The store's, as far as this process knows; never fewer, but where it was put back.
        transactional: Whether all that is staged is taken back where others were first with it.
        own: Id of the last commit that is known to be this process's.
        met: When another writer was last met.
    """

    def __init__(self, context: EngineContext, staged: Staged, run: Run) -> None:
        self.staged = staged
        self.words = staged.base.head.words
        self.transactional = False
        self.own: str | None = None
        self.met: datetime | None = None
        self._context = context
        self._run = run
        self._faults: list[ConflictError] = []
        self._undecided: dict[str, Attempt] = {}
        self._abandoned: set[str] = set()
        self._lost = False

    @property
    def base(self) -> Base:
        """What is committed."""
        return self.staged.base

    @property
    def seen(self) -> tuple[str, str | None]:
        """The head that this process goes by: its commit id and its ETag."""
        return self.base.head.commit, self.base.etag

    @property
    def undecided(self) -> bool:
        """Whether there are attempts whose outcome is unknown."""
        return bool(self._undecided)

    def in_flight(self) -> dict[Kind, set[EntityKey]]:
        """Return the keys of what undecided attempts have changed."""
        return {
            kind: {key for one in self._undecided.values() for key in one.changes.get(kind, ())}
            for kind in (Kind if self._undecided else ())
        }

    def remember(self, attempt: Attempt) -> None:
        """Remember an attempt until its outcome is known."""
        self._undecided[attempt.head.commit] = attempt
        if len(self._undecided) > MAX_UNDECIDED:
            oldest = next(iter(self._undecided))
            del self._undecided[oldest]
            self._abandoned.discard(oldest)

    def forget(self, attempt: Attempt) -> None:
        """Forget an attempt that has surely taken no effect."""
        self._undecided.pop(attempt.head.commit, None)

    async def settle_after(self, failure: StorageUnavailableError, *, rebase: bool) -> None:
        """Settle what became of an attempt to which there was no answer.

        Raises:
            StorageUnavailableError: The failure, where head does not tell either.
        """
        try:
            async with asyncio.timeout(SETTLE_PATIENCE):
                await self.settle(rebase=rebase)
        except (StorageUnavailableError, TimeoutError):
            raise failure from None
        finally:
            if self.undecided:  # one may yet take effect
                self._run.renew()

    def take_faults(self) -> list[ConflictError]:
        """Return, once, why entities could not be merged and were left out of a commit."""
        faults, self._faults = self._faults, []
        return faults

    def discard(self) -> None:
        """Take back all that is staged, even where it was sent already."""
        self.staged.discard()
        self._abandoned |= self._undecided.keys()

    async def settle(self, *, rebase: bool) -> None:
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
            opened, fetched = found
            etag = fetched.etag
            won = next((a for id_, a in self._undecided.items() if opened.head.lists(id_)), None)
            if won is not None:
                # If somebody else has committed on top, that is for the next time to take over. Nor
                # is there no head then, as before a store's first commit.
                before = self.base.etag or NO_ETAG
                self.adopt(won, etag if won.head.commit == opened.head.commit else before)
                return
            if opened.head.commit == self.base.head.commit:
                self._go_on_with_copy(etag)
                return
            try:
                await self._follow(opened, fetched, rebase=rebase, last=number == LOAD_TRIES)
            except MovedError as moved:
                if number == LOAD_TRIES:
                    raise moved.fault from None
                await self._context.pause(LOAD_PAUSE * number)
            else:
                return

    async def _look(self) -> tuple[OpenedHead, Received] | None:
        """Fetch and open the head; None: it is still as we last saw it.

        An attempt may yet arrive then, and stays remembered.
        """
        known = self.base.etag
        try:
            fetched = await fetch_head(self._context, known)
            if fetched is None and known is None:
                return None
            if fetched is None:
                raise self._head_lost("it is gone")
            received, opening = fetched
            return await self._context.offload(opening.result), received
        except NotModified:
            return None
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

    def adopt(self, attempt: Attempt, etag: str | None) -> None:
        """Make an attempt that took effect the new common base."""
        base, staged = self.base, self.staged
        abandoned = attempt.head.commit in self._abandoned
        self.words = attempt.head.words
        # What it was made of has been taken back; to what is staged by now, it is another's.
        on_top = self._work_out(attempt.changes, attempt.head) if abandoned else None
        base.head, base.etag = attempt.head, etag
        staged.words = tuple(word for word in staged.words if word not in self.words)
        self._decide()
        self.own, self._lost = attempt.head.commit, False
        self._run.note_commit(attempt.writer)
        self._context.counters.commits += 1
        self._context.counters.committed_at = self._context.clock()
        if on_top is not None:
            self._put_on_top(attempt.changes, on_top)
        else:
            staged.updates = [one for one in staged.updates if one not in attempt.updates]
            staged.advance(attempt.changes)

    def _decide(self) -> None:
        """Forget all attempts: the head that they were to replace is gone for good."""
        self._undecided.clear()
        self._abandoned.clear()

    async def _follow(
        self, opened: OpenedHead, fetched: Received, *, rebase: bool, last: bool
    ) -> None:
        """Make another writer's commit the new base, and put what is staged on top of it."""
        base, head = self.base, opened.head
        if fetched.modified is not None and put_back(opened.header, fetched.modified):
            self._run.renew()  # from behind others, maybe; see `_go_on_with_copy`
        if any(w.writer == self._run.writer and w.commit != self.own for w in head.writers):
            self._run.renew()  # a clone of this process, such as of a snapshot, goes by the same id
        self.met = self._context.clock()
        self._context.counters.conflicts += 1
        if base.etag and opened.header.store != base.identity.store:
            raise self._head_lost(f"it is of another store, {opened.header.store}")
        descends = head.follows(base.head)
        if not descends:
            self._refuse_unless_gone_on(head)
        if self._context.resolve is None or not rebase:
            raise conflict(
                f"the store is at revision {head.revision}, and this process has seen "
                f"{base.head.revision}",
                "Do it again, on what is there now.",
            )
        whole = _rebase.compacted(base, head) if descends else list(Kind)
        blobs: dict[str, Fetched | None] = {
            kind: await self._context.store.get(kind) for kind in whole
        }
        reader = self._context.reader
        theirs = await build_base(
            self._context,
            blobs,
            lambda given, _: reader.build(opened, fetched.etag, given),
            last=last,
        )
        if descends:
            changes = await self._context.offload(_rebase.changes_since, base, theirs, whole)
        else:
            self._leave_branch(head)
            # In the same tick of the loop: what is staged from now on has other words.
            changes = _rebase.changes_since(base, theirs, whole)
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
        replaced = head.revision == known.revision and known.commit == self.own
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
        base, head, words = self.base, theirs.head, self.words
        self.words = head.words  # what they have changed may refer to them
        try:
            on_top = self._work_out(changes, head)
        except BaseException:  # merge= may even end the process, and a stop saves once more
            self.words = words
            raise
        descends = head.follows(base.head)
        base.blobs = _rebase.blobs_after(base, theirs) if descends else dict(theirs.blobs)
        base.identity, base.head, base.etag = theirs.identity, head, theirs.etag
        base.misplaced |= theirs.misplaced
        self._decide()
        self._lost = False
        rebased = on_top.rebased
        self._put_on_top(changes, on_top)
        self._context.counters.merged += rebased.merged
        self._context.counters.overridden += rebased.overridden
        _LOGGER.debug(
            "Took over revision %d of another writer: %d entities; merged %d, overrode %d changes",
            head.revision,
            sum(map(len, changes.values())),
            rebased.merged,
            rebased.overridden,
        )

    def _work_out(self, theirs: Changes, head: Head) -> _OnTop:
        """Work out what is staged on top of what others have committed; the base stays as it is.

        Args:
            theirs: What they have changed.
            head: The head that has it.
        """
        staged = self.staged
        if any(map(head.updates.holds, staged.updates)):
            # Another instance was sent the same update, and was first. Whoever waits for a later
            # one finds that it is not among those that were delivered.
            staged.discard()
        rebased = staged.rebase(theirs, self.merging)
        refusal = self._refusal(rebased) if self.transactional else None
        if refusal is not None:
            staged.discard()
            rebased = Rebased(staged.dirty)
        return _OnTop(rebased, refusal)

    def _put_on_top(self, theirs: Changes, on_top: _OnTop) -> None:
        """Put what is staged on top of what others have committed, which the base's head has.

        Raises:
            ConflictError: In a transaction, it cannot go there; all of it was taken back.
        """
        self.staged.take_over(theirs, on_top.rebased)
        if on_top.refusal is not None:
            raise on_top.refusal
        self._faults += [one.fault for one in on_top.rebased.left_out]

    @staticmethod
    def _refusal(rebased: Rebased) -> ConflictError | None:
        """Return why a transaction cannot go on top of what others have committed, if it cannot."""
        if rebased.left_out:
            return rebased.left_out[0].fault
        return overtaken_error() if rebased.contested else None

    @property
    def merging(self) -> Resolve:
        assert self._context.resolve is not None  # noqa: S101 - for mypy; `_follow` has looked
        return self._context.resolve

    def _head_lost(self, what: str) -> HeadLostError:
        """Return the error for a head that was taken away, or replaced, under a running bot."""
        self._lost = True
        unsaved = sum(map(len, self.staged.dirty.values()))
        return HeadLostError(
            f"Object 'head' was changed by something else than a commit: {what}. Nothing was "
            f"overwritten; {unsaved} unsaved changes are kept in memory, and are committed once "
            "head is put right: ptb-s3 repair brings back its newest version. Do not stop the bot "
            "before."
        )


def conflict(what: str, remedy: str) -> ConflictError:
    """Return the error for a commit of another writer that we cannot go on from."""
    return ConflictError(
        f"Another writer has committed: {what}. Nothing was overwritten; what changed here is "
        f"kept in memory. {remedy}"
    )
