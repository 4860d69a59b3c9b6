"""Bound of head's size, kept before a head is sent: one that is too large to read is never written.

==================================  ================================================================
what else bounds a head             how
==================================  ================================================================
`_format.head.due`                  in normal life: where compaction runs, a differential is carried
                                    until that has cost its blob's size, and hardly passes twice it
`_format.container.MAX_PAGE`        one page, decompressed; not the number of pages
`_storage.streams.MAX_OBJECT`       any object: 5 GiB, the most that one PUT takes
memory of who reads it              body, pages and entries are there at the same time, some five
                                    bytes in pages and entries for one of the body
==================================  ================================================================
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime, timedelta

from ptb_s3.errors import HeadTooLargeError

MAX_HEAD = 1024**3
"""Bytes of a head at most.

A head is read whole at each start and sent whole with each commit: one GiB takes 86 s on a line of
100 Mbit/s. Less would refuse what is to work: the first commit of a million users carries
everything, and has 80 MB of the benchmark's realistic data, 328 MB of what does not compress; a
mass change adds as much to a differential that nearly was due.
"""
LARGE = 4
"""Share of the bound, as a divisor, from which on a head is warned of."""
_DAY = timedelta(days=1)

_LOGGER = logging.getLogger("ptb_s3")


class HeadBound:
    """Guard of head's size: refuses what is over the bound, and warns once a day of a quarter.

    Args:
        clock: Gives the time, with time zone.
    """

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self._warned: datetime | None = None

    def check(self, size: int) -> None:
        """Check a head that is about to be sent.

        Args:
            size: Its bytes.

        Raises:
            HeadTooLargeError: It is over the bound.
        """
        if size > MAX_HEAD:
            raise HeadTooLargeError(size, MAX_HEAD)
        if size <= MAX_HEAD // LARGE:
            return
        now = self._clock()
        if self._warned is None or now - self._warned >= _DAY:
            self._warned = now
            _LOGGER.warning(
                "Object 'head' has %d bytes, and at most %d are written: each commit sends all of "
                "it. Run ptb-s3 compact, unless a compaction is about to do so, as after an "
                "import.",
                size,
                MAX_HEAD,
            )
