"""`DjangoPersistence` on SQLite and ours, side by side: starts, and intervals with 1 % changed.

The same on both sides: a shop's users as JSON can hold them, and the same marks. What is timed is a
call of the application: `initialize()`, with the client made or the database open, and
`update_persistence()`, with the copies of what changed. Both return when it is saved: ours
encrypted, by the S3 server on loopback, which does not wait for its disk; theirs in a file, in
plain text. SQLite waits for the disk once for each user, so theirs is measured with the file in
memory, too: what a disk takes is none of its doing, and some are quick.
"""

from __future__ import annotations

import gc
import random
import shutil
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.benchmarks import data
from tests.benchmarks.contestants import OnS3
from tests.benchmarks.prepare import write
from tests.benchmarks.setting import App, Setting, application

from ptb_s3 import PersistentApplication, S3Persistence

DJANGO = "Django"
DJANGO_IN_MEMORY = "Django, file in memory"
IN_MEMORY = Path("/dev/shm")  # noqa: S108 - Linux's
PLAIN = "ptb-s3, PTB's own Application"
_WARM_UP = 2
_SAMPLES = 7


class Load(NamedTuple):
    """A start.

    Attributes:
        seconds: That `Application.initialize()` took.
        words: Words that values share there; 0 where there is no such thing.
    """

    seconds: float
    words: int


async def fill(setting: Setting) -> None:
    """Write the users to both, in one go: ours has found no words that they share."""
    from tests.benchmarks import django_bot  # noqa: PLC0415 - it needs the extra

    users = {key: data.as_json(user) for key, user in _users(setting).items()}
    chats, bot_data = data.make_chats(setting.users), data.as_json(data.make_bot_data())
    with _file(setting, in_memory=False) as file:
        django_bot.enter(file)
    await django_bot.write_all(users, chats, bot_data)
    bot = OnS3(setting, _prefix(setting))
    await bot.app.bot.initialize()
    await bot.persistence.get_user_data()
    await write(bot.persistence, users, chats, bot_data)


def _users(setting: Setting) -> dict[int, data.User]:
    return data.make_users(setting.users, data.REALISTIC)


def _prefix(setting: Setting) -> str:
    return f"json-{setting.users}/"


async def load(setting: Setting, name: str) -> Load:
    """Start once."""
    async with _connected(setting, name) as app:
        await app.bot.initialize()  # which is none of a persistence's doing
        gc.collect()
        begun = time.perf_counter()
        await app.initialize()
        seconds = time.perf_counter() - begun
        assert len(app.user_data) == setting.users
        return Load(seconds, _words(app.persistence))


def _words(persistence: object) -> int:
    if not isinstance(persistence, S3Persistence):
        return 0
    commits = persistence._commits
    assert commits is not None
    return len(commits.repository.base.head.words)


async def save(setting: Setting, name: str) -> float:
    """Return what `update_persistence()` takes with 1 % of the users changed, at the median."""
    async with _connected(setting, name) as app:
        await app.initialize()
        rng = random.Random(15)  # noqa: S311 - to be repeatable is the point
        taken = [
            await _interval(app, setting.one_per_cent, rng) for _ in range(_WARM_UP + _SAMPLES)
        ]
        return statistics.median(taken[_WARM_UP:])


async def _interval(app: App, count: int, rng: random.Random) -> float:
    visitors = data.active(list(app.user_data), count, rng)
    for user_id in visitors:
        data.touch(app.user_data[user_id], rng)
    app.mark_data_for_update_persistence(user_ids=visitors)
    begun = time.perf_counter()
    await app.update_persistence()
    taken = time.perf_counter() - begun
    await _settle(app.persistence)
    return taken


async def _settle(persistence: object) -> None:
    """Wait for a blob that is written in the background: intervals are a minute apart."""
    if isinstance(persistence, S3Persistence) and persistence._commits is not None:
        task = persistence._commits.compaction.task
        if task is not None:
            await task


@asynccontextmanager
async def _connected(setting: Setting, name: str) -> AsyncIterator[App]:
    """Build a bot, and make its client or open its database."""
    if name in {DJANGO, DJANGO_IN_MEMORY}:
        from tests.benchmarks import django_bot  # noqa: PLC0415 - it needs the extra

        with _file(setting, in_memory=name == DJANGO_IN_MEMORY) as file:
            django_bot.enter(file)
            await django_bot.connect()
            yield django_bot.build()
        return
    bot = OnS3(setting, _prefix(setting))
    await bot.connect()
    yield bot.app if name == PLAIN else application(bot.persistence, PersistentApplication)


@contextmanager
def _file(setting: Setting, *, in_memory: bool) -> Iterator[Path]:
    file = setting.folder / f"{setting.users}.sqlite"
    if not in_memory:
        yield file
        return
    with tempfile.TemporaryDirectory(dir=IN_MEMORY) as folder:
        yield Path(shutil.copy(file, folder))
