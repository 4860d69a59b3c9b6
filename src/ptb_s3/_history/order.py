"""The order of commits and versions, newest first. Pure.

A storage may list versions in any order: SeaweedFS 4.48 puts the version ``null`` last even where
it is the latest, gofakes3 1.2.0 lists the oldest first. So nothing follows from a place in a list.

* Current is what the storage says is (`Version.is_latest`).
* Commits of one line of a store are ordered by their revisions, which are authenticated.
* The storage's time decides between lines, where a line goes on after a roll-back, and where nobody
  has read a header.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import groupby
from operator import itemgetter
from typing import NamedTuple

from ptb_s3._format.container import Header
from ptb_s3._storage.contract import SLOWEST, Version

# A writer's clock and the storage's differ by no more, or S3 would have refused the request
# (Amazon S3 API Reference, "Error responses": RequestTimeTooSkewed).
MAX_SKEW = timedelta(minutes=15)
# What is left of the second that Last-Modified names (RFC 9110, section 8.8.2).
RESOLUTION = timedelta(microseconds=999_999)
# By so much may the storage's time be wrong about which of two writes came first: machines of one
# storage have clocks of their own.
JITTER = timedelta(seconds=2)


class Commit(NamedTuple):
    """A version of head.

    Attributes:
        version: What the storage says of it.
        header: What it says of itself, not yet authenticated; None where it cannot be read.
    """

    version: Version
    header: Header | None

    @property
    def made(self) -> datetime:
        """When it was made: by the storage's clock, which is one for all writers.

        A copy bears the time of its copying; there, the writer's clock is the better one. So it is
        within the second that a storage which tells no fractions of one has told.
        """
        modified = self.version.modified
        if self.header is None:
            return modified
        if self.is_copy:
            return self.header.created
        fraction = timedelta() if modified.microsecond else RESOLUTION
        return min(max(self.header.created, modified), modified + fraction)

    @property
    def is_copy(self) -> bool:
        """Whether the storage took it so late that it is the copy of a commit."""
        return self.header is not None and put_back(self.header, self.version.modified)


def put_back(header: Header, modified: datetime) -> bool:
    """Tell whether the storage took an object so much later than it was made that it is a copy.

    That is so of an older version that was put back, and of all that lies in a copied bucket.

    Args:
        header: The object's.
        modified: When the storage took it.
    """
    on_its_way = timedelta(seconds=header.size / SLOWEST)
    return modified - header.created > MAX_SKEW + on_its_way


def by_time(versions: Iterable[Version]) -> list[Version]:
    """Return versions by the storage's time, what is current first, else the newest first."""
    return sorted(versions, key=_moment, reverse=True)


def moments(versions: Sequence[Version]) -> list[list[Version]]:
    """Return what `by_time` gave in groups that the storage's time does not order."""
    return [list(group) for _, group in groupby(versions, key=_moment)]


def _moment(version: Version) -> tuple[bool, datetime]:
    return version.is_latest, version.modified


def in_order(commits: Iterable[Commit]) -> list[Commit]:
    """Return commits newest first, what is current before all others.

    Those without a header belong nowhere: the storage's time alone orders them.
    """
    ordered = [
        commit
        for run in sorted(_runs(commits), key=_begun, reverse=True)
        for commit in sorted(run, key=_position, reverse=True)
    ]
    return sorted(ordered, key=lambda commit: not commit.version.is_latest)


def _runs(commits: Iterable[Commit]) -> list[list[Commit]]:
    """Group commits of one line that follow one another, each with its copies.

    As a rule, that is the whole line. After a roll-back one may go on, from a head that was put
    back: what comes then is newer than lines that had begun before it.
    """
    copies: defaultdict[str, list[Commit]] = defaultdict(list)
    for commit in sorted(commits, key=_taken):
        copies[_id(commit)].append(commit)
    lines: defaultdict[tuple[str, ...], list[Commit]] = defaultdict(list)
    for first, *_ in copies.values():
        lines[_line(first)].append(first)
    told, runs = list[list[Commit]](), list[list[Commit]]()
    for line in lines.values():
        # In a copied bucket, the storage's time does not tell what came before what.
        (runs if any(commit.is_copy for commit in line) else told).append(line)
    begun = sorted(_taken(line[0]) for line in told)
    runs += [run for line in told for run in _split(line, begun)]
    return [[copy for commit in run for copy in copies[_id(commit)]] for run in runs]


def _split(line: Sequence[Commit], begun: Sequence[tuple[datetime, int]]) -> list[list[Commit]]:
    """Split a line where it went on after a roll-back.

    Args:
        line: First writings, by the storage's time.
        begun: When lines began, and with which revision.
    """
    runs: list[list[Commit]] = []
    given: set[int] = set()
    highest, last = 0, datetime.max.replace(tzinfo=UTC)
    since, made = last, datetime.min.replace(tzinfo=UTC)
    for commit in line:
        taken, revision = _taken(commit)
        after = bisect_right(begun, since, key=_TIME)
        others = begun[after : bisect_left(begun, taken, key=_TIME)]
        # One that was not made later only looks so: SeaweedFS tells when a version was locked in
        # place of when it was written. A line is one process, and so has one clock.
        later = taken - last > JITTER and _made(commit) > made
        again = revision in given or (revision < highest and later)
        if not runs or again or any(first <= revision for _, first in others):
            runs.append([])
            given, highest, since = set(), 0, taken
        runs[-1].append(commit)
        given.add(revision)
        highest, last, made = max(highest, revision), taken, max(made, _made(commit))
    return runs


_TIME = itemgetter(0)


def _id(commit: Commit) -> str:
    return commit.version.version_id if commit.header is None else commit.header.commit


def _line(commit: Commit) -> tuple[str, ...]:
    """Return the line that a commit belongs to; it is one by itself where that is not known."""
    if commit.header is None:
        return (commit.version.version_id,)
    return commit.header.store, commit.header.line


def _begun(run: list[Commit]) -> tuple[datetime, int]:
    """Return when a run began; in a copied bucket, all may be of one moment."""
    return min(commit.version.modified for commit in run), min(map(_revision, run))


def _taken(commit: Commit) -> tuple[datetime, int]:
    """Return when the storage took it, and its revision, for those of one moment."""
    return commit.version.modified, _revision(commit)


def _made(commit: Commit) -> datetime:
    """Return when its writer made it, by that process's clock."""
    return commit.version.modified if commit.header is None else commit.header.created


def _position(commit: Commit) -> tuple[int, datetime]:
    return _revision(commit), commit.version.modified


def _revision(commit: Commit) -> int:
    return commit.header.revision if commit.header is not None else 0
