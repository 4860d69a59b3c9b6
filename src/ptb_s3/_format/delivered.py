"""Ids of the Telegram updates whose effects are committed, as ranges. Pure.

Telegram numbers the updates of a bot one after another (Bot API, "Update"), so that a day of them
is one range, with a gap for each that was given up. A number drawn anew, as after a week without
updates, begins another.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import NamedTuple

MAX_RANGES = 256
"""Ranges kept (section 8): each further one is a gap that no update will fill any more."""


class Range(NamedTuple):
    """Range of ids from the first to the last, both included."""

    first: int
    last: int


class Delivered(tuple[Range, ...]):
    """Set of ids as ranges, none of which overlap or touch. The last one was extended last."""

    __slots__ = ()

    def holds(self, update: int) -> bool:
        """Tell whether an id is in one of the ranges."""
        return any(first <= update <= last for first, last in self)

    def adding(self, updates: Iterable[int]) -> Delivered:
        """Return the set with further ids, without its oldest ranges if there are too many."""
        ranges = self
        for update in updates:
            if not ranges.holds(update):
                ranges = ranges._adding(update)
        return Delivered(ranges[-MAX_RANGES:])

    def _adding(self, update: int) -> Delivered:
        """Return the set with one more id, its range at the end."""
        grown = Range(update, update)
        others = []
        for one in self:
            if update in (one.first - 1, one.last + 1):
                grown = Range(min(one.first, grown.first), max(one.last, grown.last))
            else:
                others.append(one)
        return Delivered((*others, grown))

    @property
    def distinct(self) -> bool:
        """Return whether no range is empty, overlaps another or touches it."""
        ordered = sorted(self)
        apart = all(a.last + 1 < b.first for a, b in pairwise(ordered))
        return apart and all(first <= last for first, last in ordered)
