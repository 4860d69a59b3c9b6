"""What trials on a storage have shown: races, latency, and what is left of them. Pure."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from ptb_s3._storage.conditional import let_two_win

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


class Older(StrEnum):
    """What is known of the right condition on what is older than a suspension of versioning."""

    REFUSED = "refused"
    UNPROVEN = "unproven"
    """The storage looked at something else first."""


class Race(NamedTuple):
    """What became of writers that wanted the same thing at once.

    Attributes:
        condition: What each of them asked for: `NOTHING_ELSE` or `SAME_AS_SEEN`.
        writers: How many there were.
        winners: How many were told that they have written.
        undecided: How many were told nothing.
        kept: Whether what is stored now is what a winner wrote.
        rounds: How many such races came to the same.
    """

    condition: str
    writers: int
    winners: int
    undecided: int
    kept: bool
    rounds: int = 1

    @property
    def verdict(self) -> Verdict:
        """What that shows."""
        if let_two_win(self.winners, kept=self.kept):
            return Verdict.BROKEN
        return Verdict.PROVEN if self.winners and not self.undecided else Verdict.OPEN


class Past(NamedTuple):
    """What the storage tells of the versions of one object.

    Attributes:
        versions: How many were written.
        hidden: How many of them it does not list.
        unserved: How many of them are not what a read by their id gives.
        newest_first: Whether those that it lists come in that order.
        ends: Whether a list of several pages comes to an end.
        latest_served: Whether that which it calls the latest is what a read gives.
    """

    versions: int
    hidden: int = 0
    unserved: int = 0
    newest_first: bool = True
    ends: bool = True
    latest_served: bool = True


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
