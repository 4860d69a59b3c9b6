"""``ptb-s3 prune``: delete the versions that a retention policy does not keep.

The plan is `ptb_s3._history.prune`'s, the deletion `ptb_s3._history.deletion`'s. A dry run works on
a state that cannot be read, too. JSON: ``keep``, ``delete`` and ``locked`` as `_deletion.plan_json`
gives them, and ``done``.
"""

from __future__ import annotations

from typing import Annotated

import typer

from ptb_s3._format.reader import Reader
from ptb_s3._history.deletion import DeletionPlan, carry_out
from ptb_s3._history.object_lock import is_lockable
from ptb_s3._history.prune import plan_prune
from ptb_s3._history.retention import Policy
from ptb_s3._storage.bucket_config import Bucket
from ptb_s3.cli import _output
from ptb_s3.cli._consent import agree
from ptb_s3.cli._deletion import deleted, plan_json, show_plan
from ptb_s3.cli._interruption import in_steps
from ptb_s3.cli._opened import Opened, Place, run
from ptb_s3.cli._options import DryRun, Json, Yes
from ptb_s3.cli._progress import progress
from ptb_s3.cli._wording import count
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
        # A state that cannot be read is not pruned: its versions may be all that is left of it.
        opened = await place.load_or_recover() if dry_run else Opened(await place.load(), None)
        today = opened.repository.base.identity.store
        plan = await _plan(place, policy, None if all_stores else today)
        if not json:
            show_plan(plan)
        if dry_run or not plan.versions:
            return plan, False
        agree(f"Delete {count(plan.versions, 'version')} for good?", yes=yes)
        with (
            in_steps(lambda: f"{deleted(plan)} {_AGAIN}"),
            progress("Deleting") as advance,
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


async def _plan(place: Place, policy: Policy, store_id: str | None) -> DeletionPlan:
    """Plan by the local zone.

    Raises:
        SettingsError: The bucket keeps no versions.
    """
    with progress("Opening the commits to keep") as advance:
        plan = await plan_prune(
            place.archive,
            Reader(place.keys),
            policy,
            None,
            advance,
            store_id=store_id,
            lockable=await is_lockable(Bucket(place.store)),
        )
    if not plan.versioned:
        raise SettingsError(
            "The bucket keeps no versions: there is no history to prune. Turn on versioning "
            "for the bucket to have one."
        )
    return plan
