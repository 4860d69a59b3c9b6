"""What PTB promises of its job queue, held by jobs that are kept.

Each behaviour that PTB tests of its `JobQueue` is tested here with functions at the top of this
module as callbacks, and with jobs that are saved. `tests/conformance/test_ptb_job_queue.py` runs
PTB's own tests, whose callbacks are methods of a test and cannot be kept.

Two things differ, on purpose:

===============================  ================================================================
PTB                              here, and why
===============================  ================================================================
any callable object is a         one without a name in a module is refused: no restart could find
callback                         it again
`add_job` of the scheduler       it gets a kept object in the place of the one that was given,
takes a `Job` as it is           which has the id of the run besides
===============================  ================================================================
"""

from __future__ import annotations

import asyncio
import gc
import logging
import re
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from telegram.ext import ApplicationBuilder, CallbackContext, ContextTypes, Defaults, Job
from tests.support.bots import TOKEN
from tests.support.jobs import JobBot, begun, built, end, kill, saved, until

from ptb_s3 import PersistentJobQueue
from ptb_s3.errors import JobError
from ptb_s3.testing import memory_persistence

SOON = 0.1  # seconds
BERLIN, NEW_YORK = ZoneInfo("Europe/Berlin"), ZoneInfo("America/New_York")
runs: list[tuple[str, datetime]] = []
contexts: list[Any] = []
gate = asyncio.Event()


async def run(context: Any) -> None:
    runs.append((context.job.name, datetime.now(UTC)))
    contexts.append(context)


async def add_data(context: Any) -> None:
    runs.append((str(context.job.data), datetime.now(UTC)))


async def fail(_: Any) -> None:
    raise ValueError("a callback's")


async def remove_itself(context: Any) -> None:
    await run(context)
    context.job.schedule_removal()


async def wait_at_the_gate(context: Any) -> None:
    contexts.append(context)
    await gate.wait()
    await run(context)


async def count_in_data(context: Any) -> None:
    context.job.data["runs"] += 1


class CallableObject:
    async def __call__(self, _: Any) -> None: ...


class OwnContext(CallbackContext[Any, Any, Any, Any]):
    """A context of a bot's own."""


@pytest.fixture(autouse=True)
def _clean() -> None:
    global gate  # noqa: PLW0603 - an event belongs to the loop of one test
    runs.clear()
    contexts.clear()
    gate = asyncio.Event()


@pytest.fixture
async def bot() -> AsyncIterator[JobBot]:
    """A running bot, killed at the end."""
    application = await begun(memory_persistence(update_interval=0.05))
    yield application
    await kill(application)


def due(name: str) -> datetime:
    """Return when the one run of a job was."""
    (when,) = [when for found, when in runs if found == name]
    return when


def is_done(bot: JobBot) -> bool:
    """Tell whether the last run of each job has ended."""
    return not bot.job_queue._keeper.table.records


def ran(name: str = "run") -> int:
    return len([found for found, _ in runs if found == name])


# Times -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "when",
    [
        lambda _: SOON,
        lambda _: timedelta(seconds=SOON),
        lambda now: now + timedelta(seconds=SOON),
        lambda now: (now + timedelta(seconds=SOON)).astimezone(BERLIN),
        lambda now: (now + timedelta(seconds=SOON)).replace(tzinfo=None),
        lambda now: (now + timedelta(seconds=SOON)).time(),
        lambda now: (now + timedelta(seconds=SOON)).astimezone(BERLIN).timetz(),
    ],
    ids=["float", "timedelta", "UTC", "Berlin", "naive", "time", "time in Berlin"],
)
async def test_run_once_at_each_form_of_a_time(bot: JobBot, when: Any) -> None:
    """Once, not before, and soon after; and it is gone from the queue and the store."""
    before = datetime.now(UTC)
    bot.job_queue.run_once(run, when(before))
    await until(lambda: ran() and is_done(bot))
    assert due("run") >= before + timedelta(seconds=SOON - 0.001)
    assert ran() == 1
    await bot.update_persistence()
    assert await saved(bot.persistence) == {}


async def test_a_time_of_day_that_has_passed_is_tomorrows(bot: JobBot) -> None:
    """Not today's, which would run at once."""
    passed = datetime.now(UTC) - timedelta(seconds=2)
    job = bot.job_queue.run_once(run, passed.time())
    assert job.next_t == passed + timedelta(days=1)


async def test_a_moment_in_the_past_runs_at_once(bot: JobBot) -> None:
    """As with PTB, whose scheduler has a second's grace; here whatever its age."""
    bot.job_queue.run_once(run, datetime.now(UTC) - timedelta(seconds=30))
    await until(ran)


async def test_the_earlier_one_is_first_whatever_was_made_first(bot: JobBot) -> None:
    """The scheduler goes by the time."""
    bot.job_queue.run_once(run, 3 * SOON, name="late")
    bot.job_queue.run_once(run, SOON, name="early")
    await until(lambda: len(runs) == 2)
    assert [name for name, _ in runs] == ["early", "late"]


@pytest.mark.parametrize("interval", [SOON, timedelta(seconds=SOON)])
async def test_run_repeating(bot: JobBot, interval: Any) -> None:
    """First after one interval, and then after each."""
    begin = datetime.now(UTC)
    bot.job_queue.run_repeating(run, interval)
    await until(lambda: ran() >= 3)
    for number, (_, when) in enumerate(runs[:3], start=1):
        assert when >= begin + number * timedelta(seconds=SOON - 0.001)


@pytest.mark.parametrize("zone", [None, BERLIN, NEW_YORK])
async def test_run_repeating_from_and_until(bot: JobBot, zone: Any) -> None:
    """`first` and `last` bound it, as seconds and as moments of any zone."""

    def at(seconds: float) -> Any:
        return seconds if zone is None else datetime.now(zone) + timedelta(seconds=seconds)

    begin = datetime.now(UTC)
    bot.job_queue.run_repeating(run, 0.2, first=at(0.1), last=at(0.4))
    await until(lambda: ran() == 2)
    await until(lambda: is_done(bot))
    assert runs[0][1] >= begin + timedelta(seconds=0.099)
    await bot.update_persistence()
    assert await saved(bot.persistence) == {}


async def test_an_end_before_the_beginning_is_refused(bot: JobBot) -> None:
    """And nothing is scheduled or saved."""
    with pytest.raises(ValueError, match="'last' must not be before 'first'"):
        bot.job_queue.run_repeating(run, 1, first=2, last=1)
    assert bot.job_queue.jobs() == ()


async def test_run_custom(bot: JobBot) -> None:
    """Arguments of APScheduler's own."""
    bot.job_queue.run_custom(run, {"trigger": "interval", "seconds": SOON})
    await until(lambda: ran() >= 2)


async def test_run_daily_and_again_tomorrow(bot: JobBot) -> None:
    """It runs today, and is due at the same time tomorrow."""
    when = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=2)
    job = bot.job_queue.run_daily(run, when.time())
    await until(lambda: ran() and job.next_t > when)
    assert job.next_t == when + timedelta(days=1)


@pytest.mark.parametrize("weekday", range(7))
async def test_run_daily_on_one_day_of_the_week(bot: JobBot, weekday: int) -> None:
    """0 is a Sunday, as PTB counts since version 20."""
    when = datetime.now(UTC).replace(microsecond=0) - timedelta(seconds=2)
    job = bot.job_queue.run_daily(run, when.time(), days=(weekday,))
    days = (weekday + 6 - when.weekday()) % 7 or 7
    assert job.next_t == when + timedelta(days=days)


@pytest.mark.parametrize("day", [14, 31, -1])
async def test_run_monthly(bot: JobBot, day: int) -> None:
    """On that day of months that have it, or, with -1, on the last one of each."""
    job = bot.job_queue.run_monthly(run, time(9, 30, tzinfo=BERLIN), day)
    shown = job.next_t.astimezone(BERLIN)
    assert (shown.hour, shown.minute) == (9, 30)
    assert shown.day == day if day > 0 else (shown + timedelta(days=1)).day == 1
    assert datetime.now(UTC) < job.next_t < datetime.now(UTC) + timedelta(days=63)


async def test_times_without_a_zone_are_in_that_of_the_bots_defaults() -> None:
    """Also after a restart, for what was saved is a moment."""
    persistence = memory_persistence()
    bot = await begun(persistence, defaults=Defaults(tzinfo=NEW_YORK))
    noon = datetime.combine(date.today() + timedelta(days=2), time(12))  # noqa: DTZ011 - without
    bot.job_queue.run_once(run, noon, name="once")
    bot.job_queue.run_daily(run, time(12), name="daily")
    await end(bot)
    bot = await begun(persistence.restarted(), defaults=Defaults(tzinfo=NEW_YORK))
    (once,), (daily,) = map(bot.job_queue.get_jobs_by_name, ("once", "daily"))
    assert once.next_t == noon.replace(tzinfo=NEW_YORK)
    assert daily.next_t.astimezone(NEW_YORK).time() == time(12)
    await kill(bot)


# What a callback gets ----------------------------------------------------------------------------


async def test_the_context_has_the_job_and_no_data_of_nobody(bot: JobBot) -> None:
    """The job is the object that the call has returned, which code may hold."""
    job = bot.job_queue.run_once(run, 0)
    await until(lambda: contexts)
    (context,) = contexts
    assert context.job is job
    assert context.chat_data is None
    assert context.user_data is None
    assert context.bot_data == {}
    assert isinstance(context.update_queue, asyncio.Queue)


async def test_the_context_has_the_data_of_whom_the_job_is_for(bot: JobBot) -> None:
    """And what a callback changes there is saved after the run, with the job's end."""
    bot.job_queue.run_once(note_in_data, 0, name="run", chat_id=4, user_id=5)
    await until(lambda: ran() and is_done(bot))
    await bot.update_persistence()
    again = built(bot.persistence.restarted())
    await again.initialize()
    assert (again.chat_data[4], again.user_data[5]) == ({"seen": 1}, {"seen": 1})
    await again.shutdown()


async def note_in_data(context: Any) -> None:
    context.chat_data["seen"] = context.user_data["seen"] = 1
    await run(context)


async def test_data_and_name(bot: JobBot) -> None:
    """Data as it was given, and the callback's name where there is none."""
    job = bot.job_queue.run_once(add_data, 0, data=5)
    assert job.name == "add_data"
    await until(lambda: ran("5"))


async def test_a_context_of_the_bots_own() -> None:
    """With types of its data of its own, as `ContextTypes` says."""
    types = ContextTypes(context=OwnContext, bot_data=list, user_data=set, chat_data=tuple)
    persistence = memory_persistence(update_interval=0.05, context_types=types)
    bot = await begun(persistence, context_types=types)
    bot.job_queue.run_once(run, 0)
    await until(lambda: contexts)
    (context,) = contexts
    assert isinstance(context, OwnContext)
    assert (context.user_data, context.chat_data, context.bot_data) == (None, None, [])
    await kill(bot)


async def test_a_context_that_cannot_be_built_is_logged_and_the_bot_goes_on(
    bot: JobBot, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The job that it was for is over, as with PTB, and others run."""
    from_job = CallbackContext.from_job

    def refuse_one(job: Any, application: Any) -> Any:
        if job.data == 1:
            raise ValueError("a context's")
        return from_job(job, application)

    monkeypatch.setattr(CallbackContext, "from_job", refuse_one)
    for data in (1, 2):
        bot.job_queue.run_once(add_data, 0, data=data)
    await until(lambda: ran("2") and is_done(bot))
    assert not ran("1")
    (record,) = [r for r in caplog.records if r.levelno == logging.CRITICAL]
    assert "Error while building CallbackContext" in record.getMessage()


# Errors ------------------------------------------------------------------------------------------


async def test_an_error_goes_to_the_error_handlers_with_job_and_data(bot: JobBot) -> None:
    """Whether the scheduler runs the job or code does."""
    heard: list[Any] = []

    async def hear(_: object, context: Any) -> None:
        heard.append((context.error, context.job, context.user_data, context.chat_data))

    bot.add_error_handler(hear)
    job = bot.job_queue.run_once(fail, 0, chat_id=42, user_id=43)
    await until(lambda: heard)
    await job.run(bot)
    for error, its_job, user_data, chat_data in heard:
        assert str(error) == "a callback's"
        assert its_job is job
        assert user_data is bot.user_data[43]
        assert chat_data is bot.chat_data[42]
    assert len(heard) == 2


async def test_errors_of_error_handlers_and_without_one_are_logged(
    bot: JobBot, caplog: pytest.LogCaptureFixture
) -> None:
    """In PTB's words; neither ends the queue."""
    bot.job_queue.run_once(fail, 0)
    await until(lambda: "No error handlers are registered" in caplog.text)

    async def fail_as_well(*_: object) -> None:
        raise ValueError("a handler's")

    bot.add_error_handler(fail_as_well)
    bot.job_queue.run_once(fail, 0)
    await until(lambda: "uncaught error was raised while handling" in caplog.text)
    bot.job_queue.run_once(run, 0)
    await until(ran)


async def test_a_job_that_fails_does_not_keep_others_from_running(bot: JobBot) -> None:
    """Nor itself from its next run."""
    bot.job_queue.run_repeating(fail, SOON)
    bot.job_queue.run_repeating(run, SOON)
    await until(lambda: ran() >= 2)
    assert len(bot.job_queue.jobs()) == 2


# Pausing, removing, asking -----------------------------------------------------------------------


async def test_a_paused_job_does_not_run_until_it_is_resumed(bot: JobBot) -> None:
    """A one-shot that was due meanwhile runs then, and a repeating one goes on."""
    once = bot.job_queue.run_once(run, SOON, name="once")
    often = bot.job_queue.run_repeating(run, SOON, name="often")
    once.enabled = often.enabled = False
    await asyncio.sleep(4 * SOON)
    assert not runs
    assert not once.enabled
    once.enabled = often.enabled = True
    assert often.enabled
    await until(lambda: ran("once") == 1 and ran("often") >= 2)


async def test_a_removed_job_does_not_run(bot: JobBot) -> None:
    """Neither one that has run before nor one that has not, and neither after a restart."""
    once = bot.job_queue.run_once(run, 4 * SOON, name="once")
    often = bot.job_queue.run_repeating(run, SOON, name="often")
    await until(lambda: ran("often") >= 1)
    await bot.update_persistence()
    once.schedule_removal()
    often.schedule_removal()
    assert once.removed
    assert often.removed
    seen = len(runs)
    await bot.update_persistence()
    assert await saved(bot.persistence) == {}
    await asyncio.sleep(5 * SOON)
    assert len(runs) == seen


async def test_a_job_may_remove_itself(bot: JobBot) -> None:
    """And does not run a second time."""
    bot.job_queue.run_repeating(remove_itself, SOON, name="run")
    await until(lambda: ran() and is_done(bot))
    await asyncio.sleep(2 * SOON)
    assert ran() == 1


@pytest.mark.parametrize("pattern", ["not", re.compile("not")])
async def test_jobs_by_name_and_by_pattern(bot: JobBot, pattern: Any) -> None:
    """In the order in which they are due, before and after a restart."""
    names = ["is|a|match", "is|a|match", "not|is|a|match", "is|a|match|not", "something_else", None]
    for number, name in enumerate(names):
        bot.job_queue.run_once(run, 10 + number, name=name)

    def check(queue: Any) -> None:
        jobs = queue.jobs()
        assert [job.name for job in jobs] == [*names[:-1], "run"]
        assert queue.jobs(pattern) == jobs[2:4]
        assert queue.get_jobs_by_name("is|a|match") == jobs[:2]
        assert queue.get_jobs_by_name("something_else") == jobs[4:5]
        assert queue.get_jobs_by_name("is|a") == ()

    check(bot.job_queue)
    await bot.update_persistence()
    again = await begun(bot.persistence.restarted())
    check(again.job_queue)
    await end(again)


async def test_run_by_hand(bot: JobBot) -> None:
    """A job runs whenever code says so, its schedule is left alone, and its data is saved."""
    job = bot.job_queue.run_repeating(count_in_data, 60, data={"runs": 0})
    await bot.update_persistence()
    before = job.next_t
    await job.run(bot)
    assert job.next_t == before
    await bot.update_persistence()
    ((_, value),) = (await saved(bot.persistence)).items()
    assert value["data"] == {"runs": 1}


# Objects -----------------------------------------------------------------------------------------


async def test_equality(bot: JobBot) -> None:
    """Jobs are equal by their id, as PTB's are."""
    job, other = (bot.job_queue.run_repeating(run, 60) for _ in range(2))
    same = type(job)(lambda _: None, callback=run)
    same._job = job.job
    assert job == job  # noqa: PLR0124 - that is the test
    assert job == same
    assert job != other
    assert job != bot.job_queue
    assert hash(job) == hash(same)
    assert hash(job) != hash(other)


async def test_attributes_are_those_of_apschedulers_job_too(bot: JobBot) -> None:
    """`job.job`, its attributes by name, and an error for what neither has."""
    job = bot.job_queue.run_once(run, 60, name="tea")
    assert job.job.id == job.id
    assert job.next_run_time == job.next_t
    with pytest.raises(AttributeError, match="'nothing'"):
        _ = job.nothing
    assert Job.from_aps_job(bot.job_queue.scheduler.get_job(job.id)) is job
    with pytest.raises(AttributeError, match="'error'"):
        _ = Job(run).error


async def test_repr_says_what_runs_when(bot: JobBot) -> None:
    """Of a job and of the queue, whose class has a name of its own."""
    job = bot.job_queue.run_once(run, datetime(2200, 1, 2, 3, 4, tzinfo=UTC), name="tea")
    assert repr(job) == (
        f"PersistentJob[id={job.id}, name=tea, callback=run, trigger=date[2200-01-02 03:04:00 UTC]]"
    )
    assert repr(bot.job_queue).startswith("PersistentJobQueue[application=PersistentApplication[")


async def test_a_job_that_was_given_to_the_scheduler_itself_is_kept(bot: JobBot) -> None:
    """As an object of ours."""
    queue = bot.job_queue
    aps = queue.scheduler.add_job(
        *(queue.job_callback, "interval"),
        args=(queue, Job(run, name="tea")),
        seconds=60,
        id="own",
    )
    assert Job.from_aps_job(aps) is queue.get_jobs_by_name("tea")[0]
    await bot.update_persistence()
    ((_, value),) = (await saved(bot.persistence)).items()
    assert value["name"] == "tea"


@pytest.mark.parametrize("make", ["run_once", "run_repeating"])
async def test_an_object_that_is_called_is_refused(bot: JobBot, make: str) -> None:
    """No restart brings the object back. PTB 21 wants a name for such a job."""
    with pytest.raises(JobError, match="persistent=False"):
        getattr(bot.job_queue, make)(CallableObject(), 10, name="tea")
    job = getattr(bot.job_queue, make)(CallableObject(), 10, name="tea", persistent=False)
    assert bot.job_queue.jobs() == (job,)


# Queue and application ---------------------------------------------------------------------------


async def test_the_scheduler_runs_while_the_application_does() -> None:
    """From `start` to `stop`, and not on after that."""
    bot = built(memory_persistence(update_interval=0.05))
    await bot.initialize()
    assert not bot.job_queue.scheduler.running
    await bot.start()
    assert bot.job_queue.scheduler.running
    bot.job_queue.run_repeating(run, SOON)
    await until(ran)
    await bot.stop()
    assert not bot.job_queue.scheduler.running
    seen = len(runs)
    await asyncio.sleep(3 * SOON)
    assert len(runs) == seen
    await bot.start()
    await until(lambda: len(runs) > seen)
    await end(bot)


@pytest.mark.parametrize("wait", [True, False])
async def test_stop_waits_for_jobs_that_run_or_does_not(bot: JobBot, wait: bool) -> None:  # noqa: FBT001 - a parameter of the test
    """As it is told."""
    bot.job_queue.run_once(wait_at_the_gate, 0)
    await until(lambda: contexts)
    stopping = asyncio.create_task(bot.job_queue.stop(wait=wait))
    if wait:
        await asyncio.sleep(SOON)
        assert not stopping.done()
        gate.set()
    await asyncio.wait_for(stopping, 10)
    assert ran("wait_at_the_gate") == int(wait)
    assert len(await saved(bot.persistence)) == int(not wait)


async def test_the_queue_does_not_keep_its_application_alive() -> None:
    """It refers to it weakly, and says so where it is gone."""
    queue = PersistentJobQueue()
    with pytest.raises(RuntimeError, match="No application was set"):
        _ = queue.application
    bot = built(memory_persistence(), job_queue=None)
    queue.set_application(bot)
    assert queue.application is bot
    del bot
    gc.collect()
    with pytest.raises(RuntimeError, match="no longer alive"):
        _ = queue.application


async def test_the_configuration_has_the_time_zone_of_the_defaults() -> None:
    """UTC without any, and the executor of PTB's in both."""
    for defaults, zone in ((None, UTC), (Defaults(tzinfo=BERLIN), BERLIN)):
        settings: dict[str, Any] = {} if defaults is None else {"defaults": defaults}
        queue = built(memory_persistence(), **settings).job_queue
        assert queue.scheduler_configuration["timezone"] is zone
        assert queue.scheduler.timezone is zone
        assert queue.scheduler._lookup_executor("default") is queue._executor


def test_no_slot_twice() -> None:
    """Along the classes of queue and job, as PTB has it."""
    queue = PersistentJobQueue(persistent=False)
    ApplicationBuilder().token(TOKEN).updater(None).job_queue(queue).build()
    slots = [slot for cls in type(queue).__mro__ for slot in getattr(cls, "__slots__", ())]
    assert len(slots) == len(set(slots))
    for slot in ("_keeper", "_persistent", "_timer"):
        assert hasattr(queue, slot)


async def test_a_run_that_takes_longer_than_its_interval_is_alone(bot: JobBot) -> None:
    """What is due meanwhile is left out, and the job goes on after it."""
    bot.job_queue.run_repeating(wait_at_the_gate, SOON)
    await until(lambda: contexts)
    await asyncio.sleep(4 * SOON)
    assert len(contexts) == 1
    gate.set()
    await until(lambda: ran("wait_at_the_gate") >= 2)


async def test_several_of_one_kind(bot: JobBot) -> None:
    """Each runs, whatever else does."""
    for number in range(2):
        bot.job_queue.run_once(run, SOON * (number + 1))
    bot.job_queue.run_repeating(run, 2 * SOON)
    await until(lambda: ran() >= 4)


async def test_a_run_that_is_cancelled_before_it_has_begun_is_done(bot: JobBot) -> None:
    """A task of APScheduler's, which has let the one-shot go: it does not wait for a restart."""
    bot.job_queue.run_once(run, timedelta(0))
    bot.job_queue.scheduler._process_jobs()
    (task,) = bot.job_queue._executor._pending_futures
    task.cancel()
    await until(ran)
    assert ran() == 1
