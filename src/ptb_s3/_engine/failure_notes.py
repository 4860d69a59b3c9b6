"""Notes on failures: what was to be saved, and what to do, added to errors on their way out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ptb_s3._engine.commit import Committer
from ptb_s3._engine.context import EngineContext
from ptb_s3._engine.head_builder import Operation
from ptb_s3._format.entities import counted
from ptb_s3.errors import ConflictError, PersistenceError, UnknownKeyError


@contextmanager
def noting_unsaved(
    context: EngineContext, committer: Committer, operation: Operation | None
) -> Iterator[None]:
    """Say of a bot's commit that fails how many entities wait for the next one.

    Nothing waits of an update that is a transaction, which is taken back. Commands, which merge
    nothing, and errors about one entity are passed on as they are.

    Args:
        context: Tells a bot from a command.
        committer: Knows what is staged.
        operation: The operation that is committed; None: none.
    """
    try:
        yield
    except PersistenceError as failure:
        of_one_entity = isinstance(failure, ConflictError) and failure.kind is not None
        if context.resolve is None or operation is not None or of_one_entity:
            raise
        if not committer.staged.clean:
            transactional = committer.merger.transactional
            failure.while_saving("" if transactional else counted(committer.staged.dirty))
        raise


@contextmanager
def noting_rotation(context: EngineContext) -> Iterator[None]:
    """Say of a key that was exchanged beside a running bot how to lose nothing.

    Args:
        context: Tells a bot from a command, which keeps nothing.
    """
    try:
        yield
    except UnknownKeyError as error:
        if context.resolve is None:
            raise
        raise error.while_running() from None
