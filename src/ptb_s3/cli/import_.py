"""``ptb-s3 import``: take over the state of a bot from a file or another store.

The plan is `ptb_s3._transfer.import_plan`'s. Afterwards everything is read back and compared. JSON:
``kinds`` with counts, ``left_out`` with the entities of a file that were left out, and ``revision``
(null where nothing was committed).
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Annotated, Any, NamedTuple

import typer

from ptb_s3._engine.publication import require_same
from ptb_s3._engine.repository import Repository
from ptb_s3._engine.rotation import seal_anew
from ptb_s3._format.committed import Base
from ptb_s3._format.entities import Changes, Kind
from ptb_s3._format.head import Head
from ptb_s3._jobs.listing import fault_of_job
from ptb_s3._transfer.import_plan import (
    SERIALIZER,
    Counts,
    ImportPlan,
    State,
    adopt_words,
    plan_import,
    require_built_in,
)
from ptb_s3.cli import _output
from ptb_s3.cli._consent import typed
from ptb_s3.cli._interruption import in_steps, undisturbed
from ptb_s3.cli._opened import Place, elsewhere, refuse_to_exchange_keys, run
from ptb_s3.cli._options import DryRun, Json
from ptb_s3.cli._parsing import S3_URL, split_url
from ptb_s3.cli._progress import progress
from ptb_s3.cli._table import table
from ptb_s3.cli._trust import Trusted, trusted_modules
from ptb_s3.cli._wording import count
from ptb_s3.errors import BucketNotFoundError, NothingThereError, SettingsError

_WHOSE = "Whose state is it? Give --bot and the bot's id: the digits before ':' in its token."
_IMPORTED = "The import itself is committed; ptb-s3 history shows it."
# Entities left out that are named in one line, and characters of each name.
_NAMES = 10
_CHARACTERS = 100


class _Outcome(NamedTuple):
    """Outcome of an import: counts by kind, entities left out, and the revision, if one was made.

    The entities left out are as JSON has them: kind, key and reason.
    """

    counts: Mapping[Kind, Counts]
    left_out: Sequence[dict[str, Any]]
    revision: int | None


Source = Annotated[
    str,
    typer.Argument(
        help="A file of PicklePersistence (or what the names of its five files begin with), a "
        "JSON file of DictPersistence's, or s3://bucket/prefix of another store.",
    ),
]
Merge = Annotated[
    bool, typer.Option("--merge", help="Add to a store that is not empty what it has not.")
]
Replace = Annotated[bool, typer.Option("--replace", help="With --merge: replace what it has, too.")]
SkipUnreadable = Annotated[
    bool,
    typer.Option(
        "--skip-unreadable", help="Leave out what cannot be taken over, by name, and go on."
    ),
]


class _Request(NamedTuple):
    """Request for an import, as the arguments give it."""

    source: str
    bot: int | None
    trusted: Sequence[str]
    merge: bool
    replace: bool
    skip_unreadable: bool

    @property
    def is_of_store(self) -> bool:
        """Return whether the source is another store rather than a file."""
        return self.source.startswith(S3_URL)

    def check(self) -> None:
        """Refuse options that do not go together.

        Raises:
            SettingsError: There are such.
        """
        if self.replace and not self.merge:
            raise SettingsError("--replace says how to merge: give --merge as well.")
        if self.skip_unreadable and self.is_of_store:
            raise SettingsError(
                "--skip-unreadable is for files: of a store, every value can be read."
            )


def import_(
    source: Source,
    *,
    bot: Annotated[
        int | None, typer.Option(min=1, help="Id of the bot: the digits before ':' in its token.")
    ] = None,
    trusted: Trusted = None,
    merge: Merge = False,
    replace: Replace = False,
    skip_unreadable: SkipUnreadable = False,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Take over the state of a bot from another place, then read it back and compare."""
    request = _Request(source, bot, trusted_modules(trusted), merge, replace, skip_unreadable)
    request.check()
    if bot is None and not request.is_of_store:
        request = request._replace(bot=_ask_whose())
    outcome = run(partial(_import, request=request, dry_run=dry_run, json=json))
    if json:
        _output.result_json(_json(outcome))
    elif outcome.revision is None:
        _output.result("Nothing was changed.")
    else:
        what = count(sum(one.imported for one in outcome.counts.values()), "entity", "entities")
        _output.result(f"Imported {what} as revision {outcome.revision}; read back, the same.")


async def _import(place: Place, *, request: _Request, dry_run: bool, json: bool) -> _Outcome:
    """Read the source, plan the import, show the plan, and carry it out unless it is a dry run."""
    left_out: list[dict[str, Any]] = []
    state, head = await _read(place, request, left_out)
    repository = await _load(place, request.bot, head)
    words = None if head is None else head.words
    state = adopt_words(repository, state, words, _share_words)
    plan = plan_import(repository, state, merge=request.merge, replace=request.replace)
    if not json:
        _show(plan, left_out)
    if dry_run or not any(plan.changes.values()):
        return _Outcome(plan.counts, left_out, None)
    refuse_to_exchange_keys(repository)
    await _commit(place, repository, plan.changes)
    if not json:
        _output.note("A bot that is running takes this over with its next commit.")
    return _Outcome(plan.counts, left_out, repository.revision)


def _ask_whose() -> int:
    """Ask for the bot's id, which no file gives, before anything takes time.

    Raises:
        SettingsError: Nobody is there to ask.
    """
    if not sys.stdin.isatty():
        raise SettingsError(_WHOSE)
    while True:
        try:
            answer = typed("Whose state is it? Id of the bot, the digits before ':' in its token: ")
        except EOFError:
            raise SettingsError(_WHOSE) from None
        if answer.isascii() and answer.isdigit():
            return int(answer)
        _output.note("A bot's id is digits alone.")


async def _read(
    place: Place, request: _Request, left_out: list[dict[str, Any]]
) -> tuple[State, Head | None]:
    """Read the entities to import, and the head they come with if the source is another store.

    Args:
        place: Where they go; another store is opened with its keys.
        request: The source, and how to read it.
        left_out: Filled with the entities of a file that are left out.
    """
    if request.is_of_store:
        base = await _base_of(place, request.source)
        require_built_in(base.identity.serializer)
        return base.entities, base.head
    from ptb_s3._transfer.file_formats import read_file  # noqa: PLC0415 - takes a second
    from ptb_s3._transfer.maps import Skipped  # noqa: PLC0415 - as above

    def note(skipped: Skipped) -> None:
        left_out.append(skipped._asdict())

    with progress("Reading") as advance:
        state = read_file(
            request.source,
            trusted=request.trusted,
            progress=advance,
            note=note,
            skip_unreadable=request.skip_unreadable,
            vet_job=fault_of_job,
        )
    return state, None


async def _base_of(place: Place, source: str) -> Base:
    """Read the state of another store, opened with the same keys.

    Raises:
        NothingThereError: There is no bucket, or no state.
        PersistenceError: It cannot be read.
    """
    bucket, prefix = split_url(source)
    async with elsewhere(place, bucket, prefix) as other:
        try:
            return (await other.load()).base
        except BucketNotFoundError:
            raise NothingThereError(f"There is no bucket {bucket!r} to import from.") from None
        except NothingThereError:
            raise NothingThereError(
                f"There is nothing to import at {source}: no bot has saved any state there. A "
                "prefix is taken to the letter, with the slash at its end if it has one."
            ) from None


async def _load(place: Place, bot: int | None, head: Head | None) -> Repository:
    """Load the state to import into, of the bot that was named or that the source is of.

    Raises:
        SettingsError: Neither is known.
    """
    owner = bot or (None if head is None else head.bot)
    repository = place.repository(owner, SERIALIZER)
    if owner is None:
        raise SettingsError(_WHOSE)
    await repository.load()
    return repository


def _share_words(state: State) -> tuple[State, tuple[str, ...]]:
    """Find the words that values from a file share, and put references in their place."""
    from ptb_s3._transfer.maps import share_words  # noqa: PLC0415 - takes a second

    with progress("Looking for words") as advance:
        return share_words(state, advance)


async def _commit(place: Place, repository: Repository, changes: Changes) -> None:
    """Commit, write the blobs, then read all of it back and compare."""
    with in_steps("ptb-s3 status says whether the import was committed."):
        with undisturbed("Nothing was imported: run the same command again."):
            await repository.commit_only(changes)
        with undisturbed(_IMPORTED), progress("Writing") as advance:
            await seal_anew(repository, repository.written_kinds(), advance)
    require_same(repository.base, (await place.load()).base, "imported")


def _show(plan: ImportPlan, left_out: Sequence[dict[str, Any]]) -> None:
    """Print what is left out, and how many entities of each kind are imported."""
    _say_left_out(left_out)
    columns = ["found", "to import", "there already"]
    rows = [[kind.value, *(f"{n:,}" for n in counts)] for kind, counts in plan.counts.items()]
    table(["kind", *columns], rows, right=columns)


def _say_left_out(left_out: Sequence[dict[str, Any]]) -> None:
    """Name the entities that were left out, all that are for the same reason in one line."""
    keys: dict[tuple[str | None, str], list[str]] = {}
    for one in left_out:
        keys.setdefault((one["kind"], one["reason"]), []).append(_named(one["key"]))
    for (kind, reason), names in keys.items():
        more = f" and {len(names) - _NAMES:,} more" if len(names) > _NAMES else ""
        what = f"{kind or 'the key'} {', '.join(names[:_NAMES])}{more}".strip()
        _output.warning(f"Left out: {what} ({reason}).")


def _named(key: object) -> str:
    """Return the key of an entity for a line, cut to `_CHARACTERS`."""
    return "" if key is None else repr(key)[:_CHARACTERS]


def _json(outcome: _Outcome) -> dict[str, Any]:
    """Return the outcome as JSON."""
    return {
        "kinds": {kind.value: counts._asdict() for kind, counts in outcome.counts.items()},
        "left_out": outcome.left_out,
        "revision": outcome.revision,
    }
