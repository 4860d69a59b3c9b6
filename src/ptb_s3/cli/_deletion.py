"""Deletion plans in words, for prune and forget: a table for people, JSON for programs."""

from __future__ import annotations

from typing import Any

from ptb_s3._history.deletion import DeletionPlan
from ptb_s3._history.object_lock import locked_until
from ptb_s3.cli import _output
from ptb_s3.cli._table import table
from ptb_s3.cli._wording import count, size, when, when_json


def show_plan(plan: DeletionPlan) -> None:
    """Print how many versions go and stay, and why some stay that would go."""
    table(
        ["", "versions", "size", ""],
        [
            ["keep", f"{plan.kept_versions:,}", size(plan.kept_size), _kept(plan)],
            ["delete", f"{plan.versions:,}", size(plan.size), _doomed(plan)],
        ],
        right=["versions", "size"],
    )
    if plan.others:
        _output.note(
            f"{count(plan.others, 'commit')} of a store that lay here before stay: ptb-s3 history "
            "--store lists them, and --all-stores prunes them as well."
        )
    locked = locked_until(plan.locked)
    if locked:
        _output.note(f"Locked, and to be deleted by nobody: {locked}.")
    if plan.unread:
        _output.note(
            f"{count(plan.unread, 'version')} of these cannot be read, and stay for that: ptb-s3 "
            "verify --history says why."
        )


def _kept(plan: DeletionPlan) -> str:
    """Say which commits can still be restored afterwards."""
    kept = f"{count(len(plan.kept), 'commit')} that can be restored"
    if plan.kept:
        newest, oldest = plan.kept[0], plan.kept[-1]
        kept += f", revision {oldest.revision} ({when(oldest.created)})"
        if newest is not oldest:
            kept += f" to {newest.revision} ({when(newest.created)})"
    return kept


def _doomed(plan: DeletionPlan) -> str:
    """Say how many versions of each object go."""
    return ", ".join(f"{len(gone):,} of {name}" for name, gone in plan.doomed.items() if gone)


def deleted(plan: DeletionPlan) -> str:
    """Say how much of a plan is carried out."""
    of = "" if plan.gone == plan.versions else f" of {plan.versions:,}"
    return f"Deleted {count(plan.gone, 'version')}{of}, {size(plan.gone_size)}."


def plan_json(plan: DeletionPlan) -> dict[str, Any]:
    """Return a plan as JSON."""
    return {
        "keep": {
            "versions": plan.kept_versions,
            "bytes": plan.kept_size,
            "unread": plan.unread,
            "commits": [
                {"revision": header.revision, "created": when_json(header.created)}
                for header in plan.kept
            ],
        },
        "delete": {
            "versions": plan.versions,
            "bytes": plan.size,
            "objects": {name: len(gone) for name, gone in plan.doomed.items()},
        },
        "locked": [
            {"object": name, "version_id": id_, "until": lock.until and when_json(lock.until)}
            for name, locks in plan.locked.items()
            for id_, lock in locks.items()
        ],
    }
