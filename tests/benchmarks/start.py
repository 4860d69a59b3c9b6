"""What a start costs: time, and growth of the process."""

from __future__ import annotations

import gc
import os
import pickle
import time
from pathlib import Path
from typing import NamedTuple

from tests.benchmarks.contestants import CONTESTANTS
from tests.benchmarks.setting import Setting

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


async def loads(setting: Setting) -> Start:
    """`pickle.loads` of everything as one dict, with the collector off: the yardstick."""
    pickled = setting.dict_file.read_bytes()
    resident = _resident()
    gc.disable()
    begun = time.perf_counter()
    everything = pickle.loads(pickled)  # noqa: S301 - we have just written it
    seconds = time.perf_counter() - begun
    assert len(everything) > setting.users
    return Start(seconds, _resident() - resident)


async def start(setting: Setting, name: str) -> Start:
    """A start with the client open; then the transfer once more, alone."""
    bot = CONTESTANTS[name](setting)
    await bot.connect()
    gc.collect()
    resident = _resident()
    begun = time.perf_counter()
    await bot.app.initialize()
    seconds = time.perf_counter() - begun
    assert len(bot.app.user_data) == setting.users
    grown = _resident() - resident
    gc.disable()  # it would walk through all users, and that is none of the network's business
    transfers = []
    for _ in range(_TRANSFERS):
        begun = time.perf_counter()
        await bot.transfer()
        transfers.append(time.perf_counter() - begun)
    await bot.close()
    return Start(seconds, grown, min(transfers))


def _resident() -> int:
    """Return the bytes of this process that are in memory; 0 where there is no /proc."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")
