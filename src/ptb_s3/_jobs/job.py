"""PTB's object of a job that is kept."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Final

from telegram.ext import CallbackContext, Job

from ptb_s3._jobs.callbacks import Callback
from ptb_s3._jobs.prefetching import subjects_of_job
from ptb_s3._jobs.record import JobRecord
from ptb_s3._ptb.application_state import App
from ptb_s3._ptb.rollback import Subjects

_LOGGER = logging.getLogger("ptb_s3")

_DATA: Final[Any] = vars(Job)["data"]  # the slot that a property takes over


class PersistentJob(Job[CallbackContext[Any, Any, Any, Any]]):
    """Job that is kept over a restart.

    Attributes:
        claim_id (:obj:`str` | :obj:`None`): Id of the run that is under way, None between two runs.
            Another one for each due moment, and the same where that run is done again after a
            crash: an idempotency key for services that take one.
    """

    __slots__ = ("_note", "claim_id")

    def __init__(self, note: Callable[[str], None], **arguments: Any) -> None:  # noqa: ANN401 - those of `Job`
        self._note: Callable[[str], None] | None = None
        super().__init__(**arguments)
        self._note = note
        self.claim_id: str | None = None

    @property
    def data(self) -> object:
        """:obj:`object`: Data of the job. To set it has it saved."""
        return _DATA.__get__(self)

    @data.setter
    def data(self, data: object) -> None:
        before = getattr(self, "_note", None) and self.data
        _DATA.__set__(self, data)
        if self._note is not None and before is not data:
            self._note(str(self.id))

    def subjects(self, application: App) -> Subjects:  # noqa: ARG002 - as `Runnable` has it
        """Return the user and chat that the job is about."""
        return subjects_of_job(self)

    @property
    def ptb_job(self) -> Job[Any]:
        """Return the job, as error handlers get it."""
        return self

    async def call(self, application: App) -> None:
        """Call the job's function, as `Job.run` does, and cancel it when this is cancelled.

        An error goes to the error handlers at once. `Job.run` makes a task for that, of which PTB
        warns where the application does not run, as on a host of `run_due`.

        Args:
            application: Application that the job belongs to.
        """
        try:
            context = application.context_types.context.from_job(self, application)
        except Exception as error:
            _LOGGER.critical(
                "Error while building CallbackContext for a job of %s. It is not run.",
                getattr(self.callback, "__qualname__", "unknown"),
                exc_info=error,
            )
            return
        try:
            await context.refresh_data()
            await self.callback(context)
        except Exception as error:  # noqa: BLE001 - whatever a callback raises
            await application.process_error(None, error, job=self)
        finally:
            application.mark_data_for_update_persistence(self.chat_id or (), self.user_id or ())

    async def _run(self, application: App) -> None:
        """Run the callback, as `Job._run`, also where code calls `run` besides the schedule."""
        await super()._run(application)
        if self._note is not None:
            self._note(str(self.id))  # the callback may have changed what the data holds


def load_data(job: PersistentJob, data: object) -> None:
    """Set a job's data to what is saved, which is no change."""
    _DATA.__set__(job, data)


def kept_job(record: JobRecord, callback: Callback, note: Callable[[str], None]) -> PersistentJob:
    """Return a new object of a job.

    Args:
        record: The job.
        callback: Its function.
        note: Called with its id when its data is set.
    """
    return PersistentJob(
        note,
        callback=callback,
        data=record.data,
        name=record.name,
        chat_id=record.chat,
        user_id=record.user,
    )
