"""The end of a bot that `run_polling` or `run_webhook` runs: save first, break off with a word.

PTB does one thing after the other when a bot ends, and saves last. Whatever raises before that, a
second stop signal included, leaves out the rest.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager

from ptb_s3._format.entities import BOT_DATA_KEY, EntityKey, Kind, counted
from ptb_s3._ptb.group_commit import GroupCommit
from ptb_s3._ptb.internals import App, Internals

# Exit status of a process whose end was broken off by a second stop signal.
BROKEN_OFF = 1


class Ending:
    """Order of a bot's end: one save, then PTB's own; at the second signal, no more of it.

    Args:
        save: Saves all; does not raise.

    Attributes:
        begun: Whether the end has begun, by a signal or by `Application.stop_running`.
    """

    def __init__(self, save: Callable[[], Coroutine[object, object, None]]) -> None:
        self.begun = False
        self._save = save
        self._signals = 0
        self._saving: asyncio.Task[None] | None = None
        self._under_way = False

    @property
    def is_broken_off(self) -> bool:
        """Whether a second signal has come."""
        return self._signals > 1

    def hear(self) -> None:
        """Begin the end at the first stop signal, and break it off at the second.

        Raises:
            SystemExit: It is the second.
        """
        self._signals += 1
        if self.is_broken_off:
            # PTB takes the first one for the beginning of an orderly end, while it still polls.
            asyncio.get_running_loop().call_soon(_exit, BROKEN_OFF)
            _exit(BROKEN_OFF)
        if not (self.begun or self._under_way):
            self.begin(_exit)

    def begin(self, leave: Callable[[], None]) -> None:
        """Save; then leave the loop, unless that has happened meanwhile."""
        self.begun = True

        def saved(_: object) -> None:
            if not self._under_way:
                leave()

        self._saving = asyncio.create_task(self._save())
        self._saving.add_done_callback(saved)

    @contextmanager
    def under_way(self) -> Iterator[None]:
        """Note that the application is being stopped, so that no loop is to be left for that."""
        before, self._under_way = self._under_way, True
        try:
            yield
        finally:
            self._under_way = before


def _exit(status: int | None = None) -> None:
    raise SystemExit(status)


def unsaved(application: App, internals: Internals, commits: GroupCommit) -> str:
    """Say of how many entities of each kind changes are not known to be durable; empty: of none.

    Args:
        application: Whose they are.
        internals: The same, from within.
        commits: Where it saves them.
    """
    waiting, objects, marks = commits.waiting(), commits.objects, internals.marks()
    types = application.context_types
    pristine = {
        Kind.USER_DATA: types.user_data,
        Kind.CHAT_DATA: types.chat_data,
        Kind.BOT_DATA: types.bot_data,
    }

    def add(kind: Kind, key: EntityKey, live: object) -> None:
        if not objects.untouched(kind, key, live, pristine[kind]()):
            waiting[kind].add(key)

    for kind, keys in marks.changed.items():
        live = internals.data(kind)
        for key in keys & live.keys():
            add(kind, key, live[key])
        waiting[kind].update(marks.dropped[kind])
    if internals.stores(Kind.BOT_DATA):
        add(Kind.BOT_DATA, BOT_DATA_KEY, application.bot_data)
    for name, changed in marks.conversations.items():
        waiting[Kind.CONVERSATIONS].update((name, key) for key in changed)
    buttons = internals.buttons()
    waiting[Kind.CALLBACK_DATA].update(
        key for key in buttons if objects.unseen(Kind.CALLBACK_DATA, key)
    )
    return counted(waiting)
