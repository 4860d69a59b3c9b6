"""What a second writer costs, what a serverless invocation asks of the storage, and a flush."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from tests.benchmarks import data
from tests.benchmarks.bots import S3Bot, Setting, s3_bot
from tests.support import StoreAround

from ptb_s3._store import Fetched, Store, Written
from ptb_s3.serverless import deliver

COMMITS = 200
_WARM_UP = 3
# Seconds that a storage which answers slowly takes for each request.
SLOW = 2.0


class Writers(NamedTuple):
    """Seconds, but for the number of requests.

    Attributes:
        alone: That so many commits of one writer take.
        in_turn: That as many of two take, each after one of the other, so that each conflicts.
        conflicts: How many of these did.
        invocation: Requests of a warm serverless invocation, by operation and object.
        flush: Saving and flushing an interval's changes.
        slow_flush: The same where the storage answers slowly.
        allowed: `flush_timeout`.
    """

    alone: float
    in_turn: float
    conflicts: int
    invocation: dict[str, int]
    flush: float
    slow_flush: float
    allowed: float


class SlowStore(StoreAround):
    """A store whose every answer takes a while."""

    async def get(self, name: str, **options: Any) -> Fetched | None:
        await asyncio.sleep(SLOW)
        return await super().get(name, **options)

    async def put(self, name: str, body: bytes | bytearray, *, if_match: str | None) -> Written:
        await asyncio.sleep(SLOW)
        return await super().put(name, body, if_match=if_match)


async def writers(setting: Setting) -> Writers:
    """Measure all of it."""
    one = [await _started(setting, "alone/")]
    alone = await _commit(one)
    two = [await _started(setting, "in-turn/"), await _started(setting, "in-turn/")]
    in_turn = await _commit(two)
    conflicts = sum(bot.persistence.stats.conflicts for bot in two)
    flush, _ = await _flush(setting)
    slow_flush, allowed = await _flush(setting, slow=True)
    return Writers(
        alone, in_turn, conflicts, await _invocation(setting), flush, slow_flush, allowed
    )


async def _started(setting: Setting, prefix: str) -> S3Bot:
    bot = s3_bot(setting, prefix, sync=None)
    await bot.app.initialize()
    return bot


async def _commit(bots: Sequence[S3Bot]) -> float:
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
    bot = s3_bot(setting, "serverless/")
    for number in range(_WARM_UP):
        await deliver(bot.app, _update(number))
    bot.store.calls.clear()
    await deliver(bot.app, _update(_WARM_UP))
    return dict(bot.store.calls)


def _update(number: int) -> str:
    person = {"id": 1, "is_bot": False, "first_name": "User"}
    chat = {"id": 1, "type": "private"}
    message = {"message_id": number, "date": 1_700_000_000, "chat": chat, "from": person}
    return json.dumps({"update_id": number, "message": {**message, "text": "hello"}})


async def _flush(setting: Setting, *, slow: bool = False) -> tuple[float, float]:
    """Save and flush an interval's changes, as a host that ends the process makes a bot do."""
    bot = s3_bot(setting)
    await bot.app.initialize()
    rng = random.Random(4)  # noqa: S311 - to be repeatable is the point
    for user_id in data.active(list(bot.app.user_data), setting.changed, rng):
        data.touch(bot.app.user_data[user_id], rng)
        bot.app.mark_data_for_update_persistence(user_ids=user_id)
    if slow:
        _slow_down(bot)
    begun = time.perf_counter()
    await bot.app.update_persistence()
    await bot.persistence.flush()
    return time.perf_counter() - begun, bot.persistence.flush_timeout


def _slow_down(bot: S3Bot) -> None:
    quick: Store = bot.store.store
    bot.store.store = SlowStore(quick)
