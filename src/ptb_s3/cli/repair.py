"""``ptb-s3 repair`` and ``ptb-s3 begin-anew``: what to do where there is no readable state."""

from __future__ import annotations

from typing import Annotated, Any, NamedTuple

import typer

from ptb_s3._engine.head_builder import Operation
from ptb_s3._engine.loading import Recovery
from ptb_s3._engine.repository import Repository
from ptb_s3._format.container import HEAD
from ptb_s3._format.entities import Kind
from ptb_s3._history.current import Current
from ptb_s3._history.recovery import Found
from ptb_s3.cli import _output
from ptb_s3.cli._opened import LOST, DryRun, Json, Place, Yes, refuse_to_exchange_keys, run
from ptb_s3.cli._output import Graded, Severity, count, in_steps, when, when_json
from ptb_s3.cli.prune import agree, runs
from ptb_s3.cli.restore import undisturbed
from ptb_s3.errors import (
    ConflictError,
    DamagedObjectError,
    NothingThereError,
    PersistenceError,
    SettingsError,
    UnknownKeyError,
)

_SERIALIZER = "pickle5"  # the built-in one
_AGAIN = "What is written so far is kept; run ptb-s3 repair again to go on."
_RUNNING = (
    "A bot that is running goes on from here by itself, with what it has not saved on top; one "
    "that was stopped can be started."
)


class Row(NamedTuple):
    """What is said of one object.

    Attributes:
        name: The object.
        wrong: What is wrong with it; empty: nothing.
        remedy: What is done about it.
    """

    name: str
    wrong: str
    remedy: str


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

    async def work(place: Place) -> tuple[PersistenceError | None, Recovery | None, int | None]:
        fault = None if store is not None else await _fault(place)
        if fault is None and store is None:
            return None, None, None
        repository = place.repository()
        with _output.progress("Listing versions") as advance:
            recovery = await repository.recover(
                store_id=store, advance=lambda listed: advance(listed, None)
            )
        rows, lost = rows_of(recovery), losses(recovery.found)
        if not json:
            _show(fault, rows, lost)
        if dry_run:
            return fault, recovery, None
        refuse_to_exchange_keys(repository)
        if lost:
            agree("Go on without that?", yes=yes)
        await _commit(repository, len(rows))
        await place.load()  # and nobody has to take our word for it
        return fault, recovery, repository.revision

    fault, recovery, made = run(work)
    if json:
        _output.result_json(_json(fault, recovery, made))
    elif recovery is None:
        _output.result("The current state can be read: there is nothing to repair.")
    elif made is None:
        _output.result("Nothing was changed.")
    else:
        revision = recovery.found.header.revision
        _output.result(f"Brought back revision {revision}, as revision {made}.")
        _output.note(_RUNNING)
    if fault is not None and made is None:
        raise typer.Exit(fault.exit_code)


def begin_anew(
    version_id: Annotated[
        str,
        typer.Argument(metavar="VERSION", help="Id of the deleted head, as the error gives it."),
    ],
    *,
    bot: Annotated[
        int | None, typer.Option(help="Id of the bot, if no version of the old state opens.")
    ] = None,
) -> None:
    """Begin a new, empty state where one was deleted, whose versions stay where they are."""

    async def work(place: Place) -> None:
        identity = await _identity(place, bot)
        repository = place.repository(*identity, begin_anew=version_id)
        await repository.load()
        if repository.revision:
            raise ConflictError(
                f"There is a state here, at revision {repository.revision}. Nothing was changed."
            )
        await repository.commit(operation=Operation())

    run(work)
    _output.result("Began a new, empty state, as revision 1.")
    _output.note(
        "The deleted one's versions are still there: ptb-s3 repair --store brings it back."
    )


async def _identity(place: Place, bot: int | None) -> tuple[int, str]:
    """Return whose state it is to be, and what its values are made by: as the deleted one's."""
    repository = place.repository()
    try:
        found = (await repository.recover()).found
    except NothingThereError:
        if bot is None:
            raise SettingsError(
                "No version of the old state opens, so that nobody knows whose it was. Give --bot "
                "and the bot's id: the digits before ':' in its token."
            ) from None
        return bot, _SERIALIZER
    return bot or found.head.bot, found.header.serializer


async def _fault(place: Place) -> PersistenceError | None:
    """Return why the current state cannot be read, or is not the newest; None: neither."""
    try:
        base = (await place.load()).base
    except LOST as fault:
        if isinstance(fault, UnknownKeyError) and fault.in_history:
            raise  # whoever has that key may have made what is the newest
        return fault
    repository = place.repository()
    try:
        header = (await repository.recover()).found.header
    except NothingThereError:  # nothing but what is current
        return None
    if header.store != base.identity.store or base.head.has(
        header.revision, header.line, header.writer
    ):
        return None
    reason = f"it is revision {base.head.revision} again, after revision {header.revision} was made"
    return DamagedObjectError(HEAD, reason)


async def _commit(repository: Repository, steps: int) -> None:
    with (
        in_steps(_AGAIN),
        undisturbed("Run ptb-s3 repair again, and see whether there is anything left to do."),
        _output.progress("Writing") as advance,
    ):
        written: list[str] = []

        def done(name: str) -> None:
            written.append(name)
            advance(len(written), steps)

        await repository.mend(done)
        await repository.commit(publish=True, operation=Operation())
        done(HEAD)


def rows_of(recovery: Recovery) -> list[Row]:
    """Return what is said of each object, head first."""
    current, found = recovery
    return [_head_row(current[HEAD], found), *(_row(current[kind], kind, found) for kind in Kind)]


def _head_row(current: Current, found: Found) -> Row:
    revision = found.header.revision
    wrong = _wrong(current)
    if not wrong and current.header is not None and current.header != found.header:
        wrong = f"revision {current.header.revision}, and not the newest there is"
    return Row(HEAD, wrong, f"a new commit, of revision {revision} ({when(found.header.created)})")


def _row(current: Current, kind: Kind, found: Found) -> Row:
    head, of = found.head, found.of[kind]
    part = head.parts[kind]
    wrong = _wrong(current) if current.found is not None or part.ref is not None else ""
    header = current.header
    if (
        not wrong
        and header is not None
        and (header.store != found.header.store or not head.takes(kind, header))
    ):
        wrong = "of another state"
    if of is None:
        return Row(kind, wrong, "nothing of it is left: it begins empty")
    if of != found.header.revision:
        return Row(kind, wrong, f"written anew, as of revision {of}")
    return Row(kind, wrong, "written anew" if wrong else "stays")


def _wrong(current: Current) -> str:
    if current.found is None:
        return "gone"
    fault = current.fault
    return fault.reason if isinstance(fault, DamagedObjectError) else str(fault or "")


def losses(found: Found) -> list[str]:
    """Return what does not come back, in sentences."""
    lost = []
    revisions = {
        one.header.revision
        for one in found.unread
        if one.header is not None and one.header.store == found.header.store
    }
    if revisions:
        lost.append(
            f"Newer commits that do not open: revision {runs(revisions)}. {found.unread[0].fault}"
        )
    unknown = sum(one.header is None for one in found.unread)
    if unknown:
        lost.append(f"{count(unknown, 'newer version')} of head cannot be read at all.")
    lost += [
        f"{kind.value}: changes after revision {of} are lost."
        if of is not None
        else f"{kind.value}: all of it is lost, since no version of it can be read."
        for kind, of in found.of.items()
        if of != found.header.revision
    ]
    return lost


def _show(fault: PersistenceError | None, rows: list[Row], lost: list[str]) -> None:
    if fault is not None:
        _output.note(str(fault))
    _output.table(
        ["object", "what is wrong", "what is done"],
        [[row.name, _graded(row.wrong), row.remedy] for row in rows],
    )
    for loss in lost or ["Nothing is lost."]:
        _output.note(loss)


def _graded(wrong: str) -> str:
    return Graded(wrong, Severity.BAD) if wrong else Graded("nothing", Severity.GOOD)


def _json(
    fault: PersistenceError | None, recovery: Recovery | None, made: int | None
) -> dict[str, Any]:
    if recovery is None:
        return {"fault": None, "objects": [], "lost": [], "from": None, "revision": None}
    header = recovery.found.header
    return {
        "fault": None if fault is None else type(fault).__name__,
        "objects": [
            {"object": str(row.name), "wrong": row.wrong or None, "done": row.remedy}
            for row in rows_of(recovery)
        ],
        "lost": losses(recovery.found),
        "from": {"revision": header.revision, "created": when_json(header.created)},
        "revision": made,
    }
