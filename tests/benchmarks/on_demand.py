"""A bot that loads its state whole, or on demand: its first update, later ones, and its memory.

Each probe runs in a process of its own. But for `rewriting`, none of them saves anything, so that
all find the same state.
"""

from __future__ import annotations

import gc
import random
import statistics
import time
import tracemalloc
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any, NamedTuple

from telegram import Update
from telegram.ext import TypeHandler
from tests.benchmarks import data
from tests.benchmarks.contestants import PICKLE, OnPickle, OnS3
from tests.benchmarks.on_demand_state import prefix, write_anew
from tests.benchmarks.setting import App, Setting, application

from ptb_s3 import PersistentApplication
from ptb_s3._options import Options

ALL = "all"
ON_DEMAND = "on_demand"
MODES = [ALL, *([ON_DEMAND] if "load" in {field.name for field in fields(Options)} else [])]
"""Values of ``load=`` that this build takes."""

VISITS = 20
"""Warm updates, of as many users."""
_STATUS = Path("/proc/self/status")


class First(NamedTuple):
    """A start, up to the end of the first handler.

    Attributes:
        seconds: That took, from `initialize()` on.
        resident: Bytes of the process in memory then; 0 where there is no /proc.
    """

    seconds: float
    resident: int


class Warm(NamedTuple):
    """Updates of users in a running bot: seconds of one, at the median.

    Attributes:
        unseen: Of users who have not come by yet.
        seen: Of the same ones again.
    """

    unseen: float
    seen: float


class Peak(NamedTuple):
    """Python's allocations, in bytes, while everything was written anew.

    Attributes:
        beyond: The most there ever was, beyond what was held before.
        held: What was held before: live objects, and what belongs to the persistence.
    """

    beyond: int
    held: int


async def first(setting: Setting, mode: str) -> First:
    """Start a bot whose client is made, and process one update."""
    bot, app = build(setting, mode)
    await bot.connect()
    update = update_of(app, next(visitors(setting)))
    gc.collect()
    begun = time.perf_counter()
    await app.initialize()
    await app.process_update(update)
    return First(time.perf_counter() - begun, in_memory("VmRSS"))


async def warm(setting: Setting, mode: str) -> Warm:
    """Process updates of users who come by for the first time, and once more."""
    bot, app = build(setting, mode)
    await bot.connect()
    await app.initialize()
    comers = visitors(setting)
    await app.process_update(update_of(app, next(comers)))
    users = [next(comers) for _ in range(VISITS)]
    unseen, seen = [[await _seconds(app, user) for user in users] for _ in range(2)]
    return Warm(statistics.median(unseen), statistics.median(seen))


async def _seconds(app: App, user_id: int) -> float:
    update = update_of(app, user_id)
    begun = time.perf_counter()
    await app.process_update(update)
    return time.perf_counter() - begun


async def rewriting(setting: Setting, mode: str) -> Peak:
    """Write everything anew in a bot that has processed one update."""
    bot, app = build(setting, mode)
    assert isinstance(bot, OnS3)
    await bot.connect()
    gc.collect()
    tracemalloc.start()
    await app.initialize()
    await app.process_update(update_of(app, next(visitors(setting))))
    await app.update_persistence()
    gc.collect()
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.reset_peak()
    await write_anew(bot)
    _, peak = tracemalloc.get_traced_memory()
    return Peak(peak - held, held)


def build(setting: Setting, mode: str) -> tuple[OnS3 | OnPickle, App]:
    """Build a bot whose handler reads and writes its user."""
    if mode == PICKLE:
        pickled = OnPickle(setting)
        bot: OnS3 | OnPickle = pickled
        app = application(pickled.persistence)
    else:
        bot = OnS3(setting, prefix(setting), **({} if mode == ALL else {"load": mode}))
        app = application(bot.persistence, PersistentApplication)
    app.add_handler(TypeHandler(Update, _visit))
    return bot, app


async def _visit(_: Update, context: Any) -> None:
    context.user_data["visits"] = context.user_data.get("visits", 0) + 1


def visitors(setting: Setting) -> Iterator[int]:
    """Yield users at random, the same in every process."""
    rng = random.Random(18)  # noqa: S311 - to be repeatable is the point
    while True:
        yield data.FIRST_ID + 37 * rng.randrange(max(1, setting.users))


def update_of(app: App, user_id: int) -> Update:
    person = {"id": user_id, "is_bot": False, "first_name": "User"}
    chat = {"id": user_id, "type": "private"}
    message = {"message_id": 1, "date": 1_700_000_000, "chat": chat, "from": person}
    made = Update.de_json({"update_id": 1, "message": {**message, "text": "hello"}}, app.bot)
    assert made is not None
    return made


def in_memory(what: str) -> int:
    """Return a figure of this process's memory, as the kernel counts it."""
    if not _STATUS.exists():
        return 0
    lines = dict(line.split(":", 1) for line in _STATUS.read_text().splitlines())
    return int(lines[what].split()[0]) * 1024
