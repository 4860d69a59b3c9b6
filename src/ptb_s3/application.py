"""`PersistentApplication`: an `Application` that loses nothing on its way to the persistence.

This module has what replaces methods of PTB's `Application`. How values are copied, drops staged,
and a run of the bot ended, is in `ptb_s3._ptb`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import partial, update_wrapper
from typing import Any, Concatenate, ParamSpec, cast

from telegram import Message, Update
from telegram.ext import Application, ConversationHandler

from ptb_s3._engine.loop_locks import LoopLock
from ptb_s3._format.entities import BOT_DATA_KEY, EntityKey, Kind
from ptb_s3._ptb.application_state import is_initialized, will_read
from ptb_s3._ptb.commit_group import IN_APPLICATION_SAVE
from ptb_s3._ptb.conversation_states import settled_states
from ptb_s3._ptb.copies import Copies, CopyFailures
from ptb_s3._ptb.group_commit import GroupCommit
from ptb_s3._ptb.internals import Internals, Marks
from ptb_s3._ptb.on_demand import OnDemandData, ensure, prefetch, unreadable
from ptb_s3._ptb.rollback import subjects_of
from ptb_s3._ptb.shutdown_sequence import ShutdownSequence
from ptb_s3._ptb.staged_drops import StagedDrops
from ptb_s3._ptb.state_loader import loader_of
from ptb_s3._ptb.takeover import bring_in
from ptb_s3._ptb.transaction import work_of
from ptb_s3._ptb.unsaved_changes import describe_unsaved
from ptb_s3._values.equality import alike
from ptb_s3.errors import PersistenceError, SettingsError
from ptb_s3.job_queue import PersistentJobQueue
from ptb_s3.persistence import S3Persistence

__all__ = ["PersistentApplication"]

# Further attempts, at the last save of a bot, to copy what changed while it was copied, and seconds
# between two of them: a quarter of a second of a timeout of 8 s.
COPY_TRIES = 5
COPY_PAUSE = 0.05

_LOGGER = logging.getLogger("ptb_s3")

_Arguments = ParamSpec("_Arguments")
_Run = Callable[Concatenate["PersistentApplication", _Arguments], None]


def _logging_unsaved(
    run: Callable[Concatenate[Application[Any, Any, Any, Any, Any, Any], _Arguments], None],
) -> _Run[_Arguments]:
    """Wrap a run of the bot, to log what is unsaved if the run ends before its last save."""

    def run_and_log(
        self: PersistentApplication, /, *args: _Arguments.args, **kwargs: _Arguments.kwargs
    ) -> None:
        self._ending = ShutdownSequence(self._save_at_the_end)
        try:
            run(self, *args, **kwargs)
        except PersistenceError:
            raise  # its text says what is unsaved
        except BaseException as failure:
            self._log_unsaved(failure)
            raise

    update_wrapper(run_and_log, run)
    return run_and_log


class PersistentApplication(Application[Any, Any, Any, Any, Any, Any]):
    """Application that closes the gaps through which PTB's own loses data on its way to be saved.

    * **Values that cannot be copied.** The error handlers are told of each once, and all others are
      saved; it goes with the first save that can copy it. PTB's own ends its updates of the
      persistence then, for good and without a word. With a :class:`ptb_s3.S3Persistence`, only the
      top-level keys in question are left out of a dictionary, and what is in its `unsaved` is not
      copied.
    * **Drops.** A user or chat that is dropped and comes back within one interval is dropped and
      saved. PTB's own only drops it.
    * **Migrations.** A group that becomes a supergroup keeps its data, though Telegram says so
      twice. PTB's own then replaces the data with nothing.
    * **The end.** It begins with a save: at the first stop signal, `stop_running`, `stop` and
      `shutdown`, before anything else of it can fail. What changes after that is saved when `stop`
      is done, and by `shutdown`. A second signal ends the process with status 1, and the log says
      what is unsaved. PTB's own saves last, or not at all.
    * **Other instances.** Before each update, what they have committed is brought in: users and
      chats that came or went, states of conversations, and buttons with data, as often as the
      persistence's `sync` says. This needs a :class:`ptb_s3.S3Persistence`; all else works with
      any persistence.

    Example:
        .. code:: python

            application = (
                ApplicationBuilder()
                .application_class(PersistentApplication)
                .token(token)
                .persistence(S3Persistence.from_env())
                .build()
            )

    Args:
        **arguments: Those of :class:`telegram.ext.Application`, which the builder gives.

    Raises:
        SettingsError: This version of PTB has renamed a private attribute that is needed for it, or
            the persistence is to read on demand and has a getter of its own.
    """

    def __init__(self, **arguments: Any) -> None:  # noqa: ANN401 - those of `Application`
        super().__init__(**arguments)
        self._internals = Internals(self)
        self._internals.on_stop_signal(self._on_signal)
        self._internals.on_conversations(self._on_conversations)
        self._ending = ShutdownSequence(self._save_at_the_end)
        self._saving = LoopLock()
        self._uncopied: CopyFailures = {}
        self._drops = StagedDrops()
        # Drops that the save under way hands over to a method which a subclass overrides.
        self._handed_over: dict[Kind, set[int]] = {}
        # Copies of the save that is under way, which are the only ones until they are handed over.
        self._copied: dict[Kind, dict[EntityKey, Any]] = {}
        self._read_on_demand()

    def _read_on_demand(self) -> None:
        """Have users and chats read when they are asked for, if the persistence is to."""
        if isinstance(self.persistence, S3Persistence):
            loader, types = loader_of(self.persistence), self.context_types
            loader.reads_on_demand = True
            for kind in loader.options.on_demand:
                self._require_own_getter(f"get_{kind.value}")
                new = types.user_data if kind is Kind.USER_DATA else types.chat_data
                dropped = partial(self._dropped_unstaged, kind)
                data = OnDemandData(kind, new, lambda: loader.commits, dropped)
                self._internals.read_on_demand(kind, data)
            queue = self._job_queue
            if loader.options.on_demand and queue and not isinstance(queue, PersistentJobQueue):
                from ptb_s3._jobs.prefetching import prefetch_for  # noqa: PLC0415 - as `job_queue`

                prefetch_for(queue, lambda: loader.commits)

    def _require_own_getter(self, method: str) -> None:
        """Refuse a persistence whose subclass makes something else of what is saved.

        Nothing that is read on demand would go through it: handlers would see the saved form, and
        a counterpart that makes that form of theirs would do so twice.

        Raises:
            SettingsError: It overrides the method.
        """
        if _overrides(self.persistence, method):
            raise SettingsError(
                f"{type(self.persistence).__name__} overrides {method}(), which nothing calls with "
                'load="on_demand". Leave load= (PTB_S3_LOAD) out, or the method.'
            )

    async def prefetch(self, users: Iterable[int] = (), chats: Iterable[int] = ()) -> None:
        """Read the data of users and chats ahead, before code asks for it that cannot await.

        With ``load="on_demand"``, an update's own user and chat are read before its handlers run,
        and a job's before it runs. Any other one that code asks for, as by
        ``application.user_data[id]``, is read then and there, and the event loop waits: name them
        here before. With ``load="all"`` there is nothing to do.

        Args:
            users (Iterable[:obj:`int`], optional): Ids of users.
            chats (Iterable[:obj:`int`], optional): Ids of chats.

        Raises:
            PersistenceError: They cannot be read, after 30 s of trying.
        """
        if self._commits is not None:
            await prefetch(self._commits, subjects_of(users, chats))

    @property
    def _commits(self) -> GroupCommit | None:
        """Return the group commit, if the persistence is ours and loaded."""
        persistence = self.persistence
        return loader_of(persistence).commits if isinstance(persistence, S3Persistence) else None

    async def initialize(self) -> None:
        """Initialise with the present state, also a second time: as `Application.initialize`."""
        reads = will_read(self)
        if self._commits is not None and reads:
            self._internals.forget()
            loader_of(cast("S3Persistence[Any, Any, Any]", self.persistence)).begin_start()
        own = self.persistence if isinstance(self.persistence, S3Persistence) else None
        with nullcontext() if own is None else loader_of(own).starting():
            await super().initialize()
        if self._commits is not None and reads:
            await self._internals.begin_on_demand(self._commits)

    run_polling = _logging_unsaved(Application.run_polling)
    run_webhook = _logging_unsaved(Application.run_webhook)

    def _on_signal(self) -> None:
        self._ending.on_signal()  # each run has a sequence of its own

    def stop_running(self) -> None:
        """Save, then have `run_polling` or `run_webhook` end: as `Application.stop_running`."""
        if not self.running:
            super().stop_running()
        elif not self._ending.begun:
            self._ending.begin(super().stop_running)

    async def stop(self) -> None:
        """Stop as `Application.stop`, with a save before and after."""
        if not self.running:
            await super().stop()  # which refuses
            return
        with self._ending.under_way():
            if not self._ending.begun:
                await self._save_at_the_end()
            try:
                await super().stop()
            finally:  # also where it fails, as with a job queue's error
                await self._save_at_the_end()
                if self._commits is not None:
                    self._commits.shutdown.allow_reads()

    async def shutdown(self) -> None:
        """Save, then shut down as `Application.shutdown`, which saves once more."""
        with self._ending.under_way():
            if not self.running:
                await self._save_at_the_end()
            await super().shutdown()

    async def _save_at_the_end(self) -> None:
        """Save within the time that a shutdown may take. Raises nothing: the shutdown goes on."""
        commits = self._commits
        if will_read(self) or (commits is None and isinstance(self.persistence, S3Persistence)):
            return  # nothing is loaded
        if commits is not None:
            commits.shutdown.application = self
            commits.shutdown.check(begins=True)
        try:
            await self.update_persistence()
        except Exception as failure:  # noqa: BLE001 - of a persistence that is not ours
            await self.process_error(update=None, error=failure)
        if commits is not None and not commits.repository.dirty:
            commits.shutdown.relax()

    def _log_unsaved(self, failure: BaseException) -> None:
        """Log what is lost with the process, since the bot's end was broken off."""
        commits, by_signal = self._commits, self._ending.is_broken_off
        what = "" if commits is None else describe_unsaved(self._internals, commits)
        if what or by_signal:
            _LOGGER.error(
                "The bot's end was broken off by %s. Not saved, and lost: %s.",
                "a second stop signal" if by_signal else type(failure).__name__,
                what or ("nothing" if commits is not None else "what its persistence lacks"),
            )

    async def process_update(self, update: object) -> None:
        """Bring in what other instances have committed, then do as `Application.process_update`."""
        commits = self._commits
        if commits is not None:
            await commits.peers.look()
            if not await self._has_read(update, commits):
                return
            if self.persistence and self.persistence.store_data.bot_data:
                pristine = self.context_types.bot_data
                commits.peers.refresh(Kind.BOT_DATA, BOT_DATA_KEY, self.bot_data, pristine)
            bring_in(self._internals, commits.objects)
            commits.bring_in()
        with self._jobs_of_update():
            await super().process_update(update)

    async def _has_read(self, update: object, commits: GroupCommit) -> bool:
        """Read the data that an update is about, and tell whether that was possible.

        If not, the error handlers are told. In `deliver`, all of it was read before.
        """
        if not isinstance(update, Update):
            return True
        subjects = work_of(update).subjects
        try:
            await prefetch(commits, subjects)
        except PersistenceError as failure:
            with unreadable(subjects, failure):
                await self.process_error(update=update, error=failure)
            return False
        return True

    def _jobs_of_update(self) -> AbstractContextManager[object]:
        """Hold the jobs that an update makes until it ends, to go with its data."""
        queue = self._job_queue
        if not isinstance(queue, PersistentJobQueue):
            return nullcontext()
        return queue._of_update()  # noqa: SLF001 - no method for users

    def _on_conversations(self, handler: ConversationHandler[Any]) -> None:
        if isinstance(self._job_queue, PersistentJobQueue):
            self._job_queue._keep_timeouts(handler)  # noqa: SLF001 - no method for users

    def migrate_chat_data(
        self,
        message: Message | None = None,
        old_chat_id: int | None = None,
        new_chat_id: int | None = None,
    ) -> None:
        """Move a chat's data to another chat, if there is any.

        Otherwise as `Application.migrate_chat_data`. When a group becomes a supergroup, both chats
        get a message of it, and handlers call this for each. The second call finds nothing left in
        the old chat, and leaves the new one's data as it is.

        Args:
            message (:class:`telegram.Message`, optional): Message that tells of the migration.
            old_chat_id (:obj:`int`, optional): Id of the old chat, in the place of a message.
            new_chat_id (:obj:`int`, optional): Id of the new chat, likewise.

        Raises:
            ValueError: As `Application.migrate_chat_data` does.
        """
        old, new = old_chat_id, new_chat_id
        if message is not None and not (old or new):
            old = message.migrate_from_chat_id or message.chat.id
            new = message.migrate_to_chat_id or message.chat.id
            moves = old != new  # else the message is of no migration, which PTB refuses
        else:
            moves = message is None and isinstance(old, int) and isinstance(new, int)
        if not moves or (old != new and self._has_chat_data(cast("int", old))):
            if moves and self._commits is not None:
                ensure(self._commits, Kind.CHAT_DATA, cast("int", new))
            super().migrate_chat_data(message, old_chat_id, new_chat_id)
        elif old != new and old in self.chat_data:
            self.drop_chat_data(cast("int", old))  # empty, as PTB makes one for each chat it sees

    def _has_chat_data(self, chat_id: int) -> bool:
        if chat_id not in self.chat_data:
            return False
        data: object = self.chat_data[chat_id]
        if type(data) is dict:
            return bool(data)
        return not alike(data, self.context_types.chat_data())

    def drop_user_data(self, user_id: int) -> None:
        """Drop a user's data, here and for other instances: as `Application.drop_user_data`."""
        self._know(Kind.USER_DATA, user_id)
        super().drop_user_data(user_id)
        self._note_drop(Kind.USER_DATA, user_id)

    def drop_chat_data(self, chat_id: int) -> None:
        """Drop a chat's data, here and for other instances: as `Application.drop_chat_data`."""
        self._know(Kind.CHAT_DATA, chat_id)
        super().drop_chat_data(chat_id)
        self._note_drop(Kind.CHAT_DATA, chat_id)

    def _know(self, kind: Kind, key: int) -> None:
        """Read an entity that is about to be dropped, ahead: if that fails, nothing is changed."""
        if self._commits is not None and self._internals.stores(kind):
            ensure(self._commits, kind, key)

    def _note_drop(self, kind: Kind, key: int) -> None:
        """Stage a drop at once, for the reason that `staged_drops` gives."""
        commits = self._commits
        if commits is not None and _overrides(self.persistence, f"drop_{kind.value}"):
            return  # that method is called with the next save, and may do something else
        if commits is not None and self.persistence and getattr(self.persistence.store_data, kind):
            self._copied.get(kind, {}).pop(key, None)  # or a save under way would bring it back
            self._drops.stage(commits, kind, key)

    def _dropped_unstaged(self, kind: Kind) -> set[int]:
        """Return the ids of those that were dropped here, and are in the state still."""
        unstaged = self._internals.dropped(kind) - self._drops.staged(kind)
        return unstaged | self._handed_over.get(kind, set())

    def _take_back_drops(self) -> None:
        if self._commits is not None:
            self._drops.take_back(self._commits)

    async def update_persistence(self) -> None:
        """Hand all changes to the persistence, and its errors to the error handlers.

        Returns when all of it is durable, with a :class:`ptb_s3.S3Persistence`. Raises nothing for
        storage's sake.
        """
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
            self._commits.shutdown.application = self
        async with self._saving.here():
            failures: list[Exception] = []
            marks = self._internals.take_marks()
            IN_APPLICATION_SAVE.set(True)
            try:
                # All start in one iteration of the loop, and a drop before what comes after it.
                calls = self._calls(marks, failures)
                results = await asyncio.gather(*calls, return_exceptions=True)
            except BaseException:
                self._internals.put_back(marks)  # nothing may have been handed over yet
                raise
            finally:
                self._handed_over.clear()
                # Not reset(): a loop that is gone ends this in another context.
                IN_APPLICATION_SAVE.set(False)
            failures += [result for result in results if isinstance(result, Exception)]
            await asyncio.gather(*(self.process_error(update=None, error=f) for f in failures))

    def _calls(self, marks: Marks, failures: list[Exception]) -> Iterator[Awaitable[object]]:
        """Yield the calls of the persistence for one save.

        Args:
            marks: Marks of what has changed.
            failures: List that the values which cannot be copied are added to.
        """
        assert self.persistence is not None  # noqa: S101 - for mypy; the only caller has looked
        persistence, stores = self.persistence, self.persistence.store_data
        commits = self._commits
        own = persistence.unsaved if isinstance(persistence, S3Persistence) else None
        copies = Copies(self._uncopied, failures, own, commits.report if commits else None)
        self._uncopied = copies.failed
        if commits is not None:
            yield commits.join()  # there may be nothing but a drop, which is staged already
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
        copies: Copies,
    ) -> Iterator[Awaitable[object]]:
        """Yield the calls for users or for chats: drops first, then what came after them."""
        self._handed_over[kind] = marks.dropped[kind] - self._drops.take(kind)
        yield from (_called(drop, key) for key in self._handed_over[kind])
        live = self._internals.data(kind)
        changed = copies.of(kind, ((key, live[key]) for key in marks.changed[kind] & live.keys()))
        if self._commits is not None and not _overrides(self.persistence, f"update_{kind.value}"):
            self._copied[kind] = changed
            yield self._commits.record_many(kind, changed, copies.failures)
        else:
            yield from (_called(update, key, copy) for key, copy in changed.items())


def _called(method: Callable[..., Awaitable[None]], *arguments: object) -> Awaitable[None]:
    """Call a method that a subclass may have overridden, and defer an error until it is awaited."""
    try:
        return method(*arguments)
    except Exception as error:  # noqa: BLE001 - anybody's code
        return _raising(error)


async def _raising(error: Exception) -> None:
    raise error


def _overrides(persistence: object, method: str) -> bool:
    """Tell whether a subclass or an instance of `S3Persistence` overrides a method, or is none."""
    own = isinstance(persistence, S3Persistence) and method not in vars(persistence)
    return not (own and getattr(type(persistence), method) is getattr(S3Persistence, method))
