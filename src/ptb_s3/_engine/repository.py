"""Repository: a working copy, and the operations that make a commit of their own.

These are going back to an older state, recovering a lost one, sealing anew and erasing. Each works
out its changes on the base as it is, and is refused, not rebased, where another writer is first.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping

from ptb_s3._engine.head_builder import Operation
from ptb_s3._engine.loading import Recovery, preparing
from ptb_s3._engine.past_jobs import JudgePastJob, judge_past_jobs
from ptb_s3._engine.recovered_base import base_of, continued, lessened, transplanted
from ptb_s3._engine.working_copy import WorkingCopy
from ptb_s3._format import entities as _state
from ptb_s3._format.committed import Base
from ptb_s3._format.container import HEAD
from ptb_s3._format.entities import Changes, Entities, Kind
from ptb_s3._format.erasure import subjects
from ptb_s3._format.restore_point import RestorePoint
from ptb_s3._history.history import History, Snapshot
from ptb_s3._history.recovery import Found
from ptb_s3.errors import ConflictError, RestorePointError

_LOGGER = logging.getLogger("ptb_s3")


class Repository(WorkingCopy):
    """Working copy with operations on the whole state.

    See `WorkingCopy` for its arguments.

    Invariant: a state that was begun with other than by `load` is written whole (`mend`) before any
    commit on top of it.
    """

    _recovered: Found | None = None
    _unwritten = False

    # Beginning elsewhere than with the current objects ------------------------------------------

    async def recover(
        self, *, store_id: str | None = None, advance: Callable[[int], None] = lambda _: None
    ) -> Recovery:
        """Begin with the newest state that versions give, whatever the current objects hold.

        What is committed then goes on top of it, once `mend` has written what is misplaced.

        Args:
            store_id: Id of the store whose state it is to be; None: the newest one's.
            advance: Called with the number of versions that have been listed.

        Raises:
            NothingThereError: No version opens.
        """
        async with preparing(self._context.sealer):
            recovery = await self._loader.recover(store_id, advance)
        self._begin(base_of(recovery.found, recovery.current))
        self._recovered, self._unwritten = recovery.found, True
        await self._begun.probe.recall()
        return recovery

    def begin_from(self, base: Base) -> None:
        """Begin with the state of another place, to be written here whole."""
        self._begin(transplanted(base))
        self._unwritten = True

    async def mend(self, done: Callable[[str], None] = lambda _: None) -> None:
        """Write the blobs that a recovered state needs, ahead of a commit on top of it.

        It may break off anywhere: the current state could not be read before, either.

        Args:
            done: Called with the name of each object that is written.
        """
        if not self._unwritten:
            return
        base, found = self.base, self._recovered
        # These are to be of the revision that `continued` adds, and so wait for it.
        late = set[Kind]() if found is None else set(lessened(found))
        await self._write_misplaced(base.misplaced - late, done)
        if found is not None:
            sealer = self._context.sealer
            ids = sealer.new_writer(), sealer.new_commit()
            base.continue_from(continued(base.head, found, *ids))
            self._recovered = None
        await self._write_misplaced(base.misplaced, done)
        self._unwritten = False

    async def _write_misplaced(self, kinds: Iterable[Kind], done: Callable[[str], None]) -> None:
        for kind in sorted(kinds):
            await self.compact(kind)
            self.base.note_rewritten(kind)
            done(kind)

    # Going back ---------------------------------------------------------------------------------

    @property
    def history(self) -> History:
        """Return the commits that the bucket still holds."""
        base, reader = self.base, self._context.reader.for_history
        return History(self._context.store, reader, base.identity.store, base.head)

    async def restore(self, point: RestorePoint, judge: JudgePastJob | None = None) -> bool:
        """Bring back an older state as a new commit, unless this request was carried out before.

        Args:
            point: The commit to go back to. Head records the text of it.
            judge: Says which of its jobs have run since, and are left out; None: none is.

        Returns:
            Whether it was carried out now.

        Raises:
            RestorePointError: No commit that history still holds answers to it.
        """
        while point.text not in self.base.head.restored:
            snapshot = await self.restorable(point)
            jobs = judge_past_jobs(self.base, snapshot.entities, judge)
            try:
                await self.commit_only(
                    self.changes_to(jobs.entities), Operation(restored=point.text)
                )
            except ConflictError:
                if self._context.resolve is None:
                    raise
                await self.sync()  # and see what there is to restore then, if anything
            else:
                _LOGGER.warning(
                    "Restored revision %d as revision %d", snapshot.head.revision, self.revision
                )
                _tell_left_out(len(jobs.left_out))
                return True
        return False

    async def restore_lost(self, point: RestorePoint, judge: JudgePastJob | None = None) -> bool:
        """Restore as `restore` does where the current state cannot be read.

        Args:
            point: See `restore`.
            judge: See `restore`.

        Returns:
            Whether it was carried out now.

        Raises:
            NothingThereError: No version of the state opens, or none answers to the request.
        """
        await self.recover()
        return await self.restore(point, judge)

    async def restorable(self, point: RestorePoint) -> Snapshot:
        """Return the whole state as of the commit that a point names, to be committed again.

        Args:
            point: Commit to go back to.

        Raises:
            RestorePointError: No commit that history still holds, and that can be, answers to it.
        """
        snapshot = await self.history.state_at(point)
        words = snapshot.head.words
        if self.base.head.words[: len(words)] != words:
            raise RestorePointError(
                f"Cannot go back to {point.text!r}: its values refer to words that the current "
                "head has not, since an older head was put back after it. Write it to a file "
                "(ptb-s3 export --at), and import that. Nothing was changed."
            )
        return snapshot

    def changes_to(self, entities: Mapping[Kind, Entities]) -> Changes:
        """Return the changes that turn the committed state into these entities.

        Args:
            entities: All entities of some kinds; other kinds stay as they are.
        """
        return {
            kind: _state.difference(self.base.entities[kind], wanted)
            for kind, wanted in entities.items()
        }

    async def commit_only(self, changes: Changes, operation: Operation | None = None) -> None:
        """Commit these changes, where nothing else is staged.

        If that fails, nothing is staged again.

        Args:
            changes: The changes.
            operation: Operation to record; None: another writer's commit is taken over first.

        Raises:
            PersistenceError: See `commit`.
        """
        await self.mend()
        self.staged.stage_only(changes)
        try:
            await self.commit(operation=operation)
        except BaseException:
            self.staged.forget()
            raise

    # Sealing anew, and erasing ------------------------------------------------------------------

    def sealed_otherwise(self) -> list[str]:
        """Return the names of the current objects that another than the sealing key has sealed."""
        key, base = self.sealing_key_id, self.base
        head = [HEAD] if base.objects[HEAD].header.key != key else []
        return [*head, *(kind for kind, blob in base.blobs.items() if blob.ref.key != key)]

    def written_kinds(self) -> list[Kind]:
        """Return the kinds of which a blob or the head holds anything."""
        base = self.base
        return [
            kind for kind, part in base.head.parts.items() if kind in base.blobs or part.has_changed
        ]

    async def seal_anew(
        self, kinds: Iterable[Kind], done: Callable[[str], None] = lambda _: None
    ) -> None:
        """Write these kinds' blobs anew, and a head that refers to them.

        It may break off anywhere: a blob that no head refers to yet is as good as the one before.

        Args:
            kinds: Kinds whose blobs to write.
            done: Called with the name of each object that is written.

        Raises:
            PersistenceError: See `compact` and `commit`.
        """
        for kind in kinds:
            await self.compact(kind)
            done(kind)
        await self.commit(publish=True, operation=Operation())
        done(HEAD)

    async def erase(self, subject: int) -> Changes:
        """Delete all that is a user's or chat's, and record that, in one commit.

        What is current still holds it until it is sealed anew; call `seal_anew` for all kinds.

        Args:
            subject: Id of the user or chat.

        Returns:
            The deletions.
        """
        base = self.base
        changes: Changes = {
            kind: {key: None for key in entities if subject in subjects(kind, key)}
            for kind, entities in base.entities.items()
        }
        await self.commit_only(changes, Operation(erased=subject))
        return changes


def _tell_left_out(number: int) -> None:
    """Log that jobs of a restored state were left out, if any were."""
    if number:
        _LOGGER.warning(
            "Overdue jobs of the restored state were left out, since they are not there any more "
            "(they have run since, or were cancelled): %d. To bring them back: ptb-s3 restore "
            "--kind jobs --overdue-jobs.",
            number,
        )
