"""Two instances that poll at once, as in a rolling deploy: Telegram's Conflict costs no state."""

from __future__ import annotations

import asyncio
import json
from http import HTTPStatus
from typing import Any

from telegram import Update
from telegram.error import Conflict
from telegram.ext import ApplicationBuilder, MessageHandler, filters
from telegram.request import RequestData
from tests.support import make_persistence
from tests.support.bots import TOKEN, App, Context, Json, OfflineTelegram, persistence_of
from tests.support.deliveries import message

from ptb_s3 import PersistentApplication
from ptb_s3._storage.memory import MemoryStore

USERS = range(1, 6)
SECONDS = 20
"""Within which all of it ends on a busy machine; it takes a fraction of a second."""


class Telegram:
    """Queue of updates of one bot, of which one request at a time may wait.

    As Telegram's own server does it (telegram-bot-api's Client.cpp): a request ends the one that
    waits with 409, and confirms all updates below its offset.

    Attributes:
        conflicts: Requests that were ended by another.
        unconfirmed: Updates by their id.
    """

    def __init__(self) -> None:
        self.conflicts = 0
        self.unconfirmed: dict[int, Json] = {}
        self._waiting: asyncio.Future[bool] | None = None

    def send(self, update: str) -> int:
        """Have a user write to the bot, and return the id of the update."""
        content: Json = json.loads(update)
        self.unconfirmed[content["update_id"]] = content
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(True)
        return int(content["update_id"])

    async def updates(self, offset: int, seconds: float) -> list[Json] | None:
        """Answer getUpdates; None: another request has ended this one."""
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(False)
        for number in [number for number in self.unconfirmed if number < offset]:
            del self.unconfirmed[number]
        if not self.unconfirmed and seconds:
            waiting = self._waiting = asyncio.get_running_loop().create_future()
            if not await waiting:
                self.conflicts += 1
                return None
        return list(self.unconfirmed.values())


class PollingRequest(OfflineTelegram):
    """Line of one instance to `Telegram`."""

    def __init__(self, telegram: Telegram) -> None:
        super().__init__(TOKEN)
        self._telegram = telegram

    async def do_request(
        self,
        url: str,
        method: str,
        request_data: RequestData | None = None,
        *timeouts: object,
        **more_timeouts: object,
    ) -> tuple[int, bytes]:
        if not url.endswith("/getUpdates"):
            return await super().do_request(url, method, request_data, *timeouts, **more_timeouts)
        assert request_data is not None
        given: Any = request_data.parameters
        updates = await self._telegram.updates(given.get("offset", 0), given.get("timeout", 0))
        if updates is None:
            refused = {"ok": False, "error_code": 409, "description": "Conflict: terminated"}
            return HTTPStatus.CONFLICT, json.dumps(refused).encode()
        return HTTPStatus.OK, json.dumps({"ok": True, "result": updates}).encode()


class Instance:
    """Bot that polls, and remembers which updates it has processed.

    Attributes:
        processed: Ids of the updates that its handler has seen.
        refused: Conflicts that PTB was told of.
    """

    def __init__(self, telegram: Telegram, store: MemoryStore) -> None:
        self.processed: list[int] = []
        self.refused = 0
        builder: Any = ApplicationBuilder().application_class(PersistentApplication)
        builder = builder.token(TOKEN).request(PollingRequest(telegram)).job_queue(None)
        builder = builder.get_updates_request(PollingRequest(telegram))
        persistence = make_persistence(store, update_interval=0.1)
        self.app: App = builder.persistence(persistence).build()
        self.app.add_handler(MessageHandler(filters.TEXT, self._remember))

    async def _remember(self, update: Update, context: Context) -> None:
        self.processed.append(update.update_id)
        seen = context.user_data.setdefault("seen", set())
        seen.add(update.update_id)
        context.bot_data.setdefault("seen", set()).add(update.update_id)

    def _note(self, error: Exception) -> None:
        assert isinstance(error, Conflict)
        self.refused += 1

    async def start(self) -> None:
        await self.app.initialize()
        assert self.app.updater is not None
        await self.app.updater.start_polling(poll_interval=0.01, error_callback=self._note)
        await self.app.start()

    async def stop(self) -> None:
        assert self.app.updater is not None
        await self.app.updater.stop()
        await self.app.stop()
        await self.app.shutdown()


async def test_nothing_is_lost_where_two_instances_poll() -> None:
    """They take turns, both save, and all that either has processed is in the state."""
    telegram, store = Telegram(), MemoryStore()
    old, new = Instance(telegram, store), Instance(telegram, store)
    sent: set[int] = set()
    async with asyncio.timeout(SECONDS):
        await old.start()
        sent.add(telegram.send(message()))
        await new.start()
        while not (old.refused and new.refused and old.processed and new.processed):
            sent.add(telegram.send(message(user=USERS[len(sent) % len(USERS)])))
            await asyncio.sleep(0.05)  # with nothing to fetch, both ask, and one of them waits
        await old.stop()
        sent.add(telegram.send(message(text="to the new one")))
        while telegram.unconfirmed:  # noqa: ASYNC110 - PTB confirms, and tells nobody
            await asyncio.sleep(0.01)
        await new.stop()
    assert telegram.conflicts >= old.refused + new.refused >= 2
    assert {*old.processed, *new.processed} == sent
    after = make_persistence(store)
    assert (await after.get_bot_data())["seen"] == sent
    users = await after.get_user_data()
    assert set().union(*(user["seen"] for user in users.values())) == sent
    assert persistence_of(new.app).stats.failures == persistence_of(old.app).stats.failures == 0
