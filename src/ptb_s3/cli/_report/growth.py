"""Growth by kind: entities and bytes of each blob written, and all bytes that are kept. Pure.

Headers tell the extent of a kind only where its blob was written; in between it is drawn level. The
last step is the current state, which was opened.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from ptb_s3._format.entities import Kind
from ptb_s3._history.order import Commit
from ptb_s3.cli._report.facts import Facts
from ptb_s3.cli._report.figure import TALL, Bar, Figure, Strip, Table, standing, tabulate
from ptb_s3.cli._report.scale import BINS, Scale, bin_width
from ptb_s3.cli._report.timeline import scale_of
from ptb_s3.cli._wording import count, size, when

_SAME = 0.02  # share of the largest value

_Point = tuple[datetime, int]


def draw_growth(facts: Facts) -> Figure:
    """Return the figure of growth."""
    scale = scale_of(facts)
    strips = [_kept(facts, scale)]
    for kind in Kind:
        blobs = facts.blobs.get(kind, ())
        if not blobs:
            continue
        entities = [(blob.made, blob.known_header.entities) for blob in blobs]
        if facts.current is not None and not facts.fault:
            entities.append((scale.end, facts.current.entities[kind]))
        sizes = [(blob.made, blob.version.size) for blob in blobs]
        if _varies(entities):
            note = f"{entities[-1][1]:,} now"
            strips.append(_steps(f"{kind.value}, entities", note, entities, scale))
        if _varies(sizes):
            note = f"{size(sizes[-1][1])} now"
            strips.append(_steps(f"{kind.value}, blob", note, sizes, scale))
    told = (
        "All bytes that are kept, by when they were written, then entities and bytes of each kind, "
        "as of each time that its blob was written, and now. What hardly changed has no strip."
    )
    return Figure("drawn-growth", told, tuple(strips), scale.ticks(), _table(facts))


def _kept(facts: Facts, scale: Scale) -> Strip:
    """Return the strip of all bytes kept of what was looked at, added up."""
    written = sorted(
        (commit.made, commit.version.size)
        for commits in (facts.commits, *facts.blobs.values())
        for commit in commits
    )
    sums = [0] * BINS
    for made, bytes_ in written:
        sums[scale.bin(made)] += bytes_
    total, bars = max(sum(sums), 1), list[Bar]()
    so_far = 0
    for at, added in enumerate(sums):
        so_far += added
        title = f"{size(so_far)} kept of what was written up to then"
        bars.append(standing(bin_width() * at, bin_width(), so_far / total, title, "area"))
    return Strip("bytes kept", f"{size(sum(sums))} in all", TALL, tuple(bars))


def _steps(label: str, note: str, points: Sequence[_Point], scale: Scale) -> Strip:
    """Return a strip in which each value stands until the next one, the highest in a bin alone."""
    by_bin = dict[int, _Point]()
    for made, value in points:
        at = scale.bin(made)
        by_bin[at] = max(by_bin.get(at, (made, value)), (made, value), key=lambda point: point[1])
    by_bin[max(by_bin)] = points[-1]
    steps = sorted(by_bin.items())
    highest = max((value for _, (_, value) in steps), default=0) or 1
    ends = [*(at for at, _ in steps[1:]), BINS]
    bars = [
        standing(
            bin_width() * at,
            bin_width() * (end - at),
            value / highest,
            f"{when(made)}: {_worded(label, value)}",
            "area",
        )
        for (at, (made, value)), end in zip(steps, ends, strict=True)
    ]
    return Strip(label, note, TALL, tuple(bars))


def _varies(points: Sequence[_Point]) -> bool:
    """Tell whether values differ by more than the bytes by which headers of one state do."""
    values = [value for _, value in points]
    return max(values) - min(values) > max(values) * _SAME


def _worded(label: str, value: int) -> str:
    return size(value) if label.endswith("blob") else count(value, "entity", "entities")


def _table(facts: Facts) -> Table:
    """Return each blob written as a row, the newest first."""
    rows = [
        (blob.made, _row(kind, before, blob))
        for kind, blobs in facts.blobs.items()
        for before, blob in zip((None, *blobs), blobs, strict=False)
    ]
    rows.sort(key=lambda row: row[0], reverse=True)
    columns = ("written", "kind", "revision", "entities", "more than before", "bytes")
    numbers = ("revision", "entities", "more than before", "bytes")
    return tabulate(
        "Growth as a table: blobs written anew", columns, [row for _, row in rows], numbers
    )


def _row(kind: Kind, before: Commit | None, blob: Commit) -> tuple[str, ...]:
    """Return the row of a blob, compared to the one before."""
    header = blob.known_header
    more = "" if before is None else f"{header.entities - before.known_header.entities:+,}"
    cells = (when(blob.made), kind.value, str(header.revision), f"{header.entities:,}", more)
    return (*cells, size(blob.version.size))
