"""The storage, as several processes reach it: late, twice, or not at all."""

from __future__ import annotations

import asyncio
import contextvars
import random
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NoReturn

from ptb_s3._storage.body import Body, joined
from ptb_s3._storage.contract import (
    Fetched,
    PreconditionFailed,
    Received,
    Remains,
    Sink,
    Version,
    Written,
    hand_over,
)
from ptb_s3._storage.memory import MemoryStore
from ptb_s3._storage.reply_clock import ReplyClock
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
        slow: It is carried out, and the answer takes seconds.
        busy: The storage says 409 or 503.
        refused: It says 412 to what it should have taken.
        truncated: The body of what is read breaks off.
        delay: Mean of the time on the way, there and back.
    """

    lost: float = 0.0
    unanswered: float = 0.0
    late: float = 0.0
    twice: float = 0.0
    slow: float = 0.0
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
        slow=rate * rng.random(),
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
        in_any_order: Whether versions are listed so, as some servers do.
        clock: The process's own clock; None: it is the storage's.
    """

    def __init__(
        self,
        storage: MemoryStore,
        rng: random.Random,
        weather: Weather,
        after: Callable[[str], None],
        in_any_order: bool = False,  # noqa: FBT001, FBT002 - a double's
        *,
        clock: Callable[[], datetime] | None = None,
    ) -> None:
        self.weather = weather
        self._storage = storage
        self._rng = rng
        self._after = after
        self._in_any_order = in_any_order
        elapsed = asyncio.get_running_loop().time
        self._clock = ReplyClock(clock or storage.clock, elapsed)

    @property
    def ahead(self) -> timedelta:
        return self._clock.ahead

    async def get(self, name: str, **options: Any) -> Fetched | None:
        found: Fetched | None = await self._request(lambda: self._storage.get(name, **options))
        if found is not None and found.body and self._rng.random() < self.weather.truncated:
            found = found._replace(body=found.body[: self._rng.randrange(len(found.body))])
        return found

    async def stream(self, name: str, into: Sink, **options: Any) -> Received | None:
        return hand_over(await self.get(name, **options), into)

    async def get_range(self, name: str, start: int, length: int, **options: Any) -> bytes | None:
        get_range = self._storage.get_range
        found: bytes | None = await self._request(lambda: get_range(name, start, length, **options))
        if found and self._rng.random() < self.weather.truncated:
            found = found[: self._rng.randrange(len(found))]
        return found

    async def put(self, name: str, body: bytes | Body, *, if_match: str | None) -> Written:
        put, body = self._storage.put, joined(body)  # it may arrive when its sender is gone
        written: Written = await self._request(lambda: put(name, body, if_match=if_match), name)
        return written

    async def overwrite(self, name: str, body: bytes | Body) -> Written:
        overwrite, body = self._storage.overwrite, joined(body)
        written: Written = await self._request(lambda: overwrite(name, body), name)
        return written

    async def versions(self, name: str) -> AsyncIterator[Version]:
        await self._request(lambda: self._storage.get(name))
        listed = [version async for version in self._storage.versions(name)]
        if self._in_any_order:
            self._rng.shuffle(listed)
        for version in listed:
            yield version

    async def remains(self, name: str) -> Remains | None:
        left: Remains | None = await self._request(lambda: self._storage.remains(name))
        return left

    async def neighbours(self, name: str) -> list[str]:
        return await self._storage.neighbours(name)

    async def place(self) -> str:
        return await self._storage.place()

    def twin(self) -> Line:
        return self

    async def close(self) -> None: ...

    async def _request(
        self, act: Callable[[], Coroutine[Any, Any, Any]], written: str | None = None
    ) -> Any:
        delay = self.weather.delay
        there, back = (self._rng.expovariate(1 / delay) if delay else 0.0 for _ in range(2))
        fate = self._fate()
        if fate == "lost":
            await self._give_up("Lost on its way.")
        if fate == "late":
            self._send(act, written, _PATIENCE * (1 + 9 * self._rng.random()))
            await self._give_up("It takes too long.")
        if fate == "busy" or (fate == "refused" and written is None):
            await asyncio.sleep(there + back)
            raise StorageUnavailableError("Busy.")
        if fate == "refused":
            raise PreconditionFailed(written)
        result, date = await self._send(act, written, there)
        if fate == "twice":
            result, date = await self._send(act, written, self._rng.expovariate(1.0))
        if fate == "unanswered":
            await self._give_up("The answer was lost.")
        await asyncio.sleep(back + (6 * self._rng.random() if fate == "slow" else 0.0))
        if isinstance(result, BaseException):
            raise result
        self._clock.note(date.replace(microsecond=0))  # as HTTP states times
        return result

    def _fate(self) -> str | None:
        """Draw what befalls a request; None: nothing."""
        fates = ("lost", "late", "busy", "refused", "twice", "unanswered", "slow")
        rates = [getattr(self.weather, fate) for fate in fates]
        return self._rng.choices([*fates, None], weights=[*rates, 1 - sum(rates)])[0]

    def _send(
        self, act: Callable[[], Coroutine[Any, Any, Any]], written: str | None, delay: float
    ) -> asyncio.Future[Any]:
        """Have the storage carry out a request after a while, whatever becomes of its sender.

        It gives the answer, and when it was given.
        """
        loop = asyncio.get_running_loop()
        outcome: asyncio.Future[Any] = loop.create_future()

        def carry_out() -> None:
            result = outcome_of(act)
            if written is not None and not isinstance(result, BaseException):
                self._after(written)
            if not outcome.done():
                outcome.set_result((result, self._storage.clock()))

        # In a context of its own: what is on its way belongs to no process any more.
        loop.call_later(delay, carry_out, context=contextvars.Context())
        return outcome

    async def _give_up(self, why: str) -> NoReturn:
        await asyncio.sleep(_PATIENCE)
        raise StorageUnavailableError(why)


def outcome_of(act: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    """Carry out what the storage in memory does without ever waiting."""
    work = act()
    try:
        work.send(None)
    except StopIteration as end:
        return end.value
    except Exception as error:  # noqa: BLE001 - goes back to whoever asked
        return error
    raise AssertionError("it waited")
