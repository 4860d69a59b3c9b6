"""`PersistentApplication`: an `Application` that loses nothing on its way to the persistence."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator
from contextlib import suppress
from copy import deepcopy
from functools import update_wrapper
from typing import Any, Concatenate, NamedTuple, ParamSpec, cast

from telegram import Message
from telegram.ext import Application

from ptb_s3._engine.loop_locks import LoopLock
from ptb_s3._format.entities import BOT_DATA_KEY, EntityKey, Kind
from ptb_s3._ptb.commit_group import SHARED
from ptb_s3._ptb.group_commit import GroupCommit
from ptb_s3._ptb.internals import Internals, Marks, is_initialized, settled_states, will_read
from ptb_s3._ptb.shutdown_sequence import Ending, unsaved
from ptb_s3._values.callback_data import CallbackData
from ptb_s3._values.sameness import alike
from ptb_s3._values.saved_forms import DIVISIBLE, rebuilt, rest_of, unsaved_in
from ptb_s3._values.uncopied import Uncopied
from ptb_s3.errors import PersistenceError, SerializationError
from ptb_s3.persistence import S3Persistence

# Tries to copy once more, when the bot is stopped, what changed under the last one's hands, and
# seconds between two of them.
COPY_TRIES = 5
COPY_PAUSE = 0.05

_NOTHING = object()  # was staged: not `None`, which is a drop

_LOGGER = logging.getLogger("ptb_s3")

_Arguments = ParamSpec("_Arguments")
_Run = Callable[Concatenate["PersistentApplication", _Arguments], None]


def _with_a_last_word(
    run: Callable[Concatenate[Application[Any, Any, Any, Any, Any, Any], _Arguments], None],
) -> _Run[_Arguments]:
    """Have a run of the bot say what is unsaved where its end breaks off."""

    def run_and_say(
        self: PersistentApplication, /, *args: _Arguments.args, **kwargs: _Arguments.kwargs
    ) -> None:
        self._ending = Ending(self._save_at_the_end)
        try:
            run(self, *args, **kwargs)
        except PersistenceError:
            raise  # which says it
        except BaseException as failure:
            self._say_unsaved(failure)
            raise

    update_wrapper(run_and_say, run)
    return run_and_say


class PersistentApplication(Application[Any, Any, Any, Any, Any, Any]):
    """PTB's `Application`, mended where what it does to a persistence loses data.

    * A value that cannot be copied is named to the error handlers, once, and all others are saved;
      it goes with the first save that can copy it. PTB's own ends its updates of the persistence
      then, for good and without a word. With a :class:`ptb_s3.S3Persistence`, only the top-level
      keys in question are left out of a dictionary, and what is in its `unsaved` is not copied.
    * A user or chat that is dropped and comes back within one interval is dropped and saved. PTB's
      own drops it alone.
    * A group that becomes a supergroup keeps its data, though Telegram says so twice. PTB's own
      replaces it by nothing then.
    * The end of the bot begins with a save: at the first stop signal, `stop_running`, `stop` and
      `shutdown`, before anything else of it can fail; what changes after that is saved when `stop`
      is done, and by `shutdown`. A second signal ends the process with status 1, and the log says
      what is unsaved. PTB's own saves last, or not at all.
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
        self._internals.on_stop_signal(self._hear_signal)
        self._ending = Ending(self._save_at_the_end)
        self._saving = LoopLock()
        # What could not be copied for the last save, and why.
        self._uncopied: dict[tuple[Kind, EntityKey], _Uncopied] = {}
        # The drops that the persistence has been told of, each with what was staged before it.
        self._told: dict[Kind, dict[int, Any]] = {Kind.USER_DATA: {}, Kind.CHAT_DATA: {}}
        # The copies of the last save that are not handed over yet: nobody else has them.
        self._copied: dict[Kind, dict[EntityKey, Any]] = {}

    @property
    def _commits(self) -> GroupCommit | None:
        """What takes changes, where the persistence is ours, and loaded."""
        persistence = self.persistence
        return persistence.open_already if isinstance(persistence, S3Persistence) else None

    async def initialize(self) -> None:
        """Initialise it with what there is now: as `Application.initialize`, also a second time."""
        if self._commits is not None and will_read(self):
            self._internals.forget()
        await super().initialize()

    run_polling = _with_a_last_word(Application.run_polling)
    run_webhook = _with_a_last_word(Application.run_webhook)

    def _hear_signal(self) -> None:
        self._ending.hear()  # of the run that is under way

    def stop_running(self) -> None:
        """Save, then have `run_polling` or `run_webhook` end: as `Application.stop_running`."""
        if not self.running:
            super().stop_running()
        elif not self._ending.begun:
            self._ending.begin(super().stop_running)

    async def stop(self) -> None:
        """Stop as `Application.stop`; save before that, and what it has changed."""
        if not self.running:
            await super().stop()  # which refuses
            return
        with self._ending.under_way():
            if not self._ending.begun:
                await self._save_at_the_end()
            try:
                await super().stop()
            except Exception:  # a job queue's, for one
                await self._save_at_the_end()
                raise
            await self._save_at_the_end()

    async def shutdown(self) -> None:
        """Save, then shut down as `Application.shutdown`, which saves once more."""
        with self._ending.under_way():
            if not self.running:
                await self._save_at_the_end()
            await super().shutdown()

    async def _save_at_the_end(self) -> None:
        """Save within the time that a stop may take; whatever fails, the end goes on."""
        commits = self._commits
        if will_read(self) or (commits is None and isinstance(self.persistence, S3Persistence)):
            return  # nothing is loaded
        if commits is not None:
            commits.stop.application = self
            commits.stop.look(begins=True)
        try:
            await self.update_persistence()
        except Exception as failure:  # noqa: BLE001 - of a persistence that is not ours
            await self.process_error(update=None, error=failure)
        if commits is not None and not commits.repository.dirty:
            commits.stop.relax()

    def _say_unsaved(self, failure: BaseException) -> None:
        """Say what is lost with the process, whose bot did not come to its end."""
        commits, by_signal = self._commits, self._ending.is_broken_off
        what = "" if commits is None else unsaved(self, self._internals, commits)
        if what or by_signal:
            _LOGGER.error(
                "The bot's end was broken off by %s. Not saved, and lost: %s.",
                "a second stop signal" if by_signal else type(failure).__name__,
                what or ("nothing" if commits is not None else "what its persistence lacks"),
            )

    async def process_update(self, update: object) -> None:
        """Bring in what other instances have committed; then as `Application.process_update`."""
        commits = self._commits
        if commits is not None:
            await commits.look()
            if self.persistence and self.persistence.store_data.bot_data:
                pristine = self.context_types.bot_data
                commits.refresh(Kind.BOT_DATA, BOT_DATA_KEY, self.bot_data, pristine)
            self._internals.bring_in(commits.objects)
        await super().process_update(update)

    def migrate_chat_data(
        self,
        message: Message | None = None,
        old_chat_id: int | None = None,
        new_chat_id: int | None = None,
    ) -> None:
        """Move a chat's data to another chat, where there is some to be moved.

        Otherwise as `Application.migrate_chat_data`. Where a group becomes a supergroup, both chats
        get a message of it, and handlers call this for each. The second call finds nothing left in
        the old chat, and leaves the new one's data as it is.

        Args:
            message (:class:`telegram.Message`, optional): A message that says so.
            old_chat_id (:obj:`int`, optional): The old chat, in the place of a message.
            new_chat_id (:obj:`int`, optional): The new chat, likewise.

        Raises:
            ValueError: As `Application.migrate_chat_data` does.
        """
        old, new = old_chat_id, new_chat_id
        if message is not None and not (old or new):
            old = message.migrate_from_chat_id or message.chat.id
            new = message.migrate_to_chat_id or message.chat.id
            moves = old != new  # else it says nothing of the kind, which PTB refuses
        else:
            moves = message is None and isinstance(old, int) and isinstance(new, int)
        if not moves or (old != new and self._has_chat_data(cast("int", old))):
            super().migrate_chat_data(message, old_chat_id, new_chat_id)
        elif old != new and old in self.chat_data:
            self.drop_chat_data(cast("int", old))  # an empty one, as PTB makes them by itself

    def _has_chat_data(self, chat_id: int) -> bool:
        if chat_id not in self.chat_data:
            return False
        data: object = self.chat_data[chat_id]
        if type(data) is dict:
            return bool(data)
        return not alike(data, self.context_types.chat_data())

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
        if commits is not None and _overrides(self.persistence, f"drop_{kind.value}"):
            return  # it is called for each when that is saved, and may do otherwise
        if commits is not None and self.persistence and getattr(self.persistence.store_data, kind):
            # Nor what was copied of it for a save that is under way.
            self._copied.get(kind, {}).pop(key, None)
            commits.withdraw(kind, key)
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
        await self._save()
        if self._uncopied and not is_initialized(self.bot):  # no other save follows
            for _ in range(COPY_TRIES):
                await asyncio.sleep(COPY_PAUSE)
                await self._save()
                if not self._uncopied:
                    return
            _LOGGER.error(
                "What has changed in %d values since they were last saved is lost at this stop: "
                "they cannot be copied. The error handlers have been told which.",
                len(self._uncopied),
            )

    async def _save(self) -> None:
        if self._commits is not None:
            self._commits.stop.application = self
        async with self._saving.here():
            failures: list[Exception] = []
            marks = self._internals.take_marks()
            SHARED.set(True)
            try:
                # All of them start in one tick of the loop, and a drop before what comes after it.
                calls = self._calls(marks, failures)
                results = await asyncio.gather(*calls, return_exceptions=True)
            except BaseException:
                self._internals.put_back(marks)  # nothing may have been handed over yet
                raise
            finally:
                SHARED.set(False)  # no reset: a loop that is gone ends it in another context
            failures += [result for result in results if isinstance(result, Exception)]
            await asyncio.gather(*(self.process_error(update=None, error=f) for f in failures))

    def _calls(self, marks: Marks, failures: list[Exception]) -> Iterator[Awaitable[object]]:
        """Make the calls of the persistence; add to the failures what cannot be copied for one."""
        assert self.persistence is not None  # noqa: S101 - for mypy; the only caller has looked
        persistence, stores = self.persistence, self.persistence.store_data
        copies = _Copies(self._uncopied, failures, persistence)
        self._uncopied = copies.failed
        if self._commits is not None:
            yield self._commits.join()  # there may be nothing but a drop, which it knows of
        cache = self.bot.callback_data_cache if stores.callback_data else None
        if cache is not None:
            for data in copies.of(Kind.CALLBACK_DATA, [(None, cache.persistence_data)]).values():
                yield _called(persistence.update_callback_data, data)
        if stores.bot_data:
            for data in copies.of(Kind.BOT_DATA, [(BOT_DATA_KEY, self.bot_data)]).values():
                yield _called(persistence.update_bot_data, data)
        if stores.chat_data:
            chats = persistence.drop_chat_data, persistence.update_chat_data
            yield from self._of_each(Kind.CHAT_DATA, marks, *chats, copies)
        if stores.user_data:
            users = persistence.drop_user_data, persistence.update_user_data
            yield from self._of_each(Kind.USER_DATA, marks, *users, copies)
        for name, keys in marks.conversations.items():
            states = settled_states(self._internals.conversations[name], keys)
            named = (((name, key), state) for key, state in states)
            for (_, key), state in copies.of(Kind.CONVERSATIONS, named).items():
                yield _called(persistence.update_conversation, name, key, state)
        self._internals.put_back(copies.marks)

    def _of_each(
        self,
        kind: Kind,
        marks: Marks,
        drop: Callable[[int], Awaitable[None]],
        update: Callable[[int, Any], Awaitable[None]],
        copies: _Copies,
    ) -> Iterator[Awaitable[object]]:
        """Make the calls for users or for chats: a drop first, and then what came after it."""
        told, self._told[kind] = self._told[kind], {}
        yield from (_called(drop, key) for key in marks.dropped[kind] - told.keys())
        live = self._internals.data(kind)
        changed = copies.of(kind, ((key, live[key]) for key in marks.changed[kind] & live.keys()))
        if self._commits is not None and not _overrides(self.persistence, f"update_{kind.value}"):
            self._copied[kind] = changed
            yield self._commits.record_many(kind, changed, copies.failures)
        else:
            yield from (_called(update, key, copy) for key, copy in changed.items())


def _called(method: Callable[..., Awaitable[None]], *arguments: object) -> Awaitable[None]:
    """Call a method that somebody may have overridden; what it raises is raised when awaited."""
    try:
        return method(*arguments)
    except Exception as error:  # noqa: BLE001 - anybody's code
        return _raising(error)


async def _raising(error: Exception) -> None:
    raise error


def _overrides(persistence: object, method: str) -> bool:
    """Tell whether a persistence does something of its own where ours has a way around."""
    own = isinstance(persistence, S3Persistence) and method not in vars(persistence)
    return not (own and getattr(type(persistence), method) is getattr(S3Persistence, method))


class _Uncopied(NamedTuple):
    """What could not be copied of an entity.

    Attributes:
        why: Name of the class of the error, where it is the whole entity.
        keys: Else, the keys whose values could not be.
    """

    why: str = ""
    keys: frozenset[Any] = frozenset()


class _Copies:
    """Copies of one save's values; what cannot be copied is for the next one.

    Args:
        failed_before: What could not be copied for the last save: it has been told.
        failures: Where to add what has not.
        persistence: What they are for. Ours keeps the last good value where a copy has a
            placeholder, and tells of it; another one gets no copy of an entity that has such parts.

    Attributes:
        failed: What cannot be copied.
        failures: As above.
    """

    def __init__(
        self,
        failed_before: dict[tuple[Kind, EntityKey], _Uncopied],
        failures: list[Exception],
        persistence: object,
    ) -> None:
        self._failed_before = failed_before
        self.failed: dict[tuple[Kind, EntityKey], _Uncopied] = {}
        self.failures = failures
        self._ours = persistence if isinstance(persistence, S3Persistence) else None

    def of(self, kind: Kind, items: Iterable[tuple[Any, Any]]) -> dict[Any, Any]:
        """Return copies of values, by key."""
        copies: dict[Any, Any] = {}
        unsaved = self._ours.unsaved.get(kind, ()) if self._ours is not None else ()
        at_once = not (unsaved or self._failed_before)
        for key, value in items:
            if at_once:  # as nearly always, and there may be thousands
                try:
                    copies[key] = deepcopy(value)
                except Exception:  # noqa: BLE001, S110 - objects' own code may raise anything
                    pass
                else:
                    continue
            try:
                copies[key] = self._copy(kind, key, value, unsaved)
            except Exception as error:  # noqa: BLE001 - as above
                self._note(kind, key, type(error).__name__)
        return copies

    def _copy(self, kind: Kind, key: Any, value: Any, unsaved: Collection[Any]) -> object:  # noqa: ANN401 - an entity's
        """Copy what can be copied of a value, and note what cannot be.

        Raises:
            Exception: Nothing of it can.
        """
        copy: object
        if self._ours is not None and kind is Kind.CALLBACK_DATA:
            copy, keys = self._buttons(value)
        elif self._ours is not None and kind in DIVISIBLE and isinstance(value, dict):
            before = self._failed_before.get((kind, key), _Uncopied()).keys
            found = unsaved_in(unsaved, value)
            copy, keys = _parts(rest_of(value, found), before)
        else:
            return deepcopy(value)
        if keys:
            self.failed[kind, key] = _Uncopied(keys=keys)
        return copy

    @staticmethod
    def _buttons(data: CallbackData) -> tuple[CallbackData, frozenset[Any]]:
        """Copy callback data, keyboard by keyboard; return that, and those with placeholders."""
        keyboards, queries = data
        copied, failed = [], set()
        for uuid, time, buttons in keyboards:
            copy, keys = _parts(buttons)
            copied.append((uuid, time, copy))
            if keys:
                failed.add(uuid)
        return (copied, deepcopy(queries)), frozenset(failed)

    def _note(self, kind: Kind, key: Any, why: str) -> None:  # noqa: ANN401 - an entity's
        self.failed[kind, key] = _Uncopied(why)
        # Without the error itself: its text may quote what is in the value.
        fault = SerializationError(f"it cannot be copied ({why})").locate(kind.value, key)
        if self._failed_before.get((kind, key)) != self.failed[kind, key]:
            self.failures.append(fault)
        commits = self._ours and self._ours.open_already
        if commits:
            commits.tell([fault])

    @property
    def marks(self) -> Marks:
        """What is to be saved next, since it could not be now."""
        marks = Marks({Kind.USER_DATA: set(), Kind.CHAT_DATA: set()}, _no_drops(), {})
        for kind, key in self.failed:
            if kind is Kind.CONVERSATIONS:
                name, own = cast("Any", key)
                marks.conversations.setdefault(name, set()).add(own)
            elif kind in marks.changed:  # the others are saved each time
                marks.changed[kind].add(cast("int", key))
        return marks


def _no_drops() -> dict[Kind, set[int]]:
    return {Kind.USER_DATA: set(), Kind.CHAT_DATA: set()}


def _parts(
    value: dict[Any, Any], suspects: Collection[Any] = ()
) -> tuple[dict[Any, Any], frozenset[Any]]:
    """Copy a dictionary, with placeholders for what cannot be copied; return that, and their keys.

    Args:
        value: The dictionary.
        suspects: Keys that are tried first: where these alone are bad, the rest is copied at once.

    Raises:
        Exception: It is not its values that cannot be copied.
    """
    with suppress(Exception):
        return _copied_but(value, suspects)
    return _copied_but(value, dict.keys(value))


def _copied_but(
    value: dict[Any, Any], tried: Collection[Any]
) -> tuple[dict[Any, Any], frozenset[Any]]:
    """Copy a dictionary, with placeholders for those of some keys that cannot be copied."""
    bad = {key: mark for key in tried if (mark := _placeholder(value, key)) is not None}
    if bad:
        value = rebuilt(value, [(key, bad.get(key, one)) for key, one in dict.items(value)])
    return deepcopy(value), frozenset(bad)


def _placeholder(value: dict[Any, Any], key: Any) -> Uncopied | None:  # noqa: ANN401 - a dictionary's
    """Return what stands for a value that cannot be copied; None: it can be, or is not there."""
    try:
        deepcopy(dict.get(value, key))
    except Exception as error:  # noqa: BLE001 - objects' own code may raise anything
        return Uncopied(type(error).__name__)
    return None
