"""Skeleton of the proxies that forward TCP, and of HTTP know only where a request begins.

Signatures hold: the client signs the proxy's address as the host, and the server sees that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, Self
from urllib.parse import urlsplit

HOST = "127.0.0.1"
PIECE = 2**16
"""Bytes that are read at a time: a small request or reply comes in one piece."""
Pump = Coroutine[Any, Any, None]


class TcpProxy:
    """An asyncio TCP proxy to one HTTP endpoint, as an async context manager.

    A subclass says how bytes go there and back; where either way ends, both connections are cut.

    Args:
        endpoint_url: The server's.
    """

    def __init__(self, endpoint_url: str) -> None:
        parts = urlsplit(endpoint_url)
        assert parts.scheme == "http", "TLS would hide where a request begins"
        self._target = (parts.hostname, parts.port or 80)
        self._server: asyncio.Server | None = None
        self._port = 0
        self._connections: set[asyncio.Task[None]] = set()

    @property
    def endpoint_url(self) -> str:
        """Return what to give to the client in place of the server's."""
        return f"http://{HOST}:{self._port}"

    async def __aenter__(self) -> Self:
        await self.accept()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.refuse()

    async def accept(self) -> None:
        """Listen, on the same port as before."""
        self._server = await asyncio.start_server(self._connected, HOST, self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    async def refuse(self) -> None:
        """Refuse new connections, and cut those that there are."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for connection in tuple(self._connections):
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def _ways(
        self,
        requests: asyncio.StreamReader,
        client: asyncio.StreamWriter,
        replies: asyncio.StreamReader,
        server: asyncio.StreamWriter,
    ) -> tuple[Pump, Pump]:
        """Return what forwards the requests of one connection, and what returns its replies."""
        raise NotImplementedError

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        upstream: asyncio.StreamWriter | None = None
        try:
            replies, upstream = await asyncio.open_connection(*self._target)
            await _until_either_ends(*self._ways(reader, writer, replies, upstream))
        except (OSError, asyncio.CancelledError):
            pass  # cut: that is what it is for
        finally:
            self._connections.discard(task)
            for end in (writer, upstream):
                if end is not None:
                    end.transport.abort()
                    with suppress(OSError):
                        await end.wait_closed()


async def _until_either_ends(*ways: Pump) -> None:
    pumps = [asyncio.create_task(way) for way in ways]
    try:
        await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for pump in pumps:
            pump.cancel()
        await asyncio.gather(*pumps, return_exceptions=True)
