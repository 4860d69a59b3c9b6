"""Runtimes of AWS Lambda, each a process: what is answered 200 counts once, whatever befalls them.

Each test runs with a loop of our own and with the runtime interface client of AWS (awslambdaric),
which is a test dependency where there is a wheel of it; in CI, it has to be there. In the suite, 40
updates; 200 of them, with how long that took, by hand:

    pytest tests/integration/test_runtimes.py --long -s
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from asyncio.subprocess import Process
from http import HTTPStatus
from importlib.util import find_spec
from pathlib import Path

import pytest
from tests.integration.hosts import EXAMPLE, SECRET, USER, BotApi, Host, Json, message
from tests.integration.runtime_api import RuntimeApi
from tests.integration.test_lambda import event
from tests.servers import S3Server
from tests.support import KEY
from tests.support.bots import TOKEN, Bots, make_application

RUNTIMES = 4
SHORT, LONG = 40, 200
# Seconds for all of it, on a machine that others use as well.
PATIENCE = 300.0
MODULES = [Path(__file__).parent / "counting"]
HANDLER = "handler.handler"


@pytest.fixture(params=["tests.integration.lambda_poll", "awslambdaric"])
def program(request: pytest.FixtureRequest) -> str:
    """Return the module that runs a handler."""
    name = str(request.param)
    if name == "awslambdaric" and find_spec(name) is None:
        if os.environ.get("CI") == "true":
            pytest.fail("AWS's client for Lambda is not installed")
        pytest.skip("optional check: there is no wheel of AWS's client for Lambda for this machine")
    return name


async def test_four_runtimes_count_every_update_once(
    s3_server: S3Server, bots: Bots, tmp_path: Path, pytestconfig: pytest.Config, program: str
) -> None:
    """All change one number, as fast as they can; what is answered 500 is sent again."""
    updates = [message(str(n)) for n in range(LONG if pytestconfig.option.long else SHORT)]
    async with BotApi().run() as telegram, RuntimeApi(event).run() as api:
        host = Host(s3_server, bots, telegram, tmp_path)
        for _ in range(RUNTIMES):
            await host.start(
                *("-m", program, HANDLER), modules=MODULES, AWS_LAMBDA_RUNTIME_API=api.address
            )
        begun = time.monotonic()
        async with asyncio.timeout(PATIENCE):
            await api.send(updates)
        took = time.monotonic() - begun
        await host.end()
    print(f"{len(updates)} updates: {took:.1f} s, {dict(api.answers)}, {program}")  # noqa: T201 - pytest -s
    assert api.errors == []
    assert api.answers[HTTPStatus.OK] == len(updates)
    data = await counted(bots)
    assert data["n"] == len(updates)
    assert data["each"] == {json.loads(update)["update_id"]: 1 for update in updates}


async def test_what_cannot_be_saved_is_answered_200_and_logged(
    s3_server: S3Server, bots: Bots, tmp_path: Path, program: str
) -> None:
    """To have it sent again would not help; the rest of the update is saved, once."""
    async with BotApi().run() as telegram, RuntimeApi(event).run() as api:
        host = Host(s3_server, bots, telegram, tmp_path)
        process = await host.start(
            *("-m", program, HANDLER), modules=MODULES, AWS_LAMBDA_RUNTIME_API=api.address
        )
        async with asyncio.timeout(PATIENCE):
            await api.send([message("tea"), message("spoil"), message("milk")])
        await host.end()
        assert process.stdout is not None
        # AWS's client has the log on standard output, and ours on standard error.
        log = host.log(process) + (await process.stdout.read()).decode()
    assert api.answers == {HTTPStatus.OK: 3}
    assert "Answered 200: A value of user_data cannot be saved" in log
    assert not [secret for secret in (SECRET, TOKEN, KEY.reveal(), str(USER)) if secret in log]
    assert (await counted(bots))["n"] == 3


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGSTOP])
async def test_an_invocation_that_is_broken_off_or_frozen_counts_once(
    s3_server: S3Server, bots: Bots, tmp_path: Path, program: str, number: signal.Signals
) -> None:
    """In the middle of a handler. Lambda says that it failed, and Telegram sends the update again.

    A process that was frozen for a while goes on with it; what follows finds either one right.
    """
    async with BotApi().run() as telegram, RuntimeApi(event).run() as api:
        host = Host(s3_server, bots, telegram, tmp_path)

        async def start() -> Process:
            command = ("-m", program, "handler.handler")
            environment = {"AWS_LAMBDA_RUNTIME_API": api.address}
            return await host.start(*command, modules=[EXAMPLE], **environment)

        async with asyncio.timeout(PATIENCE):
            process = await start()
            await api.send([message("before")])
            telegram.hold()
            sending = asyncio.create_task(api.send([message("broken off")]))
            await telegram.held()
            process.send_signal(number)
            if number == signal.SIGSTOP:
                await asyncio.sleep(1)  # a freeze is time that passes
                telegram.release()
                process.send_signal(signal.SIGCONT)
            else:
                await process.wait()
                telegram.release()
                assert await host.lists() == {USER: ["before"]}
                await start()
                api.lose()
            await sending
            await api.send([message("after")])
        assert api.errors == []
        assert await host.lists() == {USER: ["before", "broken off", "after"]}
        await host.end()


async def counted(bots: Bots) -> Json:
    """Return the bot's data that another process would load now."""
    application = make_application(persistence := bots.persistence())
    await application.bot.initialize()
    data: Json = await persistence.get_bot_data()
    await persistence._loader.store.close()
    return data
