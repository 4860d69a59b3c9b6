"""Skeleton of the proxies that pass on whole requests and replies.

Signatures hold as long as nothing is changed: the client signs the proxy's address as the host.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Self

import aiohttp
from aiohttp import web
from multidict import CIMultiDict
from yarl import URL

HOST = "127.0.0.1"
OF_A_CONNECTION = frozenset({"connection", "transfer-encoding", "expect", "content-length"})
"""Headers that are not passed on, since each of the two connections has its own."""


class Reply(NamedTuple):
    """A server's reply, without the headers of its connection."""

    status: int
    headers: CIMultiDict[str]
    body: bytes

    def response(self) -> web.Response:
        """Return it as it is to be sent."""
        return web.Response(status=self.status, headers=self.headers, body=self.body)


class HttpProxy:
    """An HTTP proxy to one S3 endpoint, as an async context manager.

    A subclass answers requests, and has them passed on when it likes.

    Args:
        endpoint_url: The server's.
        shutdown_timeout: Seconds that requests under way have when it ends.
    """

    def __init__(self, endpoint_url: str, *, shutdown_timeout: float = 60) -> None:
        self._target = endpoint_url
        self._session: aiohttp.ClientSession | None = None
        # Whoever asked may be gone: what was asked is on its way all the same.
        server = web.Server(self._serve, handler_cancellation=False)
        self._runner = web.ServerRunner(server, shutdown_timeout=shutdown_timeout)

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(auto_decompress=False, trust_env=False)
        await self._runner.setup()
        await web.TCPSite(self._runner, HOST, 0).start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()
        assert self._session is not None
        await self._session.close()

    @property
    def endpoint_url(self) -> str:
        """Return what to give to the client in place of the server's."""
        host, port = self._runner.addresses[0][:2]
        return f"http://{host}:{port}"

    async def _serve(self, request: web.BaseRequest) -> web.Response:
        """Answer a request."""
        raise NotImplementedError

    async def _send(
        self, method: str, target: str, headers: Mapping[str, str], body: bytes
    ) -> Reply:
        """Send a request to the server.

        Args:
            method: Its method.
            target: Path and query, as they are to be sent.
            headers: Its headers; those of a connection may be among them.
            body: Its body.
        """
        assert self._session is not None
        async with self._session.request(
            method,
            URL(self._target + target, encoded=True),
            headers=without_connection(headers),
            data=body,
            allow_redirects=False,
        ) as reply:
            return Reply(reply.status, without_connection(reply.headers), await reply.read())


def without_connection(headers: Mapping[str, str]) -> CIMultiDict[str]:
    """Return headers without those of a connection."""
    kept = CIMultiDict(headers)
    for name in OF_A_CONNECTION:
        kept.popall(name, None)
    return kept
