"""``ptb-s3 restore`` and ``ptb-s3 rotate``: new commits out of what is there already."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated, Any, NamedTuple, cast

import typer

from ptb_s3._engine.commit import Occasion
from ptb_s3._engine.repository import Repository
from ptb_s3._format.container import Header
from ptb_s3._format.entities import Changes, Entities, EntityKey, Kind
from ptb_s3._format.restore_point import RestorePoint
from ptb_s3._format.words import spell_out_all
from ptb_s3._history.history import Snapshot
from ptb_s3.cli import _output
from ptb_s3.cli._opened import (
    POINT,
    DryRun,
    Json,
    OfStore,
    Place,
    key_of,
    key_text,
    kind_of,
    point,
    refuse_to_exchange_keys,
    run,
)
from ptb_s3.cli._output import count, in_steps, when, when_json
from ptb_s3.errors import ConflictError, ForeignStoreError, SettingsError

_RUNNING = (
    "A bot that is running takes this over with its next commit, with what it has changed itself "
    "on top. Restart it to have it go on from here at once."
)
_TWO_STEPS = (
    "With a bot that runs, exchange keys in two steps: deploy it with the new key in "
    "PTB_S3_RETIRED_KEYS, everywhere; then with the two exchanged, and its commits seal all anew. "
    "If each bot that runs has the key already, or none does run: ptb-s3 rotate --while-running."
)
_RUNNING_ROTATED = (
    "A bot that runs without this key cannot save any more; what it has not saved yet, a restart "
    "loses. Its error says how to have it save first."
)
_ROTATE_AGAIN = "What is sealed anew stays so; run ptb-s3 rotate again to go on."


class Counts(NamedTuple):
    """What happens to the entities of one kind."""

    added: int
    changed: int
    removed: int


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
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Bring back an older state as a new commit. Nothing is overwritten: it can be undone."""
    only = None if kind is None else kind_of(kind)
    if entity is not None and only is None:
        raise SettingsError("--entity needs --kind: keys are those of one kind.")
    key = None if entity is None or only is None else key_of(only, entity)
    if to is None and store is None:
        raise SettingsError("Give a point to go back to: a revision, a time or a version id.")
    request = None if to is None else point(to)

    async def work(place: Place) -> tuple[int, Header, Changes, int | None]:
        repository, fault = await place.load_or_recover()
        before = repository.revision
        snapshot = await _snapshot(place, repository, request, store)
        changes = repository.changes_to(_chosen(repository, snapshot, only, key))
        if not json:
            _say_plan(snapshot.header, count_changes(repository, changes))
        if dry_run or not (fault or any(changes.values())):
            return before, snapshot.header, changes, None
        refuse_to_exchange_keys(repository)
        with (
            in_steps("ptb-s3 history says whether the restore was committed."),
            undisturbed("Nothing was restored: run the same command again."),
        ):
            await repository.commit_only(changes, Occasion() if fault else None)
        return before, snapshot.header, changes, repository.revision

    before, header, changes, made = run(work)
    if json:
        _output.result_json(_restore_json(header, changes, made))
    elif made is not None:
        _output.result(f"Restored as revision {made}.")
        _output.note(f"{_RUNNING} To undo it: ptb-s3 restore {before}")
    elif any(changes.values()):
        _output.result("Nothing was changed.")
    else:
        _output.result("The state is like that already. Nothing was changed.")


async def _snapshot(
    place: Place, repository: Repository, request: RestorePoint | None, store_id: str | None
) -> Snapshot:
    """Return the state to bring back: one of this store's, or of another that lay here before."""
    if store_id is None or store_id == repository.base.identity.store:
        newest = RestorePoint.parse(str(repository.revision))
        return await repository.restorable(request or newest)
    other = place.repository()
    found = (await other.recover(store_id=store_id)).found
    if found.head.bot != repository.base.head.bot:
        raise ForeignStoreError(
            f"The state of store {store_id} belongs to another bot. Nothing was changed. Export it "
            "(ptb-s3 export --store), and import it where that bot's state is to lie."
        )
    if found.header.serializer != repository.base.identity.serializer:
        raise SettingsError(
            f"The values of store {store_id} were made by serializer {found.header.serializer!r}, "
            "and today's by another one. Nothing was changed."
        )
    header, head, entities = found.header, found.head, found.entities
    if request is not None:
        header, head, entities = await other.history.state_at(request)
    spelled = spell_out_all({kind: {**values} for kind, values in entities.items()}, head.words)
    return Snapshot(header, head, cast("dict[Kind, Entities]", spelled))


@contextmanager
def undisturbed(state: str) -> Iterator[None]:
    """Say of a conflict what a person has to know, where nothing is kept in memory.

    Args:
        state: What is so then, and how to go on.
    """
    try:
        yield
    except ConflictError:
        raise ConflictError(
            f"A running bot has committed meanwhile; nothing of that was overwritten. {state}"
        ) from None


def _chosen(
    repository: Repository, snapshot: Snapshot, kind: Kind | None, key: EntityKey | None
) -> Mapping[Kind, Entities]:
    """Return what the state is to become: of all kinds, of one, or of one with one entity older."""
    if kind is None:
        return snapshot.entities
    if key is None:
        return {kind: snapshot.entities[kind]}
    wanted = {**repository.base.entities[kind]}
    wanted.pop(key, None)
    if key in snapshot.entities[kind]:
        wanted[key] = snapshot.entities[kind][key]
    return {kind: wanted}


def count_changes(repository: Repository, changes: Changes) -> dict[Kind, Counts]:
    """Count what changes do to the committed state."""
    counted = {}
    for kind, changed in changes.items():
        entities = repository.base.entities[kind]
        removed = sum(value is None for value in changed.values())
        added = sum(key not in entities for key in changed)
        counted[kind] = Counts(added, len(changed) - added - removed, removed)
    return counted


def _say_plan(header: Header, counted: Mapping[Kind, Counts]) -> None:
    _output.result(f"Back to revision {header.revision}, of {when(header.created)}:")
    _output.table(
        ["kind", "added", "changed", "removed"],
        [[kind.value, *(f"{number:,}" for number in counts)] for kind, counts in counted.items()],
        right=["added", "changed", "removed"],
    )


def _restore_json(header: Header, changes: Changes, made: int | None) -> dict[str, Any]:
    return {
        "from": {"revision": header.revision, "created": when_json(header.created)},
        "changes": {kind.value: list(map(key_text, changed)) for kind, changed in changes.items()},
        "revision": made,
    }


def rotate(
    *,
    while_running: Annotated[
        bool,
        typer.Option(
            "--while-running",
            help="Do it though a bot may be running: one without this key can save no more.",
        ),
    ] = False,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Seal everything current with the key in PTB_S3_KEY, now rather than by and by.

    A key that may have leaked belongs in PTB_S3_HISTORY_KEYS afterwards.
    """

    async def work(place: Place) -> tuple[str, list[str]]:
        repository = await place.load()
        names = repository.sealed_otherwise()
        sealing = repository.sealing_key_id
        if not while_running and not dry_run:
            refuse_to_exchange_keys(repository, _TWO_STEPS)
        if not json:
            _output.result(f"Sealed with another key than {sealing}: {', '.join(names) or 'none'}.")
        if names and not dry_run:
            kinds = [kind for kind in Kind if kind.value in names]
            with (
                in_steps(_ROTATE_AGAIN),
                undisturbed(_ROTATE_AGAIN),
                _output.progress("Sealing") as advance,
            ):
                steps: Iterator[int] = iter(range(1, len(kinds) + 2))
                await repository.seal_anew(kinds, lambda _: advance(next(steps), len(kinds) + 1))
        return sealing, names

    sealing, names = run(work)
    if json:
        _output.result_json({"key": sealing, "sealed_otherwise": names, "done": not dry_run})
    elif names and not dry_run:
        _output.result(f"Everything current is sealed with key {sealing} now.")
        _output.note(
            f"{_RUNNING_ROTATED} Older versions are still sealed with the keys that they "
            "were: ptb-s3 status says up to which revision. Keep those keys as long as you want "
            "to go back; one that may have leaked, in PTB_S3_HISTORY_KEYS."
        )
    elif not names:
        _output.result("Nothing to do.")
    else:
        _output.result(f"{count(len(names), 'object')} would be sealed anew. Nothing was changed.")
