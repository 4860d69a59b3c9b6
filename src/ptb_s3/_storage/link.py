"""Life of an S3 client: opened by the first request of an event loop, closed when none uses it.

aiohttp binds connections to the loop on which they were opened. A serverless host runs a new loop
for each invocation, and may end one without closing anything, so a client has to be given up with
its loop. And a client must not be closed under a request: that would look like a lost connection.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from typing import Any

from ptb_s3._storage.client import Untyped
from ptb_s3._storage.credentials import Lasting
from ptb_s3._storage.retries import hook_into

_GRACE = 0.25
"""Seconds to close a client that is still in use, once its closing was cancelled."""


class LoopLink:
    """Link of whichever event loop runs: each loop that asks has its own, as long as it runs.

    Two may live at once: a key service is asked by the bot's loop, and by the one of a thread that
    reads for code that cannot await.

    Attributes:
        links: The links, by their loops.
    """

    def __init__(self) -> None:
        self.links: dict[asyncio.AbstractEventLoop, Link] = {}

    @asynccontextmanager
    async def using(
        self,
        make: Callable[[], Awaitable[Any]],
        ready: Callable[[Any], None],
        credentials: Callable[[], Awaitable[Any]] | None,
    ) -> AsyncIterator[Untyped]:
        """Lend the client of the running loop, which nobody closes meanwhile.

        The arguments are those of `Link.client`.
        """
        here = asyncio.get_running_loop()
        if here not in self.links:
            self.links[here] = Link()
        link = self.links[here]
        with link.in_use():
            await self._close_stale()
            yield await link.client(make, ready, credentials)

    async def close(self) -> None:
        """Close the running loop's client once its requests have ended, and those left over.

        A later request opens another one.
        """
        link = self.links.pop(asyncio.get_running_loop(), None)
        try:
            if link is not None:
                await link.close()
        finally:
            await self._close_stale()

    async def _close_stale(self) -> None:
        """Close the clients of loops that were closed, which nobody else can.

        One of a loop that stands still is left to that loop, and to whoever collects it.
        """
        for loop in [loop for loop in list(self.links) if not loop.is_running()]:
            link = self.links.pop(loop, None)
            if link is not None and loop.is_closed():
                await link.close()


class Link:
    """Client bound to the event loop that runs when this is made, with a count of its users.

    Attributes:
        loop: The event loop.
    """

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self._lock = asyncio.Lock()
        self._users = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._stack = AsyncExitStack()
        self._client: Any = None
        self._credentials: Lasting | None = None

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Count one more user, for whom `close` waits: the client is opened, or asks something."""
        self._users += 1
        self._idle.clear()
        try:
            yield
        finally:
            self._users -= 1
            if not self._users:
                self._idle.set()

    async def client(
        self,
        make: Callable[[], Awaitable[Any]],
        ready: Callable[[Any], None],
        credentials: Callable[[], Awaitable[Any]] | None,
    ) -> Untyped:
        """Return the client, and open it first if nobody has, or if whoever began has failed.

        Args:
            make: Makes a client, as a context manager.
            ready: Called with the client before its first request; may refuse it.
            credentials: Looks for credentials where the client has none; None: it needs none.
        """
        async with self._lock:
            if self._client is None:
                client = await self._stack.enter_async_context(await make())
                ready(client)
                if credentials is not None:
                    signer = client._request_signer  # noqa: SLF001 - there is no public way to it
                    found = signer._credentials  # noqa: SLF001 - as above
                    self._credentials = signer._credentials = Lasting(found, credentials)  # noqa: SLF001
                hook_into(client)
                self._client = client
            return self._client

    async def close(self) -> None:
        """Close the client once nobody uses it, or at once if this call is cancelled.

        It is called on the client's loop, or once that was closed: its sockets are nobody's then.
        """
        if self.loop is asyncio.get_running_loop():
            if self._credentials is not None:
                self._credentials.stop()
            try:
                await self._idle.wait()
            except asyncio.CancelledError:
                with suppress(TimeoutError):
                    async with asyncio.timeout(_GRACE):
                        await self._stack.aclose()
                raise
        await self._stack.aclose()
