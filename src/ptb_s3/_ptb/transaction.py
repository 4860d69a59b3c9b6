"""One update as a transaction: processed and committed as a whole, or taken back as a whole."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Any, Literal, Protocol, TypeAlias, runtime_checkable

from telegram import Update
from telegram.ext import Application

from ptb_s3._format.entities import BOT_DATA_KEY, Kind
from ptb_s3._ptb.group_commit import GroupCommit
from ptb_s3._ptb.internals import Internals, tasks
from ptb_s3._ptb.rollback import Rollback
from ptb_s3.errors import ConflictError, OvertakenError, PersistenceError

App: TypeAlias = Application[Any, Any, Any, Any, Any, Any]
# "retry": process an update again where others were first. "merge": process it once, and have what
# both changed merged.
OnConflict: TypeAlias = Literal["retry", "merge"]

# A kind's name and a key.
Entity: TypeAlias = tuple[str | None, object]

# Seconds for which tasks that were cancelled may go on, before what they change is not waited for.
CANCEL_PATIENCE = 1.0


@runtime_checkable
class StagesDrops(Protocol):
    """An application that stages the drops of an update as it makes them."""

    def take_back_drops(self) -> None: ...


def entity_of(fault: PersistenceError) -> Entity:
    """Return the kind and the key that a fault is about; None: it is about none."""
    return getattr(fault, "kind", None), getattr(fault, "key", None)


class Transaction:
    """Unit of work of one update.

    Args:
        application: The application, in which nothing is unsaved.
        commits: Saves what it holds.
        update: The update, as it was parsed from Telegram's bytes.
        on_conflict: What to do where others have changed what it changes.

    Attributes:
        processed: Whether it was processed to the end, and all that came of it is still there.
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
        self._before = Rollback(application, self._internals, commits.objects, update)
        self._tasks = tasks(application)
        self._discarded = self._repository.staged.discarded
        self._faults: list[PersistenceError] = []
        self._said = commits.said
        commits.faults, commits.overtaken = self._faults, None
        self._repository.transactional = self._retry

    async def process(self) -> None:
        """Process the update to the end, what `Application.create_task` was given included."""
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
            unsavable: Entities that could not be saved before it began, either.

        Returns:
            What of it is not saved, and why. Everything else is, and to process it again would not
            change that.

        Raises:
            OvertakenError: Others have changed it since it was read. It is to be taken back.
            ConflictError: It cannot be merged with what others have committed.
            PersistenceError: It is not known to be durable.
        """
        self._repository.note_delivered(self._update.update_id)
        self._before.note_marks()
        await self._application.update_persistence()
        if self._retry:
            self._raise_conflicts()
        self._look_for_losses()
        await self._repository.commit()
        self._look_for_losses()
        self._end()
        others = set(unsavable) - {(kind.value, key) for kind, key in self._before.subjects}
        return [fault for fault in self._faults if entity_of(fault) not in others]

    def _end(self) -> None:
        self._repository.transactional = False
        self._commits.faults = self._commits.overtaken = None

    def _raise_conflicts(self) -> None:
        for fault in self._faults:
            if isinstance(fault, ConflictError):
                raise ConflictError(
                    f"Update {self._update.update_id} changes what cannot be merged here with what "
                    "other instances have committed, as where they run another version of the bot. "
                    "All of it is taken back: have it sent again, which another instance may get."
                ) from fault

    def _look_for_losses(self) -> None:
        """Raise if what the update had staged was discarded, whoever has asked for the commit."""
        if self._repository.staged.discarded == self._discarded:
            return
        if self._repository.has_delivered(self._update.update_id):
            self._before.carry_out()  # another instance was sent it as well, and was first
            return
        self.processed = False
        raise self._commits.overtaken or OvertakenError(
            "Another instance has processed an update whose effects could not be saved here. They "
            "were taken back, and those of this update with them: have it sent again, as Telegram "
            "does with what is not answered 200."
        )

    async def take_back(self) -> None:
        """Make everything what it was before the update, or is by what others have committed.

        With "merge", what was processed to the end stays, with its id, to be committed later: it is
        not to be processed a second time when it is sent again.
        """
        await self._end_tasks()
        await self._commits.give_up()
        self._end()
        if self.processed and not self._retry:
            self._before.mark_again()
            return
        if isinstance(self._application, StagesDrops):
            self._application.take_back_drops()
        self._commits.said = self._said  # it was said of what is no more
        if self._retry:
            self._repository.discard()
        self._before.carry_out()
        self._note_unchanged()

    def _note_unchanged(self) -> None:
        """Note how the bot's data is written now, or each save would find other bytes of it."""
        kind, key, live = Kind.BOT_DATA, BOT_DATA_KEY, self._application.bot_data
        pristine = self._application.context_types.bot_data()
        if self._commits.objects.untouched(kind, key, live, pristine):
            self._commits.note_unchanged(kind, {key: live})

    async def _end_tasks(self) -> None:
        if spawned := tasks(self._application) - self._tasks:
            for task in spawned:
                task.cancel()
            await asyncio.wait(spawned, timeout=CANCEL_PATIENCE)
