"""`ptb_s3.hosts.aws_lambda` as the process that AWS makes of it: nothing lost or done twice.

The storage is real, Telegram is a server of this machine, and freezing and killing are signals. To
run what `infra/lambda/build.sh` has made of infra/example, with the Python that it was made with:

    LAMBDA_BUILD=infra/lambda/build pytest tests/integration/test_lambda.py
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
from asyncio.subprocess import Process
from base64 import b64encode
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
from tests.integration.hosts import (
    EXAMPLE,
    INFRA,
    PATIENCE,
    SECRET,
    USER,
    BotApi,
    Host,
    Json,
    message,
)
from tests.servers import S3Server
from tests.support.bots import Bots
from tests.support.faultproxy import FaultProxy, Lost

from ptb_s3.hosts._endpoint import BODY_LIMIT

TEMPLATE = INFRA / "lambda" / "template.yaml"
(HANDLER,) = re.findall(r"^ +Handler: (\S+)$", TEMPLATE.read_text(), re.MULTILINE)
MODULES = Path(os.environ.get("LAMBDA_BUILD", EXAMPLE)).absolute()
TIMEOUT = 30.0
"""Seconds that an invocation may take, but where a test is about them."""
OK = HTTPStatus.OK


class Instance:
    """One execution environment: a process that is given event after event.

    Attributes:
        process: It.
        cold: What it took to import the handler: seconds, of the clock and of CPU.
    """

    def __init__(self, process: Process, cold: Json) -> None:
        self.process = process
        self.cold = cold
        self.last: Json = {}

    async def invoke(self, update: str, seconds: float = TIMEOUT) -> int:
        """Return the status that an update is answered with."""
        return await self.answer(event(update), seconds)

    async def answer(self, given: Json, seconds: float = TIMEOUT) -> int:
        await self.begin(given, seconds)
        self.last = await line(self.process)
        assert self.last["answered"].keys() == {"statusCode"}
        return int(self.last["answered"]["statusCode"])

    async def begin(self, given: Json, seconds: float = TIMEOUT) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"event": given, "seconds": seconds}).encode() + b"\n")
        await self.process.stdin.drain()

    async def kill(self) -> None:
        self.process.kill()
        await self.process.wait()

    @asynccontextmanager
    async def frozen(self) -> AsyncIterator[None]:
        """Freeze the process, as Lambda does with one that has answered."""
        self.process.send_signal(signal.SIGSTOP)
        yield
        self.process.send_signal(signal.SIGCONT)

    def open_files(self) -> int:
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))  # noqa: PTH208 - no files of ours


class Lambda:
    """Execution environments of one function."""

    def __init__(self, host: Host) -> None:
        self.host = host

    async def cold(self, handler: str = HANDLER, **environment: str) -> Instance:
        """Start an execution environment."""
        program = ("-m", "tests.integration.lambda_runtime", handler)
        modules = [MODULES]
        process = await self.host.start(*program, modules=modules, **environment)
        return Instance(process, await line(process))


async def line(process: Process) -> Json:
    """Return the next line of JSON that a process writes."""
    assert process.stdout is not None
    async with asyncio.timeout(PATIENCE):
        written = await process.stdout.readline()
    assert written, "it has ended"
    read: Json = json.loads(written)
    return read


def event(body: str | None, secret: str | None = SECRET, **others: Any) -> Json:
    """Return what a function URL makes of a request of Telegram's (payload format 2.0)."""
    headers = {"content-type": "application/json", "host": "x.lambda-url.eu-central-1.on.aws"}
    if secret is not None:
        headers["x-telegram-bot-api-secret-token"] = secret
    http = {"method": "POST", "path": "/", "sourceIp": "149.154.167.1"}
    sent = {} if body is None else {"body": body}
    return {
        "version": "2.0",
        "rawPath": "/",
        "headers": headers,
        "requestContext": {"http": http},
        "isBase64Encoded": False,
        **sent,
        **others,
    }


def encoded(update: str) -> Json:
    return event(b64encode(update.encode()).decode(), isBase64Encoded=True)


def renamed(given: Json, name: str) -> Json:
    headers = {**given["headers"]}
    headers[name] = headers.pop("x-telegram-bot-api-secret-token")
    return {**given, "headers": headers}


async def until(happened: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not happened():  # noqa: ASYNC110 - by another process
            await asyncio.sleep(0.01)


@pytest.fixture
async def function(s3_server: S3Server, bots: Bots, tmp_path: Path) -> AsyncIterator[Lambda]:
    async with BotApi().run() as api:
        host = Host(s3_server, bots, api, tmp_path)
        yield Lambda(host)
        await host.end()


async def test_what_is_let_in_and_what_is_answered(function: Lambda) -> None:
    """Without the secret nothing is looked at; what is no update is 400, and an update counts."""
    instance = await function.cold()
    for status, given in (
        (401, event(message("no secret"), None)),
        (401, event(message("an empty one"), "")),
        (401, event(message("a wrong one"), SECRET[:-1])),
        (401, event(message("not ASCII"), "sécret\ud800")),
        (401, event("garbage", "x")),
        (401, {"version": "2.0"}),
        (400, event(None)),
        (400, event("garbage")),
        (400, event("[1, 2]")),
        (400, event('{"update_id": 1, "message": 5}')),
        (400, event(message("not what it says"), isBase64Encoded=True)),
        (400, event("/w==", isBase64Encoded=True)),
        (413, event(" " * (BODY_LIMIT + 1))),
        (200, event(message("tea"))),
        (200, encoded(message("milk"))),
        (200, renamed(event(message("bread")), "X-Telegram-Bot-Api-Secret-Token")),
        (200, event(message("café 😀"))),
    ):
        assert await instance.answer(given) == status, given
    logged = re.findall(r"Answered (\d+): ", function.host.log(instance.process))
    assert sorted(logged) == ["400", "401", "413"], "a line a minute for each reason"
    assert await function.host.lists() == {USER: ["tea", "milk", "bread", "café 😀"]}
    assert function.host.api.sent == [f"{number} on your list." for number in range(1, 5)]


async def test_a_schedule_runs_what_is_due(function: Lambda) -> None:
    """In this process or a cold one; a second one that comes at the same time runs nothing twice.

    A request to the URL that sends a schedule's event is an update that is none.
    """
    reminding = "tests.integration.reminding_bot.handler"
    first, second = await function.cold(reminding), await function.cold(reminding)
    schedule = {"ptb_s3": "run_due"}
    assert await first.answer(schedule) == OK
    assert await first.invoke(message("tea")) == OK
    assert await first.answer(event(json.dumps(schedule))) == HTTPStatus.BAD_REQUEST
    forged = {**event(None, None), **schedule}
    assert await first.answer(forged) == HTTPStatus.UNAUTHORIZED
    assert function.host.api.sent == []
    both = await asyncio.gather(first.answer(schedule), second.answer(schedule))
    assert set(both) == {OK}
    assert function.host.api.sent == ["Remember: tea"]
    assert await function.host.lists() == {USER: ["tea"]}


async def test_a_schedule_compacts(function: Lambda) -> None:
    """Nobody else can ask for it: by the URL it is an update that is none, or is refused."""
    instance = await function.cold()
    schedule = {"ptb_s3": "compact"}
    assert await instance.answer(schedule) == OK
    assert await instance.invoke(message("tea")) == OK
    assert await instance.answer(event(json.dumps(schedule))) == HTTPStatus.BAD_REQUEST
    assert await instance.answer({**event(None, None), **schedule}) == HTTPStatus.UNAUTHORIZED
    assert await instance.answer(schedule) == OK
    assert await function.host.lists() == {USER: ["tea"]}
    assert await instance.answer(schedule, 2.0) == HTTPStatus.INTERNAL_SERVER_ERROR
    assert "To compact: The blobs that are due were not all" in function.host.log(instance.process)
    assert await instance.invoke(message("milk")) == OK


async def test_a_job_that_is_killed_runs_again(function: Lambda) -> None:
    """When its claim has lapsed, and no sooner: somebody may be running it."""
    reminding = "tests.integration.reminding_bot.handler"
    first, second = await function.cold(reminding), await function.cold(reminding)
    assert await first.invoke(message("tea")) == OK
    function.host.api.hold()
    await first.begin({"ptb_s3": "run_due"})
    await function.host.api.held()
    await first.kill()
    function.host.api.release()
    assert await second.answer({"ptb_s3": "run_due"}) == OK
    assert function.host.api.sent == ["Remember: tea"]


async def test_when_time_is_up_the_next_try_does_all_of_it(function: Lambda) -> None:
    """Lambda would kill it at its time-out; it gives up before that, and takes all of it back."""
    instance = await function.cold()
    assert await instance.invoke(message("before")) == OK
    update = message("late")
    function.host.api.hold()
    assert await instance.invoke(update, seconds=2.5) == HTTPStatus.INTERNAL_SERVER_ERROR
    assert instance.last["seconds"] < 2.5
    function.host.api.release()
    assert await function.host.lists() == {USER: ["before"]}
    assert await instance.invoke(update) == OK
    assert await function.host.lists() == {USER: ["before", "late"]}
    assert re.search(
        r"Answered 500 to update \d+: The time was up\.", function.host.log(instance.process)
    )


async def test_cold_and_warm(function: Lambda) -> None:
    """A cold start is well within the 10 s that Lambda gives it, and a warm call well within 1 s.

    And one invocation leaves no open file to the next, though each has an event loop of its own.
    """
    instance = await function.cold()
    calls, files = [], []
    for number in range(13):
        assert await instance.invoke(message(str(number))) == OK
        calls.append(instance.last)
        files.append(instance.open_files())
    warm = sorted(calls[1:], key=lambda call: call["seconds"])[len(calls) // 2]
    figures = {"import": instance.cold, "first call": calls[0], "warm call": warm}
    print(json.dumps(figures))  # noqa: T201 - pytest -s, for the README
    assert instance.cold["seconds"] + calls[0]["seconds"] < 10, figures
    assert warm["seconds"] < 1, figures
    assert max(files[7:]) <= max(files[1:7]), files
    assert await function.host.lists() == {USER: [str(number) for number in range(13)]}


async def test_a_freeze_or_a_storage_out_of_reach_does_no_harm(
    function: Lambda, fault_proxy: FaultProxy
) -> None:
    """What was connected is not any more, or nothing can be: at a cold start and later.

    A call on its way while the process is frozen is answered. One that finds no storage is answered
    500, and is there once when it was sent again.
    """
    instance = await function.cold(PTB_S3_ENDPOINT_URL=fault_proxy.endpoint_url)
    for text in ("cold", "warm"):
        update = message(text)
        await fault_proxy.refuse()
        assert await instance.invoke(update) == HTTPStatus.INTERNAL_SERVER_ERROR
        await fault_proxy.accept()
        assert await instance.invoke(update) == OK
    async with instance.frozen():
        await fault_proxy.refuse()
        await asyncio.sleep(1)  # a freeze is time that passes; Lambda's lasts from ms to hours
        await fault_proxy.accept()
        await instance.begin(event(message("meanwhile")))
    assert (await line(instance.process))["answered"] == {"statusCode": 200}
    assert await instance.invoke(message("after")) == OK
    assert await function.host.lists() == {USER: ["cold", "warm", "meanwhile", "after"]}
    log = function.host.log(instance.process)
    said = r"^Answered 500 to update \d+: Could not .+ PTB_S3_ENDPOINT_URL"
    assert len(re.findall(said, log, re.MULTILINE)) == 1, "a line a minute for each reason"


async def test_killed_at_any_time_nothing_is_lost_or_done_twice(
    function: Lambda, fault_proxy: FaultProxy
) -> None:
    """SIGKILL between invocations, in a handler, and before and after the storage has committed.

    The update that got no answer is sent again, to another process, and takes effect once.
    """
    storage = {"PTB_S3_ENDPOINT_URL": fault_proxy.endpoint_url}
    instances = iter(await asyncio.gather(*(function.cold(**storage) for _ in range(4))))
    instance, update = next(instances), message("in the handler")
    assert await instance.invoke(message("first")) == OK
    function.host.api.hold()
    await instance.begin(event(update))
    await function.host.api.held()
    await instance.kill()
    function.host.api.release()
    assert await function.host.lists() == {USER: ["first"]}

    instance = next(instances)
    assert await instance.invoke(update) == OK
    for lost, kept in ((Lost.REQUEST, False), (Lost.REPLY, True)):
        update, before = message(lost.name), puts(fault_proxy)
        fault_proxy.lose(lost, requests=9, method="PUT")
        await instance.begin(event(update))
        # Of two, the first has certainly been carried out, or certainly not.
        await until(lambda seen=before: puts(fault_proxy) >= seen + 2)  # type: ignore[misc]  # seen is bound
        await instance.kill()
        fault_proxy._fault = None
        assert (lost.name in (await function.host.lists())[USER]) is kept
        instance = next(instances)
        assert await instance.invoke(update) == OK
    await instance.kill()
    assert await function.host.lists() == {USER: ["first", "in the handler", "REQUEST", "REPLY"]}


def puts(proxy: FaultProxy) -> int:
    return sum(request.startswith("PUT ") for request in proxy.requests)


async def test_two_processes(function: Lambda) -> None:
    """In turn, each goes on from what the other has done; at once, both commit and both are kept.

    And an update that was sent twice is done once, whether one process gets it twice, or another
    later, or both at once.
    """
    here, there = await asyncio.gather(function.cold(), function.cold())
    update, both = message("0"), message("5")
    assert [await i.invoke(update) for i in (here, here, there, here)] == [OK] * 4
    for number in range(1, 5):
        assert await (there, here)[number % 2].invoke(message(str(number))) == OK
    calls = (i.invoke(both) for i in (here, there))
    assert await asyncio.gather(*calls) == [OK] * 2
    assert await function.host.lists() == {USER: [str(number) for number in range(6)]}

    for number in range(4):
        calls = (i.invoke(message(str(number), user)) for user, i in ((1, here), (2, there)))
        assert await asyncio.gather(*calls) == [OK] * 2
    lists = await function.host.lists()
    assert (lists[1], lists[2]) == (["0", "1", "2", "3"],) * 2


async def test_a_token_that_telegram_refuses_is_not_shown(function: Lambda) -> None:
    """PTB's error quotes it; the log says what kind of error it was, and the answer is 500."""
    instance = await function.cold(TELEGRAM_BOT_TOKEN="4711:refused")  # noqa: S106 - of nobody
    assert await instance.invoke(message(number=7)) == HTTPStatus.INTERNAL_SERVER_ERROR
    log = function.host.log(instance.process)
    assert log == "Answered 500 to update 7: telegram.error.InvalidToken\n"
