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
from typing import Any, Final, NamedTuple, TypeAlias

from telegram.ext import ConversationHandler
from telegram.ext._handlers import conversationhandler
from telegram.ext._handlers.conversationhandler import PendingState
from telegram.ext._utils.trackingdict import TrackingDict

from ptb_s3._ptb.application_state import App
from ptb_s3.errors import SettingsError

Conversation: TypeAlias = TrackingDict[Any, Any]
"""States of one conversation handler by key, with a note of those that were set."""
Handler: TypeAlias = ConversationHandler[Any]
"""PTB's handler of conversations."""

_TRIGGER: Final = "_trigger_timeout"
_TIMEOUT: Final = "_ConversationTimeoutContext"
_OF_HANDLERS: Final = (_TRIGGER, "_child_conversations", "_conversations", "timeout_jobs")
_MEMBERS: Final = ("conversation_key", "update", "application", "callback_context")

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


def family(handler: Handler) -> Iterator[Handler]:
    """Yield a conversation handler, and all that are nested in it."""
    left = [handler]
    while left:
        handler = left.pop()
        yield handler
        left += handler._child_conversations  # noqa: SLF001 - see the module


def is_under_way(handler: Handler, key: Any) -> bool:  # noqa: ANN401 - a conversation's key
    """Tell whether a conversation is in a state, or has a step under way."""
    states = handler._conversations  # noqa: SLF001 - see the module
    return getattr(states, "data", states).get(key) is not None


# Timeouts ----------------------------------------------------------------------------------------


class Wait(NamedTuple):
    """Job of PTB's that ends a conversation when it falls due.

    Attributes:
        handler: Handler of the conversation.
        details: PTB's record of it, which is the job's data.
    """

    handler: Handler
    details: Any


def require_timeouts() -> None:
    """Refuse a PTB whose timeouts are others than those that are read and made here.

    Raises:
        SettingsError: This version of PTB has renamed something.
    """
    details = getattr(conversationhandler, _TIMEOUT, None)
    names = getattr(details, "__dataclass_fields__", {})
    missing = [name for name in _MEMBERS if name not in names]
    missing += [name for name in _OF_HANDLERS if not hasattr(ConversationHandler, name)]
    if missing:
        raise SettingsError(
            f"This version of python-telegram-bot has no {missing[0]} for the timeouts of "
            "conversations, which ptb-s3 needs here. Use a version that ptb-s3 was tested with, or "
            "another ptb-s3."
        )


def wait_of(callback: object, data: object) -> Wait | None:
    """Return the wait that a job is, by its callback and data, or None: it is another job."""
    own = getattr(ConversationHandler, _TRIGGER)
    if getattr(callback, "__func__", None) is not own:
        return None
    handler: Any = getattr(callback, "__self__", None)
    return Wait(handler, data)


def saved_wait(handler: Handler, key: Any) -> tuple[Any, Any]:  # noqa: ANN401 - a conversation's key
    """Return callback and data of a job for a wait that an earlier process has begun.

    The update is not in there, nor the context: `complete` puts them there when it falls due.
    """
    details = getattr(conversationhandler, _TIMEOUT)
    return getattr(handler, _TRIGGER), details(key, None, None, None)


def complete(wait: Wait, application: App, update: Any) -> None:  # noqa: ANN401 - an update
    """Give a wait that an earlier process has begun what PTB ends it with.

    Args:
        wait: The wait.
        application: Its application.
        update: The update that began it. The context is as for one that has just come, without what
            a filter or a command has found in it.
    """
    context = application.context_types.context.from_update(update, application)
    wait.details.update, wait.details.application = update, application
    wait.details.callback_context = context


def _is_over(step: PendingState) -> bool:
    """Tell whether a step is done, or never will be, since its event loop is closed."""
    return step.done() or step.task.get_loop().is_closed()


def _outcome(step: PendingState) -> object | None:
    """Return the state that a finished step leads to, or None if the conversation ends."""
    whole = step.done() and not step.task.cancelled()
    state = step.resolve() if whole and step.task.exception() is None else step.old_state
    return None if state == ConversationHandler.END else state
