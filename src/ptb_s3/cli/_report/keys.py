"""Keys: what each one seals, and until when the history needs it. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import date, datetime
from typing import NamedTuple

from ptb_s3._format.container import HEAD
from ptb_s3._history.key_needs import NOT_AT_HAND
from ptb_s3._history.order import Commit
from ptb_s3._storage.bucket_config import Unknown
from ptb_s3._storage.lifecycle import NewestStay, expiry
from ptb_s3.cli._report.facts import Facts
from ptb_s3.cli._report.figure import Table, tabulate
from ptb_s3.cli._wording import count, when

NO_MORE = "no more"
"""Need of a key that nothing needs."""


class Use(NamedTuple):
    """Use of one key.

    Attributes:
        key: Its id.
        heads: How many of the versions of head that were looked at it seals.
        blobs: The same of blobs.
        newest: When the newest of them was made.
        role: What it does for whoever asks, or that it is not at hand.
        until: Until when it is needed, in words.
    """

    key: str
    heads: int
    blobs: int
    newest: datetime | None
    role: str
    until: str


def uses_of(facts: Facts) -> tuple[Use, ...]:
    """Return the use of each key that seals anything, or is needed, the newest first."""
    heads, blobs = _sealed(facts.commits), defaultdict[str, list[Commit]](list)
    for versions in facts.blobs.values():
        for key, sealed in _sealed(versions).items():
            blobs[key] += sealed
    needs = facts.current.needs if facts.current is not None else {}
    uses = []
    for key in {*heads, *blobs, *needs}:
        made = [commit.made for commit in (*heads[key], *blobs[key])]
        newest = max(made, default=None)
        role = needs[key].role if key in needs else _role(key, facts)
        numbers = (len(heads[key]), len(blobs[key]))
        uses.append(Use(key, *numbers, newest, role, _until(key, facts)))
    return tuple(sorted(uses, key=lambda use: (use.role != "seals", use.key)))


def tabulate_keys(facts: Facts) -> Table:
    """Return the keys as a table."""
    rows = [
        (
            use.key,
            use.role,
            f"{use.heads:,}",
            f"{use.blobs:,}",
            "" if use.newest is None else when(use.newest),
            use.until,
        )
        for use in uses_of(facts)
    ]
    columns = ("key", "here it", "heads", "blobs", "newest", "needed")
    return tabulate("Keys", columns, rows, ("heads", "blobs"))


def _sealed(commits: Sequence[Commit]) -> defaultdict[str, list[Commit]]:
    by_key: defaultdict[str, list[Commit]] = defaultdict(list)
    for commit in commits:
        if commit.header is not None:
            by_key[commit.header.key].append(commit)
    return by_key


def _role(key: str, facts: Facts) -> str:
    return "is at hand" if key in facts.keys else NOT_AT_HAND


def _until(key: str, facts: Facts) -> str:
    """Return until when a key is needed: now, or until the last commit that needs it expires."""
    current = facts.current
    if current is None:
        return "not known: no state opens"
    need = current.needs.get(key)
    if need is not None and need.current:
        return f"now, by {count(need.current, 'current object')}"
    if need is None or need.newest is None:
        return NO_MORE
    return _up_to(need.newest, facts)


def _up_to(revision: int, facts: Facts) -> str:
    """Return until when a key is needed whose last commit is one of the history."""
    upto = f"up to revision {revision}"
    day = _expires(revision, facts)
    if isinstance(day, date):
        return f"{upto}, which expires on {day.isoformat()}"
    if isinstance(day, NewestStay):
        return f"{upto}, while it is among the newest {day.number:,}"
    return f"{upto}; {day}"


def _expires(revision: int, facts: Facts) -> date | NewestStay | str:
    """Return when a commit expires, or why that is not known."""
    if facts.rules is None or isinstance(facts.rules, Unknown):
        return "lifecycle rules are not known"
    later = [commit for commit in facts.commits if commit.revision > revision]
    if not later:
        return "it is the newest"
    replaced = min(commit.version.modified for commit in later)
    day = expiry(facts.rules, facts.prefix + HEAD, replaced)
    return "no rule removes it" if day is None else day
