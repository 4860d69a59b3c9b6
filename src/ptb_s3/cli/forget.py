"""``ptb-s3 forget``: erase a user or chat, now and from whatever is brought back later.

Three parts, each of which may be repeated: the erasure in the current objects
(`ptb_s3._engine.erase`), the purge of older versions on demand (`ptb_s3._history.purge`), and the
account of the copies that are left (`ptb_s3._history.remains`).
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, NamedTuple

import typer

from ptb_s3._engine.erase import count_held, erase
from ptb_s3._format.entities import Kind
from ptb_s3._format.reader import Reader
from ptb_s3._history.deletion import DeletionPlan, carry_out
from ptb_s3._history.object_lock import is_lockable, locked_until
from ptb_s3._history.purge import plan_purge, refuse_current
from ptb_s3._history.remains import Remains, keeps_versions, remains
from ptb_s3._storage.bucket_config import Bucket
from ptb_s3.cli import _output
from ptb_s3.cli._consent import agree
from ptb_s3.cli._deletion import deleted, plan_json, show_plan
from ptb_s3.cli._interruption import in_steps, undisturbed
from ptb_s3.cli._opened import Place, refuse_to_exchange_keys, run
from ptb_s3.cli._options import DryRun, Json, Yes
from ptb_s3.cli._progress import progress
from ptb_s3.cli._remains import remains_json, told
from ptb_s3.cli._table import table
from ptb_s3.cli._wording import count, runs
from ptb_s3.errors import NoHistoryError, PersistenceError

_NOT_LOOKED_INTO = (
    "Not looked into: what bot_data, callback_data and the data of others say of that id. Not "
    "reached: replicas and backups of the bucket, and what the bot's memory and logs hold. Restart "
    "the bot if it is running, so that it does not save again what it still remembers."
)
_KEPT_AND_NOT_LISTED = (
    "The bucket keeps versions and the storage does not list them, so none can be purged. They go "
    "by the bucket's lifecycle rule; to erase it now and leave them to that, run the same command "
    "without --purge."
)
_AGAIN = "Run the same command again to go on; what is done stays done."


class _Outcome(NamedTuple):
    """Outcome of an erasure, planned or done.

    Attributes:
        held: How many current entities of each kind are erased.
        plan: The older versions to delete; None: they are not purged, or there are none.
        left: The copies that the bucket keeps.
        done: Whether it is done.
        searched: How many versions were searched after the purge; None: there was none.
    """

    held: dict[Kind, int]
    plan: DeletionPlan | None
    left: Remains
    done: bool = False
    searched: int | None = None


def forget(
    subject: Annotated[
        int,
        typer.Argument(metavar="ID", help="The user's or chat's; a private chat has its user's."),
    ],
    *,
    purge: Annotated[
        bool, typer.Option("--purge", help="Delete the older versions that hold it, too.")
    ] = False,
    dry_run: DryRun = False,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Erase a user or chat: its data and jobs, and the conversations whose keys have its id.

    What is current is sealed anew without it, and no older state that is shown or brought back
    will have it again. Older versions hold it until the bucket's lifecycle rule removes them;
    --purge deletes them at once.
    """

    async def work(place: Place) -> _Outcome:
        repository = await place.load()
        outcome = _Outcome(
            count_held(repository.base, subject),
            await _planned(place, subject) if purge else None,
            await _remains(place),
        )
        if purge and (outcome.plan is None or not outcome.plan.versioned):
            kept = await keeps_versions(Bucket(place.store))
            outcome = outcome._replace(left=outcome.left._replace(versioned=kept))
        if not json:
            _show(outcome, purge=purge)
        if dry_run:
            return outcome
        refuse_to_exchange_keys(repository)
        agree("Erase it for good?", yes=yes)
        with in_steps(_AGAIN), undisturbed(_AGAIN), progress("Erasing") as advance:
            await erase(repository, subject, advance)
        if outcome.plan is not None:
            plan, searched = await _purge(place, subject)
            outcome = outcome._replace(plan=plan, searched=searched)
        return outcome._replace(done=True)

    outcome = run(work)
    if json:
        _output.result_json(_json(outcome))
    elif outcome.done:
        _show_done(outcome, purge=purge)
    else:
        _output.result("Nothing was changed.")


async def _remains(place: Place) -> Remains:
    """Ask the bucket which copies it keeps of what is replaced now."""
    return await remains(Bucket(place.store), place.store.prefix, datetime.now(UTC))


async def _planned(place: Place, subject: int) -> DeletionPlan | None:
    """Plan which versions hold data of the id, or return None where the storage keeps none.

    Raises:
        NoHistoryError: It keeps some, and does not list them.
    """
    try:
        return await _search(place, subject)
    except NoHistoryError as error:
        if await keeps_versions(Bucket(place.store)):
            raise NoHistoryError(_KEPT_AND_NOT_LISTED) from error
        return None


async def _search(place: Place, subject: int) -> DeletionPlan:
    """Plan which versions hold data of the id, and go."""
    with progress("Searching versions") as advance:
        lockable = await is_lockable(Bucket(place.store))
        return await plan_purge(
            place.archive, Reader(place.keys), subject, advance, lockable=lockable
        )


async def _purge(place: Place, subject: int) -> tuple[DeletionPlan, int]:
    """Delete every version that holds data of the id, then search and count those that remain.

    It is planned anew: the versions that were current until just now hold it, too.
    """
    plan: DeletionPlan | None = None
    with in_steps(lambda: f"{'' if plan is None else f'{deleted(plan)} '}{_AGAIN}"):
        plan = await _search(place, subject)
        refuse_current(plan)
        with progress("Deleting") as advance:
            await carry_out(place.store, plan, advance)
        left = await _search(place, subject)
    _refuse_left(plan, left)
    return plan, left.searched


def _refuse_left(plan: DeletionPlan, left: DeletionPlan) -> None:
    """Stop where versions that hold data of the id are left after all.

    Args:
        plan: What was deleted.
        left: What would go by now.

    Raises:
        PersistenceError: Some came up meanwhile, or are locked.
    """
    if left.versions:
        raise PersistenceError(
            f"{count(left.versions, 'version')} that hold it came up meanwhile: {_AGAIN}"
        )
    locked = locked_until(left.locked)
    if locked:
        raise PersistenceError(
            f"It is erased, and older versions hold it that nobody can delete yet: {locked}. "
            f"{deleted(plan)} Run the same command again when that is over."
        )


def _show(outcome: _Outcome, *, purge: bool) -> None:
    """Print what is to be erased and purged, and which copies are left."""
    table(
        ["kind", "entities to erase"],
        [[kind.value, f"{number:,}"] for kind, number in outcome.held.items()],
        right=["entities to erase"],
    )
    if not any(outcome.held.values()):
        _output.note("Nothing current is that id's; older versions may still hold it.")
    if outcome.plan is not None and outcome.left.versioned:
        _output.result("")
        show_plan(outcome.plan)
        lost = runs(header.revision for header in outcome.plan.lost)
        _output.result(f"Restore points that go with them: {lost}.")
    for sentence in told(outcome.left, purged=purge):
        _output.note(sentence)


def _show_done(outcome: _Outcome, *, purge: bool) -> None:
    """Say that it is erased, and what was not looked into."""
    _output.result("Erased, and everything current sealed anew.")
    if purge and outcome.left.versioned and outcome.plan is not None:
        _output.result(f"Deleted {count(outcome.plan.versions, 'older version')} that held it.")
        searched = count(outcome.searched or 0, "version")
        _output.result(f"None of the {searched} that remain holds it.")
    _output.note(_NOT_LOOKED_INTO)


def _json(outcome: _Outcome) -> dict[str, Any]:
    """Return the outcome as JSON."""
    plan = outcome.plan
    told = {
        "entities": {kind.value: number for kind, number in outcome.held.items()},
        "purge": plan and {**plan_json(plan), "lost": [header.revision for header in plan.lost]},
        "left": remains_json(outcome.left),
        "done": outcome.done,
    }
    return told if outcome.searched is None else {**told, "searched": outcome.searched}
