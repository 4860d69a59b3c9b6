"""`PersistentApplication` mends what PTB's own loses on the way, and knows of other instances."""

from __future__ import annotations

import asyncio
import threading
from asyncio import CancelledError
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any
from unittest.mock import AsyncMock, patch

import pytest
from telegram import Chat, InlineKeyboardButton, InlineKeyboardMarkup, Message
from telegram.ext import (
    ApplicationBuilder,
    CallbackQueryHandler,
    ContextTypes,
    DictPersistence,
    MessageHandler,
    PersistenceInput,
    filters,
)
from tests.support import KEY, TESTED_LOAD, make_persistence, state_of
from tests.support.bots import (
    TOKEN,
    App,
    Handler,
    OfflineTelegram,
    asking,
    gather_errors,
    persistence_of,
    press,
    remembering,
    say,
    sent,
)

from ptb_s3 import Keyring, PersistentApplication, S3Persistence
from ptb_s3._format.entities import Kind
from ptb_s3._ptb.application_state import tasks
from ptb_s3._ptb.internals import Internals
from ptb_s3._storage.faults import Fault
from ptb_s3._storage.memory import MemoryStore
from ptb_s3.errors import SerializationError, SettingsError, StorageUnavailableError


def application(
    store: MemoryStore | None,
    *handlers: Handler,
    persistence: Any = None,
    plain: bool = False,
    **options: Any,
) -> App:
    builder: Any = ApplicationBuilder().token(TOKEN).request(OfflineTelegram(TOKEN))
    if not plain:
        builder = builder.application_class(PersistentApplication)
    if persistence is None and store is not None:
        if not plain:
            options.setdefault("load", TESTED_LOAD)
        persistence = make_persistence(store, **options)
    if context_types := options.get("context_types"):
        builder = builder.context_types(context_types)
    app: App = (
        builder.updater(None)
        .job_queue(None)
        .arbitrary_callback_data(True)  # noqa: FBT003 - PTB's own
        .persistence(persistence)
        .build()
    )
    app.add_handlers({group: [handler] for group, handler in enumerate(handlers)})
    return app


class Stubborn:
    """Cannot be copied so many times, as data that a thread changes meanwhile."""

    def __init__(self, error: type[Exception], times: int = 1_000_000) -> None:
        self.error = error
        self.times = times

    def __deepcopy__(self, _: object) -> str:
        if self.times:
            self.times -= 1
            raise self.error("changed size during iteration")
        return "copied"


async def sent_a_button(app: App) -> None:
    """Have the bot send a button with data."""
    markup = InlineKeyboardMarkup.from_button(InlineKeyboardButton("b", callback_data="data"))
    await app.bot.send_message(1, "Choose", reply_markup=markup)


async def users(store: MemoryStore) -> dict[int, Any]:
    return await make_persistence(store).get_user_data()


# The traps ----------------------------------------------------------------------------------------


async def test_a_value_that_cannot_be_copied_is_named_and_all_else_is_saved() -> None:
    """Trap 1: the updates go on, and the error handlers hear of whose value it is."""
    store = MemoryStore()
    app = application(store, remembering())
    errors = gather_errors(app)
    await app.initialize()
    await say(app, "tea", user=1)
    await say(app, "milk", user=2)
    app.user_data[1]["lock"] = threading.Lock()
    await app.update_persistence()
    (error,) = errors
    assert isinstance(error, SerializationError)
    assert (error.kind, error.key) == ("user_data", 1)
    assert "it cannot be copied (TypeError)" in str(error)
    assert error.path == "['lock']"
    assert error.__context__ is error.__cause__ is None
    assert await users(store) == {1: {"said": "tea"}, 2: {"said": "milk"}}
    del app.user_data[1]["lock"]
    await say(app, "coffee", user=1)
    await app.update_persistence()
    assert await users(store) == {1: {"said": "coffee"}, 2: {"said": "milk"}}


async def test_what_could_not_be_copied_for_a_moment_goes_with_the_next_save() -> None:
    """Nobody touches it again: users, chats, the bot's data, buttons and conversations."""
    store = MemoryStore()
    app = application(store, remembering(), asking("order"))
    errors = gather_errors(app)
    await app.initialize()
    await say(app, "/start")
    await sent_a_button(app)
    for data in (app.user_data[1], app.chat_data[1], app.bot_data):
        data["made"] = Stubborn(RuntimeError, times=3)
    states = app._conversation_handler_conversations["order"]
    states[1, 1] = Stubborn(RuntimeError, times=2)
    buttons = app.bot.callback_data_cache
    assert buttons is not None
    (keyboard,) = buttons.persistence_data[0]
    keyboard[2]["x"] = Stubborn(RuntimeError, times=3)
    await app.update_persistence()
    kinds = ["bot_data", "callback_data", "chat_data", "conversations", "user_data"]
    assert sorted(str(e.kind) for e in errors if isinstance(e, SerializationError)) == kinds
    await app.update_persistence()
    assert len(errors) == len(kinds)
    found = await state_of(make_persistence(store), "order")
    assert found["user_data"] == found["chat_data"] == {1: {"made": "copied"}}
    assert found["bot_data"] == {"made": "copied"}
    assert found["conversations"] == {"order": {(1, 1): "copied"}}
    assert found["callback_data"][0][0][2]["x"] == "copied"


@pytest.mark.parametrize("times", [3, 4])
async def test_what_cannot_be_copied_at_a_shutdown_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    """There is no next save: a thread that changes the data gets a moment to have done."""
    monkeypatch.setattr("ptb_s3.application.COPY_PAUSE", 0)
    store = MemoryStore()
    app = application(store, remembering())
    errors = gather_errors(app)
    async with app:
        await say(app, "tea")
        app.user_data[1]["made"] = Stubborn(RuntimeError, times=times)
    assert await users(store) == {1: {"said": "tea", "made": "copied"}}
    assert len(errors) == 1


async def test_what_can_never_be_copied_holds_no_shutdown_up(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """All else is saved, and the log says that something is lost."""
    monkeypatch.setattr("ptb_s3.application.COPY_PAUSE", 0)
    store = MemoryStore()
    app = application(store, remembering())
    errors = gather_errors(app)
    async with app:
        await say(app, "tea", user=1)
        await say(app, "milk", user=2)
        app.user_data[1]["lock"] = threading.Lock()
    assert await users(store) == {1: {"said": "tea"}, 2: {"said": "milk"}}
    assert len(errors) == 1
    assert "What has changed in 1 values since they were last saved is lost" in caplog.text


async def test_the_same_failure_is_told_once_until_it_succeeds() -> None:
    """Not at each interval: the error handlers know. Another one, or one that is back, is told."""
    app = application(MemoryStore(), remembering())
    errors = gather_errors(app)
    await app.initialize()
    await say(app, "tea")
    told = []
    for value in (Stubborn(RuntimeError), None, Stubborn(KeyError), "well", Stubborn(KeyError)):
        if value is not None:
            app.user_data[1]["made"] = app.bot_data["made"] = value
            app.mark_data_for_update_persistence(user_ids=1)
        await app.update_persistence()
        told.append(len(errors))
    assert told == [2, 2, 4, 4, 6]


async def test_a_save_that_is_cut_short_leaves_its_marks() -> None:
    """What it was to save goes with the next one, whoever gave up on it."""
    store = MemoryStore()
    app = application(store, remembering())
    await app.initialize()
    await say(app, "tea")
    saving = asyncio.create_task(app.update_persistence())
    await asyncio.sleep(0)
    saving.cancel()
    await asyncio.wait([saving])
    assert Internals(app).marks().changed[Kind.USER_DATA] == {1}
    await app.update_persistence()
    assert await users(store) == {1: {"said": "tea"}}


async def test_each_value_that_cannot_be_saved_is_named() -> None:
    """Handed over together, and still told one by one; a failed commit is told once."""
    store = MemoryStore()
    app = application(store, remembering())
    errors = gather_errors(app)
    await app.initialize()
    for user in range(1, 5):
        await say(app, "tea", user=user)
    for user in (2, 4):
        app.user_data[user]["bad"] = print
    await app.update_persistence()
    named = sorted((e.kind, e.key) for e in errors if isinstance(e, SerializationError))
    assert named == [("user_data", 2), ("user_data", 4)]
    assert await users(store) == {user: {"said": "tea"} for user in range(1, 5)}
    errors.clear()
    store.faults = lambda call: Fault.FAIL_BEFORE if call.operation == "put" else None
    for user in (1, 3):
        await say(app, "milk", user=user)
    await app.update_persistence()
    assert [type(error) for error in errors] == [StorageUnavailableError]


async def test_the_updater_task_survives_it() -> None:
    """PTB's own task, which calls it in each interval, does not end."""
    store = MemoryStore()
    app = application(store, remembering(), update_interval=0.01)
    failed = asyncio.Semaphore(0)

    async def note(*_: object) -> None:
        failed.release()

    app.add_error_handler(note)
    async with app:
        await app.start()
        app.bot_data["lock"] = threading.Lock()
        await failed.acquire()
        app.bot_data["lock"] = Stubborn(ValueError)
        await failed.acquire()
        del app.bot_data["lock"]
        app.bot_data["well"] = True
        await app.stop()
    assert await make_persistence(store).get_bot_data() == {"well": True}


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_ptb_itself_still_has_the_trap() -> None:
    """What is mended here is there: if PTB mends it, this class can go."""
    store = MemoryStore()
    app = application(store, remembering(), plain=True)
    await app.initialize()
    app.bot_data["lock"] = threading.Lock()
    with pytest.raises(TypeError, match="cannot pickle"):
        await app.update_persistence()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")
async def test_with_ptb_itself_one_failed_copy_loses_the_marks_of_everybody() -> None:
    """As README says: users of other updates are not saved, either, nor is anybody at shutdown."""
    store = MemoryStore()
    app = application(store, remembering(), plain=True)
    await app.initialize()
    for user in range(1, 5):
        await say(app, "tea", user=user)
    for data in app.user_data.values():
        data["lock"] = threading.Lock()
    with pytest.raises(TypeError, match="cannot pickle"):
        await app.update_persistence()
    for data in app.user_data.values():
        del data["lock"]
    await app.update_persistence()
    assert await users(store) == {}
    await say(app, "milk", user=5)
    app.bot_data["lock"] = threading.Lock()
    with pytest.raises(TypeError, match="cannot pickle"):
        await app.shutdown()
    await app.persistence.flush()  # type: ignore[union-attr]
    assert await users(store) == {}


async def test_with_this_class_it_loses_nobodys() -> None:
    """Neither in an interval nor at shutdown."""
    store = MemoryStore()
    app = application(store, remembering())
    gather_errors(app)
    async with app:
        for user in range(1, 5):
            await say(app, "tea", user=user)
        app.user_data[2]["lock"] = threading.Lock()
        await app.update_persistence()
        await say(app, "milk", user=5)
    assert sorted(await users(store)) == [1, 2, 3, 4, 5]


async def test_a_drop_and_a_new_beginning_both_arrive() -> None:
    """Trap 3: what came after the drop is there, and nothing of what was before."""
    store = MemoryStore()
    app = application(store, remembering())
    await app.initialize()
    await say(app, "tea")
    app.user_data[1]["old"] = True
    await app.update_persistence()
    app.drop_user_data(1)
    app.drop_chat_data(1)
    await say(app, "milk")
    await app.update_persistence()
    assert await users(store) == {1: {"said": "milk"}}
    assert await make_persistence(store).get_chat_data() == {1: {"heard": "milk"}}


@pytest.mark.parametrize("turns", range(9))
async def test_a_drop_beside_a_save_is_not_undone_by_what_was_copied_before(turns: int) -> None:
    """Whether the copies are handed over, staged or sent by then, the user is gone."""
    store = MemoryStore()
    app = application(store, remembering())
    await app.initialize()
    await say(app, "tea", user=1)
    await say(app, "milk", user=2)
    saving = asyncio.create_task(app.update_persistence())
    for _ in range(turns):
        await asyncio.sleep(0)
    app.drop_user_data(1)
    app.drop_chat_data(1)
    await saving
    await app.update_persistence()
    assert await users(store) == {2: {"said": "milk"}}
    assert await make_persistence(store).get_chat_data() == {2: {"heard": "milk"}}


async def test_a_drop_before_the_state_is_loaded_is_not_forgotten() -> None:
    """There was nobody to tell at once, so it is told when it is saved."""
    store = MemoryStore()
    async with application(store, remembering()) as app:
        await say(app, "tea", user=1)
        await say(app, "milk", user=2)
    app = application(store, remembering())
    app.drop_user_data(1)
    await app.initialize()
    await app.update_persistence()
    assert await users(store) == {2: {"said": "milk"}}


async def test_a_drop_alone_is_saved_though_nothing_else_changed() -> None:
    """With `store_data` that has no bot_data, nothing but the drop is there to be saved."""
    store = MemoryStore()
    stored = PersistenceInput(bot_data=False, callback_data=False)
    app = application(store, remembering(), store_data=stored)
    await app.initialize()
    await say(app, "tea")
    await app.update_persistence()
    app.drop_user_data(1)
    await app.update_persistence()
    assert await users(store) == {}


async def test_any_persistence_may_be_used() -> None:
    """Traps 1 and 3 are PTB's, and mended for whichever persistence."""
    persistence = DictPersistence()
    app = application(None, remembering(), asking("order"), persistence=persistence)
    gather_errors(app)
    await app.initialize()
    await say(app, "tea")
    app.drop_user_data(1)
    await say(app, "/start")
    await say(app, "milk", user=2)
    app.user_data[2]["lock"] = threading.Lock()
    await app.update_persistence()
    assert persistence.user_data == {1: {}}
    assert persistence.conversations == {"order": {(1, 1): 0}}


# Persistences of one's own ------------------------------------------------------------------------


class Stripping(S3Persistence[Any, Any, Any]):
    """Strips a secret of everything that it saves, and keeps one user whatever is dropped."""

    async def update_user_data(self, user_id: int, data: Any) -> None:
        await super().update_user_data(user_id, self._stripped(data))

    def update_chat_data(self, chat_id: int, data: Any) -> Any:
        return super().update_chat_data(chat_id, self._stripped(data))

    async def update_bot_data(self, data: Any) -> None:
        await super().update_bot_data(self._stripped(data))

    async def drop_user_data(self, user_id: int) -> None:
        if user_id != 1:
            await super().drop_user_data(user_id)

    @staticmethod
    def _stripped(data: Any) -> Any:
        return {key: value for key, value in data.items() if key != "private"}


def stripping(store: MemoryStore) -> App:
    options: dict[str, Any] = {"load": TESTED_LOAD}
    persistence = Stripping("bucket", keyring=Keyring(KEY), **options)
    persistence._loader.store = store
    return application(store, remembering(), persistence=persistence)


async def test_what_a_subclass_overrides_is_called() -> None:
    """Its methods say what is saved and dropped, and not a way around them."""
    store = MemoryStore()
    app = stripping(store)
    async with app:
        for user in (1, 2, 3):
            await say(app, "tea", user=user)
        for data in (*app.user_data.values(), *app.chat_data.values(), app.bot_data):
            data["private"] = "s"
        await app.update_persistence()
        for user in (1, 2):
            app.drop_user_data(user)
        app.drop_chat_data(3)
    found = await state_of(make_persistence(store))
    assert found["user_data"] == {1: {"said": "tea"}, 3: {"said": "tea"}}
    assert found["chat_data"] == {1: {"heard": "tea"}, 2: {"heard": "tea"}}
    assert found["bot_data"] == {"count": 3}


async def test_what_an_object_of_ours_was_given_is_called_as_well() -> None:
    """As where a test or a library puts a function in a method's place."""
    called = []
    app = application(MemoryStore(), remembering())
    persistence: Any = app.persistence
    update = persistence.update_user_data

    async def noted(user_id: int, data: Any) -> None:
        called.append(user_id)
        await update(user_id, data)

    persistence.update_user_data = noted
    async with app:
        await say(app, "tea", user=7)
    assert called == [7]


async def test_what_an_override_raises_is_told_and_the_rest_is_saved() -> None:
    """Also where it is no coroutine, and raises at once; PTB's own updates end then."""
    store = MemoryStore()
    app = stripping(store)
    errors = gather_errors(app)
    async with app:
        await say(app, "tea", user=1)
        await say(app, "tea", user=2)
        app._chat_data[1] = None  # has no items
        await app.update_persistence()
        assert [type(error) for error in errors] == [AttributeError]
    assert await make_persistence(store).get_chat_data() == {2: {"heard": "tea"}}
    assert len(await users(store)) == 2


async def test_a_failed_commit_is_told_once_though_methods_are_overridden() -> None:
    """Each user has a call of their own then, and what calls us is no method of PTB's."""
    store = MemoryStore()
    app = stripping(store)
    errors = gather_errors(app)
    async with app:
        for user in range(1, 9):
            await say(app, "tea", user=user)
        store.faults = lambda call: Fault.FAIL_BEFORE if call.operation == "put" else None
        await app.update_persistence()
        assert [type(error) for error in errors] == [StorageUnavailableError]
        store.faults = lambda _: None
    assert len(await users(store)) == 8


async def test_a_drop_and_what_came_after_it_reach_a_subclass_in_that_order() -> None:
    """What is new is not dropped with what was before."""
    store = MemoryStore()
    app = stripping(store)
    async with app:
        await say(app, "tea", user=2)
        app.user_data[2]["old"] = True
        await app.update_persistence()
        app.drop_user_data(2)
        assert 2 not in app.user_data
        assert (len(app.user_data), list(app.user_data)) == (0, [])
        await say(app, "milk", user=2)
        assert (len(app.user_data), list(app.user_data)) == (1, [2])
    assert await users(store) == {2: {"said": "milk"}}


async def test_who_was_dropped_is_gone_while_a_subclass_is_told() -> None:
    """Its method takes its time, and handlers go on meanwhile."""
    store = MemoryStore()
    app = stripping(store)
    async with app:
        await say(app, "tea", user=2)
        await app.update_persistence()
        told, goes_on = asyncio.Event(), asyncio.Event()

        async def drop(user: int) -> None:
            told.set()
            await goes_on.wait()
            await S3Persistence.drop_user_data(app.persistence, user)  # type: ignore[arg-type]

        app.drop_user_data(2)
        with patch.object(Stripping, "drop_user_data", staticmethod(drop)):
            saving = asyncio.create_task(app.update_persistence())
            await told.wait()
            assert 2 not in app.user_data
            assert not app.user_data
            goes_on.set()
            await saving
        assert 2 not in app.user_data
    assert await users(store) == {}


# Group to supergroup ------------------------------------------------------------------------------

OLD, NEW = -5, -1005


def migration(to: int | None = None, origin: int | None = None) -> Message:
    """What Telegram writes into the old chat (`to`), and into the new one (`origin`)."""
    chat = Chat(OLD if to else NEW, "group" if to else "supergroup")
    date = datetime.now(UTC)
    return Message(1, date, chat, migrate_to_chat_id=to, migrate_from_chat_id=origin)


TO, FROM = migration(to=NEW), migration(origin=OLD)


@pytest.mark.parametrize("saved", [False, True])
@pytest.mark.parametrize("messages", [(TO, FROM), (FROM, TO), (TO, FROM, TO, FROM)])
async def test_a_group_that_becomes_a_supergroup_keeps_its_data(
    messages: tuple[Message, ...],
    saved: bool,  # noqa: FBT001 - a case
) -> None:
    """Handlers are called for both messages, and what is asked of the old chat is made empty."""
    store = MemoryStore()
    async with application(store) as app:
        app.chat_data[OLD]["rules"] = "be kind"
        app.mark_data_for_update_persistence(chat_ids=OLD)
        for message in messages:
            app.migrate_chat_data(message)
            assert app.chat_data[OLD] == {}
            assert app.chat_data[NEW] == {"rules": "be kind"}
            app.mark_data_for_update_persistence(chat_ids=[OLD, NEW])
            if saved:
                await app.update_persistence()
        app.migrate_chat_data(old_chat_id=OLD, new_chat_id=NEW)
    assert await make_persistence(store).get_chat_data() == {NEW: {"rules": "be kind"}}


async def test_ptb_itself_loses_a_groups_data() -> None:
    """If PTB mends it, our method can go."""
    app = application(MemoryStore(), plain=True)
    app.chat_data[OLD]["rules"] = "be kind"
    for message in (TO, FROM):
        app.migrate_chat_data(message)
    assert app.chat_data[NEW] == {}


async def test_what_is_there_moves_over_what_is_there() -> None:
    """As PTB's own does it, with and without a message; a chat does not move onto itself."""
    app = application(MemoryStore())
    for arguments in ({"message": TO}, {"old_chat_id": OLD, "new_chat_id": NEW}):
        app.chat_data[OLD]["rules"] = "be kind"
        app.chat_data[NEW]["greeted"] = True
        app.migrate_chat_data(**arguments)
        assert dict(app.chat_data) == {NEW: {"rules": "be kind"}}
    app.migrate_chat_data(old_chat_id=NEW, new_chat_id=NEW)
    assert dict(app.chat_data) == {NEW: {"rules": "be kind"}}


async def test_an_object_of_a_context_type_counts_as_nothing_while_it_is_new() -> None:
    """It has no length, and is compared with what its type makes."""
    types: Any = ContextTypes(chat_data=SimpleNamespace)
    app = application(MemoryStore(), context_types=types)
    app.chat_data[OLD].rules = "be kind"
    for message in (TO, FROM):
        app.migrate_chat_data(message)
        app.chat_data[OLD]  # as a handler asks for it
    assert app.chat_data[NEW] == SimpleNamespace(rules="be kind")


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"message": migration()},
        {"message": TO, "old_chat_id": OLD},
        {"old_chat_id": OLD},
        {"old_chat_id": "-5", "new_chat_id": "-1005"},
    ],
)
async def test_what_ptb_refuses_is_refused(arguments: dict[str, Any]) -> None:
    """And changes nothing."""
    app = application(MemoryStore())
    app.chat_data[OLD]["rules"] = "be kind"
    with pytest.raises(ValueError, match=r"."):
        app.migrate_chat_data(**arguments)
    assert dict(app.chat_data) == {OLD: {"rules": "be kind"}}


async def test_without_a_persistence_it_is_an_application() -> None:
    """There is nothing to save, and nothing to fail."""
    app = application(None, remembering())
    async with app:
        await say(app, "tea")
        await app.update_persistence()
    assert app.user_data == {1: {"said": "tea"}}


# Other instances ----------------------------------------------------------------------------------


async def test_users_and_chats_of_another_instance_appear_and_disappear() -> None:
    """In `application.user_data`, and not only in the handler of whoever writes."""
    store = MemoryStore()
    one, other = (application(store, remembering(), sync=0) for _ in range(2))
    for app in (one, other):
        await app.initialize()
    await say(one, "tea", user=1)
    await one.update_persistence()
    await say(other, "hello", user=9)
    assert other.user_data == {1: {"said": "tea"}, 9: {"said": "hello"}}
    assert other.chat_data[1] == {"heard": "tea"}
    one.drop_user_data(1)
    await one.update_persistence()
    await say(other, "hello", user=9)
    assert 1 not in other.user_data
    assert other.chat_data[1] == {"heard": "tea"}


async def test_who_disappeared_between_two_starts_is_gone() -> None:
    """PTB adds what a start reads to what was there before."""
    store = MemoryStore()
    app = application(store, remembering())
    async with app:
        await say(app, "tea", user=1)
        await say(app, "tea", user=2)
    other = make_persistence(store)
    await other.get_user_data()
    await other.drop_user_data(1)
    async with app:
        assert set(app.user_data) == {2}
        await say(app, "milk", user=3)
    assert set(await make_persistence(store).get_user_data()) == {2, 3}


async def test_who_is_changed_here_does_not_disappear() -> None:
    """A live object that holds what nobody has saved is left alone, and saved."""
    store = MemoryStore()
    one, other = (application(store, remembering(), sync=0) for _ in range(2))
    for app in (one, other):
        await app.initialize()
    await say(one, "tea", user=1)
    await one.update_persistence()
    await say(other, "hello", user=9)
    other.user_data[1]["mine"] = True
    other.mark_data_for_update_persistence(user_ids=1)
    one.drop_user_data(1)
    await one.update_persistence()
    await say(other, "hello", user=9)
    assert other.user_data[1] == {"said": "tea", "mine": True}
    await other.update_persistence()
    assert (await users(store))[1] == {"mine": True}


async def test_conversations_of_another_instance_are_brought_in() -> None:
    """Entered there, gone on with here, ended there."""
    store = MemoryStore()
    one, other = (application(store, asking("order"), sync=0) for _ in range(2))
    for app in (one, other):
        await app.initialize()
    await say(one, "/start")
    await one.update_persistence()
    await say(other, "Alice")
    await other.update_persistence()
    await say(one, "Berlin")
    await one.update_persistence()
    assert await make_persistence(store).get_conversations("order") == {}
    await say(other, "nothing that it would still wait for")
    assert dict(Internals(other).conversations["order"]) == {}


async def test_a_conversation_of_a_handler_that_is_not_registered_is_left_alone() -> None:
    """It is carried along, as `store_data` that is switched off is."""
    store = MemoryStore()
    one, other = application(store, asking("order"), sync=0), application(store, sync=0)
    for app in (one, other):
        await app.initialize()
    await say(one, "/start")
    await one.update_persistence()
    await say(other, "hello")
    await other.update_persistence()
    assert await make_persistence(store).get_conversations("order") == {(1, 1): 0}


async def test_a_button_of_another_instance_works() -> None:
    """Whoever is sent the answer knows what the button meant."""
    store = MemoryStore()
    pressed: list[Any] = []

    async def offer(update: Any, _: Any) -> None:
        button = InlineKeyboardButton("Buy", callback_data={"product": 5})
        await update.message.reply_text("?", reply_markup=InlineKeyboardMarkup([[button]]))

    one = application(store, MessageHandler(filters.TEXT, offer), sync=0)
    other = application(store, remembering(), sync=0)
    for app in (one, other):
        await app.initialize()
    await say(one, "offer")
    await one.update_persistence()
    await say(other, "hello", user=9)
    markup = sent(one)[0]["reply_markup"]
    button = markup["inline_keyboard"][0][0]

    async def buy(update: Any, _: Any) -> None:
        pressed.append(update.callback_query.data)

    other.add_handler(CallbackQueryHandler(buy))
    await press(other, button)
    assert pressed == [{"product": 5}]


async def test_own_context_types_appear_as_objects_of_their_class() -> None:
    """PTB's own way makes them, and they are filled in place."""

    store = MemoryStore()
    types: Any = ContextTypes(user_data=Basket)
    options: dict[str, Any] = {"context_types": types, "trusted": (__name__,), "sync": 0}

    async def put(update: Any, context: Any) -> None:
        context.user_data.items.append(update.message.text)

    one, other = (application(store, MessageHandler(filters.TEXT, put), **options) for _ in "ab")
    for app in (one, other):
        await app.initialize()
    await say(one, "tea", user=1)
    await one.update_persistence()
    await say(other, "milk", user=2)
    assert {user: basket.items for user, basket in other.user_data.items()} == {
        1: ["tea"],
        2: ["milk"],
    }


class Basket:
    def __init__(self) -> None:
        self.items: list[str] = []


# PTB's private names ------------------------------------------------------------------------------


def test_every_private_name_is_there() -> None:
    """With this PTB, they are: a PTB that renames one fails here, and says which."""
    Internals(application(MemoryStore()))


@pytest.mark.parametrize(
    "name",
    [
        "_user_data",
        "_chat_data",
        "_user_ids_to_be_updated_in_persistence",
        "_chat_ids_to_be_deleted_in_persistence",
        "_conversation_handler_conversations",
    ],
)
def test_a_ptb_that_renames_one_is_refused(name: str) -> None:
    """The error names the attribute that is gone."""
    app = application(MemoryStore())
    others = [
        attribute
        for attribute in dir(app)
        if attribute.startswith(("_user_", "_chat_", "_conversation_")) and attribute != name
    ]
    renamed: Any = SimpleNamespace(**{other: getattr(app, other) for other in others})
    with pytest.raises(SettingsError, match=f"has no Application.{name}"):
        Internals(renamed)


async def test_tasks_of_ptb_are_known_by_name() -> None:
    """`deliver` waits for them: a PTB that renames what they run fails here."""
    store = MemoryStore()
    done: list[bool] = []

    async def later(*_: Any) -> None:
        await asyncio.sleep(0.01)
        done.append(True)

    app = application(store, MessageHandler(filters.TEXT, later, block=False))
    await app.initialize()
    await say(app, "tea")
    found = tasks(app)
    assert len(found) == 1
    await asyncio.wait(found)
    assert done == [True]
    assert persistence_of(app).stats.failures == 0


async def test_state_is_what_a_plain_application_leaves_too() -> None:
    """Both classes hand over the same."""
    stores = []
    for plain in (True, False):
        store = MemoryStore()
        app = application(store, remembering(), asking("order"), plain=plain)
        async with app:
            await say(app, "tea", user=1)
            await say(app, "/start", user=2)
        stores.append(await state_of(make_persistence(store), "order"))
    assert stores[0] == stores[1]


async def test_a_start_that_was_cancelled_reads_on_demand_when_it_is_begun_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its getters are no stranger's, who would be given everybody's data."""
    store = MemoryStore()
    await make_persistence(store).update_user_data(1, {"tea": True})
    app = application(store, load="on_demand")
    with monkeypatch.context() as patched:
        patched.setattr(app.persistence, "get_bot_data", AsyncMock(side_effect=CancelledError))
        with pytest.raises(CancelledError):
            await app.initialize()
    await app.initialize()
    assert not Internals(app).data(Kind.USER_DATA)
    assert app.user_data[1] == {"tea": True}
    await app.shutdown()
