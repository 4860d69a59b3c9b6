"""Credentials that expire: nobody waits for new ones while the old ones are good."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aiobotocore.credentials import AioCredentials, AioRefreshableCredentials

from ptb_s3._storage.answers import NotSentError
from ptb_s3._storage.credentials import Lasting

NOW = datetime(2026, 11, 29, tzinfo=UTC)


class Service:
    """What hands out credentials, good for an hour; it counts how often it was asked."""

    def __init__(self) -> None:
        self.asked = 0
        self.down = False
        self.answer = asyncio.Event()
        self.answer.set()
        self.now = NOW

    async def fetch(self) -> dict[str, str]:
        self.asked += 1
        await self.answer.wait()
        if self.down:
            raise KeyError("AccessKeyId")
        until = self.now + timedelta(hours=1)
        return {**_named(str(self.asked)), "expiry_time": until.isoformat()}

    def credentials(self, *, good_for: float) -> AioRefreshableCredentials:
        """Return botocore's, which are good for so many seconds."""
        return AioRefreshableCredentials(
            **_named("0"),
            expiry_time=NOW + timedelta(seconds=good_for),
            refresh_using=self.fetch,
            method="container-role",
            time_fetcher=lambda: self.now,
        )


def _named(name: str) -> dict[str, str]:
    return {"access_key": name, "secret_key": f"secret {name}", "token": f"token {name}"}


async def _none() -> None:
    return None


async def _key(lasting: Lasting) -> str:
    return str((await lasting.get_frozen_credentials()).access_key)


async def _settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


@pytest.mark.parametrize("good_for", [14 * 60, 5 * 60, 1], ids=str)
async def test_good_ones_are_used_while_new_ones_are_fetched(good_for: float) -> None:
    """Within fifteen minutes of the end, and in the last ten as well; then the new ones are."""
    service = Service()
    service.answer.clear()
    lasting = Lasting(service.credentials(good_for=good_for), _none)
    async with asyncio.timeout(1):
        assert [await _key(lasting) for _ in range(5)] == ["0"] * 5
    service.answer.set()
    await _settle()
    assert await _key(lasting) == "1"
    assert service.asked == 1


@pytest.mark.parametrize("good_for", [14 * 60, 5 * 60], ids=str)
async def test_a_service_that_is_down_is_asked_once_a_minute(
    good_for: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not with every request; and the credentials go on being used, up to their end."""
    service = Service()
    service.down = True
    lasting = Lasting(service.credentials(good_for=good_for), _none)
    for _ in range(5):
        assert await _key(lasting) == "0"
        await _settle()
    assert service.asked == 1
    later = asyncio.get_running_loop().time() + 61
    monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: later)
    assert await _key(lasting) == "0"
    await _settle()
    assert service.asked == 2


async def test_expired_ones_are_waited_for_and_the_failure_is_told() -> None:
    """Where nothing good is left; all who wait share one question."""
    service = Service()
    service.down = True
    lasting = Lasting(service.credentials(good_for=-1), _none)
    found = await asyncio.gather(*(_key(lasting) for _ in range(3)), return_exceptions=True)
    assert [type(each) for each in found] == [NotSentError] * 3
    assert service.asked == 1
    service.down = False
    assert await _key(lasting) == "2"


async def test_whoever_waits_may_give_up() -> None:
    """Another one who waits for the same renewal gets it."""
    service = Service()
    service.answer.clear()
    lasting = Lasting(service.credentials(good_for=-1), _none)
    first, second = (asyncio.create_task(_key(lasting)) for _ in range(2))
    await _settle()
    first.cancel()
    await _settle()
    service.answer.set()
    assert await second == "1"


async def test_a_renewal_ends_with_the_client() -> None:
    """Nothing is left running."""
    service = Service()
    service.answer.clear()
    lasting = Lasting(service.credentials(good_for=60), _none)
    await _key(lasting)
    lasting.stop()
    await _settle()
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_line_ends_are_dropped() -> None:
    """Wherever credentials come from."""
    lasting = Lasting(AioCredentials("key\n", "secret\r\n", " token\n"), _none)
    frozen = await lasting.get_frozen_credentials()
    assert frozen[:3] == ("key", "secret", "token")


async def test_credentials_that_were_missing_are_looked_for_again() -> None:
    """A metadata service that was silent for a moment is not remembered for ever."""
    found: list[Any] = [None, AioCredentials("key", "secret")]

    async def load() -> Any:
        return found.pop(0)

    lasting = Lasting(None, load)
    assert await lasting.get_frozen_credentials() is None
    assert await _key(lasting) == "key"
