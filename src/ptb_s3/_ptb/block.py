"""Change data by a block of code that is no handler's, such as a payment's, and commit it.

==================  ======================================  ======================================
the application     does not run: on a host of `deliver`    runs, as by `run_polling`
==================  ======================================  ======================================
the block is        a transaction, as an update is          code beside the handlers, which share
                                                            the live objects
commit              one, at its end                         one, at its end, with what handlers have
                                                            changed by then
others changed it   `OvertakenError`, and taken back        merged, as all saves of a running bot
exception in it     taken back                              its data goes back to what is committed,
                                                            and the jobs that it made with it
not committed       taken back                              stays, for the next save
==================  ======================================  ======================================
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager
from typing import Any, TypeAlias

from telegram.ext import JobQueue

from ptb_s3._format.entities import Kind
from ptb_s3._ptb.application_state import App
from ptb_s3._ptb.group_commit import GroupCommit
from ptb_s3._ptb.host import Host, save_participants
from ptb_s3._ptb.internals import Internals
from ptb_s3._ptb.rollback import Rollback, Subjects
from ptb_s3._ptb.time_limit import TimeLimit
from ptb_s3._ptb.transaction import Transaction, Work, entity_of
from ptb_s3._values.partial_saves import Refusal
from ptb_s3.errors import OvertakenError, PersistenceError, SettingsError

JobsOf: TypeAlias = Callable[[], AbstractContextManager[Callable[[], None]]]
"""Holds the jobs that are made within, and gives a function that takes these back."""
_Refusals: TypeAlias = dict[tuple[Kind, Any, Any], Refusal]


class SubjectData(Mapping[int, Any]):
    """Live data of the users, or of the chats, that a block has named, by id.

    Args:
        kind: Users or chats.
        data: Their live objects.
    """

    def __init__(self, kind: Kind, data: Mapping[int, Any]) -> None:
        self._kind = kind
        self._data = data

    def __getitem__(self, key: int) -> Any:  # noqa: ANN401 - of whatever type the bot uses
        """Return the data of a user or chat.

        Raises:
            KeyError: The block has not named it.
        """
        if key not in self._data:
            one, argument = ("user", "users") if self._kind is Kind.USER_DATA else ("chat", "chats")
            raise KeyError(
                f"This block does not change the data of that {one}. Name its id: "
                f"committed(application, {argument}=[…])."
            )
        return self._data[key]

    def __iter__(self) -> Iterator[int]:
        """Iterate over the ids."""
        return iter(self._data)

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._data)

    def __repr__(self) -> str:
        """Return a text without ids and values."""
        return f"<{type(self).__name__} of {len(self)} in {self._kind.value}>"


class CommittedState:
    """State that a block of :func:`ptb_s3.serverless.committed` may change.

    Attributes:
        user_data (:obj:`collections.abc.Mapping`): Data of the users that were named, by id.
        chat_data (:obj:`collections.abc.Mapping`): Data of the chats that were named, by id.
    """

    def __init__(self, application: App, subjects: Subjects) -> None:
        self._application = application
        self.user_data: Mapping[int, Any] = self._data_of(Kind.USER_DATA, subjects)
        self.chat_data: Mapping[int, Any] = self._data_of(Kind.CHAT_DATA, subjects)

    def _data_of(self, kind: Kind, subjects: Subjects) -> SubjectData:
        live = Internals(self._application).data(kind)
        return SubjectData(kind, {key: live[key] for each, key in subjects if each is kind})  # type: ignore[index, misc]  # ids

    @property
    def bot_data(self) -> Any:  # noqa: ANN401 - of whatever type the bot uses
        """:obj:`object`: The bot's data."""
        return self._application.bot_data

    @property
    def job_queue(self) -> JobQueue[Any]:
        """:class:`telegram.ext.JobQueue`: The application's job queue.

        Raises:
            SettingsError: It has none.
        """
        queue = self._application.job_queue
        if queue is None:
            raise SettingsError(
                "The application has no job queue: give it one with "
                "ApplicationBuilder().job_queue(PersistentJobQueue())."
            )
        return queue


class Block(ABC):
    """Unit of work of one block of code.

    Args:
        application: Application whose state was brought up to date, with nothing unsaved.
        commits: Group commit of its persistence.
        host: Host of the application, whose turn is taken.
        subjects: What the block may change.
        jobs: Holds the jobs that the block makes.
        limit: Time limit of all of it, which the time of the block itself does not count to.
    """

    def __init__(  # noqa: PLR0917
        self,
        application: App,
        commits: GroupCommit,
        host: Host,
        subjects: Subjects,
        jobs: JobsOf,
        limit: TimeLimit,
    ) -> None:
        self._application = application
        self._commits = commits
        self._host = host
        self._subjects = subjects
        self._jobs = jobs
        self._limit = limit
        self._internals = Internals(application)
        self._refused = self._refusals()

    @abstractmethod
    def run(self) -> AbstractAsyncContextManager[CommittedState]:
        """Return the context of the block, which commits at its end.

        Raises:
            PersistenceError: What has changed is not committed.
        """

    def _end(self) -> None:
        """Mark what the block has changed, to be saved.

        Raises:
            SerializationError: It cannot be saved.
        """
        for kind, key, part in self._unsavable():
            raise self._refusals()[kind, key, part].fault(kind, key)
        self._limit.allow_storage()
        users, chats = self._changed(Kind.USER_DATA), self._changed(Kind.CHAT_DATA)
        self._application.mark_data_for_update_persistence(chat_ids=chats, user_ids=users)

    def _unsavable(self) -> list[tuple[Kind, Any, Any]]:
        """Return the parts of the subjects that cannot be saved since the block began."""
        return [
            part
            for part, refusal in self._refusals().items()
            if part not in self._refused or self._refused[part].mark != refusal.mark
        ]

    def _drop_unsavable(self) -> None:
        """Remove what the block has made that cannot be saved, which a rollback would leave."""
        for kind, key, part in self._unsavable():
            live = self._live(kind, key)
            if isinstance(live, dict):
                live.pop(part, None)

    def _refusals(self) -> _Refusals:
        """Return why parts of the subjects cannot be saved."""
        return {
            (kind, key, part): refusal
            for kind, key in self._subjects
            if self._internals.stores(kind)
            for part, refusal in self._commits.objects.refusals(
                kind, key, self._live(kind, key)
            ).items()
        }

    def _live(self, kind: Kind, key: Any) -> object:  # noqa: ANN401 - an entity key
        if kind is Kind.BOT_DATA:
            return self._application.bot_data
        return self._internals.data(kind).get(key)

    def _changed(self, kind: Kind) -> set[int]:
        types = self._application.context_types
        pristine = types.user_data if kind is Kind.USER_DATA else types.chat_data
        changed, data = self._commits.objects.changed, self._internals.data(kind)
        ids: Any = [key for each, key in self._subjects if each is kind and key in data]
        return {key for key in ids if changed(kind, key, data[key], pristine())}


class TransactionBlock(Block):
    """Block that is a transaction, while no update is processed."""

    @asynccontextmanager
    async def run(self) -> AsyncIterator[CommittedState]:
        """See `Block.run`. Nothing stays of a block that is not committed."""
        work = Work(self._subjects, None, "The block", "begin it again")
        transaction = Transaction(self._application, self._commits, work)
        self._host.open = transaction
        try:
            with self._jobs():
                yield CommittedState(self._application, self._subjects)
            self._end()
            await transaction.end_work()
            faults = await transaction.save(self._host.unsavable)
        except GeneratorExit:
            raise  # the loop is gone: nothing can be awaited, and the next call takes it back
        except BaseException as failure:
            if self._host.open is transaction:
                self._drop_unsavable()
                await self._host.take_back()
            if isinstance(failure, OvertakenError):
                raise _overtaken() from failure
            raise
        self._host.open = None
        if faults:
            raise faults[0]


class SharedBlock(Block):
    """Block beside the handlers of an application that runs."""

    @asynccontextmanager
    async def run(self) -> AsyncIterator[CommittedState]:
        """See `Block.run`. Its data goes back where an exception leaves it."""
        self._commits.report.faults = None  # of what was unsaved before
        before = Rollback(self._internals, self._commits.objects, self._subjects)
        with self._jobs() as take_jobs_back:
            try:
                yield CommittedState(self._application, self._subjects)
                self._end()
            except BaseException:
                self._drop_unsavable()
                before.reset_subjects()
                take_jobs_back()
                raise
        await self._save()

    async def _save(self) -> None:
        faults: list[PersistenceError] = []
        self._commits.report.faults = faults
        try:
            await self._application.update_persistence()
            await save_participants(self._commits)
            await self._commits.commit()
        finally:
            self._commits.report.faults = None
        own = {(kind.value, key) for kind, key in self._subjects}
        if mine := [fault for fault in faults if entity_of(fault) in own]:
            raise mine[0]


def _overtaken() -> OvertakenError:
    return OvertakenError(
        "What this block changes, another instance has changed since the block began. All of it is "
        "taken back: begin it again."
    )
