"""What PTB's `Application` keeps to itself, and two writers need: all private names are in here.

PTB has no hook for conversations that another instance has moved on, for users who came or went
there, and none to make up for an update that broke off in the middle. A PTB that renames one of
these attributes is refused when the application is built, rather than when data is at stake.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator, MutableMapping
from contextlib import contextmanager
from itertools import chain
from types import FrameType
from typing import Any, Final, NamedTuple

from telegram import Bot
from telegram.ext import Application, ConversationHandler
from telegram.ext._handlers.conversationhandler import PendingState
from telegram.ext._utils.trackingdict import TrackingDict

from ptb_s3._format.entities import BOT_DATA_KEY, EntityKey, Kind
from ptb_s3._ptb.live_objects import LiveObjects
from ptb_s3._values import callback_data
from ptb_s3._values.callback_data import CallbackData
from ptb_s3.errors import PersistenceError, SettingsError

App = Application[Any, Any, Any, Any, Any, Any]
Conversation = TrackingDict[Any, Any]

_DATA: Final = {Kind.USER_DATA: "_user_data", Kind.CHAT_DATA: "_chat_data"}
_CHANGED: Final = {
    Kind.USER_DATA: "_user_ids_to_be_updated_in_persistence",
    Kind.CHAT_DATA: "_chat_ids_to_be_updated_in_persistence",
}
_DROPPED: Final = {
    Kind.USER_DATA: "_user_ids_to_be_deleted_in_persistence",
    Kind.CHAT_DATA: "_chat_ids_to_be_deleted_in_persistence",
}
_CONVERSATIONS: Final = "_conversation_handler_conversations"
_TASK: Final = "Application.__create_task_callback"
_FETCHER: Final = "_Application__update_fetcher_task"
_SAVING: Final = "_Application__update_persistence_lock"
# The second is its name up to PTB 21.
_BOT_INITIALIZED: Final = ("_bot_initialized", "_initialized")
_STOP_SIGNAL: Final = "_raise_system_exit"
_ABSENT: Final = object()

_LOGGER = logging.getLogger("ptb_s3")


class Marks(NamedTuple):
    """What an application has noted to be saved next.

    Attributes:
        changed: Ids of users and of chats whose data was used.
        dropped: Ids of those whose data was dropped.
        conversations: Keys of the states that were set, by the conversation's name.
    """

    changed: dict[Kind, set[int]]
    dropped: dict[Kind, set[int]]
    conversations: dict[str, set[Any]]


class Internals:
    """One application from within.

    Args:
        application: The application.

    Raises:
        SettingsError: This PTB has other names for it.
    """

    def __init__(self, application: App) -> None:
        names = [*_DATA.values(), *_CHANGED.values(), *_DROPPED.values(), _CONVERSATIONS]
        names.append(_STOP_SIGNAL)
        missing = [name for name in names if not hasattr(application, name)]
        if missing:
            raise SettingsError(
                f"This version of python-telegram-bot has no Application.{missing[0]}, which "
                "ptb-s3 needs here. Use a version that ptb-s3 was tested with, or another ptb-s3."
            )
        self._application = application

    def on_stop_signal(self, heard: Callable[[], None]) -> None:
        """Have a stop signal of `run_polling` and `run_webhook` call this, on the loop.

        PTB's own raises `SystemExit`, each time: what runs the loop is to end.
        """
        setattr(self._application, _STOP_SIGNAL, heard)

    def data(self, kind: Kind) -> MutableMapping[int, Any]:
        """Return the live objects of all users, or of all chats."""
        live: MutableMapping[int, Any] = getattr(self._application, _DATA[kind])
        return live

    @property
    def conversations(self) -> dict[str, Conversation]:
        """The states of persistent conversations, by name."""
        states: dict[str, Conversation] = getattr(self._application, _CONVERSATIONS)
        return states

    def take_marks(self) -> Marks:
        """Return what is noted to be saved next, and forget it."""
        marks = Marks(
            {kind: getattr(self._application, name) for kind, name in _CHANGED.items()},
            {kind: getattr(self._application, name) for kind, name in _DROPPED.items()},
            {name: states.pop_accessed_keys() for name, states in self.conversations.items()},
        )
        for name in [*_CHANGED.values(), *_DROPPED.values()]:
            setattr(self._application, name, set())
        return marks

    def marks(self) -> Marks:
        """Return what is noted to be saved next."""
        marks = self.take_marks()
        self.put_back(marks)
        return marks

    def put_back(self, marks: Marks) -> None:
        """Note again what is to be saved next, with what has been noted since."""
        for names, ids in ((_CHANGED, marks.changed), (_DROPPED, marks.dropped)):
            for kind, name in names.items():
                getattr(self._application, name).update(ids[kind])
        for name, keys in marks.conversations.items():
            for key in keys:
                self.conversations[name].mark_as_accessed(key)

    def forget(self) -> None:
        """Let go of what a start reads anew, but of nothing that is noted to be saved.

        PTB adds what it reads to what it has, so that whoever another instance has dropped in
        between would stay, and a conversation that has ended there would be saved again.
        """
        marks = self.marks()
        for kind in _DATA:
            if self.stores(kind):
                _keep(self.data(kind), marks.changed[kind])
        for name, states in self.conversations.items():
            _keep(states.data, marks.conversations[name])
        if self.keeps_buttons:
            self.put_buttons(([], {}))

    # What other instances have changed ----------------------------------------------------------

    def bring_in(self, objects: LiveObjects) -> None:
        """Bring in what other instances have changed, but over nothing that is unsaved here."""
        if objects.held():
            return  # the next update brings it in
        types = self._application.context_types
        for kind, pristine in (
            (Kind.USER_DATA, types.user_data),
            (Kind.CHAT_DATA, types.chat_data),
        ):
            if self.stores(kind):
                for key in objects.overtaken(kind):
                    self._bring_in_data(objects, kind, key, pristine())
        if self.stores(Kind.BOT_DATA):
            bot_data = self._application.bot_data
            objects.refresh(Kind.BOT_DATA, BOT_DATA_KEY, bot_data, types.bot_data)
        for key in objects.overtaken(Kind.CONVERSATIONS):
            with left_alone(Kind.CONVERSATIONS):
                self._bring_in_conversation(objects, key)
        if self.stores(Kind.CALLBACK_DATA):
            with left_alone(Kind.CALLBACK_DATA):
                self._bring_in_keyboards(objects)

    def stores(self, kind: Kind) -> bool:
        """Tell whether data of a kind is saved."""
        persistence = self._application.persistence
        return persistence is not None and bool(getattr(persistence.store_data, kind))

    def _bring_in_data(self, objects: LiveObjects, kind: Kind, key: Any, pristine: object) -> None:  # noqa: ANN401 - a user's or chat's id
        data = self.data(kind)
        if not objects.exists(kind, key):
            if key in data and objects.untouched(kind, key, data[key], pristine):
                del data[key]
                objects.skip(kind, key)
        elif key in data or objects.unseen(kind, key):
            # PTB's own way to make the object of a user whom it has not seen before.
            objects.refresh(kind, key, data[key], lambda: pristine)

    def _bring_in_conversation(self, objects: LiveObjects, key: Any) -> None:  # noqa: ANN401 - a name and a key
        name, own = key
        states = self.conversations.get(name)
        if states is None:
            return  # of a handler that is not registered: carried along
        live = _settle(states, own)
        unseen = objects.unseen(Kind.CONVERSATIONS, key)
        if live is _ABSENT if unseen else objects.untouched(Kind.CONVERSATIONS, key, live, None):
            _set_state(states, own, objects.fetch(Kind.CONVERSATIONS, key))

    def _bring_in_keyboards(self, objects: LiveObjects) -> None:
        """Add the buttons of others, since anybody may be sent the answer; PTB drops old ones."""
        cache = self._application.bot.callback_data_cache
        new = [
            k
            for k in objects.overtaken(Kind.CALLBACK_DATA)
            if objects.unseen(Kind.CALLBACK_DATA, k)
        ]
        if cache is not None and new:
            values: Any = {k: objects.fetch(Kind.CALLBACK_DATA, k) for k in new}
            present = {key: value for key, value in values.items() if value is not None}
            cache.load_persistence_data(callback_data.join(present))

    def settle(self) -> None:
        """Put the states of steps that are over in place, where they are to be saved next."""
        for name, keys in self.marks().conversations.items():
            for key in keys:
                _settle(self.conversations[name], key)

    # What is taken back -------------------------------------------------------------------------

    def buttons(self) -> Iterable[EntityKey]:
        """Return the keys of the keyboards and callback queries that are live."""
        cache = self._application.bot.callback_data_cache
        return callback_data.split(cache.persistence_data) if self.keeps_buttons and cache else ()

    @property
    def keeps_buttons(self) -> bool:
        """Whether buttons may have data, and that is saved."""
        cache = self._application.bot.callback_data_cache
        return cache is not None and self.stores(Kind.CALLBACK_DATA)

    def put_buttons(self, data: CallbackData) -> None:
        """Have these keyboards and callback queries, and no others."""
        if (cache := self._application.bot.callback_data_cache) is not None:
            cache.clear_callback_data()
            cache.clear_callback_queries()
            cache.load_persistence_data(data)

    def put_state(self, name: str, key: Any, state: object | None) -> None:  # noqa: ANN401 - a conversation's key
        """Have a conversation be in a state; None: not be under way."""
        if (states := self.conversations.get(name)) is not None:
            _set_state(states, key, state)

    def unsaved_conversations(self) -> Iterator[MutableMapping[Any, object]]:
        """Yield the states of conversations that are kept in memory alone, nested ones too."""
        left: list[object] = list(chain(*self._application.handlers.values()))
        while left:
            handler = left.pop()
            if isinstance(handler, ConversationHandler):
                left += handler._child_conversations  # noqa: SLF001 - see above
                if not isinstance(handler._conversations, TrackingDict):  # noqa: SLF001
                    yield handler._conversations  # noqa: SLF001


def tasks(application: App) -> set[asyncio.Task[Any]]:
    """Return the tasks that `Application.create_task` has made, such as of ``block=False``.

    By the name of what they run: an application that is not running keeps no list of them.
    """
    return {task for task in asyncio.all_tasks() if _is_task_of(application, task.get_coro())}


def _is_task_of(application: App, coroutine: Any) -> bool:  # noqa: ANN401 - a coroutine, of one of several types
    if getattr(coroutine, "__qualname__", "") != _TASK:
        return False
    # Others may be at work on the same loop: their tasks are not to be waited for, or cancelled.
    return coroutine.cr_frame is not None and saving_application(coroutine.cr_frame) is application


def renew_lock(application: App) -> None:
    """Have an application save under a lock of the running loop: one that is gone may hold it."""
    if hasattr(application, _SAVING):
        setattr(application, _SAVING, asyncio.Lock())


def will_read(application: App) -> bool:
    """Tell whether `Application.initialize` reads the state, rather than find all done already.

    As it does where a shutdown failed in its middle.
    """
    return not getattr(application, "_initialized", False)


def is_initialized(bot: object) -> bool:
    """Tell whether a bot is between its `initialize` and its `shutdown`.

    Application.initialize() initialises it before it asks the persistence for anything, and
    Application.shutdown() shuts it down before it saves. Of a double that cannot tell, it is true.
    """
    return next((bool(getattr(bot, name)) for name in _BOT_INITIALIZED if hasattr(bot, name)), True)


def can_tell(bot: object) -> bool:
    """Tell whether `is_initialized` knows of this bot."""
    return any(hasattr(bot, name) for name in _BOT_INITIALIZED)


def bot_id(bot: Bot) -> int:
    """Return a bot's id: from Telegram or, before it has been asked, from the bot's token.

    Raises:
        RuntimeError: Nobody knows it yet.
    """
    try:
        return bot.id
    except RuntimeError:
        number = bot.token.partition(":")[0]
        if not number.isdecimal():
            raise
    return int(number)


def saving_application(frame: FrameType) -> App | None:
    """Return the application whose method a frame is of; None where it is of anything else.

    PTB makes all calls of an interval in one of its methods, and hands no application to any.
    """
    own = frame.f_locals.get("self")
    return own if isinstance(own, Application) else None


def is_left_with_saving(application: App) -> bool:
    """Tell whether an application is being stopped, and its updates are processed.

    So it waits for jobs and tasks of the bot, if for anything, and then for its last interval.
    """
    fetcher: asyncio.Task[None] | None = getattr(application, _FETCHER, None)
    return not application.running and (fetcher is None or fetcher.done())


def settled_states(states: Conversation, keys: set[Any]) -> Iterator[tuple[Any, object | None]]:
    """Yield the conversation states to save, as PTB does: of those that are pending, the old one.

    Args:
        states: All states of a conversation.
        keys: Those that were set. One that is still pending is noted to be looked at again.
    """
    for key in keys:
        state = states.data.get(key)
        if isinstance(state, PendingState):
            pending = not _is_over(state)
            state = state.old_state if pending else _outcome(state)
            if pending:
                states.mark_as_accessed(key)
        yield key, state


def _keep(live: MutableMapping[Any, Any], keys: set[Any]) -> None:
    for key in live.keys() - keys:
        del live[key]


def _settle(states: Conversation, key: Any) -> object:  # noqa: ANN401 - a conversation's key
    """Return a live state, `_ABSENT` if there is none; that of a step that is over, put in place.

    PTB does so when the conversation's next update comes. Until then, what others have made of it
    would be compared with the step, which is never what was saved.
    """
    state = states.data.get(key, _ABSENT)
    if isinstance(state, PendingState) and _is_over(state):
        outcome = _outcome(state)
        _set_state(states, key, outcome)
        return _ABSENT if outcome is None else outcome
    return state


def _is_over(step: PendingState) -> bool:
    """Tell whether a step is done, or never will be, since its event loop is gone."""
    return step.done() or step.task.get_loop().is_closed()


def _outcome(step: PendingState) -> object | None:
    """Return what a step has made of a conversation; None: it has ended.

    Where it failed or was cancelled, the conversation stays where it was.
    """
    whole = step.done() and not step.task.cancelled()
    state = step.resolve() if whole and step.task.exception() is None else step.old_state
    return None if state == ConversationHandler.END else state


def _set_state(states: Conversation, key: Any, state: object | None) -> None:  # noqa: ANN401 - a conversation's key
    if state is None or state == ConversationHandler.END:
        states.data.pop(key, None)
    else:
        states.update_no_track({key: state})


@contextmanager
def left_alone(kind: Kind) -> Iterator[None]:
    """Leave a live object as it is where what it should become cannot be loaded."""
    try:
        yield
    except PersistenceError as error:
        _LOGGER.warning("Left a live object of %s as it was. %s", kind.value, error)
