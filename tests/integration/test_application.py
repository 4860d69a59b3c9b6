"""A real `Application` on a real S3 server: what a bot has is there again after a restart."""

from __future__ import annotations

import asyncio
import logging
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import pytest
from telegram import InlineKeyboardButton, InlineKeyboardMarkup, Update
from telegram.ext import (
    CallbackQueryHandler,
    CommandHandler,
    ContextTypes,
    ConversationHandler,
    MessageHandler,
    PersistenceInput,
    filters,
)
from tests.servers import S3Client
from tests.support import StoreAround, settled
from tests.support.bots import (
    CITY,
    NAME,
    PREFIX,
    App,
    Bots,
    Context,
    Handler,
    asking,
    gather_errors,
    persistence_of,
    press,
    remember,
    remembering,
    say,
    sent,
)
from tests.support.faultproxy import FaultProxy, Lost

from ptb_s3._format.entities import Kind
from ptb_s3._storage.body import Body
from ptb_s3._storage.contract import Store, Written
from ptb_s3.errors import SerializationError, StorageUnavailableError

STREET = 2  # after NAME and CITY


def data_of(app: App) -> dict[str, Any]:
    """Return copies of what the application holds."""
    return {
        "user_data": dict(app.user_data),
        "chat_data": dict(app.chat_data),
        "bot_data": app.bot_data,
    }


# What is saved ------------------------------------------------------------------------------------


async def test_user_chat_and_bot_data_are_there_after_a_restart(bots: Bots) -> None:
    """What a handler leaves in user, chat and bot data is there in the next process."""
    async with bots.run(remembering()) as app:
        await say(app, "tea", user=1, chat=-100)
        await say(app, "milk", user=2, chat=-100)
    app = await bots.load()
    assert data_of(app) == {
        "user_data": {1: {"said": "tea"}, 2: {"said": "milk"}},
        "chat_data": {-100: {"heard": "milk"}},
        "bot_data": {"count": 2},
    }


async def test_state_is_durable_once_update_persistence_returns(bots: Bots) -> None:
    """A process that is lost right after `update_persistence()` has lost nothing."""
    async with bots.run(remembering()) as app:
        await say(app, "tea")
        await app.update_persistence()
        assert await bots.peek() == {1: {"said": "tea"}}
        await settled(persistence_of(app))


@dataclass
class Cart:
    """A type of one's own for user data."""

    items: list[str] = field(default_factory=list)


class Room:
    """One for chat data, with slots."""

    __slots__ = ("visits",)

    def __init__(self) -> None:
        self.visits = 0


@dataclass
class Shop:
    """One for bot data."""

    sold: int = 0


async def test_types_of_ones_own_for_the_data(bots: Bots) -> None:
    """Custom context types come back as such, and a new user gets an object of the type."""

    async def sell(update: Update, context: Context) -> None:
        assert update.message is not None
        context.user_data.items.append(update.message.text)
        context.chat_data.visits += 1
        context.bot_data.sold += 1

    types = ContextTypes(user_data=Cart, chat_data=Room, bot_data=Shop)
    handler: Handler = MessageHandler(filters.TEXT, sell)
    for thing in ("tea", "milk"):
        async with bots.run(handler, builder_types=types, trusted=(__name__,)) as app:
            await say(app, thing)
    app = await bots.load(builder_types=types, trusted=(__name__,))
    assert app.user_data[1] == Cart(["tea", "milk"])
    assert app.chat_data[1].visits == 2
    assert app.bot_data == Shop(sold=2)
    assert app.user_data[2] == Cart()


async def _states(app: App, name: str) -> dict[Any, object]:
    """Return what is saved of a conversation."""
    persistence = persistence_of(app)
    states = await persistence.get_conversations(name)
    await persistence.flush()
    return dict(states)


async def test_a_conversation_goes_on_after_a_restart_and_then_is_gone(bots: Bots) -> None:
    """A conversation is continued where it was; ended, it leaves nothing behind."""
    async with bots.run(asking("order")) as app:
        await say(app, "/start")
        await say(app, "/start", user=2)
        await say(app, "Ann")
    async with bots.run(asking("order")) as app:
        pass
    assert await _states(app, "order") == {(1, 1): CITY, (2, 2): NAME}
    async with bots.run(asking("order")) as app:
        await say(app, "London")
    assert await _states(app, "order") == {(2, 2): NAME}


def _nested() -> ConversationHandler[Context]:
    """A conversation that asks for a street within one that asks for a name."""

    async def go(state: int) -> int:
        return state

    def to(state: int) -> Any:
        return lambda *_: go(state)

    address: ConversationHandler[Context] = ConversationHandler(
        entry_points=[CommandHandler("address", to(STREET))],
        states={STREET: [MessageHandler(filters.TEXT, to(ConversationHandler.END))]},
        fallbacks=[],
        map_to_parent={ConversationHandler.END: CITY},
        name="address",
        persistent=True,
    )
    return ConversationHandler(
        entry_points=[CommandHandler("start", to(NAME))],
        states={
            NAME: [address],
            CITY: [MessageHandler(filters.TEXT, to(ConversationHandler.END))],
        },
        fallbacks=[],
        name="order",
        persistent=True,
    )


async def test_nested_conversations(bots: Bots) -> None:
    """A nested conversation is continued after a restart, and hands back to its parent."""
    async with bots.run(_nested()) as app:
        await say(app, "/start")
        await say(app, "/address")
    assert await _states(app, "address") == {(1, 1): STREET}
    async with bots.run(_nested()) as app:
        await say(app, "Baker Street")
    assert await _states(app, "address") == {}
    assert await _states(app, "order") == {(1, 1): CITY}
    async with bots.run(_nested()) as app:
        await say(app, "done")
    assert await _states(app, "order") == {}


async def test_non_blocking_conversations(bots: Bots) -> None:
    """A state that is not known yet never arrives; once it is known, it is saved."""
    may_go_on = asyncio.Event()

    async def ask(*_: object) -> int:
        await may_go_on.wait()
        return NAME

    handler: ConversationHandler[Context] = ConversationHandler(
        entry_points=[CommandHandler("start", ask)],
        states={NAME: []},
        fallbacks=[],
        name="order",
        persistent=True,
        block=False,
    )
    async with bots.run(handler) as app:
        await app.start()
        await say(app, "/start")
        await app.update_persistence()
        assert await persistence_of(app).get_conversations("order") == {}
        may_go_on.set()
        await app.stop()
    assert await _states(app, "order") == {(1, 1): NAME}


async def test_a_button_pressed_after_a_restart(bots: Bots) -> None:
    """A button keeps the object behind it, whatever it is, over restarts."""

    async def offer(update: Update, _: Context) -> None:
        assert update.message is not None
        button = InlineKeyboardButton("Buy", callback_data=Cart(["tea"]))
        await update.message.reply_text("Choose", reply_markup=InlineKeyboardMarkup([[button]]))

    async def buy(update: Update, context: Context) -> None:
        assert update.callback_query is not None
        context.user_data["bought"] = update.callback_query.data
        context.drop_callback_data(update.callback_query)

    handlers: list[Handler] = [CommandHandler("start", offer), CallbackQueryHandler(buy)]
    async with bots.run(*handlers, trusted=(__name__,)) as app:
        await say(app, "/start")
        [message] = sent(app)
        button = message["reply_markup"]["inline_keyboard"][0][0]
    async with bots.run(*handlers, trusted=(__name__,)) as app:
        await press(app, button)
    app = await bots.load(trusted=(__name__,))
    assert app.user_data[1] == {"bought": Cart(["tea"])}
    cache = app.bot.callback_data_cache
    assert cache is not None
    assert cache.persistence_data == ([], {})


async def test_a_saved_message_can_be_replied_to(bots: Bots) -> None:
    """A message in user data belongs to the new process's bot: its shortcuts work."""

    async def keep(update: Update, context: Context) -> None:
        context.user_data["message"] = update.message

    async with bots.run(MessageHandler(filters.TEXT, keep)) as app:
        await say(app, "tea")
    async with bots.run() as app:
        message = app.user_data[1]["message"]
        assert message.text == "tea"
        await message.reply_text("here it is")
        assert [m["text"] for m in sent(app)] == ["here it is"]


# What is not the application's own, or goes -------------------------------------------------------


async def test_what_is_switched_off_is_carried_along(bots: Bots) -> None:
    """Kinds that are not stored, and conversations of no handler, outlive a run without them."""

    async def offer(update: Update, context: Context) -> None:
        assert update.message is not None
        await remember(update, context)
        button = InlineKeyboardButton("Buy", callback_data=("tea", 2))
        await update.message.reply_text("Choose", reply_markup=InlineKeyboardMarkup([[button]]))

    async with bots.run(MessageHandler(filters.Text(["tea"]), offer), asking("order")) as app:
        await say(app, "tea")
        await say(app, "/start")
        before, cache = data_of(app), app.bot.callback_data_cache
        assert cache is not None
        keyboards = cache.persistence_data
    only_users = PersistenceInput(bot_data=False, chat_data=False, callback_data=False)
    async with bots.run(remembering(), store_data=only_users) as app:
        assert app.chat_data == {}
        assert app.bot_data == {}
        await say(app, "milk")
    async with bots.run() as app:
        cache = app.bot.callback_data_cache
        assert cache is not None
        assert cache.persistence_data == keyboards
        assert keyboards != ([], {})
    assert data_of(app) == before | {"user_data": {1: {"said": "milk"}}}
    assert await _states(app, "order") == {(1, 1): NAME}


async def test_a_migrated_chat_keeps_its_data(bots: Bots) -> None:
    """`migrate_chat_data` moves a chat's data to its new id, for good."""
    async with bots.run(remembering()) as app:
        await say(app, "tea", chat=-100)
        await app.update_persistence()
        app.migrate_chat_data(old_chat_id=-100, new_chat_id=-200)
    app = await bots.load()
    assert app.chat_data == {-200: {"heard": "tea"}}


async def test_dropped_data_is_gone(bots: Bots) -> None:
    """What is dropped does not come back, and the rest stays."""
    async with bots.run(remembering()) as app:
        await say(app, "tea", user=1)
        await say(app, "milk", user=2)
        await app.update_persistence()
        app.drop_user_data(1)
        app.drop_chat_data(2)
    app = await bots.load()
    assert app.user_data == {2: {"said": "milk"}}
    assert app.chat_data == {1: {"heard": "tea"}}


async def test_dropped_and_made_again_in_one_interval(bots: Bots) -> None:
    """PTB sends the drop alone; what was made again is saved when the user is next heard of."""
    async with bots.run(remembering()) as app:
        await say(app, "tea")
        await app.update_persistence()
        app.drop_user_data(1)
        await say(app, "milk")
        await app.update_persistence()
        assert app.user_data == {1: {"said": "milk"}}
        assert await persistence_of(app).get_user_data() == {}
        await say(app, "sugar")
    app = await bots.load()
    assert app.user_data == {1: {"said": "sugar"}}


async def test_initialised_again_after_shutdown(bots: Bots) -> None:
    """One application, shut down and initialised again, goes on where it was."""
    async with bots.run(remembering(), asking("order")) as app:
        await say(app, "tea")
        await say(app, "/start")
    for thing in ("milk", "sugar"):
        async with app:
            await say(app, thing)
    assert await _states(app, "order") == {}
    app = await bots.load()
    assert app.user_data == {1: {"said": "sugar"}}
    assert app.bot_data == {"count": 3}


# What it costs ------------------------------------------------------------------------------------


@pytest.fixture
async def observed(bots: Bots, fault_proxy: FaultProxy) -> AsyncIterator[App]:
    """A bot that has committed once, and whose blobs are written; the proxy sees its requests."""
    async with bots.run(remembering(), endpoint_url=fault_proxy.endpoint_url) as app:
        await say(app, "tea")
        await app.update_persistence()
        await settled(persistence_of(app))
        fault_proxy.requests.clear()
        yield app


async def test_all_changes_of_an_interval_are_one_request(
    bots: Bots, observed: App, fault_proxy: FaultProxy
) -> None:
    """Two updates, of several kinds of data, make one PUT of one object, and nothing else."""
    await say(observed, "milk", user=1)
    await say(observed, "sugar", user=2)
    await observed.update_persistence()
    [request] = fault_proxy.requests
    assert request.startswith(f"PUT /{bots.bucket}/{PREFIX}head")


async def test_an_interval_without_changes_makes_no_request(
    observed: App, fault_proxy: FaultProxy
) -> None:
    """Nothing changed: nothing is asked and nothing is sent."""
    for _ in range(3):
        await observed.update_persistence()
    assert fault_proxy.requests == []


@pytest.mark.parametrize("types", [None, ContextTypes(bot_data=Shop)])
async def test_a_bot_that_does_nothing_writes_nothing(
    bots: Bots, fault_proxy: FaultProxy, types: ContextTypes[Any, Any, Any, Any] | None
) -> None:
    """The first start of an idle bot reads all objects, and leaves the bucket empty.

    And, since there are none, whether there ever were, and what lies beside them.
    """
    run = bots.run(
        remembering(),
        builder_types=types,
        trusted=(__name__,),
        endpoint_url=fault_proxy.endpoint_url,
    )
    async with run as app:
        await app.update_persistence()
    asked = [request[:4] for request in fault_proxy.requests]
    assert asked == [*["GET "] * (1 + len(Kind)), *["GET "] * 3, "HEAD"]
    assert await bots.versions() == []


# What goes wrong ----------------------------------------------------------------------------------


@pytest.mark.usefixtures("impatient")
async def test_a_failed_commit_is_told_once_and_made_up_for(
    bots: Bots, observed: App, fault_proxy: FaultProxy
) -> None:
    """However much was to be saved, one error is reported; all of it goes with the next commit."""
    errors = gather_errors(observed)
    await fault_proxy.refuse()
    for user in range(1, 6):
        await say(observed, "milk", user=user)
    await observed.update_persistence()
    assert [type(error) for error in errors] == [StorageUnavailableError]
    await fault_proxy.accept()
    await observed.update_persistence()
    assert len(errors) == 1
    app = await bots.load()
    assert app.user_data == {user: {"said": "milk"} for user in range(1, 6)}
    assert app.chat_data == {user: {"heard": "milk"} for user in range(1, 6)}
    assert app.bot_data == {"count": 6}


class Gate(StoreAround):
    """A store on which every `put` waits until it is let through.

    Attributes:
        reached: Set when one is waiting.
        opened: To be set for it to go on.
        passed: Set when one has been let through and answered.
    """

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self.reached = asyncio.Event()
        self.opened = asyncio.Event()
        self.passed = asyncio.Event()

    async def put(self, name: str, body: bytes | Body, *, if_match: str | None) -> Written:
        self.reached.set()
        await self.opened.wait()
        written = await super().put(name, body, if_match=if_match)
        self.passed.set()
        return written


async def test_a_cancelled_update_loses_nothing(bots: Bots) -> None:
    """`update_persistence()` cancelled while its commit is under way: the commit goes on."""
    persistence = bots.persistence()
    persistence._loader.store = gate = Gate(persistence._loader.store)
    async with bots.run(remembering(), persistence=persistence) as app:
        await say(app, "tea")
        update = asyncio.create_task(app.update_persistence())
        await gate.reached.wait()
        update.cancel()
        with pytest.raises(asyncio.CancelledError):
            await update
        gate.opened.set()
        async with asyncio.timeout(10):
            await gate.passed.wait()
        assert await bots.peek() == {1: {"said": "tea"}}
        await say(app, "milk", user=2)
    app = await bots.load()
    assert app.user_data == {1: {"said": "tea"}, 2: {"said": "milk"}}


async def test_flush_again_does_nothing(observed: App, fault_proxy: FaultProxy) -> None:
    """A second flush asks nothing and sends nothing."""
    persistence = persistence_of(observed)
    await say(observed, "milk")
    await observed.update_persistence()
    await persistence.flush()
    fault_proxy.requests.clear()
    await persistence.flush()
    await persistence.flush()
    assert fault_proxy.requests == []


@pytest.mark.usefixtures("impatient")
async def test_flush_ends_in_time_on_a_storage_that_hangs(
    bots: Bots, fault_proxy: FaultProxy
) -> None:
    """A storage that takes connections and answers nothing holds flush up for its timeout only."""
    persistence = bots.persistence(endpoint_url=fault_proxy.endpoint_url, flush_timeout=0.5)
    async with bots.run(remembering(), persistence=persistence) as app:
        errors = gather_errors(app)
        await say(app, "tea")
        await app.update_persistence()
        await settled(persistence)
        await fault_proxy.refuse()
        await say(app, "milk")
        await app.update_persistence()
        assert len(errors) == 1
        loop = asyncio.get_running_loop()
        async with _silent_server(fault_proxy.endpoint_url):
            start = loop.time()
            with pytest.raises(StorageUnavailableError, match=r"within 0\.5 s"):
                await persistence.flush()
            assert loop.time() - start < 2
        await fault_proxy.accept()
    app = await bots.load()
    assert app.user_data == {1: {"said": "milk"}}


@asynccontextmanager
async def _silent_server(url: str) -> AsyncIterator[None]:
    """Take connections at that address, and answer nothing on them."""
    address = urlsplit(url)
    connections: set[asyncio.StreamWriter] = set()

    async def connected(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.add(writer)

    server = await asyncio.start_server(connected, address.hostname, address.port)
    yield
    server.close()
    for writer in connections:
        writer.transport.abort()


async def test_a_value_that_cannot_be_saved_keeps_its_last_good_one(bots: Bots) -> None:
    """A function in one user's data is an error that says where; all but its key is saved."""

    async def spoil(update: Update, context: Context) -> None:
        await remember(update, context)
        if update.effective_user is not None and update.effective_user.id == 1:
            bad = [lambda: 2] if context.user_data["said"] == "bad" else []
            context.user_data["basket"] = {"price": [1, *bad]}

    async with bots.run(MessageHandler(filters.TEXT, spoil)) as app:
        errors = gather_errors(app)
        await say(app, "tea", user=1)
        await app.update_persistence()
        await say(app, "bad", user=1)
        await say(app, "milk", user=2)
        await app.update_persistence()
    [error] = errors
    assert isinstance(error, SerializationError)
    assert (error.kind, error.key, error.path) == ("user_data", 1, "['basket']['price'][1]")
    assert "functions are never loaded" in str(error)
    app = await bots.load()
    assert app.user_data == {1: {"said": "bad", "basket": {"price": [1]}}, 2: {"said": "milk"}}
    assert app.chat_data == {1: {"heard": "bad"}, 2: {"heard": "milk"}}


# What an outsider sees ----------------------------------------------------------------------------

CANARY = "Quetzalcoatl-7f3a"
CANARY_USER = 5_551_234_567_890
CANARY_CONVERSATION = "Axolotl-order-91c"


def _traces() -> list[bytes]:
    """Return what a canary would look like, in any way that we might write it."""
    number = CANARY_USER
    return [
        CANARY.encode(),
        CANARY_CONVERSATION.encode(),
        str(number).encode(),
        f"{number:,}".encode(),
        f"{number:x}".encode(),
        struct.pack("<q", number)[:6],
        struct.pack(">q", number)[2:],
    ]


class _Unpicklable:
    """A value that cannot be saved, and whose own code says too much when asked why."""

    def __deepcopy__(self, memo: object) -> _Unpicklable:
        return self

    def __repr__(self) -> str:
        return f"<{CANARY} of {CANARY_USER}>"

    def __reduce__(self) -> str:
        raise ValueError(f"{CANARY} of {CANARY_USER} in {CANARY_CONVERSATION}")


@pytest.mark.usefixtures("impatient")
async def test_no_canary_in_the_bucket_or_the_log(
    bots: Bots, s3_client: S3Client, fault_proxy: FaultProxy, caplog: pytest.LogCaptureFixture
) -> None:
    """No value, id or conversation's name is in any version of any object, or in any log line.

    Commits, blobs, failed commits and values that cannot be saved are all among what is logged,
    with tracebacks, as PTB logs what no error handler takes.
    """
    caplog.set_level(logging.INFO)
    caplog.set_level(logging.DEBUG, "ptb_s3")

    async def keep(update: Update, context: Context) -> None:
        await remember(update, context)
        context.user_data[CANARY] = {CANARY: CANARY_USER, "text": CANARY * 100}
        context.bot_data[CANARY_USER] = CANARY

    async def spoil(_: object, context: Context) -> None:
        context.user_data[CANARY] = {CANARY: [_Unpicklable()]}
        context.chat_data[CANARY] = lambda: CANARY

    handlers: list[Handler] = [
        CommandHandler("spoil", spoil),
        MessageHandler(filters.TEXT & ~filters.COMMAND, keep),
        asking(CANARY_CONVERSATION),
    ]
    through_proxy = bots.persistence(endpoint_url=fault_proxy.endpoint_url, trusted=(__name__,))
    async with bots.run(*handlers, persistence=through_proxy) as app:
        await say(app, "/start", user=CANARY_USER)
        await say(app, CANARY, user=CANARY_USER)
        await app.update_persistence()
        await settled(through_proxy)
        await fault_proxy.refuse()
        await say(app, CANARY + CANARY, user=CANARY_USER)
        await say(app, "/start", user=CANARY_USER)
        await app.update_persistence()
        await fault_proxy.accept()
        fault_proxy.lose(Lost.REPLY, method="PUT")
        await say(app, "/spoil", user=CANARY_USER)
        await app.update_persistence()
    app = await bots.load()
    assert app.user_data[CANARY_USER][CANARY][CANARY] == CANARY_USER
    assert len(await _states(app, CANARY_CONVERSATION)) == 1

    logged = [record.name for record in caplog.records]
    assert {"ptb_s3", "telegram.ext.Application"} <= set(logged)
    assert "StorageUnavailableError" in caplog.text
    assert "SerializationError" in caplog.text
    log = caplog.text.encode()
    assert [trace for trace in _traces() if trace in log] == []
    versions = await bots.versions()
    assert {key for key, *_ in versions} >= {"bot/head", "bot/user_data", "bot/conversations"}
    for key, version, _ in versions:
        response = await s3_client.get_object(Bucket=bots.bucket, Key=key, VersionId=version)
        seen = await response["Body"].read() + repr(response).encode() + key.encode()
        assert [trace for trace in _traces() if trace in seen] == []
