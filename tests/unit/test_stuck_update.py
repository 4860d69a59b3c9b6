"""An update that always runs out of time: other chats go on, and nothing of it stays."""

from __future__ import annotations

import asyncio
from random import Random
from typing import Any

import pytest
from telegram.ext import MessageHandler, filters
from tests.support import make_persistence
from tests.support.bots import App
from tests.support.deliveries import application, count, message, users

from ptb_s3._storage.memory import MemoryStore
from ptb_s3.errors import StorageUnavailableError
from ptb_s3.serverless import deliver

TIMEOUT = 0.05
"""Seconds that each call of `deliver` has, for 25 s on a host."""
FIRST_DELAY, MAX_DELAY = TIMEOUT / 25, TIMEOUT * 60 / 25
"""Seconds until Telegram sends again: 1 s at first, doubled each time up to a number that is drawn
anew between 60 and 120 s, here to the scale of `TIMEOUT`. telegram-bot-api, WebhookActor.cpp."""
SECONDS = 30
"""Within which all of it ends on a busy machine."""


class Handler:
    """Counts like any bot, after it has waited where the text says so."""

    def __init__(self) -> None:
        self.released = asyncio.Event()
        self.attempts = 0

    async def __call__(self, update: Any, context: Any) -> None:
        await count(update, context)
        if update.message.text == "hang":
            self.attempts += 1
            await self.released.wait()


async def send(app: App, connections: asyncio.Semaphore, chat: list[str]) -> None:
    """Send a chat's updates as Telegram does: in order, each until it is answered 200."""
    chance = Random(chat[0])  # noqa: S311 - of a test, and the same each time
    for body in chat:
        delay = FIRST_DELAY
        while not await _answered(app, connections, body):
            await asyncio.sleep(delay)
            delay = min(delay * 2, chance.uniform(MAX_DELAY, MAX_DELAY * 2))


async def _answered(app: App, connections: asyncio.Semaphore, body: str) -> bool:
    async with connections:
        try:
            await deliver(app, body, timeout=TIMEOUT)
        except (TimeoutError, StorageUnavailableError):  # answered 500
            return False
    return True


@pytest.mark.parametrize("max_connections", [1, 4, 40])
async def test_an_update_that_never_ends_does_not_stop_the_others(max_connections: int) -> None:
    """Its own chat waits; all others are served meanwhile, and it comes through when it can."""
    store, handler = MemoryStore(), Handler()
    app = application(store, MessageHandler(filters.TEXT, handler))
    await deliver(app, message(user=9))  # the state is loaded
    connections = asyncio.Semaphore(max_connections)
    stuck = [message("hang", user=1), message(user=1)]
    others = [[message(user=user) for _ in range(3)] for user in range(2, 7)]
    async with asyncio.timeout(SECONDS):
        hanging = asyncio.create_task(send(app, connections, stuck))
        await asyncio.gather(*(send(app, connections, chat) for chat in others))
        while handler.attempts < 2:  # noqa: ASYNC110 - a handler tells nobody that it is called
            await asyncio.sleep(TIMEOUT)
        assert await users(store) == {9: {"n": 1}, **{user: {"n": 3} for user in range(2, 7)}}
        assert not hanging.done()
        handler.released.set()
        await hanging
    assert (await users(store))[1] == {"n": 2}
    assert (await make_persistence(store).get_bot_data()) == {"n": 1 + 15 + 2}


async def test_one_that_waited_for_all_of_its_time_says_so() -> None:
    """It was not at fault: it is sent again, and takes effect once."""
    store, handler = MemoryStore(), Handler()
    app = application(store, MessageHandler(filters.TEXT, handler))
    await deliver(app, message(user=9))
    hanging = asyncio.create_task(deliver(app, message("hang", user=1), timeout=SECONDS))
    while not handler.attempts:  # noqa: ASYNC110 - as above
        await asyncio.sleep(0)
    patient = message(user=2)
    with pytest.raises(StorageUnavailableError, match="those before it, left update"):
        await deliver(app, patient, timeout=0.01)
    handler.released.set()
    await hanging
    assert await deliver(app, patient, timeout=SECONDS)
    assert not await deliver(app, patient, timeout=SECONDS)
    assert (await users(store))[2] == {"n": 1}
