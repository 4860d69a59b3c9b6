"""Roll live objects back to what is committed, when a transaction is taken back.

A transaction begins when everything is saved (`host.prepare`). So whatever differs from the
committed state when it is taken back is its own: what it has marked, its subjects (the data of its
users and chats, and bot_data), buttons, and everything staged. What other writers have committed
meanwhile comes in the same way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any, Final, TypeAlias, cast

from ptb_s3._format.entities import BOT_DATA_KEY, EntityKey, Kind
from ptb_s3._ptb.conversation_states import states_in_memory
from ptb_s3._ptb.internals import Internals, Marks
from ptb_s3._ptb.live_objects import LiveObjects
from ptb_s3._ptb.refresh import become
from ptb_s3._ptb.takeover import left_alone
from ptb_s3._values import callback_data
from ptb_s3._values.copies import fill
from ptb_s3.errors import PersistenceError

_KINDS: Final = (Kind.USER_DATA, Kind.CHAT_DATA)
_UNKNOWN: Final = object()

Subjects: TypeAlias = Sequence[tuple[Kind, EntityKey]]
"""Entities that a transaction may change without marking them."""


def subjects_of(users: Iterable[int], chats: Iterable[int]) -> Subjects:
    """Return the subjects of a transaction: bot_data, and the data of these users and chats."""
    return [
        (Kind.BOT_DATA, BOT_DATA_KEY),
        *((Kind.USER_DATA, user) for user in users),
        *((Kind.CHAT_DATA, chat) for chat in chats),
    ]


class Rollback:
    """Memento of an application before a transaction, to which its live objects are reset.

    Args:
        internals: Application in which nothing is unsaved.
        objects: View of its live objects.
        subjects: What is about to be changed.

    Attributes:
        subjects: As above.
    """

    def __init__(self, internals: Internals, objects: LiveObjects, subjects: Subjects) -> None:
        self._application = internals.application
        self._internals = internals
        self._objects = objects
        self.subjects = subjects
        self._seen = {entity: objects.seen(*entity) for entity in subjects}
        self._in_memory = [(live, dict(live)) for live in states_in_memory(internals.application)]
        self._marks: list[Marks] = []

    def note_marks(self) -> None:
        """Keep the marks that the update has made, which a save is about to clear."""
        self._marks.append(self._internals.marks())

    def mark_again(self) -> None:
        """Restore all marks kept: a save that was cut short may not have handed everything over."""
        for marks in self._marks:
            self._internals.put_back(marks)

    def carry_out(self) -> None:
        """Reset live objects that the update or others have changed to the committed state."""
        self._marks.append(self._internals.take_marks())
        for kind in _KINDS:
            if self._internals.stores(kind):
                for key in self._changed(kind):
                    self._reset_data(kind, key)
        if self._internals.stores(Kind.BOT_DATA):
            self._reset_bot_data()
        self._reset_conversations()
        if self._internals.keeps_buttons:
            with left_alone(Kind.CALLBACK_DATA):
                data = self._objects.fetch_all(Kind.CALLBACK_DATA)
                self._internals.put_buttons(callback_data.join(cast("Any", data)))

    def reset_subjects(self) -> None:
        """Reset the subjects alone, where others work on the same application meanwhile."""
        for kind, key in self.subjects:
            if not self._internals.stores(kind):
                continue
            if kind is Kind.BOT_DATA:
                self._reset_bot_data()
            else:
                self._reset_data(kind, cast("int", key))

    def _changed(self, kind: Kind) -> set[int]:
        marked = (marks.changed[kind] | marks.dropped[kind] for marks in self._marks)
        own = {key for subject, key in self.subjects if subject is kind}
        return cast("set[int]", own.union(*marked, self._objects.overtaken(kind)))

    def _reset_data(self, kind: Kind, key: int) -> None:
        if self._internals.is_on_demand(kind) and key not in self._internals.data(kind):
            self._objects.skip(kind, key)  # nobody holds an object of it
            return
        value, data = self._fetch(kind, key), self._internals.data(kind)
        if value is None:
            data.pop(key, None)
        elif value is not _UNKNOWN:
            # To ask for an id is PTB's own way to make its object.
            data[key] = self._made_anew(kind, key, data[key], lambda: self._fetch(kind, key))

    def _reset_bot_data(self) -> None:
        pristine = self._application.context_types.bot_data

        def make() -> object:
            value = self._fetch(Kind.BOT_DATA, BOT_DATA_KEY)
            return pristine() if value is None else value

        if make() is not _UNKNOWN:
            live = self._application.bot_data
            live = self._made_anew(Kind.BOT_DATA, BOT_DATA_KEY, live, make)
            self._application.bot_data = live

    def _made_anew(
        self, kind: Kind, key: EntityKey, live: object, make: Callable[[], object]
    ) -> object:
        """Change a live object to a value, and return it or, failing that, a fresh object.

        Code of the bot's may hold a reference to the object, so it is changed in place where it can
        be. Its items that are never saved stay.

        Args:
            kind: Kind of the entity.
            key: Its key.
            live: Its live object.
            make: Makes a fresh object of the value.
        """
        kept = self._objects.kept(kind, key, live)

        def made() -> object:
            fresh = make()
            if isinstance(fresh, dict):
                fill(fresh, kept)
            return fresh

        with suppress(Exception):  # objects' own code
            become(live, made())
            if self._objects.untouched(kind, key, live, make()):
                return live
        return made()

    def _reset_conversations(self) -> None:
        changed = {
            (name, key)
            for marks in self._marks
            for name, keys in marks.conversations.items()
            for key in keys
        }
        others = cast("list[tuple[str, Any]]", self._objects.overtaken(Kind.CONVERSATIONS))
        for name, key in changed.union(others):
            with left_alone(Kind.CONVERSATIONS):
                state = self._objects.fetch(Kind.CONVERSATIONS, (name, key))
                self._internals.put_state(name, key, state)
        for live, was in self._in_memory:
            live.clear()
            live.update(was)

    def _fetch(self, kind: Kind, key: EntityKey) -> object:
        """Return an entity as committed or, if that does not load, as the update has found it."""
        with suppress(PersistenceError):
            return self._objects.fetch(kind, key)
        with suppress(PersistenceError, KeyError):
            return self._objects.go_back(kind, key, self._seen[kind, key])
        return _UNKNOWN
