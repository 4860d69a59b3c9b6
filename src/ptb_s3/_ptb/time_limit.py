"""Limit the time of one call of a serverless host.

A call that is given a time has it for everything. One that is given none may take `PATIENCE` for
what the storage has to do, and any time for the first load and for code of the bot's.
"""

from __future__ import annotations

import asyncio
import math
from typing import Final

from ptb_s3._ptb.background_compaction import BackgroundCompaction

PATIENCE: Final = 20.0
"""Seconds that a call may take by default, besides code of the bot's and the first load. Hosts give
an update 30 s or more, and Telegram waits for longer than that."""
BLOBS_PATIENCE: Final = 5.0
"""Seconds that a compaction after the commit may delay the answer. It makes the next cold start
cheaper, and nothing is lost without it."""


class TimeLimit:
    """Deadline of one call.

    Args:
        timeout: Surrounds the call. One without a deadline is given one while the storage works.
    """

    def __init__(self, timeout: asyncio.Timeout) -> None:
        self._timeout = timeout
        self._patient = timeout.when() is None

    def allow(self, seconds: float) -> None:
        """Set the deadline to so many seconds from now, unless the call was given one."""
        if self._patient:
            when = asyncio.get_running_loop().time() + seconds
            self._timeout.reschedule(when if math.isfinite(seconds) else None)

    def allow_storage(self) -> None:
        """Set the deadline to what the storage may take, unless the call was given one."""
        self.allow(PATIENCE)

    def left(self) -> float:
        """Return the seconds until the deadline."""
        when = self._timeout.when()
        return math.inf if when is None else when - asyncio.get_running_loop().time()

    async def settle(self, compaction: BackgroundCompaction) -> None:
        """End the limit, and wait for blobs that are being written, but not for long.

        What was done is durable by now, and not to be answered as if it were not.
        """
        left = self.left()
        if not self._timeout.expired():  # else code of the bot's has gone on though cancelled
            self._timeout.reschedule(None)
        await compaction.settle(max(0.0, min(BLOBS_PATIENCE, left)))
