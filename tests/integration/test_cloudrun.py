"""`ptb_s3.hosts.webhook` as a process: HTTP in, and an end after SIGTERM that loses nothing."""

from __future__ import annotations

import asyncio
import io
import json
import re
import signal
import time
from asyncio.subprocess import Process
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from http import HTTPStatus
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import pytest
from tests.integration.hosts import EXAMPLE, PATIENCE, SECRET, USER, BotApi, Host, message
from tests.servers import S3Server
from tests.support import OTHER_KEY
from tests.support.bots import Bots
from tests.support.faultproxy import FaultProxy, Lost

from ptb_s3.errors import SettingsError, StorageUnavailableError, UnknownKeyError

WINDOW = 10.0
"""Seconds between SIGTERM and SIGKILL on Cloud Run."""
OK = HTTPStatus.OK
HEADER = "X-Telegram-Bot-Api-Secret-Token"


class Service:
    """The service, listening.

    Attributes:
        process: It.
        url: Where.
        started_in: Seconds from starting the process to its first answer.
    """

    def __init__(self, process: Process, url: str, log: Host, http: aiohttp.ClientSession) -> None:
        self.process = process
        self.url = url
        self.started_in = 0.0
        self._host = log
        self._http = http

    @property
    def address(self) -> tuple[str | None, int | None]:
        return urlsplit(self.url).hostname, urlsplit(self.url).port

    @property
    def log(self) -> str:
        return self._host.log(self.process)

    async def post(self, body: str | bytes | io.BytesIO, secret: str | None = SECRET) -> int:
        """Return the status that Telegram, or somebody else, is answered with."""
        headers = {} if secret is None else {HEADER: secret}
        async with self._http.post(f"{self.url}/webhook", data=body, headers=headers) as response:
            return response.status

    async def get(self, path: str) -> int:
        async with self._http.get(self.url + path) as response:
            return response.status

    async def end(self) -> int:
        """Send SIGTERM; return the exit code, which comes before the host loses its patience."""
        self.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(WINDOW):
            return await self.process.wait()


class CloudRun:
    """Starts instances of the service.

    Attributes:
        host: What they are given.
        build: Function that makes the application.
        arguments: Others of the command line.
    """

    def __init__(self, host: Host, http: aiohttp.ClientSession) -> None:
        self.host = host
        self.build = "shop.bot:build"
        self.arguments: tuple[str, ...] = ()
        self._http = http

    async def launch(self, **environment: str) -> Process:
        return await self.host.start(
            *("-m", "ptb_s3.hosts.webhook", self.build, *self.arguments),
            modules=[EXAMPLE],
            HOST="127.0.0.1",
            **{"PORT": "0", **environment},
        )

    async def start(self, **environment: str) -> Service:
        """Start an instance, and return when it is healthy."""
        begun = time.monotonic()
        process = await self.launch(**environment)
        port = await self._port(process)
        service = Service(process, f"http://127.0.0.1:{port}", self.host, self._http)
        assert await service.get("/healthz") == OK
        service.started_in = time.monotonic() - begun
        return service

    async def _port(self, process: Process) -> str:
        async with asyncio.timeout(PATIENCE):
            while True:
                if found := re.search(r"Listening on port (\d+)\.", self.host.log(process)):
                    return found[1]
                assert process.returncode is None, self.host.log(process)
                await asyncio.sleep(0.02)


@pytest.fixture
async def cloud_run(s3_server: S3Server, bots: Bots, tmp_path: Path) -> AsyncIterator[CloudRun]:
    async with BotApi().run() as api, aiohttp.ClientSession() as http:
        host = Host(s3_server, bots, api, tmp_path)
        yield CloudRun(host, http)
        api.release()
        await host.end()


async def test_http_in(cloud_run: CloudRun) -> None:
    """Telegram is let in and answered; whatever else comes is refused, and harms nothing."""
    service = await cloud_run.start()
    for status, body, secret in (
        (401, message("no secret"), None),
        (401, message("an empty one"), ""),
        (401, message("a wrong one"), SECRET[1:]),
        (401, message("not ASCII"), "sécret"),
        (401, "garbage", "x"),
        (400, "", SECRET),
        (400, "garbage", SECRET),
        (400, b"\xff\xfe\x00", SECRET),
        (400, "[]", SECRET),
        (400, '{"update_id": 1, "message": 5}', SECRET),
        (413, io.BytesIO(b" " * 2_000_000), SECRET),
        (200, message("tea"), SECRET),
        (200, message("milk").encode(), SECRET),
    ):
        assert await service.post(body, secret) == status, body
    assert await service.get("/webhook") == HTTPStatus.METHOD_NOT_ALLOWED
    assert await service.get("/") == HTTPStatus.NOT_FOUND
    assert await service.get("/healthz") == OK
    assert await service.get("/readyz") == OK
    assert await service.end() == 0
    logged = Counter(re.findall(r"Answered (\d+): ", service.log))
    # One for the first, and for what came after it within the minute one with a count at the end.
    assert logged == {"400": 2, "401": 2, "404": 1, "405": 1, "413": 1}
    assert "Answered 401: (4 more for this reason since it was last logged.)" in service.log
    assert await cloud_run.host.lists() == {USER: ["tea", "milk"]}
    print(f"healthy after {service.started_in:.2f} s")  # noqa: T201 - pytest -s, for the README
    assert service.started_in < WINDOW


async def test_sigterm_in_the_middle_of_requests(cloud_run: CloudRun) -> None:
    """It takes no more, answers what is under way, and ends with 0; what was answered is there."""
    service = await cloud_run.start()
    assert await service.post(message("0", 100)) == OK
    cloud_run.host.api.hold()
    waiting = [asyncio.create_task(service.post(message(str(n), 100 + n))) for n in range(1, 9)]
    await cloud_run.host.api.held()
    assert await service.get("/healthz") == OK
    ending = asyncio.create_task(service.end())
    await refuses(service)
    cloud_run.host.api.release()
    answers = await asyncio.gather(*waiting, return_exceptions=True)
    assert await ending == 0
    assert answers == [OK] * 8
    assert await cloud_run.host.lists() == {100 + n: [str(n)] for n in range(9)}
    assert service.log.splitlines()[-1] == "INFO ptb_s3: Saved all, and ended."


async def test_killed_or_frozen_nothing_is_lost_or_done_twice(cloud_run: CloudRun) -> None:
    """SIGKILL in the middle of an update, and a freeze between two of them.

    What was answered is there. The update that got no answer is sent again, and takes effect once.
    """
    service = await cloud_run.start()
    assert await service.post(message("first")) == OK
    update = message("killed")
    cloud_run.host.api.hold()
    waiting = asyncio.create_task(service.post(update))
    await cloud_run.host.api.held()
    service.process.kill()
    await service.process.wait()
    with pytest.raises(aiohttp.ClientError):
        await waiting
    cloud_run.host.api.release()
    assert await cloud_run.host.lists() == {USER: ["first"]}

    service = await cloud_run.start()
    assert await service.post(update) == OK
    frozen = message("frozen")
    service.process.send_signal(signal.SIGSTOP)
    waiting = asyncio.create_task(service.post(frozen))
    await asyncio.sleep(0.5)  # a freeze is time that passes
    service.process.send_signal(signal.SIGCONT)
    assert await waiting == OK
    assert [await service.post(again) for again in (update, frozen)] == [OK, OK]
    assert await service.end() == 0
    assert await cloud_run.host.lists() == {USER: ["first", "killed", "frozen"]}


async def test_an_update_that_never_ends_delays_the_others_and_no_more(cloud_run: CloudRun) -> None:
    """It is answered 500 when its time is up; those behind it are then processed, in one process.

    Sent again when its handler ends, it takes effect.
    """
    cloud_run.arguments = ("--update-timeout", "1")
    service = await cloud_run.start()
    update = message("slow")
    cloud_run.host.api.hold()
    waiting = asyncio.create_task(service.post(update))
    await cloud_run.host.api.held()
    others = [asyncio.create_task(service.post(message("quick", user))) for user in (1, 2)]
    assert await waiting == HTTPStatus.INTERNAL_SERVER_ERROR
    cloud_run.host.api.release()
    assert await asyncio.gather(*others) == [OK, OK]
    assert await service.post(update) == OK
    assert await cloud_run.host.lists() == {1: ["quick"], 2: ["quick"], USER: ["slow"]}
    number = json.loads(update)["update_id"]
    assert f"ERROR ptb_s3: Answered 500 to update {number}: The time was up." in service.log


async def test_a_function_that_is_not_there_is_told(cloud_run: CloudRun) -> None:
    """One line, and the exit code of wrong settings."""
    cloud_run.build = "shop.bot:made"
    process = await cloud_run.launch()
    async with asyncio.timeout(PATIENCE):
        assert await process.wait() == SettingsError.exit_code
    assert cloud_run.host.log(process) == "ERROR ptb_s3: Module shop.bot has no function made.\n"


async def test_what_takes_too_long_is_left_to_telegram(cloud_run: CloudRun) -> None:
    """An update that does not end in time gets no answer; sent again, it is done, once."""
    service = await cloud_run.start(PTB_S3_FLUSH_TIMEOUT="1")
    assert await service.post(message("before")) == OK
    update = message("slow")
    cloud_run.host.api.hold()
    waiting = asyncio.create_task(service.post(update))
    await cloud_run.host.api.held()
    assert await service.end() == 0
    with pytest.raises(aiohttp.ClientError):
        await waiting
    cloud_run.host.api.release()
    assert await cloud_run.host.lists() == {USER: ["before"]}
    another = await cloud_run.start()
    assert [await another.post(update) for _ in range(2)] == [OK, OK]
    assert await cloud_run.host.lists() == {USER: ["before", "slow"]}


@pytest.mark.parametrize(("silent", "flush_timeout", "window"), [(False, 8, WINDOW), (True, 2, 5)])
async def test_sigterm_with_a_storage_that_does_not_answer(
    cloud_run: CloudRun,
    fault_proxy: FaultProxy,
    silent: bool,  # noqa: FBT001 - a case
    flush_timeout: int,
    window: float,
) -> None:
    """It ends in time, be it Cloud Run's or Fly's, with an error in one line; none is lost.

    What it could not save is what it had answered 500, so that Telegram sends it again.
    """
    service = await cloud_run.start(
        PTB_S3_ENDPOINT_URL=fault_proxy.endpoint_url, PTB_S3_FLUSH_TIMEOUT=str(flush_timeout)
    )
    update = message("unsaved")
    assert await service.post(message("saved")) == OK
    fault_proxy.lose(Lost.REQUEST, requests=99, method="PUT")
    assert await service.post(update) == HTTPStatus.INTERNAL_SERVER_ERROR
    await fault_proxy.refuse()
    before = len(service.log)
    async with AsyncExitStack() as stack:
        if silent:
            await stack.enter_async_context(silence(fault_proxy.endpoint_url))
        begun = time.monotonic()
        assert await service.end() == StorageUnavailableError.exit_code
        assert time.monotonic() - begun < window
    assert len(re.findall("^ERROR ptb_s3: ", service.log[before:], re.MULTILINE)) == 1
    assert "Traceback" not in service.log
    assert await cloud_run.host.lists() == {USER: ["saved"]}
    another = await cloud_run.start()
    assert await another.post(update) == OK
    assert await cloud_run.host.lists() == {USER: ["saved", "unsaved"]}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TELEGRAM_BOT_TOKEN", ""),
        ("TELEGRAM_SECRET_TOKEN", "two words"),
        ("PTB_S3_KEY", ""),
    ],
)
async def test_settings_that_are_wrong_are_named(
    cloud_run: CloudRun, name: str, value: str
) -> None:
    """It does not start; one line says which variable, and not what was in it."""
    process = await cloud_run.launch(**{name: value})
    async with asyncio.timeout(PATIENCE):
        assert await process.wait() == SettingsError.exit_code
    (line,) = cloud_run.host.log(process).splitlines()
    assert line.startswith(f"ERROR ptb_s3: {name} is ")
    assert not value or value not in line


async def test_a_state_that_cannot_be_read_is_no_start(cloud_run: CloudRun) -> None:
    """A new revision with a wrong key is not healthy, and says which key it would need."""
    service = await cloud_run.start()
    assert await service.post(message("tea")) == OK
    assert await service.end() == 0
    process = await cloud_run.launch(PTB_S3_KEY=OTHER_KEY.reveal())
    async with asyncio.timeout(PATIENCE):
        assert await process.wait() == UnknownKeyError.exit_code
    lines = cloud_run.host.log(process).splitlines()
    assert lines[-1].startswith("ERROR ptb_s3: Object 'head' is sealed with key ")
    assert "Listening" not in cloud_run.host.log(process)
    assert await cloud_run.host.lists() == {USER: ["tea"]}


async def refuses(service: Service) -> None:
    """Return when the service accepts nothing more."""
    async with asyncio.timeout(WINDOW):
        while True:
            try:
                _, writer = await asyncio.open_connection(*service.address)
            except ConnectionRefusedError:
                return
            writer.close()
            await asyncio.sleep(0.01)


@asynccontextmanager
async def silence(url: str) -> AsyncIterator[None]:
    """Accept connections to that address, and never say a word."""
    over = asyncio.Event()

    async def wait(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await over.wait()
        writer.transport.abort()

    parts = urlsplit(url)
    server = await asyncio.start_server(wait, parts.hostname, parts.port)
    yield
    server.close()
    over.set()
