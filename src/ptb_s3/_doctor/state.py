"""State of the bot, if there is one: does it open with the configured keys?"""

from __future__ import annotations

import asyncio

from ptb_s3._doctor.findings import Check, Finding, ok
from ptb_s3._format.container import HEAD
from ptb_s3._format.entities import Kind
from ptb_s3._format.reader import Reader
from ptb_s3._keys.ring import Ring
from ptb_s3._keys.unwrapping import unwrapping
from ptb_s3._storage.contract import Store
from ptb_s3.errors import MissingObjectError


async def open_state(store: Store, keys: Ring) -> Finding:
    """Open the head or, where there is none, make sure that no blob is left without it.

    The blobs are not opened; ``ptb-s3 verify`` opens all of them.

    Args:
        store: The place.
        keys: Keys that open the state.

    Raises:
        PersistenceError: A bot would not start with this state.
    """
    fetched = await unwrapping(store, keys).get(HEAD)
    if fetched is not None:
        header, head = Reader(keys).open_head(fetched.body)
        found = f"revision {header.revision} of bot {head.bot}, sealed with key {header.key}"
        data = {"revision": header.revision, "bot": head.bot, "key": header.key}
        return ok(Check.STATE, found, **data)
    blobs = await asyncio.gather(*(store.get(kind, first_bytes=1) for kind in Kind))
    remaining = [kind.value for kind, blob in zip(Kind, blobs, strict=True) if blob]
    if remaining:
        raise MissingObjectError(HEAD, f"it is gone, while {', '.join(remaining)} remain")
    return ok(Check.STATE, "none yet", revision=None)
