"""Ids of the Telegram updates whose effects are committed, as ranges. Pure.

Telegram numbers the updates of a bot one after another (Bot API, "Update"), so that a day of them
is one range, with a gap for each that was given up. A number drawn anew, as after a week without
updates, begins another.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import NamedTuple

# Ranges kept: each further one is a gap that no update will fill any more.
MAX_RANGES = 256


class Range(NamedTuple):
    """Ids from the first to the last, both included."""

    first: int
    last: int


class Delivered(tuple[Range, ...]):
    """Ranges of ids, the one that was extended last at the end; none overlap or touch."""

    __slots__ = ()

    def holds(self, update: int) -> bool:
        """Tell whether an id is in one of the ranges."""
        return any(first <= update <= last for first, last in self)

    def adding(self, updates: Iterable[int]) -> Delivered:
        """Return these with further ids, and the oldest ranges left out where they are too many."""
        ranges = self
        for update in updates:
            if not ranges.holds(update):
                ranges = ranges._adding(update)
        return Delivered(ranges[-MAX_RANGES:])

    def _adding(self, update: int) -> Delivered:
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
        """Whether no two of the ranges overlap or touch, and none is empty."""
        ordered = sorted(self)
        apart = all(a.last + 1 < b.first for a, b in pairwise(ordered))
        return apart and all(first <= last for first, last in ordered)
