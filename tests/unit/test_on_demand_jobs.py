"""Jobs, and timeouts of conversations, of bots that read on demand: what they are about is read."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from telegram import Update
from telegram.ext import (
    CommandHandler,
    ConversationHandler,
    JobQueue,
    MessageHandler,
    TypeHandler,
    filters,
)
from tests.support import make_persistence, state_of
from tests.support.bots import gather_errors, say
from tests.support.jobs import begun, built, end, kill, until
from tests.support.on_demand import (
    COUNT,
    compacted,
    filled,
    on_demand,
    own,
    ranges,
    small_segments,
)

from ptb_s3 import PersistentJobQueue, PickleSerializer
from ptb_s3._engine import patience
from ptb_s3._format.entities import Kind
from ptb_s3._ptb.state_loader import loader_of
from ptb_s3._storage.contract import Store
from ptb_s3._storage.faults import Fault
from ptb_s3._storage.memory import MemoryStore
from ptb_s3.errors import StorageUnavailableError
from ptb_s3.serverless import close, run_due

CODEC = PickleSerializer(trusted=())
WAYS = ["scheduler", "run_due"]
heard: list[Any] = []


@pytest.fixture(autouse=True)
def _small_segments() -> Iterator[None]:
    heard.clear()
    with small_segments():
        yield


def persistence(store: Store, load: str = "on_demand", **options: Any) -> Any:
    return make_persistence(store, load=load, trusted=("tests", __name__), **options)


async def remind(context: Any) -> None:
    heard.append((context.job.name, dict(context.user_data), dict(context.chat_data)))
    context.user_data["reminded"] = context.user_data.get("reminded", 0) + 1


async def make_another(context: Any) -> None:
    heard.append(("maker", dict(context.user_data), dict(context.chat_data)))
    context.job_queue.run_once(remind, 0, user_id=20, chat_id=21, name="made")


async def timed_out(_: Any, context: Any) -> None:
    heard.append((dict(context.user_data), dict(context.chat_data)))
    context.user_data["late"] = context.chat_data["late"] = True


async def go_on(*_: Any) -> int:
    return 0


def nested() -> ConversationHandler[Any]:
    """A conversation whose inner one times out."""
    inner = ConversationHandler(
        entry_points=[CommandHandler("inner", go_on)],
        states={
            0: [MessageHandler(filters.TEXT & ~filters.COMMAND, go_on)],
            ConversationHandler.TIMEOUT: [TypeHandler(Update, timed_out)],
        },
        fallbacks=[],
        conversation_timeout=3600,
        name="inner",
        persistent=True,
    )
    return ConversationHandler(
        entry_points=[CommandHandler("outer", go_on)],
        states={0: [inner]},
        fallbacks=[],
        name="outer",
        persistent=True,
    )


async def all_overdue(store: Store) -> None:
    """Have all that is kept be due, and everybody's data be in blobs."""
    operator = persistence(store, "all")
    await state_of(operator)
    repository = loader_of(operator).commits.repository  # type: ignore[union-attr]
    for key, data in list(repository.base.entities[Kind.JOBS].items()):
        value: Any = CODEC.loads(data)
        value |= {"next": datetime.now(UTC) - timedelta(seconds=1)}
        repository.stage(Kind.JOBS, key, CODEC.dumps(value))
    await repository.commit()
    await compacted(operator)
    await operator.close()


async def run(store: Store, way: str, load: str, runs: int, *handlers: Any) -> list[Any]:
    """Start a bot, have what is due run, end it, and return what its error handlers were told."""
    bot = built(persistence(store, load), *handlers)
    errors = gather_errors(bot)
    if way == "scheduler":
        await bot.initialize()
        await bot.start()
        await until(lambda: len(heard) >= runs)
        await end(bot)
        return errors
    while len(heard) < runs:
        await run_due(bot, timeout=10)
    await close(bot)
    return errors


def waited(caplog: pytest.LogCaptureFixture) -> bool:
    """Tell whether the event loop has waited for the storage."""
    return any("event loop waits" in record.getMessage() for record in caplog.records)


@pytest.mark.parametrize("load", ["all", "on_demand"])
@pytest.mark.parametrize("way", WAYS)
async def test_a_timeout_of_an_earlier_process_finds_its_users_data(
    way: str, load: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Of a conversation nested in another, whose user nobody has read since the start."""
    store = MemoryStore()
    await filled(store)
    bot = await begun(persistence(store, load), nested())
    await say(bot, "/outer", user=7, chat=11)
    await say(bot, "/inner", user=7, chat=11)
    await bot.update_persistence()
    await kill(bot)
    await all_overdue(store)
    assert await run(store, way, load, 1, nested()) == []
    assert (heard, waited(caplog)) == ([(own(7), own(11))], False)
    state = await state_of(persistence(store, "all"))
    assert state["user_data"][7] == {**own(7), "late": True}
    assert state["chat_data"][11] == {**own(11), "late": True}
    assert len(state["user_data"]) == len(state["chat_data"]) == COUNT


@pytest.mark.parametrize("load", ["all", "on_demand"])
@pytest.mark.parametrize("way", WAYS)
async def test_jobs_find_the_data_of_whomever_they_are_about(
    way: str, load: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Who is there, was dropped, or never was; of a repeating job, and of one made by a job."""
    store = MemoryStore()
    await filled(store)
    bot = await begun(persistence(store, load))
    queue = bot.job_queue
    queue.run_once(remind, 3600, user_id=7, chat_id=8, name="there")
    queue.run_once(remind, 3600, user_id=700, chat_id=-8, name="nobody")
    queue.run_once(remind, 3600, user_id=9, chat_id=10, name="dropped")
    queue.run_repeating(remind, 3600, user_id=12, chat_id=13, name="repeating")
    queue.run_once(make_another, 3600, user_id=14, chat_id=15, name="maker")
    bot.drop_user_data(9)
    bot.drop_chat_data(10)
    await bot.update_persistence()
    await kill(bot)
    await all_overdue(store)
    assert await run(store, way, load, 6) == []
    assert sorted(heard) == [
        ("dropped", {}, {}),
        ("made", own(20), own(21)),
        ("maker", own(14), own(15)),
        ("nobody", {}, {}),
        ("repeating", own(12), own(13)),
        ("there", own(7), own(8)),
    ]
    assert not waited(caplog)
    users = (await state_of(persistence(store, "all")))["user_data"]
    assert users[700] == users[9] == {"reminded": 1}
    assert all(users[key] == {**own(key), "reminded": 1} for key in (7, 12, 20))


async def test_a_job_that_is_not_claimed_keeps_its_interval_where_nothing_can_be_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One that repeats within an interval of saving. It is left out, and not tried each second."""
    monkeypatch.setattr(patience, "PATIENCE", 0.01)
    store = MemoryStore()
    await filled(store)
    bot = await begun(persistence(store))
    errors = gather_errors(bot)
    store.faults = lambda call: Fault.FAIL_BEFORE if call.operation == "get_range" else None
    job = bot.job_queue.run_repeating(remind, 30, first=0.05, user_id=7, chat_id=7)
    await until(lambda: errors)
    await until(lambda: job.next_t is not None)
    assert job.next_t > datetime.now(UTC) + timedelta(seconds=20)
    store.faults = lambda _: None
    await end(bot)
    assert (heard, len(errors)) == ([], 1)


QUEUES = {"kept": PersistentJobQueue, "of PTB": JobQueue}


@pytest.mark.parametrize("queue", QUEUES)
async def test_an_error_handler_does_not_wait_for_a_jobs_data_that_cannot_be_read(
    queue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It gets the same error at once, as that of an update does."""
    monkeypatch.setattr(patience, "PATIENCE", 0.01)
    store, told = MemoryStore(), list[Any]()
    await filled(store)

    async def tell(_: object, context: Any) -> None:
        asked = len(store.calls)
        for data in ("user_data", "chat_data"):
            with pytest.raises(StorageUnavailableError) as raised:
                str(getattr(context, data))
            told.append(raised.value is context.error)
        assert len(store.calls) == asked, "again"

    bot = await begun(persistence(store), job_queue=QUEUES[queue]())
    bot.add_error_handler(tell)
    store.faults = lambda call: Fault.FAIL_BEFORE if call.operation == "get_range" else None
    bot.job_queue.run_once(remind, 0.05, user_id=7, chat_id=7)
    await until(lambda: len(told) == 2)
    store.faults = lambda _: None
    await end(bot)
    assert told == [True, True]


@pytest.mark.parametrize("what", ["update", *QUEUES])
async def test_a_stop_does_not_wait_for_what_cannot_be_read(what: str) -> None:
    """Hosts kill 10 s after SIGTERM, and a fetch is tried for 30: it is given up, and all saved."""
    store = MemoryStore()
    await filled(store)
    queue = QUEUES.get(what, PersistentJobQueue)()
    kept = persistence(store, flush_timeout=0.5)
    bot = await begun(kept, MessageHandler(filters.ALL, go_on), job_queue=queue)
    errors, asked = gather_errors(bot), asyncio.Event()
    answer = store.get_range

    async def hang(*_: object, **__: object) -> None:
        bot.bot_data["asked"] = True
        asked.set()
        await asyncio.Event().wait()

    store.get_range = hang  # type: ignore[method-assign]
    if what == "update":
        async with asyncio.TaskGroup() as group:
            telling = group.create_task(say(bot, "tea", user=7))
            await asked.wait()
            async with asyncio.timeout(5):
                await bot.stop()
                await telling
    else:
        bot.job_queue.run_once(remind, 0.05, user_id=7, chat_id=7)
        await asked.wait()
        async with asyncio.timeout(5):
            await bot.stop()
    assert [type(error) for error in errors] == [StorageUnavailableError]
    assert "being stopped" in str(errors[0])
    assert heard == []
    state = await state_of(persistence(store, "all"))
    assert state["bot_data"] == {"asked": True}
    store.get_range = answer  # type: ignore[method-assign]
    await bot.start()
    await say(bot, "tea", user=7)
    assert len(errors) == 1, "it reads again"
    await end(bot)


async def test_many_are_read_ahead_in_few_requests() -> None:
    """As of a broadcast: most of whom may not be there, and are not looked for a second time."""
    store = MemoryStore()
    with small_segments(128 * 1024):
        await filled(store, count=5000)
    async with on_demand(store) as app:
        await app.prefetch(users=range(50_000))  # type: ignore[attr-defined]
        since = len(store.calls)
        assert 0 < len(ranges(store)) < 10
        assert sum(key in app.user_data for key in range(50_000)) == 5000
        await app.prefetch(users=range(50_000))  # type: ignore[attr-defined]
        assert len(store.calls) == since
        assert len(app._user_data.live) == 0  # type: ignore[attr-defined]
