"""Rewrite on loss: memory in place of a current state that is lost (``PTB_S3_ON_LOSS=rewrite``).

Only where the user has asked for it beforehand, and where nobody has committed since: a bot that
slept would undo that. Where no version is left to tell, there must be no other writer.
"""

from __future__ import annotations

import logging

from ptb_s3._engine.context import EngineContext
from ptb_s3._engine.recovered_base import is_lost, note_current_objects, nothing_newer
from ptb_s3._format.committed import Base
from ptb_s3._format.container import HEAD
from ptb_s3._format.entities import Kind
from ptb_s3._history.current import Current, read_current
from ptb_s3._history.recovery import find_newest
from ptb_s3.errors import HeadLostError, NothingThereError

_NOBODY_TELLS = (
    "PTB_S3_ON_LOSS=rewrite does not help here: no version tells whether anybody has committed "
    "since. With PTB_S3_SINGLE_WRITER=true, set beforehand, nobody can have."
)
# Reads of the current objects before they count as lost: a transfer that broke off is no loss.
_LOOKS = 2

_LOGGER = logging.getLogger("ptb_s3")


async def prepare_rewrite(context: EngineContext, base: Base, lost: HeadLostError) -> bool:
    """Note the objects that lie there, and tell whether a base may replace them.

    Args:
        context: Store, and the user's settings.
        base: The committed state in memory.
        lost: The error to raise if they may not; it gets a note where that helps.

    Raises:
        StorageError: The storage cannot be asked.
    """
    if not context.rewrites_lost:
        return False
    for _ in range(_LOOKS):
        current = await read_current(context.store, context.reader, context.offload)
        if not is_lost(current[HEAD]):
            return False
    if not await _nobody_since(context, base, current, lost):
        return False
    _LOGGER.warning(
        "The current state is lost, and the versions give nothing newer than what is in "
        "memory: it is written anew (PTB_S3_ON_LOSS=rewrite)."
    )
    note_current_objects(base, current, list(Kind))
    return True


async def _nobody_since(
    context: EngineContext, base: Base, current: dict[str, Current], lost: HeadLostError
) -> bool:
    """Tell whether nobody can have committed after a base."""
    try:
        found = await find_newest(
            context.store, context.reader.for_history, current, context.offload
        )
    except NothingThereError as nothing:
        if nothing.unread > (current[HEAD].found is not None):
            return False  # versions that do not open, and may be newer
        if not context.single_writer:
            lost.add_note(_NOBODY_TELLS)
            return False
        return True
    return nothing_newer(found, base, current[HEAD])
