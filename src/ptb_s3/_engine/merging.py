"""Merges of what is staged with what others have committed, when it is staged or rebased.

In a *transaction* (`deliver`: one update is one transaction) all that is staged is taken back where
others were first with any of it, and the update is processed again.
"""

from __future__ import annotations

from typing import NamedTuple

from ptb_s3._engine.attempts import Attempts
from ptb_s3._engine.context import EngineContext
from ptb_s3._engine.rebase import Rebased
from ptb_s3._engine.staging import Staged, overtaken_error
from ptb_s3._format.entities import Changes, EntityKey, Kind, Resolve
from ptb_s3._format.head import Head
from ptb_s3.errors import ConflictError


class OnTop(NamedTuple):
    """Staged changes, as they go on top of what others have committed.

    Attributes:
        rebased: The changes that are left.
        refusal: Why all of them were taken back, in a transaction; None: they were not.
    """

    rebased: Rebased
    refusal: ConflictError | None


class Merger:
    """Merger of staged changes: counts what it merges, and keeps the errors of what it cannot.

    Args:
        context: Gives the merge of values, and the counters.
        staged: The staged state.
        attempts: The attempts to commit it.
    """

    def __init__(self, context: EngineContext, staged: Staged, attempts: Attempts) -> None:
        self._context = context
        self._staged = staged
        self._attempts = attempts
        self._transactional = False
        self._spoiled: ConflictError | None = None
        self._faults: list[ConflictError] = []

    @property
    def transactional(self) -> bool:
        """Return whether all that is staged is taken back where others were first with any."""
        return self._transactional

    @transactional.setter
    def transactional(self, value: bool) -> None:
        self._transactional, self._spoiled = value, None

    @property
    def resolve(self) -> Resolve:
        """Return the merge of two values, where there is one."""
        assert self._context.resolve is not None  # noqa: S101 - for mypy; `Takeover` has looked
        return self._context.resolve

    def take_faults(self) -> list[ConflictError]:
        """Return, once, the errors of entities that could not be merged and were left out."""
        faults, self._faults = self._faults, []
        return faults

    def stage(self, kind: Kind, key: EntityKey, value: bytes | None) -> None:
        """Stage an entity, merged where it was overtaken (see `Staged.stage`).

        Raises:
            ConflictError: It cannot be merged with what others have committed. In a transaction,
                the next commit takes back all, and raises the same.
        """
        resolve, transactional = self._context.resolve, self.transactional
        try:
            merged = self._staged.stage(kind, key, value, resolve, transactional=transactional)
        except ConflictError as error:
            if transactional:
                self._spoiled = self._spoiled or error
            raise
        if merged is not None:
            self._context.counters.merged += 1
            self._context.counters.overridden += merged.overridden

    def discard(self) -> None:
        """Take back all that is staged, ids of updates included.

        An attempt that was sent already may yet take effect; then it counts as another writer's.
        """
        self._staged.discard()
        self._attempts.abandon()

    def refuse_spoiled(self) -> None:
        """Take back a transaction of which a part could not be staged.

        Raises:
            ConflictError: The error of that part.
        """
        if self._spoiled is not None:
            spoiled, self._spoiled = self._spoiled, None
            self.discard()
            raise spoiled

    def retry(self) -> None:
        """Stage unmerged changes that can be merged by now."""
        if self._staged.unmerged:
            self._staged.retry(self.resolve)

    def work_out(self, theirs: Changes, head: Head) -> OnTop:
        """Rebase what is staged onto what others have committed.

        The base stays as it is.

        Args:
            theirs: Their changes.
            head: The head that has them.
        """
        staged = self._staged
        if any(map(head.updates.holds, staged.updates)):
            # Another instance was sent the same update, and was first. Whoever waits for a later
            # one finds that it is not among those that were delivered.
            staged.discard()
        rebased = staged.rebase(theirs, self.resolve)
        refusal = self._refusal(rebased) if self.transactional else None
        if refusal is not None:
            staged.discard()
            rebased = Rebased({kind: {} for kind in Kind})
        return OnTop(rebased, refusal)

    def put_on_top(self, theirs: Changes, on_top: OnTop) -> None:
        """Stage the rebased changes on top of what others have committed, which the head has.

        Args:
            theirs: Their changes.
            on_top: Ours, as `work_out` gave them.

        Raises:
            ConflictError: In a transaction, ours cannot go there; all of it was taken back.
        """
        self._staged.take_over(theirs, on_top.rebased)
        if on_top.refusal is not None:
            raise on_top.refusal
        self._faults += [one.fault for one in on_top.rebased.unmerged]

    @staticmethod
    def _refusal(rebased: Rebased) -> ConflictError | None:
        """Return why a transaction cannot go on top of what others have committed, if it cannot."""
        if rebased.unmerged:
            return rebased.unmerged[0].fault
        return overtaken_error() if rebased.contested else None
