"""What a second writer costs, a serverless invocation, a look at `head`, and a slow storage."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from tests.benchmarks import data
from tests.benchmarks.contestants import OnS3
from tests.benchmarks.setting import Setting
from tests.support import StoreAround

from ptb_s3._format.container import HEAD
from ptb_s3._storage.body import Body
from ptb_s3._storage.contract import Fetched, NotModified, Received, Sink, Written
from ptb_s3.serverless import deliver

COMMITS = 200
_WARM_UP = 3
_LOOKS = 300
# Seconds that a storage which answers slowly takes for each request.
SLOW = 2.0


class Writers(NamedTuple):
    """Seconds, but for the number of requests.

    Attributes:
        alone: That so many commits of one writer take.
        in_turn: That as many of two take, each after one of the other, so that each conflicts.
        conflicts: How many of these did.
        invocation: Requests of a warm serverless invocation, by operation and object.
        look: CPU time of a conditional GET of head that finds nothing new.
        botocore_look: The same by botocore's own `get_object`.
        slow_flush: Saving and flushing an interval's changes where the storage answers slowly.
        allowed: `flush_timeout`.
    """

    alone: float
    in_turn: float
    conflicts: int
    invocation: dict[str, int]
    look: float
    botocore_look: float
    slow_flush: float
    allowed: float


class SlowStore(StoreAround):
    """A store whose every answer takes a while."""

    async def get(self, name: str, **options: Any) -> Fetched | None:
        await asyncio.sleep(SLOW)
        return await super().get(name, **options)

    async def stream(self, name: str, into: Sink, **options: Any) -> Received | None:
        await asyncio.sleep(SLOW)
        return await self.store.stream(name, into, **options)

    async def get_range(self, name: str, *span: int, **options: Any) -> bytes | None:
        await asyncio.sleep(SLOW)
        return await super().get_range(name, *span, **options)

    async def put(self, name: str, body: bytes | Body, *, if_match: str | None) -> Written:
        await asyncio.sleep(SLOW)
        return await super().put(name, body, if_match=if_match)


async def writers(setting: Setting) -> Writers:
    """Measure all of it."""
    one = [await _started(setting, "alone/")]
    alone = await _commit(one)
    two = [await _started(setting, "in-turn/"), await _started(setting, "in-turn/")]
    in_turn = await _commit(two)
    conflicts = sum(bot.persistence.stats.conflicts for bot in two)
    look, botocore_look = await _looks(one[0])
    for bot in (*one, *two):
        await bot.store.close()
    slow_flush, allowed = await _slow_flush(setting)
    return Writers(
        alone,
        in_turn,
        conflicts,
        await _invocation(setting),
        look=look,
        botocore_look=botocore_look,
        slow_flush=slow_flush,
        allowed=allowed,
    )


async def _started(setting: Setting, prefix: str) -> OnS3:
    bot = OnS3(setting, prefix, sync=None)
    await bot.app.initialize()
    return bot


async def _commit(bots: Sequence[OnS3]) -> float:
    """Let bots commit in turn; return what all but the first few commits take."""
    turns = itertools.cycle(range(len(bots)))
    begun = time.perf_counter()
    for number in range(COMMITS + _WARM_UP):
        if number == _WARM_UP:
            begun = time.perf_counter()
        turn = next(turns)
        await bots[turn].persistence.update_user_data(turn, {"count": number})
    return time.perf_counter() - begun


async def _invocation(setting: Setting) -> dict[str, int]:
    bot = OnS3(setting, "serverless/")
    for number in range(_WARM_UP):
        await deliver(bot.app, _update(number))
    bot.store.calls.clear()
    await deliver(bot.app, _update(_WARM_UP))
    calls = dict(bot.store.calls)
    await bot.store.close()
    return calls


def _update(number: int) -> str:
    person = {"id": 1, "is_bot": False, "first_name": "User"}
    chat = {"id": 1, "type": "private"}
    message = {"message_id": number, "date": 1_700_000_000, "chat": chat, "from": person}
    return json.dumps({"update_id": number, "message": {**message, "text": "hello"}})


async def _looks(bot: OnS3) -> tuple[float, float]:
    """Return the seconds of CPU time of a look at head: by the store, and by botocore alone."""
    from botocore.exceptions import ClientError  # noqa: PLC0415 - as long to import as aioboto3

    store: Any = bot.store.store
    client = await store._client()
    found = await store.get(HEAD)
    place = {"Bucket": store.bucket, "Key": store.prefix + HEAD, "IfNoneMatch": found.etag}

    async def by_store() -> None:
        with suppress(NotModified):
            await store.get(HEAD, if_none_match=found.etag)
            raise AssertionError("it has changed")

    async def by_botocore() -> None:
        with suppress(ClientError):  # which is how botocore says that it is the same
            await client.get_object(**place)
            raise AssertionError("head has changed meanwhile")

    return await _cpu(by_store), await _cpu(by_botocore)


async def _cpu(call: Callable[[], Awaitable[None]]) -> float:
    """Return the seconds of CPU time of one call, on average."""
    for _ in range(_WARM_UP):
        await call()
    begun = time.process_time()
    for _ in range(_LOOKS):
        await call()
    return (time.process_time() - begun) / _LOOKS


async def _slow_flush(setting: Setting) -> tuple[float, float]:
    """Save and flush an interval's changes, as a host that ends the process makes a bot do."""
    bot = OnS3(setting)
    await bot.app.initialize()
    rng = random.Random(4)  # noqa: S311 - to be repeatable is the point
    for user_id in data.active(list(bot.app.user_data), setting.one_per_cent, rng):
        data.touch(bot.app.user_data[user_id], rng)
        bot.app.mark_data_for_update_persistence(user_ids=user_id)
    bot.store.store = SlowStore(bot.store.store)
    begun = time.perf_counter()
    await bot.app.update_persistence()
    await bot.persistence.flush()
    return time.perf_counter() - begun, bot.persistence.flush_timeout
