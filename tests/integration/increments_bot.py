"""A bot that counts, and a host that starts it anew when it is gone: a program for `test_two_bots`.

The host forks each run of the bot before any event loop or thread exists, so that the second of
imports is paid once, and a bot that was killed is back at once. A run knows but the bucket and the
key. It reports what it attempts before that can be committed, and what was acknowledged after, one
line of JSON each, with one write each, so that SIGKILL leaves no half of one.

Of a user there is: how often all bots have counted (``sum``); how often each bot has, as far as it
knows (``bot-a``); and how often each run of a bot has (``runs``), which nobody else ever writes.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import traceback
from argparse import ArgumentParser, Namespace
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict
from random import Random
from typing import Any, NoReturn

import aioboto3  # noqa: F401 - imported once, before the forks
from telegram import Update
from telegram.ext import MessageHandler, filters
from tests.support import KEY, Persistence
from tests.support.bots import PREFIX, App, Context, Json, make_application, say

from ptb_s3 import Keyring, PersistentApplication, S3Persistence, Sync, merge_values
from ptb_s3._format import segments
from ptb_s3.errors import ConflictError, StorageUnavailableError

SUM, RUNS = "sum", "runs"
# Exit code of a run that found its storage out of reach: the host tries again (sysexits.h).
TRY_AGAIN = 75
# Seconds between two rounds of updates.
PAUSE = 0.03
# Rounds for which the same few users come, and how many those are. Others come after them, so that
# what failed has to go with a commit that has nothing new of the same user.
ROUNDS, CROWD = 25, 4

Report = Callable[[Json], None]


def own_field(bot: str) -> str:
    return f"bot-{bot}"


def add_up(kind: str, _key: object, base: Any, ours: Any, theirs: Any) -> Any:
    """The bots' `merge=`: the sum grows by what both have added to it."""
    total = None
    if kind == "user_data":
        total = _sum(ours) + _sum(theirs) - _sum(base)
    merged = merge_values(base, ours, theirs)  # changes ours
    if total is not None:
        merged[SUM] = total
    return merged


def _sum(data: dict[str, int] | None) -> int:
    return 0 if data is None else data.get(SUM, 0)


def coming(users: list[int], random: Random) -> Iterator[list[int]]:
    """Draw the users who come at once, round after round."""
    while True:
        crowd = random.sample(users, CROWD)
        for _ in range(ROUNDS):
            yield random.sample(crowd, random.randint(1, CROWD))


class CountingBot:
    """One run of a bot, which adds one to its user's numbers with each update.

    Args:
        name: The bot's name.
        run: The run's; no other has it.
        report: Where to say what happens.
        persistence: Where the numbers are kept.

    Attributes:
        stopping: Whether it was told to stop.
    """

    def __init__(self, name: str, run: str, report: Report, persistence: Persistence) -> None:
        self._run = run
        self._field = own_field(name)
        self._report = report
        self._persistence = persistence
        self._own: dict[int, int] = {}
        self._counted: Counter[int] = Counter()
        self._seen: Counter[int] = Counter()
        self._failed = False
        self.stopping = asyncio.Event()
        handlers = [MessageHandler(filters.TEXT, self._count)]
        self._app: App = make_application(
            persistence, handlers, application_class=PersistentApplication
        )
        self._app.add_error_handler(self._note_error)

    async def live(self, users: list[int], random: Random) -> None:
        """Count until SIGTERM, and save at the same time, as PTB does.

        Raises:
            StorageUnavailableError: It could not load its state, or not save it at the end.
        """
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self.stopping.set)
        async with self._app:
            loaded = {user: data.get(self._field, 0) for user, data in self._app.user_data.items()}
            self._report({"loaded": loaded})
            rounds = coming(users, random)
            while not self.stopping.is_set():
                saving = asyncio.create_task(self._save())
                while not saving.done():
                    await asyncio.gather(
                        *(say(self._app, "+1", user=user) for user in next(rounds))
                    )
                    await asyncio.sleep(PAUSE)
                await saving
        self._acknowledge(dict(self._counted), dict(self._own))  # what flush() has returned for

    async def _count(self, update: Update, context: Context) -> None:
        assert update.effective_user is not None
        user, data = update.effective_user.id, context.user_data
        self._look(user, data)
        runs = data.setdefault(RUNS, {})
        self._counted[user] += 1
        self._own[user] = data.get(self._field, 0) + 1
        self._seen[user] = _sum(data) + 1
        attempt = {"user": user, "own": self._own[user], "counted": self._counted[user]}
        self._report({"attempted": attempt})
        data |= {SUM: self._seen[user], self._field: self._own[user]}
        runs[self._run] = self._counted[user]

    def _look(self, user: int, data: Json) -> None:
        """See to it that what other bots did came in whole, and took nothing away."""
        runs = data.get(RUNS, {})
        assert _sum(data) == sum(runs.values()), "a sum is what the runs have counted"
        assert _sum(data) >= self._seen[user], "a sum never goes back"
        assert runs.get(self._run, 0) == self._counted[user], "nobody else writes a run's number"

    async def _save(self) -> None:
        # In this tick of the loop, PTB copies what it hands over. What failed before goes with it.
        counted, own = dict(self._counted), dict(self._own)
        self._failed = False
        await self._app.update_persistence()
        if not self._failed:
            self._acknowledge(counted, own)

    def _acknowledge(self, counted: dict[int, int], own: dict[int, int]) -> None:
        stats = asdict(self._persistence.stats)
        del stats["committed_at"]  # no JSON has it
        self._report({"acknowledged": {"counted": counted, "own": own}, "stats": stats})

    async def _note_error(self, _: object, context: Context) -> None:
        """A commit may fail for want of storage. Anything else is a failure of the test."""
        self._failed = True
        if isinstance(context.error, StorageUnavailableError):
            self._report({"failed": "commit"})
            return
        traceback.print_exception(context.error)
        if not isinstance(context.error, ConflictError):
            os._exit(1)
        self._report({"failed": "merge"})  # it is to see that nothing is lost even so


def run_bot(settings: Namespace, number: int, report: Report) -> int:
    """Be one run of the bot; return its exit code."""
    persistence: Persistence = S3Persistence(
        settings.bucket,
        PREFIX,
        keyring=Keyring(KEY),
        endpoint_url=settings.endpoint,
        merge=add_up,
        sync=settings.sync,
        load=settings.load,
    )
    segments.SEGMENT_SIZE = 256  # one user, so that on demand there are some to be read
    run = f"{settings.name}-{number}"
    bot = CountingBot(settings.name, run, lambda line: report({"run": run, **line}), persistence)
    random = Random(f"{settings.seed} {run}")  # noqa: S311 - to be the same again
    try:
        asyncio.run(bot.live(settings.users, random))
    except StorageUnavailableError:
        stopped = bot.stopping.is_set()
        report({"run": run, "failed": "stop" if stopped else "start"})
        return 0 if stopped else TRY_AGAIN
    return 0


def host(run: Callable[[int], int], report: Report) -> int:
    """Start one run after another, each in a process of its own, until one ends for good."""
    number = 0
    while True:
        number += 1
        child = os.fork()
        if child == 0:
            _be(run, number)
        report({"born": child})
        _, status = os.waitpid(child, 0)
        code = os.waitstatus_to_exitcode(status)
        report({"ended": code})
        if code not in {-signal.SIGKILL, TRY_AGAIN}:
            return 0 if code in {0, -signal.SIGTERM} else 1


def _be(run: Callable[[int], int], number: int) -> NoReturn:
    code = 1
    try:
        code = run(number)
    except BaseException:  # noqa: BLE001 - whatever it is, it must not go on as a second host
        traceback.print_exc()
    finally:
        os._exit(code)


def _report(line: Json) -> None:
    try:
        os.write(sys.stdout.fileno(), json.dumps(line).encode() + b"\n")
    except OSError:
        os._exit(1)  # nobody listens any more


def _sync(text: str) -> Sync:
    return "auto" if text == "auto" else float(text)


def _settings(arguments: list[str]) -> Namespace:
    parser = ArgumentParser()
    parser.add_argument("name")
    parser.add_argument("bucket")
    parser.add_argument("endpoint")
    parser.add_argument("--users", type=int, nargs="+", required=True)
    parser.add_argument("--sync", type=_sync, default="auto")
    parser.add_argument("--load", required=True)
    parser.add_argument("--seed", required=True)
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> int:
    settings = _settings(arguments)
    return host(lambda number: run_bot(settings, number, _report), _report)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
