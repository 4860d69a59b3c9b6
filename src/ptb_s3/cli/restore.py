"""``ptb-s3 restore``: bring back an older state as a new commit.

The plan is `ptb_s3._engine.restore`'s, and which jobs have run since is said by
`ptb_s3._jobs.going_back`. Where the current state cannot be read, it goes by the
newest one that versions give, and a commit is made even if nothing changes.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from ptb_s3._engine.past_jobs import JudgePastJob, PastJobs
from ptb_s3._engine.restore import Counts, RestorePlan, plan_restore, snapshot_of
from ptb_s3._engine.restore import restore as commit_restore
from ptb_s3._format.container import Header
from ptb_s3._format.entities import EntityKey, Kind
from ptb_s3._history.history import Snapshot
from ptb_s3._jobs.going_back import JobsOfPast
from ptb_s3.cli import _output
from ptb_s3.cli._interruption import in_steps, undisturbed
from ptb_s3.cli._opened import Place, refuse_to_exchange_keys, run
from ptb_s3.cli._options import POINT, DryRun, Json, OfStore
from ptb_s3.cli._parsing import key_of, key_text, kind_of, point
from ptb_s3.cli._table import table
from ptb_s3.cli._wording import count, when, when_json
from ptb_s3.errors import SettingsError

_RUNNING = (
    "A bot that is running takes this over with its next commit, with what it has changed itself "
    "on top. Restart it to have it go on from here at once."
)


def restore(
    to: Annotated[
        str | None, typer.Argument(metavar="POINT", help=f"{POINT}.", show_default=False)
    ] = None,
    *,
    store: OfStore = None,
    kind: Annotated[str | None, typer.Option(help="Only this kind, such as user_data.")] = None,
    entity: Annotated[
        str | None, typer.Option(help="Only this entity of the kind, by its key.")
    ] = None,
    overdue_jobs: Annotated[
        bool,
        typer.Option("--overdue-jobs", help="Bring back jobs that are overdue; they run again."),
    ] = False,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Bring back an older state as a new commit. Nothing is overwritten: it can be undone."""
    only, key = _part(kind, entity)
    if to is None and store is None:
        raise SettingsError("Give a point to go back to: a revision, a time or a version id.")
    request = None if to is None else point(to)

    async def work(place: Place) -> tuple[RestorePlan, int | None]:
        repository, fault = await place.load_or_recover()
        snapshot = await snapshot_of(repository, place.repository(), request, store)
        plan = plan_restore(
            repository,
            snapshot,
            kind=only,
            key=key,
            whole=fault is not None,
            judge=_judge(snapshot, only),
            overdue_jobs=overdue_jobs,
        )
        if not json:
            _show(plan.header, plan.counts)
            _tell_jobs(plan.jobs, brought_back=overdue_jobs)
        if dry_run or not plan.is_needed:
            return plan, None
        refuse_to_exchange_keys(repository)
        with (
            in_steps("ptb-s3 history says whether the restore was committed."),
            undisturbed("Nothing was restored: run the same command again."),
        ):
            await commit_restore(repository, plan)
        return plan, repository.revision

    plan, made = run(work)
    if json:
        _output.result_json(_json(plan, made))
    elif made is not None:
        _output.result(f"Restored as revision {made}.")
        _output.note(f"{_RUNNING} To undo it: ptb-s3 restore {plan.before}")
    elif any(plan.changes.values()):
        _output.result("Nothing was changed.")
    else:
        _output.result("The state is like that already. Nothing was changed.")


def _part(kind: str | None, entity: str | None) -> tuple[Kind | None, EntityKey | None]:
    """Return the kind to bring back and the entity of it, each None for all.

    Raises:
        SettingsError: There is no such kind, or an entity is given without its kind.
    """
    only = None if kind is None else kind_of(kind)
    if entity is not None and only is None:
        raise SettingsError("--entity needs --kind: keys are those of one kind.")
    return only, None if entity is None or only is None else key_of(only, entity)


def _judge(snapshot: Snapshot, only: Kind | None) -> JudgePastJob | None:
    """Return what tells which jobs of an older state have run since, or None without jobs."""
    if only not in (None, Kind.JOBS) or not snapshot.entities[Kind.JOBS]:
        return None
    from ptb_s3._values.transcoder import Transcoder  # noqa: PLC0415 - takes a second

    return JobsOfPast(Transcoder(), datetime.now(UTC))


def _tell_jobs(jobs: PastJobs, *, brought_back: bool) -> None:
    """Say what becomes of the jobs that are overdue in the older state."""
    left_out, going_on = len(jobs.left_out), len(jobs.going_on)
    if brought_back and (left_out or going_on):
        number = count(left_out + going_on, "job")
        _output.note(f"Brought back, though overdue by now: {number}. A bot runs them at once.")
        return
    if left_out:
        _output.note(
            "Left out, since overdue by now and not there any more (run since, or cancelled): "
            f"{count(left_out, 'job')}. --overdue-jobs brings back such jobs, and they run again."
        )
    if going_on:
        _output.note(f"Next due when they are now, since they have run: {count(going_on, 'job')}.")


def _show(header: Header, counted: Mapping[Kind, Counts]) -> None:
    """Print what a restore changes, by kind."""
    _output.result(f"Back to revision {header.revision}, of {when(header.created)}:")
    table(
        ["kind", "added", "changed", "removed"],
        [[kind.value, *(f"{number:,}" for number in counts)] for kind, counts in counted.items()],
        right=["added", "changed", "removed"],
    )


def _json(plan: RestorePlan, made: int | None) -> dict[str, Any]:
    """Return the plan as JSON, with the keys of changed entities and the new revision, if any.

    ``overdue_jobs`` has the keys of the jobs that are left out, and of those that keep their next
    run, unless ``--overdue-jobs`` brings both back as they were.
    """
    header, changes = plan.header, plan.changes
    return {
        "from": {"revision": header.revision, "created": when_json(header.created)},
        "changes": {kind.value: list(map(key_text, changed)) for kind, changed in changes.items()},
        "overdue_jobs": {
            "left_out": list(map(key_text, plan.jobs.left_out)),
            "going_on": list(map(key_text, plan.jobs.going_on)),
        },
        "revision": made,
    }
