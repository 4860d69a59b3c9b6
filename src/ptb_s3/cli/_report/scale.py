"""Scale from times to places on a line, in percent of its width, and bins of equal length. Pure.

Percent rather than pixels: a drawing fits any width, and its text stays as large as other text.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import NamedTuple

BINS = 96
"""Bins of a line, at most: some four pixels each on a phone."""
_WHOLE = 100.0  # percent
_TICKS = 8  # marks of the axis, at most
_DAY = 86_400
# Seconds between two marks of an axis, as clocks and calendars have them.
_STEPS = (
    *(1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800),
    *(3600, 2 * 3600, 3 * 3600, 6 * 3600, 12 * 3600),
    *(_DAY, 2 * _DAY, 4 * _DAY, 7 * _DAY, 14 * _DAY, 28 * _DAY, 61 * _DAY, 122 * _DAY, 365 * _DAY),
)


class Tick(NamedTuple):
    """Mark of an axis.

    Attributes:
        x: Its place, in percent.
        label: The time there.
        minor: Whether it may be left out where there is little room.
    """

    x: float
    label: str
    minor: bool


class Scale(NamedTuple):
    """Span of time that a line stands for.

    Attributes:
        begin: Its beginning, in the zone to show.
        end: Its end.
    """

    begin: datetime
    end: datetime

    @classmethod
    def over(cls, moments: list[datetime], now: datetime) -> Scale:
        """Return the scale over some moments, a second long at least."""
        begin = min(moments, default=now).astimezone(now.tzinfo)
        end = max(moments, default=now).astimezone(now.tzinfo)
        return cls(begin, max(end, begin + timedelta(seconds=1)))

    def x(self, moment: datetime) -> float:
        """Return the place of a moment in percent, or the nearer end for one outside."""
        share = (moment - self.begin) / (self.end - self.begin)
        return round(min(max(share, 0.0), 1.0) * _WHOLE, 3)

    def bin(self, moment: datetime) -> int:
        """Return the number of the bin that a moment lies in."""
        return min(int(self.x(moment) / _WHOLE * BINS), BINS - 1)

    def ticks(self) -> tuple[Tick, ...]:
        """Return the marks of the axis, at times that are round in the zone."""
        length = (self.end - self.begin).total_seconds()
        step = next((s for s in _STEPS if length / s <= _TICKS), length / _TICKS)
        midnight = self.begin.replace(hour=0, minute=0, second=0, microsecond=0)
        passed = (self.begin - midnight).total_seconds()
        first = midnight + timedelta(seconds=-(-passed // step) * step)
        marks = [first + timedelta(seconds=step * n) for n in range(_TICKS + 1)]
        return tuple(
            Tick(self.x(mark), _label(mark, step), minor=bool(number % 2))
            for number, mark in enumerate(mark for mark in marks if mark <= self.end)
        )


def bin_width() -> float:
    """Return the width of a bin, in percent."""
    return _WHOLE / BINS


def _label(mark: datetime, step: float) -> str:
    """Write a time as finely as the steps between two marks are."""
    if step >= _DAY:
        return f"{mark:%Y-%m-%d}"
    if step >= 60:  # noqa: PLR2004 - a minute
        return f"{mark:%m-%d %H:%M}"
    return f"{mark:%H:%M:%S}"
