"""Life of a tea shop's bot in memory, by seed and clock: what reports are made of in tests.

Two runs with the same arguments give the same headers, sizes and times. Its days have a deploy in
which two writers overlap, an exchange of keys, commits that have expired, and quiet nights.
"""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.support.persistence import BOT_ID, KEY, OTHER_KEY

from ptb_s3 import Keyring
from ptb_s3._engine.repository import Repository
from ptb_s3._format.entities import Kind
from ptb_s3._storage.around import StoreAround
from ptb_s3._storage.memory import MemoryStore
from ptb_s3._values.transcoder import Transcoder
from ptb_s3.cli._opened import Place

BEGAN = datetime(2026, 11, 2, 6, 30, tzinfo=UTC)
PREFIX = "shop-bot/"
FIRST_USER = 555_000_000
CANARY = "Canary Lane"
_RULE = {
    "ID": "history",
    "Status": "Enabled",
    "Filter": {"Prefix": PREFIX},
    "NoncurrentVersionExpiration": {"NoncurrentDays": 90},
}


class Bucketed(StoreAround):
    """A store in memory that answers for the settings of its bucket as well."""

    bucket, prefix = "my-bucket", PREFIX

    async def ask(self, operation: str, **_: Any) -> dict[str, Any]:
        return {"Rules": [_RULE]} if "lifecycle" in operation else {}


class Shop:
    """The bot's life so far.

    Attributes:
        store: Its bucket.
        now: The time by all clocks.
    """

    def __init__(self, seed: int = 1, *, versioned: bool = True) -> None:
        self._drawn = random.Random(seed)  # noqa: S311 - to be repeatable
        self.now = BEGAN
        self.memory = MemoryStore(clock=lambda: self.now, versioned=versioned)
        self.store = Bucketed(self.memory)
        self._encode = Transcoder().dumps
        self._users = 0
        self._visits: dict[int, int] = {}

    def place(self, *keys: Any) -> Place:
        """Return the place as a command has it, opened with these keys."""
        sealing, *retired = keys or (KEY,)
        store: Any = self.store
        ring = Keyring(sealing, retired=retired)
        return Place(f"s3://my-bucket/{PREFIX}", store, ring, 3, False, lambda *_: store)  # noqa: FBT003 - as it is

    async def start(self, *keys: Any) -> Repository:
        """Start a process of the bot."""
        sealing, *retired = keys or (KEY,)
        repository = Repository(
            self.store,
            Keyring(sealing, retired=retired),
            bot=BOT_ID,
            serializer="pickle5",
            clock=lambda: self.now,
            randomness=self._drawn.randbytes,
            pause=_at_once,
        )
        await repository.load()
        return repository

    async def serve(self, repository: Repository, commits: int, every: timedelta) -> None:
        """Have a process save for a while, and write blobs now and then."""
        for number in range(commits):
            self.now += every * self._drawn.uniform(0.4, 1.6)
            if self.now.hour >= 22:
                self.now += timedelta(hours=9)
            self._visit(repository)
            await repository.commit()
            if number % 60 == 5:
                for kind in repository.written_kinds():
                    if kind is Kind.USER_DATA or number % 180 == 5:
                        await repository.compact(kind)

    def _visit(self, repository: Repository) -> None:
        """Stage what some customers do."""
        for _ in range(self._drawn.choice((1, 1, 2, 3, 8))):
            new = not self._users or self._drawn.random() < 0.3
            self._users += new
            user = FIRST_USER + int(self._drawn.triangular(0, self._users - 1, 0))
            user = FIRST_USER + self._users - 1 if new else user
            self._visits[user] = visits = self._visits.get(user, 0) + 1
            value = {"visits": visits, "street": f"{user % 90} {CANARY}", "cart": ["Oolong"]}
            repository.stage(Kind.USER_DATA, user, self._encode(value))
            if self._drawn.random() < 0.5:
                key = ("order", (user, user))
                state = self._encode(visits % 4) if visits % 4 else None
                repository.stage(Kind.CONVERSATIONS, key, state)
            if self._drawn.random() < 0.15:
                repository.stage(Kind.CHAT_DATA, -user, self._encode({"language": "de"}))
        orders = self._encode({"orders": sum(self._visits.values()) // 3})
        repository.stage(Kind.BOT_DATA, 0, orders)

    async def expire(self, name: str, begin: int, end: int) -> None:
        """Let the versions of an object from one place in their order to another expire."""
        ids = [version.version_id async for version in self.memory.versions(name)][::-1]
        for version_id in ids[begin:end]:
            self.memory.lose(name, version_id)


async def _at_once(_: float) -> None:
    """Stand in for waiting."""


async def lived(days: int = 12, commits: int = 36) -> Shop:
    """Return a shop that has lived for some days: with an overlap, new keys, and a gap."""
    shop, every = Shop(), timedelta(hours=15) / commits
    bot = await shop.start()
    for day in range(days):
        if day == days // 3:  # the old process ends only after the new one has begun
            newer = await shop.start()
            for _ in range(6):
                await shop.serve(newer, 2, every)
                await bot.load()
                await shop.serve(bot, 1, every)
                await newer.load()
            bot = newer
        if day == days * 2 // 3:
            bot = await shop.start(OTHER_KEY, KEY)
        await shop.serve(bot, commits, every)
    await shop.expire("head", commits // 2, commits // 2 + 9)
    return shop
