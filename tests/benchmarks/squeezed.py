"""A bot in little memory, in an interpreter of its own, since a limit stays once it is set.

The limit is `RLIMIT_DATA`: all that a process has asked for that is its own and can be written,
touched or not. A control group counts what is touched, but takes root to make. `RLIMIT_AS` counts
the addresses that glibc reserves for each thread as well, 64 MiB, which are no memory. Stacks of
threads count, so these get 1 MiB each here, which is more than they touch.
"""

from __future__ import annotations

import asyncio
import json
import resource
import subprocess
import sys
import threading
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

from tests.benchmarks.contestants import OnS3
from tests.benchmarks.on_demand import build, in_memory, update_of, visitors
from tests.benchmarks.on_demand_state import write_anew
from tests.benchmarks.setting import Setting

MEMORY = 256 * 2**20
UPDATES = 1_000
_STACK = 2**20


class Squeezed(NamedTuple):
    """A bot in little memory.

    Attributes:
        updates: How many it processed.
        compacted: Whether it wrote everything anew after them.
        resident: Bytes of the process in memory, at most.
        failure: Why it ended; empty: it did all that it was to do.
    """

    updates: int
    compacted: bool
    resident: int
    failure: str


def run(setting: Setting, mode: str) -> Squeezed:
    """Run the bot in an interpreter with little memory."""
    told = asdict(setting) | {"folder": str(setting.folder), "mode": mode}
    answer = subprocess.run(  # noqa: S603 - this module
        [sys.executable, "-m", __name__],
        cwd=Path(__file__).parents[2],
        input=json.dumps(told),
        capture_output=True,
        text=True,
        check=False,
    )
    lines = answer.stdout.splitlines()
    if not lines:  # the kernel, or Python in the middle of something, had to end it
        return Squeezed(0, compacted=False, resident=0, failure=f"status {answer.returncode}")
    return Squeezed(*json.loads(lines[-1]))


async def squeezed(setting: Setting, mode: str, updates: int) -> Squeezed:
    """Process updates of random users, and write everything anew."""
    done, compacted, failure = 0, False, ""
    try:
        bot, app = build(setting, mode)
        assert isinstance(bot, OnS3)
        await bot.connect()
        await app.initialize()
        for user_id, _ in zip(visitors(setting), range(updates), strict=False):
            await app.process_update(update_of(app, user_id))
            done += 1
            if done % 100 == 0:
                await app.update_persistence()
        await write_anew(bot)
        compacted = True
    except Exception as error:  # noqa: BLE001 - where memory ends, errors of all kinds come of it
        failure = f"{type(error).__name__}"
    return Squeezed(done, compacted, in_memory("VmHWM"), failure)


def _main() -> None:
    told = json.load(sys.stdin)
    mode = told.pop("mode")
    setting = Setting(**told | {"folder": Path(told["folder"])})
    setting.enter()
    threading.stack_size(_STACK)
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    print(json.dumps(asyncio.run(squeezed(setting, mode, UPDATES))))  # noqa: T201 - the answer


if __name__ == "__main__":
    _main()
