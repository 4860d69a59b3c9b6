"""The storage, as several processes reach it: late, twice, or not at all. And who watches over it."""

from __future__ import annotations

import asyncio
import contextvars
import random
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from ptb_s3._store import Fetched, MemoryStore, PreconditionFailed, Version, Written
from ptb_s3.errors import StorageUnavailableError

# Seconds after which a client gives up, as ours does.
_PATIENCE = 7.0


@dataclass(frozen=True)
class Weather:
    """How often what befalls a request, from 0 to 1; and how long it takes, in seconds.

    Attributes:
        lost: It never arrives.
        unanswered: It is carried out, and nobody hears of it.
        late: It is carried out long after its sender has given up.
        twice: It is carried out twice, and the second answer is the one that counts.
        busy: The storage says 409 or 503.
        refused: It says 412 to what it should have taken.
        truncated: The body of what is read breaks off.
        delay: Mean of the time on the way, there and back.
    """

    lost: float = 0.0
    unanswered: float = 0.0
    late: float = 0.0
    twice: float = 0.0
    busy: float = 0.0
    refused: float = 0.0
    truncated: float = 0.0
    delay: float = 0.02


def draw_weather(rng: random.Random) -> Weather:
    """Draw the weather of one run: fair every fourth time."""
    if rng.random() < 0.25:
        return Weather(delay=rng.choice([0.0, 0.02, 0.3]))
    rate = rng.choice([0.01, 0.05, 0.15])
    return Weather(
        lost=rate * rng.random(),
        unanswered=rate * rng.random(),
        late=rate * rng.random(),
        twice=rate * rng.random(),
        busy=rate * rng.random(),
        refused=rate * rng.random() / 4,
        truncated=rate * rng.random() / 4,
        delay=rng.choice([0.001, 0.05, 0.5]),
    )


class Line:
    """A `Store` as one process has it: each request on its own way to the storage.

    What is on its way arrives even if its sender dies.

    Args:
        storage: The storage.
        rng: Decides what befalls a request.
        weather: How often.
        after: Called after each write that was carried out.
    """

    def __init__(
        self,
        storage: MemoryStore,
        rng: random.Random,
        weather: Weather,
        after: Callable[[str], None],
    ) -> None:
        self.weather = weather
        self._storage = storage
        self._rng = rng
        self._after = after

    async def get(self, name: str, **options: Any) -> Fetched | None:
        found: Fetched | None = await self._request(lambda: self._storage.get(name, **options))
        if found is not None and found.body and self._rng.random() < self.weather.truncated:
            found = found._replace(body=found.body[: self._rng.randrange(len(found.body))])
        return found

    async def put(self, name: str, body: bytes | bytearray, *, if_match: str | None) -> Written:
        put = self._storage.put
        written: Written = await self._request(lambda: put(name, body, if_match=if_match), name)
        return written

    async def overwrite(self, name: str, body: bytes | bytearray) -> Written:
        overwrite = self._storage.overwrite
        written: Written = await self._request(lambda: overwrite(name, body), name)
        return written

    async def versions(self, name: str) -> AsyncIterator[Version]:
        await self._request(lambda: self._storage.get(name))
        async for version in self._storage.versions(name):
            yield version

    async def place(self) -> str:
        return await self._storage.place()

    async def close(self) -> None: ...

    async def _request(
        self, act: Callable[[], Coroutine[Any, Any, Any]], written: str | None = None
    ) -> Any:
        rng, weather = self._rng, self.weather
        fate = rng.random()

        def befalls(rate: float) -> bool:
            nonlocal fate
            fate -= rate
            return -rate <= fate < 0

        loop = asyncio.get_running_loop()
        outcome: asyncio.Future[Any] = loop.create_future()

        def carry_out() -> None:
            result = _outcome(act)
            if written is not None and not isinstance(result, BaseException):
                self._after(written)
            if not outcome.done():
                outcome.set_result(result)

        there, back = (rng.expovariate(1 / weather.delay) if weather.delay else 0.0 for _ in "ab")
        # In a context of its own: what is on its way belongs to no process any more.
        sent = {"context": contextvars.Context()}
        if befalls(weather.lost):
            await asyncio.sleep(_PATIENCE)
            raise StorageUnavailableError("Lost on its way.")
        if befalls(weather.late):
            loop.call_later(_PATIENCE * (1 + 9 * rng.random()), carry_out, **sent)
            await asyncio.sleep(_PATIENCE)
            raise StorageUnavailableError("It takes too long.")
        if befalls(weather.busy):
            await asyncio.sleep(there + back)
            raise StorageUnavailableError("Busy.")
        if written is not None and befalls(weather.refused):
            await asyncio.sleep(there + back)
            raise PreconditionFailed(written)
        unanswered, twice = befalls(weather.unanswered), befalls(weather.twice)
        loop.call_later(there, carry_out, **sent)
        result = await outcome
        if twice:
            outcome = loop.create_future()
            loop.call_later(rng.expovariate(1.0), carry_out, **sent)
            result = await outcome
        if unanswered:
            await asyncio.sleep(_PATIENCE)
            raise StorageUnavailableError("The answer was lost.")
        await asyncio.sleep(back)
        if isinstance(result, BaseException):
            raise result
        return result


def _outcome(act: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    """Carry out what the storage in memory does without ever waiting."""
    work = act()
    try:
        work.send(None)
    except StopIteration as end:
        return end.value
    except Exception as error:  # noqa: BLE001 - goes back to whoever asked
        return error
    raise AssertionError("it waited")
