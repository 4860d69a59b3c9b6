"""Run what is due: claim it, run it, and save that it has run.

::

    due ──▶ CLAIM, one commit for all that are due now ──▶ RUN ──▶ save its end ──▶ next run
               │ another instance has it, or it is gone      │
               ▼                                             ▼ the process dies
            look again when their claim's time is up     the claim lapses; another instance runs it

A job that repeats faster than the persistence is saved runs without a claim: a commit for each run
would cost more than to run it twice can matter. Whoever needs more gives a longer interval.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from contextvars import Context
from datetime import UTC, datetime, timedelta
from typing import Any, Generic, TypeAlias

from ptb_s3._jobs import claims
from ptb_s3._jobs.due import DueRecord, DueTable, R, Runnable
from ptb_s3._jobs.prefetching import has_read
from ptb_s3._jobs.record import moment
from ptb_s3._jobs.triggers import by_calendar, following, interval_of, trigger_of
from ptb_s3._ptb.application_state import App
from ptb_s3.errors import PersistenceError

GRACE = timedelta(hours=1)
"""How late a job of the calendar may run by default (DESIGN: one hour). Others run at any time."""
FIRST_PAUSE, LONGEST_PAUSE = 5.0, 60.0
"""Seconds between two attempts to claim a job that the storage did not take: doubled each time."""
SHORTEST_PAUSE = timedelta(seconds=1)
"""How soon a job is looked at again that could not run: the storage's clock is to the second."""

_LOGGER = logging.getLogger("ptb_s3")

_Claim: TypeAlias = Callable[[str, str, str], Awaitable[bool]]


class Runs(Generic[R]):
    """Runner of due jobs, or of due timeouts.

    Args:
        table: Holds them.
        update_interval: Seconds between two saves: jobs that repeat faster are not claimed.
        save: Saves what a run has changed.
        now: Gives the time by the storage's clock.

    Attributes:
        ending: Set once the scheduler stops.
        context: Context variables that jobs begin with.
    """

    def __init__(
        self,
        table: DueTable[R],
        update_interval: float,
        save: Callable[[], Awaitable[None]],
        now: Callable[[], datetime],
    ) -> None:
        self._table = table
        self._update_interval = update_interval
        self._save = save
        self._now = now
        self._saving: asyncio.Task[None] | None = None
        self._running: Counter[str] = Counter()
        self.ending = asyncio.Event()
        self.context = Context()

    async def run(self, job: Runnable, application: App) -> bool:
        """Run a job that is due, unless another instance does, and note its end.

        Args:
            job: The job.
            application: Application that it belongs to.

        Returns:
            Whether it was run here.
        """
        # Shielded, since PTB's own runs go on when they are cancelled, too. In the context of the
        # start: the scheduler was woken by some update, to which this does not belong.
        run = self._run(job, application, self._claim)
        task = asyncio.get_running_loop().create_task(run, context=self.context.copy())
        task.add_done_callback(lambda _: self._schedule_again(str(job.id)))
        return await asyncio.shield(task)

    async def run_once(self, job: Runnable, application: App) -> bool:
        """Run a job as `run` does, with one attempt to claim it, where no scheduler runs.

        If it is cancelled, so is the job's callback, and the claim stays until it lapses.

        Raises:
            PersistenceError: The claim cannot be committed. It is taken back, and nothing has run.
        """
        return await self._run(job, application, self._claim_once)

    def renew(self) -> None:
        """Begin to run jobs on another event loop, perhaps."""
        self.ending, self._saving = asyncio.Event(), None

    async def _run(
        self,
        job: Runnable,
        application: App,
        claim: _Claim,
    ) -> bool:
        """Run a job as `run` does, with one of the ways to claim it."""
        job_id = str(job.id)
        record = self._table.records.get(job_id)
        if record is None or self._running[job_id] >= record.options.get("max_instances", 1):
            return False  # one that is due again meanwhile is scheduled when that run has ended
        self._running[job_id] += 1
        try:
            return await self._run_alone(job_id, job, application, claim)
        finally:
            self._leave(job_id)

    def _leave(self, job_id: str) -> None:
        """Note that a run is over, and have its job scheduled if nothing else has."""
        self._running[job_id] -= 1
        if not self._running[job_id]:
            del self._running[job_id]
        self._schedule_again(job_id)

    def _schedule_again(self, job_id: str) -> None:
        """Have a job scheduled if nothing else has: also one whose run was cancelled unbegun."""
        self._table.ensure(job_id, datetime.now(UTC) + SHORTEST_PAUSE)

    async def _run_alone(self, job_id: str, job: Runnable, application: App, claim: _Claim) -> bool:
        record = self._table.records[job_id]
        if record.next is None:
            return False
        if self._table.is_held(job_id):  # it is committed when its update ends, and not before
            self._table.look_again(job_id, datetime.now(UTC) + SHORTEST_PAUSE)
            return False
        due = record.next
        if self._is_too_late(record):
            self._end(job_id, due)
            return False
        run, by = claims.run_id(job_id, due), secrets.token_hex(8)
        claimed = self.is_claimed(job_id)
        if claimed and not await claim(job_id, run, by):
            self._look_again(job_id)
            return False
        renewal = asyncio.create_task(self._renew(job_id, run, by)) if claimed else None
        job.claim_id = run
        try:
            subjects, ptb_job = job.subjects(application), job.ptb_job
            reads = await has_read(self._table.commits, subjects, application, ptb_job)
            if reads:
                await job.call(application)
        finally:
            job.claim_id = None
            if renewal is not None:
                renewal.cancel()
        if claimed and not reads:
            self._look_again(job_id)  # when its claim has lapsed
            return False
        self._end(job_id, due)  # unread and unclaimed: it repeats, and soon
        if claimed:
            await self._saved()
        return reads

    # Claims -------------------------------------------------------------------------------------

    def is_claimed(self, job_id: str) -> bool:
        """Tell whether a job is claimed before it runs, or repeats too fast for that."""
        seconds = interval_of(self._table.records[job_id].trigger)
        return seconds is None or seconds >= self._update_interval

    def _is_too_late(self, record: DueRecord) -> bool:
        grace = record.options.get("misfire_grace_time", _DEFAULT)
        if grace is _DEFAULT:
            grace = GRACE.total_seconds() if by_calendar(record.trigger) else None
        if grace is None or record.next is None:
            return False
        late = datetime.now(UTC) - record.next
        if late <= timedelta(seconds=grace):
            return False
        _LOGGER.warning("Left out a run of %s: it is %s late.", record.label, _rounded(late))
        return True

    async def _claim(self, job_id: str, run: str, by: str) -> bool:
        """Claim a job, again and again until the storage answers, and return whether it is ours."""
        pause = FIRST_PAUSE
        while not self.ending.is_set():
            try:
                return await self._try_to_claim(job_id, run, by)
            except PersistenceError as error:
                record = self._table.records.get(job_id)
                label = record and record.label
                _LOGGER.warning(
                    "Cannot claim a run of %s, and try again in %d s. %s", label, pause, error
                )
            await self._wait(pause)
            pause = min(2 * pause, LONGEST_PAUSE)
        self._release(job_id, by)
        return False

    async def _claim_once(self, job_id: str, run: str, by: str) -> bool:
        """Claim a job, and return whether it is ours. Take the claim back if that fails."""
        try:
            return await self._try_to_claim(job_id, run, by)
        except BaseException:  # such as a timeout, at which nothing has run
            self._release(job_id, by)
            raise

    def _release(self, job_id: str, by: str) -> None:
        """Take back a claim of which nothing has run: the next start would wait until it lapses."""
        record = self._table.records.get(job_id)
        if record is not None and claims.is_of(record.claim, by):
            record.claim = None
            self._table.mark(job_id)

    async def _try_to_claim(self, job_id: str, run: str, by: str) -> bool:
        record = self._table.records.get(job_id)
        if record is None or self._is_taken(record, by):
            return False
        record.claim = claims.new(run, by, self._now())
        self._table.mark(job_id)
        await self._commit()
        theirs = self._table.committed(record)
        if theirs is not None and claims.is_of(theirs.claim, by):
            return True
        self._table.bring_in()
        return False

    def _look_again(self, job_id: str) -> None:
        """Have a job that another instance has claimed looked at when that claim's time is up."""
        record = self._table.records.get(job_id)
        claim = None if record is None else record.claim
        # The claim goes by the storage's clock, and the schedule by this machine's.
        left = timedelta() if claim is None else claims.claim_until(claim) - self._now()
        self._table.look_again(job_id, datetime.now(UTC) + max(left, SHORTEST_PAUSE))

    def _is_taken(self, record: DueRecord, by: str) -> bool:
        own = claims.is_of(record.claim, by)  # of an attempt that was not known to succeed
        return not own and claims.holds(record.claim, self._now())

    async def _commit(self) -> None:
        """Commit the claims of all jobs that are due now, in one commit."""
        assert self._table.commits is not None  # noqa: S101 - for mypy: jobs are loaded by now
        await self._table.commits.join(shared=False)

    async def _wait(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self.ending.wait()
        except TimeoutError:
            pass

    async def _renew(self, job_id: str, run: str, by: str) -> None:
        """Renew a claim while its job runs."""
        while True:
            await asyncio.sleep(claims.RENEWED.total_seconds())
            record = self._table.records.get(job_id)
            if record is None or not claims.is_of(record.claim, by):
                return
            record.claim = claims.new(run, by, self._now())
            self._table.mark(job_id)
            with suppress(PersistenceError):  # the next renewal, or save, takes it along
                await self._commit()

    # The end of a run ---------------------------------------------------------------------------

    def _end(self, job_id: str, due: datetime) -> None:
        """Note that a run has ended, or is left out: the job is due next time, or done with.

        Args:
            job_id: The job's id.
            due: When the run was due.
        """
        record = self._table.records.get(job_id)
        if record is None:
            return  # it has removed itself
        record.claim = None
        if record.next == due:  # else it has rescheduled or paused itself
            next_run = following(trigger_of(record.trigger), due, datetime.now(UTC))
            if next_run is None:
                self._table.end(job_id)
                return
            record.next = moment(next_run)
        self._table.mark(job_id)
        self._table.reschedule(record)

    async def _saved(self) -> None:
        """Save the ends of runs, those that end meanwhile with the next save."""
        if self._saving is None or self._saving.done():
            self._saving = asyncio.create_task(self._save_soon())
        await asyncio.shield(self._saving)

    async def _save_soon(self) -> None:
        await asyncio.sleep(0)  # others that end in this iteration of the loop go with it
        self._saving = None
        await self._save()


def _rounded(late: timedelta) -> timedelta:
    return timedelta(seconds=round(late.total_seconds()))


_DEFAULT: Any = object()
