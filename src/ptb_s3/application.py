"""`PersistentApplication`: an `Application` that loses nothing on its way to the persistence."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator
from copy import deepcopy
from typing import Any, TypeVar, cast

from telegram.ext import Application

from ptb_s3._group_commit import GroupCommit
from ptb_s3._ptb import Internals, Marks, settled_states
from ptb_s3._state import BOT_DATA_KEY, Key, Kind
from ptb_s3.errors import SerializationError
from ptb_s3.persistence import S3Persistence

_K = TypeVar("_K")
_T = TypeVar("_T")

_NOTHING = object()  # was staged: not `None`, which is a drop


class PersistentApplication(Application[Any, Any, Any, Any, Any, Any]):
    """PTB's `Application`, mended where what it does to a persistence loses data.

    * A value that cannot be copied is named to the error handlers, and all others are saved.
      PTB's own ends its updates of the persistence then, for good and without a word.
    * A user or chat that is dropped and comes back within one interval is dropped and saved. PTB's
      own drops it alone.
    * Before each update, what other instances of the bot have committed is brought in: users and
      chats that came or went, states of conversations, and buttons with data; as often as the
      persistence's `sync` says.

    Use it with ``ApplicationBuilder().application_class(PersistentApplication)``, and any
    persistence; the last one takes a :class:`ptb_s3.S3Persistence`.

    Raises:
        SettingsError: This version of PTB has changed within, so that it cannot be mended.
    """

    def __init__(self, **arguments: Any) -> None:  # noqa: ANN401 - those of `Application`
        super().__init__(**arguments)
        self._internals = Internals(self)
        self._saving = asyncio.Lock()
        # The drops that the persistence has been told of, each with what was staged before it.
        self._told: dict[Kind, dict[int, Any]] = {Kind.USER_DATA: {}, Kind.CHAT_DATA: {}}

    @property
    def _commits(self) -> GroupCommit | None:
        """What takes changes, where the persistence is ours, and loaded."""
        persistence = self.persistence
        return persistence.open_already if isinstance(persistence, S3Persistence) else None

    async def process_update(self, update: object) -> None:
        """Bring in what other instances have committed; then as `Application.process_update`."""
        commits = self._commits
        if commits is not None:
            await commits.look()
            self._internals.bring_in(commits.objects)
        await super().process_update(update)

    def drop_user_data(self, user_id: int) -> None:
        """Drop a user's data, here and for other instances: as `Application.drop_user_data`."""
        super().drop_user_data(user_id)
        self._note_drop(Kind.USER_DATA, user_id)

    def drop_chat_data(self, chat_id: int) -> None:
        """Drop a chat's data, here and for other instances: as `Application.drop_chat_data`."""
        super().drop_chat_data(chat_id)
        self._note_drop(Kind.CHAT_DATA, chat_id)

    def _note_drop(self, kind: Kind, key: int) -> None:
        # Of a drop, PTB tells when it saves. What another instance has made of the data must not
        # come back to life in between.
        commits = self._commits
        if commits is not None and self.persistence and getattr(self.persistence.store_data, kind):
            staged = commits.repository.staged
            self._told[kind].setdefault(key, staged.dirty[kind].get(key, _NOTHING))
            staged.drop(kind, key)

    def take_back_drops(self) -> None:
        """Take back the drops since the last save: the update that made them broke off."""
        commits = self._commits
        if commits is None:
            return
        for kind, told in self._told.items():
            dirty = commits.repository.staged.dirty[kind]
            for key, before in told.items():
                dirty.pop(key, None)
                if before is not _NOTHING:
                    dirty[key] = before
            told.clear()

    async def update_persistence(self) -> None:
        """Hand everything that has changed to the persistence; errors go to the error handlers."""
        if self.persistence is None:
            return
        async with self._saving:
            failures: list[Exception] = []
            # All of them start in one tick of the loop, and a drop before what comes after it.
            calls = list(self._calls(failures))
            if self._commits is not None:
                self._commits.tell(failures)  # what cannot be copied, it does not hear of
            results = await asyncio.gather(*calls, return_exceptions=True)
            failures += [result for result in results if isinstance(result, Exception)]
            await asyncio.gather(*(self.process_error(update=None, error=f) for f in failures))

    def _calls(self, failures: list[Exception]) -> Iterator[Awaitable[None]]:
        """Make the calls of the persistence; add to the failures what cannot be copied for one."""
        assert self.persistence is not None  # noqa: S101 - for mypy; the only caller has looked
        persistence, stores = self.persistence, self.persistence.store_data
        marks = self._internals.take_marks()
        if self._commits is not None:
            yield self._commits.join()  # there may be nothing but a drop, which it knows of
        cache = self.bot.callback_data_cache if stores.callback_data else None
        if cache is not None:
            buttons = [(None, cache.persistence_data)]
            for data in _copies(Kind.CALLBACK_DATA, buttons, failures).values():
                yield persistence.update_callback_data(data)
        if stores.bot_data:
            own = [(BOT_DATA_KEY, self.bot_data)]
            for data in _copies(Kind.BOT_DATA, own, failures).values():
                yield persistence.update_bot_data(data)
        if stores.chat_data:
            yield from self._of_each(
                Kind.CHAT_DATA,
                marks,
                persistence.drop_chat_data,
                persistence.update_chat_data,
                failures,
            )
        if stores.user_data:
            yield from self._of_each(
                Kind.USER_DATA,
                marks,
                persistence.drop_user_data,
                persistence.update_user_data,
                failures,
            )
        for name, keys in marks.conversations.items():
            for key, state in settled_states(self._internals.conversations[name], keys):
                yield persistence.update_conversation(name, key, state)

    def _of_each(
        self,
        kind: Kind,
        marks: Marks,
        drop: Callable[[int], Awaitable[None]],
        update: Callable[[int, Any], Awaitable[None]],
        failures: list[Exception],
    ) -> Iterator[Awaitable[None]]:
        """Make the calls for users or for chats: a drop first, and then what came after it."""
        told, self._told[kind] = self._told[kind], {}
        yield from map(drop, marks.dropped[kind] - told.keys())
        live = self._internals.data(kind)
        changed = ((key, live[key]) for key in marks.changed[kind] & live.keys())
        copies: dict[Key, Any] = _copies(kind, changed, failures)
        if self._commits is not None:
            yield _record(self._commits, kind, copies, failures)
        else:
            yield from (update(cast("int", key), copy) for key, copy in copies.items())


async def _record(
    commits: GroupCommit, kind: Kind, copies: dict[Key, Any], failures: list[Exception]
) -> None:
    """Hand over many values in one call: ten thousand of these would hold up the loop."""
    failures += await commits.record_many(kind, copies)


def _copies(kind: Kind, items: Iterable[tuple[_K, _T]], failures: list[Exception]) -> dict[_K, _T]:
    """Return copies of values, by key; add to the failures what cannot be copied."""
    copies: dict[_K, _T] = {}
    for key, value in items:
        try:
            copies[key] = deepcopy(value)
        except Exception as error:  # noqa: BLE001 - objects' own code may raise anything
            # Without the error itself: its text may quote what is in the value.
            fault = SerializationError(f"it cannot be copied ({type(error).__name__})")
            failures.append(fault.locate(kind.value, key))
    return copies
