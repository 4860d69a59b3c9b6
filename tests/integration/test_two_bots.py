"""Promises 2 and 4 for two bots at once: real processes, real storage, bad weather and SIGKILL."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from random import Random
from typing import Literal, NamedTuple

import pytest
from tests.integration.increments_bot import RUNS, SUM, own_field
from tests.servers import PROJECT, S3Server
from tests.support.bots import Bots, Json
from tests.support.lossyproxy import Fault, LossyProxy, Weather

SHORT, LONG = 25.0, 600.0
"""Seconds for which the bots count, without and with ``--long``."""
KILLED_AFTER = (0.5, 7.0)
"""Seconds: least and most that a run lives."""
PATIENCE = 45.0
"""Seconds in which bots that are told to stop have stopped, in whatever weather."""

COUNTED = ("commits", "compactions", "conflicts", "merged", "overridden", "failures")
"""The statistics that can be added up."""


@dataclass
class Run:
    """What one run of a bot has said of itself; numbers by user."""

    attempted: Counter[int] = field(default_factory=Counter)
    acknowledged: Counter[int] = field(default_factory=Counter)
    stats: Counter[str] = field(default_factory=Counter)


@dataclass
class Account:
    """What a bot has attempted, and what of it was acknowledged, as its runs have reported.

    Attributes:
        runs: By name.
        attempted: The highest value of its own field that it attempted, by user.
        acknowledged: The highest that was acknowledged, by user; it is the last one, too.
        failed: How often what has failed: a commit, for want of storage; a merge, which never
            should; a start; a stop.
        ended: How often a run ended in which way: exit codes.
        pid: Of the run that is alive, if there is one.
    """

    runs: dict[str, Run] = field(default_factory=dict)
    attempted: Counter[int] = field(default_factory=Counter)
    acknowledged: Counter[int] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    ended: Counter[int] = field(default_factory=Counter)
    pid: int | None = None

    def note(self, line: Json) -> None:
        run = self.runs.setdefault(line["run"], Run()) if "run" in line else Run()
        match line:
            case {"born": pid}:
                self.pid = pid
            case {"ended": code}:
                self.pid = None
                self.ended[code] += 1
            case {"loaded": loaded}:
                found = _by_user(loaded)
                for user, least in self.acknowledged.items():
                    assert found[user] >= least, f"a new run has lost what was durable: {line}"
            case {"attempted": {"user": user, "own": own, "counted": counted}}:
                self.attempted[user] = max(self.attempted[user], own)
                run.attempted[user] = counted
            case {"acknowledged": {"counted": counted, "own": own}, "stats": stats}:
                run.acknowledged = _by_user(counted)
                self.acknowledged |= _by_user(own)
                run.stats = Counter({name: stats[name] for name in COUNTED})
            case {"failed": what}:
                self.failed[what] += 1
            case _:
                raise AssertionError(line)

    @property
    def stats(self) -> Counter[str]:
        """The statistics of all runs together, as far as they had acknowledged anything."""
        return sum((run.stats for run in self.runs.values()), Counter())

    def total(self, what: Literal["attempted", "acknowledged"]) -> int:
        """Return how many increments of all runs and users that is."""
        return sum(getattr(run, what).total() for run in self.runs.values())

    def check(self, bot: str, user: int, found: Json) -> None:
        """See whether a user's data are what this bot may have made of them."""
        own = found.get(own_field(bot), 0)
        assert self.acknowledged[user] <= own <= self.attempted[user], f"{bot}, user {user}"
        for name, run in self.runs.items():
            counted = found[RUNS].get(name, 0)
            assert run.acknowledged[user] <= counted <= run.attempted[user], f"{name}, user {user}"


class Plan(NamedTuple):
    """What a bot is to be like.

    Attributes:
        users: Whom it counts for.
        sync: How often it looks for what the other one has committed.
    """

    users: range
    sync: str


BOTS = {"a": Plan(range(1, 9), "auto"), "b": Plan(range(3, 11), "0.2")}


class Bot:
    """A bot's host as a process, and what it has reported so far."""

    def __init__(self, process: asyncio.subprocess.Process, weather: Weather) -> None:
        self.account = Account()
        self.weather = weather
        self._process = process
        self._changed = asyncio.Event()

    async def listen(self) -> None:
        """Take down what is reported, until the host has ended, and see that it ended well."""
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            self.account.note(json.loads(line))
            self._changed.set()
        assert await self._process.wait() == 0, f"ended by itself: {self.account.ended}"

    async def kill_now_and_then(self, random: Random) -> None:
        while True:
            await self._alive()
            await asyncio.sleep(random.uniform(*KILLED_AFTER))
            await self._send(signal.SIGKILL)

    async def stop(self) -> None:
        """Tell the run to stop, and those that follow: it may just have given up by itself."""
        while True:
            await self._send(signal.SIGTERM)

    async def _send(self, number: signal.Signals) -> None:
        pid = await self._alive()
        self.account.pid = None  # from now on, it is as good as gone
        with suppress(ProcessLookupError):
            os.kill(pid, number)

    def check_that_it_was_hard(self, seconds: float) -> None:
        """See that there was something to go wrong."""
        stats, befell = self.account.stats, self.weather.befell
        assert self.account.ended[-signal.SIGKILL] >= seconds / (2 * KILLED_AFTER[1])
        assert stats["conflicts"] >= seconds / 6
        assert stats["merged"] >= seconds / 6
        assert all(befell[fault] >= seconds / 25 for fault in Fault), befell
        assert self.weather.spells > 0
        assert self.account.total("acknowledged") >= 5 * seconds, "mostly, it could work"

    def __str__(self) -> str:
        account, weather = self.account, self.weather
        befell = {fault.name: number for fault, number in weather.befell.items()}
        return (
            f"{len(account.runs)} runs, ended {dict(account.ended)}; "
            f"{account.total('attempted')} increments attempted, "
            f"{account.total('acknowledged')} acknowledged; "
            f"{dict(account.stats)}; {sum(weather.befell.values())} faults in {weather.requests} "
            f"requests: {befell}, {weather.spells} spells; failed: {dict(account.failed)}"
        )

    async def _alive(self) -> int:
        while (pid := self.account.pid) is None:
            self._changed.clear()
            await self._changed.wait()
        return pid


@asynccontextmanager
async def running(
    name: str, server: S3Server, bucket: str, seed: str, load: str
) -> AsyncIterator[Bot]:
    """Run a bot behind a proxy of its own; end whatever is left of it."""
    plan, weather = BOTS[name], Weather(f"{seed} weather {name}")
    async with LossyProxy(server.endpoint_url, weather) as proxy:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.integration.increments_bot"),
            *(name, bucket, proxy.endpoint_url, "--seed", seed, "--sync", plan.sync),
            *("--users", *map(str, plan.users), "--load", load),
            cwd=PROJECT,
            env={**server.environment, "PYTHONPATH": str(PROJECT)},
            stdout=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        try:
            yield Bot(process, weather)
        finally:
            if process.returncode is None:
                os.killpg(process.pid, signal.SIGKILL)  # the host, and the bot that is its child
                await process.wait()


@pytest.mark.parametrize("loads", [("all", "all"), ("on_demand", "all")], ids="-".join)
async def test_two_bots_count_right(
    s3_server: S3Server, bots: Bots, pytestconfig: pytest.Config, loads: tuple[str, str]
) -> None:
    """The sum is right to the last acknowledged increment, however the bots are killed.

    An increment that was acknowledged is counted, once. One that was attempted and not acknowledged
    may be counted, at most once: its process may have been killed, or its reply lost, after the
    commit took effect, which nobody can tell; and its request may even arrive when the next run has
    begun. So, of each run: acknowledged <= counted <= attempted. A run reports an attempt before it
    makes the change, and so before any commit could hold it; it reports what is acknowledged after
    update_persistence() has returned without an error, and that is all it had attempted before the
    call: what failed earlier goes with the next commit.

    The sum must be *equal* to what the runs have counted together: both change in the same commit,
    nobody but the run itself writes its number, and the sum is merged by adding up. So whatever is
    lost in a merge, committed twice or taken over in part makes a difference. That no increment is
    counted twice, in particular, is in both: the number of a run is never above what it attempted,
    and the sum is never above those numbers.

    A bot's own field goes on from what its next run has read, which is at least what was last
    acknowledged. It may be less than what its runs have counted together, if a dead run's request
    arrives late: both wrote a number then, and in a merge without adding up, ours wins.
    """
    seed = pytestconfig.getoption("--seed")
    seconds = LONG if pytestconfig.getoption("--long") else SHORT
    async with (
        running("a", s3_server, bots.bucket, seed, loads[0]) as a,
        running("b", s3_server, bots.bucket, seed, loads[1]) as b,
    ):
        named = {"a": a, "b": b}
        await count(named, seconds, seed)
    found = await bots.peek()
    for name, bot in named.items():
        print(f"Bot {name}: {bot}")  # noqa: T201 - seen with -s, or where it fails
    check({name: bot.account for name, bot in named.items()}, found)
    for bot in named.values():
        assert not bot.account.failed["merge"], "there is no conflict that could not be merged"
        bot.check_that_it_was_hard(seconds)


async def count(bots: Mapping[str, Bot], seconds: float, seed: str) -> None:
    """Let the bots count, and be killed, for so long; then stop them."""
    async with asyncio.timeout(seconds + PATIENCE), asyncio.TaskGroup() as group:
        listeners = [group.create_task(bot.listen()) for bot in bots.values()]
        killers = [
            group.create_task(bot.kill_now_and_then(Random(f"{seed} killer {name}")))  # noqa: S311 - to be the same again
            for name, bot in bots.items()
        ]
        await asyncio.sleep(seconds)
        for killer in killers:
            killer.cancel()
        stoppers = [group.create_task(bot.stop()) for bot in bots.values()]
        await asyncio.wait(listeners)
        for stopper in stoppers:
            stopper.cancel()


def check(accounts: Mapping[str, Account], found: Mapping[int, Json]) -> None:
    """See whether what was found is what the bots may have made of it."""
    runs = {name: run for account in accounts.values() for name, run in account.runs.items()}
    for user, data in found.items():
        for bot, account in accounts.items():
            account.check(bot, user, data)
        assert data[RUNS].keys() <= runs.keys()
        assert data[SUM] == sum(data[RUNS].values()), f"user {user}"
        acknowledged = sum(run.acknowledged[user] for run in runs.values())
        attempted = sum(run.attempted[user] for run in runs.values())
        assert acknowledged <= data[SUM] <= attempted, f"user {user}"
    assert found.keys() == {user for plan in BOTS.values() for user in plan.users}


def _by_user(numbers: Mapping[str, int]) -> Counter[int]:
    return Counter({int(user): number for user, number in numbers.items()})
