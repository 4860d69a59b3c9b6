"""Timeouts of conversations that outlive the process in which the wait began."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from time import sleep as blocking_sleep
from typing import Any

import pytest
from telegram import Update
from telegram.ext import (
    ApplicationBuilder,
    CommandHandler,
    ConversationHandler,
    JobQueue,
    MessageHandler,
    TypeHandler,
    filters,
)
from tests.support.application_memory import load_of, memory_persistence
from tests.support.bots import TOKEN, OfflineTelegram, say
from tests.support.deliveries import message
from tests.support.jobs import end, kill, until

from ptb_s3 import PersistentApplication, PersistentJobQueue, PickleSerializer
from ptb_s3._format.entities import Kind
from ptb_s3._jobs import claims
from ptb_s3._ptb.state_loader import loader_of
from ptb_s3.errors import JobError, SettingsError
from ptb_s3.serverless import close, deliver, run_due
from ptb_s3.testing import MemoryPersistence

App = Any
Persistence = MemoryPersistence[Any, Any, Any]
CODEC = PickleSerializer(trusted=())
LONG = 3600.0
NAME, CITY = range(2)
heard: list[tuple[str, Any]] = []


@pytest.fixture(autouse=True)
def _nothing_heard() -> None:
    heard.clear()


async def ask_name(*_: Any) -> int:
    return NAME


async def ask_city(*_: Any) -> int:
    return CITY


async def done(*_: Any) -> int:
    return ConversationHandler.END


async def timed_out(update: Any, context: Any) -> None:
    heard.append((update.message.text, context.user_data.get("said")))
    context.user_data["late"] = True


def order(timeout: float | timedelta | None = LONG, **options: Any) -> Any:
    """A conversation that asks for a name and a city, and ends when nobody answers."""
    text = filters.TEXT & ~filters.COMMAND
    named: dict[str, Any] = {"name": "order", "persistent": True} | options
    return ConversationHandler(
        entry_points=[CommandHandler("order", ask_name)],
        states={
            NAME: [MessageHandler(text, ask_city)],
            CITY: [MessageHandler(text, done)],
            ConversationHandler.TIMEOUT: [TypeHandler(Update, timed_out)],
        },
        fallbacks=[],
        conversation_timeout=timeout,
        **named,
    )


def built(persistence: Persistence, *handlers: Any, queue: Any = None, plain: bool = False) -> App:
    builder: Any = ApplicationBuilder()
    if not plain:
        builder = builder.application_class(PersistentApplication)
    application: App = (
        builder.token(TOKEN)
        .request(OfflineTelegram(TOKEN))
        .get_updates_request(OfflineTelegram(TOKEN))
        .updater(None)
        .persistence(persistence)
        .job_queue(PersistentJobQueue() if queue is None else queue)
        .build()
    )
    for group, handler in enumerate(handlers):
        application.add_handler(handler, group)
    return application


async def begun(persistence: Persistence, *handlers: Any, **options: Any) -> App:
    application = built(persistence, *handlers, **options)
    await application.initialize()
    await application.start()
    return application


async def saved(persistence: Persistence, kind: Kind = Kind.JOBS) -> dict[Any, Any]:
    """Return what the store holds of a kind: values by key."""
    repository = (await loader_of(persistence.restarted()).opened()).repository
    return {key: CODEC.loads(value) for key, value in repository.base.entities[kind].items()}


async def make_overdue(persistence: Persistence, by: timedelta = timedelta(seconds=1)) -> None:
    """Have all saved timeouts be due so long ago: what a host is like that was down meanwhile."""
    commits = await loader_of(persistence.restarted()).opened()
    for key, value in (await saved(persistence)).items():
        value["next"] = datetime.now(UTC) - by
        commits.repository.stage(Kind.JOBS, key, CODEC.dumps(value))
    await commits.repository.commit()


def state(application: App, key: Any = (1, 1), name: str = "order") -> Any:
    return application._conversation_handler_conversations[name].get(key)


def ends(application: App) -> list[Any]:
    """The jobs of the scheduler that end conversations."""
    return [job for job in application.job_queue.scheduler.get_jobs() if "timeout" in job.name]


# Over a restart ----------------------------------------------------------------------------------


async def test_a_timeout_outlives_its_process() -> None:
    """Killed before it is due: after the start it ends the conversation, and its handlers know."""
    first = memory_persistence(update_interval=0.05)
    application = await begun(first, order(0.5))
    await say(application, "/order")
    await application.update_persistence()
    ((key, value),) = (await saved(first)).items()
    assert key == ("timeout:order", (1, 1))
    assert value["update"]["message"]["text"] == "/order"
    await kill(application)
    await asyncio.sleep(0.6)
    assert not heard
    second = first.restarted()
    application = await begun(second, order(0.5))
    await until(lambda: heard)
    assert heard == [("/order", None)]
    await until(lambda: not application._conversation_handler_conversations["order"])
    await end(application)
    assert await saved(second) == {}
    assert await saved(second, Kind.CONVERSATIONS) == {}
    assert (await saved(second, Kind.USER_DATA))[1] == {"late": True}
    application = await begun(second.restarted(), order())
    assert ends(application) == []
    await end(application)
    assert len(heard) == 1


async def test_handlers_get_the_very_update() -> None:
    """With its bot, and a context that has the user's data, though not what a filter has found."""
    seen: list[Any] = []

    async def note(update: Any, context: Any) -> None:
        seen.append((update, context.args, context.matches, context.bot, context.user_data))

    persistence = memory_persistence()
    handler = order()
    application = await begun(persistence, handler)
    await say(application, "/order")
    (job,) = handler.timeout_jobs.values()
    before = job.data.update
    await application.update_persistence()
    await kill(application)
    await make_overdue(persistence)
    handler = order()
    handler.states[ConversationHandler.TIMEOUT][:] = [TypeHandler(Update, note)]
    application = await begun(persistence.restarted(), handler)
    await until(lambda: seen)
    update, args, matches, bot, user_data = seen[0]
    assert update.to_dict() == before.to_dict()
    assert update.message.get_bot() is bot is application.bot
    assert (args, matches) == (None, None)
    assert user_data is application.user_data[1]
    await end(application)


async def test_an_overdue_timeout_fires_at_the_start_whatever_its_age() -> None:
    """The user was stuck for as long as the host was down."""
    persistence = memory_persistence()
    application = await begun(persistence, order())
    await say(application, "/order")
    await end(application)
    await make_overdue(persistence, timedelta(days=40))
    application = await begun(persistence.restarted(), order())
    await until(lambda: heard)
    await end(application)
    assert await saved(persistence) == {}


async def test_two_restarts_do_not_put_it_off() -> None:
    """It is due when it was when the wait began."""
    persistence = memory_persistence()
    application = await begun(persistence, order())
    await say(application, "/order")
    await end(application)
    (before,) = (await saved(persistence)).values()
    for _ in range(2):
        persistence = persistence.restarted()
        application = await begun(persistence, order())
        (job,) = ends(application)
        assert job.next_run_time == before["next"]
        await end(application)
    assert list((await saved(persistence)).values()) == [before]
    assert not heard


async def test_a_timeout_that_was_changed_in_the_code_holds_from_the_next_update() -> None:
    """A wait that has begun ends when the user was promised."""
    persistence = memory_persistence()
    application = await begun(persistence, order(LONG))
    await say(application, "/order")
    await end(application)
    (before,) = (await saved(persistence)).values()
    application = await begun(persistence.restarted(), order(2 * LONG))
    (job,) = ends(application)
    assert job.next_run_time == before["next"]
    await say(application, "Ann")
    (job,) = ends(application)
    assert job.next_run_time > before["next"] + timedelta(seconds=LONG - 60)
    await end(application)


async def test_a_handler_without_a_timeout_any_more_ends_nothing() -> None:
    """What an earlier version of the code has promised is forgotten, and the state stays."""
    persistence = memory_persistence()
    application = await begun(persistence, order())
    await say(application, "/order")
    await end(application)
    await make_overdue(persistence)
    application = await begun(persistence.restarted(), order(None))
    assert ends(application) == []
    await end(application)
    assert await saved(persistence) == {}
    assert await saved(persistence, Kind.CONVERSATIONS) == {("order", (1, 1)): NAME}
    assert not heard


async def test_a_handler_that_is_not_registered_loses_nothing() -> None:
    """Its timeouts are carried along with its states, and fire once it is there again."""
    persistence = memory_persistence()
    application = await begun(persistence, order())
    await say(application, "/order")
    await end(application)
    await make_overdue(persistence)
    persistence = persistence.restarted()
    application = await begun(persistence)
    await say(application, "hello")
    await end(application)
    assert len(await saved(persistence)) == 1
    application = await begun(persistence.restarted(), order())
    await until(lambda: heard)
    await end(application)


@pytest.mark.filterwarnings("ignore:A persistent `ConversationHandler` was passed")
async def test_a_handler_that_is_added_later_has_its_timeouts() -> None:
    """PTB discourages it, and loads its states all the same."""
    persistence = memory_persistence()
    application = await begun(persistence, order())
    await say(application, "/order")
    await end(application)
    await make_overdue(persistence)
    application = await begun(persistence.restarted())
    application.add_handler(order())
    await until(lambda: heard)
    await end(application)


async def test_one_that_has_lost_its_conversation_is_removed_at_the_start() -> None:
    """Its state went first, and the process died: nobody waits any more."""
    persistence = memory_persistence()
    application = await begun(persistence, order())
    await say(application, "/order")
    await end(application)
    await make_overdue(persistence)
    commits = await loader_of(persistence.restarted()).opened()
    commits.repository.stage(Kind.CONVERSATIONS, ("order", (1, 1)), None)
    await commits.repository.commit()
    application = await begun(persistence.restarted(), order())
    assert ends(application) == []
    await end(application)
    assert await saved(persistence) == {}
    assert not heard


# In one process ----------------------------------------------------------------------------------


async def test_an_answer_in_time_begins_a_new_wait_and_the_end_has_none() -> None:
    """One timeout at a time, that of the last update; when the conversation ends, it is gone."""
    persistence = memory_persistence(update_interval=0.05)
    handler = order(0.6)
    application = await begun(persistence, handler)
    await say(application, "/order")
    await application.update_persistence()
    await say(application, "Ann")
    await application.update_persistence()
    (value,) = (await saved(persistence)).values()
    assert value["update"]["message"]["text"] == "Ann"
    assert len(ends(application)) == 1
    await say(application, "Paris")
    await application.update_persistence()
    assert ends(application) == []
    assert await saved(persistence) == {}
    await asyncio.sleep(0.8)
    assert not heard
    await end(application)


async def test_it_fires_in_the_process_in_which_it_began() -> None:
    """With PTB's own context, and one commit for the end: state, timeout and the user's data."""
    persistence = memory_persistence(update_interval=60)
    application = await begun(persistence, order(0.3))
    await say(application, "/order")
    await application.update_persistence()
    await until(lambda: heard)
    await until(lambda: not ends(application))
    store: dict[Any, Any] = {"jobs": None}
    async with asyncio.timeout(20):
        while store["jobs"] != {}:
            await asyncio.sleep(0.02)
            store["jobs"] = await saved(persistence)
    assert await saved(persistence, Kind.CONVERSATIONS) == {}
    assert (await saved(persistence, Kind.USER_DATA))[1] == {"late": True}
    await end(application)
    assert len(heard) == 1


async def test_it_is_saved_with_the_state() -> None:
    """A save in the middle of an update has both or neither, also where it is moved on."""
    persistence = memory_persistence()
    application = built(persistence)
    seen: list[Any] = []

    async def look(*_: Any) -> None:
        await application.update_persistence()
        states = await saved(persistence, Kind.CONVERSATIONS)
        timeouts = [
            value["update"]["message"]["text"] for value in (await saved(persistence)).values()
        ]
        seen.append((list(states.values()), timeouts))

    async def look_and_ask(*_: Any) -> int:
        await look()
        return CITY

    handler = order()
    handler.states[NAME][:] = [MessageHandler(filters.TEXT, look_and_ask)]
    application.add_handler(handler, 0)
    application.add_handler(TypeHandler(object, look), 1)
    await application.initialize()
    await application.start()
    await say(application, "/order")
    await say(application, "Ann")
    assert seen == [
        ([NAME], ["/order"]),
        ([NAME], ["/order"]),  # the handler of the second update runs: cancelled in memory alone
        ([CITY], ["Ann"]),
    ]
    await end(application)


async def test_a_step_that_is_not_waited_for_begins_its_wait_when_it_ends() -> None:
    """As PTB has it, with `block=False`."""
    persistence = memory_persistence()
    handler = order(block=False)
    application = await begun(persistence, handler)
    await say(application, "/order")
    await until(lambda: ends(application))
    await end(application)
    assert list(await saved(persistence)) == [("timeout:order", (1, 1))]
    assert await saved(persistence, Kind.CONVERSATIONS) == {("order", (1, 1)): NAME}


async def test_an_answer_while_it_is_claimed_wins() -> None:
    """The claim takes a moment in which the user answers: nothing times out, and no error."""
    persistence = memory_persistence(update_interval=0.05)
    application = await begun(persistence, order(0.2))
    errors: list[Any] = []

    async def note(_: Any, context: Any) -> None:
        errors.append(context.error)

    application.add_error_handler(note)
    await say(application, "/order")
    await application.update_persistence()
    ends_ = application.job_queue._keeper.ends
    commit = ends_._commit

    async def slow() -> None:
        ends_._commit = commit
        await say(application, "Ann")
        await commit()

    ends_._commit = slow
    await until(lambda: ends_._commit == commit)
    await asyncio.sleep(0.05)
    assert (errors, heard, state(application)) == ([], [], CITY)
    await until(lambda: heard)
    assert heard == [("Ann", None)]
    await end(application)
    assert await saved(persistence) == {}


async def test_stop_and_start_keep_it() -> None:
    """In one process, where PTB's scheduler forgets all of its jobs."""
    application = await begun(memory_persistence(), order())
    await say(application, "/order")
    await application.stop()
    await application.start()
    assert len(ends(application)) == 1
    await say(application, "Ann")
    assert len(ends(application)) == 1
    await end(application)


# Several instances -------------------------------------------------------------------------------


async def look_until(application: App, true: Callable[[], object]) -> None:
    """Send updates until one has brought in what others have committed: a save may be under way."""
    async with asyncio.timeout(20):
        while not true():
            await say(application, "hello", user=2)
            await asyncio.sleep(0.01)


async def test_what_another_instance_has_moved_on_times_out_as_it_says() -> None:
    """The old wait is over here, too, and the new one is here."""
    persistence = memory_persistence(sync=0, update_interval=0.05)
    first_handler, second_handler = order(), order()
    first = await begun(persistence, first_handler)
    await say(first, "/order")
    await first.update_persistence()
    second = await begun(persistence.restarted(), second_handler)
    (before,) = ends(second)
    await say(second, "Ann")
    await second.update_persistence()
    await look_until(first, lambda: state(first) == CITY)
    (job,) = ends(first)
    assert job.next_run_time > before.next_run_time
    assert list(first_handler.timeout_jobs) == [(1, 1)]
    await say(second, "Paris")
    await second.update_persistence()
    await look_until(first, lambda: state(first) is None)
    assert ends(first) == ends(second) == []
    assert first_handler.timeout_jobs == {}
    await end(first)
    await end(second)
    assert not heard


async def test_of_two_instances_one_ends_the_conversation() -> None:
    """Both have it scheduled, and the one that claims it first does."""
    persistence = memory_persistence(update_interval=0.05, sync=None)
    first = await begun(persistence, order(0.6))
    await say(first, "/order")
    await first.update_persistence()
    second = await begun(persistence.restarted(), order(0.6))
    assert len(ends(second)) == 1
    await until(lambda: heard)
    await asyncio.sleep(0.3)
    assert len(heard) == 1
    await end(first)
    await end(second)
    assert await saved(persistence) == {}
    assert await saved(persistence, Kind.CONVERSATIONS) == {}


async def test_an_idle_instance_ends_what_it_has_never_seen() -> None:
    """A timeout that came in with a claim has a state that did not: it is brought in first."""
    persistence = memory_persistence(update_interval=0.05, sync=0)
    idle = await begun(persistence, order())
    busy = await begun(persistence.restarted(), order(0.7))
    await say(busy, "/order")
    await busy.update_persistence()
    await kill_scheduler(busy)
    commits = loader_of(persistence).commits
    assert commits is not None
    await commits.peers.catch_up()
    keeper = idle.job_queue._keeper
    keeper.timeouts.bring_in()
    assert state(idle) is None
    await say(idle, "hello", user=2)
    await until(lambda: heard)
    await until(lambda: state(idle) is None)
    await idle.update_persistence()
    await end(idle)
    assert await saved(persistence, Kind.CONVERSATIONS) == {}


async def test_handlers_of_an_idle_instance_get_data_as_it_is_now() -> None:
    """Not as it was at that instance's last update, which may be days ago."""
    persistence = memory_persistence(update_interval=60, sync=None)
    busy = await begun(persistence, order(0.8))
    await say(busy, "/order")
    await busy.update_persistence()
    idle = await begun(persistence.restarted(), order(0.8))
    busy.user_data[1]["said"] = "anew"
    busy.mark_data_for_update_persistence(user_ids=1)
    await busy.update_persistence()
    await kill_scheduler(busy)
    await until(lambda: heard)
    assert heard == [("/order", "anew")]
    await end(idle)


async def kill_scheduler(application: App) -> None:
    application.job_queue.scheduler.shutdown(wait=False)


async def test_a_claim_of_a_dead_instance_lapses(monkeypatch: pytest.MonkeyPatch) -> None:
    """It died while the handlers of the timeout ran: another one runs them again."""
    monkeypatch.setattr(claims, "LASTS", timedelta(seconds=1))
    persistence = memory_persistence(update_interval=0.05)

    async def hang(*_: Any) -> None:
        heard.append(("hang", None))
        await asyncio.sleep(60)

    handler = order(0.1)
    handler.states[ConversationHandler.TIMEOUT][:] = [TypeHandler(Update, hang)]
    first = await begun(persistence, handler)
    await say(first, "/order")
    await first.update_persistence()
    await until(lambda: heard)
    await kill(first)
    second = await begun(persistence.restarted(), order())
    await until(lambda: len(heard) == 2)
    assert heard == [("hang", None), ("/order", None)]
    await end(second)
    assert await saved(persistence) == {}


# Updates that are delivered one by one -----------------------------------------------------------


async def test_deliver_saves_a_timeout_and_ends_nothing_by_itself(
    recwarn: pytest.WarningsRecorder,
) -> None:
    """No scheduler runs there, which PTB takes for a reason to begin no wait, and to warn."""
    persistence = memory_persistence()
    application = built(persistence, order(0.05))
    assert await deliver(application, message("/order", number=1))
    assert list(await saved(persistence)) == [("timeout:order", (1, 1))]
    await asyncio.sleep(0.2)
    assert not heard
    assert await deliver(application, message("Ann", number=2))
    (value,) = (await saved(persistence)).values()
    assert value["update"]["message"]["text"] == "Ann"
    assert await deliver(application, message("Paris", number=3))
    assert await saved(persistence) == {}
    await close(application)
    assert not [each for each in recwarn if "conversation_timeout" in str(each.message)]


async def test_an_update_that_is_taken_back_leaves_its_timeout_as_it_was() -> None:
    """In memory and in the store: a new one is gone, and one that it has moved on is back."""
    persistence = memory_persistence()
    begun_waits: list[int] = []
    hangs = [True]

    async def hang(*_: Any) -> None:
        begun_waits.append(len(handler.timeout_jobs))
        if hangs:
            await asyncio.sleep(60)

    handler = order()
    application = built(persistence, handler, TypeHandler(Update, hang))
    with pytest.raises(TimeoutError):
        await deliver(application, message("/order", number=1), timeout=0.5)
    assert begun_waits == [1]
    assert handler.timeout_jobs == {}
    assert ends(application) == []
    hangs.clear()
    assert await deliver(application, message("/order", number=2))
    before = await saved(persistence)
    hangs.append(True)
    with pytest.raises(TimeoutError):
        await deliver(application, message("Ann", number=3), timeout=0.5)
    assert begun_waits == [1, 1, 1]
    (job,) = ends(application)
    assert job.trigger.run_date == before["timeout:order", (1, 1)]["next"]
    assert len(handler.timeout_jobs) == 1
    assert state(application) == NAME
    hangs.clear()
    assert await deliver(application, message("hello", user=2, number=4))
    await close(application)
    assert await saved(persistence) == before


async def test_what_is_due_can_be_asked_for_and_ended() -> None:
    """As `run_due` does where no scheduler runs."""
    persistence = memory_persistence()
    application = built(persistence, order())
    assert await deliver(application, message("/order", number=1))
    timeouts, ends_ = application.job_queue._keeper.timeouts, application.job_queue._keeper.ends
    now = datetime.now(UTC)
    assert timeouts.due(now) == []
    assert timeouts.next_due() > now + timedelta(seconds=LONG - 60)
    (ending,) = timeouts.due(now + timedelta(seconds=LONG + 60))
    assert await ends_.run(ending, application)
    assert heard == [("/order", None)]
    assert timeouts.next_due() is None
    assert await saved(persistence) == {}
    assert await saved(persistence, Kind.CONVERSATIONS) == {}
    await close(application)


async def test_an_end_that_is_broken_off_is_done_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """When its claim has lapsed: PTB has forgotten its job by then, before it called a handler."""
    monkeypatch.setattr(claims, "LASTS", timedelta(seconds=0.5))
    persistence = memory_persistence()
    handler = order(0.05)
    hangs = [True]

    async def hang_once(update: Any, context: Any) -> None:
        if hangs:
            hangs.pop()
            await asyncio.sleep(60)
        await timed_out(update, context)

    handler.states[ConversationHandler.TIMEOUT][:] = [TypeHandler(Update, hang_once)]
    application = built(persistence, handler)
    assert await deliver(application, message("/order", number=1))
    await asyncio.sleep(0.1)
    with pytest.raises(TimeoutError):
        await run_due(application, timeout=0.3)
    assert not hangs
    assert state(application) == NAME
    async with asyncio.timeout(20):
        while not heard:
            await asyncio.sleep(0.1)
            await run_due(application)
    assert await saved(persistence) == {}
    assert await saved(persistence, Kind.CONVERSATIONS) == {}
    await close(application)


# What stays PTB's --------------------------------------------------------------------------------


@pytest.mark.parametrize("plain", [True, False])
async def test_other_timeouts_stay_in_memory(plain: bool) -> None:  # noqa: FBT001
    """Of PTB's `Application`, and of a handler that is not persistent: they fire, unsaved."""
    persistence = memory_persistence(load=load_of(plain=plain), update_interval=0.05)
    options = {} if plain else {"persistent": False}
    application = await begun(persistence, order(0.2, **options), plain=plain)
    await say(application, "/order")
    await application.update_persistence()
    assert await saved(persistence) == {}
    await until(lambda: heard)
    await end(application)


async def test_ptbs_own_queue_keeps_none() -> None:
    """Its timeouts are what they are."""
    persistence = memory_persistence(update_interval=0.05)
    application = await begun(persistence, order(0.2), queue=JobQueue())
    await say(application, "/order")
    await until(lambda: heard)
    await end(application)
    assert await saved(persistence) == {}


@pytest.mark.filterwarnings("ignore:No `JobQueue` set up")
@pytest.mark.parametrize("queue", [False, True])
async def test_where_nothing_can_fire_ptb_warns(queue: bool) -> None:  # noqa: FBT001
    """Without a job queue, and with PTB's while it does not run."""
    persistence = memory_persistence()
    builder: Any = ApplicationBuilder().application_class(PersistentApplication).token(TOKEN)
    builder = builder.request(OfflineTelegram(TOKEN)).updater(None).persistence(persistence)
    application = builder.job_queue(JobQueue() if queue else None).build()
    application.add_handler(order())
    with pytest.warns(match="Ignoring `conversation_timeout`"):
        assert await deliver(application, message("/order", number=1))
    assert await saved(persistence) == {}
    await close(application)


async def test_a_handler_that_is_not_persistent_is_warned_of_where_no_scheduler_runs() -> None:
    """As PTB does, though a persistent one beside it has its timeout."""
    persistence = memory_persistence()
    other = order(name="other", persistent=False)
    application = built(persistence, order(), other)
    with pytest.warns(match="not persistent"):
        assert await deliver(application, message("/order", number=1))
    assert list(await saved(persistence)) == [("timeout:order", (1, 1))]
    await close(application)


async def test_a_queue_that_keeps_no_jobs_by_default_keeps_timeouts() -> None:
    """It is the conversation handler that says whether it is persistent."""
    persistence = memory_persistence()
    application = await begun(persistence, order(), queue=PersistentJobQueue(persistent=False))
    await say(application, "/order")
    await end(application)
    assert list(await saved(persistence)) == [("timeout:order", (1, 1))]


@pytest.mark.filterwarnings("ignore:Using `conversation_timeout` with nested")
async def test_nested_conversations_are_as_ptb_treats_them() -> None:
    """Each has its own timeout, and that of the inner one ends the inner one alone."""
    persistence = memory_persistence()

    def nested() -> Any:
        inner = order(name="inner")
        return ConversationHandler(
            entry_points=[CommandHandler("outer", ask_name)],
            states={NAME: [inner]},
            fallbacks=[],
            name="outer",
            persistent=True,
            conversation_timeout=LONG,
        )

    application = await begun(persistence, nested())
    await say(application, "/outer")
    await say(application, "/order")
    await end(application)
    assert set(await saved(persistence)) == {("timeout:outer", (1, 1)), ("timeout:inner", (1, 1))}
    commits = await loader_of(persistence.restarted()).opened()
    key = ("timeout:inner", (1, 1))
    value = (await saved(persistence))[key] | {"next": datetime.now(UTC)}
    commits.repository.stage(Kind.JOBS, key, CODEC.dumps(value))
    await commits.repository.commit()
    application = await begun(persistence.restarted(), nested())
    await until(lambda: heard)
    await until(lambda: state(application, name="inner") is None)
    assert state(application, name="outer") == NAME
    await end(application)
    assert set(await saved(persistence)) == {("timeout:outer", (1, 1))}


# Keys --------------------------------------------------------------------------------------------


def test_no_job_has_the_key_of_a_timeout() -> None:
    """The id is refused, before anything is scheduled."""
    application = built(memory_persistence())
    with pytest.raises(JobError, match="'timeout:'"):
        application.job_queue.run_once(timed_out, 60, job_kwargs={"id": "timeout:order"})
    assert application.job_queue.jobs() == ()


def test_a_ptb_with_other_timeouts_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """When the application is built, and the error names what is gone."""
    monkeypatch.delattr(ConversationHandler, "_trigger_timeout")
    with pytest.raises(SettingsError, match="_trigger_timeout"):
        built(memory_persistence())


async def test_an_update_that_cannot_be_saved_is_said(caplog: pytest.LogCaptureFixture) -> None:
    """Its timeout stays in memory, and fires there."""
    persistence = memory_persistence(update_interval=0.05)
    application = await begun(persistence, order(0.2))
    keeper = application.job_queue._keeper
    real = keeper.timeouts._serializer
    keeper.timeouts._serializer = PickleSerializer(trusted=())
    keeper.timeouts._serializer.dumps = _refuse
    await say(application, "/order")
    keeper.timeouts._serializer = real
    assert "cannot be saved" in caplog.text
    assert await saved(persistence) == {}
    await until(lambda: heard)
    await end(application)


def _refuse(_: object) -> bytes:
    raise TypeError("a lock cannot be saved")


# Forgetting --------------------------------------------------------------------------------------


async def test_to_forget_a_user_or_chat_finds_their_timeouts() -> None:
    """Their ids are in the key, as they are in that of the conversation; nobody else's go."""
    persistence = memory_persistence(sync=0)
    handler = order()
    application = await begun(persistence, handler)
    for user, chat in ((1, 1), (2, -7), (3, 3)):
        await say(application, "/order", user=user, chat=chat)
    await application.update_persistence()
    other = await loader_of(persistence.restarted()).opened()
    for subject in (1, -7):
        await other.repository.erase(subject)
    assert list(await saved(persistence)) == [("timeout:order", (3, 3))]
    await say(application, "hello", user=9)
    assert list(handler.timeout_jobs) == [(3, 3)]
    await end(application)
    assert list(await saved(persistence)) == [("timeout:order", (3, 3))]


async def test_two_instances_that_move_on_one_conversation_leave_one_timeout() -> None:
    """Delivered to both at once, the second update is processed again on what the first left."""
    persistence = memory_persistence()
    first = built(persistence, order(), TypeHandler(Update, _overtake))
    second = built(persistence.restarted(), order())
    assert await deliver(second, message("/order", number=1))
    assert await deliver(first, message("hello", user=2, number=2))
    _meanwhile.append(lambda: deliver(second, message("Ann", number=3)))
    assert await deliver(first, message("Bob", number=4))
    await close(first)
    await close(second)
    assert await saved(persistence) == {}, "both have answered: a name, and then a city"
    assert await saved(persistence, Kind.CONVERSATIONS) == {}


_meanwhile: list[Any] = []


async def _overtake(*_: Any) -> None:
    while _meanwhile:
        await _meanwhile.pop()()


async def test_what_falls_due_while_the_loop_is_held_times_out() -> None:
    """APScheduler alone leaves out what is more than a second late."""
    persistence = memory_persistence()
    application = await begun(persistence, order(0.1))
    await say(application, "/order")
    blocking_sleep(1.4)  # noqa: ASYNC251 - that is the test
    await until(lambda: heard)
    await end(application)


async def test_no_log_names_a_user(caplog: pytest.LogCaptureFixture) -> None:
    """APScheduler logs the ids of jobs, and a conversation's key has the user's."""
    caplog.set_level("DEBUG", "apscheduler")
    caplog.set_level("DEBUG", "ptb_s3")
    persistence = memory_persistence()
    application = await begun(persistence, order())
    await say(application, "/order", user=987654321)
    await say(application, "Ann", user=987654321)
    await end(application)
    application = await begun(persistence.restarted(), order())
    await say(application, "Paris", user=987654321)
    await end(application)
    assert "Removed job" in caplog.text  # as APScheduler says it
    assert "987654321" not in caplog.text
