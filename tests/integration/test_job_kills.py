"""Jobs of two bots on one store: real processes, real storage, and SIGKILL every few seconds."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import NamedTuple

import pytest
from tests.integration.jobs_bot import CLAIM, PAUSE
from tests.servers import PROJECT, S3Server
from tests.support.bots import Bots
from tests.support.jobs import built, until

SHORT, LONG = 18.0, 60.0
"""Seconds in which the bots make jobs, without and with ``--long``."""
KILLED_EVERY = (1.0, 4.0)
"""Seconds between two kills of a bot: least and most."""
PATIENCE = 60.0
"""Seconds in which what is due has run, and bots have stopped."""
SAVED_IN = 2.0
"""Seconds that the save of a run's end takes at most: whoever is killed within may have lost it."""


class Kill(NamedTuple):
    """A process that was killed, and when, in seconds since 1970."""

    pid: int
    at: float


class Host:
    """A bot's host as a process, and what it has reported so far."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.attempted: set[str] = set()
        self.acknowledged: set[str] = set()
        self.kills: list[Kill] = []
        self._process = process
        self._pid: int | None = None

    async def listen(self) -> None:
        """Take down what is reported, until the host has ended, and see that it ended well."""
        assert self._process.stdout is not None
        async for text in self._process.stdout:
            match json.loads(text):
                case {"born": pid}:
                    self._pid = pid
                case {"ended": _}:
                    self._pid = None
                case {"attempted": number}:
                    self.attempted.add(number)
                case {"acknowledged": number}:
                    self.acknowledged.add(number)
        assert await self._process.wait() == 0, "a run has ended by itself"

    async def kill_now_and_then(self, random: Random) -> None:
        while True:
            await asyncio.sleep(random.uniform(*KILLED_EVERY))
            await self.send(signal.SIGKILL)

    async def send(self, number: signal.Signals) -> None:
        await until(lambda: self._pid is not None, PATIENCE)
        assert self._pid is not None
        pid, self._pid = self._pid, None
        if number == signal.SIGKILL:
            self.kills.append(Kill(pid, time.time()))
        with suppress(ProcessLookupError):
            os.kill(pid, number)


class Run(NamedTuple):
    """A run of a job, as the log has it; times in seconds since 1970."""

    job: str
    run: str
    due: float
    pid: int
    begin: float
    end: float | None


def read(log: Path) -> list[Run]:
    """Return the runs of a log."""
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    ends = {(line["run"], line["pid"]): line["end"] for line in lines if "end" in line}
    return [
        Run(
            *(line["job"], line["run"], line["due"], line["pid"], line["begin"]),
            end=ends.get((line["run"], line["pid"])),
        )
        for line in lines
        if "begin" in line
    ]


@asynccontextmanager
async def hosting(name: str, server: S3Server, *arguments: str) -> AsyncIterator[Host]:
    """Run a bot's host; end whatever is left of it."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.integration.jobs_bot", name, *arguments),
        cwd=PROJECT,
        env={**server.environment, "PYTHONPATH": os.pathsep.join([str(PROJECT), *sys.path])},
        stdout=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    try:
        yield Host(process)
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()


async def test_each_job_runs_though_its_processes_are_killed(
    s3_server: S3Server, bots: Bots, pytestconfig: pytest.Config, tmp_path: Path
) -> None:
    """What was acknowledged runs, none before its time, none twice but for a process killed in it.

    Two bots make jobs in updates and run them, and one or the other is killed every few seconds.
    """
    seconds, seed = SHORT, pytestconfig.getoption("--seed")
    if pytestconfig.getoption("--long"):
        seconds = LONG
    (log := tmp_path / "runs.jsonl").touch()
    arguments = (bots.bucket, s3_server.endpoint_url, str(log), "--until")
    end = str(time.time() + seconds)
    async with (
        hosting("a", s3_server, *arguments, end) as a,
        hosting("b", s3_server, *arguments, end) as b,
    ):
        await order(a, b, float(end), log, seed)
    attempted, acknowledged = a.attempted | b.attempted, a.acknowledged | b.acknowledged
    kills = [*a.kills, *b.kills]
    runs = read(log)
    again = check(runs, kills)
    print(  # noqa: T201 - seen with -s, or where it fails
        f"{len(attempted)} jobs attempted, {len(acknowledged)} acknowledged, "
        f"{len({run.job for run in runs})} ran; {len(kills)} kills; {again} runs were done again"
    )
    assert acknowledged <= {run.job for run in runs} <= attempted
    assert len(acknowledged) >= seconds / PAUSE, "mostly, it could work"
    assert len(kills) >= seconds / KILLED_EVERY[1]
    assert await jobs_left(bots) == 0


async def order(a: Host, b: Host, end: float, log: Path, seed: str) -> None:
    """Let the bots work and be killed until a moment; then let them finish, and stop them."""
    async with asyncio.timeout(end - time.time() + PATIENCE), asyncio.TaskGroup() as group:
        listeners = [group.create_task(host.listen()) for host in (a, b)]
        killers = [
            group.create_task(host.kill_now_and_then(Random(f"{seed} {number}")))  # noqa: S311 - to be the same again
            for number, host in enumerate((a, b))
        ]
        await asyncio.sleep(end - time.time())
        for killer in killers:
            killer.cancel()
        await until(lambda: a.acknowledged | b.acknowledged <= done(log), PATIENCE)
        await asyncio.sleep(CLAIM + SAVED_IN)  # for what may come a second time
        for host in (a, b):
            await host.send(signal.SIGTERM)
        await asyncio.wait(listeners)


def done(log: Path) -> set[str]:
    return {run.job for run in read(log) if run.end is not None}


def check(runs: list[Run], kills: list[Kill]) -> int:
    """See that no run was too early, and none done again without reason; count those done again."""
    by_id = defaultdict(list)
    for run in sorted(runs, key=lambda run: run.begin):
        assert run.begin >= run.due, f"before its time: {run}"
        by_id[run.run].append(run)
    again = 0
    for same in by_id.values():
        for first, second in pairwise(same):
            again += 1
            last = min(second.begin, (first.end or second.begin) + SAVED_IN)
            killed = [kill for kill in kills if kill.pid == first.pid]
            assert [k for k in killed if first.begin <= k.at <= last], (first, second, killed)
    return again


async def jobs_left(bots: Bots) -> int:
    """Return how many jobs the store still holds."""
    application = built(bots.persistence())
    await application.initialize()
    left = len(application.job_queue.jobs())
    await application.shutdown()
    return left
