"""Patience of reads on demand: how long one is tried again, and when it is given up."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from typing import TypeAlias, TypeVar

from ptb_s3._storage.blocking import FROZEN
from ptb_s3.errors import MissingObjectError, PersistenceError, StorageUnavailableError

PATIENCE = 30.0
"""Seconds in which something has to arrive, with all tries (DESIGN, section 14)."""
PAUSE = 0.5
"""Seconds between two tries."""

_T = TypeVar("_T")

Progress: TypeAlias = Callable[[], None]
"""Called whenever something has arrived: the time begins anew."""


async def patiently(
    read: Callable[[Progress], Awaitable[_T]], pause: Callable[[float], Awaitable[None]]
) -> _T:
    """Read, again and again where another writer's head or the storage's answer is awaited.

    Args:
        read: Reads.
        pause: Waits for so many seconds.

    Raises:
        StorageUnavailableError: Nothing more arrives, for `PATIENCE` seconds.
        PersistenceError: What lies there cannot be opened.
    """
    clock, frozen = asyncio.get_running_loop().time, False
    while True:
        failure: PersistenceError | None = None
        try:
            async with asyncio.timeout(PATIENCE) as limit:

                def progress(limit: asyncio.Timeout = limit) -> None:
                    limit.reschedule(clock() + PATIENCE)

                while True:
                    try:
                        return await read(progress)
                    except (StorageUnavailableError, MissingObjectError) as error:
                        failure = error
                    await pause(PAUSE)
        except TimeoutError as late:
            if not frozen and clock() > (limit.when() or math.inf) + FROZEN:
                frozen = True  # so that nobody has asked the storage meanwhile
                continue
            raise failure or StorageUnavailableError(
                f"The storage did not answer for {PATIENCE:.0f} s: data that is not loaded cannot "
                "be read. Nothing was changed."
            ) from late
