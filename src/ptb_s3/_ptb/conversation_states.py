"""States of PTB's conversations, pending steps included.

While a handler with ``block=False`` runs, PTB keeps a `PendingState` in place of the state: the
step's task and the state before it. It is replaced only when the conversation's next update comes,
so that an outcome may stand unsaved for hours. Private names of PTB that concern conversations are
in here.

==========================  ====================================  ==============================
step                        what PTB saves                        what `settle` puts in place
==========================  ====================================  ==============================
is running                  the state before it; looks again      nothing
returned a state            that state                            that state
returned `END`              nothing: the conversation is over     nothing
failed, or was cancelled    the state before it                   the state before it
loop was closed             the state before it                   the state before it
==========================  ====================================  ==============================
"""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from itertools import chain
from typing import Any, Final, TypeAlias

from telegram.ext import ConversationHandler
from telegram.ext._handlers.conversationhandler import PendingState
from telegram.ext._utils.trackingdict import TrackingDict

from ptb_s3._ptb.application_state import App

Conversation: TypeAlias = TrackingDict[Any, Any]
"""States of one conversation handler by key, with a note of those that were set."""

ABSENT: Final = object()
"""Stands for the state of a conversation that is not under way."""


def settled_states(states: Conversation, keys: set[Any]) -> Iterator[tuple[Any, object | None]]:
    """Yield the states to save, by key, as PTB does: of a running step, the one before it.

    Args:
        states: All states of one conversation handler.
        keys: Keys of the states that were set. One whose step still runs is marked to be looked at
            again with the next save.
    """
    for key in keys:
        state = states.data.get(key)
        if isinstance(state, PendingState):
            pending = not _is_over(state)
            state = state.old_state if pending else _outcome(state)
            if pending:
                states.mark_as_accessed(key)
        yield key, state


def settle(states: Conversation, key: Any) -> object:  # noqa: ANN401 - a conversation's key
    """Put the outcome of a step that is over in place of the step.

    Otherwise the step would be compared with what other writers have committed, and is never equal
    to anything that was saved.

    Returns:
        The live state of the conversation, `ABSENT` if there is none.
    """
    state = states.data.get(key, ABSENT)
    if isinstance(state, PendingState) and _is_over(state):
        outcome = _outcome(state)
        set_state(states, key, outcome)
        return ABSENT if outcome is None else outcome
    return state


def set_state(states: Conversation, key: Any, state: object | None) -> None:  # noqa: ANN401 - a conversation's key
    """Set the state of a conversation without marking it to be saved.

    None and `END` end it.
    """
    if state is None or state == ConversationHandler.END:
        states.data.pop(key, None)
    else:
        states.update_no_track({key: state})


def states_in_memory(application: App) -> Iterator[MutableMapping[Any, object]]:
    """Yield the states of all conversation handlers that are not persistent, nested ones too."""
    left: list[object] = list(chain(*application.handlers.values()))
    while left:
        handler = left.pop()
        if isinstance(handler, ConversationHandler):
            left += handler._child_conversations  # noqa: SLF001 - see the module
            if not isinstance(handler._conversations, TrackingDict):  # noqa: SLF001
                yield handler._conversations  # noqa: SLF001


def _is_over(step: PendingState) -> bool:
    """Tell whether a step is done, or never will be, since its event loop is closed."""
    return step.done() or step.task.get_loop().is_closed()


def _outcome(step: PendingState) -> object | None:
    """Return the state that a finished step leads to, or None if the conversation ends."""
    whole = step.done() and not step.task.cancelled()
    state = step.resolve() if whole and step.task.exception() is None else step.old_state
    return None if state == ConversationHandler.END else state
