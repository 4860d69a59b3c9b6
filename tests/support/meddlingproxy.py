"""A way to an S3 server that changes what is asked or answered, and signs anew what it changed.

It stands for storage that behaves in other ways than the servers that the tests have: that ignores
a condition, denies a permission, or has another clock. Requests without a signature stay so, unless
it is told to let anybody in.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from urllib.parse import parse_qs, urlsplit

from aiohttp import web
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from tests.servers import S3Server
from tests.support.httpproxy import OF_A_CONNECTION, HttpProxy, without_connection

_OF_A_SIGNATURE = {"authorization", "x-amz-date", "x-amz-content-sha256", "x-amz-security-token"}


@dataclass(frozen=True)
class Asked:
    """A request.

    Attributes:
        target: Path and query, as they were sent.
        headers: By name in lower case.
    """

    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def key(self) -> str:
        """The object's key; empty where the bucket is meant."""
        return urlsplit(self.target).path.lstrip("/").partition("/")[2]

    @property
    def query(self) -> dict[str, list[str]]:
        return parse_qs(urlsplit(self.target).query, keep_blank_values=True)

    def without(self, header: str) -> Asked:
        """Return it without a header."""
        return replace(self, headers={k: v for k, v in self.headers.items() if k != header})


@dataclass(frozen=True)
class Answered:
    """An answer.

    Attributes:
        headers: By name, in lower case where they are the server's.
    """

    status: int
    headers: dict[str, str]
    body: bytes = b""


Change = Callable[[Asked], "Asked | Answered"]


def error(status: int, code: str) -> Answered:
    """Return S3's way of saying no."""
    body = f"<Error><Code>{code}</Code><Message>no</Message></Error>".encode()
    return Answered(status, {"Content-Type": "application/xml"}, body)


class MeddlingProxy(HttpProxy):
    """An HTTP proxy that changes requests and answers as it is told.

    Attributes:
        change: Makes another request of one, or answers it.
        amend: Makes another answer of one.
        open: Nothing goes on to the server while it is not set.
        lets_anybody_in: Whether it signs what came without a signature.
        asked: All requests so far.
    """

    def __init__(self, server: S3Server) -> None:
        super().__init__(server.endpoint_url)
        self._server = server
        self._signer = S3SigV4Auth(
            Credentials(server.access_key, server.secret_key, server.session_token),
            "s3",
            server.region_name,
        )
        self.change: Change = lambda asked: asked
        self.amend: Callable[[Asked, Answered], Answered] = lambda _, answered: answered
        self.open = asyncio.Event()
        self.open.set()
        self.lets_anybody_in = False
        self.asked: list[Asked] = []

    @property
    def server(self) -> S3Server:
        """The server, by this way."""
        return replace(self._server, endpoint_url=self.endpoint_url)

    async def _serve(self, request: web.BaseRequest) -> web.Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        asked = Asked(request.method, request.raw_path, headers, await request.read())
        self.asked.append(asked)
        changed = self.change(asked)
        await self.open.wait()
        answered = changed if isinstance(changed, Answered) else await self._pass_on(changed)
        answered = self.amend(asked, answered)
        sent_on = without_connection(answered.headers)
        return web.Response(status=answered.status, headers=sent_on, body=answered.body)

    async def _pass_on(self, asked: Asked) -> Answered:
        dropped = _OF_A_SIGNATURE | OF_A_CONNECTION | {"host"}
        headers = {name: value for name, value in asked.headers.items() if name not in dropped}
        url = self._server.endpoint_url + asked.target
        request = AWSRequest(asked.method, url, headers, asked.body)
        if self.lets_anybody_in or "authorization" in asked.headers:
            self._signer.add_auth(request)
        signed = dict(request.headers.items())
        reply = await self._send(asked.method, asked.target, signed, asked.body)
        headers = {name.lower(): value for name, value in reply.headers.items()}
        return Answered(reply.status, headers, reply.body)
