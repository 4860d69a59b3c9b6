"""A bot whose storage goes silent, and which is then stopped, as hosts do it: by SIGTERM."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from tests.integration.bots import Bots
from tests.servers import PROJECT, S3Server
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


@pytest.mark.parametrize(("ours", "interval"), [("ptb's", 0.2), ("ours", 1000.0)])
async def test_a_stop_ends_in_time_though_the_storage_is_silent(
    s3_server: S3Server, bots: Bots, ours: str, interval: float
) -> None:
    """`flush_timeout` bounds all of it; with the short interval, a commit is under way by then."""
    async with SilentProxy(s3_server).run() as proxy:
        bot = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.integration.stopping_bot"),
            *(proxy.url, bots.bucket, ours, str(interval)),
            cwd=PROJECT,
            env={**os.environ, **s3_server.environment},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            assert bot.stdout is not None
            assert bot.stdin is not None
            async with asyncio.timeout(30):
                assert await bot.stdout.readline() == b"ready\n"
                proxy.silent = True
                bot.stdin.write(b"go\n")
                assert await bot.stdout.readline() == b"changed\n"
                if interval < 1:
                    await proxy.swallowed.wait()
                begun = time.monotonic()
                bot.send_signal(signal.SIGTERM)
                said, _ = await bot.communicate()
            assert time.monotonic() - begun < FLUSH_TIMEOUT + SLACK
            assert b"StorageUnavailableError" in said
            assert b"kept in memory (1 of bot_data)" in said
        finally:
            if bot.returncode is None:
                bot.kill()
                await bot.wait()
