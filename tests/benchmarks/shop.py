"""A bot at work: its users change something, and its state is saved."""

from __future__ import annotations

import gc
import random
import time
from typing import NamedTuple

from tests.benchmarks import data
from tests.benchmarks.contestants import Entrant
from tests.benchmarks.watch import Others, Watch


class Saved(NamedTuple):
    """What saving one interval's changes took: seconds, but for the requests.

    Attributes:
        stall: The longest delay of the loop, without what others did meanwhile (see `Others`).
        copies: PTB's deep copies.
        cpu: CPU time of all threads, without that of the others.
        requests: Until `update_persistence()` returned.
    """

    stall: float
    copies: float
    cpu: float
    requests: int


class Shop:
    """A bot at work.

    Attributes:
        others: What held up the loop, whatever the persistence.
    """

    def __init__(self, bot: Entrant) -> None:
        self.others = Others()
        self._bot = bot
        self._rng = random.Random(15)  # noqa: S311 - to be repeatable is the point

    async def open(self) -> float:
        """Start the bot; return the seconds of a full pass of the collector then."""
        await self._bot.connect()
        await self._bot.app.initialize()
        # What a start has made, the collector looks through once; no interval is to blame for it.
        gc.collect()
        begun = time.perf_counter()
        gc.collect()
        return time.perf_counter() - begun

    def visit(self, count: int, *, buy: bool = True) -> None:
        """Let users come by, who change something or nothing."""
        app = self._bot.app
        visitors = data.active(list(app.user_data), count, self._rng)
        for user_id in visitors if buy else ():
            data.touch(app.user_data[user_id], self._rng)
        app.mark_data_for_update_persistence(user_ids=visitors)

    async def save(self) -> Saved:
        """Save what changed, as PTB does in each interval, and watch the loop."""
        copied, called = self.others.copies, self._bot.requests()
        with self.others.timed():
            async with Watch(self.others) as watch:
                cpu = time.process_time() - self.others.cpu
                await self._bot.app.update_persistence()
                cpu = time.process_time() - self.others.cpu - cpu
                requests = self._bot.requests() - called
        return Saved(watch.longest, self.others.copies - copied, cpu, requests)

    async def save_unwatched(self) -> float:
        """Save what changed; return the CPU time, which no watch adds to."""
        with self.others.timed():
            begun = time.process_time() - self.others.cpu
            await self._bot.app.update_persistence()
            return time.process_time() - self.others.cpu - begun

    async def settle(self) -> float | None:
        """Wait for what goes on in the background; return the longest stall, None: nothing did."""
        with self.others.timed():
            async with Watch(self.others) as watch:
                if not await self._bot.settle():
                    return None
        return watch.longest

    async def shut_down(self) -> float:
        """Shut down, which saves and flushes; return the longest stall."""
        with self.others.timed():
            async with Watch(self.others) as watch:
                await self._bot.app.shutdown()
        return watch.longest
