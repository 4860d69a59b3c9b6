"""``ptb-s3 repair``: bring back the newest state that versions give, where none can be read.

The plan is `ptb_s3._engine.repair`'s: the objects to write anew, and what is lost for good. A loss
needs consent. Exit code: that of the fault, if a dry run or a refusal leaves it there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, NamedTuple

import typer

from ptb_s3._engine.loading import Recovery
from ptb_s3._engine.publication import publish
from ptb_s3._engine.repair import Losses, ObjectRepair, find_fault, losses, plan_repair
from ptb_s3._engine.repository import Repository
from ptb_s3._format.container import HEAD
from ptb_s3._format.entities import Kind
from ptb_s3._history.recovery import Found
from ptb_s3.cli import _output
from ptb_s3.cli._consent import agree
from ptb_s3.cli._interruption import in_steps, undisturbed
from ptb_s3.cli._opened import Place, refuse_to_exchange_keys, run
from ptb_s3.cli._options import DryRun, Json, Yes
from ptb_s3.cli._output import Graded, Severity
from ptb_s3.cli._progress import progress, steps
from ptb_s3.cli._table import table
from ptb_s3.cli._wording import count, runs, when, when_json
from ptb_s3.errors import PersistenceError

_AGAIN = "What is written so far is kept; run ptb-s3 repair again to go on."
_RUNNING = (
    "A bot that is running goes on from here by itself, with what it has not saved on top; one "
    "that was stopped can be started."
)


class _Outcome(NamedTuple):
    """Outcome of a repair, planned or done.

    Attributes:
        fault: Why the current state cannot be read, or is not the newest; None: there is no fault,
            or a store was named, so that none was looked for.
        recovery: The newest state; None: there is nothing to repair.
        made: The revision that it was committed as; None: nothing was committed.
    """

    fault: PersistenceError | None
    recovery: Recovery | None
    made: int | None = None


def repair(
    *,
    store: Annotated[
        str | None,
        typer.Option(metavar="ID", help="Whose state to bring back, if several stores lay here."),
    ] = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Bring back the newest state that the versions give, as a new commit on top of what is there.

    Nothing is deleted. Where the current state can be read, nothing is done.
    """

    async def work(place: Place) -> _Outcome:
        fault = None if store is not None else await find_fault(place.load, place.repository())
        if fault is None and store is None:
            return _Outcome(None, None)
        repository = place.repository()
        recovery = await place.recover(repository, store)
        if not json:
            _show(fault, recovery)
        if dry_run:
            return _Outcome(fault, recovery)
        refuse_to_exchange_keys(repository)
        if _lost(recovery.found):
            agree("Go on without that?", yes=yes)
        await _commit(repository)
        await place.load()  # proof that it can be read now
        return _Outcome(fault, recovery, repository.revision)

    outcome = run(work)
    if json:
        _output.result_json(_json(outcome))
    elif outcome.recovery is None:
        _output.result("The current state can be read: there is nothing to repair.")
    elif outcome.made is None:
        _output.result("Nothing was changed.")
    else:
        revision = outcome.recovery.found.header.revision
        _output.result(f"Brought back revision {revision}, as revision {outcome.made}.")
        _output.note(_RUNNING)
    if outcome.fault is not None and outcome.made is None:
        raise typer.Exit(outcome.fault.exit_code)


async def _commit(repository: Repository) -> None:
    """Write what the repair needs, head last."""
    with (
        in_steps(_AGAIN),
        undisturbed("Run ptb-s3 repair again, and see whether there is anything left to do."),
        progress("Writing") as advance,
    ):
        await publish(repository, steps(advance, len(Kind) + 1))


def _remedy(one: ObjectRepair, found: Found) -> str:
    """Say how an object is repaired."""
    header = found.header
    if one.name == HEAD:
        return f"a new commit, of revision {header.revision} ({when(header.created)})"
    if one.revision is None:
        return "nothing of it is left: it begins empty"
    if one.revision != header.revision:
        return f"written anew, as of revision {one.revision}"
    return "written anew" if one.is_written else "stays"


def _lost(found: Found) -> list[str]:
    """Say what does not come back, in sentences."""
    lost: Losses = losses(found)
    said = []
    if lost.revisions:
        newer = f"Newer commits that do not open: revision {runs(lost.revisions)}."
        said.append(f"{newer} {lost.fault}")
    if lost.unknown:
        said.append(f"{count(lost.unknown, 'newer version')} of head cannot be read at all.")
    said += [
        f"{kind.value}: changes after revision {of} are lost."
        if of is not None
        else f"{kind.value}: all of it is lost, since no version of it can be read."
        for kind, of in lost.kinds.items()
    ]
    return said


def _rows(recovery: Recovery) -> Sequence[tuple[str, str, str]]:
    """Return of each object its name, its fault and its remedy, head first."""
    return [
        (str(one.name), one.fault, _remedy(one, recovery.found)) for one in plan_repair(recovery)
    ]


def _show(fault: PersistenceError | None, recovery: Recovery) -> None:
    """Print the fault, the repair of each object, and the losses."""
    if fault is not None:
        _output.note(str(fault))
    table(
        ["object", "what is wrong", "what is done"],
        [[name, _graded(wrong), remedy] for name, wrong, remedy in _rows(recovery)],
    )
    for loss in _lost(recovery.found) or ["Nothing is lost."]:
        _output.note(loss)


def _graded(wrong: str) -> str:
    """Mark a fault as bad, and its absence as good."""
    return Graded(wrong, Severity.BAD) if wrong else Graded("nothing", Severity.GOOD)


def _json(outcome: _Outcome) -> dict[str, Any]:
    """Return the outcome as JSON."""
    recovery = outcome.recovery
    if recovery is None:
        return {"fault": None, "objects": [], "lost": [], "from": None, "revision": None}
    header = recovery.found.header
    return {
        "fault": None if outcome.fault is None else type(outcome.fault).__name__,
        "objects": [
            {"object": name, "wrong": wrong or None, "done": remedy}
            for name, wrong, remedy in _rows(recovery)
        ],
        "lost": _lost(recovery.found),
        "from": {"revision": header.revision, "created": when_json(header.created)},
        "revision": outcome.made,
    }
