"""Events in a history, from its headers: key changes, gaps, roll-backs, copies, damage. Pure.

A header is not authenticated where nothing was opened: an event is a hint to look, not a proof.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from itertools import pairwise
from typing import NamedTuple

from ptb_s3._history.order import Commit
from ptb_s3.cli._report.facts import Facts
from ptb_s3.cli._wording import count

DAMAGED = "unreadable"
KEY = "key changed"
GAP = "revisions missing"
BACK = "went back"
COPY = "copied"
RESTORED = "restored"
ERASED = "erased"
SORTS = (DAMAGED, BACK, GAP, COPY, RESTORED, ERASED, KEY)
"""Sorts of events, the gravest first."""


class Event(NamedTuple):
    """Event in a history.

    Attributes:
        sort: One of `SORTS`.
        made: When.
        told: A sentence about it.
    """

    sort: str
    made: datetime
    told: str


def find_events(facts: Facts) -> tuple[Event, ...]:
    """Return the events of the commits that were looked at, the newest first."""
    oldest_first = facts.commits[::-1]
    known = [commit for commit in oldest_first if commit.header is not None]
    found = [
        Event(DAMAGED, commit.made, "The header of a version of head cannot be read.")
        for commit in oldest_first
        if commit.header is None
    ]
    found += [event for commit in known for event in _alone(commit, facts)]
    found += [event for pair in pairwise(known) for event in _between(*pair)]
    return tuple(sorted(found, key=lambda event: event.made, reverse=True))


def _alone(commit: Commit, facts: Facts) -> Iterator[Event]:
    """Yield the events that a commit is by itself."""
    revision = commit.revision
    if commit.is_copy:
        told = f"Revision {revision} was stored long after it was made: put back, or copied."
        yield Event(COPY, commit.made, told)
    if facts.current is not None and revision in facts.current.erased:
        yield Event(ERASED, commit.made, f"Revision {revision} erased a user or chat.")
    if facts.deep is not None and revision in facts.deep.restores:
        yield Event(RESTORED, commit.made, f"Revision {revision} brought an older state back.")


def _between(older: Commit, newer: Commit) -> Iterator[Event]:
    """Yield the events between two commits, one of which follows the other."""
    before, after = older.known_header, newer.known_header
    step = after.revision - before.revision
    if before.key != after.key:
        told = (
            f"From revision {after.revision} on, key {after.key} seals, and no more {before.key}."
        )
        yield Event(KEY, newer.made, told)
    if step > 1:
        told = f"{count(step - 1, 'revision')} before {after.revision}: expired, or pruned."
        yield Event(GAP, newer.made, told)
    if step < 1 and before.commit != after.commit:
        told = (
            f"After revision {before.revision} came {after.revision}: an older head was put back."
        )
        yield Event(BACK, newer.made, told)
