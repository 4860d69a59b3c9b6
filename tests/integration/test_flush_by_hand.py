"""Handlers that flush by themselves, several at once: all is saved, and nothing breaks off."""

from __future__ import annotations

import asyncio
import gc
import random

import pytest
from telegram import Update
from telegram.ext import MessageHandler, filters
from tests.support.bots import (
    Bots,
    Context,
    gather_errors,
    make_application,
    persistence_of,
    say,
)

from ptb_s3 import PersistentApplication
from ptb_s3._storage.link import Link

USERS, ROUNDS = range(1, 7), 5


async def save_and_flush(update: Update, context: Context) -> None:
    """Do as public bots do with what must not be lost."""
    assert update.message is not None
    context.user_data["said"] = update.message.text
    context.application.mark_data_for_update_persistence(user_ids=update.message.chat.id)
    await context.application.update_persistence()
    await context.application.persistence.flush()


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[Link]:
    """The links that were made: each opens a client of its own."""
    links = []
    begin = Link.__init__

    def note(self: Link) -> None:
        begin(self)
        links.append(self)

    monkeypatch.setattr(Link, "__init__", note)
    return links


@pytest.mark.parametrize("spread", [0.0, 0.05], ids=["at once", "one into the other"])
async def test_handlers_that_flush_do_each_other_no_harm(
    bots: Bots, caplog: pytest.LogCaptureFixture, opened: list[Link], spread: float
) -> None:
    """No request breaks off, and no client is left open; of those at once, the last one closes."""
    persistence = bots.persistence()
    handler = MessageHandler(filters.TEXT, save_and_flush)
    app = make_application(persistence, [handler], application_class=PersistentApplication)
    errors, rng = gather_errors(app), random.Random(1)  # noqa: S311 - to be repeatable

    async def say_later(text: str, user: int) -> None:
        await asyncio.sleep(rng.random() * spread)
        await say(app, text, user=user)

    async with app:
        for number in range(ROUNDS):
            await asyncio.gather(*(say_later(f"text {number}", user) for user in USERS))
            assert await bots.peek() == {user: {"said": f"text {number}"} for user in USERS}
    gc.collect()  # aiohttp tells of a session that was left open when it is collected
    await asyncio.sleep(0)
    assert errors == []
    assert persistence_of(app).stats.failures == 0
    assert "Unclosed" not in caplog.text
    if not spread:
        own = len(opened) - ROUNDS  # without those of whoever peeked
        assert own < ROUNDS * len(USERS) / 2, "not one for each flush: not all of them overlap"
