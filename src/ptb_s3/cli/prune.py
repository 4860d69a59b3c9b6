"""``ptb-s3 prune``: thin out the history by a policy."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterable
from typing import Annotated, Any

import typer

from ptb_s3._format.committed import Reader
from ptb_s3._history.deletion import DeletionPlan, carry_out
from ptb_s3._history.object_lock import is_lockable, locked_until
from ptb_s3._history.prune import plan_prune
from ptb_s3._history.retention import Policy
from ptb_s3._storage.bucket_config import Bucket
from ptb_s3.cli import _output
from ptb_s3.cli._opened import DryRun, Json, Opened, Place, Yes, run
from ptb_s3.cli._output import count, in_steps, size, when, when_json
from ptb_s3.errors import SettingsError

_AGAIN = "What is listed can be restored; run ptb-s3 prune again to go on."


def prune(
    *,
    keep_last: Annotated[int, typer.Option(help="Keep so many of the newest commits.")] = 0,
    keep_hourly: Annotated[
        int, typer.Option(help="Keep the last commit of each of so many hours that had any.")
    ] = 0,
    keep_daily: Annotated[int, typer.Option(help="The same for days.")] = 0,
    keep_monthly: Annotated[int, typer.Option(help="The same for months.")] = 0,
    all_stores: Annotated[
        bool,
        typer.Option("--all-stores", help="Also those of stores that lay here before."),
    ] = False,
    dry_run: DryRun = False,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Delete the versions that no kept commit needs. The current state always stays.

    Hours, days and months are those of the local zone, by the storage's clock.
    """
    policy = Policy(keep_last, keep_hourly, keep_daily, keep_monthly)

    async def work(place: Place) -> tuple[DeletionPlan, bool]:
        # What cannot be read is not thinned out.
        opened = await place.load_or_recover() if dry_run else Opened(await place.load(), None)
        today = opened.repository.base.identity.store
        with _output.progress("Opening the commits to keep") as advance:
            plan = await plan_prune(
                place.store,
                Reader(place.keys),
                policy,
                None,
                advance,
                store_id=None if all_stores else today,
                lockable=await is_lockable(Bucket(place.store)),
            )
        _refuse_without_history(plan)
        if not json:
            show_plan(plan)
        if dry_run or not plan.versions:
            return plan, False
        agree(f"Delete {count(plan.versions, 'version')} for good?", yes=yes)
        with (
            in_steps(lambda: f"{deleted(plan)} {_AGAIN}"),
            _output.progress("Deleting") as advance,
        ):
            await carry_out(place.store, plan, advance)
        return plan, True

    plan, done = run(work)
    if json:
        _output.result_json({**plan_json(plan), "done": done})
    elif done:
        _output.result(deleted(plan))
    else:
        _output.result("Nothing was changed." if plan.versions else "Nothing to delete.")


def deleted(plan: DeletionPlan) -> str:
    """Say how much is gone."""
    of = "" if plan.gone == plan.versions else f" of {plan.versions:,}"
    return f"Deleted {count(plan.gone, 'version')}{of}, {size(plan.gone_size)}."


def agree(question: str, *, yes: bool) -> None:
    """Have a person agree to what cannot be undone; Ctrl-C is an answer, too.

    While they are asked, the event loop stands still, and would not hear of it.
    """
    if yes or not sys.stdin.isatty():
        _output.confirm(question, yes=yes)
        return
    heard = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        _output.confirm(question, yes=yes)
    except typer.Abort:
        _output.note("\nNothing was changed.")
        raise KeyboardInterrupt from None
    finally:
        signal.signal(signal.SIGINT, heard)


def _refuse_without_history(plan: DeletionPlan) -> None:
    if not plan.versioned:
        raise SettingsError(
            "The bucket keeps no versions: there is no history to thin out. Turn on versioning "
            "for the bucket to have one."
        )


def show_plan(plan: DeletionPlan) -> None:
    """Print what goes, and what stays."""
    kept = f"{count(len(plan.kept), 'commit')} that can be restored"
    if plan.kept:
        newest, oldest = plan.kept[0], plan.kept[-1]
        kept += f", revision {oldest.revision} ({when(oldest.created)})"
        if newest is not oldest:
            kept += f" to {newest.revision} ({when(newest.created)})"
    _output.table(
        ["", "versions", "size", ""],
        [
            ["keep", f"{plan.kept_versions:,}", size(plan.kept_size), kept],
            ["delete", f"{plan.versions:,}", size(plan.size), _doomed(plan)],
        ],
        right=["versions", "size"],
    )
    if plan.others:
        _output.note(
            f"{count(plan.others, 'commit')} of a store that lay here before stay: ptb-s3 history "
            "--store lists them, and --all-stores thins them out as well."
        )
    locked = locked_until(plan.locked)
    if locked:
        _output.note(f"Locked, and to be deleted by nobody: {locked}.")
    if plan.unread:
        _output.note(
            f"{count(plan.unread, 'version')} of these cannot be read, and stay for that: ptb-s3 "
            "verify --history says why."
        )


def _doomed(plan: DeletionPlan) -> str:
    return ", ".join(f"{len(gone):,} of {name}" for name, gone in plan.doomed.items() if gone)


def runs(revisions: Iterable[int]) -> str:
    """Name revisions, runs of them by their ends."""
    found: list[list[int]] = []
    for number in sorted(set(revisions)):
        if found and found[-1][-1] == number - 1:
            found[-1][1:] = [number]
        else:
            found.append([number])
    return ", ".join(" to ".join(map(str, run)) for run in found) or "none"


def plan_json(plan: DeletionPlan) -> dict[str, Any]:
    """Return what goes and what stays, for programs."""
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
