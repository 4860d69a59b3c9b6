"""Page of a report: all that its template shows, in words, figures and tables. Pure."""

from __future__ import annotations

from datetime import timedelta
from typing import NamedTuple

from ptb_s3._doctor.findings import Status
from ptb_s3._format.container import HEAD
from ptb_s3._format.entities import Kind
from ptb_s3._history.key_needs import NOT_AT_HAND
from ptb_s3.cli._report.churn import tabulate_churn
from ptb_s3.cli._report.events import Event, find_events
from ptb_s3.cli._report.facts import Facts, Life
from ptb_s3.cli._report.figure import Figure, Table, tabulate
from ptb_s3.cli._report.growth import draw_growth
from ptb_s3.cli._report.keys import NO_MORE, tabulate_keys, uses_of
from ptb_s3.cli._report.timeline import draw_timeline
from ptb_s3.cli._report.verdict import Verdict, judge, tabulated
from ptb_s3.cli._report.writers import (
    active,
    draw_writers,
    lasted,
    overlaps_of,
    stays_of,
    tabulate_overlaps,
    turns_of,
)
from ptb_s3.cli._wording import ago, count, in_time, size, when

ACTIVE = timedelta(minutes=10)
"""How long a writer counts as active after a commit, as `rotate` and `prune` reckon."""
_MARKS = {
    Status.OK: "ok",
    Status.WARNING: "warning",
    Status.FAILED: "FAILED",
    Status.UNKNOWN: "not known",
}


class Tile(NamedTuple):
    """Number of the summary.

    Attributes:
        name: Its name.
        value: It, as short as can be.
        note: The rest of it.
    """

    name: str
    value: str
    note: str


class Page(NamedTuple):
    """Page of a report.

    Attributes:
        place: The place as a URL.
        made: When it was made, with the zone that all times are in.
        span: Commits that it is about, in words.
        verdict: The verdict.
        tiles: Numbers of the summary.
        kinds: Extent of each kind.
        timeline: Figure of the commits.
        events: Table of what befell the history.
        growth: Figure of the growth.
        churn: Tables of what changes most.
        writers: Figure of the writers.
        overlaps: Table of the times at which there were several.
        turns: The same in a sentence.
        keys: Table of the keys.
        objects: Table of the objects that cannot be read; None: none was opened.
        objects_told: What was opened, in a sentence.
        checks: Table of the checks of the storage; None: there were none.
        life: Life of a user or chat; None: not asked for.
        holds_values: Whether values of a user are in it.
    """

    place: str
    made: str
    span: str
    verdict: Verdict
    tiles: tuple[Tile, ...]
    kinds: Table
    timeline: Figure
    events: Table
    growth: Figure
    churn: tuple[Table, ...]
    writers: Figure
    overlaps: Table
    turns: str
    keys: Table
    objects: Table | None
    objects_told: str
    checks: Table | None
    life: Life | None
    holds_values: bool


def compose(facts: Facts) -> Page:
    """Compose the page of a report."""
    stays = stays_of(facts.commits)
    return Page(
        place=facts.place,
        made=f"{when(facts.now)} {_zone(facts)}",
        span=_span(facts),
        verdict=judge(facts),
        tiles=_tiles(facts),
        kinds=_kinds(facts),
        timeline=draw_timeline(facts),
        events=_events(find_events(facts)),
        growth=draw_growth(facts),
        churn=tabulate_churn(facts),
        writers=draw_writers(facts),
        overlaps=tabulate_overlaps(stays),
        turns=_turns(facts),
        keys=tabulate_keys(facts),
        objects=_objects(facts),
        objects_told=_objects_told(facts),
        checks=_checks(facts),
        life=facts.life,
        holds_values=facts.life is not None and facts.life.values,
    )


def _zone(facts: Facts) -> str:
    """Return the zone that times are in, as an offset."""
    offset = f"{facts.now:%z}"
    return f"UTC{offset[:3]}:{offset[3:5]}"


def _span(facts: Facts) -> str:
    """Say which commits the report is about."""
    if not facts.commits:
        return "No commits were found."
    oldest, newest = facts.commits[-1].made, facts.commits[0].made
    told = f"{count(len(facts.commits), 'commit')}, from {when(oldest)} to {when(newest)}"
    left = facts.extent.commits - len(facts.commits)
    if facts.older and left > 0:
        return f"{told}; {left:,} older ones were left out."
    return f"{told}: all that the bucket holds."


def _tiles(facts: Facts) -> tuple[Tile, ...]:
    """Return the numbers of the summary."""
    entities = (_entities(facts), *_jobs(facts))
    return (_last(facts), *entities, *_sizes(facts), _active(facts), _keys(facts))


def _last(facts: Facts) -> Tile:
    if facts.current is None:
        newest = facts.commits[0].made if facts.commits else None
        return Tile("Last commit", ago(newest, facts.now) if newest else "none", "does not open")
    created, revision = facts.current.created, facts.current.revision
    return Tile("Last commit", ago(created, facts.now), f"revision {revision:,}, {when(created)}")


def _entities(facts: Facts) -> Tile:
    if facts.current is None:
        return Tile("Entities", "not known", "no state opens")
    numbers = facts.current.entities
    told = ", ".join(f"{kind.value} {number:,}" for kind, number in numbers.items() if number)
    return Tile("Entities", f"{sum(numbers.values()):,}", told or "none")


def _jobs(facts: Facts) -> tuple[Tile, ...]:
    """Return how many jobs there are, where there are any, and when they are due."""
    jobs = None if facts.current is None else facts.current.jobs
    if jobs is None:
        return ()
    due = "none is due" if jobs.next is None else f"the next {in_time(jobs.next - facts.now)}"
    late = f"{jobs.overdue:,} overdue, " if jobs.overdue else ""
    return (Tile("Jobs", f"{jobs.kept:,}", f"{late}{due}"),)


def _sizes(facts: Facts) -> tuple[Tile, Tile]:
    """Return what is current, and what is kept and so paid for."""
    kept = facts.kept.values()
    current, versions = sum(each.current for each in kept), sum(each.versions for each in kept)
    objects = sum(each.current > 0 for each in kept)
    all_of_it = sum(each.size for each in kept)
    per_day = _per_day(facts)
    return (
        Tile("Current state", size(current), count(objects, "object")),
        Tile("Kept in all", size(all_of_it), f"{count(versions, 'version')}{per_day}"),
    )


def _per_day(facts: Facts) -> str:
    """Say how much was written a day, where there are days to tell by."""
    if not facts.commits:
        return ""
    days = (facts.now - facts.commits[-1].made) / timedelta(days=1)
    written = sum(
        commit.version.size
        for commits in (facts.commits, *facts.blobs.values())
        for commit in commits
    )
    return f", {size(round(written / days))} written a day" if days >= 1 else ""


def _active(facts: Facts) -> Tile:
    stays = stays_of(facts.commits)
    now = active(stays, facts.now, ACTIVE)
    note = f"{count(len(stays), 'writer')} and {count(len(overlaps_of(stays)), 'overlap')} in all"
    return Tile("Writing now", f"{now:,}" if now else "nobody", note)


def _keys(facts: Facts) -> Tile:
    uses = uses_of(facts)
    needed = [use for use in uses if use.until != NO_MORE]
    missing = [use for use in needed if use.role == NOT_AT_HAND]
    note = f"{len(missing):,} not at hand" if missing else "all at hand"
    return Tile("Keys needed", f"{len(needed):,}", note)


def _kinds(facts: Facts) -> Table:
    """Return the extent of each kind, and of head."""
    rows = [_kind(kind, facts) for kind in Kind if kind in facts.kept]
    rows.append(_kind(None, facts))
    columns = (
        *("object", "entities", "changed since its blob", "current"),
        *("versions", "bytes of all versions"),
    )
    return tabulate("State by kind", columns, rows, columns[1:])


def _kind(kind: Kind | None, facts: Facts) -> tuple[str, ...]:
    """Return the row of a kind, or of head."""
    name = HEAD if kind is None else kind.value
    kept, current = facts.kept[name], facts.current
    numbers = ("", "")
    if kind is not None and current is not None:
        numbers = (f"{current.entities[kind]:,}", f"{current.differential[kind]:,}")
    now = size(kept.current) if kept.current else "none"
    return (name, *numbers, now, f"{kept.versions:,}", size(kept.size))


def _events(events: tuple[Event, ...]) -> Table:
    rows = [(when(event.made), event.sort, event.told) for event in events]
    return tabulate("What befell the history", ("when", "what", "more"), rows)


def _turns(facts: Facts) -> str:
    """Say how often writers took turns, and what that does not tell."""
    stays = stays_of(facts.commits)
    spans = [overlap.end - overlap.begin for overlap in overlaps_of(stays)]
    turns = turns_of(facts.commits)
    told = "At no time was more than one writer between two of its commits."
    if spans:
        together = lasted(sum(spans, timedelta()))
        told = f"{count(len(spans), 'overlap')} of writers, {together} together."
    took = f" {count(turns, 'commit')} were made by a writer that took over from another and had"
    return f"{told}{took} committed before." if turns else told


def _objects(facts: Facts) -> Table | None:
    if facts.verified is None:
        return None
    columns = ("object", "version", "revision", "cannot be read, since")
    return tabulate(
        "Objects that cannot be read", columns, tabulated(facts.verified), ("revision",)
    )


def _objects_told(facts: Facts) -> str:
    """Say what was opened to verify it."""
    verified = facts.verified
    if verified is None:
        return "Not checked: the objects were not opened."
    what = "version of all objects" if facts.every_version else "current object"
    plural = "versions of all objects" if facts.every_version else ""
    bad = len(verified.findings)
    read = f"{count(verified.objects, what, plural)}, {size(verified.size)}"
    return f"{bad:,} of {read}, cannot be read." if bad else f"Opened and intact: {read}."


def _checks(facts: Facts) -> Table | None:
    if facts.examined is None:
        return None
    rows = [
        (_MARKS[each.status], each.check.value, f"{each.found}. {each.remedy}".rstrip(". ") + ".")
        for each in facts.examined
    ]
    return tabulate("Checks of the storage", ("outcome", "check", "found"), rows)
