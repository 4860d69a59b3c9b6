"""A way to an S3 server on which requests are slow, or one of them is held up."""

from __future__ import annotations

import asyncio
import re
from typing import Any

from tests.support.tcpproxy import PIECE, Pump, TcpProxy


class Turnstile(TcpProxy):
    """A TCP proxy that lets requests through one after the other, or holds one up.

    Args:
        endpoint_url: The server's.
        hold: What the first line of the request that is held up matches, such as ``PUT .*/head``.
        skip: So many of those are let through before.
        after: Whether the server carries it out before it is held up.
        delay: Seconds that each request waits.

    Attributes:
        held: Set once the request is held up.
        released: To be set to let it go on.
    """

    def __init__(
        self,
        endpoint_url: str,
        hold: str = "$^",
        *,
        skip: int = 0,
        after: bool = False,
        delay: float = 0,
    ) -> None:
        super().__init__(endpoint_url)
        self._hold = re.compile(hold)
        self._skip = skip
        self._after = after
        self._delay = delay
        self.held = asyncio.Event()
        self.released = asyncio.Event()

    @property
    def settings(self) -> dict[str, str]:
        """What has the program take this way."""
        return {"PTB_S3_ENDPOINT_URL": self.endpoint_url}

    async def hold(self, running: asyncio.Future[Any]) -> None:
        """Wait until the request is held up; see that what sends it has not ended before."""
        held = asyncio.ensure_future(self.held.wait())
        await asyncio.wait({held, running}, return_when=asyncio.FIRST_COMPLETED)
        assert held.done(), running.result()

    def _ways(
        self,
        requests: asyncio.StreamReader,
        client: asyncio.StreamWriter,
        replies: asyncio.StreamReader,
        server: asyncio.StreamWriter,
    ) -> tuple[Pump, Pump]:
        waits = asyncio.Event()
        return self._forward(requests, server, waits), self._return(replies, client, waits)

    async def _forward(
        self, client: asyncio.StreamReader, server: asyncio.StreamWriter, waits: asyncio.Event
    ) -> None:
        while piece := await client.read(PIECE):
            if re.match(rb"[A-Z]+ \S+ HTTP/1.1\r\n", piece):
                await asyncio.sleep(self._delay)
                if self._is_held(piece.partition(b"\r\n")[0].decode()):
                    waits.set()
                    if not self._after:
                        await self._wait(waits)
            server.write(piece)
            await server.drain()

    async def _return(
        self, replies: asyncio.StreamReader, back: asyncio.StreamWriter, waits: asyncio.Event
    ) -> None:
        while piece := await replies.read(PIECE):
            if waits.is_set():
                await self._wait(waits)
            back.write(piece)
            await back.drain()

    def _is_held(self, line: str) -> bool:
        if not self._hold.match(line):
            return False
        self._skip -= 1
        return self._skip == -1

    async def _wait(self, waits: asyncio.Event) -> None:
        self.held.set()
        await self.released.wait()
        waits.clear()
