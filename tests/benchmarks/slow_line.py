"""A slow line to the S3 server: a program that passes on bytes, those of answers at a given rate.

The benchmarks' server is on loopback, where a transfer takes no time, and so nothing tells whether
it is overlapped with opening. In a process of its own: it must not take the bot's interpreter.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

RATE = 12.5e6
"""Bytes a second: 100 Mbit/s, as small hosts have."""
_PIECE = 2**16
_HOST = "127.0.0.1"


@contextmanager
def slow_line(endpoint_url: str) -> Iterator[str]:
    """Run the program; give the URL that leads over it."""
    parts = urlsplit(endpoint_url)
    program = subprocess.Popen(  # noqa: S603 - this module
        [sys.executable, "-m", "tests.benchmarks.slow_line", str(parts.port)],
        cwd=Path(__file__).parents[2],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with program:
        try:
            assert program.stdout is not None
            yield f"http://{_HOST}:{program.stdout.readline().strip()}"
        finally:
            program.kill()


class _Line:
    """One line, which all connections share."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._free_at = 0.0

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass on one connection, both ways."""
        there, back = await asyncio.open_connection(_HOST, self._port)
        await asyncio.gather(self._pass_on(reader, back), self._slowly(there, writer))

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while piece := await reader.read(_PIECE):
            writer.write(piece)
            await writer.drain()
        writer.close()

    async def _slowly(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while piece := await reader.read(_PIECE):
            self._free_at = max(self._free_at, time.monotonic()) + len(piece) / RATE
            await asyncio.sleep(self._free_at - time.monotonic())
            writer.write(piece)
            await writer.drain()
        writer.close()


async def _serve(port: int) -> None:
    line = _Line(port)
    server = await asyncio.start_server(line.carry, _HOST, 0)
    print(server.sockets[0].getsockname()[1], flush=True)  # noqa: T201 - what the parent waits for
    async with server:
        await server.start_serving()
        await asyncio.to_thread(sys.stdin.read)  # until whoever started it is gone


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1])))
