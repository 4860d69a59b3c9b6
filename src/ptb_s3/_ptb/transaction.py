"""Process one update as a transaction: all of its effects are committed, or none stays.

====================  ==========================================================================
atomic                one commit with the update's id has all that it changed
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
from typing import Literal, Protocol, TypeAlias, runtime_checkable

from telegram import Update

from ptb_s3._format.entities import BOT_DATA_KEY, Kind
from ptb_s3._ptb.application_state import App, tasks
from ptb_s3._ptb.group_commit import GroupCommit
from ptb_s3._ptb.internals import Internals
from ptb_s3._ptb.rollback import Rollback
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


class Transaction:
    """Unit of work of one update: process, then save or take back.

    Args:
        application: Application in which nothing is unsaved.
        commits: Group commit of its persistence.
        update: Update, as it was parsed from Telegram's bytes.
        on_conflict: What to do if others have changed what it changes.

    Attributes:
        processed: Whether it was processed to the end, and all of its effects are still there.
    """

    def __init__(
        self, application: App, commits: GroupCommit, update: Update, on_conflict: OnConflict
    ) -> None:
        self.processed = False
        self._application = application
        self._commits = commits
        self._repository = commits.repository
        self._internals = Internals(application)
        self._update = update
        self._retry = on_conflict == "retry"
        self._before = Rollback(self._internals, commits.objects, update)
        self._tasks = tasks(application)
        self._discarded = self._repository.staged.discarded
        self._faults: list[PersistenceError] = []
        self._reported = commits.reported
        commits.report.faults, commits.report.overtaken = self._faults, None
        self._repository.transactional = self._retry

    async def process(self) -> None:
        """Process the update to the end, including tasks made by `Application.create_task`."""
        if self._application.bot.callback_data_cache is not None:
            self._application.bot.insert_callback_data(self._update)
        await self._application.process_update(self._update)
        while spawned := tasks(self._application) - self._tasks:
            await asyncio.wait(spawned)
        self._internals.settle()
        self._look_for_losses()
        self.processed = True

    async def save(self, unsavable: Collection[Entity]) -> list[PersistenceError]:
        """Commit what the update has changed, in one commit with its id.

        Args:
            unsavable: Entities that could not be saved before the update began, either.

        Returns:
            Why entities that the update has changed are not saved. Everything else is, and to
            process the update again would not change that.

        Raises:
            OvertakenError: Others have changed the same since it was read. Take the update back.
            ConflictError: Its changes cannot be merged with what others have committed.
            PersistenceError: They are not known to be durable.
        """
        self._repository.note_delivered(self._update.update_id)
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
        self._commits.report.faults = self._commits.report.overtaken = None

    def _raise_conflicts(self) -> None:
        for fault in self._faults:
            if isinstance(fault, ConflictError):
                raise ConflictError(
                    f"Update {self._update.update_id} changes what cannot be merged here with what "
                    "other instances have committed, as where they run another version of the bot. "
                    "All of it is taken back: have it sent again, which another instance may get."
                ) from fault

    def _look_for_losses(self) -> None:
        """Raise an error if a commit, whoever has asked for it, has discarded what was staged."""
        if self._repository.staged.discarded == self._discarded:
            return
        if self._repository.has_delivered(self._update.update_id):
            # Telegram has sent it to another instance as well, which was first.
            self._before.carry_out()
            self._commits.take_back()
            return
        self.processed = False
        raise self._commits.report.overtaken or OvertakenError(
            "Another instance has processed an update whose effects could not be saved here. They "
            "were taken back, and those of this update with them: have it sent again, as Telegram "
            "does with what is not answered 200."
        )

    async def take_back(self) -> None:
        """Reset everything to what is committed, with nothing of the update.

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
