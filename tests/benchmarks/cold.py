"""What a cold invocation on AWS Lambda costs: from the start of a process to its answer.

The process is AWS's own runtime client (awslambdaric) where it is installed, else a loop of ours
that asks the same Runtime API. Runtime API, Bot API and storage are servers of this machine.
"""

from __future__ import annotations

import asyncio
import os
import resource
import statistics
import sys
import time
from asyncio.subprocess import DEVNULL
from collections.abc import Mapping, Sequence
from functools import partial
from importlib.util import find_spec
from types import MappingProxyType
from typing import Final, NamedTuple

from tests.benchmarks.contestants import _KEY, OURS, OnS3
from tests.benchmarks.figures import Figure
from tests.benchmarks.measure import Bench
from tests.benchmarks.prepare import _write
from tests.benchmarks.setting import BUCKET, Setting
from tests.integration.hosts import EXAMPLE, SECRET, BotApi, message
from tests.integration.runtime_api import RuntimeApi
from tests.integration.test_lambda import event
from tests.servers import PROJECT

from ptb_s3.cli._demo.offline import TOKEN

BOUND: Final = 1.3  # times the same handler without persistence
RIC: Final = "awslambdaric"
PROGRAM: Final = RIC if find_spec(RIC) else "tests.integration.lambda_poll"
WITH: Final = "handler.handler"  # of infra/example
WITHOUT: Final = "tests/benchmarks/cold_plain.handler"
_PREFIX: Final = "cold/"
_PATIENCE: Final = 60.0


class Invocation(NamedTuple):
    """One cold invocation, in seconds.

    Attributes:
        init: Until the runtime asks for an event.
        answered: Until the answer.
        cpu: CPU time of the process.
    """

    init: float
    answered: float
    cpu: float


async def fill(setting: Setting) -> None:
    """Write all users for the bot that is invoked."""
    bot = OnS3(setting, _PREFIX)
    await bot.app.bot.initialize()
    await bot.persistence.get_user_data()
    await _write(bot.persistence, setting)


async def with_persistence(setting: Setting) -> Invocation:
    """Invoke infra/example."""
    return await _invoke(setting, WITH)


async def on_demand(setting: Setting) -> Invocation:
    """Invoke infra/example, which reads its user on demand."""
    return await _invoke(setting, WITH, {"PTB_S3_LOAD": "on_demand"})


async def without_persistence(setting: Setting) -> Invocation:
    """Invoke the same bot on python-telegram-bot alone."""
    return await _invoke(setting, WITHOUT)


async def _invoke(
    setting: Setting, handler: str, variables: Mapping[str, str] = MappingProxyType({})
) -> Invocation:
    asked: list[float] = []

    def noted(update: str) -> dict[str, object]:
        asked.append(time.perf_counter())
        return event(update)

    async with BotApi(TOKEN).run() as telegram, RuntimeApi(noted).run() as api:
        environment = {**_environment(setting, telegram.url, api.address), **variables}
        program = (sys.executable, "-m", PROGRAM, handler)
        begun = time.perf_counter()
        process = await asyncio.create_subprocess_exec(
            *program, env=environment, stdout=DEVNULL, stderr=DEVNULL
        )
        try:
            async with asyncio.timeout(_PATIENCE):
                # Of a number that was never there: an update that comes again is not processed.
                await api.send([message("tea", number=time.time_ns() // 1000)])
            answered = time.perf_counter() - begun
        finally:
            process.kill()
            await process.wait()
        if api.errors or not telegram.sent:
            raise AssertionError(f"{handler} failed: {api.errors}")
        used = resource.getrusage(resource.RUSAGE_CHILDREN)  # there is no other child
        return Invocation(asked[0] - begun, answered, used.ru_utime + used.ru_stime)


def _environment(setting: Setting, telegram: str, runtime: str) -> dict[str, str]:
    return {
        **os.environ,
        "AWS_LAMBDA_RUNTIME_API": runtime,
        "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
        "NO_PROXY": "*",
        "PTB_S3_BUCKET": BUCKET,
        "PTB_S3_ENDPOINT_URL": setting.endpoint_url,
        "PTB_S3_KEY": _KEY.reveal(),
        "PTB_S3_PREFIX": _PREFIX,
        "PYTHONPATH": os.pathsep.join(map(str, [EXAMPLE, PROJECT / "src", PROJECT])),
        "TELEGRAM_API_URL": telegram,
        "TELEGRAM_BOT_TOKEN": TOKEN,
        "TELEGRAM_SECRET_TOKEN": SECRET,
    }


def cold_rows(bench: Bench, setting: Setting) -> list[Figure]:
    """Cold invocations with and without persistence, in turn."""
    bench.plain(fill, setting)
    probes = without_persistence, with_persistence, on_demand
    # One of each first: it compiles modules, and warms the file cache.
    runs = [[bench.plain(probe, setting) for probe in probes] for _ in range(bench.rounds + 1)][1:]
    plain, ours, demanding = (_median(of_one) for of_one in zip(*runs, strict=True))
    client = "AWS's runtime client" if PROGRAM == RIC else "a loop of ours for a runtime client"
    row = partial(Figure, "cold", users=setting.users, data=setting.data)
    return [
        row(
            name="cold invocation on Lambda",
            unit="s",
            values={OURS: ours.answered},
            note=f"process start to answer, {client}; median of {bench.rounds}; "
            f"start phase {ours.init:.3f} s; without persistence {plain.answered:.3f} s, of which "
            f"start phase {plain.init:.3f} s",
        ),
        row(
            name="cold invocation on Lambda, by that without persistence",
            unit="x",
            values={OURS: ours.answered / plain.answered},
            bound=BOUND,
            note=f"CPU time: {ours.cpu:.3f} s and {plain.cpu:.3f} s, {ours.cpu / plain.cpu:.2f} x",
        ),
        row(
            name='the same with load="on_demand"',
            unit="x",
            values={OURS: demanding.answered / plain.answered},
            bound=BOUND,
            note=f"{demanding.answered:.3f} s, start phase {demanding.init:.3f} s; "
            f"CPU time: {demanding.cpu:.3f} s, {demanding.cpu / plain.cpu:.2f} x",
        ),
    ]


def _median(runs: Sequence[Invocation]) -> Invocation:
    return Invocation(*map(statistics.median, zip(*runs, strict=True)))
