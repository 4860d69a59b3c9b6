"""A way to an S3 server on which connections are refused, and requests and replies get lost.

It forwards TCP, and of HTTP it knows only where a request begins: with the first bytes after a
reply (or of a connection). So it serves clients that wait for each reply, as aiohttp does, and
signatures hold, since the client signs the proxy's address as the host and the server sees it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from enum import Enum, auto
from typing import NamedTuple, Self
from urllib.parse import urlsplit

_HOST = "127.0.0.1"
_PIECE = 2**16
_INTERIM = b"HTTP/1.1 100 "


class Lost(Enum):
    """What gets lost of a request that a fault befalls; the connection is cut at that moment."""

    REQUEST = auto()
    """The server never sees it."""
    REPLY = auto()
    """The server has carried it out; the client never hears of it."""


class _Fault(NamedTuple):
    """What befalls the next requests of a method; of the reply that many bytes come back.

    None: the server does not even see the request.
    """

    requests: int
    method: str
    let_through: int | None


class FaultProxy:
    """An asyncio TCP proxy to one S3 endpoint, as an async context manager.

    Attributes:
        endpoint_url: What to give to the client in place of the server's.
        requests: First lines of all requests so far, such as ``PUT /bucket/head HTTP/1.1``.
    """

    def __init__(self, endpoint_url: str) -> None:
        parts = urlsplit(endpoint_url)
        assert parts.scheme == "http", "TLS would hide where a request begins"
        self._target = (parts.hostname, parts.port or 80)
        self._server: asyncio.Server | None = None
        self._port = 0
        self._connections: set[asyncio.Task[None]] = set()
        self._fault: _Fault | None = None
        self.requests: list[str] = []

    @property
    def endpoint_url(self) -> str:
        return f"http://{_HOST}:{self._port}"

    async def __aenter__(self) -> Self:
        await self.accept()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.refuse()

    async def accept(self) -> None:
        """Listen, on the same port as before."""
        self._server = await asyncio.start_server(self._connected, _HOST, self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    async def refuse(self) -> None:
        """Refuse new connections, and cut those that there are."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for connection in tuple(self._connections):
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def lose(self, lost: Lost, requests: int = 1, *, method: str = "") -> None:
        """Let that befall the next requests.

        Args:
            lost: What gets lost.
            requests: How many of them; a client that retries makes several.
            method: Only those of this HTTP method, such as ``PUT``.
        """
        self._fault = _Fault(requests, method, let_through=None if lost is Lost.REQUEST else 0)

    def cut_reply_after(self, size: int, requests: int = 1, *, method: str = "") -> None:
        """Let the replies to the next requests break off after that many bytes, head included."""
        self._fault = _Fault(requests, method, let_through=size)

    def _begin(self, first_bytes: bytes) -> _Fault | None:
        """Record a request; return what befalls it."""
        line = first_bytes.split(b"\r\n", 1)[0].decode("latin-1")
        self.requests.append(line)
        fault = self._fault
        if fault is None or not line.startswith(fault.method):
            return None
        left = fault.requests - 1
        self._fault = fault._replace(requests=left) if left else None
        return fault

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        upstream: asyncio.StreamWriter | None = None
        try:
            replies, upstream = await asyncio.open_connection(*self._target)
            await _Connection(self._begin, reader, writer, replies, upstream).run()
        except (OSError, asyncio.CancelledError):
            pass  # cut: that is what it is for
        finally:
            self._connections.discard(task)
            for end in (writer, upstream):
                if end is not None:
                    end.transport.abort()
                    with suppress(OSError):
                        await end.wait_closed()


class _Connection:
    """One connection of a client, and the one to the server that goes with it."""

    def __init__(
        self,
        begin: Callable[[bytes], _Fault | None],
        requests: asyncio.StreamReader,
        client: asyncio.StreamWriter,
        replies: asyncio.StreamReader,
        server: asyncio.StreamWriter,
    ) -> None:
        self._begin = begin
        self._requests, self._client = requests, client
        self._replies, self._server = replies, server
        self._between_requests = True
        self._let_through: int | None = None

    async def run(self) -> None:
        """Forward until either side, or a fault, ends it."""
        pumps = [asyncio.create_task(self._forward()), asyncio.create_task(self._return())]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)

    async def _forward(self) -> None:
        while piece := await self._requests.read(_PIECE):
            if self._between_requests:
                self._between_requests = False
                fault = self._begin(piece)
                if fault is not None and fault.let_through is None:
                    return
                self._let_through = fault.let_through if fault is not None else None
            self._server.write(piece)
            await self._server.drain()

    async def _return(self) -> None:
        while piece := await self._replies.read(_PIECE):
            if piece.startswith(_INTERIM):
                self._client.write(piece)
                continue
            self._between_requests = True
            if self._let_through is None:
                self._client.write(piece)
                await self._client.drain()
                continue
            self._client.write(piece[: self._let_through])
            await self._client.drain()
            self._let_through = max(0, self._let_through - len(piece))
            if not self._let_through:
                return
