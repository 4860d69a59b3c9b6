"""The order of commits and versions, newest first. Pure.

A storage may list versions in any order: SeaweedFS 4.48 puts the version ``null`` last even where
it is the latest, gofakes3 1.2.0 lists the oldest first. So nothing follows from a place in a list.

* Current is what the storage says is (`Version.is_latest`).
* Commits of one line of a store are ordered by their revisions, which are authenticated.
* The storage's time decides between lines, and where nobody has read a header.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from itertools import groupby
from typing import NamedTuple

from ptb_s3._container import Header
from ptb_s3._store import SLOWEST, Version

# A writer's clock and the storage's differ by no more, or S3 would have refused the request
# (Amazon S3 API Reference, "Error responses": RequestTimeTooSkewed).
MAX_SKEW = timedelta(minutes=15)
# What is left of the second that Last-Modified names (RFC 9110, section 8.8.2).
RESOLUTION = timedelta(microseconds=999_999)


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
    lines: defaultdict[tuple[str, ...], list[Commit]] = defaultdict(list)
    for commit in commits:
        lines[_line(commit)].append(commit)
    ordered = [
        commit
        for line in sorted(lines.values(), key=_begun, reverse=True)
        for commit in sorted(line, key=_position, reverse=True)
    ]
    return sorted(ordered, key=lambda commit: not commit.version.is_latest)


def _line(commit: Commit) -> tuple[str, ...]:
    """Return the line that a commit belongs to; it is one by itself where that is not known."""
    if commit.header is None:
        return (commit.version.version_id,)
    return commit.header.store, commit.header.line


def _begun(line: list[Commit]) -> tuple[datetime, int]:
    """Return when a line began; in a copied bucket, all may be of one moment."""
    return min(commit.version.modified for commit in line), min(map(_revision, line))


def _position(commit: Commit) -> tuple[int, datetime]:
    return _revision(commit), commit.version.modified


def _revision(commit: Commit) -> int:
    return commit.header.revision if commit.header is not None else 0
