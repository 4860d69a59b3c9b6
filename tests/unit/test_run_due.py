"""`run_due`: what is due runs where no scheduler does, once, and is durable when it returns."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from telegram import Update
from telegram.ext import (
    ApplicationBuilder,
    ConversationHandler,
    MessageHandler,
    TypeHandler,
    filters,
)
from tests.support.application_memory import load_of, memory_persistence
from tests.support.bots import TOKEN, OfflineTelegram
from tests.support.deliveries import message

from ptb_s3 import PersistentApplication, PersistentJobQueue, PickleSerializer
from ptb_s3._format.entities import Kind
from ptb_s3._jobs import claims
from ptb_s3._ptb import due_runs
from ptb_s3._ptb.state_loader import loader_of
from ptb_s3._storage.faults import Fault
from ptb_s3._storage.memory import MemoryStore
from ptb_s3.errors import SettingsError, StorageError
from ptb_s3.serverless import close, deliver, run_due
from ptb_s3.testing import MemoryPersistence

App = Any
Memory = MemoryPersistence[Any, Any, Any]
CODEC = PickleSerializer(trusted=())
ran: list[tuple[str, Any]] = []
most_at_once: list[int] = [0, 0]
gate = asyncio.Event()


@pytest.fixture(autouse=True)
def _nothing_ran() -> None:
    ran.clear()
    most_at_once[:] = [0, 0]
    gate.clear()


async def remind(context: Any) -> None:
    ran.append((context.job.name, context.job.data))
    context.bot_data["runs"] = context.bot_data.get("runs", 0) + 1
    if context.user_data is not None:
        context.user_data["reminded"] = True


async def fail(context: Any) -> None:
    ran.append((context.job.name, context.job.data))
    raise ValueError("a job's")


async def hang(context: Any) -> None:
    ran.append((context.job.name, context.job.data))
    await asyncio.Event().wait()


async def crowd(_: Any) -> None:
    most_at_once[0] += 1
    most_at_once[1] = max(most_at_once)
    await asyncio.sleep(0.01)
    most_at_once[0] -= 1
    ran.append(("crowd", None))


async def chain(context: Any) -> None:
    ran.append((context.job.name, context.job.data))
    context.job_queue.run_once(remind, 3600, name="follow-up")


async def call_back(context: Any) -> None:
    try:
        await run_due(context.application)
    except RuntimeError as error:
        ran.append(("refused", str(error)))


async def spawn(context: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PTB's: it would not be awaited
        context.application.create_task(late(context))


async def late(context: Any) -> None:
    await asyncio.sleep(0.05)
    context.bot_data["late"] = True


def built(persistence: Memory, *, plain: bool = False) -> App:
    builder: Any = ApplicationBuilder().token(TOKEN).request(OfflineTelegram(TOKEN))
    if not plain:
        builder = builder.application_class(PersistentApplication)
    builder = builder.updater(None).persistence(persistence).job_queue(PersistentJobQueue())
    return builder.get_updates_request(OfflineTelegram(TOKEN)).build()


async def making(persistence: Memory, make: Callable[[Any], object], **options: Any) -> App:
    """Return an application whose update has made jobs."""
    application = built(persistence, **options)

    async def order(_: Any, context: Any) -> None:
        make(context.job_queue)

    application.add_handler(TypeHandler(object, order))
    await deliver(application, message())
    return application


async def saved(persistence: Memory) -> dict[str, Any]:
    """Return what the store holds of jobs, by name, and of the bot's data."""
    base = (await loader_of(persistence.restarted()).opened()).repository.base
    values: list[Any] = [CODEC.loads(data) for data in base.entities[Kind.JOBS].values()]
    return {value["name"]: value for value in values}


async def bot_data(persistence: Memory) -> Any:
    return await persistence.restarted().get_bot_data()


@pytest.mark.parametrize("plain", [False, True])
async def test_what_is_due_runs_once_and_is_durable(*, plain: bool) -> None:
    """What it has changed is committed, and the moment of the next job is returned."""
    persistence = memory_persistence(load=load_of(plain=plain))

    def make(queue: Any) -> None:
        queue.run_once(remind, 0, name="now", data=1, user_id=1)
        queue.run_once(remind, 3600, name="later")

    application = await making(persistence, make, plain=plain)
    due = await run_due(application)
    assert ran == [("now", 1)]
    assert due is not None
    assert due.tzinfo is UTC
    assert timedelta(minutes=59) < due - datetime.now(UTC) < timedelta(minutes=61)
    assert (await saved(persistence)).keys() == {"later"}
    assert await bot_data(persistence) == {"runs": 1}
    assert (await persistence.restarted(load="all").get_user_data())[1] == {"reminded": True}
    assert await run_due(application) == due
    assert len(ran) == 1
    await close(application)


async def test_another_process_runs_what_one_has_made() -> None:
    """The state is read, with a cold start, and brought up to date, with a warm one."""
    persistence = memory_persistence()
    second = built(persistence.restarted())
    assert await run_due(second) is None
    first = await making(persistence, lambda queue: queue.run_once(remind, 0, name="tea"))
    assert await run_due(second) is None
    assert ran == [("tea", None)]
    assert await run_due(first) is None
    assert len(ran) == 1
    await close(first)
    await close(second)


async def test_two_processes_at_once_run_a_job_once() -> None:
    """One of them gets the claim, and the other one is told when to look again."""
    persistence = memory_persistence()
    first = await making(
        persistence, lambda queue: [queue.run_once(remind, 0, name=f"job {n}") for n in range(20)]
    )
    second = built(persistence.restarted())
    await asyncio.gather(run_due(first), run_due(second))
    assert sorted(name for name, _ in ran) == sorted(f"job {n}" for n in range(20))
    assert await saved(persistence) == {}
    await close(first)
    await close(second)


async def test_a_repeating_job_is_due_again_in_its_rhythm() -> None:
    """It runs once, however often it was missed, and the table holds its next moment."""
    persistence = memory_persistence()
    application = await making(
        persistence, lambda queue: queue.run_repeating(remind, 3600, first=0.01, name="hourly")
    )
    await asyncio.sleep(0.02)
    due = await run_due(application)
    assert len(ran) == 1
    record = (await saved(persistence))["hourly"]
    assert (record["next"], record["claim"]) == (due, None)
    (job,) = application.job_queue.jobs()
    assert job.next_t == due
    await close(application)


async def test_a_job_that_raises_goes_to_the_error_handlers_and_the_others_run() -> None:
    """As under PTB's scheduler. It is over all the same."""
    persistence = memory_persistence()
    heard: list[Any] = []

    def make(queue: Any) -> None:
        queue.run_once(fail, 0, name="bad")
        queue.run_once(remind, 0, name="good")

    application = await making(persistence, make)

    async def hear(_: object, context: Any) -> None:
        heard.append(context.error)

    application.add_error_handler(hear)
    assert await run_due(application) is None
    assert sorted(ran) == [("bad", None), ("good", None)]
    assert [type(error) for error in heard] == [ValueError]
    assert await saved(persistence) == {}
    await close(application)


async def test_what_a_job_makes_is_committed() -> None:
    """Another job, and what tasks of the application's change."""
    persistence = memory_persistence()

    def make(queue: Any) -> None:
        queue.run_once(chain, 0, name="first")
        queue.run_once(spawn, 0)

    application = await making(persistence, make)
    due = await run_due(application)
    assert (await saved(persistence)).keys() == {"follow-up"}
    assert due == (await saved(persistence))["follow-up"]["next"]
    assert await bot_data(persistence) == {"late": True}
    await close(application)


async def test_many_are_run_in_bounded_numbers_and_claimed_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A thousand that are due at once need neither a commit each nor all to run at a time."""
    monkeypatch.setattr(due_runs, "AT_ONCE", 50)
    persistence = memory_persistence()
    application = await making(
        persistence, lambda queue: [queue.run_once(crowd, 0) for _ in range(500)]
    )
    before = persistence.stats.commits
    assert await run_due(application) is None
    assert len(ran) == 500
    assert 10 < most_at_once[1] <= 50
    assert persistence.stats.commits - before <= 50
    assert await saved(persistence) == {}
    await close(application)


async def test_what_is_not_begun_in_time_is_left_unclaimed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another call runs it at once, of this process or another: nobody waits for a claim."""
    monkeypatch.setattr(due_runs, "AT_ONCE", 2)
    persistence = memory_persistence()

    def make(queue: Any) -> None:
        for number in range(20):
            queue.run_once(slow, 0, name=f"job {number}")

    application = await making(persistence, make)
    due = await run_due(application, timeout=1)
    assert 0 < len(ran) < 20
    assert due is not None
    assert due <= datetime.now(UTC)
    left = await saved(persistence)
    assert len(left) == 20 - len(ran)
    assert all(value["claim"] is None for value in left.values())
    other = built(persistence.restarted())
    assert await run_due(other) is None
    assert len({name for name, _ in ran}) == len(ran) == 20
    await close(application)
    await close(other)


async def slow(context: Any) -> None:
    await asyncio.sleep(0.1)
    ran.append((context.job.name, None))


async def test_a_job_that_never_ends_is_broken_off_and_keeps_its_claim(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It runs again when that lapses. The others have run, and the next call is not held up."""
    monkeypatch.setattr(claims, "LASTS", timedelta(seconds=2.5))
    persistence = memory_persistence()

    def make(queue: Any) -> None:
        queue.run_once(hang, 0, name="hangs")
        queue.run_once(remind, 0, name="ends")

    application = await making(persistence, make)
    with pytest.raises(TimeoutError, match="1 were broken off"):
        await run_due(application, timeout=0.5)
    assert not [task for task in asyncio.all_tasks() if "hang" in repr(task)]
    left = await saved(persistence)
    assert left.keys() == {"hangs"}
    assert left["hangs"]["claim"] is not None
    due = await run_due(application, timeout=1)
    assert len(ran) == 2, "somebody may be running it"
    assert due is not None
    await asyncio.sleep(max(0.0, (due - datetime.now(UTC)).total_seconds()) + 0.05)
    with pytest.raises(TimeoutError):
        await run_due(application, timeout=0.5)
    assert [name for name, _ in ran].count("hangs") == 2
    await close(application)


async def test_one_that_hangs_does_not_hold_up_those_behind_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """There is room for others beside it."""
    monkeypatch.setattr(due_runs, "AT_ONCE", 4)
    persistence = memory_persistence()

    def make(queue: Any) -> None:
        queue.run_once(hang, datetime.now(UTC) - timedelta(minutes=1), name="hangs")
        for _ in range(20):
            queue.run_once(remind, 0)

    application = await making(persistence, make)
    with pytest.raises(TimeoutError):
        await run_due(application, timeout=2)
    assert len(ran) == 21
    await close(application)


async def test_a_storage_that_takes_no_claim_has_nothing_run() -> None:
    """The call raises, as `deliver` does, and a later one runs it, without waiting for a claim."""
    persistence = memory_persistence()
    application = await making(persistence, lambda queue: queue.run_once(remind, 0, name="tea"))
    store = loader_of(persistence).store
    assert isinstance(store, MemoryStore)
    store.faults = lambda call: Fault.FAIL_BEFORE if call.operation == "put" else None
    with pytest.raises(StorageError):
        await run_due(application)
    assert not ran
    store.faults = lambda _: None
    assert await run_due(application) is None
    assert ran == [("tea", None)]
    await close(application)


@pytest.mark.parametrize("operation", ["get", "put"])
async def test_a_storage_that_hangs_is_told_in_time(operation: str) -> None:
    """Nothing has run that is not claimed, and the next call runs it."""
    persistence = memory_persistence()
    application = await making(persistence, lambda queue: queue.run_once(remind, 0, name="tea"))
    store: Any = loader_of(persistence).store
    real = getattr(store, operation)

    async def silent(*_: Any, **__: Any) -> Any:
        await asyncio.Event().wait()

    setattr(store, operation, silent)
    with pytest.raises((StorageError, TimeoutError)) as raised:
        await run_due(application, timeout=0.3)
    assert "next call" in str(raised.value)
    assert not ran
    setattr(store, operation, real)
    assert await run_due(application) is None
    assert ran == [("tea", None)]
    await close(application)


def test_each_call_may_have_an_event_loop_of_its_own() -> None:
    """As with `asyncio.run` for each invocation."""
    persistence = memory_persistence()
    application = asyncio.run(
        making(persistence, lambda queue: queue.run_repeating(remind, 60, first=0.001))
    )
    for number in range(3):
        asyncio.run(run_due(application))
        assert len(ran) == number + 1
        job = next(iter(loader_of(persistence).due_sources[0].table.records.values()))  # type: ignore[attr-defined]
        job.next = datetime.now(UTC)
    asyncio.run(close(application))


async def test_beside_a_scheduler_nothing_runs_twice() -> None:
    """A process may poll, and be asked to run what is due as well."""
    persistence = memory_persistence(update_interval=0.05)
    application = built(persistence)
    await application.initialize()
    await application.start()
    application.job_queue.run_once(remind, 0.2, name="tea")
    application.job_queue.run_repeating(count_fast, 0.02, name="fast")
    for _ in range(20):
        await asyncio.gather(run_due(application), run_due(application), asyncio.sleep(0.02))
    assert [name for name, _ in ran if name == "tea"] == ["tea"]
    assert most_at_once[1] == 1
    await application.stop()
    await application.shutdown()


async def count_fast(_: Any) -> None:
    most_at_once[0] += 1
    most_at_once[1] = max(most_at_once)
    await asyncio.sleep(0.015)
    most_at_once[0] -= 1


async def test_called_by_a_job_it_says_so() -> None:
    """It would wait for its own turn without end."""
    persistence = memory_persistence()
    application = await making(persistence, lambda queue: queue.run_once(call_back, 0))
    await run_due(application, timeout=5)
    ((name, text),) = ran
    assert name == "refused"
    assert "in the middle of" in text
    await close(application)


async def test_an_application_without_jobs_is_told() -> None:
    """A schedule that runs nothing is a mistake."""
    persistence = memory_persistence()
    builder: Any = ApplicationBuilder().token(TOKEN).request(OfflineTelegram(TOKEN))
    application = builder.updater(None).persistence(persistence).job_queue(None).build()
    with pytest.raises(SettingsError, match="job_queue"):
        await run_due(application)


async def test_nothing_due_costs_one_read() -> None:
    """A schedule of each minute is to cost next to nothing."""
    persistence = memory_persistence()
    application = await making(persistence, lambda queue: queue.run_once(remind, 3600))
    await run_due(application)
    store = loader_of(persistence).store
    assert isinstance(store, MemoryStore)
    before = len(store.calls)
    await run_due(application)
    assert [call.operation for call in store.calls[before:]] == ["get"]
    await close(application)


async def test_what_post_init_makes_survives_an_update_that_is_taken_back() -> None:
    """It is no update's, and saved before the first one."""
    persistence = memory_persistence()
    application = built(persistence)

    async def prepare(app: Any) -> None:
        app.job_queue.run_repeating(remind, 3600, name="fixed")

    async def fall_over(_: Any, context: Any) -> None:
        context.job_queue.run_once(remind, 3600, name="of the update")
        await asyncio.Event().wait()

    application.post_init = prepare
    application.add_handler(TypeHandler(object, fall_over))
    with pytest.raises(TimeoutError):
        await deliver(application, message(), timeout=0.3)
    assert [job.name for job in application.job_queue.jobs()] == ["fixed"]
    assert (await saved(persistence)).keys() == {"fixed"}
    await close(application)


# Conversation timeouts ---------------------------------------------------------------------------


async def ask(_: Any, __: Any) -> int:
    return 1


async def time_out(update: Any, context: Any) -> None:
    ran.append(("timeout", update.message.text))
    context.user_data["timed out"] = True


def conversing(persistence: Memory, seconds: float) -> App:
    application = built(persistence)
    handler: Any = ConversationHandler(
        [MessageHandler(filters.TEXT, ask)],
        {1: [], ConversationHandler.TIMEOUT: [TypeHandler(Update, time_out)]},
        [],
        name="order",
        persistent=True,
        conversation_timeout=seconds,
    )
    application.add_handler(handler)
    return application


async def test_a_conversation_times_out_where_no_scheduler_runs() -> None:
    """By the call that comes next, in any process, once; its end is one commit with its data."""
    persistence = memory_persistence()
    first, second = conversing(persistence, 0.2), conversing(persistence.restarted(), 0.2)
    await deliver(first, message("tea"))
    due = await run_due(first)
    assert due is not None
    assert not ran
    assert due > datetime.now(UTC)
    await asyncio.sleep(0.25)
    await asyncio.gather(run_due(first), run_due(second))
    assert ran == [("timeout", "tea")]
    assert await run_due(first) is None
    assert await run_due(second) is None
    assert len(ran) == 1
    other = conversing(persistence.restarted(), 0.2)
    await other.initialize()
    assert other.user_data[1] == {"timed out": True}
    assert await other.persistence.get_conversations("order") == {}
    assert await saved(persistence) == {}
    await close(first)
    await close(second)
