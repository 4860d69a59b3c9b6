"""A bot that reads on demand, and what else works on its state: jobs, blobs, keys, and commands."""

from __future__ import annotations

import asyncio
import random
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from telegram.ext import JobQueue, MessageHandler, filters
from tests.support import KEY, OTHER_KEY, make_persistence, opened, state_of, update
from tests.support.bots import say
from tests.support.deliveries import message
from tests.support.jobs import begun as job_bot
from tests.support.jobs import built, until
from tests.support.on_demand import (
    COUNT,
    DEMANDED,
    agreed,
    compacted,
    filled,
    on_demand,
    own,
    ranges,
    repository_of,
    small_segments,
    written,
)

from ptb_s3 import Keyring, PersistentJobQueue, testing
from ptb_s3._format.entities import Kind
from ptb_s3._ptb.state_loader import loader_of
from ptb_s3._storage.faults import Call, Fault, ProcessKilled
from ptb_s3._storage.memory import MemoryStore
from ptb_s3.errors import StorageUnavailableError
from ptb_s3.serverless import close, deliver, run_due

EVERYBODY = {key: own(key) for key in range(1, COUNT + 1)}
heard: list[Any] = []


@pytest.fixture(autouse=True)
def _small_segments() -> Iterator[None]:
    heard.clear()
    with small_segments():
        yield


async def remind(context: Any) -> None:
    heard.append((dict(context.user_data), dict(context.chat_data)))
    context.user_data["reminded"] = True


async def hear(context: Any) -> None:
    heard.append(context.user_data)


def users_changing() -> MessageHandler[Any, Any]:
    async def change(update: Any, context: Any) -> None:
        context.user_data["said"] = update.message.text

    return MessageHandler(filters.ALL, change)


# Jobs ---------------------------------------------------------------------------------------------


async def state_with_a_job() -> Any:
    """Return a persistence in memory with all users in blobs, and a job that is due."""
    persistence = testing.memory_persistence()
    await state_of(persistence)
    await update(persistence, {"user_data": EVERYBODY, "chat_data": EVERYBODY})
    bot = await job_bot(persistence.restarted())
    bot.job_queue.run_once(remind, 0.3, user_id=30, chat_id=31, name="soon")
    await bot.update_persistence()
    await compacted(bot.persistence)
    await bot.job_queue.stop(wait=False)
    return persistence


async def test_a_jobs_user_and_chat_are_read_before_it_runs(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Ahead, in a range each, without a line about code that cannot await."""
    persistence = (await state_with_a_job()).restarted(load="on_demand", update_interval=0.05)
    store: Any = loader_of(persistence).store
    bot = await job_bot(persistence)
    await until(lambda: heard)
    await until(lambda: not bot.job_queue.jobs())
    assert heard == [(own(30), own(31))]
    assert sorted(set(ranges(store))) == ["chat_data", "user_data"]
    assert not [r for r in caplog.records if "event loop waits" in r.getMessage()]
    await bot.stop()
    await bot.shutdown()
    found = await persistence.restarted(load="all").get_user_data()
    assert found == {**EVERYBODY, 30: {**own(30), "reminded": True}}


async def test_a_job_whose_user_cannot_be_read_is_not_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The error handlers are told; the job stays, claimed until the claim lapses."""
    monkeypatch.setattr("ptb_s3._engine.patience.PATIENCE", 0.1)
    persistence = (await state_with_a_job()).restarted(load="on_demand")
    store: Any = loader_of(persistence).store
    store.faults = lambda call: Fault.FAIL_BEFORE if call.operation == "get_range" else None
    bot = await job_bot(persistence)
    errors: list[Any] = []

    async def hear(_: object, context: Any) -> None:
        errors.append(context.error)

    bot.add_error_handler(hear)
    await until(lambda: errors)
    assert isinstance(errors[0], StorageUnavailableError)
    assert heard == []
    assert [job.name for job in bot.job_queue.jobs()] == ["soon"]
    store.faults = lambda _: None
    await bot.stop()
    await bot.shutdown()
    after = persistence.restarted(load="all")
    await state_of(after)
    assert len(after._commits.repository.base.entities[Kind.JOBS]) == 1
    assert await after.get_user_data() == EVERYBODY


QUEUES = [JobQueue, lambda: PersistentJobQueue(persistent=False)]
"""Queues whose jobs are not kept."""


@pytest.mark.parametrize("queue", QUEUES, ids=["of PTB", "ours"])
async def test_an_unkept_jobs_user_and_chat_are_read_before_it_runs(
    queue: Callable[[], JobQueue[Any]], caplog: pytest.LogCaptureFixture
) -> None:
    """As those of a job that is kept; a job of nobody runs as well, and so does a plain function.

    A plain function of a job is one that was given to the scheduler itself.
    """
    store = MemoryStore()
    await filled(store)
    bot = await job_bot(make_persistence(store, load="on_demand"), job_queue=queue())
    bot.job_queue.run_once(remind, 0.05, user_id=30, chat_id=31)
    bot.job_queue.scheduler.add_job(heard.append, args=["plain"])
    await until(lambda: len(heard) == 2)
    assert (own(30), own(31)) in heard
    assert sorted(ranges(store)) == ["chat_data", "user_data"]
    bot.job_queue.run_once(hear, 0.05)
    await until(lambda: len(heard) == 3)
    assert not [r for r in caplog.records if "event loop waits" in r.getMessage()]
    await bot.stop()
    await bot.shutdown()
    found = await make_persistence(store).get_user_data()
    assert found == {**EVERYBODY, 30: {**own(30), "reminded": True}}


@pytest.mark.parametrize("queue", QUEUES, ids=["of PTB", "ours"])
async def test_an_unkept_job_whose_user_cannot_be_read_is_told(
    queue: Callable[[], JobQueue[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error handlers get the job, and the same error for its data; it runs the next time."""
    monkeypatch.setattr("ptb_s3._engine.patience.PATIENCE", 0.1)
    store = MemoryStore()
    await filled(store)
    bot = await job_bot(make_persistence(store, load="on_demand"), job_queue=queue())
    store.faults = lambda call: Fault.FAIL_BEFORE if call.operation == "get_range" else None
    errors: list[Any] = []

    async def tell(_: object, context: Any) -> None:
        errors.append((type(context.error), context.job.name))
        since = len(store.calls)
        with pytest.raises(StorageUnavailableError):
            dict(context.user_data)
        assert len(store.calls) == since, "the loop waits for what was tried just now"
        store.faults = lambda _: None

    bot.add_error_handler(tell)
    bot.job_queue.run_repeating(remind, 0.1, user_id=30, chat_id=31, name="often")
    await until(lambda: heard)
    assert errors == [(StorageUnavailableError, "often")]
    assert heard[0] == (own(30), own(31))
    await bot.stop()
    await bot.shutdown()


async def test_run_due_reads_what_its_jobs_are_about(caplog: pytest.LogCaptureFixture) -> None:
    persistence = (await state_with_a_job()).restarted(load="on_demand")
    bot = built(persistence, users_changing())
    await asyncio.sleep(0.3)
    await run_due(bot)
    assert heard == [(own(30), own(31))]
    assert await deliver(bot, message(user=32))
    assert not [r for r in caplog.records if "event loop waits" in r.getMessage()]
    await close(bot)
    found = await persistence.restarted(load="all").get_user_data()
    assert found[30] == {**own(30), "reminded": True}
    assert found[32] == {**own(32), "said": "hello"}


# Blobs --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("versioned", [True, False])
async def test_a_compaction_changes_nothing_but_the_blob(*, versioned: bool) -> None:
    """And its index says of each segment when anything in it changed last."""
    store = MemoryStore(versioned=versioned)
    await filled(store)
    bot = on_demand(store, users_changing())
    async with bot:
        before = repository_of(bot).revision
        await say(bot, "tea", user=1)
        await say(bot, "tea", user=900)
        bot.drop_user_data(60)
        state = await agreed(bot, store)
        await compacted(bot.persistence)  # type: ignore[arg-type]
        base = repository_of(bot).base
        index = base.partial[Kind.USER_DATA].source.index
        changed = {index.number_of(key) for key in (1, 60, 900)}
        for number, segment in enumerate(index.segments):
            assert (segment.newest > before) == (number in changed)
        assert not base.head.parts[Kind.USER_DATA].differential
        assert await agreed(bot, store) == state
        assert bot.user_data[33] == own(33)
    assert (await state_of(make_persistence(store)))["user_data"] == state["user_data"]


@pytest.mark.parametrize("fault", list(Fault))
@pytest.mark.parametrize("number", range(12))
async def test_a_compaction_may_be_interrupted_anywhere(fault: Fault, number: int) -> None:
    """The state is the same to whoever reads it next, in either mode."""
    store = MemoryStore()
    await filled(store)
    bot = on_demand(store, users_changing())
    await bot.initialize()
    await say(bot, "tea", user=1)
    bot.drop_user_data(60)
    await bot.update_persistence()
    model = {**EVERYBODY, 1: {**own(1), "said": "tea"}}
    del model[60]
    since = len(store.calls)

    def failing(call: Call) -> Fault | None:
        return fault if call.number == since + number + 1 else None

    store.faults = failing
    killed = False
    try:
        await compacted(bot.persistence)  # type: ignore[arg-type]
    except (ProcessKilled, StorageUnavailableError) as error:
        killed = isinstance(error, ProcessKilled)
    store.faults = lambda _: None
    if not killed:
        assert bot.user_data[33] == own(33)
        await say(bot, "milk", user=1)
        model[1] = {**own(1), "said": "milk"}
        assert (await agreed(bot, store))["user_data"] == model
    assert (await state_of(make_persistence(store)))["user_data"] == model
    other = on_demand(store)
    await other.initialize()
    assert other.user_data == model


async def test_a_compaction_holds_no_whole_blob() -> None:
    """Of 24 MB that do not compress, a few: a batch of segments, and what is on its way."""
    rng = random.Random(1)  # noqa: S311 - data that do not compress
    with small_segments(128 * 1024):
        store = MemoryStore()
        data = {key: {"noise": rng.randbytes(8000)} for key in range(3000)}
        await written(store, {"user_data": data})
        data.clear()
        bot = on_demand(store, users_changing())
        await bot.initialize()
        await say(bot, "tea", user=1)
        await bot.update_persistence()
        size = len(store.current()["user_data"])
        assert size > 20_000_000
        repository = repository_of(bot)
        compactor = repository._compactor
        sealed = []

        async def put(*_: Any) -> Any:  # the store in memory would hold it all
            sealed.append(tracemalloc.get_traced_memory()[1])
            raise StorageUnavailableError("not now")

        compactor._put = put
        tracemalloc.start()
        with pytest.raises(StorageUnavailableError):
            await repository.compact(Kind.USER_DATA)
        tracemalloc.stop()
        assert sealed
        assert sealed[0] < size / 2
        await bot.shutdown()


# Going back, keys and commands --------------------------------------------------------------------


async def test_a_restore_at_a_start_reads_all_of_it_once() -> None:
    """Then the bot goes on, and so does the next start, which reads on demand."""
    store = MemoryStore()
    await filled(store)
    revision = (await opened(store)).revision
    persistence = make_persistence(store)
    await state_of(persistence)
    await update(persistence, {"user_data": {1: {"wrong": 1}, 900: {"wrong": 9}}})
    await persistence.drop_user_data(60)
    for _ in range(2):
        async with on_demand(store, users_changing(), restore=str(revision)) as bot:
            assert bot.user_data == EVERYBODY or bot.user_data == {
                **EVERYBODY,
                7: {**own(7), "said": "tea"},
            }
            assert len(bot.user_data) == COUNT
            await say(bot, "tea", user=7)
            await agreed(bot, store)


async def test_a_retired_key_is_left_by_the_next_compaction() -> None:
    """A bot with a new key reads on with the old one, and seals anew."""
    store = MemoryStore()
    await filled(store)
    keyring = Keyring(OTHER_KEY, retired=[KEY])
    bot = on_demand(store, users_changing(), keyring=keyring)
    async with bot:
        repository = repository_of(bot)
        assert set(DEMANDED) <= set(repository.due())
        await say(bot, "tea", user=7)
        await bot.update_persistence()
        await compacted(bot.persistence)  # type: ignore[arg-type]
        assert not set(DEMANDED) & set(repository.due())
        assert bot.user_data[33] == own(33)
    state = await state_of(make_persistence(store, keyring=Keyring(OTHER_KEY)))
    assert state["user_data"] == {**EVERYBODY, 7: {**own(7), "said": "tea"}}


async def test_whoever_is_erased_beside_it_is_gone() -> None:
    """As by `ptb-s3 forget`, which writes all blobs anew; a live object of them goes, too."""
    store = MemoryStore()
    await filled(store)
    async with on_demand(store, users_changing(), sync=0) as bot:
        await say(bot, "tea", user=7)
        await say(bot, "tea", user=8)
        await bot.update_persistence()
        operator = await opened(store)
        for subject in (7, 9):
            await operator.erase(subject)
        await operator.seal_anew(operator.written_kinds())
        await say(bot, "milk", user=10)
        for gone in (7, 9):
            assert gone not in bot.user_data
            assert gone not in bot.chat_data
        assert bot.user_data[8] == {**own(8), "said": "tea"}
        state = await agreed(bot, store)
    assert len(state["user_data"]) == COUNT - 2


async def test_a_copy_taken_beside_it_is_whole() -> None:
    """As by `ptb-s3 export` and `verify`: whoever reads all reads the same, before and after."""
    store = MemoryStore()
    await filled(store)
    async with on_demand(store, users_changing(), sync=0) as bot:
        await say(bot, "tea", user=7)
        await bot.update_persistence()
        whole = await opened(store)
        exported = {kind: dict(whole.base.entities[kind]) for kind in DEMANDED}
        assert {kind: len(found) for kind, found in exported.items()} == dict.fromkeys(
            DEMANDED, COUNT
        )
        changes: Any = {Kind.USER_DATA: {8: exported[Kind.USER_DATA][7], 9: None}}
        await whole.commit_only(changes)  # as `ptb-s3 import` does
        await say(bot, "milk", user=10)
        assert bot.user_data[8] == {**own(7), "said": "tea"}
        assert 9 not in bot.user_data
        await agreed(bot, store)
