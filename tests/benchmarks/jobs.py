"""What jobs cost that are kept: a start with many, to make one, and an interval of waiting.

Beside them, the same jobs in APScheduler's `SQLAlchemyJobStore` on an SQLite file, with an adapter
as one would write it by hand (`sql_jobs`).
"""

from __future__ import annotations

import gc
import time
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from telegram.ext import ApplicationBuilder, JobQueue
from tests.benchmarks.contestants import CountingStore
from tests.benchmarks.setting import BUCKET, Setting

from ptb_s3 import Keyring, PersistentApplication, PersistentJobQueue, S3Persistence
from ptb_s3._keys.keyring import Key
from ptb_s3.cli._demo.offline import TOKEN, OfflineTelegram

_KEY = Key(bytes(range(32)))
_PREFIX = "jobs/"
_FAR = timedelta(days=1)

JobBot = Any  # an Application, whose job queue may be None, as PTB's types have it


class JobStart(NamedTuple):
    """A start with jobs.

    Attributes:
        running: Seconds until the scheduler ran.
        asked: Seconds until all jobs were asked for, besides.
    """

    running: float
    asked: float


class Making(NamedTuple):
    """What it takes to make jobs beside many others.

    Attributes:
        each: Seconds that the event loop is held for one, on average.
        requests: Requests of all of them, before the interval's save.
    """

    each: float
    requests: int


async def remind(_: Any) -> None:
    """Be the callback of the jobs."""


def make(queue: Any, number: int, **given: Any) -> None:
    """Make a reminder as bots have it: whom it is for, what to say, and when."""
    data = {"text": f"Your order {number} is ready", "number": number}
    when = datetime.now(UTC) + _FAR + timedelta(seconds=number)
    queue.run_once(remind, when, data=data, chat_id=number, user_id=number, **given)


def make_fixed(queue: Any, count: int) -> None:
    """Make jobs as a program does that makes its own at each start: of one id each time."""
    for number in range(count):
        make(queue, number, job_kwargs={"id": f"fixed-{number}", "replace_existing": True})


def bot(
    setting: Setting, queue: JobQueue[Any] | None, prefix: str = _PREFIX
) -> tuple[JobBot, CountingStore]:
    """Build a bot on the server, and return it with the store that counts its requests."""
    persistence: Any = S3Persistence(
        *(BUCKET, prefix),
        keyring=Keyring(_KEY),
        endpoint_url=setting.endpoint_url,
        trusted=("tests",),
    )
    store = persistence._loader.store = CountingStore(persistence._loader.store)
    return _built(queue, persistence), store


def plain_bot(queue: JobQueue[Any]) -> JobBot:
    """Build a bot that saves nothing."""
    return _built(queue, None)


def _built(queue: JobQueue[Any] | None, persistence: Any) -> JobBot:
    builder: Any = (
        ApplicationBuilder()
        .application_class(PersistentApplication)
        .token(TOKEN)
        .request(OfflineTelegram())
        .get_updates_request(OfflineTelegram())
        .updater(None)
        .job_queue(queue)
    )
    if persistence is not None:
        builder = builder.persistence(persistence)
    return builder.build()


async def fill(setting: Setting) -> None:
    """Save the jobs, made by a bot that runs: none of them is made anew at each start."""
    app, _ = bot(setting, PersistentJobQueue())
    await app.initialize()
    await app.start()
    for number in range(setting.jobs):
        make(app.job_queue, number)
    await app.stop()
    await app.shutdown()


async def start(setting: Setting) -> JobStart:
    """Start a bot whose jobs are kept."""
    return await _start(setting, PersistentJobQueue())


async def start_without(setting: Setting) -> JobStart:
    """Start a bot on the same state which has nothing to do with jobs: the state's own load."""
    return await _start(setting, JobQueue())


async def _start(setting: Setting, queue: JobQueue[Any]) -> JobStart:
    app, store = bot(setting, queue)
    await store.get("nothing")  # imports aioboto3 and opens the client
    taken = await timed_start(app)
    found = len(app.job_queue.jobs())
    assert found == (setting.jobs if isinstance(queue, PersistentJobQueue) else 0)
    await app.stop()
    await app.shutdown()
    return taken


async def start_with_fixed(setting: Setting) -> JobStart:
    """Start a bot that makes its jobs at each start, all of which are kept from the last one."""
    app, store = bot(setting, PersistentJobQueue(), "fixed-jobs/")
    await store.get("nothing")  # as above
    taken = await timed_start(app, makes=setting.jobs)
    assert len(app.job_queue.jobs()) == setting.jobs
    await app.stop()
    await app.shutdown()
    return taken


async def timed_start(app: JobBot, makes: int = 0) -> JobStart:
    """Start a bot, ask for its jobs, and return how long that took.

    Args:
        app: The bot.
        makes: How many jobs its program makes, before it runs.
    """
    gc.collect()
    begun = time.perf_counter()
    make_fixed(app.job_queue, makes)
    await app.initialize()
    await app.start()
    running = time.perf_counter()
    app.job_queue.jobs()
    asked = time.perf_counter()
    return JobStart(running - begun, asked - begun)


async def making(setting: Setting) -> Making:
    """Make jobs that are kept."""
    app, store = bot(setting, PersistentJobQueue())
    await app.initialize()
    await app.start()
    store.calls.clear()
    each = _each(app.job_queue, setting)
    requests = store.calls.total()
    for job in app.job_queue.jobs()[setting.jobs :]:
        job.schedule_removal()
    await app.stop()
    await app.shutdown()
    return Making(each, requests)


async def making_plain(setting: Setting) -> Making:
    """Make jobs in PTB's own queue, beside as many others."""
    app = plain_bot(JobQueue())
    await app.initialize()
    await app.start()
    for number in range(setting.jobs):
        make(app.job_queue, number)
    each = _each(app.job_queue, setting)
    await app.stop()
    await app.shutdown()
    return Making(each, 0)


def _each(queue: Any, setting: Setting) -> float:
    count = made(setting)
    gc.collect()
    begun = time.perf_counter()
    for number in range(count):
        make(queue, setting.jobs + number)
    return (time.perf_counter() - begun) / count


def made(setting: Setting) -> int:
    """Return how many jobs are made to see how long one takes."""
    return max(1, setting.jobs // 5)


async def waiting(setting: Setting) -> int:
    """Return the requests of three intervals in which jobs wait, and nothing happens."""
    app, store = bot(setting, PersistentJobQueue())
    await app.initialize()
    await app.start()
    await app.update_persistence()
    store.calls.clear()
    for _ in range(3):
        await app.update_persistence()
    requests = store.calls.total()
    await app.stop()
    await app.shutdown()
    return requests
