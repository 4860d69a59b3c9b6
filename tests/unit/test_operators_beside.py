"""Whatever an operator does beside running bots, they hold what lies in the bucket, in either mode.

A seeded walk over the operations of commands, and of what befalls a bucket, beside three bots: one
that reads all at its start, and two that read on demand.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from random import Random

import pytest
from tests.support import KEY, opened
from tests.support.on_demand import DEMANDED, small_segments

from ptb_s3._engine.publication import publish
from ptb_s3._engine.repository import Repository
from ptb_s3._format.container import HEAD
from ptb_s3._format.entities import EntityKey, Kind, Resolution
from ptb_s3._format.restore_point import RestorePoint
from ptb_s3._keys.keyring import Keyring
from ptb_s3._storage.memory import MemoryStore
from ptb_s3.errors import ConflictError, RestorePointError

USERS, IDS = 60, range(1, 80)
STEPS = 60
MODES = (False, True, True)
"""Of each bot, whether it reads on demand."""


@pytest.fixture(autouse=True)
def _small_segments() -> Iterator[None]:
    with small_segments(100):
        yield


def ours_wins(
    _: Kind, __: EntityKey, ___: bytes | None, ours: bytes | None, ____: bytes | None
) -> Resolution:
    return Resolution(ours)


class Walk:
    """Walk over what an operator and bots may do, in an order that a seed gives."""

    def __init__(self, seed: int) -> None:
        self._rng = Random(seed)  # noqa: S311 - to be the same again
        self._versioned = self._rng.random() < 0.6
        self._store = MemoryStore(versioned=self._versioned)
        self._bots: list[Repository] = []
        self._number = 0

    async def begin(self) -> None:
        first = await opened(self._store)
        for kind in DEMANDED:
            for key in range(1, USERS + 1):
                first.stage(kind, key, b"%d" % key)
        await first.commit()
        await first.seal_anew(DEMANDED)
        self._bots = [await self._bot(on_demand) for on_demand in MODES]

    async def step(self) -> None:
        self._number += 1
        steps = (self.write, self.compact, self.restart, self.erase, self.import_, self.restore)
        others = (self.seal_anew, self.expire, self.lose_and_repair, self.check, self.check)
        await self._rng.choice((self.write, self.write, *steps, *others))()

    async def check(self) -> None:
        """Have all bots save and see what the others saved; compare with what a start reads."""
        for _ in range(2):
            for bot in self._bots:
                await bot.commit()
                await bot.sync()
        there = (await opened(self._store)).base.entities
        for bot in self._bots:
            for kind in DEMANDED:
                partial = kind in bot.base.partial
                held = await bot.fetch_all(kind) if partial else bot.base.entities[kind]
                assert held == there[kind], f"after step {self._number}"

    # Bots ---------------------------------------------------------------------------------------

    async def write(self) -> None:
        bot, key = self._rng.choice(self._bots), self._rng.choice(IDS)
        await bot.fetch({kind: [key] for kind in DEMANDED})
        bot.stage(Kind.USER_DATA, key, self._rng.choice([b"v%d" % self._number, None]))
        bot.stage(Kind.CHAT_DATA, key, b"w%d" % self._number)
        if self._rng.random() < 0.8:
            await bot.commit()

    async def compact(self) -> None:
        bot = self._rng.choice(self._bots)
        with suppress(ConflictError):
            await bot.compact(self._rng.choice(DEMANDED))
        await bot.commit(publish=self._rng.random() < 0.5)

    async def restart(self) -> None:
        number = self._rng.randrange(len(MODES))
        await self._bots[number].commit()
        self._bots[number] = await self._bot(MODES[number])

    async def _bot(self, on_demand: bool) -> Repository:  # noqa: FBT001 - a mode
        kinds = DEMANDED if on_demand else ()
        return await opened(self._store, resolve=ours_wins, on_demand=kinds)

    # The operator -------------------------------------------------------------------------------

    async def erase(self) -> None:
        operator = await opened(self._store)
        await operator.erase(self._rng.choice(IDS))
        await operator.seal_anew(operator.written_kinds())

    async def import_(self) -> None:
        operator = await opened(self._store)
        key, value = self._rng.choice(IDS), b"i%d" % self._number
        await operator.commit_only({kind: {key: value} for kind in DEMANDED})

    async def restore(self) -> None:
        operator = await opened(self._store)
        revision = self._rng.randint(1, operator.revision)
        with suppress(RestorePointError):
            await operator.restore(RestorePoint.parse(str(revision)))

    async def seal_anew(self) -> None:
        await (await opened(self._store)).seal_anew(DEMANDED)

    async def lose_and_repair(self) -> None:
        """Lose a blob, and head where a version of it is left; bring back what there is."""
        name = self._rng.choice(DEMANDED)
        if self._rng.random() < 0.5:
            self._store.replace(name, b"<html>no</html>")
        else:
            self._store.lose(name)
        if self._versioned and self._rng.random() < 0.5:
            self._store.replace(HEAD, b"<html>no</html>")
        operator = Repository(self._store, Keyring(KEY))
        await operator.recover()
        await publish(operator, lambda _: None)

    # The bucket ---------------------------------------------------------------------------------

    async def expire(self) -> None:
        """Delete the versions of blobs that are not current."""
        for name in DEMANDED:
            current = self._store._current[name].written.version_id
            for stored in list(self._store._history[name]):
                if stored.written.version_id != current:
                    self._store.lose(name, stored.written.version_id)


@pytest.mark.parametrize("seed", range(12))
async def test_bots_hold_what_lies_in_the_bucket(seed: int) -> None:
    walk = Walk(seed)
    await walk.begin()
    for _ in range(STEPS):
        await walk.step()
    await walk.check()
