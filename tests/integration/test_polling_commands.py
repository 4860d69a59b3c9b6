"""A bot that polls, as systemd, Docker and Kubernetes run it: updates in, SIGTERM, SIGKILL, freeze.

The bot is infra/example's, the storage is real, and Telegram is a server of this machine.
"""

from __future__ import annotations

import asyncio
import signal
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.integration.hosts import EXAMPLE, PATIENCE, POLL, USER, BotApi, Host, message
from tests.servers import S3Server
from tests.support.bots import Bots

RUN = "from shop.bot import build; build().run_polling()"
WINDOW = 30.0
"""Seconds between SIGTERM and SIGKILL, as infra/systemd and infra/kubernetes have it."""
OTHER = USER + 1


@pytest.fixture
async def host(s3_server: S3Server, bots: Bots, tmp_path: Path) -> AsyncIterator[Host]:
    async with BotApi().run() as api:
        made = Host(s3_server, bots, api, tmp_path)
        yield made
        api.release()
        await made.end()


async def started(host: Host, interval: str = "1") -> Process:
    return await host.start("-c", RUN, modules=[EXAMPLE], PTB_S3_UPDATE_INTERVAL=interval)


async def saved(host: Host, *expected: str, user: int = USER) -> None:
    """Return when the bucket has this list of a user."""
    async with asyncio.timeout(PATIENCE):
        while (await host.lists()).get(user) != list(expected):  # noqa: ASYNC110 - by a process
            await asyncio.sleep(0.1)


async def ended(process: Process) -> int:
    process.send_signal(signal.SIGTERM)
    async with asyncio.timeout(WINDOW):
        return await process.wait()


async def test_sigterm_in_the_middle_of_a_handler(host: Host) -> None:
    """The handler ends, what it has changed is saved, and the process ends with 0."""
    process = await started(host)
    host.api.queue(message("first"))
    await saved(host, "first")
    host.api.hold()
    host.api.queue(message("last"))
    await host.api.held()
    ending = asyncio.create_task(ended(process))
    await asyncio.sleep(0.2)  # the signal is there before the handler goes on
    host.api.release()
    assert await ending == 0
    assert await host.lists() == {USER: ["first", "last"]}


async def test_killed_it_goes_on_from_the_last_commit(host: Host) -> None:
    """SIGKILL, at rest and in a handler: what was saved is there, and the next start goes on.

    The update that was being processed is lost, as docs/polling.md says: PTB had confirmed it.
    """
    process = await started(host)
    host.api.queue(message("saved"))
    await saved(host, "saved")
    process.kill()
    await process.wait()

    process = await started(host, "1000")  # or an interval might end while the handler waits
    host.api.hold()
    host.api.queue(message("killed"))
    await host.api.held()
    await host.api.confirmed()
    process.kill()
    await process.wait()
    host.api.release()
    assert await host.lists() == {USER: ["saved"]}

    process = await started(host)
    host.api.queue(message("after"))
    await saved(host, "saved", "after")
    assert await ended(process) == 0


async def test_a_frozen_instance_takes_over_what_another_one_did(host: Host) -> None:
    """It has missed a commit when it goes on, in the middle of a handler: both are kept."""
    frozen = await started(host)
    host.api.queue(message("before"))
    await saved(host, "before")
    host.api.hold()
    host.api.queue(message("meanwhile"))
    await host.api.held()
    await host.api.confirmed()
    frozen.send_signal(signal.SIGSTOP)
    await asyncio.sleep(3 * POLL)  # so that it is handed nothing which it cannot take
    host.api.release()

    another = await started(host)
    host.api.queue(message("elsewhere", OTHER))
    await saved(host, "elsewhere", user=OTHER)
    assert await ended(another) == 0

    frozen.send_signal(signal.SIGCONT)
    await saved(host, "before", "meanwhile")
    host.api.queue(message("after", OTHER))
    await saved(host, "elsewhere", "after", user=OTHER)
    assert await ended(frozen) == 0
    assert await host.lists() == {USER: ["before", "meanwhile"], OTHER: ["elsewhere", "after"]}
