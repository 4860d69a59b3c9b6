"""State as of a commit, as show and diff view it, and its values in a readable form.

To make a value readable is to unpickle it. Nobody's code runs for it: a class that is none of
Python's or telegram's own is shown by its name and attributes, and is not loaded.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from ptb_s3._engine.repository import Repository
from ptb_s3._format.container import HEAD
from ptb_s3._format.entities import Entities, EntityKey, Kind
from ptb_s3._format.restore_point import RestorePoint
from ptb_s3._format.words import spell_out
from ptb_s3.cli._opened import Place
from ptb_s3.cli._parsing import key_text
from ptb_s3.cli._wording import when_json

if TYPE_CHECKING:
    from ptb_s3._values.readable import Readable


class State(NamedTuple):
    """State as of a commit.

    Attributes:
        revision: The commit's.
        created: When it was made, as JSON has it.
        serializer: Id of the serializer that made the values.
        words: The words that values refer to by number.
        entities: The values, serialised.
    """

    revision: int
    created: str
    serializer: str
    words: tuple[str, ...]
    entities: Mapping[Kind, Entities]


async def open_at(place: Place, at: RestorePoint | None, store: str | None) -> Repository:
    """Open the repository to look at: the current state is needed only where it is asked for.

    Args:
        place: Where it lies.
        at: The commit to look at; None: the newest.
        store: The store to look at; None: the current one.
    """
    if at is None and store is None:
        return await place.load()
    return (await place.load_or_recover(store)).repository


async def state_of(repository: Repository, at: RestorePoint | None) -> State:
    """Return the state as of a commit of a repository, or its newest without one.

    Raises:
        RestorePointError: No commit that history still holds answers to the point.
    """
    if at is None:
        base = repository.base
        header, head, entities = base.objects[HEAD].header, base.head, base.entities
    else:
        header, head, entities = await repository.history.state_at(at)
    created = when_json(header.created)
    return State(header.revision, created, header.serializer, head.words, entities)


def readable_value(state: State, data: bytes) -> Readable:
    """Return a value of a state in its readable form, a JSON value.

    The value of another serializer than the built-in one is shown as bytes; one that cannot be
    unpickled, by the name of the error.
    """
    # These import telegram.ext, which takes a second.
    from ptb_s3._values.readable import readable  # noqa: PLC0415 - see above
    from ptb_s3._values.transcoder import Transcoder  # noqa: PLC0415 - as above

    if state.serializer != Transcoder.id:
        return readable(data)  # only the bot can read it
    try:
        return readable(Transcoder().loads(spell_out(data, state.words)))
    except Exception as error:  # noqa: BLE001 - bad bytes may raise anything
        return {"$unreadable": type(error).__name__}


def key_json(key: EntityKey) -> Any:  # noqa: ANN401 - JSON
    """Return the key of an entity as a JSON value."""
    return json.loads(key_text(key))
