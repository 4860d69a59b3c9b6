"""The service as each host starts it: HTTP in, a freeze, SIGTERM, SIGKILL; nothing lost or twice.

Commands are those of the files in `infra/`. Cloud Run, Render and Railway run the image, and so
does Kubernetes; Fly and Heroku have a shell in front of the service.
"""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import signal
import sys
import tomllib
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from http import HTTPStatus
from pathlib import Path

import aiohttp
import pytest
from tests.integration.hosts import EXAMPLE, INFRA, PATIENCE, USER, BotApi, Host, message
from tests.integration.test_cloudrun import OK, CloudRun, Service
from tests.servers import S3Server
from tests.support.bots import Bots

PROCFILE = (INFRA / "heroku" / "Procfile").read_text()
DOCKERFILE = (INFRA / "cloudrun" / "Dockerfile").read_text()
FLY = tomllib.loads((INFRA / "fly" / "fly.toml").read_text())
COMMANDS = {
    "image": json.loads(DOCKERFILE.splitlines()[-1].removeprefix("CMD ")),
    "fly": shlex.split(FLY["processes"]["app"]),
    # Heroku's dynos start a process by bash; https://devcenter.heroku.com/articles/procfile
    "heroku": ["bash", "-c", PROCFILE.removeprefix("web: ").strip()],
}


class Started(CloudRun):
    """Instances that are started by a host's own command.

    Attributes:
        command: It.
    """

    command: list[str]

    async def launch(self, **environment: str) -> Process:
        program, *arguments = self.command
        folders = [str(Path(sys.executable).parent), os.defpath]
        if "$BUCKET_NAME" in " ".join(arguments):  # as `fly storage create` sets it
            environment |= {"PTB_S3_BUCKET": "", "BUCKET_NAME": self.host.bots.bucket}
        return await self.host.start(
            *(*arguments, *self.arguments),
            modules=[EXAMPLE],
            program=sys.executable if program == "python" else program,
            HOST="127.0.0.1",
            PATH=os.pathsep.join(folders),
            **{"PORT": "0", **environment},
        )


@pytest.fixture
async def started(s3_server: S3Server, bots: Bots, tmp_path: Path) -> AsyncIterator[Started]:
    async with BotApi().run() as api, aiohttp.ClientSession() as http:
        host = Host(s3_server, bots, api, tmp_path)
        yield Started(host, http)
        api.release()
        await host.end()


async def posted_into_a_handler(
    started: Started, service: Service, update: str
) -> asyncio.Task[int]:
    """Send an update, and return when its handler waits for Telegram."""
    started.host.api.hold()
    waiting = asyncio.create_task(service.post(update))
    await started.host.api.held()
    return waiting


async def thawed(started: Started, service: Service, seconds: float) -> None:
    """Freeze the process for a while, in which Telegram answers it."""
    service.process.send_signal(signal.SIGSTOP)
    await asyncio.sleep(seconds)  # a freeze is time that passes
    started.host.api.release()
    service.process.send_signal(signal.SIGCONT)


@pytest.mark.parametrize("host", COMMANDS)
async def test_each_hosts_command(started: Started, host: str) -> None:
    """It is the service that gets the signals, whatever is in front of it.

    Heroku may send SIGTERM more than once: the second one breaks nothing off.
    """
    started.command = COMMANDS[host]
    service = await started.start()
    assert await service.post(message("answered")) == OK

    waiting = await posted_into_a_handler(started, service, message("frozen"))
    await thawed(started, service, 0.5)
    assert await waiting == OK

    killed = message("killed")
    waiting = await posted_into_a_handler(started, service, killed)
    service.process.kill()
    await service.process.wait()
    async with asyncio.timeout(PATIENCE):  # a shell in front that was killed alone would not end it
        with pytest.raises(aiohttp.ClientError):
            await waiting
    started.host.api.release()
    assert await started.host.lists() == {USER: ["answered", "frozen"]}

    service = await started.start()
    assert [await service.post(killed) for _ in range(2)] == [OK, OK]
    waiting = await posted_into_a_handler(started, service, message("ended"))
    ending = asyncio.create_task(service.end())
    await asyncio.sleep(0.2)  # or both signals would be one
    service.process.send_signal(signal.SIGTERM)
    started.host.api.release()
    assert await waiting == OK
    assert await ending == 0
    assert service.log.splitlines()[-1] == "INFO ptb_s3: Saved all, and ended."
    assert await started.host.lists() == {USER: ["answered", "frozen", "killed", "ended"]}


async def test_a_freeze_that_outlasts_an_update(started: Started) -> None:
    """Its time is up when the process goes on: nothing of it stays, and it takes effect later.

    A SIGTERM that came while it was frozen ends it in order.
    """
    started.command = COMMANDS["image"]
    started.arguments = ("--update-timeout", "1")
    service = await started.start()
    assert await service.post(message("before")) == OK
    update = message("frozen")
    waiting = await posted_into_a_handler(started, service, update)
    service.process.send_signal(signal.SIGSTOP)
    await asyncio.sleep(1.5)  # longer than an update may take
    service.process.send_signal(signal.SIGCONT)
    assert await waiting == HTTPStatus.INTERNAL_SERVER_ERROR
    started.host.api.release()
    assert await started.host.lists() == {USER: ["before"]}
    assert [await service.post(update) for _ in range(2)] == [OK, OK]

    waiting = await posted_into_a_handler(started, service, message("last"))
    service.process.send_signal(signal.SIGSTOP)
    ending = asyncio.create_task(service.end())
    await asyncio.sleep(0.2)  # the signal waits with the process
    started.host.api.release()
    service.process.send_signal(signal.SIGCONT)
    assert await waiting == OK
    assert await ending == 0
    assert await started.host.lists() == {USER: ["before", "frozen", "last"]}
