"""Four runtimes of AWS Lambda at once, each a process: what is answered 200 counts once.

In the suite, 40 updates; 200 of them, with how long that took, by hand:

    pytest tests/integration/test_runtimes.py --long -s

With the runtime interface client of AWS in place of a loop of our own:

    pip install --target FOLDER awslambdaric
    LAMBDA_CLIENT=FOLDER pytest tests/integration/test_runtimes.py --long -s
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from http import HTTPStatus
from pathlib import Path

import pytest
from tests.integration.hosts import BotApi, Host, Json, message
from tests.integration.runtime_api import RuntimeApi
from tests.integration.test_lambda import event
from tests.servers import S3Server
from tests.support.bots import Bots, make_application

RUNTIMES = 4
SHORT, LONG = 40, 200
# Seconds for all of it, on a machine that others use as well.
PATIENCE = 300.0
MODULES = [Path(__file__).parent / "counting"]
HANDLER = "handler.handler"


async def test_four_runtimes_count_every_update_once(
    s3_server: S3Server, bots: Bots, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    """All change one number, as fast as they can; what is answered 500 is sent again."""
    updates = [message(str(n)) for n in range(LONG if pytestconfig.option.long else SHORT)]
    client = os.environ.get("LAMBDA_CLIENT")
    program = "awslambdaric" if client else "tests.integration.lambda_poll"
    modules = [*MODULES, *([Path(client)] if client else [])]
    async with BotApi().run() as telegram, RuntimeApi(event).run() as api:
        host = Host(s3_server, bots, telegram, tmp_path)
        for _ in range(RUNTIMES):
            await host.start(
                *("-m", program, HANDLER), modules=modules, AWS_LAMBDA_RUNTIME_API=api.address
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
    s3_server: S3Server, bots: Bots, tmp_path: Path
) -> None:
    """To have it sent again would not help; the rest of the update is saved, once."""
    async with BotApi().run() as telegram, RuntimeApi(event).run() as api:
        host = Host(s3_server, bots, telegram, tmp_path)
        program = ("-m", "tests.integration.lambda_poll", HANDLER)
        process = await host.start(*program, modules=MODULES, AWS_LAMBDA_RUNTIME_API=api.address)
        async with asyncio.timeout(PATIENCE):
            await api.send([message("tea"), message("spoil"), message("milk")])
        log = host.log(process)
        await host.end()
    assert api.answers == {HTTPStatus.OK: 3}
    assert "Answered 200: A value of user_data cannot be saved" in log
    assert (await counted(bots))["n"] == 3


async def counted(bots: Bots) -> Json:
    """Return the bot's data that another process would load now."""
    application = make_application(persistence := bots.persistence())
    await application.bot.initialize()
    data: Json = await persistence.get_bot_data()
    await persistence._loader.store.close()
    return data
