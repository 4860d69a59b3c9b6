"""Log of requests that were not answered 200: a line a minute for each reason, with a count.

A URL that is open to the internet is found by scanners, and a storage that is out of reach fails
every update: with a line for each, the log would cost more than the bot and hide the line that
matters. So the first one is logged at once and in full, those of the next minute are counted, and
the next line says how many there were.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

INTERVAL: Final = 60.0
"""Seconds between two lines for one reason."""

_LOGGER = logging.getLogger("ptb_s3")


@dataclass
class _Reason:
    """Account of one reason: when it was logged last, and how often it was not since."""

    logged: float
    held_back: int = 0


class Refusals:
    """Rate limiter of log lines: of each reason, one in `INTERVAL` seconds.

    Reasons are statuses and types of errors, of which there are few: nothing here grows with the
    number of requests.

    Args:
        clock: Seconds that never go back. The system's, but in tests.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._reasons: dict[tuple[HTTPStatus, str], _Reason] = {}

    def add(
        self, status: HTTPStatus, text: str, *, reason: str = "", update: int | None = None
    ) -> None:
        """Log an answer, or count it where its reason was logged within the last `INTERVAL`.

        Args:
            status: What was answered. From 500 on, the line is an error, below it a warning.
            text: Why, and what to do, without secrets, values and ids of users.
            reason: Tells reasons with the same status apart.
            update: Id of the update, where it is known.
        """
        now = self._clock()
        known = self._reasons.get((status, reason))
        if known is not None and now - known.logged < INTERVAL:
            known.held_back += 1
            return
        of_update = "" if update is None else f" to update {update}"
        more = "" if known is None else _counted(known.held_back)
        _LOGGER.log(_level(status), "Answered %d%s: %s%s", status, of_update, text, more)
        self._reasons[status, reason] = _Reason(now)

    def flush(self) -> None:
        """Log the counts that no line has told, as before the process ends."""
        for (status, _), known in self._reasons.items():
            if known.held_back:
                _LOGGER.log(_level(status), "Answered %d:%s", status, _counted(known.held_back))
                known.held_back = 0


def _level(status: HTTPStatus) -> int:
    server = status >= HTTPStatus.INTERNAL_SERVER_ERROR
    return logging.ERROR if server else logging.WARNING


def _counted(number: int) -> str:
    return f" ({number} more for this reason since it was last logged.)" if number else ""
