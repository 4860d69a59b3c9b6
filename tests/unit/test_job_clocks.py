"""Jobs where clocks differ or jump, and where runs and schedules cross."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.support.jobs import begun, kill, until

from ptb_s3._jobs import claims
from ptb_s3._ptb.state_loader import loader_of
from ptb_s3._storage.memory import MemoryStore
from ptb_s3.testing import memory_persistence

ran: list[Any] = []
CLAIM = timedelta(seconds=1.5)


@pytest.fixture(autouse=True)
def _nothing_ran() -> None:
    ran.clear()


async def note(context: Any) -> None:
    ran.append(context.job.data)


async def hang(context: Any) -> None:
    ran.append(context.job.data)
    await asyncio.sleep(60)


@pytest.mark.parametrize("hours", [-2, 0, 2])
async def test_a_claim_lapses_by_the_storages_clock_whatever_ours(
    hours: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The job of a dead instance is looked at when its claim is over: not before, not hours on."""
    monkeypatch.setattr(claims, "LASTS", CLAIM)
    persistence = memory_persistence(update_interval=0.05)
    store = loader_of(persistence).store
    assert isinstance(store, MemoryStore)
    store.ahead = timedelta(hours=hours)
    first = await begun(persistence)
    first.job_queue.run_once(hang, 0.01, data=1)
    await until(lambda: ran)
    await kill(first)
    begin = datetime.now(UTC)
    second = await begun(persistence.restarted())
    await until(lambda: len(ran) == 2, 10)
    assert datetime.now(UTC) - begin > CLAIM / 2, "somebody may have been running it"
    await kill(second)


async def test_a_claim_that_seems_over_by_our_clock_alone_is_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A storage's clock is known to the second: to look too soon must not lose the job."""
    monkeypatch.setattr(claims, "LASTS", CLAIM)
    persistence = memory_persistence(update_interval=0.05)
    first = await begun(persistence)
    first.job_queue.run_once(hang, 0.01, data=1)
    await until(lambda: ran)
    await kill(first)
    store = loader_of(persistence).store
    assert isinstance(store, MemoryStore)
    store.ahead = timedelta(seconds=-1)
    second = await begun(persistence.restarted())
    await until(lambda: len(ran) == 2, 10)
    await kill(second)
