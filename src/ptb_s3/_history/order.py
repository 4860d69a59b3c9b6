"""Order of commits and versions, newest first. Pure.

A storage may list versions in any order: SeaweedFS 4.48 puts the version ``null`` last even where
it is the latest, gofakes3 1.2.0 lists the oldest first. So nothing follows from a place in a list.

| question                                  | decided by                                       |
|-------------------------------------------|--------------------------------------------------|
| which version is current                  | the storage (`Version.is_latest`)                |
| which of two commits of a line is newer   | their revisions, authenticated once it is opened |
| which of two lines is newer               | the storage's time                               |
| which of two unread versions is newer     | the storage's time                               |

A *line* is the commits of one process from a load on (see `ptb_s3._format.head.Line`). A *run* is a
part of a line without a gap. After a roll-back (somebody put an older head back) a line may go on,
as two runs; the later one is newer than the lines in between:

    line A   1  2  3           4'  5'     4' follows the 3 that was put back
    line B            4  5  6             given up
             -------------------------->  the storage's time
    order, newest first:  5' 4' | 6 5 4 | 3 2 1
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
# The rest of the second that Last-Modified names, which has no fractions (RFC 9110, section 8.8.2).
RESOLUTION = timedelta(microseconds=999_999)
# How wrong the storage's time may be about which of two writes came first: the machines of one
# storage have a clock each.
JITTER = timedelta(seconds=2)


class Commit(NamedTuple):
    """Version of head with its header, which is not authenticated.

    Where blobs are read by their headers, it is a version of a blob.

    Attributes:
        version: The storage's record: id, time, size.
        header: The object's own record; None where it cannot be read.
    """

    version: Version
    header: Header | None

    @property
    def made(self) -> datetime:
        """Return when it was made: by the storage's clock, which is one for all writers.

        A copy bears the time of its copying, so the writer's clock stands in for it. The writer's
        clock also gives the fraction of a second where the storage tells none.
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
        """Return whether the storage took it so late that it is the copy of a commit."""
        return self.header is not None and put_back(self.header, self.version.modified)

    @property
    def revision(self) -> int:
        """Return the revision that its header gives, or 0, older than any, without one."""
        return self.header.revision if self.header is not None else 0

    @property
    def known_header(self) -> Header:
        """Return its header, for callers that have left out commits without one.

        Raises:
            ValueError: It has none.
        """
        if self.header is None:
            raise ValueError("A commit whose header cannot be read has no place.")
        return self.header


def put_back(header: Header, modified: datetime) -> bool:
    """Tell whether the storage took an object so much later than it was made that it is a copy.

    That is so of an older version that was put back, and of everything in a copied bucket. A PUT
    that was only slow is none: it may be under way as long as the slowest link takes.

    Args:
        header: The object's header, whose time is the writer's.
        modified: When the storage took it.
    """
    on_its_way = timedelta(seconds=header.size / SLOWEST)
    return modified - header.created > MAX_SKEW + on_its_way


def by_time(versions: Iterable[Version]) -> list[Version]:
    """Sort versions by the storage's time, newest first, and the current one before all others."""
    return sorted(versions, key=_moment, reverse=True)


def moments(versions: Sequence[Version]) -> list[list[Version]]:
    """Group versions in the order of `by_time` by moments, within which time orders nothing."""
    return [list(group) for _, group in groupby(versions, key=_moment)]


def _moment(version: Version) -> tuple[bool, datetime]:
    return version.is_latest, version.modified


def in_order(commits: Iterable[Commit]) -> list[Commit]:
    """Sort commits newest first, and the current one before all others.

    Commits without a header belong to no line, so that the storage's time alone orders them.
    """
    ordered = [
        commit
        for run in sorted(_runs(commits), key=_begun, reverse=True)
        for commit in sorted(run, key=_position, reverse=True)
    ]
    return sorted(ordered, key=lambda commit: not commit.version.is_latest)


def _runs(commits: Iterable[Commit]) -> list[list[Commit]]:
    """Group commits into runs, each commit followed by its copies.

    As a rule a run is a whole line. A line with copies in it always is: in a copied bucket, the
    storage's time does not tell what came before what.
    """
    copies: defaultdict[str, list[Commit]] = defaultdict(list)
    for commit in sorted(commits, key=_taken):
        copies[_id(commit)].append(commit)
    lines: defaultdict[tuple[str, ...], list[Commit]] = defaultdict(list)
    for first, *_ in copies.values():
        lines[_line(first)].append(first)
    told, runs = list[list[Commit]](), list[list[Commit]]()
    for line in lines.values():
        (runs if any(commit.is_copy for commit in line) else told).append(line)
    begun = sorted(_taken(line[0]) for line in told)
    runs += [run for line in told for run in _split(line, begun)]
    return [[copy for commit in run for copy in copies[_id(commit)]] for run in runs]


def _split(line: Sequence[Commit], begun: Sequence[tuple[datetime, int]]) -> list[list[Commit]]:
    """Split a line into runs where it went on after a roll-back.

    That shows in a revision that comes again or falls back, or in another line that began in
    between with no higher revision.

    Args:
        line: Its commits, copies left out, by the storage's time.
        begun: When each line began, and with which revision, by the storage's time.
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
    """Return the line that a commit belongs to: one by itself where its header is not known."""
    if commit.header is None:
        return (commit.version.version_id,)
    return commit.header.store, commit.header.line


def _begun(run: list[Commit]) -> tuple[datetime, int]:
    """Return when a run began, and with which revision: copies may be of one moment."""
    return min(commit.version.modified for commit in run), min(commit.revision for commit in run)


def _taken(commit: Commit) -> tuple[datetime, int]:
    """Return when the storage took it, then its revision, for those of one moment."""
    return commit.version.modified, commit.revision


def _made(commit: Commit) -> datetime:
    """Return when its writer made it, by that process's clock."""
    return commit.version.modified if commit.header is None else commit.header.created


def _position(commit: Commit) -> tuple[int, datetime]:
    return commit.revision, commit.version.modified


def end_of_second(moment: datetime) -> datetime:
    """Return the end of the second that a time names, if it names no fraction of one.

    Commits are shown to the second, and the time that was shown has to find them again.
    """
    return moment if moment.microsecond else moment + RESOLUTION
