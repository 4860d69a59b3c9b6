"""``ptb-s3 forget``: erase a user or chat, now and from whatever is brought back later."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from ptb_s3._format.committed import Base, Reader
from ptb_s3._format.entities import Kind
from ptb_s3._format.erasure import subjects
from ptb_s3._history.deletion import DeletionPlan, carry_out
from ptb_s3._history.object_lock import is_lockable, locked_until
from ptb_s3._history.purge import plan_purge
from ptb_s3._history.remains import Remains, keeps_versions, remains
from ptb_s3._storage.bucket_config import Bucket
from ptb_s3.cli import _output
from ptb_s3.cli._opened import DryRun, Json, Place, Yes, refuse_to_exchange_keys, run
from ptb_s3.cli._output import count, in_steps
from ptb_s3.cli._remains import remains_json, told
from ptb_s3.cli.prune import agree, deleted, plan_json, runs, show_plan
from ptb_s3.cli.restore import undisturbed
from ptb_s3.errors import ConflictError, NoHistoryError, PersistenceError

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
    """Erase a user or chat: its data, and the conversations whose keys have its id.

    What is current is sealed anew without it, and no older state that is shown or brought back
    will have it again. Older versions hold it until the bucket's lifecycle rule removes them;
    --purge deletes them at once.
    """

    async def work(place: Place) -> dict[str, Any]:
        repository = await place.load()
        reader = Reader(place.keys)
        found = _found(repository.base, subject)
        plan = await _planned(place, reader, subject) if purge else None
        left = await remains(Bucket(place.store), place.store.prefix, datetime.now(UTC))
        if purge and (plan is None or not plan.versioned):
            left = left._replace(versioned=await keeps_versions(Bucket(place.store)))
        if not json:
            _say(found, plan if left.versioned else None)
            for sentence in told(left, purged=purge):
                _output.note(sentence)
        if dry_run:
            return _outcome(found, plan, left, done=False)
        refuse_to_exchange_keys(repository)
        agree("Erase it for good?", yes=yes)
        with in_steps(_AGAIN), undisturbed(_AGAIN), _output.progress("Erasing") as advance:
            await repository.erase(subject)
            kinds = repository.written_kinds()
            names: list[str] = []

            def sealed(name: str) -> None:
                names.append(name)
                advance(len(names), len(kinds) + 1)

            await repository.seal_anew(kinds, sealed)
        if plan is not None:
            plan, searched = await _purge(place, reader, subject)
            return {**_outcome(found, plan, left, done=True), "searched": searched}
        return _outcome(found, plan, left, done=True)

    outcome = run(work)
    if json:
        _output.result_json(outcome)
    elif outcome["done"]:
        _show_done(outcome, purge=purge)
    else:
        _output.result("Nothing was changed.")


def _show_done(outcome: dict[str, Any], *, purge: bool) -> None:
    _output.result("Erased, and everything current sealed anew.")
    if purge and outcome["left"]["versioned"]:
        gone, searched = outcome["purge"]["delete"]["versions"], outcome["searched"]
        _output.result(f"Deleted {count(gone, 'older version')} that held it.")
        _output.result(f"None of the {count(searched, 'version')} that remain holds it.")
    _output.note(_NOT_LOOKED_INTO)


def _found(base: Base, subject: int) -> dict[Kind, int]:
    return {
        kind: sum(subject in subjects(kind, key) for key in entities)
        for kind, entities in base.entities.items()
    }


async def _planned(place: Place, reader: Reader, subject: int) -> DeletionPlan | None:
    """Find the versions that hold it; None where the storage keeps none.

    Raises:
        NoHistoryError: It keeps some, and does not list them.
    """
    try:
        return await _search(place, reader, subject)
    except NoHistoryError as error:
        if await keeps_versions(Bucket(place.store)):
            raise NoHistoryError(_KEPT_AND_NOT_LISTED) from error
        return None


async def _search(place: Place, reader: Reader, subject: int) -> DeletionPlan:
    with _output.progress("Searching versions") as advance:
        return await plan_purge(
            place.store, reader, subject, advance, lockable=await is_lockable(Bucket(place.store))
        )


async def _purge(place: Place, reader: Reader, subject: int) -> tuple[DeletionPlan, int]:
    """Delete every version that holds it; then search all that remain, and count them."""
    plan: DeletionPlan | None = None
    with in_steps(lambda: f"{'' if plan is None else f'{deleted(plan)} '}{_AGAIN}"):
        plan = await _search(place, reader, subject)
        _refuse_current(plan)
        with _output.progress("Deleting") as advance:
            await carry_out(place.store, plan, advance)
        left = await _search(place, reader, subject)
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
    return plan, left.searched


def _refuse_current(plan: DeletionPlan) -> None:
    """Stop before a current object is deleted: it holds the erased again, by another's commit."""
    if plan.current:
        raise ConflictError(
            f"A running bot has saved it again, into {', '.join(plan.current)}. Nothing was "
            "purged. Stop the bot, then run the same command again."
        )


def _say(found: dict[Kind, int], plan: DeletionPlan | None) -> None:
    _output.table(
        ["kind", "entities to erase"],
        [[kind.value, f"{number:,}"] for kind, number in found.items()],
        right=["entities to erase"],
    )
    if not any(found.values()):
        _output.note("Nothing current is that id's; older versions may still hold it.")
    if plan is not None:
        _output.result("")
        show_plan(plan)
        _output.result(f"Restore points that go with them: {_lost(plan)}.")


def _lost(plan: DeletionPlan) -> str:
    return runs(header.revision for header in plan.lost)


def _outcome(
    found: dict[Kind, int], plan: DeletionPlan | None, left: Remains, *, done: bool
) -> dict[str, Any]:
    return {
        "entities": {kind.value: number for kind, number in found.items()},
        "purge": plan and {**plan_json(plan), "lost": [header.revision for header in plan.lost]},
        "left": remains_json(left),
        "done": done,
    }
