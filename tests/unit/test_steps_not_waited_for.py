"""Steps of a conversation that PTB does not wait for (`block=False`), in several instances."""

from __future__ import annotations

import asyncio
import json
import warnings
from typing import Any

import pytest
from telegram import Update
from telegram.ext import (
    ApplicationBuilder,
    CommandHandler,
    ConversationHandler,
    Defaults,
    MessageHandler,
    filters,
)
from tests.support import TESTED_LOAD, make_persistence
from tests.support.bots import TOKEN, App, OfflineTelegram, gather_errors
from tests.support.deliveries import message

from ptb_s3 import PersistentApplication
from ptb_s3._ptb.application_state import tasks
from ptb_s3._storage.memory import MemoryStore
from ptb_s3.serverless import deliver

NAME, AMOUNT, CONFIRM = range(3)
END = ConversationHandler.END


def ordering(store: MemoryStore, log: list[str], how: str, *, plain: bool = False) -> App:
    """Build a bot that takes orders; `how` says which of its steps are waited for."""

    def step(name: str, to: int | None) -> Any:
        async def take(update: Any, _: object) -> int | None:
            log.append(f"{name}({update.message.text})")
            await asyncio.sleep(0)
            if update.message.text == "wrong":
                raise ValueError(name)
            return None if update.message.text == "again" else to

        return take

    builder: Any = ApplicationBuilder().token(TOKEN).request(OfflineTelegram(TOKEN))
    if not plain:
        builder = builder.application_class(PersistentApplication)
    if how == "default":
        builder = builder.defaults(Defaults(block=False))
    options: Any = {"block": False} if how == "step" else {}
    text = filters.TEXT & ~filters.COMMAND
    load = "all" if plain else TESTED_LOAD
    persistence = make_persistence(store, sync=0, load=load)
    app: App = builder.updater(None).job_queue(None).persistence(persistence).build()
    order = ConversationHandler(
        [CommandHandler("order", step("order", NAME), **options)],
        {
            NAME: [MessageHandler(text, step("name", AMOUNT), **options)],
            AMOUNT: [MessageHandler(text, step("amount", CONFIRM), **options)],
            CONFIRM: [MessageHandler(text, step("confirm", END), **options)],
        },
        [],
        name="order",
        persistent=True,
    )
    app.add_handler(order)
    gather_errors(app)
    return app


async def take(app: App, text: str, by: str) -> None:
    """Have an instance take a step, as a host does or as PTB does."""
    update = message(text)
    with warnings.catch_warnings():  # PTB's, about tasks of an application that is not running
        warnings.simplefilter("ignore")
        if by == "deliver":
            await deliver(app, update)
        else:
            await app.process_update(Update.de_json(json.loads(update), app.bot))
            while left := tasks(app):
                await asyncio.wait(left)
            await app.update_persistence()


async def states(store: MemoryStore) -> Any:
    return await make_persistence(store).get_conversations("order")


WAYS = [("deliver", False), ("deliver", True), ("process_update", False)]


@pytest.mark.parametrize("how", ["waited for", "step", "default"])
@pytest.mark.parametrize(("by", "plain"), WAYS)
async def test_whoever_takes_the_next_step_knows_the_last_one(
    how: str,
    by: str,
    plain: bool,  # noqa: FBT001 - a case
) -> None:
    """Steps in turn, and a conversation that ends in one instance can begin anew in the other."""
    store, log = MemoryStore(), list[str]()
    here, there = (ordering(store, log, how, plain=plain) for _ in range(2))
    for app in (here, there):
        await app.initialize()
    texts = ["/order", "Ann", "5", "yes"]
    for number, text in enumerate([*texts, *texts]):
        await take((here, there)[number // 2 % 2 if number < 4 else number % 2], text, by)
    steps = ["order(/order)", "name(Ann)", "amount(5)", "confirm(yes)"]
    assert log == [*steps, *steps]
    assert await states(store) == {}


@pytest.mark.parametrize("how", ["step", "default"])
@pytest.mark.parametrize(("by", "plain"), WAYS)
async def test_a_step_that_fails_or_stays_leaves_the_conversation_where_it_was(
    how: str,
    by: str,
    plain: bool,  # noqa: FBT001 - a case
) -> None:
    """As in PTB: with an error, and where a callback returns None."""
    store, log = MemoryStore(), list[str]()
    here, there = (ordering(store, log, how, plain=plain) for _ in range(2))
    for app in (here, there):
        await app.initialize()
    turns = [
        *((here, "/order"), (here, "wrong"), (there, "again"), (here, "Ann")),
        *((there, "5"), (here, "wrong"), (here, "again"), (there, "yes")),
    ]
    for app, text in turns:
        await take(app, text, by)
    assert [entry.partition("(")[0] for entry in log] == [
        *("order", "name", "name", "name", "amount", "confirm", "confirm", "confirm")
    ]
    assert await states(store) == {}


async def test_a_first_step_that_fails_begins_nothing() -> None:
    """There is no state that it could fall back to."""
    store, log = MemoryStore(), list[str]()
    app = ordering(store, log, "step")
    entry: Any = app.handlers[0][0]
    begin = entry.entry_points[0]

    async def fail(*_: object) -> int:
        raise ValueError

    begin.callback = fail
    await take(app, "/order", "deliver")
    assert await states(store) == {}
    assert not app._conversation_handler_conversations["order"]


# Cancelled before its first step, PTB's task leaves the coroutine that it was to await.
@pytest.mark.filterwarnings("ignore:Exception ignored in. <coroutine object BaseHandler")
async def test_a_step_that_was_cancelled_is_saved_as_none() -> None:
    """PTB's own look at it would raise its CancelledError, in the middle of a save."""
    store, log = MemoryStore(), list[str]()
    here, there = ordering(store, log, "step"), ordering(store, log, "step")
    for app in (here, there):
        await app.initialize()
        await take(app, "/order", "process_update")
    update = Update.de_json(json.loads(message("Ann")), here.bot)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        await here.process_update(update)
        await asyncio.sleep(0)  # it has begun
    for task in tasks(here):
        task.cancel()
        await asyncio.wait([task])
    await here.update_persistence()
    assert await states(store) == {(1, 1): NAME}
    await take(there, "Ann", "process_update")
    await take(here, "5", "process_update")
    assert log == ["order(/order)", "name(Ann)", "name(Ann)", "amount(5)"]


async def test_a_step_that_is_taken_back_is_no_step() -> None:
    """Its time was up: the conversation is where it was, here and elsewhere."""
    store, log = MemoryStore(), list[str]()
    here, there = ordering(store, log, "step"), ordering(store, log, "step")
    await take(here, "/order", "deliver")
    entry: Any = here.handlers[0][0]
    stuck = asyncio.Event()

    async def hang(*_: object) -> int:
        await stuck.wait()
        return AMOUNT

    name, callback = entry.states[NAME][0], entry.states[NAME][0].callback
    name.callback = hang
    update = message("Ann")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(TimeoutError):
            await deliver(here, update, timeout=0.05)
    name.callback = callback
    assert await states(store) == {(1, 1): NAME}
    await take(there, "Ann", "deliver")
    await take(here, "5", "deliver")
    assert log == ["order(/order)", "name(Ann)", "amount(5)"]
