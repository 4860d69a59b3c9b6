"""An S3 client is closed when nobody uses it any more."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from ptb_s3._storage.link import Link


class Clients:
    """Opens clients, each in a few steps of the loop, and counts what becomes of them."""

    def __init__(self, *, close_hangs: bool = False) -> None:
        self.open = self.closed = 0
        self._close_hangs = close_hangs

    async def make(self) -> AbstractAsyncContextManager[Any]:
        await asyncio.sleep(0)
        return self._client()

    @asynccontextmanager
    async def _client(self) -> Any:
        await asyncio.sleep(0)
        self.open += 1
        yield SimpleNamespace(
            meta=SimpleNamespace(events=SimpleNamespace(register=lambda *_: None))
        )
        if self._close_hangs:
            await asyncio.Event().wait()
        self.open -= 1
        self.closed += 1


async def test_a_request_under_way_is_waited_for() -> None:
    """However many there are; and a client that nobody uses is closed at once."""
    clients, link = Clients(), Link()
    with link.in_use():
        await link.client(clients.make, lambda _: None, None)
        with link.in_use():
            closing = asyncio.create_task(link.close())
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.01)
        assert clients.open == 1
    await closing
    assert (clients.open, clients.closed) == (0, 1)


async def test_a_client_that_is_being_opened_is_closed_as_well() -> None:
    """Or it would be left over, with nobody to know of it."""
    clients, link = Clients(), Link()

    async def request() -> None:
        with link.in_use():
            await link.client(clients.make, lambda _: None, None)

    opening = asyncio.create_task(request())
    await asyncio.sleep(0)
    await link.close()
    await opening
    assert (clients.open, clients.closed) == (0, 1)


async def test_who_gives_up_waiting_closes_all_the_same() -> None:
    """A stop has no time for a request without an answer, and leaves nothing open."""
    clients, link = Clients(), Link()
    with link.in_use():
        await link.client(clients.make, lambda _: None, None)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await link.close()
        assert (clients.open, clients.closed) == (0, 1)


async def test_a_peer_that_never_answers_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then the client is left open, which is all that can be done."""
    monkeypatch.setattr("ptb_s3._storage.link._GRACE", 0.01)
    clients, link = Clients(close_hangs=True), Link()
    with link.in_use():
        await link.client(clients.make, lambda _: None, None)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await link.close()
    assert clients.closed == 0
