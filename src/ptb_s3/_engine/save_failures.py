"""Failing saves: counted, and the end of a row of them said in the log."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime
from typing import NamedTuple

from ptb_s3._engine.stats import Stats

_LOGGER = logging.getLogger("ptb_s3")


class _Failing(NamedTuple):
    """Beginning of a row of failures.

    Attributes:
        since: When the first commit failed.
        commits: Number of durable commits by then.
    """

    since: datetime
    commits: int


class SaveFailures:
    """Watch over the commits that fail.

    Args:
        clock: Gives the time, with time zone.
        counters: Counts durable commits.
    """

    def __init__(self, clock: Callable[[], datetime], counters: Stats) -> None:
        self._clock = clock
        self._counters = counters
        self._failing: _Failing | None = None

    def note_failure(self) -> None:
        """Note that a commit has failed."""
        self._failing = self._failing or _Failing(self._clock(), self._counters.commits)

    def note_success(self, revision: int) -> None:
        """Log that saving works again, if anything was committed since it failed.

        Args:
            revision: Revision that is saved.
        """
        failing = self._failing
        if failing is None or self._counters.commits == failing.commits:
            return
        self._failing = None
        seconds = (self._clock() - failing.since).total_seconds()
        _LOGGER.info("Saving works again after %.0f s: revision %d is saved.", seconds, revision)
