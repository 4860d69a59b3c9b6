"""Writers: when each one was at work, and when two were at once. Pure.

A writer is one process in one run of it. It counts as at work from its first commit to its last, so
that a deploy in which the new process takes over before the old one ends shows as an overlap. Where
two took turns, each turn is a commit on top of one that the other had made.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from typing import NamedTuple

from ptb_s3._history.order import Commit
from ptb_s3.cli._report.facts import Facts
from ptb_s3.cli._report.figure import LOW, TALL, Bar, Figure, Strip, Table, standing, tabulate
from ptb_s3.cli._report.scale import BINS, Scale, bin_width
from ptb_s3.cli._report.timeline import scale_of
from ptb_s3.cli._wording import count, when

LANES = 12
"""Writers that are drawn, the newest; all of them count in the overlaps."""
_LEAST = 0.6  # percent of a lane, so that a single commit is seen


class Stay(NamedTuple):
    """Stay of one writer.

    Attributes:
        writer: Its id.
        begin: Its first commit.
        end: Its last.
        commits: How many it made.
        lines: How many lines it began.
    """

    writer: str
    begin: datetime
    end: datetime
    commits: int
    lines: int


class Overlap(NamedTuple):
    """Stretch of time in which more than one writer was at work.

    Attributes:
        begin: Its beginning.
        end: Its end.
        most: How many there were at once, at most.
    """

    begin: datetime
    end: datetime
    most: int


def stays_of(commits: Iterable[Commit]) -> tuple[Stay, ...]:
    """Return the stay of each writer, that of the last commit first."""
    made: defaultdict[str, list[Commit]] = defaultdict(list)
    for commit in commits:
        if commit.header is not None:
            made[commit.header.writer].append(commit)
    stays = [
        Stay(
            writer,
            min(commit.made for commit in theirs),
            max(commit.made for commit in theirs),
            len(theirs),
            len({commit.known_header.line for commit in theirs}),
        )
        for writer, theirs in made.items()
    ]
    return tuple(sorted(stays, key=lambda stay: stay.end, reverse=True))


def overlaps_of(stays: Sequence[Stay]) -> tuple[Overlap, ...]:
    """Return the stretches with more than one writer, the newest first."""
    found, most = list[Overlap](), 0
    since: datetime | None = None
    for moment, there in _numbers(stays):
        if there > 1:
            since, most = since or moment, max(most, there)
        elif since is not None:
            found.append(Overlap(since, moment, most))
            since, most = None, 0
    return tuple(reversed(found))


def _numbers(stays: Sequence[Stay]) -> Iterator[tuple[datetime, int]]:
    """Yield how many writers are at work from each moment on at which that changes."""
    # Whoever begins comes before whoever ends at that moment: they were there at once.
    turns = [(stay.begin, 0, 1) for stay in stays] + [(stay.end, 1, -1) for stay in stays]
    there = 0
    for moment, _, change in sorted(turns):
        there += change
        yield moment, there


def turns_of(commits: Sequence[Commit]) -> int:
    """Count the commits that a writer made on top of another one's, after it had begun itself."""
    known = [commit.known_header.writer for commit in commits[::-1] if commit.header is not None]
    seen, turns = set[str](), 0
    for before, after in pairwise(known):
        seen.add(before)
        turns += before != after and after in seen
    return turns


def active(stays: Iterable[Stay], now: datetime, within: timedelta) -> int:
    """Count the writers whose last commit is not older than a span of time."""
    return sum(now - stay.end <= within for stay in stays)


def draw_writers(facts: Facts) -> Figure:
    """Return the figure of writers: how many at once, then a lane for each of the newest."""
    scale, stays = scale_of(facts), stays_of(facts.commits)
    lanes = [_lane(stay, scale) for stay in stays[:LANES]]
    left = len(stays) - len(lanes)
    told = f"{count(len(stays), 'writer')}, each from its first commit to its last."
    if left:
        told += f" The newest {LANES} have a lane of their own; {left:,} have none."
    strips = (_at_once(stays, scale), *lanes)
    return Figure("drawn-writers", told, strips, scale.ticks(), _table(stays))


def tabulate_overlaps(stays: Sequence[Stay]) -> Table:
    """Return the stretches in which writers overlap, the newest first."""
    rows = [
        (when(each.begin), when(each.end), lasted(each.end - each.begin), f"{each.most:,}")
        for each in overlaps_of(stays)
    ]
    columns = ("from", "to", "for", "writers at once")
    return tabulate("Overlaps of writers", columns, rows, ("writers at once",))


def lasted(span: timedelta) -> str:
    """Write a span of time to the second."""
    return str(timedelta(seconds=round(span.total_seconds())))


def _at_once(stays: Sequence[Stay], scale: Scale) -> Strip:
    """Return how many writers were at work at once in each bin, at most."""
    numbers = [0] * BINS
    before = (scale.begin, 0)
    for moment, there in _numbers(stays):
        for at in range(scale.bin(before[0]), scale.bin(moment) + 1):
            numbers[at] = max(numbers[at], before[1])
        numbers[scale.bin(moment)] = max(numbers[scale.bin(moment)], there)
        before = (moment, there)
    most = max(numbers, default=0)
    bars = [
        standing(
            bin_width() * at, bin_width(), number / max(most, 1), f"{number:,} at once", "area"
        )
        for at, number in enumerate(numbers)
        if number
    ]
    return Strip("writers at once", f"{most:,} at most", TALL, tuple(bars))


def _lane(stay: Stay, scale: Scale) -> Strip:
    x = scale.x(stay.begin)
    width = max(scale.x(stay.end) - x, _LEAST)
    told = f"{when(stay.begin)} to {when(stay.end)}: {count(stay.commits, 'commit')}"
    bar = Bar(min(x, 100 - width), round(width, 3), 1, LOW - 2, told, "life")
    return Strip(stay.writer, count(stay.commits, "commit"), LOW, (bar,))


def _table(stays: Sequence[Stay]) -> Table:
    rows = [
        (stay.writer, when(stay.begin), when(stay.end), f"{stay.commits:,}", f"{stay.lines:,}")
        for stay in stays
    ]
    columns = ("writer", "first commit", "last commit", "commits", "lines")
    return tabulate("Writers as a table", columns, rows, ("commits", "lines"))
