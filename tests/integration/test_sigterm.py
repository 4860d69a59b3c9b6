"""A bot whose storage goes silent, and which is then stopped, as hosts do it: by SIGTERM."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from tests.servers import PROJECT, S3Server
from tests.support.bots import Bots
from yarl import URL

# The bot's flush_timeout, and what PTB takes to end its polling, on a machine that does more.
FLUSH_TIMEOUT, SLACK = 2.0, 2.5


class SilentProxy:
    """A way to a server that takes what is sent, and answers nothing, from some time on.

    Attributes:
        url: Its own address.
        silent: Whether it is that time.
        swallowed: Set when something was sent to it then.
    """

    def __init__(self, server: S3Server) -> None:
        self.url = ""
        self.silent = False
        self.swallowed = asyncio.Event()
        self._server = URL(server.endpoint_url)

    @asynccontextmanager
    async def run(self) -> AsyncIterator[SilentProxy]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield self
        finally:
            server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there = await asyncio.open_connection(self._server.host, self._server.port)
        try:
            await asyncio.gather(self._pass_on(reader, there[1]), self._pass_on(there[0], writer))
        except OSError:
            pass  # the bot is gone
        finally:
            writer.close()
            there[1].close()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(2**16):
            if self.silent:
                self.swallowed.set()
            else:
                writer.write(data)
        writer.close()


@asynccontextmanager
async def running(
    server: S3Server, url: str, bucket: str, ours: str, *moods: str, interval: float = 1000.0
) -> AsyncIterator[Process]:
    """Run a bot that has saved once: n is 1 in its data."""
    bot = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.integration.stopping_bot"),
        *(url, bucket, ours, str(interval), *moods),
        cwd=PROJECT,
        env={**os.environ, **server.environment},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(30):
            await hear(bot, b"ready")
            yield bot
    finally:
        if bot.returncode is None:
            bot.kill()
            await bot.wait()


async def hear(bot: Process, word: bytes) -> None:
    assert bot.stdout is not None
    assert await bot.stdout.readline() == word + b"\n"


async def change(bot: Process) -> None:
    """Have it change its data: n is 2."""
    assert bot.stdin is not None
    bot.stdin.write(b"go\n")
    await hear(bot, b"changed")


async def saved(bots: Bots) -> object:
    """Return what n is to another process."""
    return (await bots.load(prefix="")).bot_data["n"]


@pytest.mark.parametrize(("ours", "interval"), [("ptb's", 0.2), ("ours", 1000.0)])
async def test_a_stop_ends_in_time_though_the_storage_is_silent(
    s3_server: S3Server, bots: Bots, ours: str, interval: float
) -> None:
    """`flush_timeout` bounds all of it; with the short interval, a commit is under way by then."""
    async with (
        SilentProxy(s3_server).run() as proxy,
        running(s3_server, proxy.url, bots.bucket, ours, interval=interval) as bot,
    ):
        proxy.silent = True
        await change(bot)
        if interval < 1:
            await proxy.swallowed.wait()
        begun = time.monotonic()
        bot.send_signal(signal.SIGTERM)
        said, _ = await bot.communicate()
        assert time.monotonic() - begun < FLUSH_TIMEOUT + SLACK
        assert b"StorageUnavailableError" in said
        assert b"kept in memory (1 of bot_data)" in said


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_second_signal_is_told_what_is_unsaved(
    s3_server: S3Server, bots: Bots, number: signal.Signals
) -> None:
    """It ends the process while the first one's save hangs, and not as if all were well."""
    async with (
        SilentProxy(s3_server).run() as proxy,
        running(s3_server, proxy.url, bots.bucket, "ours") as bot,
    ):
        proxy.silent = True
        await change(bot)
        bot.send_signal(number)
        await proxy.swallowed.wait()
        bot.send_signal(number)
        _, told = await bot.communicate()
        assert bot.returncode == 1
        assert b"broken off by a second stop signal. Not saved, and lost: 1 of bot_data." in told


async def test_an_interrupt_that_ptb_does_not_hear_is_told_too(
    s3_server: S3Server, bots: Bots
) -> None:
    """As on Windows: it may strike anywhere, and break off the end the first time already."""
    async with (
        SilentProxy(s3_server).run() as proxy,
        running(s3_server, proxy.url, bots.bucket, "ours", "no-signals") as bot,
    ):
        proxy.silent = True
        await change(bot)
        bot.send_signal(signal.SIGINT)
        await asyncio.wait(
            [asyncio.create_task(proxy.swallowed.wait()), ended := asyncio.create_task(bot.wait())],
            return_when=asyncio.FIRST_COMPLETED,
        )
        if not ended.done():
            bot.send_signal(signal.SIGINT)
        _, told = await bot.communicate()
        assert b"Not saved, and lost: 1 of bot_data." in told


@pytest.mark.parametrize("by", [signal.SIGTERM, "itself"])
async def test_all_is_saved_before_a_post_stop_that_raises(
    s3_server: S3Server, bots: Bots, by: object
) -> None:
    """It keeps PTB from `shutdown()`, and plain PTB from its save."""
    for ours, kept in (("ptb's", 1), ("ours", 2)):
        moods = ["raises", *(["stops"] if by == "itself" else [])]
        url = s3_server.endpoint_url
        async with running(s3_server, url, bots.bucket, ours, *moods) as bot:
            await change(bot)
            if isinstance(by, signal.Signals):
                bot.send_signal(by)
            _, told = await bot.communicate()
        assert bot.returncode == 1
        assert b"no route to the monitoring" in told
        assert b"Not saved" not in told
        assert await saved(bots) == kept


async def test_a_second_signal_loses_nothing_that_the_first_has_saved(
    s3_server: S3Server, bots: Bots
) -> None:
    """Plain PTB ends with status 0, without a save and without a word."""
    for ours, status, kept in (("ptb's", 0, 1), ("ours", 1, 2)):
        url = s3_server.endpoint_url
        async with running(s3_server, url, bots.bucket, ours, "waits") as bot:
            await change(bot)
            bot.send_signal(signal.SIGTERM)
            await hear(bot, b"waiting")
            bot.send_signal(signal.SIGTERM)
            _, told = await bot.communicate()
        assert bot.returncode == status
        assert (b"second stop signal. Not saved, and lost: nothing." in told) == (ours == "ours")
        assert await saved(bots) == kept
