"""Maker of records: refuses a job that could not be kept, before anything is scheduled.

An error, or a line of the log, calls a job by its callback: its name, and an id of the user's, may
be those of a person (``name=str(chat_id)``).
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from datetime import datetime
from types import NoneType
from typing import TYPE_CHECKING, Any, Final

from ptb_s3._format.entities import Kind, is_key
from ptb_s3._jobs.callbacks import Callbacks
from ptb_s3._jobs.identity import FixedJobs, fixed_id
from ptb_s3._jobs.record import JobRecord, moment
from ptb_s3._jobs.timeout_record import PREFIX, is_timeout
from ptb_s3._jobs.triggers import TriggerError, TriggerRecord, record_of, trigger_of
from ptb_s3._values.serializer import Serializer, dump
from ptb_s3.errors import JobError, SerializationError

if TYPE_CHECKING:
    from apscheduler.triggers.base import BaseTrigger
    from telegram.ext import Job

OPTIONS: Final = ("misfire_grace_time", "max_instances")
"""Arguments of ``job_kwargs`` that are saved. Missed runs are always one (``coalesce``)."""

_UNSET: Final = object()


class JobMaker:
    """Factory of the records of jobs that a bot's code makes.

    Args:
        callbacks: Turns functions into names.
        serializer: Serializer of the values.
        fixed: Says whether a job is fixed.
    """

    def __init__(self, callbacks: Callbacks, serializer: Serializer, fixed: FixedJobs) -> None:
        self._callbacks = callbacks
        self._serializer = serializer
        self._fixed = fixed

    def record(
        self, job: Job[Any], trigger: BaseTrigger, given: Mapping[str, Any], now: datetime
    ) -> JobRecord:
        """Return the record of a job that is being made. Nothing is scheduled yet.

        Args:
            job: PTB's object of the job.
            trigger: Its trigger.
            given: Arguments of APScheduler's `add_job`, as ``job_kwargs`` may hold them.
            now: The present, in the time zone of the bot.

        Raises:
            JobError: It cannot be kept.
            SerializationError: Its data cannot be saved.
        """
        name = str(job.name)
        _check_options(given)
        written, callback, due = self._parts(job, trigger, given, now)
        number = self._fixed.number(*(identity := (name, callback, job.chat_id, job.user_id)))
        job_id = secrets.token_hex(16) if number is None else fixed_id(number, *identity)
        record = JobRecord(
            id=given.get("id") or job_id,
            name=name,
            callback=callback,
            trigger=written,
            next=None if due is None else moment(due),
            chat=job.chat_id,
            user=job.user_id,
            data=job.data,
            fixed=number,
            options={option: given[option] for option in OPTIONS if option in given},
        )
        self._vet(record)
        return record

    def _parts(
        self,
        job: Job[Any],
        trigger: BaseTrigger,
        given: Mapping[str, Any],
        now: datetime,
    ) -> tuple[TriggerRecord, str, datetime | None]:
        """Return trigger and callback as they are written, and when the job runs first."""
        try:
            written = record_of(trigger)
            callback = self._callbacks.name_of(job.callback)
            return written, callback, _first_run(given, trigger_of(written), now)
        except (TriggerError, JobError) as fault:
            what = "trigger" if isinstance(fault, TriggerError) else "callback"
            raise JobError(f"This job cannot be kept: its {what} {fault}") from None

    def _vet(self, record: JobRecord) -> None:
        """Refuse a job that could not be saved."""
        if not is_key(Kind.JOBS, record.key):
            raise JobError(f"A job of {record.callback} cannot be kept: its id is not text.")
        if is_timeout(record.key):
            raise JobError(
                f"A job of {record.callback} cannot be kept: ids that begin with {PREFIX!r} are "
                "those of conversations' timeouts. Give another id."
            )
        try:
            dump(self._serializer, record.value())
        except SerializationError as error:
            raise error.locate(Kind.JOBS.value, record.key) from None


def _check_options(given: Mapping[str, Any]) -> None:
    """Refuse options that a job which is kept cannot have."""
    for option in ("jobstore", "executor"):
        if given.get(option, "default") != "default":
            raise JobError(
                f"This job names a {option} of its own, and jobs that are kept are scheduled in "
                "memory. Leave it out, or give persistent=False."
            )
    if not isinstance(given.get("misfire_grace_time"), (int, NoneType)):
        raise JobError("A job's misfire_grace_time is a number of seconds, or None.")
    if type(given.get("max_instances", 1)) is not int or given.get("max_instances", 1) < 1:
        raise JobError("A job's max_instances is a whole number from 1 on.")


def _first_run(given: Mapping[str, Any], trigger: BaseTrigger, now: datetime) -> datetime | None:
    """Return when a job runs first, or None: it is paused, or never runs.

    Args:
        given: Arguments of APScheduler's `add_job`.
        trigger: The job's trigger.
        now: The present, in the time zone of the bot, in which a time without one is meant.
    """
    due: datetime | None = given.get("next_run_time", _UNSET)
    if due is _UNSET:
        due = trigger.get_next_fire_time(None, now)
    return due.replace(tzinfo=now.tzinfo) if due is not None and due.tzinfo is None else due
