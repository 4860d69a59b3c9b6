"""What trials on a storage have shown: races, latency, and what is left of them. Pure."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

NOTHING_ELSE = "If-None-Match"
"""The condition that there is no object yet."""
SAME_AS_SEEN = "If-Match"
"""The condition that the object is still the one that was seen."""


class Verdict(StrEnum):
    """What a race has shown."""

    PROVEN = "proven"
    """One winner, and all others were refused."""
    BROKEN = "broken"
    """A write was accepted that had to be refused, or a refused one took effect."""
    OPEN = "open"
    """An answer was missing, which may have been of either kind."""


class Race(NamedTuple):
    """What became of writers that wanted the same thing at once.

    Attributes:
        condition: What each of them asked for: `NOTHING_ELSE` or `SAME_AS_SEEN`.
        writers: How many there were.
        winners: How many were told that they have written.
        undecided: How many were told nothing.
        kept: Whether what is stored now is what a winner wrote.
    """

    condition: str
    writers: int
    winners: int
    undecided: int
    kept: bool

    @property
    def verdict(self) -> Verdict:
        """What that shows."""
        if self.winners > 1 or (self.winners and not self.kept):
            return Verdict.BROKEN
        return Verdict.PROVEN if self.winners and not self.undecided else Verdict.OPEN


class Latency(NamedTuple):
    """How long requests took, one after another: milliseconds."""

    requests: int
    median: float
    p95: float


class Left(NamedTuple):
    """What there is of the scratch objects after they were cleared away.

    Attributes:
        versions: How many are left of each object, by full key, delete markers among them.
        deleted: How many are gone for good.
        denied: Whether versions may not be deleted, by these credentials or by anybody.
        hidden: Whether a delete marker lies on top of what is left.
        counted: Whether the storage was asked what is left, rather than what was written.
        fault: Why it could not be cleared away, other than that.
    """

    versions: dict[str, int]
    deleted: int = 0
    denied: bool = False
    hidden: bool = False
    counted: bool = True
    fault: str = ""
