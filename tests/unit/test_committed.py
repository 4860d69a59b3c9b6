"""`committed`: a change that is no update's is committed whole, or nothing of it stays."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from telegram.ext import ApplicationBuilder, PersistenceInput, TypeHandler
from tests.support.application_memory import load_of, memory_persistence
from tests.support.bots import TOKEN, OfflineTelegram, say
from tests.support.deliveries import message

from ptb_s3 import PersistentApplication, PersistentJobQueue
from ptb_s3._ptb.state_loader import loader_of
from ptb_s3._storage.faults import Fault
from ptb_s3._storage.memory import MemoryStore
from ptb_s3.errors import OvertakenError, SerializationError, SettingsError, StorageError
from ptb_s3.serverless import close, committed, deliver
from ptb_s3.testing import MemoryPersistence

App = Any
Memory = MemoryPersistence[Any, Any, Any]


async def remind(_: Any) -> None: ...


async def count(_: Any, context: Any) -> None:
    context.user_data["n"] = context.user_data.get("n", 0) + 1
    context.bot_data["n"] = context.bot_data.get("n", 0) + 1


def built(persistence: Memory, *, handler: Any = count, plain: bool = False) -> App:
    builder: Any = ApplicationBuilder()
    if not plain:
        builder = builder.application_class(PersistentApplication)
    builder = builder.token(TOKEN).request(OfflineTelegram(TOKEN)).updater(None)
    builder = builder.get_updates_request(OfflineTelegram(TOKEN)).persistence(persistence)
    application = builder.job_queue(PersistentJobQueue()).build()
    application.add_handler(TypeHandler(object, handler))
    return application


async def stored(persistence: Memory) -> dict[str, Any]:
    """Return what the next process would load."""
    other = persistence.restarted()
    application = built(other)
    await application.initialize()
    return {
        "users": {key: value for key, value in application.user_data.items() if value},
        "chats": {key: value for key, value in application.chat_data.items() if value},
        "bot": application.bot_data,
        "jobs": [job.name for job in application.job_queue.jobs()],
    }


@pytest.mark.parametrize("plain", [False, True])
async def test_all_of_it_is_one_commit(*, plain: bool) -> None:
    """Of users, chats, the bot and the job queue; what did not change is not written."""
    persistence = memory_persistence(load=load_of(plain=plain))
    application = built(persistence, plain=plain)
    async with committed(application, users=[1, 2], chats=[-5]) as state:
        assert sorted(state.user_data) == [1, 2]
        state.user_data[1]["paid"] = True
        state.chat_data[-5]["order"] = "tea"
        state.bot_data["sold"] = 1
        assert state.job_queue is application.job_queue
        state.job_queue.run_once(remind, 3600, name="thank")
        assert persistence.stats.commits == 0
    assert persistence.stats.commits == 1
    assert await stored(persistence) == {
        "users": {1: {"paid": True}},
        "chats": {-5: {"order": "tea"}},
        "bot": {"sold": 1},
        "jobs": ["thank"],
    }
    assert application.user_data[1] == {"paid": True}
    async with committed(application, users=[1]) as state:
        assert state.user_data[1]["paid"]
    assert persistence.stats.commits == 1
    await close(application)


async def test_an_exception_takes_all_of_it_back() -> None:
    """And is raised on. The live objects stay the same objects."""
    persistence = memory_persistence()
    application = built(persistence)
    await deliver(application, message(user=1))
    live = application.user_data[1]
    before = await stored(persistence)
    with pytest.raises(ZeroDivisionError):  # noqa: PT012 - the block is the test
        async with committed(application, users=[1, 2], chats=[1]) as state:
            state.user_data[1]["n"] = 100
            state.user_data[2]["n"] = 100
            state.chat_data[1]["n"] = 100
            state.bot_data["n"] = 100
            state.job_queue.run_once(remind, 3600)
            application.drop_user_data(2)
            _ = 1 / 0
    assert application.user_data[1] is live
    assert live == {"n": 1}
    assert application.bot_data == {"n": 1}
    assert application.job_queue.jobs() == ()
    assert await stored(persistence) == before
    await deliver(application, message(user=1))
    assert (await stored(persistence))["users"] == {1: {"n": 2}}
    await close(application)


async def test_other_data_is_refused_in_words() -> None:
    """The error says what to do, and shows no id."""
    application = built(memory_persistence())
    async with committed(application, users=[1]) as state:
        with pytest.raises(KeyError, match=r"users=\[…\]") as user:
            _ = state.user_data[987654]
        with pytest.raises(KeyError, match=r"chats=\[…\]"):
            _ = state.chat_data[1]
        assert 987654 not in state.user_data
        state.user_data[1]["note"] = "canary"
        said = repr(state) + repr(state.user_data) + str(user.value)
        assert "987654" not in said
        assert "canary" not in said
    await close(application)


async def test_a_conflict_says_to_begin_again_and_leaves_nothing() -> None:
    """Another instance has changed the same meanwhile."""
    persistence = memory_persistence()
    application, other = built(persistence), built(persistence.restarted())
    await deliver(application, message(user=1))
    with pytest.raises(OvertakenError, match="begin it again") as raised:  # noqa: PT012 - the block is the test
        async with committed(application, users=[1]) as state:
            state.user_data[1]["n"] += 10
            state.bot_data["other"] = True
            state.job_queue.run_once(remind, 3600)
            await deliver(other, message(user=1))
    assert raised.value.exit_code == 6
    after = await stored(persistence)
    assert after == {"users": {1: {"n": 2}}, "chats": {}, "bot": {"n": 2}, "jobs": []}
    assert application.job_queue.jobs() == ()
    async with committed(application, users=[1]) as state:
        state.user_data[1]["n"] += 10
    assert (await stored(persistence))["users"] == {1: {"n": 12}}
    await close(application)
    await close(other)


async def test_what_others_have_changed_elsewhere_is_no_conflict() -> None:
    """Forty blocks of two instances at once, of a user each, are forty."""
    persistence = memory_persistence()
    instances = [built(persistence), built(persistence.restarted())]

    async def pay(application: App, user: int) -> None:
        async with committed(application, users=[user]) as state:
            await asyncio.sleep(0)
            state.user_data[user]["paid"] = True

    await asyncio.gather(*(pay(instances[user % 2], user) for user in range(1, 41)))
    assert (await stored(persistence))["users"] == {n: {"paid": True} for n in range(1, 41)}
    for application in instances:
        await close(application)


async def test_a_value_that_cannot_be_saved_takes_all_back() -> None:
    """Unlike an update, of which the rest is kept: nobody would send the block again."""
    persistence = memory_persistence()
    application = built(persistence)
    application.bot_data["was bad before"] = lambda: None
    await deliver(application, message(user=1))
    before = await stored(persistence)
    with pytest.raises(SerializationError):  # noqa: PT012 - the block is the test
        async with committed(application, users=[1]) as state:
            state.user_data[1]["good"] = 1
            state.user_data[1]["bad"] = lambda: None
    assert application.user_data[1] == {"n": 1}
    assert await stored(persistence) == before
    async with committed(application, users=[1]) as state:
        state.user_data[1]["good"] = 1
    assert (await stored(persistence))["users"] == {1: {"n": 1, "good": 1}}
    await close(application)


async def test_a_storage_out_of_reach_leaves_nothing() -> None:
    """The block may be begun again, as a payment's webhook is sent again."""
    persistence = memory_persistence()
    application = built(persistence)
    await deliver(application, message(user=1))
    store = loader_of(persistence).store
    assert isinstance(store, MemoryStore)
    with pytest.raises(StorageError):  # noqa: PT012 - the block is the test
        async with committed(application, users=[1]) as state:
            state.user_data[1]["paid"] = 1
            store.faults = lambda _: Fault.FAIL_BEFORE
    assert application.user_data[1] == {"n": 1}
    store.faults = lambda _: None
    async with committed(application, users=[1]) as state:
        state.user_data[1]["paid"] = state.user_data[1].get("paid", 0) + 1
    assert (await stored(persistence))["users"] == {1: {"n": 1, "paid": 1}}
    await close(application)


async def test_its_time_is_up() -> None:
    """Nothing of it stays, and the next one has its turn."""
    persistence = memory_persistence()
    application = built(persistence)
    with pytest.raises(TimeoutError):  # noqa: PT012 - the block is the test
        async with committed(application, users=[1], timeout=0.3) as state:
            state.user_data[1]["n"] = 5
            await asyncio.Event().wait()
    assert await deliver(application, message(user=1))
    assert (await stored(persistence))["users"] == {1: {"n": 1}}
    await close(application)


async def test_called_by_a_handler_of_deliver_it_says_so() -> None:
    """It would wait for the turn of the update that it is in. A task of its own may wait."""
    persistence = memory_persistence()
    heard: list[str] = []
    later: list[asyncio.Task[None]] = []

    async def pay(application: App) -> None:
        async with committed(application, users=[7]) as state:
            state.user_data[7]["paid"] = True

    async def nested(_: Any, context: Any) -> None:
        try:
            await pay(context.application)
        except RuntimeError as error:
            heard.append(str(error))
        later.append(asyncio.create_task(pay(context.application)))

    application = built(persistence, handler=nested)
    async with asyncio.timeout(5):
        await deliver(application, message(user=1))
        await later[0]
    assert len(heard) == 1
    assert "deliver" in heard[0]
    assert (await stored(persistence))["users"] == {7: {"paid": True}}
    with pytest.raises(RuntimeError, match="in the middle"):
        async with committed(application):
            await deliver(application, message(user=1))
    await close(application)


@pytest.mark.parametrize("given", [{"users": 5}, {"users": ["5"]}, {"chats": [True]}])
async def test_ids_are_whole_numbers(given: Any) -> None:
    """Before anything is read."""
    application = built(memory_persistence())
    with pytest.raises(SettingsError, match="are ids"):
        async with committed(application, **given):
            pass


# Beside an application that runs ------------------------------------------------------------------


async def running(persistence: Memory, **options: Any) -> App:
    application = built(persistence, **options)
    await application.initialize()
    await application.start()
    return application


async def end(application: App) -> None:
    await application.stop()
    await application.shutdown()


@pytest.mark.parametrize("plain", [False, True])
async def test_beside_handlers_it_is_committed_at_once(*, plain: bool) -> None:
    """Its objects are those that handlers have; `post_init` is not called a second time."""
    persistence = memory_persistence(load=load_of(plain=plain))
    application = await running(persistence, plain=plain)

    async def again(_: App) -> None:
        raise AssertionError

    application.post_init = again
    await say(application, "hello")
    async with committed(application, users=[1], chats=[1]) as state:
        assert state.user_data[1] is application.user_data[1]
        state.user_data[1]["paid"] = True
        state.job_queue.run_once(remind, 3600, name="thank")
    after = await stored(persistence)
    assert after["users"][1]["paid"] is True
    assert after["jobs"] == ["thank"]
    await end(application)


async def test_beside_handlers_an_exception_takes_back_its_own() -> None:
    """And not what handlers have changed elsewhere meanwhile, saved or not."""
    persistence = memory_persistence()
    application = await running(persistence)
    await say(application, "hello", user=1)
    before, begun = dict(application.bot_data), asyncio.Event()

    async def others() -> None:
        await begun.wait()
        application.user_data[3]["n"] = 1
        application.mark_data_for_update_persistence(user_ids=3)
        application.job_queue.run_once(remind, 3600, name="of others")

    task = asyncio.create_task(others())
    with pytest.raises(ZeroDivisionError):  # noqa: PT012 - the block is the test
        async with committed(application, users=[1]) as state:
            state.user_data[1]["paid"] = True
            state.bot_data["paid"] = True
            state.job_queue.run_once(remind, 3600, name="thank")
            begun.set()
            await task
            _ = 1 / 0
    assert application.user_data[1] == {"n": 1}
    assert application.bot_data == before
    assert application.user_data[3] == {"n": 1}
    await application.update_persistence()
    after = await stored(persistence)
    assert after["users"] == {1: {"n": 1}, 3: {"n": 1}}
    assert after["jobs"] == ["of others"]
    await end(application)


async def test_beside_handlers_of_ptbs_own_application_a_job_alone_is_committed() -> None:
    """Its save would make no commit of that, where the bot's data is not saved."""
    persistence = memory_persistence(
        load=load_of(plain=True), store_data=PersistenceInput(bot_data=False)
    )
    application = await running(persistence, plain=True)
    async with committed(application) as state:
        state.job_queue.run_once(remind, 3600, name="thank")
    assert (await stored(persistence))["jobs"] == ["thank"]
    await end(application)


async def test_a_task_that_outlives_its_block_may_begin_another() -> None:
    """It has no turn any more, though it was made by whoever had it."""
    persistence = memory_persistence()
    application, over = await running(persistence), asyncio.Event()

    async def pay() -> None:
        await over.wait()
        async with committed(application, users=[7]) as state:
            state.user_data[7]["paid"] = True

    async with committed(application):
        task = application.create_task(pay())
    over.set()
    await task
    assert (await stored(persistence))["users"] == {7: {"paid": True}}
    await end(application)
