"""What Python has allocated for a bot, by tracemalloc."""

from __future__ import annotations

import asyncio
import gc
import pickle
import tracemalloc
from typing import NamedTuple

from tests.benchmarks.contestants import CONTESTANTS
from tests.benchmarks.setting import Setting


class Memory(NamedTuple):
    """Bytes.

    Attributes:
        live: That stay when the persistence is let go: the objects that the bot works with.
        beyond: That go with it.
        peak: The most there ever was beyond `live`, while the bot started.
        rewriting: The same, while everything was written anew.
    """

    live: int
    beyond: int
    peak: int
    rewriting: int


async def memory(setting: Setting, name: str) -> Memory:
    """The memory of a bot; its client, open before, is not counted."""
    bot = CONTESTANTS[name](setting)
    app = bot.app
    await bot.connect()
    gc.collect()
    tracemalloc.start()
    await app.initialize()
    assert len(app.user_data) == setting.users
    gc.collect()
    held, peak = tracemalloc.get_traced_memory()
    tracemalloc.reset_peak()
    await bot.rewrite()
    _, rewriting = tracemalloc.get_traced_memory()
    await bot.close()
    await asyncio.sleep(0)  # the loop still holds what the last step was given
    gc.unfreeze()  # or what a persistence has hidden from the collector would count as live
    gc.collect()
    live, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return Memory(live, held - live, peak - live, rewriting - live)


async def one_dict(setting: Setting) -> int:
    """Return the bytes of everything as one dict, as `pickle.loads` gives it."""
    pickled = setting.dict_file.read_bytes()
    tracemalloc.start()
    everything = pickle.loads(pickled)  # noqa: S301 - we have just written it
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(everything) > setting.users
    return size
