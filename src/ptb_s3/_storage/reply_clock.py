"""The storage's clock, as its replies tell it."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta


def _now() -> datetime:
    return datetime.now(UTC)


def _elapsed() -> float:
    """Return the seconds since some moment, those of a machine's sleep included where it can."""
    clock: int | None = getattr(time, "CLOCK_BOOTTIME", None)  # of Linux
    return time.monotonic() if clock is None else time.clock_gettime(clock)


class ReplyClock:
    """Clock that each reply of a storage sets, to the second, as HTTP states times.

    From one reply to the next it goes on by the time that has passed, and not by this machine's
    clock: that may be set in between, by hours, and others go by the storage's all the same.

    Args:
        now: Gives the time by this machine's clock.
        elapsed: Gives the seconds since some moment, whoever sets that clock.
    """

    def __init__(
        self, now: Callable[[], datetime] = _now, elapsed: Callable[[], float] = _elapsed
    ) -> None:
        self._now = now
        self._elapsed = elapsed
        self._set: tuple[datetime, float] | None = None

    def note(self, date: datetime) -> None:
        """Set it to the time that a reply states."""
        self._set = date, self._elapsed()

    @property
    def ahead(self) -> timedelta:
        """Return how far it is ahead of this machine's clock, which is zero before a reply."""
        if self._set is None:
            return timedelta()
        date, then = self._set
        return date + timedelta(seconds=self._elapsed() - then) - self._now()
