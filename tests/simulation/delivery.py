"""Telegram as a webhook's sender, and instances of a bot on hosts that end them at any time.

Each update adds one to what several entities count, and writes its id down. So at each commit the
counts are the number of ids, and an update that was answered is among them.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from telegram.ext import Application, ApplicationBuilder, TypeHandler
from tests.simulation.audit import Audit, Commit
from tests.simulation.excuses import NEWER, Excuses
from tests.simulation.loop import Process
from tests.simulation.model import Violation
from tests.simulation.values import Fields, put_plan
from tests.support import Persistence
from tests.support.bots import TOKEN, OfflineTelegram

from ptb_s3 import PersistentApplication
from ptb_s3.errors import ConflictError, PersistenceError
from ptb_s3.serverless import close, deliver

App = Application[Any, Any, Any, Any, Any, Any]
USERS = range(1, 6)
# Updates of a schedule, at most.
UPDATES = 30
# Tries of one update. The weather ends long before.
TRIES = 60


class Instance:
    """One instance of the bot: a process, and the application in it.

    Args:
        process: The process.
        persistence: What the application has.
        rng: Decides how its handlers behave.
        knows_plan: Whether it is of the newer version.
    """

    def __init__(
        self, process: Process, persistence: Persistence, rng: random.Random, *, knows_plan: bool
    ) -> None:
        self.process = process
        self.persistence = persistence
        self._rng = rng
        self._knows_plan = knows_plan
        builder: Any = ApplicationBuilder().token(TOKEN)
        self._demanded = bool(persistence._loader.options.on_demand)
        if rng.random() < 0.6 or self._demanded:
            builder = builder.application_class(PersistentApplication)
        telegram = OfflineTelegram(TOKEN)
        builder = builder.request(telegram).get_updates_request(telegram).updater(None)
        self.app: App = builder.job_queue(None).persistence(persistence).build()
        self.app.add_handler(TypeHandler(object, self._count))
        self.app.add_error_handler(self._hear)

    async def _hear(self, _: object, context: Any) -> None:
        """Hear what the application could not do; `deliver` raises it, or it is none of its."""

    async def _count(self, update: Any, context: Any) -> None:
        number = update.update_id
        for data in (context.bot_data, context.user_data):
            count = data.get("n", 0)
            if self._rng.random() < 0.2:
                await asyncio.sleep(self._rng.random() / 4)
            data["n"] = count + 1
        context.user_data.setdefault("seen", {})[number] = True
        context.bot_data.setdefault("log", []).append(str(number))
        context.chat_data["last"] = str(number)
        if self._demanded and self._rng.random() < 0.3:
            await self._look_at_another(context)
        if self._knows_plan and update.effective_user.id == NEWER:
            put_plan(context.user_data, lambda: str(number))

    async def _look_at_another(self, context: Any) -> None:
        """Read data of a user whom the update is not about, ahead or then and there."""
        user = self._rng.choice(USERS)
        with suppress(PersistenceError):
            if self._rng.random() < 0.5:
                await context.application.prefetch(users=[user])
            context.application.user_data.get(user)


class Deliveries:
    """Sends updates until each is answered.

    Args:
        audit: Knows what is committed.
        excuses: Knows which failures are none of the engine's.
        rng: Decides what befalls an update.
        instance: Starts another instance.
    """

    def __init__(
        self,
        audit: Audit,
        excuses: Excuses,
        rng: random.Random,
        instance: Callable[[], Instance],
    ) -> None:
        self._audit, self._excuses, self._rng = audit, excuses, rng
        self._make = instance
        self._instances: list[Instance] = []
        self._answered: set[int] = set()
        self._next = 1000
        audit.on_commit.append(self._check)

    async def run(self, end: float) -> None:
        """Send updates, several at a time, until the time is up and all are answered."""
        at_once = self._rng.choice([1, 2, 5, 8])
        await asyncio.gather(*(self._send_some(end) for _ in range(at_once)))

    async def _send_some(self, end: float) -> None:
        clock = asyncio.get_running_loop().time
        while clock() < end and self._next < 1000 + UPDATES and self._audit.violation is None:
            number, self._next = self._next, self._next + 1
            body = _message(number, self._rng.choice(USERS))
            for _ in range(TRIES):
                if self._audit.is_over or await self._sent(number, body):
                    break
                await asyncio.sleep(self._rng.choice([0.1, 1.0, 5.0]))
            else:
                raise Violation(f"update {number} is never answered")
            await asyncio.sleep(self._rng.choice([0.0, 0.0, 0.2, 2.0]))

    async def _sent(self, number: int, body: str) -> bool:
        """Send an update once; tell whether it was answered, and the answer arrived."""
        instance = self._instance()
        call = instance.process.spawn(self._deliver(instance, number, body))
        died = asyncio.ensure_future(instance.process.died.wait())
        patience = self._rng.choice([1.0, 10.0, 10.0, 30.0])
        done, _ = await asyncio.wait(
            [call, died], timeout=patience, return_when=asyncio.FIRST_COMPLETED
        )
        died.cancel()
        if call in done and not call.cancelled():
            return call.result() and self._rng.random() > 0.05
        if self._rng.random() < 0.5:
            call.cancel()  # by its host; or it goes on, and nobody waits for it
        return False

    async def _deliver(self, instance: Instance, number: int, body: str) -> bool:
        try:
            await deliver(instance.app, body)
        except ConflictError:  # it is to be sent again
            self._audit.tally["taken back"] += 1
            return False
        except Exception as error:  # noqa: BLE001 - judged there
            try:
                self._excuses.judge(error)
            except Violation as violation:
                self._audit.blame(violation)
            return False
        self._answered.add(number)
        self._audit.tally["answered"] += 1
        state = self._audit.commits[self._audit.current]
        if number not in _seen(self._audit.fields(state.state, state.words)):
            self._audit.blame(Violation(f"update {number} was answered, and it is not saved"))
        return True

    def _instance(self) -> Instance:
        """Return one of the instances, now and then a new one in the place of another."""
        self._instances = [i for i in self._instances if not i.process.dead]
        if self._instances and self._rng.random() < 0.03:
            gone = self._instances.pop(self._rng.randrange(len(self._instances)))
            if self._rng.random() < 0.5:
                gone.process.spawn(self._close(gone))
        if len(self._instances) < 3 and (not self._instances or self._rng.random() < 0.2):
            self._instances.append(self._make())
        return self._rng.choice(self._instances)

    async def _close(self, instance: Instance) -> None:
        try:
            await close(instance.app)
        except Exception as error:  # noqa: BLE001 - judged there
            try:
                self._excuses.judge(error)
            except Violation as violation:
                self._audit.blame(violation)
        instance.process.kill()

    def _check(self, commit: Commit) -> None:
        fields = self._audit.fields(commit.state, commit.words)
        seen = _seen(fields)
        count = fields.get(("bot_data", 0, ("n",)), 0)
        if count != len(seen):
            raise Violation(f"{len(seen)} updates took effect, and {count} were counted")
        logged = {path[2]: n for (kind, _, path), n in fields.items() if path[:2] == ("log", "+")}
        if logged != {str(number): 1 for number in seen}:
            raise Violation("what took effect is not what was appended to a list")
        if not self._answered <= seen:
            raise Violation(f"updates {sorted(self._answered - seen)} were answered, and are lost")
        for user in USERS:
            own = sum(f[:2] == ("user_data", user) and f[2][0] == "seen" for f in fields)
            if fields.get(("user_data", user, ("n",)), 0) != own:
                raise Violation(f"a user's {own} updates took effect, and were not counted so")


def _seen(fields: Fields) -> set[int]:
    return {path[1] for kind, _, path in fields if kind == "user_data" and path[0] == "seen"}


def _message(number: int, user: int) -> str:
    person = {"id": user, "is_bot": False, "first_name": "U"}
    chat = {"id": user, "type": "private"}
    message = {"message_id": 1, "date": 1_700_000_000, "chat": chat, "from": person, "text": "hi"}
    return json.dumps({"update_id": number, "message": message})
