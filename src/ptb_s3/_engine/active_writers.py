"""Other writers of the same store, as far as they were met lately."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

# How long another writer counts as active. While one does, head is looked at now and then
# (``sync="auto"``), and nothing is rewritten for its key alone (`compaction.due`).
ACTIVE_FOR = timedelta(minutes=10)


class ActiveWriters:
    """Watch for other writers.

    Args:
        clock: Gives the time, with time zone.
        loaded: When the head that was loaded had been made, by another writer; None: there was no
            head.
    """

    def __init__(self, clock: Callable[[], datetime], loaded: datetime | None) -> None:
        self._clock = clock
        self._loaded = loaded
        self._met: datetime | None = None

    @property
    def met_lately(self) -> bool:
        """Return whether another writer has committed lately while this process ran."""
        return self._lately(self._met)

    @property
    def active(self) -> bool:
        """Return whether another writer has committed lately, before the load included."""
        return self.met_lately or self._lately(self._loaded)

    def note(self) -> None:
        """Note that another writer has committed."""
        self._met = self._clock()

    def _lately(self, moment: datetime | None) -> bool:
        return moment is not None and self._clock() - moment < ACTIVE_FOR
