"""What a start costs: time, and the memory that stays."""

from __future__ import annotations

import asyncio
import gc
import os
import pickle
import time
import tracemalloc
from pathlib import Path
from typing import NamedTuple

from tests.benchmarks.bots import App, CountingStore, Setting, pickle_bot, s3_bot

from ptb_s3._container import HEAD
from ptb_s3._state import Kind

_TRANSFERS = 3


class Start(NamedTuple):
    """One start of a bot, in seconds and bytes.

    Attributes:
        seconds: That `Application.initialize()` took, with its getters.
        resident: Bytes by which the process has grown.
        transfer: Seconds for the requests alone.
    """

    seconds: float
    resident: int
    transfer: float = 0.0


class Memory(NamedTuple):
    """What Python has allocated once a bot has started.

    Attributes:
        live: Bytes that stay when the persistence is let go: the objects that the bot works with.
        beyond: Bytes that go with it.
        peak: The most there ever was beyond `live`, while it started.
    """

    live: int
    beyond: int
    peak: int


async def loads(setting: Setting) -> Start:
    """`pickle.loads` of the dict of all users, with the collector off: the yardstick."""
    pickled = setting.dict_file.read_bytes()
    resident = _resident()
    gc.disable()
    begun = time.perf_counter()
    users = pickle.loads(pickled)  # noqa: S301 - we have just written it
    seconds = time.perf_counter() - begun
    assert len(users) == setting.users
    return Start(seconds, _resident() - resident)


async def on_s3(setting: Setting) -> Start:
    """A start on S3, its client open; then the transfer once more, alone."""
    bot = s3_bot(setting)
    await bot.open_client()
    start = await _start(bot.app, setting)
    gc.disable()  # it would walk through all users, and that is none of the network's business
    transfer = min([await _transfer(bot.store) for _ in range(_TRANSFERS)])
    await bot.store.close()
    return start._replace(transfer=transfer)


async def on_pickle(setting: Setting) -> Start:
    """A start on a pickle file."""
    return await _start(pickle_bot(setting).app, setting)


async def memory_on_s3(setting: Setting) -> Memory:
    """The memory of a bot on S3; its client, open before, is not counted."""
    bot = s3_bot(setting)
    app, store = bot.app, bot.store
    await bot.open_client()
    del bot
    memory = await _memory(app, setting)
    await store.close()
    return memory


async def memory_on_pickle(setting: Setting) -> Memory:
    """The memory of a bot on a pickle file."""
    return await _memory(pickle_bot(setting).app, setting)


async def _start(app: App, setting: Setting) -> Start:
    gc.collect()
    resident = _resident()
    begun = time.perf_counter()
    await app.initialize()
    seconds = time.perf_counter() - begun
    assert len(app.user_data) == setting.users
    return Start(seconds, _resident() - resident)


async def _transfer(store: CountingStore) -> float:
    begun = time.perf_counter()
    await asyncio.gather(*map(store.get, [HEAD, *Kind]))
    return time.perf_counter() - begun


async def _memory(app: App, setting: Setting) -> Memory:
    gc.collect()
    tracemalloc.start()
    await app.initialize()
    assert len(app.user_data) == setting.users
    gc.collect()
    held, peak = tracemalloc.get_traced_memory()
    app.persistence = None
    await asyncio.sleep(0)  # the loop still holds what the last step was given
    gc.collect()
    live, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return Memory(live, held - live, peak - live)


def _resident() -> int:
    """Return the bytes of this process that are in memory; 0 where there is no /proc."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")
