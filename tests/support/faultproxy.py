"""A way to an S3 server on which connections are refused, and requests and replies get lost.

A request begins with the first bytes after a reply (or of a connection). So it serves clients that
wait for each reply, as aiohttp does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from enum import Enum, auto
from typing import NamedTuple

from tests.support.tcpproxy import PIECE, Pump, TcpProxy

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


class FaultProxy(TcpProxy):
    """A TCP proxy on which requests and replies are lost when they are told to.

    Attributes:
        requests: First lines of all requests so far, such as ``PUT /bucket/head HTTP/1.1``.
    """

    def __init__(self, endpoint_url: str) -> None:
        super().__init__(endpoint_url)
        self._fault: _Fault | None = None
        self.requests: list[str] = []

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

    def _ways(
        self,
        requests: asyncio.StreamReader,
        client: asyncio.StreamWriter,
        replies: asyncio.StreamReader,
        server: asyncio.StreamWriter,
    ) -> tuple[Pump, Pump]:
        connection = _Connection(self._begin, requests, client, replies, server)
        return connection.forward(), connection.back()


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

    async def forward(self) -> None:
        """Pass requests on to the server, until one is lost."""
        while piece := await self._requests.read(PIECE):
            if self._between_requests:
                self._between_requests = False
                fault = self._begin(piece)
                if fault is not None and fault.let_through is None:
                    return
                self._let_through = fault.let_through if fault is not None else None
            self._server.write(piece)
            await self._server.drain()

    async def back(self) -> None:
        """Pass replies on to the client, until one is lost."""
        while piece := await self._replies.read(PIECE):
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
