"""PTB's object of a job that is kept."""

from __future__ import annotations

from typing import Any

from telegram.ext import CallbackContext, Job

from ptb_s3._jobs.callbacks import Callback
from ptb_s3._jobs.record import JobRecord


class PersistentJob(Job[CallbackContext[Any, Any, Any, Any]]):
    """Job that is kept over a restart.

    Attributes:
        claim_id (:obj:`str` | :obj:`None`): Id of the run that is under way: another one for each
            run, and the same for all effects of one. None between two runs, and where the job
            repeats faster than it is saved.
    """

    __slots__ = ("claim_id",)

    def __init__(self, **arguments: Any) -> None:  # noqa: ANN401 - those of `Job`
        super().__init__(**arguments)
        self.claim_id: str | None = None


def kept_job(record: JobRecord, callback: Callback) -> PersistentJob:
    """Return a new object of a job."""
    return PersistentJob(
        callback=callback,
        data=record.data,
        name=record.name,
        chat_id=record.chat,
        user_id=record.user,
    )
