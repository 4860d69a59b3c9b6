"""Evidence from attempts on a storage: races, list of versions, latency, clean-up. Pure."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from ptb_s3._storage.conditional import let_two_win

NOTHING_ELSE = "If-None-Match"
"""The condition that there is no object yet."""
SAME_AS_SEEN = "If-Match"
"""The condition that the object is still the one that was seen."""


class Verdict(StrEnum):
    """Verdict of a race."""

    PROVEN = "proven"
    """One winner, and all others were refused."""
    BROKEN = "broken"
    """A write was accepted that had to be refused, or a refused one took effect."""
    OPEN = "open"
    """An answer was missing, which may have been of either kind."""


class Older(StrEnum):
    """Outcome of a right If-Match on a head that is older than a suspension of versioning.

    SeaweedFS refuses it, so that a bot cannot save any more.
    """

    REFUSED = "refused"
    UNPROVEN = "unproven"
    """The storage looked at something else first."""


class Part(StrEnum):
    """Answer to a request for a range of an object."""

    ALONE = "alone"
    """The range, and nothing else."""
    WHOLE = "whole"
    """All of the object."""
    OTHER = "other"
    """Other bytes than those that were asked for, or none."""


class Race(NamedTuple):
    """Outcome of writers that wrote the same object on the same condition, at once.

    Attributes:
        condition: The condition: `NOTHING_ELSE` or `SAME_AS_SEEN`.
        writers: Number of writers.
        winners: Number of writes that were acknowledged.
        undecided: Number of writes without an answer.
        kept: Whether the object, read afterwards, is what a winner wrote.
        rounds: Number of races with this outcome.
    """

    condition: str
    writers: int
    winners: int
    undecided: int
    kept: bool
    rounds: int = 1

    @property
    def verdict(self) -> Verdict:
        """Return what the race proves."""
        if let_two_win(self.winners, kept=self.kept):
            return Verdict.BROKEN
        return Verdict.PROVEN if self.winners and not self.undecided else Verdict.OPEN


class Past(NamedTuple):
    """Comparison of the list of an object's versions with what was written.

    Attributes:
        versions: Number of versions that were written.
        hidden: Number of them that are not listed.
        unserved: Number of them that a read by their id does not return as they were written.
        newest_first: Whether the list is in that order.
        ends: Whether a list of several pages comes to an end.
        latest_served: Whether the version that is listed as the latest is the one that is read.
    """

    versions: int
    hidden: int = 0
    unserved: int = 0
    newest_first: bool = True
    ends: bool = True
    latest_served: bool = True


class Latency(NamedTuple):
    """Latency of requests sent one after another, in milliseconds: median and 95th percentile."""

    requests: int
    median: float
    p95: float


class Left(NamedTuple):
    """Outcome of the clean-up of scratch objects.

    Attributes:
        versions: Number of versions left of each object, by full key, delete markers included.
        deleted: Number of versions that are gone for good.
        denied: Whether deletion of versions was refused, to these credentials or to anybody.
        hidden: Whether a delete marker lies on top of what is left.
        counted: Whether the numbers are those of a list, rather than of what was written.
        fault: Error that ended the clean-up; empty where none did.
    """

    versions: dict[str, int]
    deleted: int = 0
    denied: bool = False
    hidden: bool = False
    counted: bool = True
    fault: str = ""
