"""Hosts of infra/ as processes: their environment, their logs, and a Telegram that they talk to."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import secrets
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Self

from aiohttp import web
from tests.servers import PROJECT, S3Server
from tests.support import KEY
from tests.support.bots import PREFIX, TOKEN, Bots

INFRA = PROJECT / "infra"
EXAMPLE = INFRA / "example"
"""Project that hosts run, as a user would have one: several modules, and a handler for Lambda."""
SECRET = secrets.token_urlsafe(32)
USER = 987_654_321
"""A user's id that nothing else contains, to be looked for in logs."""
PATIENCE = 30.0
"""Seconds for what should take one, on a machine that others use as well."""
POLL = 0.2
"""Seconds that a request for updates waits for one. Telegram's waits for ten."""
Json = dict[str, Any]
_ids = itertools.count(700_000)


def message(text: str = "hello", user: int = USER, number: int | None = None) -> str:
    """Return an update as Telegram sends it."""
    content: Json = {
        "message_id": 1,
        "date": 1_700_000_000,
        "chat": {"id": user, "type": "private"},
        "from": {"id": user, "is_bot": False, "first_name": "User"},
        "text": text,
    }
    return json.dumps({"update_id": number or next(_ids), "message": content})


class BotApi:
    """As much of the Bot API as the bot needs, on a port of this machine.

    Args:
        token: The bot's.

    Attributes:
        url: What goes into TELEGRAM_API_URL.
        sent: Texts of the messages that the bot has sent.
    """

    def __init__(self, token: str = TOKEN) -> None:
        self.url = ""
        self._token = token
        self.sent: list[str] = []
        self._updates: dict[int, Json] = {}
        self._reached = asyncio.Event()
        self._open = asyncio.Event()
        self._open.set()

    @asynccontextmanager
    async def run(self) -> AsyncIterator[Self]:
        application = web.Application()
        application.router.add_post("/bot{token}/{method}", self._answer)
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield self
        await runner.cleanup()

    def hold(self) -> None:
        """Keep the bot waiting, in the middle of an update, for the answer to what it sends."""
        self._reached.clear()
        self._open.clear()

    async def held(self) -> None:
        """Return when the bot is kept waiting."""
        async with asyncio.timeout(PATIENCE):
            await self._reached.wait()

    def release(self) -> None:
        self._open.set()

    def queue(self, update: str) -> None:
        """Keep an update for whoever polls, until a request with a higher offset confirms it."""
        content: Json = json.loads(update)
        self._updates[content["update_id"]] = content

    async def confirmed(self) -> None:
        """Return when all updates are confirmed: until then, another instance would get them."""
        async with asyncio.timeout(PATIENCE):
            while self._updates:  # noqa: ASYNC110 - whoever polls confirms them
                await asyncio.sleep(0.01)

    async def _poll(self, offset: int) -> list[Json]:
        """Return the updates from an offset on, after a while also where there are none."""
        for number in [number for number in self._updates if number < offset]:
            del self._updates[number]
        with suppress(TimeoutError):
            async with asyncio.timeout(POLL):
                while not self._updates:  # noqa: ASYNC110 - a test puts them there
                    await asyncio.sleep(0.01)
        return list(self._updates.values())

    async def _answer(self, request: web.Request) -> web.Response:
        if request.match_info["token"] != self._token:
            refusal = {"ok": False, "error_code": 401, "description": "Unauthorized"}
            return web.json_response(refusal, status=401)
        if request.match_info["method"] == "getMe":
            me = {"id": int(self._token.partition(":")[0]), "is_bot": True, "first_name": "Bot"}
            return web.json_response({"ok": True, "result": {**me, "username": "a_bot"}})
        form = await request.post()
        if request.match_info["method"] == "getUpdates":
            found = await self._poll(int(str(form.get("offset", 0))))
            return web.json_response({"ok": True, "result": found})
        if request.match_info["method"] == "deleteWebhook":
            return web.json_response({"ok": True, "result": True})
        self.sent.append(str(form["text"]))
        if not self._open.is_set():
            self._reached.set()
            await self._open.wait()
        chat = {"id": int(str(form["chat_id"])), "type": "private"}
        result = {"message_id": 2, "date": 1_700_000_000, "chat": chat, "text": form["text"]}
        return web.json_response({"ok": True, "result": result})


class Host:
    """What a process is given, and the account of all those that were started.

    Args:
        server: The S3 server.
        bots: Whose bucket it is.
        api: Telegram.
        folder: An empty one, to run in.
    """

    def __init__(self, server: S3Server, bots: Bots, api: BotApi, folder: Path) -> None:
        self.bots = bots
        self.api = api
        self._folder = folder
        self._server = server
        self._processes: list[Process] = []
        self._logs: list[Path] = []

    def environment(self, **others: str) -> dict[str, str]:
        """Return what the READMEs say is to be set, for this machine; others go before it."""
        ours = {
            **self._server.environment,
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
            "NO_PROXY": "*",
            "PATH": os.defpath,
            "PTB_S3_BUCKET": self.bots.bucket,
            "PTB_S3_PREFIX": PREFIX,
            "PTB_S3_KEY": KEY.reveal(),
            "PTB_S3_ENDPOINT_URL": self._server.endpoint_url,
            "TELEGRAM_BOT_TOKEN": TOKEN,
            "TELEGRAM_SECRET_TOKEN": SECRET,
            "TELEGRAM_API_URL": self.api.url,
            **others,
        }
        return {name: value for name, value in ours.items() if value}

    async def start(
        self,
        *arguments: str | Path,
        modules: list[Path],
        program: str | Path = sys.executable,
        **others: str,
    ) -> Process:
        """Start a program, Python by default, that finds those folders' modules."""
        log = self._folder / f"{len(self._processes)}.log"
        path = os.pathsep.join(map(str, [*modules, PROJECT / "src", PROJECT]))
        with log.open("wb") as stream:
            process = await asyncio.create_subprocess_exec(
                program,
                *arguments,
                cwd=self._folder,
                env={**self.environment(**others), "PYTHONPATH": path},
                stdin=PIPE,
                stdout=PIPE,
                stderr=stream,
            )
        self._processes.append(process)
        self._logs.append(log)
        return process

    def log(self, process: Process) -> str:
        """Return what a process has written to its log so far."""
        return self._logs[self._processes.index(process)].read_text()

    async def lists(self) -> dict[int, list[str]]:
        """Return the lists of all users, as the next process would load them."""
        return {user: data["items"] for user, data in (await self.bots.peek()).items()}

    async def end(self) -> None:
        """End what still runs; look for secrets in all that was logged."""
        for process in self._processes:
            if process.returncode is None:
                process.kill()
                await process.wait()
        for log in self._logs:
            text = log.read_text()
            for secret in (*self._secrets(), str(USER)):
                assert secret not in text, "a secret, or the id of a user, is in the log"

    def _secrets(self) -> list[str]:
        environment = self.environment()
        names = (
            "PTB_S3_KEY",
            "TELEGRAM_BOT_TOKEN",
            "TELEGRAM_SECRET_TOKEN",
            "AWS_SECRET_ACCESS_KEY",
        )
        return [environment[name] for name in names]
