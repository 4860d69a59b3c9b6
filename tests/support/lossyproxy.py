"""A way to an S3 server in bad weather: what is sent gets lost, held up, or arrives too late.

What befalls which request is drawn from a seed. It passes on whole requests and replies, as they
are: signatures hold, since the client signs the proxy's address as the host, and that stays.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from enum import Enum, auto
from random import Random
from typing import NamedTuple, Self

import aiohttp
from aiohttp import web
from multidict import CIMultiDict
from yarl import URL

_HOST = "127.0.0.1"
_OF_A_CONNECTION = ("connection", "transfer-encoding", "expect", "content-length")
# Share of the requests that each fault befalls, outside spells in which all are lost.
RATE = 0.03
# Seconds: the longest that a request or a reply is held up. Well within what a client waits for.
LONGEST = 0.4
# Requests between two spells, and those that are all lost in one: as many as use up the three
# attempts of a client, of which aiohttp repeats each once.
BETWEEN_SPELLS, SPELL = range(60, 240), range(8, 24)


class Fault(Enum):
    """What befalls a request."""

    CUT = auto()
    """The connection is cut, and the server never sees the request."""
    DROPPED = auto()
    """The server carries it out, and the connection is cut before the reply."""
    LATE = auto()
    """The connection is cut, and the server sees the request when its sender has gone on."""
    SLOW_REQUEST = auto()
    """It reaches the server after a while, also if its sender is gone by then."""
    SLOW_REPLY = auto()
    """The reply comes after a while."""


LOSSES = (Fault.CUT, Fault.DROPPED, Fault.LATE)


class Drawn(NamedTuple):
    """What befalls one request.

    Attributes:
        fault: None: nothing does.
        seconds: How long whatever is held up is.
    """

    fault: Fault | None
    seconds: float


class Weather:
    """Draws what befalls one request after another. Pure.

    Attributes:
        requests: How many there were.
        befell: How many of them each fault befell.
        spells: How often all of several requests in a row were lost.
    """

    def __init__(self, seed: str) -> None:
        self.requests = 0
        self.befell: Counter[Fault] = Counter()
        self.spells = 0
        self._random = Random(seed)  # noqa: S311 - to be the same again, not to be secret
        self._until_spell = self._random.choice(BETWEEN_SPELLS)
        self._left_of_it = 0

    def draw(self) -> Drawn:
        """Return what befalls the next request."""
        self.requests += 1
        fault = self._random.choice(LOSSES) if self._in_spell() else self._of_its_own()
        if fault is not None:
            self.befell[fault] += 1
        return Drawn(fault, self._random.uniform(0, LONGEST))

    def _in_spell(self) -> bool:
        if self._left_of_it:
            self._left_of_it -= 1
            return True
        if self._until_spell:
            self._until_spell -= 1
            return False
        self.spells += 1
        self._left_of_it = self._random.choice(SPELL)
        self._until_spell = self._random.choice(BETWEEN_SPELLS)
        return False

    def _of_its_own(self) -> Fault | None:
        number = int(self._random.random() / RATE)
        return list(Fault)[number] if number < len(Fault) else None


class LossyProxy:
    """A proxy to one S3 endpoint, as an async context manager.

    Attributes:
        weather: What befalls the requests.
    """

    def __init__(self, endpoint_url: str, weather: Weather) -> None:
        self.weather = weather
        self._target = endpoint_url
        self._session: aiohttp.ClientSession | None = None
        # Whoever asked may be gone: what was asked is on its way all the same.
        server = web.Server(self._serve, handler_cancellation=False)
        self._runner = web.ServerRunner(server, shutdown_timeout=2 * LONGEST)

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(auto_decompress=False, trust_env=False)
        await self._runner.setup()
        await web.TCPSite(self._runner, _HOST, 0).start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()
        assert self._session is not None
        await self._session.close()

    @property
    def endpoint_url(self) -> str:
        """What to give to the client in place of the server's."""
        host, port = self._runner.addresses[0][:2]
        return f"http://{host}:{port}"

    async def _serve(self, request: web.BaseRequest) -> web.Response:
        body = await request.read()
        fault, seconds = self.weather.draw()
        if fault in {Fault.CUT, Fault.LATE}:
            _cut(request)
        if fault is Fault.CUT:
            return web.Response()  # to nobody
        if fault in {Fault.LATE, Fault.SLOW_REQUEST}:
            await asyncio.sleep(seconds)
        reply = await self._pass_on(request, body)
        if fault is Fault.DROPPED:
            _cut(request)
        if fault is Fault.SLOW_REPLY:
            await asyncio.sleep(seconds)
        return reply

    async def _pass_on(self, request: web.BaseRequest, body: bytes) -> web.Response:
        assert self._session is not None
        async with self._session.request(
            request.method,
            URL(self._target + request.raw_path, encoded=True),
            headers=_without_connection(request.headers),
            data=body,
            allow_redirects=False,
        ) as reply:
            content = await reply.read()
            headers = _without_connection(reply.headers)
            return web.Response(status=reply.status, headers=headers, body=content)


def _cut(request: web.BaseRequest) -> None:
    if request.transport is not None:
        request.transport.abort()


def _without_connection(headers: Mapping[str, str]) -> CIMultiDict[str]:
    kept = CIMultiDict(headers)
    for name in _OF_A_CONNECTION:
        kept.popall(name, None)
    return kept
