"""Retention policy: keep the newest commits, and the last of each hour, day or month. Pure.

Commits are put into the hours, days and months of a zone, each by its wall clock. A rule keeps the
newest commit of each of so many periods that had any, counted from the newest period on. So a bot
that slept for a year still has its last 30 days with commits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from ptb_s3.errors import SettingsError


@dataclass(frozen=True, slots=True)
class Policy:
    """Retention policy: a commit that any of its rules keeps is kept.

    Attributes:
        last: Number of the newest commits to keep.
        hourly: Number of hours, the newest first, to keep the last commit of.
        daily: The same for days.
        monthly: The same for months.

    Raises:
        SettingsError: It keeps nothing, or a number is negative.
    """

    last: int = 0
    hourly: int = 0
    daily: int = 0
    monthly: int = 0

    def __post_init__(self) -> None:
        numbers = (self.last, self.hourly, self.daily, self.monthly)
        if min(numbers) < 0:
            raise SettingsError("A policy says how many to keep; a number below 0 is none.")
        if not any(numbers):
            raise SettingsError(
                "The policy is empty: it would keep nothing but the current state. Say what to "
                "keep, such as --keep-last 100 --keep-hourly 48 --keep-daily 30 --keep-monthly 12."
            )

    def keeps(self, moments: Sequence[datetime]) -> list[bool]:
        """Tell of each commit whether it is kept.

        Args:
            moments: When each was made, newest first, in the zone whose hours and days count.

        Returns:
            Whether it is kept, for each in the same order.
        """
        kept = [position < self.last for position in range(len(moments))]
        for number, period in (
            (self.hourly, _hour),
            (self.daily, _day),
            (self.monthly, _month),
        ):
            for position in _newest_of_each(moments, period)[:number]:
                kept[position] = True
        return kept


def _newest_of_each(moments: Iterable[datetime], period: Callable[[datetime], object]) -> list[int]:
    """Return the position of the first, thus newest, moment of each period that has any."""
    first: dict[object, int] = {}
    for position, moment in enumerate(moments):
        first.setdefault(period(moment), position)
    return list(first.values())


def _hour(moment: datetime) -> object:
    return (*_day(moment), moment.hour, moment.utcoffset())  # an hour that a clock shows twice


def _day(moment: datetime) -> tuple[int, ...]:
    return (moment.year, moment.month, moment.day)


def _month(moment: datetime) -> object:
    return (moment.year, moment.month)
