"""Reads of the current objects: the head as it arrives, and blobs that do not fit it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping

from ptb_s3._engine.context import EngineContext
from ptb_s3._format.committed import Base
from ptb_s3._format.container import HEAD
from ptb_s3._format.entities import Kind
from ptb_s3._format.head import Ref
from ptb_s3._format.openers import HeadOpener
from ptb_s3._format.reader import TornReadError
from ptb_s3._storage.contract import Fetched, Received

# Another writer may commit and compact between two of our reads; so often is the whole read again.
LOAD_TRIES = 4
LOAD_PAUSE = 0.2  # seconds, times the number of the try

_LOGGER = logging.getLogger("ptb_s3")


async def fetch_head(
    context: EngineContext, if_none_match: str | None = None
) -> tuple[Received, HeadOpener] | None:
    """Fetch the head, and open it while it arrives.

    Args:
        context: Store and reader.
        if_none_match: An ETag.

    Returns:
        The head's metadata, and the opener that has its body; None where there is no head.

    Raises:
        NotModified: The head still has the ETag `if_none_match`.
        DamagedObjectError: It begins like none, and was not read to its end.
    """
    opener: HeadOpener | None = None

    def begin(size: int) -> Callable[[bytes], None]:
        nonlocal opener
        opener = context.reader.head_opener(size)
        return opener.feed

    received = await context.store.stream(HEAD, begin, if_none_match=if_none_match)
    if received is None:
        return None
    return received, opener or context.reader.head_opener(0)


async def build_base(
    context: EngineContext,
    blobs: Mapping[str, Fetched | Received | None],
    build: Callable[[Mapping[str, Fetched | Received | None], Collection[Kind]], Base],
    *,
    last: bool,
) -> Base:
    """Build a base of objects that were read.

    A blob that was sent long ago may arrive when others have gone on from an older state, or when
    its line has left head's list. Then the version that head names is read in its place, and the
    kind is misplaced: its object is to be rewritten.

    Args:
        context: Store and threads.
        blobs: The objects by name; None: surely not there.
        build: Builds the base of these objects; told the kinds whose objects are others by now.
        last: Whether objects that do not fit together are not going to be read again.

    Raises:
        TornReadError: They do not fit together.
    """
    replaced: set[Kind] = set()
    while True:
        try:
            base = await context.offload(build, blobs, replaced)
            break
        except TornReadError as torn:
            kind, ref = torn.kind, torn.ref
            if kind is None or kind in replaced or not (torn.final or last):
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
    base.misplace(replaced)
    return base


async def _named(context: EngineContext, kind: Kind, ref: Ref) -> Fetched | None:
    """Fetch the version of a blob that head names, or None."""
    if ref.version_id is None:
        return None
    return await context.store.get(kind, version_id=ref.version_id)
