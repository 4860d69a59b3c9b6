"""``ptb-s3 show`` and ``ptb-s3 diff``: what the state holds, and what became of it.

These two unpickle values; no others do. Nobody's code runs for it: a class that is none of
Python's or telegram's own is shown by its name and attributes, and is not loaded.
"""

from __future__ import annotations

import json as json_
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from ptb_s3._engine.repository import Repository
from ptb_s3._format.entities import Entities, EntityKey, Kind
from ptb_s3._format.restore_point import RestorePoint
from ptb_s3._format.words import spell_out
from ptb_s3.cli import _output
from ptb_s3.cli._opened import POINT, Json, OfStore, Place, key_of, key_text, kind_of, point, run
from ptb_s3.cli._output import count, when_json
from ptb_s3.errors import NothingThereError

if TYPE_CHECKING:
    from ptb_s3._values.diff import Change
    from ptb_s3._values.readable import Readable

_LONGEST = 60  # characters of a value in a table


class _State(NamedTuple):
    """The state as of a commit, with what its values were serialised by."""

    revision: int
    created: str
    serializer: str
    words: tuple[str, ...]
    entities: Mapping[Kind, Entities]


async def _state(repository: Repository, at: RestorePoint | None) -> _State:
    if at is None:
        base = repository.base
        header, head, entities = base.objects["head"].header, base.head, base.entities
    else:
        header, head, entities = await repository.history.state_at(at)
    when = when_json(header.created)
    return _State(header.revision, when, header.serializer, head.words, entities)


async def _opened(place: Place, at: RestorePoint | None, store: str | None) -> Repository:
    """Return what to look at: what is current has to be readable only where it is asked for."""
    if at is None and store is None:
        return await place.load()
    return (await place.load_or_recover(store)).repository


def _shown(state: _State, data: bytes) -> Readable:
    return _value(state.serializer, state.words, data)


def show(
    kind: Annotated[
        str | None, typer.Argument(help="Only this kind, such as user_data.", show_default=False)
    ] = None,
    key: Annotated[
        str | None, typer.Argument(help="Only this entity of the kind.", show_default=False)
    ] = None,
    *,
    at: Annotated[str | None, typer.Option(metavar="POINT", help=f"{POINT}.")] = None,
    store: OfStore = None,
    redact: Annotated[bool, typer.Option("--redact", help="Show the keys only.")] = False,
    json: Json = False,  # noqa: ARG001 - it is JSON in any case, and nobody should have to know
) -> None:
    """Show values as JSON that keeps their types readable. Unpickles them, but runs no code."""
    only = None if kind is None else kind_of(kind)
    chosen = None if key is None or only is None else key_of(only, key)
    request = None if at is None else point(at)

    async def work(place: Place) -> _State:
        return await _state(await _opened(place, request, store), request)

    state = run(work)
    shown: dict[str, Any] = {"revision": state.revision, "created": state.created}
    for each in Kind if only is None else [only]:
        entities = state.entities[each]
        if chosen is not None:
            entities = _one(entities, each, chosen, state.revision)
        if redact:
            shown[each.value] = [_key_json(entity) for entity in entities]
        else:
            shown[each.value] = {
                key_text(entity): _shown(state, data) for entity, data in entities.items()
            }
    _output.result(_output.readable_json(shown, indent=2))


def _one(entities: Entities, kind: Kind, key: EntityKey, revision: int) -> Entities:
    if key not in entities:
        raise NothingThereError(f"There is no such entity of {kind.value} at revision {revision}.")
    return {key: entities[key]}


def _key_json(key: EntityKey) -> Any:  # noqa: ANN401 - JSON
    return json_.loads(key_text(key))


def _value(serializer: str, words: tuple[str, ...], data: bytes) -> Readable:
    # These import telegram.ext, which takes a second.
    from ptb_s3._values.readable import readable  # noqa: PLC0415 - see above
    from ptb_s3._values.transcoder import Transcoder  # noqa: PLC0415 - as above

    if serializer != Transcoder.id:
        return readable(data)  # only who made it can read it
    try:
        return readable(Transcoder().loads(spell_out(data, words)))
    except Exception as error:  # noqa: BLE001 - bad bytes may raise anything
        return {"$unreadable": type(error).__name__}


class _Difference(NamedTuple):
    """What became of one entity, with its fields where they were asked for."""

    kind: Kind
    key: EntityKey
    what: str
    fields: list[Change]


def diff(
    old: Annotated[str, typer.Argument(metavar="OLD", help=f"{POINT}.")],
    new: Annotated[
        str | None, typer.Argument(metavar="NEW", help="The same; by default, what is current.")
    ] = None,
    *,
    store: OfStore = None,
    values: Annotated[
        bool, typer.Option("--values", help="Show which fields changed. Unpickles values.")
    ] = False,
    json: Json = False,
) -> None:
    """Show which entities were added, changed and removed between two commits."""
    first, second = point(old), None if new is None else point(new)

    async def work(place: Place) -> tuple[_State, _State]:
        repository = await _opened(place, second, store)
        return await _state(repository, first), await _state(repository, second)

    before, after = run(work)
    found = [
        difference for kind in Kind for difference in _differences(kind, before, after, values)
    ]
    if json:
        _output.result_json(_diff_json(before, after, found))
    else:
        _show_diff(before, after, found, values=values)


def _differences(kind: Kind, before: _State, after: _State, values: bool) -> list[_Difference]:  # noqa: FBT001 - private
    from ptb_s3._values.diff import changed_fields  # noqa: PLC0415 - as in `_value`

    old, new = before.entities[kind], after.entities[kind]
    found = []
    for key in sorted({*old, *new}, key=key_text):
        if old.get(key) == new.get(key):
            continue
        what = "changed" if key in old and key in new else "removed" if key in old else "added"
        fields = []
        if values and what == "changed":
            fields = changed_fields(_shown(before, old[key]), _shown(after, new[key]))
        found.append(_Difference(kind, key, what, fields))
    return found


def _show_diff(before: _State, after: _State, found: list[_Difference], *, values: bool) -> None:
    _output.result(f"From revision {before.revision} to revision {after.revision}:")
    if not found:
        _output.result("Nothing differs.")
        return
    columns = ["", "kind", "key", *(["field", "before", "after"] if values else [])]
    _output.table(columns, [row for difference in found for row in _rows(difference, values)])
    for what in ("added", "changed", "removed"):
        number = sum(difference.what == what for difference in found)
        if number:
            _output.note(f"{count(number, 'entity', 'entities')} {what}.")


_MARKS = {"added": "+", "changed": "~", "removed": "-"}


def _rows(difference: _Difference, values: bool) -> list[list[str]]:  # noqa: FBT001 - private
    row = [_MARKS[difference.what], difference.kind.value, key_text(difference.key)]
    if not values:
        return [row]
    rows = [
        [field.path or "(all of it)", _short(field.before), _short(field.after)]
        for field in difference.fields
    ] or [["", "", ""]]
    return [(row if number == 0 else ["", "", ""]) + cells for number, cells in enumerate(rows)]


def _short(value: object) -> str:
    from ptb_s3._values.diff import ABSENT  # noqa: PLC0415 - as in `_value`

    if value is ABSENT:
        return "(none)"
    text = _output.readable_json(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def _diff_json(before: _State, after: _State, found: list[_Difference]) -> dict[str, Any]:
    return {
        "old": {"revision": before.revision, "created": before.created},
        "new": {"revision": after.revision, "created": after.created},
        "entities": [
            {
                "kind": difference.kind.value,
                "key": _key_json(difference.key),
                "what": difference.what,
                "fields": [_field_json(field) for field in difference.fields],
            }
            for difference in found
        ],
    }


def _field_json(field: Change) -> dict[str, Any]:
    from ptb_s3._values.diff import ABSENT  # noqa: PLC0415 - as in `_value`

    sides = {"before": field.before, "after": field.after}
    return {"path": field.path, **{n: side for n, side in sides.items() if side is not ABSENT}}
