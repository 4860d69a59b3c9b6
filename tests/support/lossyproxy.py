"""A way to an S3 server in bad weather: what is sent gets lost, held up, or arrives too late.

What befalls which request is drawn from a seed. Whole requests and replies are passed on as they
are, or not at all.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from enum import Enum, auto
from random import Random
from typing import NamedTuple

from aiohttp import web
from tests.support.httpproxy import HttpProxy

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


class LossyProxy(HttpProxy):
    """An HTTP proxy in that weather.

    Attributes:
        weather: What befalls the requests.
    """

    def __init__(self, endpoint_url: str, weather: Weather) -> None:
        super().__init__(endpoint_url, shutdown_timeout=2 * LONGEST)
        self.weather = weather

    async def _serve(self, request: web.BaseRequest) -> web.Response:
        body = await request.read()
        fault, seconds = self.weather.draw()
        if fault in {Fault.CUT, Fault.LATE}:
            _cut(request)
        if fault is Fault.CUT:
            return web.Response()  # to nobody
        if fault in {Fault.LATE, Fault.SLOW_REQUEST}:
            await asyncio.sleep(seconds)
        reply = await self._send(request.method, request.raw_path, request.headers, body)
        if fault is Fault.DROPPED:
            _cut(request)
        if fault is Fault.SLOW_REPLY:
            await asyncio.sleep(seconds)
        return reply.response()


def _cut(request: web.BaseRequest) -> None:
    if request.transport is not None:
        request.transport.abort()
