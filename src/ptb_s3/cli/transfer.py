"""``ptb-s3 import`` and ``ptb-s3 export``: between a store and other places for a bot's state."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from ptb_s3._engine.repository import Repository
from ptb_s3._format.committed import Base
from ptb_s3._format.entities import Changes, Entities, Kind
from ptb_s3._format.head import Head
from ptb_s3._format.words import spell_out
from ptb_s3.cli import _output
from ptb_s3.cli._opened import (
    POINT,
    DryRun,
    Json,
    OfStore,
    Place,
    elsewhere,
    point,
    refuse_to_exchange_keys,
    run,
    split_url,
)
from ptb_s3.cli._output import count, in_steps
from ptb_s3.cli.restore import undisturbed
from ptb_s3.errors import (
    BucketNotFoundError,
    ConflictError,
    DamagedObjectError,
    NothingThereError,
    SettingsError,
)

_JSON = ".json"
_WHOSE = "Whose state is it? Give --bot and the bot's id: the digits before ':' in its token."
_S3 = "s3://"
_IMPORTED = "The import itself is committed; ptb-s3 history shows it."
_SERIALIZER = "pickle5"  # the only one whose values can be taken over by other than the bot
_TRUSTED = ("__main__",)  # as every bot does by default; the rest of its default is its own folder
# Names of what was left out in one line, and characters of each.
_NAMES = 10
_CHARACTERS = 100
State = Mapping[Kind, Entities]
Trusted = Annotated[
    list[str] | None,
    typer.Option(
        help="A module whose classes may be in a pickle file, besides __main__; may be given "
        "repeatedly. None is imported."
    ),
]


def import_(
    source: Annotated[
        str,
        typer.Argument(
            help="A file of PicklePersistence (or what the names of its five files begin with), a "
            "JSON file of DictPersistence's, or s3://bucket/prefix of another store.",
        ),
    ],
    *,
    bot: Annotated[
        int | None, typer.Option(min=1, help="Id of the bot: the digits before ':' in its token.")
    ] = None,
    trusted: Trusted = None,
    merge: Annotated[
        bool, typer.Option("--merge", help="Add to a store that is not empty what it has not.")
    ] = False,
    replace: Annotated[
        bool, typer.Option("--replace", help="With --merge: replace what it has, too.")
    ] = False,
    skip_unreadable: Annotated[
        bool,
        typer.Option(
            "--skip-unreadable", help="Leave out what cannot be taken over, by name, and go on."
        ),
    ] = False,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Take over the state of a bot from another place, then read it back and compare."""
    if replace and not merge:
        raise SettingsError("--replace says how to merge: give --merge as well.")
    if skip_unreadable and source.startswith(_S3):
        raise SettingsError("--skip-unreadable is for files: of a store, every value can be read.")
    if bot is None and not source.startswith(_S3):
        bot = _ask_whose()

    async def work(place: Place) -> dict[str, Any]:
        left_out: list[dict[str, Any]] = []
        names = [*_TRUSTED, *(trusted or ())]
        state, head = await _read(place, source, names, left_out, skip_unreadable=skip_unreadable)
        owner = None if head is None else head.bot
        repository = place.repository(bot or owner, _SERIALIZER)
        await _load(repository, known=bot or owner)
        state = _with_words(repository, state, head)
        changes = _changes(repository, state, merge=merge, replace=replace)
        outcome = {**_counted(state, changes), "left_out": left_out}
        if not json:
            _say_left_out(left_out)
            _show(outcome)
        if dry_run or not any(changes.values()):
            return {**outcome, "revision": None}
        refuse_to_exchange_keys(repository)
        await _commit(place, repository, changes, json=json)
        return {**outcome, "revision": repository.revision}

    outcome = run(work)
    if json:
        _output.result_json(outcome)
    elif outcome["revision"] is None:
        _output.result("Nothing was changed.")
    else:
        total = sum(kind["imported"] for kind in outcome["kinds"].values())
        what = count(total, "entity", "entities")
        _output.result(f"Imported {what} as revision {outcome['revision']}; read back, the same.")


def _ask_whose() -> int:
    """Ask for what no file says, before anything takes time.

    Raises:
        SettingsError: Nobody is there to ask.
    """
    if not sys.stdin.isatty():
        raise SettingsError(_WHOSE)
    answer: int = typer.prompt(
        "Whose state is it? Id of the bot, the digits before ':' in its token",
        type=int,
        err=True,
    )
    return answer


async def _read(
    place: Place,
    source: str,
    trusted: list[str],
    left_out: list[dict[str, Any]],
    *,
    skip_unreadable: bool,
) -> tuple[State, Head | None]:
    """Return what is to be imported, and the head if it is another store's; list the rest."""
    if source.startswith(_S3):
        base = await _base_of(place, source)
        _refuse_other_serializer(base.identity.serializer)
        return base.entities, base.head
    # These import telegram.ext, which takes a second.
    from ptb_s3._transfer.json_files import read_json  # noqa: PLC0415 - see above
    from ptb_s3._transfer.maps import Skipped  # noqa: PLC0415 - as above
    from ptb_s3._transfer.pickle_files import read_pickle_persistence  # noqa: PLC0415 - as above

    def note(skipped: Skipped) -> None:
        left_out.append(skipped._asdict())

    with _output.progress("Reading") as advance:
        if source.endswith(_JSON):
            skip = note if skip_unreadable else None
            return read_json(Path(source), progress=advance, skip=skip), None
        state = read_pickle_persistence(
            Path(source),
            trusted=trusted,
            progress=advance,
            note=note,
            skip_unreadable=skip_unreadable,
        )
        return state, None


def _say_left_out(left_out: list[dict[str, Any]]) -> None:
    """Name what was left out; of entities that are for the same reason, all in one line."""
    keys: dict[tuple[str | None, str], list[str]] = {}
    for one in left_out:
        keys.setdefault((one["kind"], one["reason"]), []).append(_named(one["key"]))
    for (kind, reason), names in keys.items():
        more = f" and {len(names) - _NAMES:,} more" if len(names) > _NAMES else ""
        what = f"{kind or 'the key'} {', '.join(names[:_NAMES])}{more}".strip()
        _output.warning(f"Left out: {what} ({reason}).")


def _named(key: object) -> str:
    return "" if key is None else repr(key)[:_CHARACTERS]


def _with_words(repository: Repository, state: State, source: Head | None) -> State:
    """Return values with the words that they refer to: a new store's, or those of each.

    Args:
        repository: Where they go.
        state: The values.
        source: The head of the store that they come from, if they do.
    """
    if repository.revision == 0:
        words = () if source is None else source.words
        if source is None:
            from ptb_s3._transfer.maps import share_words  # noqa: PLC0415 - as in `_read`

            with _output.progress("Looking for words") as advance:
                state, words = share_words(state, advance)
        repository.suggest(words)
    elif source is not None and repository.words[: len(source.words)] != source.words:
        state = _spelled_out(state, source.words)
    return state


def _spelled_out(state: State, words: tuple[str, ...]) -> State:
    return {
        kind: {key: spell_out(value, words) for key, value in entities.items()}
        for kind, entities in state.items()
    }


async def _base_of(place: Place, source: str) -> Base:
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


async def _load(repository: Repository, *, known: int | None) -> None:
    if known is None:
        raise SettingsError(_WHOSE)
    await repository.load()


def _changes(repository: Repository, state: State, *, merge: bool, replace: bool) -> Changes:
    """Return what an import changes.

    Raises:
        ConflictError: The store is not empty, and nobody has said to merge.
    """
    present = repository.base.entities
    if repository.revision and not merge:
        raise ConflictError(
            f"The store is not empty: it is at revision {repository.revision}. Nothing was "
            "changed. Import into another prefix, or pass --merge to add what it has not."
        )
    return {
        kind: {
            key: value
            for key, value in entities.items()
            if key not in present[kind] or (replace and present[kind][key] != value)
        }
        for kind, entities in state.items()
    }


def _counted(state: State, changes: Changes) -> dict[str, Any]:
    return {
        "kinds": {
            kind.value: {
                "found": len(state.get(kind, {})),
                "imported": len(changes.get(kind, {})),
                "kept": len(state.get(kind, {})) - len(changes.get(kind, {})),
            }
            for kind in Kind
        }
    }


def _show(outcome: Mapping[str, Any]) -> None:
    columns = ["found", "imported", "kept"]
    _output.table(
        ["kind", "found", "to import", "there already"],
        [
            [kind, *(f"{numbers[column]:,}" for column in columns)]
            for kind, numbers in outcome["kinds"].items()
        ],
        right=["found", "to import", "there already"],
    )


async def _commit(place: Place, repository: Repository, changes: Changes, *, json: bool) -> None:
    """Commit, write the blobs, then read all of it back and compare."""
    with in_steps("ptb-s3 status says whether the import was committed."):
        with undisturbed("Nothing was imported: run the same command again."):
            await repository.commit_only(changes)
        with undisturbed(_IMPORTED), _output.progress("Writing") as advance:
            kinds = repository.written_kinds()
            written: list[str] = []

            def done(name: str) -> None:
                written.append(name)
                advance(len(written), len(kinds) + 1)

            await repository.seal_anew(kinds, done)
    again = await place.load()
    if again.base.entities != repository.base.entities:
        raise DamagedObjectError("head", "what was imported is not what is read back")
    if not json:
        _output.note("A bot that is running takes this over with its next commit.")


def _refuse_other_serializer(serializer: str) -> None:
    if serializer != _SERIALIZER:
        raise SettingsError(
            f"The values were made by serializer {serializer!r}, which only the bot has. "
            "Copy the objects by the bucket's own means instead."
        )


def export(
    file: Annotated[
        Path,
        typer.Argument(help="The file to make: JSON if its name ends in .json, else a pickle."),
    ],
    *,
    at: Annotated[str | None, typer.Option(metavar="POINT", help=f"{POINT}.")] = None,
    store: OfStore = None,
    trusted: Trusted = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the file if it is there.")
    ] = False,
    json: Json = False,
) -> None:
    """Write the state to a file that PTB's PicklePersistence loads, or to JSON. Not encrypted."""
    request = None if at is None else point(at)

    async def work(place: Place) -> tuple[int, State]:
        state: State
        past = request is not None or store is not None
        opened = await place.load_or_recover(store) if past else None
        repository = await place.load() if opened is None else opened.repository
        _refuse_other_serializer(repository.base.identity.serializer)
        if request is None:
            head, state = repository.base.head, repository.base.entities
        else:
            _, head, state = await repository.history.state_at(request)
        return head.revision, _spelled_out(state, head.words)

    revision, state = run(work)
    _write(file, state, [*_TRUSTED, *(trusted or ())], overwrite=overwrite)
    total = sum(map(len, state.values()))
    if json:
        _output.result_json({"file": str(file), "revision": revision, "entities": total})
        return
    _output.result(f"Wrote revision {revision}, {count(total, 'entity', 'entities')}, to {file}.")
    _output.note("The file is not encrypted. Keep it as safe as the bot's token.")


def _write(file: Path, state: State, trusted: list[str], *, overwrite: bool) -> None:
    # As in `_read`.
    from ptb_s3._transfer.json_files import write_json  # noqa: PLC0415 - see there
    from ptb_s3._transfer.pickle_files import write_pickle_persistence  # noqa: PLC0415 - as above

    with _output.progress("Writing") as advance:
        if file.suffix == _JSON:
            write_json(file, state, overwrite=overwrite, progress=advance)
        else:
            write_pickle_persistence(
                file, state, trusted=trusted, overwrite=overwrite, progress=advance
            )
