"""Bring what other writers have committed into an application's live objects.

PTB asks its persistence to refresh the data of an update's user and chat, and nothing else. What it
has no hook for is brought in here, before an update is processed: users and chats that came or went
elsewhere, states of conversations, keyboards. Nothing that is unsaved here is overwritten; see
`live_objects`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from ptb_s3._format.entities import BOT_DATA_KEY, EntityKey, Kind
from ptb_s3._ptb.conversation_states import ABSENT, set_state, settle
from ptb_s3._ptb.internals import Internals
from ptb_s3._ptb.live_objects import LiveObjects
from ptb_s3._values import callback_data
from ptb_s3.errors import PersistenceError

_LOGGER = logging.getLogger("ptb_s3")


def bring_in(internals: Internals, objects: LiveObjects) -> None:
    """Bring all overtaken entities into an application, except where it holds unsaved changes.

    Raises nothing for an entity that cannot be loaded: it is logged, and its live object stays.

    Args:
        internals: Application whose live objects are changed.
        objects: View of these live objects, which knows what was overtaken.
    """
    if objects.held():
        return  # the next update brings it in
    types = internals.application.context_types
    _bring_in_data(internals, objects, Kind.USER_DATA, types.user_data)
    _bring_in_data(internals, objects, Kind.CHAT_DATA, types.chat_data)
    if internals.stores(Kind.BOT_DATA):
        bot_data = internals.application.bot_data
        objects.refresh(Kind.BOT_DATA, BOT_DATA_KEY, bot_data, types.bot_data)
    for key in objects.overtaken(Kind.CONVERSATIONS):
        with left_alone(Kind.CONVERSATIONS):
            _bring_in_conversation(internals, objects, key)
    if internals.stores(Kind.CALLBACK_DATA):
        with left_alone(Kind.CALLBACK_DATA):
            _bring_in_keyboards(internals, objects)


@contextmanager
def left_alone(kind: Kind) -> Iterator[None]:
    """Log an error of the body of a `with`, whose live object then stays as it is."""
    try:
        yield
    except PersistenceError as error:
        _LOGGER.warning("Left a live object of %s as it was. %s", kind.value, error)


def _bring_in_data(
    internals: Internals, objects: LiveObjects, kind: Kind, pristine: Callable[[], object]
) -> None:
    if not internals.stores(kind):
        return
    data = internals.data(kind)
    for key in objects.overtaken(kind):
        if internals.is_on_demand(kind) and key not in data:
            objects.skip(kind, key)  # nobody holds an object of it, and the next one is made anew
            continue
        _bring_in_one(data, objects, kind, key, pristine())


def _bring_in_one(
    data: Any,  # noqa: ANN401 - PTB's mapping of users or chats, which makes what it lacks
    objects: LiveObjects,
    kind: Kind,
    key: EntityKey,
    pristine: object,
) -> None:
    if not objects.exists(kind, key):
        if key in data and objects.untouched(kind, key, data[key], pristine):
            del data[key]
            objects.skip(kind, key)
    elif key in data or objects.unseen(kind, key):
        # To ask for a user not seen before is PTB's own way to make its object.
        objects.refresh(kind, key, data[key], lambda: pristine)


def _bring_in_conversation(internals: Internals, objects: LiveObjects, key: Any) -> None:  # noqa: ANN401 - a name and a key
    name, own = key
    states = internals.conversations.get(name)
    if states is None:
        return  # of a handler that is not registered: carried along
    live = settle(states, own)
    unseen = objects.unseen(Kind.CONVERSATIONS, key)
    if live is ABSENT if unseen else objects.untouched(Kind.CONVERSATIONS, key, live, None):
        set_state(states, own, objects.fetch(Kind.CONVERSATIONS, key))


def _bring_in_keyboards(internals: Internals, objects: LiveObjects) -> None:
    """Add keyboards of other writers: any instance may be sent the answer. PTB drops old ones."""
    cache = internals.application.bot.callback_data_cache
    overtaken = objects.overtaken(Kind.CALLBACK_DATA)
    new = [key for key in overtaken if objects.unseen(Kind.CALLBACK_DATA, key)]
    if cache is not None and new:
        values: Any = {key: objects.fetch(Kind.CALLBACK_DATA, key) for key in new}
        present = {key: value for key, value in values.items() if value is not None}
        cache.load_persistence_data(callback_data.join(present))
