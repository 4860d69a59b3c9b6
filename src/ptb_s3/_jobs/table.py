"""Table of all jobs that are kept, between the store and APScheduler.

=============  ==============================================================================
record         what is saved, or will be with the next commit
job            PTB's object of it, which callbacks get; none where the callback is gone
mark           the record has changed since it was last handed over to a commit
held mark      it was changed by an update that is under way, and goes when that ends
=============  ==============================================================================

A job that an update makes is committed with the update's data: not before, or a crash in between
would leave a reminder of an order that nobody has made, and not after.
"""

from __future__ import annotations

import copy
import logging
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from datetime import datetime
from types import NoneType
from typing import TYPE_CHECKING, Any, Final, Protocol

from ptb_s3._format.entities import EntityKey, Kind
from ptb_s3._jobs.callbacks import Callback, Callbacks
from ptb_s3._jobs.identity import FixedJobs, merged
from ptb_s3._jobs.record import JobRecord, JobRecordError, moment
from ptb_s3._jobs.timeout_record import is_timeout
from ptb_s3._jobs.triggers import TriggerError, record_of
from ptb_s3._ptb.group_commit import GroupCommit
from ptb_s3._ptb.participants import Contribution
from ptb_s3._values.loading import load_all, no_collection, put_past_collector
from ptb_s3._values.serializer import Serializer
from ptb_s3.errors import DamagedObjectError, JobError

if TYPE_CHECKING:
    from apscheduler.triggers.base import BaseTrigger

UNCHANGEABLE: Final = (NoneType, bool, int, float, str, bytes)
"""Types of data that nobody can change in place. A new value is set, which the job tells."""

_LOGGER = logging.getLogger("ptb_s3")


class KeptJob(Protocol):
    """PTB's object of a job that is kept."""

    data: Any


class Schedule(Protocol):
    """Scheduler of the jobs of a table, in memory."""

    def put(self, record: JobRecord, callback: Callback, at: datetime | None = None) -> KeptJob:
        """Schedule a job, which is not scheduled, and return PTB's object of it.

        Args:
            record: The job.
            callback: Its function.
            at: When to run it; None: when the record says.
        """
        ...

    def scheduled_for(self, job_id: str) -> datetime | None:
        """Return when a job is scheduled to run, or None: it is not."""
        ...

    def take_out(self, *job_ids: str) -> None:
        """Remove jobs from the schedule, those of them that are there."""
        ...


class _Held:
    """Marks of one update that is under way."""

    def __init__(self) -> None:
        self.ids: set[str] = set()
        self.open = True


_UPDATE: ContextVar[_Held | None] = ContextVar("ptb_s3_jobs_of_update", default=None)


class JobTable:
    """Table of jobs: a participant of each commit.

    Args:
        callbacks: Turns names of functions into functions.
        serializer: Serializer of the values.
        schedule: Schedules them.
        marked: Called when a record has changed that no update holds.

    Attributes:
        records: Records of all jobs by id, those included whose callback is gone.
        jobs: PTB's objects of them.
        fixed: Says which jobs are made anew at each start.
        commits: Group commit of the loaded state; None before it is loaded.
    """

    def __init__(
        self,
        callbacks: Callbacks,
        serializer: Serializer,
        schedule: Schedule,
        marked: Callable[[], None],
    ) -> None:
        self.records: dict[str, JobRecord] = {}
        self.jobs: dict[str, KeptJob] = {}
        self.fixed = FixedJobs()
        self.commits: GroupCommit | None = None
        self._callbacks = callbacks
        self._serializer = serializer
        self._schedule = schedule
        self._on_mark = marked
        self._marked: set[str] = set()
        self._held: set[str] = set()
        self._removed: dict[str, EntityKey] = {}
        self._orphans: set[str] = set()
        self._named: set[str] = set()

    # Changes made here --------------------------------------------------------------------------

    def add(self, record: JobRecord, *, replaces: bool = False) -> JobRecord:
        """Take a job that the bot's code has made, and return the record that stands for it.

        Args:
            record: The job, not in the table yet.
            replaces: Whether it takes the place of one of the same id.

        Raises:
            JobError: There is one of that id.
        """
        known, again = self.records.get(record.id), record.id in self.fixed.made
        if known is not None and not replaces and (again or not self.fixed.open):
            raise JobError(
                f"There is a job of {known.callback} with that id. Give another id, or "
                'job_kwargs={"id": …, "replace_existing": True}.'
            )
        self.fixed.note(record)
        if known is not None and self.fixed.open and not again:
            record = merged(record, known)
        elif known is not None and known.key != record.key:
            self._removed[record.id] = known.key
        self.records[record.id] = record
        self.mark(record.id)
        return record

    def remove(self, job_id: str) -> None:
        """Remove a job: the bot's code has cancelled it, or its last run has ended."""
        record = self.records.pop(job_id, None)
        self.jobs.pop(job_id, None)
        if record is not None:
            self._removed[job_id] = record.key
            self.mark(job_id)

    def change(self, job_id: str, trigger: BaseTrigger, due: datetime | None) -> None:
        """Note that the bot's code has paused, resumed or rescheduled a job.

        Raises:
            JobError: Its new trigger cannot be kept.
        """
        record = self.records.get(job_id)
        if record is None:
            return
        try:
            record.trigger = record_of(trigger)
        except TriggerError as fault:
            raise JobError(
                f"A job of {record.callback} cannot be kept: its trigger {fault}"
            ) from None
        record.next = None if due is None else moment(due)
        self.mark(job_id)

    def look_at(self, job_id: str) -> None:
        """Note that the bot's code has asked for a job, and may change its data in place."""
        record = self.records.get(job_id)
        if record is not None:
            self.fixed.keep(job_id)
            if not isinstance(record.data, UNCHANGEABLE):
                self.mark(job_id)

    def forget(self, job_id: str) -> None:
        """Take back that a job was made: APScheduler has refused it."""
        self.records.pop(job_id, None)
        self.jobs.pop(job_id, None)

    def end(self, job_id: str) -> None:
        """Remove a job whose last run has ended, from the schedule as well."""
        self._schedule.take_out(job_id)
        self.remove(job_id)

    def reschedule(self, record: JobRecord) -> None:
        """Have a job scheduled for when its record says, if it is not."""
        if record.next is None or self._schedule.scheduled_for(record.id) != record.next:
            self._take_data(record)
            self._put_anew(record)

    def look_again(self, job_id: str, at: datetime) -> None:
        """Have a job looked at again at a moment, but not before it is due."""
        record = self.records.get(job_id)
        if record is not None and record.next is not None:
            self._take_data(record)
            self._put_anew(record, max(at, record.next))

    def ensure(self, job_id: str, at: datetime) -> None:
        """Have a job that nothing has scheduled looked at again, as `look_again`."""
        if self._schedule.scheduled_for(job_id) is None:
            self.look_again(job_id, at)

    def put_all(self) -> None:
        """Schedule all jobs, none of which is scheduled since the scheduler was stopped."""
        for record in self.records.values():
            self._take_data(record)
            self._put(record)

    def mark(self, job_id: str) -> None:
        """Mark a job as changed, to go with the next commit or with that of this update."""
        held = _UPDATE.get()
        if held is not None and held.open:
            held.ids.add(job_id)
            self._held.add(job_id)
        else:
            self._marked.add(job_id)
            self._on_mark()

    def is_held(self, job_id: str) -> bool:
        """Tell whether an update that is under way has made or changed a job."""
        return job_id in self._held

    @contextmanager
    def update(self) -> Iterator[Callable[[], None]]:
        """Hold the marks of an update until it ends, and give a function that takes it back."""
        held = _Held()
        token = _UPDATE.set(held)
        try:
            yield lambda: self._take_back(held.ids)
        finally:
            held.open = False
            _UPDATE.reset(token)
            self._held -= held.ids
            if held.ids:
                self._marked |= held.ids
                self._on_mark()

    @property
    def pending(self) -> bool:
        """Return whether a job has changed that no commit was given yet."""
        return bool(self._marked)

    # Participant --------------------------------------------------------------------------------

    def begin(self, commits: GroupCommit) -> None:
        """See `Participant.begin`. Jobs that were made before are matched with saved ones."""
        self.commits = commits
        with no_collection():
            self._begin()
            put_past_collector(len(self.records))
        self._name_orphans()

    def _begin(self) -> None:
        assert self.commits is not None  # noqa: S101 - for mypy: `begin` has just set it
        staged = self.commits.repository.staged
        made = [self.records[job_id] for job_id in self._marked if job_id in self.records]
        self._schedule.take_out(*self.jobs)
        self.records = {}
        saved = self._load(staged.entities(Kind.JOBS))
        staged.catch_up(Kind.JOBS)
        self.fixed.learn(saved)
        for record in saved:
            if record.id not in self._removed:
                self._place(record)
        for record in made:
            self._rejoin(record)
        self.jobs = {job_id: job for job_id, job in self.jobs.items() if job_id in self.records}
        for record in self.records.values():
            self._put(record)

    def _rejoin(self, record: JobRecord) -> None:
        """Take a job that was made before the state was loaded."""
        known = self.records.get(record.id)
        if known is not None and record.fixed is not None:
            record = merged(record, known)
            if record.value() == known.value():
                self._marked.discard(record.id)
        self.records[record.id] = record

    def settle(self) -> None:
        """See `Participant.settle`: fixed jobs that the code does not make any more are removed."""
        for record in self.fixed.close() if self.fixed.open else ():
            _LOGGER.warning(
                "Removed a job of %s: it was made before the start, and is not made any more.",
                record.callback,
            )
            self._schedule.take_out(record.id)
            self.remove(record.id)

    def contribute(self) -> Contribution:
        """See `Participant.contribute`."""
        marked, self._marked = self._marked, set()
        values: dict[EntityKey, object] = {}
        dropped = []
        for job_id in marked:
            record, removed = self.records.get(job_id), self._removed.pop(job_id, None)
            if record is not None:
                values[record.key] = self._value(record)
            if removed is not None and removed not in values:
                dropped.append(removed)
        return Contribution(Kind.JOBS, values, tuple(dropped))

    def _value(self, record: JobRecord) -> dict[str, Any]:
        """Return a copy of a job's value, whose data the bot's code cannot change any more."""
        self._take_data(record)
        value = record.value()
        try:
            return copy.deepcopy(value)
        except Exception:  # noqa: BLE001 - objects' own code; to save it raises what is to be said
            return value

    def bring_in(self) -> None:
        """See `Participant.bring_in`."""
        commits = self.commits
        if commits is None or commits.objects.held():
            return
        self._reset(commits.repository.staged.overtaken[Kind.JOBS])

    def take_back(self) -> None:
        """See `Participant.take_back`."""
        if self.commits is not None:
            self._take_back(self._marked | self._removed.keys())
            self._reset(self.commits.repository.staged.overtaken[Kind.JOBS])

    def _take_back(self, ids: set[str]) -> None:
        """Reset jobs to what is staged of them, and clear their marks."""
        taken = set(ids)
        keys = {self.records[job_id].key for job_id in taken if job_id in self.records}
        keys.update(self._removed.pop(job_id) for job_id in taken if job_id in self._removed)
        for job_id in taken:
            self.records.pop(job_id, None)  # it may be in the place of one with another key
        self._marked -= taken
        ids -= taken
        self._reset(keys)

    def figures(self, now: datetime) -> dict[str, float]:
        """See `ptb_s3._ptb.participants.Counted`."""
        records = list(self.records.values())  # in one step: another thread may ask
        due = [one.next for one in records if one.next is not None and one.next <= now]
        late = (now - min(due)).total_seconds() if due else 0.0
        return {"jobs": len(records), "jobs_due": len(due), "jobs_late": late}

    def committed(self, record: JobRecord) -> JobRecord | None:
        """Return a job as it is staged by now, merged with what others have committed, or None."""
        assert self.commits is not None  # noqa: S101 - for mypy: a claim was just committed
        data = self.commits.repository.staged.get(Kind.JOBS, record.key)
        return None if data is None else self._load({record.key: data})[0]

    def _reset(self, keys: Any) -> None:  # noqa: ANN401 - a collection of entity keys
        """Have jobs be what is staged of them."""
        assert self.commits is not None  # noqa: S101 - for mypy: callers have looked
        staged = self.commits.repository.staged
        jobs = [(key, staged.get(Kind.JOBS, key)) for key in keys if not is_timeout(key)]
        for key, data in sorted(jobs, key=lambda job: job[1] is not None):  # what is gone first
            known = self.records.get(key[0])
            if data is None and (known is None or known.key == key):
                self.records.pop(key[0], None)
                self.jobs.pop(key[0], None)
                self._schedule.take_out(key[0])
            elif data is not None:
                (record,) = self._load({key: data})
                self._put_anew(self._place(record))
            staged.catch_up(Kind.JOBS, [key])
        self._name_orphans()

    def _place(self, record: JobRecord) -> JobRecord:
        """Put a saved job into the table, and return it.

        Two instances may have made jobs of one explicit id for different chats, before either knew
        of the other's. Both were acknowledged: the second one goes on under an id of its own.
        """
        known = self.records.get(record.id)
        if known is not None and known.key != record.key:
            _LOGGER.warning("Two jobs of different chats have one id: one has a new id now.")
            old, record = record, replace(record, id=secrets.token_hex(16))
            self._removed[record.id] = old.key
            self.mark(record.id)
        self.records[record.id] = record
        return record

    # Reading ------------------------------------------------------------------------------------

    def _load(self, entities: Any) -> list[JobRecord]:  # noqa: ANN401 - entities by key
        """Return the records of entities.

        Raises:
            PersistenceError: A value cannot be read.
        """
        jobs = [(key, data) for key, data in entities.items() if not is_timeout(key)]
        values = load_all(self._serializer, Kind.JOBS, jobs)
        try:
            return [JobRecord.of(key, value) for key, value in values.items()]
        except JobRecordError as fault:
            raise DamagedObjectError(Kind.JOBS, f"the value of a job {fault}") from None

    def _put(self, record: JobRecord, at: datetime | None = None) -> None:
        callback = self._callbacks.find(record.callback)
        if callback is None:
            self._orphans.add(record.callback)
            return
        try:
            self.jobs[record.id] = self._schedule.put(record, callback, at)
        except TriggerError as fault:
            self._name(
                record.callback,
                f"A job of {record.callback} is kept, and does not run: its trigger {fault}.",
            )

    def _put_anew(self, record: JobRecord, at: datetime | None = None) -> None:
        self._schedule.take_out(record.id)
        self._put(record, at)

    def _take_data(self, record: JobRecord) -> None:
        """Have a record hold the data that the job's object has by now."""
        if (job := self.jobs.get(record.id)) is not None:
            record.data = job.data

    def _name_orphans(self) -> None:
        """Log, once, the callbacks that are gone."""
        for name in sorted(self._orphans):
            self._name(
                name,
                f"The callback {name} of saved jobs is gone, or its module is not trusted. The "
                "jobs are kept, and run once it is there: give "
                f"aliases={{{name.replace(':', '.')!r}: function}} if it has moved. `ptb-s3 jobs` "
                "lists them.",
            )
        self._orphans = set()

    def _name(self, what: str, text: str) -> None:
        """Log why jobs do not run, once."""
        if what not in self._named:
            self._named.add(what)
            _LOGGER.error("%s", text)
