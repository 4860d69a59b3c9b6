"""Jobs that outlive the process that made them: made, saved, loaded, run once, and gone."""

from __future__ import annotations

import asyncio
import functools
import logging
from datetime import UTC, datetime, time, timedelta
from time import sleep as blocking_sleep
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from telegram.ext import ApplicationBuilder, DictPersistence, Job, TypeHandler
from tests.support.application_memory import memory_persistence
from tests.support.bots import TOKEN, say
from tests.support.deliveries import message
from tests.support.jobs import begun, built, end, kill, saved, until

from ptb_s3 import PersistentJobQueue, PickleSerializer
from ptb_s3._format.entities import Kind
from ptb_s3._jobs import claims
from ptb_s3._jobs.record import JobRecord
from ptb_s3._ptb.state_loader import loader_of
from ptb_s3._storage.faults import Fault
from ptb_s3._storage.memory import MemoryStore
from ptb_s3.errors import JobError, SerializationError, SettingsError
from ptb_s3.serverless import close, deliver
from ptb_s3.testing import MemoryPersistence

CODEC = PickleSerializer(trusted=())
ran: list[tuple[str, Any]] = []
App = Any


async def remind(context: Any) -> None:
    ran.append((context.job.name, context.job.data))


go_on = asyncio.Event()


@pytest.fixture(autouse=True)
def _nothing_ran(monkeypatch: pytest.MonkeyPatch) -> None:
    ran.clear()
    monkeypatch.setattr(f"{__name__}.go_on", asyncio.Event())


async def make_due(
    persistence: MemoryPersistence[Any, Any, Any], by: timedelta = timedelta()
) -> None:
    """Have the only job of a bot that has ended be due since so long."""
    loader = loader_of(persistence)
    assert loader.commits is not None
    ((key, value),) = (await saved(persistence)).items()
    value["next"] = datetime.now(UTC) - by
    loader.commits.repository.stage(Kind.JOBS, key, CODEC.dumps(value))
    await loader.commits.repository.commit()


async def test_a_job_outlives_its_process() -> None:
    """A reminder that was made and saved runs in the next process, once, and is gone then."""
    first = memory_persistence(update_interval=0.05)
    application = await begun(first)
    application.job_queue.run_once(remind, 60, data={"n": 1}, name="tea", chat_id=5)
    await application.update_persistence()
    await kill(application)
    await make_due(first)
    second = first.restarted()
    application = built(second)
    await application.initialize()
    assert [job.name for job in application.job_queue.jobs()] == ["tea"]
    await application.start()
    await until(lambda: ran)
    await end(application)
    assert ran == [("tea", {"n": 1})]
    application = await begun(second.restarted())
    assert application.job_queue.jobs() == ()
    await end(application)
    assert len(ran) == 1


async def other(context: Any) -> None:
    ran.append(("other", context.job.data))


async def failing(context: Any) -> None:
    ran.append(("failing", context.job.data))
    raise ValueError("a handler's")


class Shop:
    @staticmethod
    async def close(_: Any) -> None: ...

    async def open(self, _: Any) -> None: ...


class Unhashable:
    __hash__ = None  # type: ignore[assignment]  # that is the test

    async def __call__(self, _: Any) -> None: ...


def names(application: App) -> list[str]:
    return sorted(job.name for job in application.job_queue.jobs())


@pytest.mark.parametrize(
    ("callback", "fault"),
    [
        (lambda _: None, "made inside of a function"),
        (Shop().open, "a method of an object"),
        (functools.partial(remind), "has no name"),
        (Unhashable(), "has no name"),
        (asyncio.sleep, "not trusted"),
    ],
)
async def test_a_callback_that_could_not_be_found_again_is_refused(
    callback: Any, fault: str
) -> None:
    """With what to do about it; nothing is scheduled; and not where the job may be lost."""
    application = built(memory_persistence())
    with pytest.raises(JobError, match=fault) as caught:
        application.job_queue.run_once(callback, 60, name="tea")
    assert "persistent=False" in str(caught.value)
    assert "tea" not in str(caught.value)
    assert application.job_queue.jobs() == ()
    job = application.job_queue.run_once(callback, 60, name="tea", persistent=False)
    assert application.job_queue.jobs() == (job,)


async def test_a_function_in_a_class_can_be_kept() -> None:
    """Also a static one: it is found by its class."""
    persistence = memory_persistence()
    application = await begun(persistence)
    application.job_queue.run_once(Shop.close, 60)
    await end(application)
    (value,) = (await saved(persistence)).values()
    assert value["callback"] == f"{__name__}:Shop.close"
    application = await begun(persistence.restarted())
    assert application.job_queue.jobs()[0].callback is Shop.close
    await end(application)


async def test_data_that_cannot_be_saved_is_refused() -> None:
    """The error names it, and nothing is scheduled."""
    application = built(memory_persistence())
    with pytest.raises(SerializationError, match="cannot be saved"):
        application.job_queue.run_once(remind, 60, data={"lock": asyncio.Lock()})
    assert application.job_queue.jobs() == ()


async def test_a_job_store_beside_ours_is_refused() -> None:
    """A job there would be kept twice, or not at all."""
    application = built(memory_persistence())
    with pytest.raises(JobError, match="jobstore"):
        application.job_queue.run_once(remind, 60, job_kwargs={"jobstore": "sql"})


async def test_two_jobs_of_one_id_are_refused() -> None:
    """Unless the second is to take the place of the first."""
    persistence = memory_persistence()
    application = await begun(persistence)
    application.job_queue.run_once(remind, 60, data=1, job_kwargs={"id": "tea"})
    with pytest.raises(JobError, match="with that id"):
        application.job_queue.run_once(remind, 60, data=2, job_kwargs={"id": "tea"})
    kwargs = {"id": "tea", "replace_existing": True}
    application.job_queue.run_once(remind, 60, data=3, job_kwargs=kwargs)
    await end(application)
    assert [value["data"] for value in (await saved(persistence)).values()] == [3]


async def test_an_id_that_goes_to_another_chat_leaves_nothing_behind() -> None:
    """Replaced, or cancelled and made again, in one interval; and taken back with its update."""
    persistence = memory_persistence()
    application = await begun(persistence)
    kwargs = {"id": "tea", "replace_existing": True}
    for chat in (1, 2):
        application.job_queue.run_once(remind, 60, chat_id=chat, job_kwargs=kwargs)
        await application.update_persistence()
    (job,) = application.job_queue.jobs()
    job.schedule_removal()
    application.job_queue.run_once(remind, 60, chat_id=3, job_kwargs={"id": "tea"})
    await end(application)
    assert [value["chat"] for value in (await saved(persistence)).values()] == [3]
    application = built(persistence := persistence.restarted())

    async def break_off(_: Any, context: Any) -> None:
        context.job_queue.run_once(remind, 60, chat_id=4, job_kwargs=kwargs)
        await asyncio.sleep(10)

    application.add_handler(TypeHandler(object, break_off))
    with pytest.raises(TimeoutError):
        await deliver(application, message(), timeout=0.3)
    assert [job.chat_id for job in application.job_queue.jobs()] == [3]
    await close(application)
    assert [value["chat"] for value in (await saved(persistence)).values()] == [3]


async def test_one_id_that_two_instances_have_given_is_two_jobs() -> None:
    """For different chats, before either knew of the other's: both were acknowledged."""
    persistence = memory_persistence(sync=0)
    first, second = await begun(persistence), await begun(persistence.restarted())
    for chat, bot in enumerate((first, second)):
        bot.job_queue.run_once(remind, 60, chat_id=chat, job_kwargs={"id": "tea"})
        await bot.update_persistence()
    for bot in (first, second):
        await say(bot, "hello")
        await bot.update_persistence()
        assert sorted(job.chat_id for job in bot.job_queue.jobs()) == [0, 1]
        await end(bot)
    third = await begun(persistence.restarted())
    assert sorted(job.chat_id for job in third.job_queue.jobs()) == [0, 1]
    await end(third)


@pytest.mark.parametrize("persistence", [None, "PTB's"])
def test_another_persistence_is_refused_when_the_application_is_built(persistence: Any) -> None:
    """A job that seems to be kept, and is not, would be missed when it is too late."""
    builder: Any = ApplicationBuilder().token(TOKEN).updater(None).job_queue(PersistentJobQueue())
    if persistence:
        builder = builder.persistence(DictPersistence())
    with pytest.raises(SettingsError, match="S3Persistence"):
        builder.build()


def test_a_queue_without_persistence_is_ptbs_own() -> None:
    """It keeps a job only where a call says so, and refuses where nothing could keep it."""
    queue = PersistentJobQueue(persistent=False)
    ApplicationBuilder().token(TOKEN).updater(None).job_queue(queue).build()
    assert type(queue.run_once(remind, 60)) is Job
    with pytest.raises(SettingsError, match="S3Persistence"):
        queue.run_once(remind, 60, persistent=True)


# Fixed jobs --------------------------------------------------------------------------------------


async def cycle(
    persistence: MemoryPersistence[Any, Any, Any], register: Any
) -> tuple[list[Any], MemoryPersistence[Any, Any, Any]]:
    """Start a bot whose main makes jobs, stop it, and return its jobs and the next persistence."""
    application = built(persistence)
    register(application.job_queue)
    await application.initialize()
    await application.start()
    jobs = [(job.id, job.name, job.next_t, job.data) for job in application.job_queue.jobs()]
    await end(application)
    return sorted(jobs), persistence.restarted()


async def test_fixed_jobs_are_not_doubled_and_go_on() -> None:
    """Each start makes them again, and finds those of the last one: same run, same data."""

    def register(queue: Any) -> None:
        queue.run_repeating(remind, 86400, data={"n": 0}, name="backup")
        queue.run_daily(other, time(8, tzinfo=ZoneInfo("Europe/Berlin")))
        for chat in (1, 2):
            queue.run_repeating(remind, 3600, chat_id=chat)
            queue.run_repeating(remind, 7200, chat_id=chat)

    first, persistence = await cycle(memory_persistence(), register)
    assert len(first) == 6
    second, persistence = await cycle(persistence, register)
    assert second == first
    revision = persistence.restarted()
    await loader_of(revision).opened()
    third, _ = await cycle(persistence, register)
    assert third == first
    assert len(await saved(persistence)) == 6
    again = persistence.restarted()
    await loader_of(again).opened()
    assert again.stats.revision == revision.stats.revision, "to make them again is no change"


async def test_a_fixed_job_that_two_instances_make_at_once_is_one() -> None:
    """No store has it yet when either starts."""
    persistence = memory_persistence()
    bots = [built(persistence), built(persistence.restarted())]
    for bot in bots:
        bot.job_queue.run_repeating(remind, 3600, chat_id=1)
        await bot.initialize()
        await bot.start()
    for bot in bots:
        await bot.update_persistence()
    for bot in bots:
        await end(bot)
    assert len(await saved(persistence)) == 1
    third = built(persistence.restarted())
    third.job_queue.run_repeating(remind, 3600, chat_id=1)
    await third.initialize()
    await third.start()
    assert len(third.job_queue.jobs()) == 1
    await end(third)


async def test_one_id_twice_is_refused_before_the_start_as_well() -> None:
    """APScheduler alone would say so when it starts."""
    application = built(memory_persistence())
    application.job_queue.run_once(remind, 60, job_kwargs={"id": "tea"})
    with pytest.raises(JobError, match="with that id"):
        application.job_queue.run_once(remind, 60, job_kwargs={"id": "tea"})


async def test_a_fixed_job_with_another_trigger_is_the_new_one() -> None:
    """Its time and its data are the code's, and there is one."""
    first, persistence = await cycle(
        memory_persistence(), lambda queue: queue.run_repeating(remind, 3600, data=1)
    )
    second, persistence = await cycle(
        persistence, lambda queue: queue.run_repeating(remind, 60, data=2)
    )
    ((identity, _, due, _),) = first
    ((new_identity, _, new_due, data),) = second
    assert (identity, data) == (new_identity, 2)
    assert new_due < due


async def test_a_fixed_job_that_the_code_does_not_make_any_more_is_removed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """And named in the log. One that it has asked for stays, as in the usual "if there is none"."""

    def register(queue: Any) -> None:
        queue.run_repeating(remind, 3600, name="kept")
        queue.run_repeating(remind, 3600, name="gone")

    _, persistence = await cycle(memory_persistence(), register)
    application = built(persistence)
    await application.initialize()
    assert len(application.job_queue.get_jobs_by_name("kept")) == 1  # as post_init would ask
    await application.start()
    assert names(application) == ["kept"]
    assert caplog.text.count("Removed a job of") == 1
    await end(application)
    assert [value["name"] for value in (await saved(persistence)).values()] == ["kept"]


async def test_no_log_line_or_error_names_a_job(caplog: pytest.LogCaptureFixture) -> None:
    """Its name may be a chat's id, as in the examples of PTB's wiki, and so may its own id."""
    canary = "771199"

    def register(queue: Any) -> None:
        queue.run_repeating(remind, 3600, name=canary, job_kwargs={"id": canary})
        with pytest.raises(JobError) as caught:
            queue.run_repeating(remind, 3600, name=canary, job_kwargs={"id": canary})
        assert canary not in str(caught.value)

    caplog.set_level(logging.DEBUG, "ptb_s3")
    _, persistence = await cycle(memory_persistence(), register)
    _, persistence = await cycle(persistence, lambda _: None)
    persistence = memory_persistence()
    application = await begun(persistence)
    application.job_queue.run_daily(remind, time(8), name=canary)
    await end(application)
    await make_due(persistence, timedelta(hours=2))
    application = await begun(persistence.restarted())
    await until(lambda: "Left out a run of" in caplog.text)
    await end(application)
    ours = [record.getMessage() for record in caplog.records if record.name == "ptb_s3"]
    assert any("Removed a job of" in line for line in ours)
    assert not [line for line in ours if canary in line]


async def test_jobs_of_handlers_are_never_taken_for_one() -> None:
    """Two reminders of one chat, with one callback, are two, and both come back."""
    persistence = memory_persistence()
    application = await begun(persistence)
    for n in range(2):
        application.job_queue.run_once(remind, 60 + n, chat_id=5, data=n)
    await end(application)
    application = await begun(persistence.restarted())
    assert sorted(job.data for job in application.job_queue.jobs()) == [0, 1]
    await end(application)


# Runs --------------------------------------------------------------------------------------------


async def test_data_is_saved_anew_after_each_run() -> None:
    """A job that counts in its own data goes on counting after a restart."""
    persistence = memory_persistence(update_interval=0.05)
    application = await begun(persistence)
    job = application.job_queue.run_repeating(count, 60, first=0.01, data={"n": 0})
    await until(lambda: job.data["n"])
    await end(application)
    (value,) = (await saved(persistence)).values()
    assert value["data"] == {"n": 1}
    assert value["claim"] is None
    assert value["next"] > datetime.now(UTC)


async def count(context: Any) -> None:
    context.job.data["n"] += 1


async def test_a_job_that_raises_each_time_goes_on() -> None:
    """Its error goes to the error handlers, as PTB's; a one-shot is over all the same."""
    persistence = memory_persistence(update_interval=0.01)
    application = await begun(persistence)
    heard: list[BaseException | None] = []

    async def hear(_: object, context: Any) -> None:
        heard.append(context.error)

    application.add_error_handler(hear)
    application.job_queue.run_repeating(failing, 0.05, first=0.01)
    application.job_queue.run_once(failing, 0.01)
    await until(lambda: len(ran) >= 4)
    await end(application)
    assert len(heard) == len(ran)
    assert len(await saved(persistence)) == 1


async def test_a_job_that_removes_itself_is_gone() -> None:
    """From memory and from the store."""
    persistence = memory_persistence(update_interval=0.05)
    application = await begun(persistence)
    application.job_queue.run_repeating(remove_itself, 0.1, first=0.01)
    await until(lambda: ran)
    await asyncio.sleep(0.3)
    assert len(ran) == 1
    assert application.job_queue.jobs() == ()
    await end(application)
    assert await saved(persistence) == {}


async def remove_itself(context: Any) -> None:
    ran.append(("once", None))
    context.job.schedule_removal()


async def test_a_job_that_makes_the_next_one_of_its_id_is_not_lost() -> None:
    """Though that falls due while it still runs, at which APScheduler alone would drop it."""
    persistence = memory_persistence()
    application = await begun(persistence)
    application.job_queue.run_once(again, 0.01, data=2, job_kwargs={"id": "tea"})
    await until(lambda: len(ran) == 2)
    await until(lambda: not application.job_queue.jobs())
    await end(application)
    assert await saved(persistence) == {}


async def again(context: Any) -> None:
    ran.append(("again", context.job.data))
    if context.job.data > 1:
        kwargs = {"id": "tea", "replace_existing": True}
        context.job_queue.run_once(again, 0.05, data=1, job_kwargs=kwargs)
        await asyncio.sleep(0.3)


async def test_cancel_before_the_start_and_without_one() -> None:
    """Queries and removal work on loaded jobs where no scheduler runs, as under `deliver`."""
    persistence = memory_persistence()
    application = await begun(persistence)
    application.job_queue.run_once(remind, 60, name="tea")
    application.job_queue.run_once(remind, 60, name="coffee")
    await end(application)
    persistence = persistence.restarted()
    application = built(persistence)
    await application.initialize()
    (job,) = application.job_queue.get_jobs_by_name("tea")
    job.schedule_removal()
    assert names(application) == ["coffee"]
    await application.update_persistence()
    await application.shutdown()
    assert [value["name"] for value in (await saved(persistence)).values()] == ["coffee"]


async def test_a_paused_job_stays_paused() -> None:
    """Over a restart, and runs once it is resumed."""
    persistence = memory_persistence()
    application = await begun(persistence)
    job = application.job_queue.run_repeating(remind, 0.1, name="tea")
    job.enabled = False
    await end(application)
    application = await begun(persistence.restarted())
    (job,) = application.job_queue.jobs()
    assert job.next_t is None
    await asyncio.sleep(0.2)
    assert not ran
    job.enabled = True
    await until(lambda: ran)
    await end(application)


async def test_a_moved_callback_is_mended_by_an_alias_and_a_lost_one_is_kept(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The bot starts without it, says so once, and loses nothing."""
    persistence = memory_persistence()
    application = await begun(persistence)
    application.job_queue.run_once(remind, 60, data=1)
    await application.update_persistence()
    await kill(application)
    loader = loader_of(persistence)
    renamed = JobRecord.of(*next(iter((await saved(persistence)).items())))
    renamed.callback, renamed.next = "shop.old:remind", datetime.now(UTC)
    assert loader.commits is not None
    loader.commits.repository.stage(Kind.JOBS, renamed.key, CODEC.dumps(renamed.value()))
    await loader.commits.repository.commit()
    application = await begun(persistence.restarted())
    await asyncio.sleep(0.05)
    assert caplog.text.count("shop.old:remind") == 1
    assert "aliases={'shop.old.remind'" in caplog.text
    assert not ran
    await end(application)
    assert len(await saved(persistence)) == 1
    application = await begun(persistence.restarted(aliases={"shop.old.remind": remind}))
    await until(lambda: ran)
    await end(application)
    assert ran == [("remind", 1)]
    assert await saved(persistence) == {}


async def test_a_trigger_that_cannot_be_made_here_keeps_no_bot_from_starting(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A machine without that time zone, or an older version: the job is kept, and named once."""
    persistence = memory_persistence()
    application = await begun(persistence)
    application.job_queue.run_daily(remind, time(8, tzinfo=ZoneInfo("Europe/Berlin")), name="tea")
    await end(application)
    loader = loader_of(persistence)
    assert loader.commits is not None
    ((key, value),) = (await saved(persistence)).items()
    value["trigger"][1]["zone"] = "Mars/Olympus"
    loader.commits.repository.stage(Kind.JOBS, key, CODEC.dumps(value))
    await loader.commits.repository.commit()
    persistence = persistence.restarted()
    application = await begun(persistence)
    assert application.job_queue.jobs() == ()
    assert caplog.text.count("remind is kept, and does not run: its trigger has a time zone") == 1
    await end(application)
    assert (await saved(persistence))[key]["trigger"] == value["trigger"]


# Overdue -----------------------------------------------------------------------------------------


async def overdue(by: timedelta, make: Any, **options: Any) -> App:
    """Start a bot with a job that was due so long ago."""
    persistence = memory_persistence(**options)
    application = await begun(persistence)
    make(application.job_queue)
    await end(application)
    await make_due(persistence, by)
    return await begun(persistence.restarted())


async def test_an_overdue_one_shot_runs_whatever_its_age() -> None:
    """Also after a month, and once."""
    application = await overdue(timedelta(days=30), lambda q: q.run_once(remind, 60))
    await until(lambda: ran)
    await end(application)
    assert len(ran) == 1


async def test_an_overdue_repeating_job_runs_once_and_then_on_schedule() -> None:
    """In the rhythm that it had."""
    application = await overdue(timedelta(minutes=150), lambda q: q.run_repeating(remind, 3600))
    (job,) = application.job_queue.jobs()
    await until(lambda: ran and job.next_t > datetime.now(UTC))
    assert len(ran) == 1
    assert timedelta(minutes=29) < job.next_t - datetime.now(UTC) < timedelta(minutes=31)
    await end(application)


@pytest.mark.parametrize(
    ("late", "kwargs", "runs"),
    [
        (timedelta(minutes=59), {}, 1),
        (timedelta(minutes=61), {}, 0),
        (timedelta(hours=20), {"misfire_grace_time": None}, 1),
        (timedelta(minutes=2), {"misfire_grace_time": 60}, 0),
    ],
)
async def test_a_daily_job_catches_up_for_an_hour(
    late: timedelta, kwargs: Any, runs: int, caplog: pytest.LogCaptureFixture
) -> None:
    """By default; `misfire_grace_time` says otherwise, and what is left out is logged."""
    application = await overdue(late, lambda q: q.run_daily(remind, time(8), job_kwargs=kwargs))
    (job,) = application.job_queue.jobs()
    await until(lambda: job.next_t > datetime.now(UTC) and (ran or "Left out" in caplog.text))
    assert len(ran) == runs
    assert ("Left out a run" in caplog.text) is not bool(runs)
    await end(application)


async def test_what_falls_due_while_the_loop_is_held_runs() -> None:
    """APScheduler alone leaves out what is more than a second late."""
    application = await begun(memory_persistence())
    application.job_queue.run_once(remind, 0.1)
    blocking_sleep(1.4)  # noqa: ASYNC251 - that is the test
    await until(lambda: ran)
    await end(application)
    assert len(ran) == 1


# One commit --------------------------------------------------------------------------------------


async def test_a_job_goes_with_the_data_of_its_update() -> None:
    """A save in the middle of an update has neither; the one at its end has both."""
    persistence = memory_persistence()
    application = await begun(persistence)
    seen: list[tuple[int, int]] = []

    async def order(_: Any, context: Any) -> None:
        context.user_data["order"] = "tea"
        context.job_queue.run_once(remind, 60)
        await application.update_persistence()
        state = (await loader_of(persistence.restarted()).opened()).repository.base.entities
        seen.append((len(state[Kind.USER_DATA]), len(state[Kind.JOBS])))

    application.add_handler(TypeHandler(object, order))
    await say(application, "tea")
    await application.update_persistence()
    state = (await loader_of(persistence.restarted()).opened()).repository.base.entities
    seen.append((len(state[Kind.USER_DATA]), len(state[Kind.JOBS])))
    assert seen == [(0, 0), (1, 1)]
    await end(application)


async def test_a_job_that_is_due_before_its_update_has_ended_waits_for_that() -> None:
    """It would run for an order that is not made yet. What others have made runs meanwhile."""
    application = await begun(memory_persistence())
    ended = asyncio.Event()

    async def order(_: Any, context: Any) -> None:
        context.job_queue.run_once(remind, 0.01, name="ours")
        await ended.wait()

    application.add_handler(TypeHandler(object, order))
    update = asyncio.create_task(say(application, "tea"))
    await until(lambda: names(application) == ["ours"])
    application.job_queue.run_once(remind, 0.2, name="another")
    await until(lambda: ran)
    assert ran == [("another", None)]
    ended.set()
    await update
    await until(lambda: len(ran) == 2)
    await end(application)


async def test_an_update_that_breaks_off_takes_its_job_back() -> None:
    """In `deliver`: nothing of it stays anywhere, and what it cancelled is back."""
    persistence = memory_persistence()
    application = built(persistence)

    async def order(update: Any, context: Any) -> None:
        if update.message.text == "first":
            context.job_queue.run_once(remind, 60, name="first")
            return
        for job in context.job_queue.jobs():
            job.schedule_removal()
        context.job_queue.run_once(remind, 60, name="second")
        await asyncio.sleep(10)

    application.add_handler(TypeHandler(object, order))
    assert await deliver(application, message("first", number=1))
    with pytest.raises(TimeoutError):
        await deliver(application, message("second", number=2), timeout=0.2)
    assert names(application) == ["first"]
    await close(application)
    assert [value["name"] for value in (await saved(persistence)).values()] == ["first"]


async def test_deliver_runs_nothing_by_itself() -> None:
    """A host that may be frozen at any moment runs jobs only where it is asked to."""
    persistence = memory_persistence()
    application = built(persistence)

    async def order(_: Any, context: Any) -> None:
        context.job_queue.run_once(remind, 0.01)

    application.add_handler(TypeHandler(object, order))
    await deliver(application, message("tea", number=1))
    await asyncio.sleep(0.1)
    await close(application)
    assert not ran
    assert len(await saved(persistence)) == 1


# Several instances -------------------------------------------------------------------------------


async def test_of_two_instances_one_runs_a_job() -> None:
    """Both have it scheduled, and the one that claims it first runs it."""
    persistence = memory_persistence(update_interval=0.05, sync=None)
    first = await begun(persistence)
    first.job_queue.run_once(remind, 2, data="once")
    await first.update_persistence()
    second = await begun(persistence.restarted())
    assert len(second.job_queue.jobs()) == 1
    await until(lambda: ran)
    await asyncio.sleep(0.3)
    await end(first)
    await end(second)
    assert ran == [("remind", "once")]
    assert await saved(persistence) == {}


async def test_a_claim_of_a_dead_instance_lapses(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next instance waits until its time is up, and runs the job then."""
    monkeypatch.setattr(claims, "LASTS", timedelta(seconds=2))
    persistence = memory_persistence(update_interval=0.05)
    first = await begun(persistence)
    first.job_queue.run_once(hang, 0.01, data=1)
    await until(lambda: ran)
    claimed = datetime.now(UTC)
    await kill(first)
    second = await begun(persistence.restarted())
    await until(lambda: len(ran) == 2)
    assert datetime.now(UTC) - claimed > timedelta(seconds=1.5), (
        "somebody might have been running it"
    )
    assert ran[0] == ran[1], "the same run, and so the same id"
    assert ran[0][1]
    await kill(second)


async def hang(context: Any) -> None:
    ran.append(("hang", context.job.claim_id))
    await asyncio.sleep(60)


async def test_a_claim_is_renewed_while_its_job_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that takes longer than a claim lasts is not run a second time."""
    monkeypatch.setattr(claims, "LASTS", timedelta(seconds=1))
    monkeypatch.setattr(claims, "RENEWED", timedelta(seconds=0.1))
    persistence = memory_persistence(update_interval=0.05)
    first = await begun(persistence)
    first.job_queue.run_once(hang, 0.01, data=1)
    await until(lambda: ran)
    second = await begun(persistence.restarted())
    await asyncio.sleep(2)
    assert len(ran) == 1
    await kill(first)
    await kill(second)


async def test_all_that_is_due_is_claimed_in_one_commit() -> None:
    """A hundred reminders at eight o'clock are one commit before, and one after."""
    persistence = memory_persistence()
    application = await begun(persistence)
    when = datetime.now(UTC) + timedelta(seconds=1.5)
    for n in range(100):
        application.job_queue.run_once(remind, when, data=n)
    await application.update_persistence()
    before = persistence.stats.commits
    await until(lambda: len(ran) == 100)
    await end(application)
    assert persistence.stats.commits - before <= 4
    assert await saved(persistence) == {}


async def test_a_job_that_repeats_faster_than_it_is_saved_is_not_claimed() -> None:
    """A commit for each run would be more than the run is worth."""
    persistence = memory_persistence()
    application = await begun(persistence)
    application.job_queue.run_repeating(remind, 0.02)
    await application.update_persistence()
    before = persistence.stats.commits
    await until(lambda: len(ran) > 5)
    assert persistence.stats.commits == before
    await end(application)


async def test_the_claims_id_is_there_while_a_job_runs() -> None:
    """Another one for each run, for a callback to make itself safe against a second one by."""
    persistence = memory_persistence(update_interval=0.01)
    application = await begun(persistence)
    job = application.job_queue.run_repeating(note_claim, 0.1, first=0.01)
    await until(lambda: len(ran) >= 2)
    await end(application)
    ids = [claim for claim, _ in ran]
    assert len(set(ids)) == len(ids) >= 2
    assert all(ids)
    assert job.claim_id is None


async def note_claim(context: Any) -> None:
    ran.append((context.job.claim_id, None))


async def test_a_claim_that_the_storage_does_not_take_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The job runs once the storage is back, and not before."""
    monkeypatch.setattr("ptb_s3._jobs.runs.FIRST_PAUSE", 0.1)
    persistence = memory_persistence(update_interval=60)
    application = await begun(persistence)
    application.job_queue.run_once(remind, 1)
    await application.update_persistence()
    store = loader_of(persistence).store
    assert isinstance(store, MemoryStore)
    store.faults = lambda _: Fault.FAIL_BEFORE
    await until(lambda: "Cannot claim" in caplog.text)
    assert not ran
    store.faults = lambda _: None
    await until(lambda: ran)
    await end(application)


async def test_a_claim_that_was_never_taken_does_not_outlive_a_stop(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A bot that stops while the storage is away leaves its jobs to the next start at once."""
    persistence = memory_persistence(update_interval=60)
    application = await begun(persistence)
    application.job_queue.run_once(remind, 1)
    await application.update_persistence()
    store = loader_of(persistence).store
    assert isinstance(store, MemoryStore)
    store.faults = lambda _: Fault.FAIL_BEFORE
    await until(lambda: "Cannot claim" in caplog.text)
    store.faults = lambda _: None
    await end(application)
    assert not ran
    ((_, value),) = (await saved(persistence)).items()
    assert value["claim"] is None
    application = await begun(persistence.restarted())
    await until(lambda: ran)
    await end(application)


async def test_what_another_instance_cancels_while_it_runs_here_stays_cancelled() -> None:
    """The end of the run does not bring it back."""
    persistence = memory_persistence(update_interval=60, sync=None)
    first = await begun(persistence)
    job = first.job_queue.run_repeating(wait_for_it, 3600, first=0.01)
    await until(lambda: ran)
    second = await begun(persistence.restarted())
    (same,) = second.job_queue.jobs()
    same.schedule_removal()
    await second.update_persistence()
    go_on.set()
    await until(lambda: job.claim_id is None)
    await end(first)
    await end(second)
    assert await saved(persistence) == {}


async def wait_for_it(_: Any) -> None:
    ran.append(("waits", None))
    await go_on.wait()


async def test_jobs_of_others_come_in() -> None:
    """One that another instance makes is here after a look, and one that it cancels is gone."""
    persistence = memory_persistence(sync=0)
    first, second = await begun(persistence), await begun(persistence.restarted())
    job = first.job_queue.run_once(remind, 60, name="tea")
    await first.update_persistence()
    await say(second, "hello")
    assert names(second) == ["tea"]
    job.schedule_removal()
    await first.update_persistence()
    await say(second, "hello")
    assert names(second) == []
    await end(first)
    await end(second)
