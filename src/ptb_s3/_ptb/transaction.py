"""Work in a transaction, such as an update's: all of its effects are committed, or none stays.

====================  ==========================================================================
atomic                one commit has all that it changed, with the id of the update
isolated              optimistic: what it changed must not have been changed by others since it was
                      read, or `OvertakenError` has it taken back; what it only read is not checked
durable               `save` returns once the commit is
taken back            live objects, conversations, buttons, drops, marks, staged changes
not taken back        messages sent, and anything outside of the persistence
====================  ==========================================================================
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Final, Literal, NamedTuple, Protocol, TypeAlias, runtime_checkable

from telegram import Update

from ptb_s3._format.entities import BOT_DATA_KEY, Kind
from ptb_s3._ptb.application_state import App, tasks
from ptb_s3._ptb.group_commit import GroupCommit
from ptb_s3._ptb.internals import Internals
from ptb_s3._ptb.rollback import Rollback, Subjects, subjects_of
from ptb_s3.errors import ConflictError, OvertakenError, PersistenceError

OnConflict: TypeAlias = Literal["retry", "merge"]
"""What to do if others have changed what an update changes: process it again, or merge the two."""

Entity: TypeAlias = tuple[str | None, object]
"""Name of a kind, and an entity key."""

# Seconds that cancelled tasks of an update have to end. What they change after that is not taken
# back: a task that swallows its cancellation must not hang the bot.
CANCEL_PATIENCE = 1.0


@runtime_checkable
class StagesDrops(Protocol):
    """Application that stages the drops of an update as it makes them, and can take them back."""

    def _take_back_drops(self) -> None: ...


def entity_of(fault: PersistenceError) -> Entity:
    """Return the kind and key of the entity that a fault is about, each None if there is none."""
    return getattr(fault, "kind", None), getattr(fault, "key", None)


class Work(NamedTuple):
    """Description of what a transaction does.

    Attributes:
        subjects: What it may change.
        update: Id of the update that it processes; None: it processes none.
        name: Its name at the beginning of a sentence.
        again: How to begin it again, as an imperative.
    """

    subjects: Subjects
    update: int | None
    name: str
    again: str


def work_of(update: Update) -> Work:
    """Return the work of processing an update."""
    user, chat = update.effective_user, update.effective_chat
    users, chats = [user.id] if user else [], [chat.id] if chat else []
    name = f"Update {update.update_id}"
    return Work(subjects_of(users, chats), update.update_id, name, "have it sent again")


_LOST: Final = (
    "Another instance has processed an update whose effects could not be saved here. They were "
    "taken back, and those of this update with them: have it sent again, as Telegram does with "
    "what is not answered 200."
)


class Transaction:
    """Unit of work, such as an update's: what is done in it is saved, or taken back.

    Args:
        application: Application in which nothing is unsaved.
        commits: Group commit of its persistence.
        work: What is about to be done.
        on_conflict: What to do if others have changed what it changes.

    Attributes:
        processed: Whether it was done to the end, and all of its effects are still there.
    """

    def __init__(
        self, application: App, commits: GroupCommit, work: Work, on_conflict: OnConflict = "retry"
    ) -> None:
        self.processed = False
        self._application = application
        self._commits = commits
        self._repository = commits.repository
        self._internals = Internals(application)
        self._work = work
        self._retry = on_conflict == "retry"
        self._before = Rollback(self._internals, commits.objects, work.subjects)
        self._tasks = tasks(application)
        self._discarded = self._repository.staged.discarded
        self._faults: list[PersistenceError] = []
        self._reported = commits.reported
        commits.report.faults, commits.report.overtaken = self._faults, None
        commits.report.unread = None
        self._repository.transactional = self._retry

    async def process(self, update: Update) -> None:
        """Process an update to the end, including tasks made by `Application.create_task`.

        Args:
            update: Update, as it was parsed from Telegram's bytes.

        Raises:
            StorageUnavailableError: Its handlers could not read data that they have asked for.
        """
        if self._application.bot.callback_data_cache is not None:
            self._application.bot.insert_callback_data(update)
        await self._application.process_update(update)
        await self.end_work()
        if self._commits.report.unread is not None:
            self.processed = False
            raise self._commits.report.unread

    async def end_work(self) -> None:
        """Await the tasks that the work has made by `Application.create_task`, and end it."""
        while spawned := tasks(self._application) - self._tasks:
            await asyncio.wait(spawned)
        self._internals.settle()
        self._look_for_losses()
        self.processed = True

    async def save(self, unsavable: Collection[Entity]) -> list[PersistenceError]:
        """Commit what the work has changed, in one commit with the id of its update.

        Args:
            unsavable: Entities that could not be saved before it began, either.

        Returns:
            Why entities that it has changed are not saved. Everything else is, and to do it again
            would not change that.

        Raises:
            OvertakenError: Others have changed the same since it was read. Take it back.
            ConflictError: Its changes cannot be merged with what others have committed.
            PersistenceError: They are not known to be durable.
        """
        if self._work.update is not None:
            self._repository.note_delivered(self._work.update)
        self._before.note_marks()
        await self._application.update_persistence()
        if self._retry:
            self._raise_conflicts()
        self._look_for_losses()
        await self._commits.commit()
        self._look_for_losses()
        self._end()
        others = set(unsavable) - {(kind.value, key) for kind, key in self._before.subjects}
        return [fault for fault in self._faults if entity_of(fault) not in others]

    def _end(self) -> None:
        self._repository.transactional = False
        report = self._commits.report
        report.faults = report.overtaken = report.unread = None

    def _raise_conflicts(self) -> None:
        for fault in self._faults:
            if isinstance(fault, ConflictError):
                raise ConflictError(
                    f"{self._work.name} changes what cannot be merged here with what other "
                    "instances have committed, as where they run another version of the bot. All "
                    f"of it is taken back: {self._work.again}, which another instance may get."
                ) from fault

    def _look_for_losses(self) -> None:
        """Raise an error if a commit, whoever has asked for it, has discarded what was staged."""
        if self._repository.staged.discarded == self._discarded:
            return
        update = self._work.update
        if update is not None and self._repository.has_delivered(update):
            # Telegram has sent it to another instance as well, which was first.
            self._before.carry_out()
            self._commits.take_back()
            return
        self.processed = False
        raise self._commits.report.overtaken or OvertakenError(_LOST)

    async def take_back(self) -> None:
        """Reset everything to what is committed, with nothing of the work.

        With "merge", an update that was processed to the end stays, with its id, to be committed
        later: it must not be processed a second time when it is sent again.
        """
        await self._end_tasks()
        await self._commits.give_up()
        self._end()
        if self.processed and not self._retry:
            self._before.mark_again()
            return
        if isinstance(self._application, StagesDrops):
            self._application._take_back_drops()  # noqa: SLF001 - no method for users
        self._commits.reported = self._reported  # refusals of values that are no more
        if self._retry:
            self._repository.discard()
        self._before.carry_out()
        self._commits.take_back()
        self._note_unchanged()

    def _note_unchanged(self) -> None:
        """Note the bytes of bot_data as it is now, or each save would take it for changed."""
        kind, key, live = Kind.BOT_DATA, BOT_DATA_KEY, self._application.bot_data
        pristine = self._application.context_types.bot_data()
        if self._commits.objects.untouched(kind, key, live, pristine):
            self._commits.note_unchanged(kind, {key: live})

    async def _end_tasks(self) -> None:
        if spawned := tasks(self._application) - self._tasks:
            for task in spawned:
                task.cancel()
            await asyncio.wait(spawned, timeout=CANCEL_PATIENCE)
