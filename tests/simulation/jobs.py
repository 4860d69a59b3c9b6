"""Jobs of bots that come and go on a virtual clock: ``python -m tests.simulation.jobs``.

See `job_model` for what must hold. Two writers, lost and late replies, processes that die at any
await, and clocks that are wrong. APScheduler and our jobs ask for the time by `datetime.now`: here
that is the loop's, as far as the process's clock is right.
"""

from __future__ import annotations

import asyncio
import logging
import random
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any, ClassVar
from unittest import mock

from telegram import Update
from telegram.ext import TypeHandler
from tests.simulation import loop
from tests.simulation.job_model import JobModel
from tests.simulation.loop import Process
from tests.simulation.model import Violation
from tests.simulation.storage import Line, Weather, draw_weather
from tests.support import make_persistence
from tests.support.bots import say
from tests.support.jobs import JobBot, built

from ptb_s3._engine.repository import Repository
from ptb_s3._format.entities import Kind
from ptb_s3._jobs import claims
from ptb_s3._storage.memory import MemoryStore
from ptb_s3._storage.threads import Worker
from ptb_s3.errors import PersistenceError

EPOCH = datetime(2026, 11, 25, tzinfo=UTC)
# Virtual seconds for which bots come and go, making jobs.
DURATION = 120.0
# Virtual seconds in which one bot, in fair weather, does what is left: claims of the dead lapse.
CALM = 2 * claims.LASTS.total_seconds() + 100
_CLOCKED = (
    "apscheduler.schedulers.base",
    *(f"ptb_s3._jobs.{module}" for module in ("runs", "schedule", "keeper")),
)


# Tasks that are cancelled: claims and runs, renewals, saves of their ends and of other changes.
_CANCELLED = ("Runs.", "PersistentJobQueue.", "run_coroutine_job", "Job")


class JobProcess(Process):
    """A process in which tasks of jobs are cancelled, as frameworks do that end all tasks."""

    def made(self, task: asyncio.Task[Any]) -> None:
        """Cancel a task that was just made, now or later, if it is to be and is one of jobs."""
        if getattr(task.get_coro(), "__qualname__", "").startswith(_CANCELLED):
            super().made(task)


class JobWorld:
    """One run of the simulation.

    Args:
        seed: Decides everything.

    Attributes:
        tally: What happened, to see that a run is worth its time.
        model: What must hold.
    """

    present: ClassVar[JobWorld]

    def __init__(self, seed: int) -> None:
        self.tally: Counter[str] = Counter()
        self.model = JobModel(self.now, self.tally)
        self.randomness = random.Random(seed)  # noqa: S311 - to be repeatable is the point
        self._weather = draw_weather(self.randomness)
        self._storage = MemoryStore(clock=self.now)
        self._cancelled = self.randomness.choice([0.0, 0.03, 0.1])
        self._clocks = self.randomness.choice([_right, _wrong, _wrong])
        JobWorld.present = self

    def now(self) -> datetime:
        """Return the time of the storage's clock."""
        return EPOCH + timedelta(seconds=asyncio.get_running_loop().time())

    def clock(self) -> datetime:
        """Return the time of the clock of the process that asks."""
        process = loop.current()
        return self.now() + (process.skew if process is not None else timedelta())

    async def run(self) -> None:
        """Let bots come and go for a while; then see that all that was acknowledged has run.

        Raises:
            Violation: Something is not as it must be.
        """
        await asyncio.gather(*(self._writer() for _ in range(self.randomness.choice([1, 2, 2]))))
        self._weather = Weather()
        process = JobProcess(skew=self._clocks(self.randomness))
        process.cancels = self._draw_turns
        last = process.spawn(self._live(DURATION + CALM))
        await asyncio.wait([last])
        process.kill()
        last.result()
        self.model.check()

    async def _writer(self) -> None:
        """Run one bot after another, until the time is up."""
        clock = asyncio.get_running_loop().time
        while clock() < DURATION and self.model.violation is None:
            mortal = self.randomness.random() < 0.7
            dies_at = self.randomness.randint(50, 3000) if mortal else None
            process = JobProcess(dies_at, self._clocks(self.randomness))
            process.cancels = self._draw_turns
            stays = clock() + self.randomness.uniform(5, DURATION / 2)
            task = process.spawn(self._live(min(stays, DURATION)))
            died = asyncio.ensure_future(process.died.wait())
            await asyncio.wait([task, died], return_when=asyncio.FIRST_COMPLETED)
            died.cancel()
            self.tally["killed" if process.dead else "ended"] += 1
            self.model.dead.add(process)
            if not process.dead:
                process.kill()
                task.result()
            await asyncio.sleep(self.randomness.choice([0.0, 0.1, 2.0]))

    def _draw_turns(self) -> int | None:
        """Draw after how many turns of the loop to cancel a task; None: not at all."""
        over = asyncio.get_running_loop().time() > DURATION + 60
        if over or self.randomness.random() >= self._cancelled:
            return None
        self.tally["cancelled"] += 1
        return self.randomness.choice([0, self.randomness.randrange(40)])

    async def _live(self, until: float) -> None:
        """Be one process of a bot: make jobs, and run them."""
        rng = random.Random(self.randomness.random())  # noqa: S311 - as above
        line = Line(self._storage, rng, self._weather, lambda _: None, clock=self.clock)
        persistence = make_persistence(
            line, trusted=("tests",), sync=rng.choice([0.0, 5.0, None]), update_interval=10
        )
        app = built(persistence, TypeHandler(Update, _order))
        app.job_queue.run_repeating(_steady, 45)
        app.add_error_handler(_expect)
        try:
            await app.initialize()
        except PersistenceError:
            self.tally["could not start"] += 1
            return
        await app.start()
        clock = asyncio.get_running_loop().time
        self._set_clock(rng, is_last=clock() >= DURATION)
        while clock() < until and self.model.violation is None:
            if clock() < DURATION:
                await self._make(app, rng)
                if rng.random() < 0.3:
                    await self._cancel(app, rng)
                if rng.random() < 0.05:
                    await self._stop_and_start(app, rng)
            await asyncio.sleep(rng.expovariate(1 / 4))
        if rng.random() < 0.5 or clock() >= DURATION + CALM:
            await app.stop()

    async def _stop_and_start(self, app: JobBot, rng: random.Random) -> None:
        """Stop the bot and start it again in its process, as `Application` allows."""
        await app.stop()
        await asyncio.sleep(rng.choice([0.0, 0.1, 10.0]))
        await app.start()
        self.tally["started again"] += 1

    def _set_clock(self, rng: random.Random, *, is_last: bool) -> None:
        """Have a process's clock jump, if it is to: the last one's to when everything is due."""
        process = loop.current()
        assert process is not None
        left = self.model.latest - self.clock()
        if is_last:
            by, within = max(left, timedelta()), 60.0
        elif self._clocks is _wrong and rng.random() < 0.3:
            by, within = _wrong(rng), 30.0
        else:
            return
        if by:
            jump = self.model.jump
            asyncio.get_running_loop().call_later(within * rng.random(), jump, process, by)

    async def _make(self, app: JobBot, rng: random.Random) -> None:
        number = self.model.make(self.clock() + timedelta(seconds=rng.choice([0, 1, 20, 60])))
        await say(app, f"{number} {rng.choice(['once', 'once', 'again'])}")
        if rng.random() < 0.7:
            await app.update_persistence()
        base = app.persistence._commits.repository.base.entities[Kind.JOBS]
        if any(key[0] == f"job-{number}" for key in base):
            self.model.acknowledged.add(number)
        if sum(not key[0].startswith("job-") for key in base) > 1:
            self.model.violate("the job that each bot makes at its start is there twice")

    async def _cancel(self, app: JobBot, rng: random.Random) -> None:
        """Cancel a job that this bot knows of, whoever has made it, and perhaps is running it."""
        found = app.job_queue.jobs("^job-")
        if not found:
            return
        job = rng.choice(found)
        self.model.cancels.add(job.data)
        job.schedule_removal()
        await app.update_persistence()
        commits = app.persistence._commits
        gone = not any(key[0] == job.id for key in commits.repository.base.entities[Kind.JOBS])
        if gone and not commits.repository.dirty and not app.job_queue._keeper.pending:
            self.model.cancelled.setdefault(job.data, self.now())
            self.tally["taken back"] += 1


def _right(_: random.Random) -> timedelta:
    return timedelta()


def _wrong(rng: random.Random) -> timedelta:
    """Draw how wrong a clock is: by seconds, by about as long as a claim lasts, or by hours."""
    seconds = rng.choice([0.0, 30.0, 900.0, 4 * 3600.0])
    return timedelta(seconds=rng.uniform(-seconds, seconds))


async def _order(update: Any, context: Any) -> None:
    number, how = update.message.text.split()
    due, name = JobWorld.present.model.due(int(number)), f"job-{number}"
    given: Any = {"data": int(number), "name": name, "job_kwargs": {"id": name}}
    if how == "once":
        context.job_queue.run_once(note, due, **given)
    else:
        context.job_queue.run_repeating(note, 90, first=due, **given)


async def _steady(_: Any) -> None:
    """Be the callback of a fixed job, which each bot makes at its start."""


async def note(context: Any) -> None:
    """Be the callback of all jobs."""
    world = JobWorld.present
    record = context.job_queue._keeper.table.records.get(context.job.id)
    # A run without a claim should not be: nobody else may run the job for as long as with one.
    # One without a record was cancelled since.
    until = record.claim["until"] if record and record.claim else world.now() + claims.LASTS
    process = loop.current()
    assert process is not None
    run = world.model.begin(context.job.data, context.job.claim_id, until, process)
    await asyncio.sleep(world.randomness.choice([0.0, 0.1, 5.0]))
    run.ended = True


async def _expect(_: object, context: Any) -> None:
    """Let storage fail; anything else is a fault."""
    if not isinstance(context.error, PersistenceError):
        JobWorld.present.model.violate(f"an error: {context.error!r}")


@contextmanager
def _virtual(world: JobWorld) -> Iterator[None]:
    class Virtual(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]  # no subclass
            return world.clock().astimezone(tz)

    async def offload(work: Callable[..., Any], /, *args: Any, **options: Any) -> Any:
        return work(*args, **options)

    async def inline(_: Worker, work: Callable[..., Any], /, *args: Any, **options: Any) -> Any:
        return work(*args, **options)

    effects = {
        "offload": offload,
        "randomness": world.randomness.randbytes,
        "clock": world.clock,
        "pause": asyncio.sleep,
    }
    with ExitStack() as stack:
        enter = stack.enter_context
        enter(mock.patch.dict(Repository.__init__.__kwdefaults__ or {}, effects))
        enter(mock.patch.object(Worker, "__call__", inline))
        for module in _CLOCKED:
            enter(mock.patch(f"{module}.datetime", Virtual))
        yield


def simulate_jobs(seed: int) -> Counter[str]:
    """Run one schedule; return what happened in it.

    Args:
        seed: Decides everything.

    Raises:
        Violation: Something is not as it must be.
    """
    world = JobWorld(seed)
    with _virtual(world):
        loop.run(world.run())
    return world.tally


def main(first: int, count: int) -> None:
    """Run schedules, and print what happened in all of them, and which failed."""
    logging.disable()
    tally: Counter[str] = Counter()
    for seed in range(first, first + count):
        try:
            tally += simulate_jobs(seed)
        except Violation as violation:
            tally["failed"] += 1
            print(seed, violation)  # noqa: T201 - a program
    print(dict(tally))  # noqa: T201 - as above


if __name__ == "__main__":
    main(*map(int, sys.argv[1:3]))
