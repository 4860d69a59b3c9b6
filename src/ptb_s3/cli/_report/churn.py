"""Churn: which kinds change most, and how often their most-changed entities did, unnamed. Pure."""

from __future__ import annotations

from ptb_s3._format.entities import Kind
from ptb_s3.cli._report.facts import Facts
from ptb_s3.cli._report.figure import Table, tabulate
from ptb_s3.cli._report.timeline import changes_of
from ptb_s3.cli._wording import size


def tabulate_churn(facts: Facts) -> tuple[Table, ...]:
    """Return a table of kinds and, where commits were opened, one of entities."""
    return (_kinds(facts), *([] if facts.deep is None else [_entities(facts)]))


def _kinds(facts: Facts) -> Table:
    """Return the kinds, the one whose entities changed most first."""
    changes = [changes_of(commit) for commit in facts.commits]
    total = max(sum(sum(each.values()) for each in changes), 1)
    rows = []
    for kind in sorted(Kind, key=lambda kind: -sum(each[kind] for each in changes)):
        numbers = [each[kind] for each in changes]
        blobs = facts.blobs.get(kind, ())
        rows.append(
            (
                kind.value,
                f"{sum(map(bool, numbers)):,}",
                f"{sum(numbers):,}",
                f"{sum(numbers) / total:.0%}",
                f"{max(numbers, default=0):,}",
                f"{len(blobs):,}",
                size(sum(blob.version.size for blob in blobs)),
            )
        )
    columns = ("kind", "commits", "changes", "share", "most at once", "blobs", "bytes of blobs")
    return tabulate("What changes most, by kind", columns, rows, columns[1:])


def _entities(facts: Facts) -> Table:
    """Return how often the most-changed entities of each kind changed, without their keys."""
    deep = facts.deep
    rows = [
        (
            kind.value,
            f"{deep.distinct[kind]:,}",
            ", ".join(f"{number:,}" for number in deep.ranks[kind]),
        )
        for kind in Kind
        if deep is not None and deep.distinct[kind]
    ]
    columns = ("kind", "entities that changed", "changes of those that changed most")
    return tabulate("What changes most, by entity", columns, rows, columns[1:2])
