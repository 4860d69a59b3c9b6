"""`ptb-s3 doctor`'s races: a storage that lets two writers win now and then does not pass."""

from __future__ import annotations

import asyncio
import random
from typing import Any, cast

import pytest

from ptb_s3._doctor import attempts, trials
from ptb_s3._doctor.attempts import Attempts
from ptb_s3._doctor.evidence import Verdict
from ptb_s3._doctor.findings import Status
from ptb_s3._doctor.scratch import Scratch
from ptb_s3._storage.body import Body, joined
from ptb_s3._storage.contract import PreconditionFailed, Written
from ptb_s3._storage.memory import MemoryStore
from ptb_s3._storage.s3 import S3Store
from ptb_s3.errors import StorageUnavailableError


class Looks(MemoryStore):
    """Storage that looks first and writes then: some who looked at the same time all win.

    Args:
        rate: Share of races in which there is time to look in between.
        lucky: How many of sixteen look in time.
        seed: The same seed gives the same races.
        versioned: Whether it keeps what is overwritten.
    """

    prefix = ""

    def __init__(self, rate: float, lucky: int, seed: int, *, versioned: bool) -> None:
        super().__init__(versioned=versioned)
        self._rate = rate
        self._lucky = lucky
        self._random = random.Random(seed)  # noqa: S311 - to be repeatable is the point
        self._open: dict[tuple[str, str | None], int] = {}

    def alike(self, **_: object) -> Any:
        return self

    async def put(self, name: str, body: bytes | Body, *, if_match: str | None) -> Written:
        race = name, if_match
        await asyncio.sleep(0)
        current = self._current.get(name)
        if (current and current.written.etag) == if_match and race not in self._open:
            racy = self._random.random() < self._rate
            self._open[race] = self._lucky - 1 if racy else 0
        elif self._open.get(race, 0):
            self._open[race] -= 1
            return self.replace(name, joined(body))
        return await super().put(name, body, if_match=if_match)


async def raced(store: Looks) -> Attempts:
    place = cast("S3Store", store)
    tried = Attempts(place, Scratch(place, "x"))
    await tried.create()
    assert tried.written is not None
    await tried.race(tried.written)
    await tried.write_alone(tried.written)
    return tried


@pytest.mark.parametrize("versioned", [True, False])
@pytest.mark.parametrize("lucky", [2, 4, 16])
@pytest.mark.parametrize("seed", range(10))
async def test_two_winners_now_and_then_are_found(
    lucky: int, seed: int, *, versioned: bool
) -> None:
    """Where a few of sixteen win in one race of three, a race shows it, and is what is told."""
    tried = await raced(Looks(0.3, lucky, seed, versioned=versioned))
    assert Verdict.BROKEN in {race.verdict for race in tried.races}
    finding = trials.conditional_put(tried.races, tried.accepted)
    assert finding.status is Status.FAILED
    assert f"{lucky} of 16 writers won a race" in finding.found
    assert "two writers would overwrite each other" in finding.found


class Unheard(Looks):
    """Storage whose answers to the winners of races do not arrive.

    Args:
        instead: What is heard in their place.
    """

    def __init__(self, instead: Exception) -> None:
        super().__init__(0, 1, 0, versioned=True)
        self._instead = instead

    def alike(self, **how: object) -> Any:
        return _Mute(self, self._instead) if how.get("once") else self


class _Mute:
    def __init__(self, store: Looks, instead: Exception) -> None:
        self._store, self._instead = store, instead

    async def put(self, name: str, body: bytes | Body, *, if_match: str | None) -> Written:
        await self._store.put(name, body, if_match=if_match)
        raise self._instead

    async def close(self) -> None:
        """Nothing is open."""


@pytest.mark.parametrize("instead", [StorageUnavailableError("cut"), PreconditionFailed("twice")])
async def test_a_winner_that_was_not_told_is_known_by_what_is_there(instead: Exception) -> None:
    """Its connection was cut, or the library asked twice and was refused: the race is decided."""
    tried = await raced(Unheard(instead))
    assert [(race.winners, race.undecided) for race in tried.races] == [(1, 0)] * 2
    assert [race.verdict for race in tried.races] == [Verdict.PROVEN] * 2


async def test_one_winner_in_every_race_is_proof() -> None:
    """Eight for each condition, one after another."""
    store = Looks(0, 1, 0, versioned=True)
    tried = await raced(store)
    assert [race.verdict for race in tried.races] == [Verdict.PROVEN] * 2
    assert [race.rounds for race in tried.races] == [8, 8]
    created = [name for name in store.current() if "-race" in name]
    assert len(created) == 8
    finding = trials.conditional_put(tried.races, tried.accepted)
    assert finding.status is Status.OK
    assert finding.found.endswith("for If-None-Match and for If-Match, in each of 8 races")


async def test_races_that_take_long_are_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where writers wait for their turn, one race that is decided is enough."""
    monkeypatch.setattr(attempts, "_ENOUGH", 0.0)
    store = Looks(0, 1, 0, versioned=True)
    await raced(store)
    created: Any = [name for name in store.current() if "-race" in name]
    assert len(created) == 1
