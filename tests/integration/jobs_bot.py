"""A bot whose updates make jobs, and a host that starts it anew: a program for `test_job_kills`.

Each update makes one job, which is due soon. The bot says which it attempts, on standard output,
and which were acknowledged. The jobs themselves write to a log that the bots have in common: when a
run begins and when it ends, one line of JSON each, with one write each.

A claim lasts seconds here, not the minutes that it does: a job that was running when its process
was killed comes when that time is up.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
import traceback
from argparse import ArgumentParser, Namespace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import aioboto3  # noqa: F401 - imported once, before the forks
from telegram import Update
from telegram.ext import TypeHandler
from tests.integration.increments_bot import Report, host
from tests.support import KEY
from tests.support.bots import PREFIX, Json, say
from tests.support.jobs import JobBot, built

from ptb_s3 import Keyring, S3Persistence
from ptb_s3._jobs import claims

CLAIM = 3.0
"""Seconds that a claim lasts."""
PAUSE = 0.5
"""Seconds between two updates."""
DUE = (0.2, 4.0)
"""Seconds: soonest and latest that a job is due."""
RUN = (0.0, 0.4)
"""Seconds: shortest and longest run."""
_SETTINGS = "PTB_S3_TEST_JOBS_LOG"


async def note(context: Any) -> None:
    """Write down that a run begins and ends."""
    data = context.job.data
    line = {"job": data["number"], "due": data["due"], "run": context.job.claim_id}
    _log({**line, "begin": time.time()})
    await asyncio.sleep(data["takes"])
    _log({**line, "end": time.time()})


def _log(line: Json) -> None:
    file = os.open(os.environ[_SETTINGS], os.O_WRONLY | os.O_APPEND)
    os.write(file, json.dumps({**line, "pid": os.getpid()}).encode() + b"\n")
    os.close(file)


class OrderingBot:
    """One run of a bot.

    Args:
        name: Name of the run; no other has it.
        persistence: Where its jobs are kept.
        report: Where to say what it does.
    """

    def __init__(self, name: str, persistence: Any, report: Report) -> None:
        self._random = Random(name)  # noqa: S311 - to be the same again
        self._name = name
        self._report = report
        self._app: JobBot = built(persistence, TypeHandler(Update, self._order))
        self._app.add_error_handler(self._fail)

    async def live(self, until: float) -> None:
        """Make jobs until a moment, and run them until SIGTERM.

        Args:
            until: The moment, in seconds since 1970.
        """
        stopping = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
        async with self._app:
            await self._app.start()
            number = 0
            while time.time() < until and not stopping.is_set():
                number += 1
                await self._make(f"{self._name}-{number}")
                await asyncio.sleep(PAUSE)
            await stopping.wait()
            await self._app.stop()

    async def _make(self, number: str) -> None:
        self._report({"attempted": number})
        await say(self._app, number)
        await self._app.update_persistence()
        self._report({"acknowledged": number})

    async def _order(self, update: Update, context: Any) -> None:
        assert update.message is not None
        due = datetime.now(UTC) + timedelta(seconds=self._random.uniform(*DUE))
        data = {
            "number": update.message.text,
            "due": due.timestamp(),
            "takes": self._random.uniform(*RUN),
        }
        context.user_data.setdefault("ordered", []).append(update.message.text)
        context.job_queue.run_once(note, due, data=data)

    async def _fail(self, _: object, context: Any) -> None:
        """The storage answers all the time: each error is one of the test."""
        traceback.print_exception(context.error)
        os._exit(1)


def run_bot(settings: Namespace, number: int, report: Report) -> int:
    """Be one run of the bot; return its exit code."""
    claims.LASTS = timedelta(seconds=CLAIM)  # type: ignore[misc]  # of this process, for the test
    claims.RENEWED = claims.LASTS / 3  # type: ignore[misc]  # as above
    persistence: Any = S3Persistence(
        *(settings.bucket, PREFIX),
        keyring=Keyring(KEY),
        endpoint_url=settings.endpoint,
        sync=PAUSE,
    )
    bot = OrderingBot(f"{settings.name}-{number}", persistence, report)
    asyncio.run(bot.live(settings.until))
    return 0


def _report(line: Json) -> None:
    try:
        os.write(sys.stdout.fileno(), json.dumps(line).encode() + b"\n")
    except OSError:
        os._exit(1)  # nobody listens any more


def main(arguments: list[str]) -> int:
    parser = ArgumentParser()
    parser.add_argument("name")
    parser.add_argument("bucket")
    parser.add_argument("endpoint")
    parser.add_argument("log", type=Path)
    parser.add_argument("--until", type=float, required=True)
    settings = parser.parse_args(arguments)
    os.environ[_SETTINGS] = str(settings.log)
    return host(lambda number: run_bot(settings, number, _report), _report)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
