"""Heads to be committed: built on the base from what is staged, sealed, and remembered."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

from ptb_s3._engine.attempts import Attempt, Attempts
from ptb_s3._engine.context import EngineContext
from ptb_s3._engine.head_bound import HeadBound
from ptb_s3._engine.run import Run
from ptb_s3._engine.staging import Staged
from ptb_s3._format import head as _head
from ptb_s3._format.committed import Base
from ptb_s3._format.entities import Changes, Kind
from ptb_s3._format.erasure import SECRET_BYTES, Erasures
from ptb_s3._format.head import Conditions, Ref


class Operation(NamedTuple):
    """Operation that a commit carries out: it commits even if nothing has changed.

    Its changes were worked out on the base as it was: so where another writer was first, the commit
    is refused rather than rebased.

    Attributes:
        restored: Restore request to record in head; None: it is no restore.
        erased: Id of the user or chat whose erasure to record in head; None: it is none.
    """

    restored: str | None = None
    erased: int | None = None


class HeadBuilder:
    """Builder of the next head.

    Args:
        context: Seals it.
        staged: The base, and what is staged.
        run: Gives the writer id.
        attempts: Remembers each head as an attempt.
    """

    def __init__(
        self, context: EngineContext, staged: Staged, run: Run, attempts: Attempts
    ) -> None:
        self._context = context
        self._staged = staged
        self._run = run
        self._attempts = attempts
        self._bound = HeadBound(context.clock)

    async def seal(
        self, changes: Changes, operation: Operation | None, conditions: Conditions | None
    ) -> tuple[Attempt, bytes]:
        """Build, seal and remember a head that commits changes.

        It is remembered until its outcome is known, even if the storage refuses it: it may have
        been sent twice, and refused the second time alone.

        Args:
            changes: The changes, none of which the base has.
            operation: Operation to record; None: none.
            conditions: What the storage makes of conditional PUT, to be recorded.

        Returns:
            The attempt, and the object to send.

        Raises:
            UnreadableError: No reader would take it.
            HeadTooLargeError: It is too large to be read at each start.
        """
        base, updates = self._staged.base, self._staged.updates
        operation = operation or Operation()
        follow = partial(
            _head.follow,
            base.head,
            changes,
            commit=self._context.sealer.new_commit(),
            writer=self._run.writer,
            begins_line=self._run.begins_line,
            own=self._attempts.own,
            refs=_refs(base),
            counts={kind: base.count_after(kind, changes.get(kind, {})) for kind in Kind},
            restored=operation.restored,
            erasures=self._erasures_with(operation.erased),
            conditions=conditions,
            updates=updates,
            words=self._staged.vocabulary.suggested,
        )
        identity, sealer = base.identity, self._context.sealer
        await sealer.prepare()
        head, body = await self._context.offload(lambda: sealer.head(identity, follow()))
        self._bound.check(len(body))
        attempt = Attempt(head, changes, updates)
        self._attempts.remember(attempt)
        return attempt, body

    def _erasures_with(self, subject: int | None) -> Erasures | None:
        head = self._staged.base.head
        if subject is None:
            return head.erasures
        erasures = head.erasures or Erasures(self._context.randomness(SECRET_BYTES), {})
        return erasures.adding(subject, head.revision + 1)


def _refs(base: Base) -> dict[Kind, Ref]:
    """Return the newest blobs, or those that head names where what lies there is no blob.

    The latter are noted so while a lost state is rewritten, which may break off.
    """
    parts = base.head.parts.items()
    named = {kind: part.ref for kind, part in parts if part.ref is not None}
    newest = {kind: blob.ref for kind, blob in base.blobs.items() if blob.ref.commit}
    return {kind: ref for kind, ref in (named | newest).items() if kind in base.blobs}
