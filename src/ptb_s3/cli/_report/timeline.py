"""Time line: number and size of commits, changes by kind, blobs written anew, events. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from ptb_s3._format.entities import Kind
from ptb_s3._history.order import Commit
from ptb_s3.cli._report.events import SORTS, Event, find_events
from ptb_s3.cli._report.facts import Facts
from ptb_s3.cli._report.figure import LOW, TALL, Bar, Figure, Strip, Table, standing, tabulate
from ptb_s3.cli._report.scale import BINS, Scale, bin_width
from ptb_s3.cli._wording import count, runs, size, when

_TOLD = (
    "Each bar adds up the commits of one stretch of time: how many there were, their bytes, and "
    "how many entities of each kind they changed. A dot ● is a blob written anew."
)
_DOT = 6  # pixels that the mark of a blob written anew is high
_UNDER = TALL + 2  # pixels from the top of a strip to such marks


@dataclass(slots=True)
class Bin:
    """Commits of one stretch of time, added up.

    Attributes:
        commits: How many.
        size: Their bytes.
        largest: Bytes of the largest.
        first: When the first one was made.
        last: When the last one was made.
        changed: Entities changed, by kind.
        blobs: Blobs written, by kind.
        revisions: The revisions.
    """

    commits: int = 0
    size: int = 0
    largest: int = 0
    first: datetime | None = None
    last: datetime | None = None
    changed: Counter[Kind] = field(default_factory=Counter)
    blobs: Counter[Kind] = field(default_factory=Counter)
    revisions: list[int] = field(default_factory=list)

    def add(self, commit: Commit) -> None:
        """Add a commit."""
        self.commits += 1
        self.size += commit.version.size
        self.largest = max(self.largest, commit.version.size)
        made = commit.made
        self.first = made if self.first is None else min(self.first, made)
        self.last = made if self.last is None else max(self.last, made)
        if commit.header is not None:
            self.revisions.append(commit.revision)
            self.changed.update(changes_of(commit))


def changes_of(commit: Commit) -> dict[Kind, int]:
    """Return how many entities of each kind a commit changed."""
    changed = None if commit.header is None else commit.header.changed
    return {kind: getattr(changed, kind.value, 0) for kind in Kind}


def scale_of(facts: Facts) -> Scale:
    """Return the scale over the commits that were looked at, up to the last one."""
    return Scale.over([commit.made for commit in facts.commits], facts.now)


def bins_of(facts: Facts, scale: Scale) -> list[Bin]:
    """Return the commits of a report, and the blobs written meanwhile, in bins."""
    bins = [Bin() for _ in range(BINS)]
    for commit in facts.commits:
        bins[scale.bin(commit.made)].add(commit)
    for kind, blobs in facts.blobs.items():
        for blob in blobs:
            if scale.begin <= blob.made <= scale.end:
                bins[scale.bin(blob.made)].blobs[kind] += 1
    return bins


def draw_timeline(facts: Facts) -> Figure:
    """Return the time line."""
    scale = scale_of(facts)
    bins = bins_of(facts, scale)
    events = find_events(facts)
    numbers, sizes = [each.commits for each in bins], [each.size for each in bins]
    strips = [
        _strip("commits", numbers, bins, f"{sum(numbers):,}, at most {max(numbers):,} a bar"),
        _strip("bytes of head", sizes, bins, f"{size(sum(sizes))}, at most {size(max(sizes))}"),
        *(_of_kind(kind, bins) for kind in Kind if _appears(kind, bins)),
        *_of_events(events, scale),
    ]
    return Figure("drawn-commits", _TOLD, tuple(strips), scale.ticks(), _table(bins))


def _appears(kind: Kind, bins: Sequence[Bin]) -> bool:
    return any(each.changed[kind] or each.blobs[kind] for each in bins)


def _strip(label: str, values: Sequence[int], bins: Sequence[Bin], note: str) -> Strip:
    """Return a strip with one bar for each bin that has a value."""
    highest = max(max(values, default=0), 1)
    bars = [
        standing(bin_width() * at, bin_width() * 0.8, value / highest, _title(bins[at]))
        for at, value in enumerate(values)
        if value
    ]
    return Strip(label, note, TALL, tuple(bars))


def _of_kind(kind: Kind, bins: Sequence[Bin]) -> Strip:
    """Return the strip of a kind: entities changed, and beneath, where its blob was written."""
    values = [each.changed[kind] for each in bins]
    written = sum(each.blobs[kind] for each in bins)
    note = f"{sum(values):,} changed, {count(written, 'blob')} ●"
    bars = _strip(kind.value, values, bins, "").bars
    marks = [
        Bar(
            *(round(bin_width() * (at + 0.4), 3), 0, _UNDER, _DOT),
            f"{kind.value} written anew: {count(each.blobs[kind], 'blob')}",
            "dot",
        )
        for at, each in enumerate(bins)
        if each.blobs[kind]
    ]
    return Strip(kind.value, note, _UNDER + _DOT, (*bars, *marks))


def _of_events(events: Sequence[Event], scale: Scale) -> list[Strip]:
    """Return a strip for each sort of event that occurs, with one mark for each bin."""
    strips = []
    for sort in SORTS:
        these = [event for event in events if event.sort == sort]
        marks = {scale.bin(event.made): event for event in these}
        bars = [
            Bar(round(bin_width() * at, 3), round(bin_width(), 3), 1, LOW - 2, event.told, "mark")
            for at, event in sorted(marks.items())
        ]
        if bars:
            strips.append(Strip(sort, f"{len(these):,} in all", LOW, tuple(bars)))
    return strips


def _title(each: Bin) -> str:
    """Return the words for a bin."""
    if each.first is None or each.last is None:
        return ""
    span = when(each.first)
    if each.last != each.first:
        span += f" to {when(each.last)}"
    changed = ", ".join(f"{kind.value} {n:,}" for kind, n in each.changed.items() if n)
    told = f"{span}: {count(each.commits, 'commit')}, {size(each.size)}"
    return f"{told}; changed {changed}" if changed else told


def _table(bins: Sequence[Bin]) -> Table:
    """Return the bins that have commits as a table, the newest first."""
    rows = [
        (
            when(each.first),
            _revisions(each.revisions),
            f"{each.commits:,}",
            size(each.size),
            size(each.largest),
            ", ".join(f"{kind.value} {n:,}" for kind, n in each.changed.items() if n) or "nothing",
            ", ".join(f"{kind.value} {n:,}" for kind, n in each.blobs.items() if n),
        )
        for each in reversed(bins)
        if each.first is not None
    ]
    columns = ("from", "revisions", "commits", "bytes", "largest", "changed", "blobs written")
    return tabulate(
        "The time line as a table", columns, rows, ("commits", "bytes", "largest"), most=BINS
    )


def _revisions(numbers: Sequence[int]) -> str:
    """Write revisions, by their ends where there are many."""
    text = runs(numbers)
    return text if text.count(",") < 3 else f"{min(numbers)} to {max(numbers)}"  # noqa: PLR2004
