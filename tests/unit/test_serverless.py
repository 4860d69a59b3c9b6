"""One call for each update: fresh, processed, durable; on any loop, after anything."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, cast

import pytest
from telegram.error import TelegramError
from telegram.ext import ApplicationBuilder, CommandHandler, MessageHandler, filters
from tests.support import make_persistence
from tests.support.bots import TOKEN, App, asking
from tests.support.deliveries import application, calls_of, count, message, users

from ptb_s3._storage.faults import Fault
from ptb_s3._storage.memory import MemoryStore
from ptb_s3.errors import (
    SettingsError,
    StorageUnavailableError,
    UpdateFormatError,
)
from ptb_s3.serverless import begin, close, deliver


@pytest.mark.parametrize("sync", ["auto", 0])
@pytest.mark.parametrize("plain", [False, True])
async def test_a_warm_invocation_is_one_conditional_get_and_one_put(
    plain: bool,  # noqa: FBT001 - a case
    sync: Any,
) -> None:
    """Whichever class the application is of, and however often it is to look; it is durable."""
    store = MemoryStore()
    app = application(store, plain=plain, sync=sync)
    for _ in range(3):
        assert await deliver(app, message())
    before = len(store.calls)
    assert await deliver(app, message())
    assert calls_of(store, before) == [("get", "head"), ("put", "head")]
    assert await users(store) == {1: {"n": 4}}


async def test_an_update_delivered_twice_is_processed_once() -> None:
    """Telegram sends again what it got no answer to: here, and where nothing is in memory."""
    store = MemoryStore()
    app = application(store)
    update = message()
    assert await deliver(app, update)
    assert not await deliver(app, update)
    assert not await deliver(application(store), update)
    assert await users(store) == {1: {"n": 1}}


async def test_an_update_is_known_again_after_many_others() -> None:
    """Ids come one after another, so that any number of them is one range."""
    store = MemoryStore()
    app = application(store)
    first = message(number=10_000)
    assert await deliver(app, first)
    repository = (await app.persistence._opened()).repository  # type: ignore[union-attr]
    for number in range(10_001, 12_000):
        repository.note_delivered(number)
    await repository.commit()
    assert await deliver(app, message(number=12_000))
    assert not await deliver(app, first)
    assert not await deliver(application(store), first)


async def test_two_instances_take_turns() -> None:
    """Each sees what the other has committed: counts go on, and nothing is lost."""
    store = MemoryStore()
    apps = [application(store), application(store)]
    for turn in range(10):
        assert await deliver(apps[turn % 2], message(user=1 + turn % 3))
    assert await users(store) == {1: {"n": 4}, 2: {"n": 3}, 3: {"n": 3}}
    assert (await make_persistence(store).get_bot_data()) == {"n": 10}


async def test_a_conversation_goes_on_in_another_instance() -> None:
    """PTB has no hook for conversations: whoever gets the answer has to know the question."""
    store = MemoryStore()
    apps = [application(store, asking("order")), application(store, asking("order"))]
    for app in apps:
        await deliver(app, message("nothing"))
    await deliver(apps[0], message("/start"))
    await deliver(apps[1], message("Alice"))
    assert await make_persistence(store).get_conversations("order") == {(1, 1): 1}
    await deliver(apps[0], message("Berlin"))
    assert await make_persistence(store).get_conversations("order") == {}
    assert all(not app._conversation_handler_conversations["order"] for app in apps[:1])


async def test_the_same_update_in_two_instances_takes_effect_once() -> None:
    """Telegram lost patience and sent it elsewhere: whoever commits second takes its part back."""
    store = MemoryStore()
    slow, fast = application(store), application(store)
    for app in (slow, fast):
        await deliver(app, message(user=9))
    update, process = message(), slow.process_update

    async def overtaken(given: object) -> None:
        await process(given)
        assert await deliver(fast, update)

    slow.process_update = overtaken  # type: ignore[method-assign, assignment]  # the other is quicker
    await deliver(slow, update)
    slow.process_update = process  # type: ignore[method-assign]
    assert (await users(store))[1] == {"n": 1}
    await deliver(slow, message())
    assert (await users(store))[1] == {"n": 2}


@pytest.mark.parametrize("on_conflict", ["retry", "merge"])
async def test_a_storage_that_fails_is_an_error_and_the_retry_commits(on_conflict: Any) -> None:
    """The update is taken back and processed when it is sent again, or kept and committed then."""
    store = MemoryStore()
    app = application(store)
    await deliver(app, message())
    update = message()
    store.faults = lambda call: Fault.FAIL_BEFORE if call.operation == "put" else None
    with pytest.raises(StorageUnavailableError):
        await deliver(app, update, on_conflict=on_conflict)
    store.faults = lambda _: None
    assert await users(store) == {1: {"n": 1}}
    assert app.user_data == {1: {"n": 1 if on_conflict == "retry" else 2}}
    processed = await deliver(app, update, on_conflict=on_conflict)
    assert processed is (on_conflict == "retry")
    assert await users(store) == {1: {"n": 2}}


async def test_what_is_kept_and_was_saved_elsewhere_is_taken_back_first() -> None:
    """What "merge" keeps goes before the next update begins, if another instance was quicker."""
    store = MemoryStore()
    app, other = application(store), application(store)
    for each in (app, other):
        await deliver(each, message(user=9))
    first = message()
    store.faults = lambda call: Fault.FAIL_BEFORE if call.operation == "put" else None
    with pytest.raises(StorageUnavailableError):
        await deliver(app, first, on_conflict="merge")
    store.faults = lambda _: None
    assert await deliver(other, first)
    assert await deliver(app, message())
    assert (await users(store))[1] == {"n": 2}
    assert not await deliver(app, first)


async def test_a_timeout_while_processing_leaves_nothing_half_done() -> None:
    """What handlers had changed when the time was up is taken back; the retry does all of it."""
    store = MemoryStore()
    stuck = asyncio.Event()

    async def hang(update: Any, context: Any) -> None:
        await count(update, context)
        context.application.user_data[7]["touched"] = True
        context.application.mark_data_for_update_persistence(user_ids=7)
        if context.bot_data["n"] == 2:
            await stuck.wait()

    app = application(store, MessageHandler(filters.TEXT, hang))
    await deliver(app, message())
    update = message()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await deliver(app, update)
    assert app.user_data[1] == {"n": 1}
    assert app.bot_data == {"n": 1}
    stuck.set()
    assert await deliver(app, update)
    assert (await users(store))[1] == {"n": 2}


async def test_a_handler_that_ends_well_though_cancelled_is_answered_so() -> None:
    """It had no more time, and did not mind: what it did is committed, once."""
    store = MemoryStore()

    async def insist(update: Any, context: Any) -> None:
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        await count(update, context)

    app = application(store, MessageHandler(filters.TEXT, insist))
    await begin(app)
    body = message()
    assert await deliver(app, body, timeout=0.01)
    assert not await deliver(app, body, timeout=5)
    assert await users(store) == {1: {"n": 1}}


@pytest.mark.parametrize("saved", [True, False])
async def test_a_drop_in_an_update_that_broke_off_is_taken_back(saved: bool) -> None:  # noqa: FBT001 - a case
    """It is part of what the retry does anew: what was there before stays, saved or not."""
    store, stuck = MemoryStore(), asyncio.Event()

    async def drop(update: Any, context: Any) -> None:
        if update.message.text == "drop":
            context.bot_data["had"] = context.user_data["n"]
            context.application.drop_user_data(1)
            await stuck.wait()
        else:
            await count(update, context)

    app = application(store, MessageHandler(filters.TEXT, drop))
    await deliver(app, message())
    store.faults = lambda call: Fault.FAIL_BEFORE if call.operation == "put" else None
    if not saved:
        with pytest.raises(StorageUnavailableError):
            await deliver(app, message(), on_conflict="merge")
    store.faults = lambda _: None
    had = 1 if saved else 2
    update = message("drop")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await deliver(app, update)
    await deliver(app, message(user=2))
    assert await users(store) == {1: {"n": had}, 2: {"n": 1}}
    assert app.user_data[1] == {"n": had}
    stuck.set()
    assert await deliver(app, update)
    assert await make_persistence(store).get_bot_data() == {"n": had + 1, "had": had}
    assert 1 not in await users(store)


async def test_a_timeout_while_committing_loses_nothing() -> None:
    """Cancelled at any await after the update was processed: the retry makes it durable, once."""
    for delay in range(12):
        store = MemoryStore()
        app = application(store)
        await deliver(app, message())
        update, processed = message(), asyncio.Event()
        process = app.process_update

        async def notify(given: object, p: Any = process, e: asyncio.Event = processed) -> None:
            await p(given)
            e.set()

        app.process_update = notify  # type: ignore[method-assign, assignment]  # to know when it is done
        task = asyncio.create_task(deliver(app, update))
        await processed.wait()
        for _ in range(delay):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        app.process_update = process  # type: ignore[method-assign]
        await deliver(app, update)
        assert await users(store) == {1: {"n": 2}}, delay


def test_every_invocation_may_have_a_loop_of_its_own() -> None:
    """`asyncio.run` each time: nothing is left that belongs to a loop that is closed."""
    store = MemoryStore()
    app = application(store)
    for number in range(1, 6):
        asyncio.run(deliver(app, message()))
        assert asyncio.run(users(store)) == {1: {"n": number}}


def test_a_run_that_ends_in_a_timeout_is_made_up_for_by_the_next() -> None:
    """The loop is gone together with the tasks that it ran; the retry has another one."""
    store = MemoryStore()

    async def hang(update: Any, context: Any) -> None:
        await count(update, context)
        if context.bot_data["n"] == 2 and not context.bot_data.get("calm"):
            await asyncio.sleep(60)

    async def impatient(app: App, update: str) -> None:
        async with asyncio.timeout(0.01):
            await deliver(app, update)

    app = application(store, MessageHandler(filters.TEXT, hang))
    asyncio.run(deliver(app, message()))
    update = message()
    with pytest.raises(TimeoutError):
        asyncio.run(impatient(app, update))
    app.bot_data["calm"] = True
    assert asyncio.run(deliver(app, update))
    assert asyncio.run(users(store)) == {1: {"n": 2}}


@pytest.mark.parametrize("plain", [False, True])
def test_a_loop_that_is_gone_holds_no_lock(plain: bool) -> None:  # noqa: FBT001 - a case
    """Closed in the middle of a save, with nobody told: the next call has a loop of its own."""
    store = MemoryStore()
    app = application(store, plain=plain)
    assert asyncio.run(deliver(app, message()))
    put, body = store.put, message()

    async def hang(*_: Any, **__: Any) -> Any:
        await asyncio.Event().wait()

    async def begin_to_save() -> asyncio.Task[bool]:
        store.put = hang  # type: ignore[method-assign]  # a storage that has gone silent
        call = asyncio.create_task(deliver(app, body))
        await asyncio.sleep(0.05)
        return call

    loop = asyncio.new_event_loop()
    call: Any = loop.run_until_complete(begin_to_save())
    for task in asyncio.all_tasks(loop):
        cast("Any", task)._log_destroy_pending = False
    loop.close()
    store.put = put  # type: ignore[method-assign]
    assert asyncio.run(asyncio.wait_for(deliver(app, body), 5))
    assert asyncio.run(users(store)) == {1: {"n": 2}}
    assert not call.done()


def test_threads_take_their_turn() -> None:
    """As in a web server that has a thread for each request, each with a loop of its own."""
    store = MemoryStore()

    async def count_slowly(update: Any, context: Any) -> None:
        seen = context.bot_data.get("n", 0)
        await asyncio.sleep(0.005)
        context.bot_data["n"] = seen + 1
        context.user_data[update.message.text] = True

    app = application(store, MessageHandler(filters.TEXT, count_slowly))
    bodies = [message(str(number)) for number in range(8)]
    with ThreadPoolExecutor(len(bodies)) as threads:
        assert all(threads.map(lambda body: asyncio.run(deliver(app, body)), bodies))
    assert app.bot_data == asyncio.run(make_persistence(store).get_bot_data()) == {"n": 8}
    assert len(asyncio.run(users(store))[1]) == 8


async def test_handlers_that_do_not_block_are_waited_for() -> None:
    """The effects of `block=False` belong to the update, too."""
    store = MemoryStore()

    async def later(update: Any, context: Any) -> None:
        await asyncio.sleep(0.01)
        await count(update, context)

    app = application(store, MessageHandler(filters.TEXT, later, block=False))
    await deliver(app, message())
    assert await users(store) == {1: {"n": 1}}


async def test_tasks_of_another_application_are_its_own() -> None:
    """Two bots in one process: what is taken back for one ends nothing of the other's."""
    store, go = MemoryStore(), asyncio.Event()

    async def wait(_: Any, context: Any) -> None:
        await go.wait()
        context.bot_data["done"] = True

    one = application(store, MessageHandler(filters.TEXT, wait, block=False))
    other = application(MemoryStore(), MessageHandler(filters.TEXT, wait, block=False))
    await asyncio.gather(begin(one), begin(other))
    call = asyncio.create_task(deliver(one, message()))
    with pytest.raises(TimeoutError):
        await deliver(other, message(), timeout=0.01)
    go.set()
    assert await call
    assert one.bot_data == await make_persistence(store).get_bot_data() == {"done": True}


async def test_a_handler_may_deliver_another_update() -> None:
    """A task that waits for its turn is not waited for by whoever has it."""
    store, tasks = MemoryStore(), list[asyncio.Task[bool]]()

    async def forward(update: Any, context: Any) -> None:
        await count(update, context)
        if not tasks:
            tasks.append(asyncio.create_task(deliver(context.application, message(user=2))))
            await asyncio.sleep(0)

    app = application(store, MessageHandler(filters.TEXT, forward))
    async with asyncio.timeout(5):
        assert await deliver(app, message())
        assert await tasks[0]
    assert await users(store) == {1: {"n": 1}, 2: {"n": 1}}


async def test_close_does_not_wait_for_ever() -> None:
    """A storage that has gone silent: `flush_timeout` is what it may cost."""
    store = MemoryStore()
    app = application(store, flush_timeout=0.05)
    await deliver(app, message())
    app.bot_data["late"] = True

    async def hang(*_: Any, **__: Any) -> Any:
        await asyncio.Event().wait()

    store.put = hang  # type: ignore[method-assign]  # a storage that has gone silent
    async with asyncio.timeout(5):
        with pytest.raises(StorageUnavailableError, match="flush_timeout"):
            await close(app)


async def test_close_does_not_wait_for_connections_either() -> None:
    """All is saved, and a peer that never answers is left alone."""
    store = MemoryStore()
    app = application(store, flush_timeout=0.05)
    await deliver(app, message())

    async def hang() -> None:
        await asyncio.Event().wait()

    store.close = hang  # type: ignore[method-assign]  # such a peer
    async with asyncio.timeout(5):
        await close(app)


async def test_begin_loads_the_state_ahead_of_the_first_update() -> None:
    """A start that cannot read its state fails there; one that can has nothing left to load."""
    store = MemoryStore(faults=lambda _: Fault.FAIL_BEFORE)
    app = application(store)
    with pytest.raises(StorageUnavailableError):
        await begin(app)
    store.faults = lambda _: None
    await begin(app)
    await begin(app)
    before = len(store.calls)
    assert await deliver(app, message())
    assert ("get", "user_data") not in calls_of(store, before)


async def test_a_post_init_that_failed_is_called_again() -> None:
    """No update meets an application that is half set up."""
    store, tries = MemoryStore(), list[int]()

    async def set_up(app: App) -> None:
        tries.append(len(tries))
        if len(tries) < 3:
            raise TelegramError("no answer")
        app.bot_data["n"] = 10

    app = application(store)
    app.post_init = set_up
    with pytest.raises(TelegramError):
        await begin(app)
    with pytest.raises(TelegramError):
        await deliver(app, message())
    assert await deliver(app, message())
    assert await deliver(app, message())
    assert await make_persistence(store).get_bot_data() == {"n": 12}
    assert tries == [0, 1, 2]


async def test_calls_at_once_take_their_turn() -> None:
    """A web server calls as requests come: each update is whole, and none is lost."""
    store = MemoryStore()
    app = application(store)
    assert all(await asyncio.gather(*(deliver(app, message()) for _ in range(8))))
    assert await users(store) == {1: {"n": 8}}


async def test_close_saves_and_a_later_call_begins_anew() -> None:
    """SIGTERM, and then perhaps a call that was on its way."""
    store = MemoryStore()
    app = application(store)
    await deliver(app, message())
    await close(app)
    await close(app)
    assert await deliver(app, message())
    assert await users(store) == {1: {"n": 2}}


@pytest.mark.parametrize("plain", [False, True])
async def test_who_was_dropped_while_it_was_closed_is_gone(plain: bool) -> None:  # noqa: FBT001 - a case
    """Begun anew, an application has nothing of its earlier life, conversations included."""
    store = MemoryStore()

    async def drop(_: Any, context: Any) -> None:
        context.application.drop_user_data(1)
        context.application.drop_chat_data(1)

    rest = MessageHandler(filters.TEXT & ~filters.COMMAND, count), CommandHandler("drop", drop)
    app, other = (application(store, asking("visit"), *rest, plain=plain) for _ in range(2))
    for text in ("/start", "Ann"):
        await deliver(app, message(text))
    await close(app)
    await deliver(other, message("Graz"))
    await deliver(other, message("/drop", user=2))
    assert await deliver(app, message("late", user=3))
    assert set(app.user_data) == set(await users(store)) == {2, 3}
    assert set(app.chat_data) == {2, 3}
    assert await make_persistence(store).get_conversations("visit") == {}
    assert await deliver(app, message("late"))
    assert (await users(store))[1] == {"n": 1}


@pytest.mark.parametrize(
    "body",
    [
        *("", "nonsense", "[]", "[" * 5000, "{}"),
        *(f'{{"update_id": {number}}}' for number in ('"1"', "true", "-1", str(2**64))),
        '{"update_id": 1, "message": 5}',
    ],
)
async def test_what_is_no_update_is_refused(body: str) -> None:
    """An error that says so, and no commit."""
    store = MemoryStore()
    with pytest.raises(UpdateFormatError, match=r"[Uu]pdate"):
        await deliver(application(store), body)
    assert store.current() == {}


async def test_an_application_without_our_persistence_is_refused() -> None:
    """It would be no use: nothing would be durable."""
    app = ApplicationBuilder().token(TOKEN).build()
    with pytest.raises(SettingsError, match="has no S3Persistence"):
        await deliver(app, message())


async def test_an_update_that_comes_before_a_close_finds_all_there_is() -> None:
    """`close` waits for its turn, and only then is there anything to begin anew."""
    store = MemoryStore()
    app = application(store)
    await deliver(app, message(user=1))
    first = asyncio.create_task(deliver(app, message(user=2)))
    await asyncio.sleep(0)
    closing = asyncio.create_task(close(app))
    second = asyncio.create_task(deliver(app, message(user=1)))
    await asyncio.gather(first, closing, second)
    await deliver(app, message(user=1))
    assert await users(store) == {1: {"n": 3}, 2: {"n": 1}}
