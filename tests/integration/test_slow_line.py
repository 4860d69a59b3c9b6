"""The benchmarks' slow line takes as long as it says: round trips, and the rate of answers."""

from __future__ import annotations

import asyncio
import socketserver
import threading
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from tests.benchmarks.slow_line import RATE, SlowLine, slow_line

ROUND_TRIP = 0.05
LARGE = 500_000


class Answer(socketserver.StreamRequestHandler):
    """Answers each line, which is a number, with so many bytes."""

    def handle(self) -> None:
        for line in self.rfile:
            self.wfile.write(bytes(int(line)))


class Client:
    """Connection that asks for bytes, and measures how long these take."""

    def __init__(self, line: SlowLine) -> None:
        self._port = urlsplit(line.url).port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def seconds(self, size: int) -> float:
        """Return how long an answer of this size takes."""
        begun = time.monotonic()
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._streams
        writer.write(f"{size}\n".encode())
        await reader.readexactly(size)
        return time.monotonic() - begun

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()


@pytest.fixture
def line() -> Iterator[SlowLine]:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        with slow_line(f"http://127.0.0.1:{server.server_address[1]}", ROUND_TRIP) as line:
            yield line
        server.shutdown()
        thread.join()


async def test_an_answer_takes_one_round_trip_and_a_new_connection_another(line: SlowLine) -> None:
    client = Client(line)
    first = await client.seconds(1)
    later = [await client.seconds(1) for _ in range(10)]
    client.close()
    assert first >= 2 * ROUND_TRIP
    assert min(later) >= ROUND_TRIP
    assert min(later) < 1.5 * ROUND_TRIP  # the machine may be busy in some of them


async def test_a_large_answer_takes_its_time_at_the_rate_and_one_round_trip(line: SlowLine) -> None:
    client = Client(line)
    await client.seconds(1)
    taken = min([await client.seconds(LARGE) for _ in range(5)])
    client.close()
    assert taken >= LARGE / RATE + ROUND_TRIP
    assert taken < 1.6 * (LARGE / RATE + ROUND_TRIP)  # its pieces wait for the line, not in turn


async def test_connections_share_the_rate_and_not_the_round_trip(line: SlowLine) -> None:
    clients = [Client(line), Client(line)]
    await asyncio.gather(*(client.seconds(1) for client in clients))
    begun = time.monotonic()
    await asyncio.gather(*(client.seconds(LARGE) for client in clients))
    taken = time.monotonic() - begun
    for client in clients:
        client.close()
    assert taken >= 2 * LARGE / RATE + ROUND_TRIP


async def test_bytes_of_answers_are_counted(line: SlowLine) -> None:
    client = Client(line)
    await client.seconds(7)
    before = line.carried()
    await client.seconds(LARGE)
    client.close()
    assert (before, line.carried()) == (7, 7 + LARGE)
