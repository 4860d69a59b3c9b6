"""PTB's `Application` from within: live data, marks of what is to be saved, conversations, buttons.

PTB has no hook for conversations that another instance has moved on, for users who came or went
there, and none to make up for an update that broke off half-way. So this reads and writes private
attributes. A version of PTB that has renamed one is refused when the application is built, rather
than found out when data is at stake.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, MutableMapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from ptb_s3._format.entities import EntityKey, Kind
from ptb_s3._ptb.application_state import App
from ptb_s3._ptb.conversation_states import (
    Conversation,
    Handler,
    require_timeouts,
    set_state,
    settle,
)
from ptb_s3._ptb.group_commit import GroupCommit
from ptb_s3._ptb.on_demand import OnDemandData, prefetch
from ptb_s3._values import callback_data
from ptb_s3._values.callback_data import CallbackData
from ptb_s3.errors import SettingsError

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
_STOP_SIGNAL: Final = "_raise_system_exit"
_LOAD_CONVERSATIONS: Final = "_add_ch_to_persistence"


class Marks(NamedTuple):
    """Marks of an application: what it saves with the next call of `update_persistence`.

    Attributes:
        changed: Ids of users and of chats whose data handlers have accessed, by kind.
        dropped: Ids of users and of chats whose data was dropped, by kind.
        conversations: Keys of the states that were set, by the name of the conversation handler.
    """

    changed: dict[Kind, set[int]]
    dropped: dict[Kind, set[int]]
    conversations: dict[str, set[Any]]


class Internals:
    """Adapter to an application's private attributes.

    Args:
        application: Application to read and write.

    Attributes:
        application: As above.

    Raises:
        SettingsError: This version of PTB has renamed one of the attributes.
    """

    def __init__(self, application: App) -> None:
        names = [*_DATA.values(), *_CHANGED.values(), *_DROPPED.values(), _CONVERSATIONS]
        names += [_STOP_SIGNAL, _LOAD_CONVERSATIONS]
        missing = [name for name in names if not hasattr(application, name)]
        if missing:
            raise SettingsError(
                f"This version of python-telegram-bot has no Application.{missing[0]}, which "
                "ptb-s3 needs here. Use a version that ptb-s3 was tested with, or another ptb-s3."
            )
        self.application = application

    def on_stop_signal(self, heard: Callable[[], None]) -> None:
        """Have a stop signal of `run_polling` and `run_webhook` call a function, on the loop.

        Args:
            heard: Called at each signal. PTB's own raises `SystemExit`, which ends the loop's
                `run_forever`.
        """
        setattr(self.application, _STOP_SIGNAL, heard)

    def on_conversations(self, heard: Callable[[Handler], None]) -> None:
        """Have a function called with each persistent handler whose conversations were loaded.

        PTB loads them when the application is initialised, and those of a handler that is added
        later as soon as it can.

        Args:
            heard: Called with a handler, but not with those that are nested in it.

        Raises:
            SettingsError: This version of PTB has other timeouts.
        """
        require_timeouts()
        load = getattr(self.application, _LOAD_CONVERSATIONS)

        async def load_and_tell(handler: Handler) -> None:
            await load(handler)
            heard(handler)

        setattr(self.application, _LOAD_CONVERSATIONS, load_and_tell)

    def data(self, kind: Kind) -> MutableMapping[int, Any]:
        """Return the live objects of all users, or of all chats, by id."""
        live: MutableMapping[int, Any] = getattr(self.application, _DATA[kind])
        return live.live if isinstance(live, OnDemandData) else live

    def read_on_demand(self, kind: Kind, data: OnDemandData) -> None:
        """Have the data of users, or of chats, be a mapping that reads what it lacks."""
        setattr(self.application, _DATA[kind], data)
        setattr(self.application, kind.value, MappingProxyType(data))

    async def begin_on_demand(self, commits: GroupCommit) -> None:
        """Drop live data that was there before a start, of users and chats that have saved data.

        PTB lays what a start gives it over what it has. What is read on demand is not given, so
        that an object made before, such as an empty one, would stay in the place of saved data.

        Raises:
            PersistenceError: It cannot be read which of them have.
        """
        kinds = [kind for kind in _DATA if self.stores(kind) and self.is_on_demand(kind)]
        live = [(kind, key) for kind in kinds for key in self.data(kind)]
        await prefetch(commits, live)
        for kind, key in live:
            if commits.objects.exists(kind, key):
                self.data(kind).pop(key, None)

    def is_on_demand(self, kind: Kind) -> bool:
        """Tell whether the data of users, or of chats, is read when it is asked for."""
        return isinstance(getattr(self.application, _DATA[kind]), OnDemandData)

    @property
    def conversations(self) -> dict[str, Conversation]:
        """Return the states of persistent conversation handlers, by name."""
        states: dict[str, Conversation] = getattr(self.application, _CONVERSATIONS)
        return states

    def dropped(self, kind: Kind) -> set[int]:
        """Return the ids of users, or of chats, that are marked as dropped."""
        ids: set[int] = getattr(self.application, _DROPPED[kind])
        return ids

    def take_marks(self) -> Marks:
        """Return the marks, and clear them."""
        marks = Marks(
            {kind: getattr(self.application, name) for kind, name in _CHANGED.items()},
            {kind: getattr(self.application, name) for kind, name in _DROPPED.items()},
            {name: states.pop_accessed_keys() for name, states in self.conversations.items()},
        )
        for name in [*_CHANGED.values(), *_DROPPED.values()]:
            setattr(self.application, name, set())
        return marks

    def marks(self) -> Marks:
        """Return the marks."""
        marks = self.take_marks()
        self.put_back(marks)
        return marks

    def put_back(self, marks: Marks) -> None:
        """Mark again what these marks say, besides what has been marked since."""
        for names, ids in ((_CHANGED, marks.changed), (_DROPPED, marks.dropped)):
            for kind, name in names.items():
                getattr(self.application, name).update(ids[kind])
        for name, keys in marks.conversations.items():
            for key in keys:
                self.conversations[name].mark_as_accessed(key)

    def forget(self) -> None:
        """Drop live data that a start reads anew, except what is marked to be saved.

        PTB adds what it reads to what it has. So a user whom another instance has dropped in
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

    def stores(self, kind: Kind) -> bool:
        """Tell whether the application has a persistence that saves a kind."""
        persistence = self.application.persistence
        return persistence is not None and bool(getattr(persistence.store_data, kind))

    def settle(self) -> None:
        """Settle the finished steps of marked conversations, as `conversation_states` explains."""
        for name, keys in self.marks().conversations.items():
            for key in keys:
                settle(self.conversations[name], key)

    # Buttons and conversations -------------------------------------------------------------------

    def buttons(self) -> Iterable[EntityKey]:
        """Return the entity keys of the live keyboards and callback queries."""
        cache = self.application.bot.callback_data_cache
        return callback_data.split(cache.persistence_data) if self.keeps_buttons and cache else ()

    @property
    def keeps_buttons(self) -> bool:
        """Return whether buttons may have arbitrary data, and it is saved."""
        cache = self.application.bot.callback_data_cache
        return cache is not None and self.stores(Kind.CALLBACK_DATA)

    def put_buttons(self, data: CallbackData) -> None:
        """Replace all live keyboards and callback queries."""
        if (cache := self.application.bot.callback_data_cache) is not None:
            cache.clear_callback_data()
            cache.clear_callback_queries()
            cache.load_persistence_data(data)

    def put_state(self, name: str, key: Any, state: object | None) -> None:  # noqa: ANN401 - a conversation's key
        """Set the live state of a conversation, if its handler is registered.

        None ends the conversation.
        """
        if (states := self.conversations.get(name)) is not None:
            set_state(states, key, state)


def _keep(live: MutableMapping[Any, Any], keys: set[Any]) -> None:
    for key in live.keys() - keys:
        del live[key]
