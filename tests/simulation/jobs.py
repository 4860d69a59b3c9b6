"""Jobs of bots that come and go on a virtual clock: ``python -m tests.simulation.jobs``.

The model: *each acknowledged job runs at least once, none before its time, none twice without a
crash or a lapsed claim in between.* Two writers, lost and late replies, processes that die at any
await. APScheduler and our jobs ask for the time by `datetime.now`: here that is the loop's.
"""

from __future__ import annotations

import asyncio
import logging
import random
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any, ClassVar, NamedTuple
from unittest import mock

from telegram import Update
from telegram.ext import TypeHandler
from tests.simulation import loop
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


class JobRun(NamedTuple):
    """A run of a job.

    Attributes:
        at: When it began, in virtual time.
        until: When its claim lapses, unless it is renewed.
        process: Who ran it.
    """

    at: datetime
    until: datetime
    process: Process | None


class JobWorld:
    """One run of the simulation.

    Args:
        seed: Decides everything.

    Attributes:
        tally: What happened, to see that a run is worth its time.
        violation: The first that there was.
    """

    present: ClassVar[JobWorld]

    def __init__(self, seed: int) -> None:
        self.tally: Counter[str] = Counter()
        self.violation: Violation | None = None
        self.randomness = random.Random(seed)  # noqa: S311 - to be repeatable is the point
        self._weather = draw_weather(self.randomness)
        self._storage = MemoryStore(clock=self.now)
        self._due: dict[int, datetime] = {}
        self._acknowledged: set[int] = set()
        self._runs: dict[int, list[JobRun]] = defaultdict(list)
        self._dead: dict[Process, datetime] = {}
        JobWorld.present = self

    def now(self) -> datetime:
        """Return the time of all clocks."""
        return EPOCH + timedelta(seconds=asyncio.get_running_loop().time())

    async def run(self) -> None:
        """Let bots come and go for a while; then see that all that was acknowledged has run.

        Raises:
            Violation: Something is not as it must be.
        """
        await asyncio.gather(*(self._writer() for _ in range(self.randomness.choice([1, 2, 2]))))
        self._weather = Weather()
        process = Process()
        last = process.spawn(self._live(DURATION + CALM))
        await asyncio.wait([last])
        process.kill()
        last.result()
        if self.violation is not None:
            raise self.violation
        if lost := self._acknowledged - self._runs.keys():
            raise Violation(f"acknowledged jobs never ran: {sorted(lost)}")
        self.tally["acknowledged"] += len(self._acknowledged)
        self.tally["ran"] += len(self._runs)

    async def _writer(self) -> None:
        """Run one bot after another, until the time is up."""
        clock = asyncio.get_running_loop().time
        while clock() < DURATION and self.violation is None:
            mortal = self.randomness.random() < 0.7
            process = Process(self.randomness.randint(50, 3000) if mortal else None)
            stays = clock() + self.randomness.uniform(5, DURATION / 2)
            task = process.spawn(self._live(min(stays, DURATION)))
            died = asyncio.ensure_future(process.died.wait())
            await asyncio.wait([task, died], return_when=asyncio.FIRST_COMPLETED)
            died.cancel()
            self.tally["killed" if process.dead else "ended"] += 1
            self._dead[process] = self.now()
            if not process.dead:
                process.kill()
                task.result()
            await asyncio.sleep(self.randomness.choice([0.0, 0.1, 2.0]))

    async def _live(self, until: float) -> None:
        """Be one process of a bot: make jobs, and run them."""
        rng = random.Random(self.randomness.random())  # noqa: S311 - as above
        line = Line(self._storage, rng, self._weather, lambda _: None)
        persistence = make_persistence(
            line, trusted=("tests",), sync=rng.choice([0.0, 5.0, None]), update_interval=10
        )
        app = built(persistence, TypeHandler(Update, _order))
        app.add_error_handler(_expect)
        try:
            await app.initialize()
        except PersistenceError:
            self.tally["could not start"] += 1
            return
        await app.start()
        clock = asyncio.get_running_loop().time
        while clock() < until and self.violation is None:
            if clock() < DURATION:
                await self._make(app, rng)
            await asyncio.sleep(rng.expovariate(1 / 4))
        if rng.random() < 0.5 or clock() >= DURATION + CALM:
            await app.stop()

    async def _make(self, app: JobBot, rng: random.Random) -> None:
        number = len(self._due)
        self._due[number] = self.now() + timedelta(seconds=rng.choice([0, 1, 20, 60]))
        await say(app, str(number))
        if rng.random() < 0.7:
            await app.update_persistence()
        base = app.persistence._commits.repository.base.entities[Kind.JOBS]
        if any(key[0] == f"job-{number}" for key in base):
            self._acknowledged.add(number)

    def due(self, number: int) -> datetime:
        return self._due[number]

    def note(self, number: int, until: datetime) -> None:
        """Note that a run begins, and hold it against the model."""
        run = JobRun(self.now(), until, loop.current())
        if run.at < self._due[number]:
            self._violate(f"job {number} ran before its time")
        for earlier in self._runs[number]:
            self.tally["again"] += 1
            died = earlier.process and self._dead.get(earlier.process)
            if died is None and run.at < earlier.until:
                self._violate(f"job {number} ran twice, and its first claim holds")
            if earlier.process is run.process:
                self._violate(f"job {number} ran twice in one process")
        self._runs[number].append(run)

    def _violate(self, what: str) -> None:
        self.violation = self.violation or Violation(what)


async def _order(update: Any, context: Any) -> None:
    number = int(update.message.text)
    context.job_queue.run_once(
        note, JobWorld.present.due(number), data=number, job_kwargs={"id": f"job-{number}"}
    )


async def note(context: Any) -> None:
    """Be the callback of all jobs."""
    world = JobWorld.present
    record = context.job_queue._keeper.table.records[context.job.id]
    # A run without a claim should not be: nobody else may run the job for as long as with one.
    until = record.claim["until"] if record.claim else world.now() + claims.LASTS
    world.note(context.job.data, until)
    await asyncio.sleep(world.randomness.choice([0.0, 0.1, 5.0]))


async def _expect(_: object, context: Any) -> None:
    """Let storage fail; anything else is a fault."""
    if not isinstance(context.error, PersistenceError):
        JobWorld.present._violate(f"an error: {context.error!r}")


@contextmanager
def _virtual(world: JobWorld) -> Iterator[None]:
    class Virtual(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]  # no subclass
            return world.now().astimezone(tz)

    async def offload(work: Callable[..., Any], /, *args: Any, **options: Any) -> Any:
        return work(*args, **options)

    async def inline(_: Worker, work: Callable[..., Any], /, *args: Any, **options: Any) -> Any:
        return work(*args, **options)

    effects = {
        "offload": offload,
        "randomness": world.randomness.randbytes,
        "clock": world.now,
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
