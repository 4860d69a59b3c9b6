"""An S3 client is closed when nobody uses it any more."""

from __future__ import annotations

import asyncio
import threading
from contextlib import AbstractAsyncContextManager
from types import SimpleNamespace
from typing import Any

import pytest

from ptb_s3._storage.link import Link, LoopLink


class Clients:
    """Opens clients, each in a few steps of the loop, and counts what becomes of them."""

    def __init__(self, *, close_hangs: bool = False) -> None:
        self.open = self.closed = 0
        self._close_hangs = close_hangs

    async def make(self) -> AbstractAsyncContextManager[Any]:
        await asyncio.sleep(0)
        return self

    async def __aenter__(self) -> Any:
        await asyncio.sleep(0)
        self.open += 1
        return SimpleNamespace(meta=SimpleNamespace(events=SimpleNamespace(register=lambda *_: 0)))

    async def __aexit__(self, *_: object) -> None:
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


# Loops --------------------------------------------------------------------------------------------


async def _ask(link: LoopLink, clients: Clients) -> None:
    async with link.using(clients.make, lambda _: None, None):
        pass


async def test_two_loops_that_live_have_a_client_each() -> None:
    """The bot's loop and the one of a thread take turns, and neither takes the other's away."""
    clients, link = Clients(), LoopLink()
    other = asyncio.new_event_loop()
    thread = threading.Thread(target=other.run_forever)
    thread.start()

    async def there(work: Any) -> None:
        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, other))

    for _ in range(3):
        await _ask(link, clients)
        await there(_ask(link, clients))
    assert (clients.open, clients.closed) == (2, 0)
    await there(link.close())
    assert (clients.open, clients.closed) == (1, 1)
    await _ask(link, clients)
    assert (clients.open, clients.closed) == (1, 1)
    await link.close()
    assert (clients.open, clients.closed) == (0, 2)
    other.call_soon_threadsafe(other.stop)
    thread.join()
    other.close()


def test_what_a_closed_loop_has_left_is_closed_by_the_next() -> None:
    """As on a host that runs a loop for each invocation, and closes nothing."""
    clients, link = Clients(), LoopLink()
    for number in range(3):
        asyncio.run(_ask(link, clients))
        assert (clients.open, clients.closed) == (1, number)
    asyncio.run(link.close())
    assert (clients.open, clients.closed) == (0, 3)
    assert not link.links


def test_a_loop_that_is_given_up_is_not_kept() -> None:
    """A host that makes one for each invocation, and closes none, leaks none by us."""
    clients, link = Clients(), LoopLink()
    loops = [asyncio.new_event_loop() for _ in range(3)]
    for loop in loops:
        loop.run_until_complete(_ask(link, clients))
        assert list(link.links) == [loop]
    for loop in loops:
        loop.close()
