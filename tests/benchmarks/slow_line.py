"""A slow line to the S3 server: a program that passes on bytes, late, and answers at a given rate.

The benchmarks' server is on loopback, where a transfer takes no time, and so nothing tells whether
it is overlapped with opening, nor how many round trips one waits for. In a process of its own: it
must not take the bot's interpreter.

Each way takes half a round trip. A connection is there at once, as loopback has it, so the round
trip that it takes elsewhere is added to whatever is sent through it first. TCP's slow start is not
imitated: a new connection has the whole rate from its first byte on.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

RATE = 12.5e6
"""Bytes a second: 100 Mbit/s, as small hosts have."""
ROUND_TRIP = 0.020
"""Seconds there and back, as to a storage in the same country but not in the same building."""
_PIECE = 2**16
_HOST = "127.0.0.1"


class SlowLine:
    """A running line.

    Attributes:
        url: The server's, over the line.
    """

    def __init__(self, questions: IO[str], answers: IO[str]) -> None:
        self._questions = questions
        self._answers = answers
        self.url = f"http://{_HOST}:{answers.readline().strip()}"

    def carried(self) -> int:
        """Return the bytes of all answers so far, HTTP's own included."""
        self._questions.write("?\n")
        self._questions.flush()
        return int(self._answers.readline())


@contextmanager
def slow_line(endpoint_url: str, round_trip: float = 0.0) -> Iterator[SlowLine]:
    """Run the program.

    Args:
        endpoint_url: The server.
        round_trip: Seconds that there and back take, beside the rate.
    """
    arguments = [str(urlsplit(endpoint_url).port), str(round_trip)]
    program = subprocess.Popen(  # noqa: S603 - this module
        [sys.executable, "-m", "tests.benchmarks.slow_line", *arguments],
        cwd=Path(__file__).parents[2],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with program:
        try:
            assert program.stdin is not None
            assert program.stdout is not None
            yield SlowLine(program.stdin, program.stdout)
        finally:
            program.kill()


class _Line:
    """One line, which all connections share.

    Attributes:
        carried: Bytes of all answers so far.
    """

    def __init__(self, port: int, round_trip: float) -> None:
        self._port = port
        self._round_trip = round_trip
        self._free_at = 0.0
        self.carried = 0

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass on one connection, both ways."""
        connected_at = time.monotonic() + self._round_trip
        there, back = await asyncio.open_connection(_HOST, self._port)
        await asyncio.gather(
            self._pass_on(reader, back, sent_after=connected_at),
            self._pass_on(there, writer, paced=True),
        )

    async def _pass_on(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        *,
        sent_after: float = 0.0,
        paced: bool = False,
    ) -> None:
        """Pass on one way: pieces follow each other on the line, however long it is."""
        on_the_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        arriving = asyncio.create_task(_arrive(on_the_way, writer))
        while piece := await reader.read(_PIECE):
            sent = max(time.monotonic(), sent_after)
            if paced:
                sent = self._free_at = max(self._free_at, sent) + len(piece) / RATE
                self.carried += len(piece)
                await asyncio.sleep(sent - time.monotonic())
            on_the_way.put_nowait((sent + self._round_trip / 2, piece))
        on_the_way.put_nowait((time.monotonic() + self._round_trip / 2, b""))
        await arriving


async def _arrive(
    on_the_way: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter
) -> None:
    """Hand over each piece when it is due; an empty one is the end."""
    while True:
        due, piece = await on_the_way.get()
        if (early := due - time.monotonic()) > 0:
            await asyncio.sleep(early)
        if not piece:
            break
        writer.write(piece)
        await writer.drain()
    writer.close()


async def _serve(port: int, round_trip: float) -> None:
    line = _Line(port, round_trip)
    server = await asyncio.start_server(line.carry, _HOST, 0)
    print(server.sockets[0].getsockname()[1], flush=True)  # noqa: T201 - what the parent waits for
    async with server:
        await server.start_serving()
        # Until whoever started it is gone.
        while await asyncio.to_thread(sys.stdin.readline):
            print(line.carried, flush=True)  # noqa: T201 - the answer


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1]), float(sys.argv[2])))
