"""In `deliver`, an update is the transaction: all of it is committed once, or none of it stays."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from itertools import count as numbers
from typing import Any

import pytest
from telegram import InlineKeyboardButton, InlineKeyboardMarkup
from telegram.error import TelegramError
from telegram.ext import (
    CallbackQueryHandler,
    CommandHandler,
    ContextTypes,
    ConversationHandler,
    MessageHandler,
    filters,
)
from tests.support import StoreAround, make_persistence
from tests.support.bots import App, asking, gather_errors
from tests.support.deliveries import application, count, message, press, users

from ptb_s3._format.entities import Kind
from ptb_s3._ptb import time_limit
from ptb_s3._storage.body import Body, joined
from ptb_s3._storage.contract import Written
from ptb_s3._storage.faults import Fault
from ptb_s3._storage.memory import MemoryStore
from ptb_s3.errors import (
    ConflictError,
    SerializationError,
    SettingsError,
    StorageUnavailableError,
)
from ptb_s3.serverless import begin, close, deliver

Meanwhile = Callable[[], Awaitable[object]]


async def bot_data(store: MemoryStore) -> Any:
    return await make_persistence(store).get_bot_data()


async def started(*apps: App) -> None:
    """Have all of them in the middle of their life, and know of each other's last commit."""
    for app in (*apps, *apps):
        await deliver(app, message(user=99))


def meanwhile(app: App, happening: Meanwhile, *, times: int = 1) -> None:
    """Have something happen between the processing of an update and its commit."""
    process, left = app.process_update, iter(range(times))

    async def then(given: object) -> None:
        await process(given)
        if next(left, None) is not None:
            await happening()

    app.process_update = then  # type: ignore[method-assign, assignment]  # a moment for the test


def is_clean(app: App) -> bool:
    """Tell whether nothing is left to be saved."""
    commits = app.persistence._commits  # type: ignore[union-attr]
    assert commits is not None
    marks = (
        app._user_ids_to_be_updated_in_persistence,
        app._user_ids_to_be_deleted_in_persistence,
        app._chat_ids_to_be_updated_in_persistence,
        *(c._write_access_keys for c in app._conversation_handler_conversations.values()),
    )
    repository = commits.repository
    return not any(marks) and not repository.dirty and not repository.transactional


# Counts -------------------------------------------------------------------------------------------


async def test_what_several_instances_count_at_once_is_counted() -> None:
    """Every update that is answered counts once, though all of them change one number."""
    store = MemoryStore()
    apps = [application(store) for _ in range(4)]
    for app in apps:
        await begin(app)
    updates = [message(user=1 + number % 3) for number in range(24)]
    calls = (deliver(apps[n % 4], update) for n, update in enumerate(updates))
    assert all(await asyncio.gather(*calls))
    assert await bot_data(store) == {"n": 24}
    assert sum(data["n"] for data in (await users(store)).values()) == 24
    assert all(map(is_clean, apps))
    stats = [app.persistence.stats for app in apps]  # type: ignore[union-attr]
    assert sum(s.overridden for s in stats) == 0


@pytest.mark.parametrize("plain", [False, True])
async def test_an_update_that_was_overtaken_is_processed_again_on_theirs(plain: bool) -> None:  # noqa: FBT001 - a case
    """Both made it the same value, which is two changes; no error handler hears of that."""
    store = MemoryStore()
    app, other = application(store, plain=plain), application(store)
    errors = gather_errors(app)
    await started(app, other)
    meanwhile(app, lambda: deliver(other, message(user=2)))
    assert await deliver(app, message(user=1))
    assert await bot_data(store) == {"n": 6} == app.bot_data
    assert (await users(store))[1] == {"n": 1} == app.user_data[1]
    assert errors == []
    assert is_clean(app)


async def test_two_fields_of_one_entity_are_no_conflict() -> None:
    """What fields settle is not processed twice."""
    store, runs = MemoryStore(), list[str]()

    async def note(update: Any, context: Any) -> None:
        runs.append(update.message.text)
        context.bot_data[update.message.text] = True

    handler = MessageHandler(filters.TEXT, note)
    app, other = application(store, handler), application(store, handler)
    await started(app, other)
    runs.clear()
    meanwhile(app, lambda: deliver(other, message("theirs")))
    assert await deliver(app, message("ours"))
    assert runs == ["ours", "theirs"]
    assert await bot_data(store) == {"hello": True, "ours": True, "theirs": True}


async def test_merge_settles_and_is_no_conflict() -> None:
    """Where ``merge=`` knows what to do, nothing is processed twice."""
    store, runs = MemoryStore(), list[int]()

    async def add(update: Any, context: Any) -> None:
        runs.append(update.update_id)
        await count(update, context)

    def add_up(_: str, __: object, base: Any, ours: Any, theirs: Any) -> Any:
        return {"n": ours["n"] + theirs["n"] - (base or {"n": 0})["n"]}

    handler = MessageHandler(filters.TEXT, add)
    apps = [application(store, handler, merge=add_up) for _ in range(2)]
    await started(*apps)
    runs.clear()
    meanwhile(apps[0], lambda: deliver(apps[1], message(user=2)))
    assert await deliver(apps[0], message(user=1))
    assert await bot_data(store) == {"n": 6}
    assert len(runs) == 2


async def test_handlers_that_must_not_run_twice_do_not() -> None:
    """With ``on_conflict="merge"``, ours wins."""
    store, runs = MemoryStore(), list[int]()

    async def note(update: Any, context: Any) -> None:
        runs.append(update.update_id)
        await count(update, context)

    app, other = application(store, MessageHandler(filters.TEXT, note)), application(store)
    await started(app, other)
    runs.clear()
    meanwhile(app, lambda: deliver(other, message(user=2)))
    assert await deliver(app, message(user=1), on_conflict="merge")
    assert len(runs) == 1
    assert await bot_data(store) == {"n": 5}
    with pytest.raises(SettingsError, match='give "retry" or "merge"'):
        await deliver(app, message(), on_conflict="ours")  # type: ignore[arg-type]


# What is taken back -------------------------------------------------------------------------------


async def test_everything_that_an_update_changed_is_taken_back() -> None:
    """Users, chats, others that it marked, drops, the bot's data, conversations, and buttons."""
    store = MemoryStore()

    async def everything(update: Any, context: Any) -> None:
        await count(update, context)
        app = context.application
        app.user_data[99]["touched"] = app.user_data[99].get("touched", 0) + 1
        app.mark_data_for_update_persistence(user_ids=99)
        app.drop_chat_data(99)
        button = InlineKeyboardButton("Press", callback_data=("data", context.bot_data["n"]))
        await context.bot.send_message(1, "Hi", reply_markup=InlineKeyboardMarkup([[button]]))

    handlers = (asking("order"), MessageHandler(filters.TEXT, everything))
    apps = [application(store, *handlers, buttons=True) for _ in range(2)]
    for each in apps:
        await deliver(each, message(user=99))
    app, other = apps
    await deliver(app, message(user=99))
    before = await _all(store)

    async def fail() -> None:
        store.faults = lambda call: Fault.FAIL_BEFORE if call.operation == "put" else None

    meanwhile(app, fail)
    with pytest.raises(StorageUnavailableError):
        await deliver(app, message("/start", user=1))
    store.faults = lambda _: None
    assert is_clean(app)
    live = (app.user_data, app.chat_data, app.bot_data)
    assert tuple(map(dict, live)) == before[:3]
    assert not app._conversation_handler_conversations["order"]
    cache = app.bot.callback_data_cache
    assert cache is not None
    assert [keyboard[2] for keyboard in cache.persistence_data[0]] == before[3]
    assert await deliver(other, message("nothing", user=2))
    assert await deliver(app, message("/start", user=1))
    _, _, data, buttons, states = await _all(store)
    assert (data["n"], len(buttons), states) == (5, 5, {(1, 1): 0})


async def _all(store: MemoryStore) -> tuple[Any, ...]:
    persistence = make_persistence(store)
    keyboards = await persistence.get_callback_data() or ([], {})
    return (
        await persistence.get_user_data(),
        await persistence.get_chat_data(),
        await persistence.get_bot_data(),
        [keyboard[2] for keyboard in keyboards[0]],
        await persistence.get_conversations("order"),
    )


class Basket(list[str]):
    """A user's data that is no dictionary."""


class Shop:
    """A bot's data with something that its attributes do not show."""

    __slots__ = ("__hidden", "n")

    def __init__(self) -> None:
        self.n, self.__hidden = 0, [0]

    def __eq__(self, other: object) -> bool:
        return True  # as good as any other, it says

    def __hash__(self) -> int:
        return 1

    def sell(self) -> None:
        self.n += 1
        self.__hidden.append(self.n)

    @property
    def sold(self) -> tuple[int, list[int]]:
        return self.n, self.__hidden


async def test_objects_of_ones_own_are_taken_back() -> None:
    """Whatever they are made of, and whatever they hold to be the same."""
    store = MemoryStore()
    types: Any = ContextTypes(user_data=Basket, bot_data=Shop)

    async def sell(update: Any, context: Any) -> None:
        context.user_data.append(update.message.text)
        context.bot_data.sell()

    handler = MessageHandler(filters.TEXT, sell)
    options: Any = {"context_types": types, "trusted": (__name__,)}
    app, other = (application(store, handler, **options) for _ in range(2))
    await deliver(app, message("tea"))
    meanwhile(app, lambda: deliver(other, message("milk", user=2)))
    assert await deliver(app, message("bread"))
    store.faults = lambda call: Fault.FAIL_BEFORE if call.operation == "put" else None
    with pytest.raises(StorageUnavailableError):
        await deliver(app, message("lost"))
    store.faults = lambda _: None
    assert app.bot_data.sold == (3, [0, 1, 2, 3])
    assert app.user_data == {1: ["tea", "bread"], 2: ["milk"]}
    loaded = make_persistence(store, **options)
    assert await loaded.get_user_data() == app.user_data
    assert (await loaded.get_bot_data()).sold == app.bot_data.sold


async def test_the_leftovers_of_a_failed_update_go_with_no_other() -> None:
    """Neither its effects nor its id: sent again, it is processed, by whoever gets it."""
    store = MemoryStore()
    app = application(store)
    await started(app)
    lost = message(user=1)
    store.faults = lambda call: Fault.FAIL_BEFORE if call.operation == "put" else None
    with pytest.raises(StorageUnavailableError):
        await deliver(app, lost)
    store.faults = lambda _: None
    assert await deliver(app, message(user=2))
    assert (await users(store)).keys() == {99, 2}
    assert await deliver(application(store), lost)
    assert await bot_data(store) == {"n": 4}


async def test_a_failed_update_whose_commit_arrives_late_counts_once() -> None:
    """What was processed meanwhile, without it, goes on top of it and not over it."""
    store = MemoryStore()
    late = Late(store)
    app = application(late)
    await started(app)
    late.withhold = True
    first, second = message(user=1), message(user=2)
    with pytest.raises(StorageUnavailableError):
        await deliver(app, first)
    late.withhold = False
    meanwhile(app, late.arrive)
    assert await deliver(app, second)
    assert not await deliver(app, first)
    assert await bot_data(store) == {"n": 4}
    assert await users(store) == {99: {"n": 2}, 1: {"n": 1}, 2: {"n": 1}}


class Late(StoreAround):
    """A storage behind a network that keeps a PUT, says that it failed, and delivers it later."""

    def __init__(self, store: MemoryStore) -> None:
        super().__init__(store)
        self.withhold = False
        self._kept: list[tuple[str, bytes, str | None]] = []

    async def put(self, name: str, body: bytes | Body, *, if_match: str | None) -> Written:
        if self.withhold:
            self._kept.append((name, joined(body), if_match))
            raise StorageUnavailableError("No answer.")
        return await self.store.put(name, body, if_match=if_match)

    async def arrive(self) -> None:
        name, body, if_match = self._kept[0]
        await self.store.put(name, body, if_match=if_match)


async def test_a_button_that_was_pressed_has_its_data_each_time() -> None:
    """PTB puts the data in the place of what Telegram sent, so it takes a new update each time."""
    store, seen = MemoryStore(), list[object]()

    async def send(_: object, context: Any) -> None:
        button = InlineKeyboardButton("Press", callback_data=["tea", 2])
        await context.bot.send_message(1, "Hi", reply_markup=InlineKeyboardMarkup([[button]]))

    async def pressed(update: Any, context: Any) -> None:
        seen.append(update.callback_query.data)
        context.bot_data["n"] = context.bot_data.get("n", 0) + 1

    handlers = (MessageHandler(filters.TEXT, send), CallbackQueryHandler(pressed))
    app, other = (application(store, *handlers, buttons=True) for _ in range(2))
    await deliver(app, message())
    button = app.bot.callback_data_cache.persistence_data[0][0]  # type: ignore[union-attr]
    uuid, (name,) = button[0], button[2]
    meanwhile(app, lambda: deliver(other, press(uuid + name, user=2)))
    assert await deliver(app, press(uuid + name, user=1))
    assert seen == [["tea", 2]] * 3
    assert await bot_data(store) == {"n": 2}


async def test_a_conversation_kept_in_memory_is_where_it_was() -> None:
    """A step that is processed again begins from the same state, persistent or not."""
    store, steps = MemoryStore(), list[str]()

    def step(name: str, to: int) -> Any:
        async def go(_: object, context: Any) -> int:
            steps.append(name)
            context.bot_data["n"] = context.bot_data.get("n", 0) + 1
            return to

        return go

    def handler() -> Any:
        return ConversationHandler(
            [CommandHandler("start", step("start", 0))],
            {
                0: [MessageHandler(filters.TEXT, step("first", 1))],
                1: [MessageHandler(filters.TEXT, step("second", ConversationHandler.END))],
            },
            [],
        )

    app, other = application(store, handler()), application(store, handler())
    for each, user in ((app, 1), (other, 2), (app, 3)):
        await deliver(each, message("/start", user=user))
    steps.clear()
    meanwhile(app, lambda: deliver(other, message(user=2)))
    await deliver(app, message(user=1))
    await deliver(app, message(user=1))
    assert steps == ["first"] * 3 + ["second"]


async def test_what_others_have_changed_outside_of_updates_is_not_taken_back() -> None:
    """What `post_init` and other code of the process have changed is saved before an update."""
    store = MemoryStore()

    async def post_init(app: App) -> None:
        app.bot_data["config"] = "set"

    app, other = application(store), application(store)
    app.post_init = post_init
    meanwhile(app, lambda: deliver(other, message(user=2)), times=2)
    assert await deliver(app, message())
    app.user_data[5]["by"] = "hand"
    app.mark_data_for_update_persistence(user_ids=5)
    app.bot_data["later"] = True
    assert await deliver(app, message())
    assert await bot_data(store) == {"config": "set", "later": True, "n": 4}
    assert (await users(store))[5] == {"by": "hand"}


# Time ---------------------------------------------------------------------------------------------


async def test_it_raises_when_others_are_first_until_the_time_is_up() -> None:
    """Nothing of the update stays, and it is processed when it is sent again."""
    store = MemoryStore()
    app, other = application(store), application(store)
    await started(app, other)
    user = numbers(1000)
    meanwhile(app, lambda: deliver(other, message(user=next(user))), times=10**6)
    update = message(user=1)
    with pytest.raises(ConflictError, match="other instances have changed first"):
        await deliver(app, update, timeout=0.3)
    assert is_clean(app)
    assert 1 not in await users(store)
    assert await deliver(other, update)
    others = (await bot_data(store))["n"] - 1
    assert others == sum(data["n"] for key, data in (await users(store)).items() if key != 1)
    assert app.user_data.get(1) in (None, {})


class Hanging(StoreAround):
    """A storage whose PUTs do not end, whether they take effect or not."""

    def __init__(self, store: MemoryStore) -> None:
        super().__init__(store)
        self.hangs = False
        self.carries_out = False

    async def put(self, name: str, body: bytes | Body, *, if_match: str | None) -> Written:
        if not self.hangs:
            return await self.store.put(name, body, if_match=if_match)
        if self.carries_out:
            await self.store.put(name, body, if_match=if_match)
        await asyncio.Event().wait()
        raise AssertionError("it never comes to that")


@pytest.mark.parametrize("by_host", [False, True])
@pytest.mark.parametrize("carries_out", [False, True])
@pytest.mark.parametrize("on_conflict", ["retry", "merge"])
async def test_a_commit_that_hangs_is_not_built_upon(
    by_host: bool,  # noqa: FBT001 - a case
    carries_out: bool,  # noqa: FBT001 - a case
    on_conflict: Any,
) -> None:
    """Ten counts acknowledged are ten saved, though every other PUT hangs until the time is up."""
    store = MemoryStore()
    hanging = Hanging(store)
    hanging.carries_out = carries_out
    app, other = application(hanging), application(store)
    for _ in range(5):
        assert await deliver(app, message())
        hanging.hangs = True
        update = message()
        call = deliver(app, update, on_conflict=on_conflict, timeout=None if by_host else 0.05)
        with pytest.raises(TimeoutError if by_host else StorageUnavailableError):
            await asyncio.wait_for(call, 0.05 if by_host else 5)
        hanging.hangs = False
        assert await deliver(other, message(user=2))
        await deliver(app, update, on_conflict=on_conflict)
    assert await users(store) == {1: {"n": 10}, 2: {"n": 5}}
    if on_conflict == "retry":
        assert await bot_data(store) == {"n": 15}


async def test_a_commit_that_is_under_way_is_waited_for() -> None:
    """Of other code of the process: a look that did not wait for it would find an older state."""
    store, runs = MemoryStore(), list[int]()
    slow = Slow(store)

    async def note(update: Any, context: Any) -> None:
        runs.append(update.update_id)
        await count(update, context)

    app = application(slow, MessageHandler(filters.TEXT, note))
    other = application(store)
    await started(app, other)
    runs.clear()
    slow.may_go_on.clear()
    saving = asyncio.create_task(app.persistence.update_user_data(5, {"by": "hand"}))  # type: ignore[union-attr]
    await slow.reached.wait()
    assert await deliver(other, message(user=2))
    delivering = asyncio.create_task(deliver(app, message()))
    for _ in range(200):
        await asyncio.sleep(0)
    slow.may_go_on.set()
    assert await delivering
    await saving
    assert len(runs) == 1
    assert await bot_data(store) == {"n": 6}
    assert (await users(store))[5] == {"by": "hand"}


class Slow(StoreAround):
    """A storage that waits with PUTs until it may go on."""

    def __init__(self, store: MemoryStore) -> None:
        super().__init__(store)
        self.reached = asyncio.Event()
        self.may_go_on = asyncio.Event()
        self.may_go_on.set()

    async def put(self, name: str, body: bytes | Body, *, if_match: str | None) -> Written:
        if not self.may_go_on.is_set():
            self.reached.set()
        await self.may_go_on.wait()
        return await self.store.put(name, body, if_match=if_match)


@pytest.mark.parametrize("plain", [False, True])
async def test_cut_short_at_any_moment_it_is_taken_back_or_committed(plain: bool) -> None:  # noqa: FBT001 - a case
    """Before anything was handed over, too: others that were marked, drops, and conversations."""

    async def touch(update: Any, context: Any) -> None:
        await count(update, context)
        data = context.application.user_data
        data[7]["n"] = data[7].get("n", 0) + 1
        context.application.mark_data_for_update_persistence(user_ids=7)

    for ticks in range(16):
        store = MemoryStore()
        app = application(store, MessageHandler(filters.TEXT, touch), asking("order"), plain=plain)
        await deliver(app, message())
        processed = asyncio.Event()

        async def note(event: asyncio.Event = processed) -> None:
            event.set()

        update = message("/start")
        meanwhile(app, note)
        task = asyncio.create_task(deliver(app, update))
        await processed.wait()
        for _ in range(ticks):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        assert is_clean(app)
        assert await deliver(app, message(user=2))
        await deliver(app, update)
        assert await users(store) == {1: {"n": 2}, 2: {"n": 1}, 7: {"n": 3}}, ticks
        assert app.user_data == await users(store)
        assert await make_persistence(store).get_conversations("order") == {(1, 1): 0}
        assert app._conversation_handler_conversations["order"].data == {(1, 1): 0}


async def test_by_default_the_time_of_handlers_does_not_count(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A handler may take long, and a storage that hangs may not."""
    monkeypatch.setattr(time_limit, "PATIENCE", 0.3)
    store = MemoryStore()
    hanging = Hanging(store)

    async def slow(update: Any, context: Any) -> None:
        await asyncio.sleep(0.4)
        await count(update, context)

    app = application(hanging, MessageHandler(filters.TEXT, slow))
    assert await deliver(app, message())
    hanging.hangs = True
    async with asyncio.timeout(5):
        with pytest.raises(StorageUnavailableError, match="left update"):
            await deliver(app, message())


async def test_tasks_of_an_update_that_is_taken_back_end_with_it() -> None:
    """What was not awaited (`block=False`) changes nothing afterwards, when others have begun."""
    store = MemoryStore()

    async def later(update: Any, context: Any) -> None:
        if update.message.text == "slow":
            await asyncio.sleep(0.1)
        await count(update, context)

    app = application(store, MessageHandler(filters.TEXT, later, block=False))
    await deliver(app, message())
    with pytest.raises(TimeoutError):
        await deliver(app, message("slow"), timeout=0.02)
    await asyncio.sleep(0.15)
    assert app.bot_data == {"n": 1}
    assert is_clean(app)


def test_a_call_whose_loop_is_gone_in_the_middle_is_taken_back() -> None:
    """No code of ours ran when it broke off: the next call does it, on its own loop."""
    for steps in range(40):
        store = MemoryStore()
        app, other = application(store), application(store)
        asyncio.run(deliver(app, message()))
        update, gone = message(), asyncio.new_event_loop()
        tasks = {gone.create_task(deliver(app, update))}
        for _ in range(steps):
            gone.run_until_complete(asyncio.sleep(0))
        tasks |= asyncio.all_tasks(gone)
        gone.close()
        asyncio.run(deliver(other, message(user=4)))
        asyncio.run(deliver(app, message(user=2)))
        asyncio.run(deliver(app, update))
        for task in tasks:  # as the collector does, some day
            task._log_destroy_pending = False  # type: ignore[attr-defined]  # it is meant to be
            task.get_coro().close()
        asyncio.run(deliver(app, message(user=3)))
        counted = {user: data["n"] for user, data in asyncio.run(users(store)).items()}
        assert counted == {1: 2, 2: 1, 3: 1, 4: 1}, steps
        assert asyncio.run(bot_data(store)) == {"n": 5}, steps


# What cannot be saved -----------------------------------------------------------------------------


class Plan:
    """A class that only the new version of the bot has."""


def old_and_new(store: MemoryStore) -> tuple[Any, Any]:
    """Return instances of two versions of a bot: one cannot load a `Plan`, the other adds it."""

    async def upgrade(update: Any, context: Any) -> None:
        context.user_data["plan"] = Plan()
        await count(update, context)

    new = application(store, MessageHandler(filters.TEXT, upgrade), trusted=(__name__,))
    return application(store, trusted=("nowhere",)), new


async def test_what_cannot_be_merged_here_is_not_acknowledged() -> None:
    """An instance of the old version raises; the update is then processed by one of the new."""
    store = MemoryStore()
    old, new = old_and_new(store)
    await deliver(old, message())
    await deliver(new, message())
    errors = gather_errors(old)
    update = message()
    for _ in range(2):
        with pytest.raises(ConflictError, match="cannot be merged here"):
            await deliver(old, update)
        assert old.user_data[1] == {"n": 1}
        assert is_clean(old)
    assert await deliver(old, message(user=2))
    assert await deliver(new, update)
    assert (await make_persistence(store, trusted=(__name__,)).get_user_data())[1]["n"] == 3
    assert await bot_data(store) == {"n": 4}
    assert {type(error) for error in errors} == {ConflictError}


async def test_what_is_overtaken_and_cannot_be_merged_is_not_acknowledged() -> None:
    """The same, where the other instance commits in the middle of the update."""
    store = MemoryStore()
    old, new = old_and_new(store)
    await started(old)
    await deliver(old, message())
    meanwhile(old, lambda: deliver(new, message()))
    update = message()
    with pytest.raises(ConflictError, match="cannot be merged here"):
        await deliver(old, update)
    assert old.user_data[1] == {"n": 1}
    assert await deliver(new, update)
    assert (await make_persistence(store, trusted=(__name__,)).get_user_data())[1]["n"] == 3


@pytest.mark.parametrize("plain", [False, True])
async def test_a_value_that_cannot_be_saved_is_said_and_the_rest_is_saved(plain: bool) -> None:  # noqa: FBT001 - a case
    """To send it again cannot help, so it is not processed again."""
    store = MemoryStore()

    async def spoil(update: Any, context: Any) -> None:
        await count(update, context)
        context.user_data["odd"] = Plan()  # of a module that is not trusted

    app = application(store, MessageHandler(filters.TEXT, spoil), plain=plain)
    gather_errors(app)
    update = message()
    with pytest.raises(SerializationError):
        await deliver(app, update)
    assert not await deliver(app, update)
    assert await bot_data(store) == {"n": 1}
    assert await users(store) == {1: {"n": 1}}


async def test_a_value_that_cannot_be_copied_is_said() -> None:
    """PTB's copies come before the persistence hears of it."""
    store = MemoryStore()

    async def spoil(update: Any, context: Any) -> None:
        await count(update, context)
        context.user_data["odd"] = (str(number) for number in range(9))

    app = application(store, MessageHandler(filters.TEXT, spoil))
    gather_errors(app)
    with pytest.raises(SerializationError, match="cannot be copied"):
        await deliver(app, message())
    assert await bot_data(store) == {"n": 1}


async def test_a_handler_that_raises_is_the_error_handlers_and_no_conflict() -> None:
    """As in PTB: what it had changed until then is saved, and the update is done."""
    store = MemoryStore()

    async def fail(update: Any, context: Any) -> None:
        await count(update, context)
        raise TelegramError("Forbidden")

    app = application(store, MessageHandler(filters.TEXT, fail))
    errors = gather_errors(app)
    update = message()
    assert await deliver(app, update)
    assert not await deliver(app, update)
    assert [type(error) for error in errors] == [TelegramError]
    assert await bot_data(store) == {"n": 1}


async def test_nothing_is_left_to_save_at_the_end() -> None:
    """What could not be committed was taken back and answered 500: the process ends in order."""
    store = MemoryStore()
    app = application(store)
    await deliver(app, message())
    store.faults = lambda call: Fault.FAIL_BEFORE if call.operation == "put" else None
    with pytest.raises(StorageUnavailableError):
        await deliver(app, message())
    await close(app)
    assert await users(store) == {1: {"n": 1}}


async def test_a_commit_of_a_handlers_own_that_is_overtaken_takes_all_back() -> None:
    """Whoever asked for the commit: what was staged is gone, so all is processed again."""
    store, asked = MemoryStore(), list[Exception | None]()

    async def save(update: Any, context: Any) -> None:
        await count(update, context)
        if len(asked) == 0:
            await deliver(other, message(user=2))
            await context.application.update_persistence()
            asked.append(None)

    app, other = application(store, MessageHandler(filters.TEXT, save)), application(store)
    asked.append(None)
    await started(app, other)
    asked.clear()
    assert await deliver(app, message())
    assert await bot_data(store) == {"n": 6}
    assert (await users(store))[1] == {"n": 1}
    assert Kind.USER_DATA not in app.persistence._commits.repository.staged.changes({})  # type: ignore[union-attr]
