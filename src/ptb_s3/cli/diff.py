"""``ptb-s3 diff``: show which entities, and which of their fields, differ between two commits.

Entities are compared by their bytes, which needs no unpickling. With ``--values``, changed ones are
unpickled and compared field by field. JSON: both commits, and ``entities`` with kind, key, what
became of it (``added``, ``changed``, ``removed``) and the fields that differ.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from ptb_s3._format.entities import EntityKey, Kind
from ptb_s3.cli import _output
from ptb_s3.cli._opened import Place, run
from ptb_s3.cli._options import POINT, Json, OfStore
from ptb_s3.cli._parsing import key_text, point
from ptb_s3.cli._table import table
from ptb_s3.cli._view import State, key_json, open_at, readable_value, state_of
from ptb_s3.cli._wording import count

if TYPE_CHECKING:
    from ptb_s3._values.diff import Change

_LONGEST = 60  # characters of a value in a table


class _Difference(NamedTuple):
    """Difference in one entity between two commits.

    Attributes:
        kind: Its kind.
        key: Its key.
        what: ``added``, ``changed`` or ``removed``.
        fields: The fields that differ, where they were asked for and it was changed.
    """

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

    async def work(place: Place) -> tuple[State, State]:
        repository = await open_at(place, second, store)
        return await state_of(repository, first), await state_of(repository, second)

    before, after = run(work)
    found = [
        difference for kind in Kind for difference in _differences(kind, before, after, values)
    ]
    if json:
        _output.result_json(_diff_json(before, after, found))
    else:
        _show_diff(before, after, found, values=values)


def _differences(kind: Kind, before: State, after: State, values: bool) -> list[_Difference]:  # noqa: FBT001 - private
    """Return the differences in the entities of a kind, in the order of their keys."""
    from ptb_s3._values.diff import changed_fields  # noqa: PLC0415 - takes a second

    old, new = before.entities[kind], after.entities[kind]
    found = []
    for key in sorted({*old, *new}, key=key_text):
        if old.get(key) == new.get(key):
            continue
        what = "changed" if key in old and key in new else "removed" if key in old else "added"
        fields = []
        if values and what == "changed":
            fields = changed_fields(
                readable_value(before, old[key]), readable_value(after, new[key])
            )
        found.append(_Difference(kind, key, what, fields))
    return found


def _show_diff(before: State, after: State, found: list[_Difference], *, values: bool) -> None:
    """Print the differences as a table, and how many there are of each sort."""
    _output.result(f"From revision {before.revision} to revision {after.revision}:")
    if not found:
        _output.result("Nothing differs.")
        return
    columns = ["", "kind", "key", *(["field", "before", "after"] if values else [])]
    table(columns, [row for difference in found for row in _rows(difference, values)])
    for what in ("added", "changed", "removed"):
        number = sum(difference.what == what for difference in found)
        if number:
            _output.note(f"{count(number, 'entity', 'entities')} {what}.")


_MARKS = {"added": "+", "changed": "~", "removed": "-"}


def _rows(difference: _Difference, values: bool) -> list[list[str]]:  # noqa: FBT001 - private
    """Return the rows of one difference: one, or with values one for each field."""
    row = [_MARKS[difference.what], difference.kind.value, key_text(difference.key)]
    if not values:
        return [row]
    rows = [
        [field.path or "(all of it)", _short(field.before), _short(field.after)]
        for field in difference.fields
    ] or [["", "", ""]]
    return [(row if number == 0 else ["", "", ""]) + cells for number, cells in enumerate(rows)]


def _short(value: object) -> str:
    """Return a value in one line, cut to `_LONGEST` characters."""
    from ptb_s3._values.diff import ABSENT  # noqa: PLC0415 - takes a second

    if value is ABSENT:
        return "(none)"
    text = _output.readable_json(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def _diff_json(before: State, after: State, found: list[_Difference]) -> dict[str, Any]:
    """Return the differences as JSON."""
    return {
        "old": {"revision": before.revision, "created": before.created},
        "new": {"revision": after.revision, "created": after.created},
        "entities": [
            {
                "kind": difference.kind.value,
                "key": key_json(difference.key),
                "what": difference.what,
                "fields": [_field_json(field) for field in difference.fields],
            }
            for difference in found
        ],
    }


def _field_json(field: Change) -> dict[str, Any]:
    """Return a field as JSON, without the side on which it is absent."""
    from ptb_s3._values.diff import ABSENT  # noqa: PLC0415 - takes a second

    sides = {"before": field.before, "after": field.after}
    return {"path": field.path, **{n: side for n, side in sides.items() if side is not ABSENT}}
