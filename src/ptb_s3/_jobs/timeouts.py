"""Timeouts of conversations, kept over a restart.

While the process lives, PTB's own job ends a conversation's wait. It is made when an update has
been handled, and cancelled when the next one comes; this makes an entity of it, and PTB's job of an
entity that an earlier process, or another instance, has left::

    update ──▶ PTB makes its job ──▶ RECORD, saved with the state ──▶ due: claimed, as a job is
                  ▲                      │                                │
                  │ at the start         │ next update: cancelled         ▼
                  └── loaded, or         ▼ with its data        handlers of TIMEOUT, state ends,
                      from others      no record, or a new one  record goes: one commit

A timeout is as good as its conversation's state. One of a conversation that has ended is removed at
the start; one of a handler that is not registered is carried along.
"""

from __future__ import annotations

import hashlib
import logging
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime
from typing import Any, Final, Protocol

from telegram.ext import Job

from ptb_s3._format.entities import EntityKey, Kind
from ptb_s3._jobs import claims
from ptb_s3._jobs.ending import Ending
from ptb_s3._jobs.record import JobRecordError, moment
from ptb_s3._jobs.timeout_record import TimeoutRecord, is_timeout, key_of
from ptb_s3._ptb.conversation_states import (
    Handler,
    Wait,
    family,
    is_under_way,
    saved_wait,
    wait_of,
)
from ptb_s3._ptb.group_commit import GroupCommit
from ptb_s3._ptb.participants import Contribution
from ptb_s3._values.loading import load_all
from ptb_s3._values.serializer import Serializer, dump
from ptb_s3.errors import DamagedObjectError, SerializationError

_LOGGER = logging.getLogger("ptb_s3")


class _Held:
    """Timeouts that one update has cancelled while it is under way."""

    def __init__(self) -> None:
        self.ids: set[str] = set()
        self.open = True


_UPDATE: Final[ContextVar[_Held | None]] = ContextVar("ptb_s3_timeouts_of_update", default=None)


class WaitSchedule(Protocol):
    """Scheduler of PTB's jobs, in memory."""

    def put_wait(self, job_id: str, wait: tuple[Any, Any], at: datetime) -> Job[Any]:
        """Schedule the end of a conversation's wait, and return PTB's job of it.

        Args:
            job_id: Id for the scheduler.
            wait: Callback and data of the job.
            at: When it falls due.
        """
        ...

    def take_out(self, *job_ids: str) -> None:
        """Remove jobs from the schedule, those of them that are there."""
        ...

    def scheduled_for(self, job_id: str) -> datetime | None:
        """Return when a job is scheduled to run, or None: it is not."""
        ...


class Timeouts:
    """Table of all timeouts of conversations: a participant of each commit.

    Args:
        serializer: Serializer of the values.
        schedule: Schedules PTB's jobs.
        marked: Called when a record has changed.

    Attributes:
        records: Records by id. An id is of one conversation, and of one process.
        commits: Group commit of the loaded state; None before it is loaded.
    """

    def __init__(
        self, serializer: Serializer, schedule: WaitSchedule, marked: Callable[[], None]
    ) -> None:
        self.records: dict[str, TimeoutRecord] = {}
        self.commits: GroupCommit | None = None
        self._serializer = serializer
        self._schedule = schedule
        self._on_mark = marked
        self._salt = secrets.token_bytes(16)
        self._handlers: dict[str, Handler] = {}
        self._jobs: dict[str, Job[Any]] = {}
        self._idle: dict[str, set[str]] = {}  # those without a job, by the handler's name
        self._marked: set[str] = set()
        self._removed: dict[str, EntityKey] = {}

    def _id(self, key: EntityKey) -> str:
        """Return the id of a timeout, which tells nobody whose it is: APScheduler logs it."""
        return hashlib.blake2b(repr(key).encode(), key=self._salt, digest_size=16).hexdigest()

    # What PTB does ------------------------------------------------------------------------------

    def begun(self, wait: Wait, job: Job[Any], due: datetime) -> str | None:
        """Take a wait that PTB begins.

        Args:
            wait: The wait.
            job: PTB's job that ends it.
            due: When that falls due.

        Returns:
            Id for the scheduler. None: it is not kept, and PTB's alone.
        """
        handler, details = wait
        name = str(handler.name)
        if self._handlers.get(name) is not handler:
            return None
        conversation, update = details.conversation_key, details.update
        record = TimeoutRecord(name, conversation, update.to_dict(), moment(due))
        identity = self._id(record.key)
        self._drop_job(identity)
        if not self._can_be_saved(record):
            self.cancel(identity)
            return None
        self.records[identity], self._jobs[identity] = record, job
        # At once, though the update may go on for long: the state is saved from now on, too.
        self.mark(identity)
        return identity

    def _can_be_saved(self, record: TimeoutRecord) -> bool:
        try:
            dump(self._serializer, record.value())
        except SerializationError as error:
            _LOGGER.error(  # noqa: TRY400 - the error says it all
                "A timeout of conversation handler %r is lost if the process ends before it: the "
                "update that has begun it cannot be saved. %s",
                record.handler,
                error,
            )
            return False
        return True

    def cancel(self, job_id: str) -> None:
        """Remove a timeout that PTB has cancelled, since an update of its conversation has come.

        It goes with the update's data: if the process dies before, the old state has its timeout.
        """
        if (record := self._pop(job_id)) is None:
            return
        self._removed[job_id] = record.key
        held = _UPDATE.get()
        if held is not None and held.open:
            held.ids.add(job_id)
        else:
            self.mark(job_id)

    def _pop(self, job_id: str) -> TimeoutRecord | None:
        """Remove a record and its job, not the job of the scheduler's."""
        record = self.records.pop(job_id, None)
        self._jobs.pop(job_id, None)
        if record is not None:
            self._idle.get(record.handler, set()).discard(job_id)
        return record

    @contextmanager
    def update(self) -> Iterator[None]:
        """Hold what an update cancels until it ends."""
        held = _Held()
        token = _UPDATE.set(held)
        try:
            yield
        finally:
            held.open = False
            _UPDATE.reset(token)
            for job_id in held.ids:
                self.mark(job_id)

    @property
    def in_update(self) -> bool:
        """Return whether an update is under way that may begin a timeout to be kept."""
        held = _UPDATE.get()
        return held is not None and held.open and bool(self._handlers)

    def mark(self, job_id: str) -> None:
        """Mark a timeout as changed, to go with the next commit."""
        self._marked.add(job_id)
        self._on_mark()

    @property
    def pending(self) -> bool:
        """Return whether a timeout has changed that no commit was given yet."""
        return bool(self._marked)

    # Saved timeouts -----------------------------------------------------------------------------

    def keep(self, handler: Handler) -> None:
        """Keep the timeouts of a handler, and of those nested in it: their states are loaded.

        Args:
            handler: Persistent handler of the application's.
        """
        own = {str(each.name): each for each in family(handler)}
        self._handlers |= own
        for job_id, record in list(self.records.items()):
            if (each := own.get(record.handler)) is None:
                continue
            self._drop_job(job_id)
            if each.conversation_timeout and is_under_way(each, record.conversation):
                self._put(job_id)
            else:  # the process died before this was saved; or the code has no timeout any more
                self.end(job_id)

    def _put(self, job_id: str, at: datetime | None = None) -> None:
        """Make PTB's job of a record, unless there is no conversation that it could end."""
        record = self.records[job_id]
        handler, key = self._handlers.get(record.handler), record.conversation
        if handler is None or not is_under_way(handler, key):
            self._idle.setdefault(record.handler, set()).add(job_id)
            return
        self._idle.get(record.handler, set()).discard(job_id)
        wait = saved_wait(handler, key)
        job = self._schedule.put_wait(job_id, wait, at or _due(record))
        self._jobs[job_id] = handler.timeout_jobs[key] = job

    def _put_idle(self) -> None:
        """Make PTB's jobs of records whose conversations have come in since."""
        for name in self._idle.keys() & self._handlers.keys():
            for job_id in list(self._idle[name]):
                self._put(job_id)

    def _put_again(self, job_id: str, at: datetime | None = None) -> None:
        """Schedule a wait anew which is PTB's own, and so knows more than its record."""
        record, before = self.records[job_id], self._jobs[job_id]
        self._drop_job(job_id)
        due = _due(record) if at is None or record.next is None else max(at, record.next)
        job = self._schedule.put_wait(job_id, (before.callback, before.data), due)
        self._jobs[job_id] = job
        self._handlers[record.handler].timeout_jobs[record.conversation] = job

    def _drop_job(self, job_id: str) -> None:
        """Remove a timeout's job, from the scheduler and from PTB's handler."""
        self._schedule.take_out(job_id)
        job, record = self._jobs.pop(job_id, None), self.records.get(job_id)
        if job is None or record is None:
            return
        jobs = self._handlers[record.handler].timeout_jobs
        if jobs.get(record.conversation) is job:
            del jobs[record.conversation]

    def put_all(self) -> None:
        """Schedule all jobs, none of which is scheduled since the scheduler was stopped."""
        for job_id in list(self._jobs):
            self._put_again(job_id)

    # Those that are due -------------------------------------------------------------------------

    def ending(self, job: Job[Any]) -> Ending | None:
        """Return the ending of the wait that a job stands for, or None: it is of no kept one."""
        wait = wait_of(job.callback, job.data)
        if wait is None:
            return None
        job_id = self._id(key_of(str(wait.handler.name), wait.details.conversation_key))
        return self._ending(job_id, wait) if self._jobs.get(job_id) is job else None

    def _ending(self, job_id: str, wait: Wait) -> Ending:
        assert self.commits is not None  # noqa: S101 - for mypy: it was loaded, or saved
        return Ending(job_id, self._jobs[job_id], wait, self.records[job_id], self.commits)

    def due(self, now: datetime) -> list[Ending]:
        """Return the endings of all waits that are due, and are nobody else's.

        Args:
            now: The storage's time.
        """
        found = []
        for job_id, job in self._jobs.items():
            record, wait = self.records[job_id], wait_of(job.callback, job.data)
            if wait is not None and _due(record) <= now:
                found.append(self._ending(job_id, wait))
        return found

    def next_due(self) -> datetime | None:
        """Return when the next wait ends, or None: there is none."""
        return min((_due(self.records[job_id]) for job_id in self._jobs), default=None)

    def is_held(self, job_id: str) -> bool:  # noqa: ARG002 - see `begun`
        """Return False: a timeout is saved as soon as its update begins it."""
        return False

    def look_again(self, job_id: str, at: datetime) -> None:
        """Have a timeout looked at again at a moment, but not before it is due."""
        if job_id in self._jobs:
            self._put_again(job_id, at)

    def ensure(self, job_id: str, at: datetime) -> None:
        """Have a timeout that nothing has scheduled looked at again, as `look_again`."""
        if self._schedule.scheduled_for(job_id) is None:
            self.look_again(job_id, at)

    def end(self, job_id: str) -> None:
        """Remove a timeout whose conversation has ended."""
        self._drop_job(job_id)
        if (record := self._pop(job_id)) is not None:
            self._removed[job_id] = record.key
            self.mark(job_id)

    def reschedule(self, record: TimeoutRecord) -> None:
        """Leave a timeout as it is: another update has begun it while the last one ran out."""

    # Participant --------------------------------------------------------------------------------

    def begin(self, commits: GroupCommit) -> None:
        """See `Participant.begin`. Nothing is scheduled before the states are loaded, too."""
        for job_id in list(self._jobs):
            self._drop_job(job_id)
        self.commits, self._handlers, self._idle = commits, {}, {}
        self._marked, self._removed = set(), {}
        saved = self._load(commits.repository.staged.entities(Kind.JOBS))
        self.records = {self._id(record.key): record for record in saved}
        commits.repository.staged.catch_up(Kind.JOBS, [record.key for record in saved])
        for job_id in self.records:
            self._put(job_id)

    def settle(self) -> None:
        """See `Participant.settle`. Each handler is told of by itself."""

    def contribute(self) -> Contribution:
        """See `Participant.contribute`."""
        marked, self._marked = self._marked, set()
        values: dict[EntityKey, object] = {}
        dropped = []
        for job_id in marked:
            if record := self.records.get(job_id):
                values[record.key] = record.value()
                self._removed.pop(job_id, None)
            elif key := self._removed.pop(job_id, None):
                dropped.append(key)
        return Contribution(Kind.JOBS, values, tuple(dropped))

    def bring_in(self) -> None:
        """See `Participant.bring_in`."""
        commits = self.commits
        if commits is None or commits.objects.held():
            return
        self._reset(commits.repository.staged.overtaken[Kind.JOBS])
        self._put_idle()

    def take_back(self) -> None:
        """See `Participant.take_back`."""
        commits = self.commits
        if commits is None:
            return
        ids, self._marked = self._marked, set()
        keys = {self.records[job_id].key for job_id in ids if job_id in self.records}
        keys.update(self._removed.values(), commits.repository.staged.overtaken[Kind.JOBS])
        self._removed = {}
        self._reset(keys)
        self._put_idle()

    def committed(self, record: TimeoutRecord) -> TimeoutRecord | None:
        """Return a timeout as it is staged by now, merged with what others have committed."""
        assert self.commits is not None  # noqa: S101 - for mypy: a claim was just committed
        data = self.commits.repository.staged.get(Kind.JOBS, record.key)
        return None if data is None else self._load({record.key: data})[0]

    def _reset(self, keys: Iterable[EntityKey]) -> None:
        """Have timeouts be what is staged of them."""
        assert self.commits is not None  # noqa: S101 - for mypy: callers have looked
        staged = self.commits.repository.staged
        for key in [key for key in keys if is_timeout(key)]:
            job_id, data = self._id(key), staged.get(Kind.JOBS, key)
            self._drop_job(job_id)
            self._pop(job_id)
            if data is not None:
                (self.records[job_id],) = self._load({key: data})
                self._put(job_id)
            staged.catch_up(Kind.JOBS, [key])

    def _load(self, entities: Mapping[EntityKey, bytes]) -> list[TimeoutRecord]:
        """Return the records of entities.

        Raises:
            PersistenceError: A value cannot be read.
        """
        own = [(key, data) for key, data in entities.items() if is_timeout(key)]
        values = load_all(self._serializer, Kind.JOBS, own)
        try:
            return [TimeoutRecord.of(key, value) for key, value in values.items()]
        except JobRecordError as fault:
            raise DamagedObjectError(Kind.JOBS, f"the value of a timeout {fault}") from None


def _due(record: TimeoutRecord) -> datetime:
    """Return when a timeout falls due here: not while another instance ends the conversation."""
    assert record.next is not None  # noqa: S101 - for mypy: see `TimeoutRecord.of`
    return max(record.next, claims.claim_until(record.claim)) if record.claim else record.next
