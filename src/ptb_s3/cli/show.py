"""``ptb-s3 show``: show the values of a state as JSON that keeps their types readable.

Output: ``{"revision": …, "created": …, "user_data": {"<key>": <value>, …}, …}``; with ``--redact``
a list of keys in place of each kind's values. The forms of values are those of `_values.readable`.
"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from ptb_s3._format.entities import Entities, EntityKey, Kind
from ptb_s3.cli import _output
from ptb_s3.cli._opened import Place, run
from ptb_s3.cli._options import POINT, Json, OfStore
from ptb_s3.cli._parsing import key_of, key_text, kind_of, point
from ptb_s3.cli._view import State, key_json, open_at, readable_value, state_of
from ptb_s3.errors import NothingThereError


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

    async def work(place: Place) -> State:
        return await state_of(await open_at(place, request, store), request)

    state = run(work)
    shown: dict[str, Any] = {"revision": state.revision, "created": state.created}
    for each in Kind if only is None else [only]:
        entities = state.entities[each]
        if chosen is not None:
            entities = _one(entities, each, chosen, state.revision)
        if redact:
            shown[each.value] = [key_json(entity) for entity in entities]
        else:
            shown[each.value] = {
                key_text(entity): readable_value(state, data) for entity, data in entities.items()
            }
    _output.result(_output.readable_json(shown, indent=2))


def _one(entities: Entities, kind: Kind, key: EntityKey, revision: int) -> Entities:
    """Return one entity alone.

    Raises:
        NothingThereError: There is no such entity at that revision.
    """
    if key not in entities:
        raise NothingThereError(f"There is no such entity of {kind.value} at revision {revision}.")
    return {key: entities[key]}
