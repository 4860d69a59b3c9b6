"""Takeover of another writer's head: it becomes the base, and what is staged goes on top of it.

=====================================  ==========================================================
their head, to ours                    what follows
=====================================  ==========================================================
follows it (same branch)               takeover: their changes since ours, and a rebase
is an older one of our line            `HeadLostError`: it was put back, and nobody committed since
is another of the same revision, or    `NoConditionalPutError`: two writers have won
went on from one, without versions
comes after an older one, on a branch  takeover of the whole state: the store was rolled back, and
of its own                             others went on; ours of the old branch is not in it
is of another store                    `HeadLostError`
=====================================  ==========================================================
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

from ptb_s3._engine import rebase as _rebase
from ptb_s3._engine.active_writers import ActiveWriters
from ptb_s3._engine.attempts import Attempts
from ptb_s3._engine.context import EngineContext
from ptb_s3._engine.fetching import Fetcher
from ptb_s3._engine.head_loss import HeadLoss
from ptb_s3._engine.merging import Merger
from ptb_s3._engine.reading import build_base
from ptb_s3._engine.run import Run
from ptb_s3._engine.staging import Staged
from ptb_s3._format.blobs import BlobSource
from ptb_s3._format.committed import Base
from ptb_s3._format.entities import Changes, EntityKey, Kind
from ptb_s3._format.head import Head
from ptb_s3._format.openers import OpenedHead
from ptb_s3._format.reader import TornReadError
from ptb_s3._history.order import put_back
from ptb_s3._storage.conditional import two_winners
from ptb_s3._storage.contract import Fetched, Received
from ptb_s3.errors import ConflictError, MissingObjectError

_LOGGER = logging.getLogger("ptb_s3")


class Takeover:
    """Follower of other writers' commits.

    Args:
        context: Store, reader and counters.
        staged: The base, and what is staged on it.
        run: This writer; renewed where its id or its line could be shared with another.
        attempts: Attempts to commit, which a takeover decides.
        merger: Puts what is staged on top.
        others: Told of each takeover.
        loss: Knows whether head was lost.
        fetcher: Reads kinds on demand.
    """

    def __init__(
        self,
        context: EngineContext,
        staged: Staged,
        run: Run,
        attempts: Attempts,
        *,
        merger: Merger,
        others: ActiveWriters,
        loss: HeadLoss,
        fetcher: Fetcher,
    ) -> None:
        self._fetcher = fetcher
        self._context = context
        self._staged = staged
        self._run = run
        self._attempts = attempts
        self._merger = merger
        self._others = others
        self._loss = loss

    async def follow(
        self, opened: OpenedHead, fetched: Received, *, rebase: bool, last: bool
    ) -> None:
        """Make another writer's commit the new base, and put what is staged on top of it.

        Args:
            opened: Their head.
            fetched: Its object.
            rebase: Whether to; if not, it is a conflict.
            last: Whether objects that do not fit together are not going to be read again.

        Raises:
            TornReadError: Objects do not fit together.
            ConflictError: We cannot go on from there.
            NoConditionalPutError: Two writers have won with one revision.
        """
        head, base = opened.head, self._staged.base
        self._note(opened, fetched)
        if base.etag and opened.header.store != base.identity.store:
            raise self._loss.error(f"it is of another store, {opened.header.store}")
        descends = head.follows(base.head)
        if not descends:
            self._refuse_unless_gone_on(head, fetched.version_id)
        if self._context.resolve is None or not rebase:
            raise conflict(
                f"the store is at revision {head.revision}, and this process has seen "
                f"{base.head.revision}",
                "Do it again, on what is there now.",
            )
        whole = _rebase.compacted(base, head) if descends else list(Kind)
        theirs = await self._read(opened, fetched.etag, whole, last=last)
        changes = await self._changes(theirs, whole, descends=descends)
        if not descends:
            self._leave_branch(head)
            # Without a pause from here to the takeover: what is staged from now on has other words.
            changes = _rebase.changes_since(base, theirs, whole)
        self._take_over(theirs, changes)

    def _note(self, opened: OpenedHead, fetched: Received) -> None:
        """Note that another writer has committed, and whether it may be a clone of this one."""
        if fetched.modified is not None and put_back(opened.header, fetched.modified):
            self._run.renew()  # from behind others, maybe; see `Settler.take_copy`
        writer, own = self._run.writer, self._attempts.own
        if any(w.writer == writer and w.commit != own for w in opened.head.writers):
            self._run.renew()  # a clone of this process, such as of a snapshot, goes by the same id
        self._others.note()
        self._context.counters.conflicts += 1

    def _refuse_unless_gone_on(self, head: Head, version_id: str | None) -> None:
        """Refuse a head that does not follow ours, unless somebody has gone on from an older one.

        Args:
            head: The head.
            version_id: Id of its version; None in a bucket that keeps none.

        Raises:
            ConflictError: It is an older one that was put back.
            NoConditionalPutError: Two writers have won with one revision.
        """
        known = self._staged.base.head
        if head.precedes(known):
            raise self._loss.error(
                f"it is that of revision {head.revision} again, after revision {known.revision} "
                "was committed"
            )
        same_line = head.line_at(known.revision) == known.line
        # Their line begins with the revision that was acknowledged to us: either its writer won
        # as well, or ours alone was rolled back. The second takes versions, which still hold ours;
        # without them it would be lost with no more than a warning.
        begun = any(line.revision == known.revision for line in head.lines)
        ours = known.commit == self._attempts.own
        replaced = ours and (head.revision == known.revision or (begun and version_id is None))
        if same_line or (replaced and not self._loss.lost):
            raise two_winners(known.revision)

    async def _read(self, opened: OpenedHead, etag: str, whole: list[Kind], *, last: bool) -> Base:
        """Read the blobs of some kinds, and return the base of their head with these alone."""
        blobs: dict[str, Fetched | None] = {
            kind: await self._context.store.get(kind)
            for kind in whole
            if kind not in self._staged.base.partial
        }
        build = self._context.reader.build
        return await build_base(
            self._context, blobs, lambda given, _: build(opened, etag, given), last=last
        )

    async def _changes(self, theirs: Base, whole: list[Kind], *, descends: bool) -> Changes:
        """Return their changes since our base, with what is known here read from their blobs.

        Fetches go on meanwhile, from the blobs before: what they have brought in the end is read
        from theirs as well, or it would stay as it was there.

        Raises:
            TornReadError: A blob is gone, or not what their head builds on.
        """
        base = self._staged.base
        newer = base.head.revision if descends else None
        read: dict[Kind, set[EntityKey]] = {
            kind: set() for kind in base.partial.keys() & set(whole)
        }
        for kind in read:
            theirs.lay_partial(kind, await self._source(theirs, kind))
        while True:
            for kind, keys in self._unread(read).items():
                await self._read_known(theirs, kind, keys, newer)
                read[kind] |= keys
            changes = await self._context.offload(_rebase.changes_since, base, theirs, whole)
            if not self._unread(read):
                return changes

    async def _source(self, theirs: Base, kind: Kind) -> BlobSource | None:
        """Return the blob that their head takes, or None where there is none to read."""
        try:
            return await self._fetcher.reads.source(theirs.head, kind, theirs.identity.store)
        except MissingObjectError as fault:
            if theirs.head.parts[kind].ref is not None:
                raise TornReadError(fault) from None
            return None

    def _unread(self, read: dict[Kind, set[EntityKey]]) -> dict[Kind, set[EntityKey]]:
        """Return the keys of what is known here by now, and was not read from their blobs."""
        base = self._staged.base
        known = {kind: base.entities[kind].keys() | base.partial[kind].absent for kind in read}
        return {kind: left for kind, keys in known.items() if (left := keys - read[kind])}

    async def _read_known(
        self, theirs: Base, kind: Kind, keys: set[EntityKey], newer: int | None
    ) -> None:
        """Read entities as they are in their blob, but for those that are no newer than a revision.

        Raises:
            TornReadError: The blob is gone.
        """
        source = theirs.partial[kind].source
        try:
            found: Mapping[EntityKey, bytes | None] = (
                dict.fromkeys(keys)
                if source is None
                else await self._fetcher.known_of(source, keys, newer)
            )
        except MissingObjectError as fault:
            raise TornReadError(fault) from None
        left = {key: value for key, value in found.items() if not theirs.knows(kind, key)}
        theirs.learn(kind, left)

    def _leave_branch(self, head: Head) -> None:
        """Go over to a branch on which others have gone on from an older head."""
        _LOGGER.warning(
            "The store was put back to an older state, and others have committed revision %d on "
            "top of that: what was committed up to revision %d is not in it. Its versions are in "
            "the bucket's history. Going on from there, with what is unsaved here on top.",
            head.revision,
            self._staged.base.head.revision,
        )
        words = self._staged.vocabulary.known
        if head.words[: len(words)] != words:
            self._staged.spell_out(words)
        self._run.renew()

    def _take_over(self, theirs: Base, changes: Changes) -> None:
        """Go on to their head. Its words come first: the values to be merged refer to them."""
        base, head, staged = self._staged.base, theirs.head, self._staged
        with staged.vocabulary.learning(head.words):
            on_top = self._merger.work_out(changes, head)
        descends = head.follows(base.head)
        base.take_over(theirs, _rebase.blobs_after(base, theirs) if descends else theirs.blobs)
        self._attempts.decide()
        self._loss.note_found()
        rebased = on_top.rebased
        self._merger.put_on_top(changes, on_top)
        self._context.counters.merged += rebased.merged
        self._context.counters.overridden += rebased.overridden
        _LOGGER.debug(
            "Took over revision %d of another writer: %d entities; merged %d, overrode %d changes",
            head.revision,
            sum(map(len, changes.values())),
            rebased.merged,
            rebased.overridden,
        )


def conflict(found: str, remedy: str) -> ConflictError:
    """Return the error for a commit of another writer that we cannot go on from.

    Args:
        found: What it has committed, as a clause.
        remedy: What to do, as a sentence.
    """
    return ConflictError(
        f"Another writer has committed: {found}. Nothing was overwritten; what changed here is "
        f"kept in memory. {remedy}"
    )
