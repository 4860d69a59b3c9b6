"""The proxy that `test_two_bots` relies on does to requests what it says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from tests.servers import S3Server
from tests.support.buckets import open_store
from tests.support.lossyproxy import LOSSES, Drawn, Fault, LossyProxy, Weather

from ptb_s3._storage.s3 import S3Store
from ptb_s3.errors import StorageUnavailableError

HELD_UP = 0.2  # seconds


class Always(Weather):
    """The same fault, over and over: aiohttp repeats a request once by itself."""

    def __init__(self, fault: Fault) -> None:
        super().__init__("")
        self._fault = fault

    def draw(self) -> Drawn:
        return Drawn(self._fault, HELD_UP)


@asynccontextmanager
async def store_behind(fault: Fault, server: S3Server, bucket: str) -> AsyncIterator[S3Store]:
    async with LossyProxy(server.endpoint_url, Always(fault)) as proxy:
        store = open_store(server, bucket, endpoint_url=proxy.endpoint_url, attempts=1)
        try:
            yield store
        finally:
            await store.close()


@pytest.mark.parametrize("fault", LOSSES)
async def test_what_is_lost(
    fault: Fault, s3_server: S3Server, bucket: str, s3_store: S3Store
) -> None:
    """The client hears nothing; whether and when the server has heard of it is the fault's sort."""
    async with store_behind(fault, s3_server, bucket) as store:
        with pytest.raises(StorageUnavailableError):
            await store.put("head", b"sent", if_match=None)
        assert (await s3_store.get("head") is not None) is (fault is Fault.DROPPED)
        await asyncio.sleep(2 * HELD_UP)
        assert (await s3_store.get("head") is not None) is (fault is not Fault.CUT)


@pytest.mark.parametrize("fault", [Fault.SLOW_REQUEST, Fault.SLOW_REPLY])
async def test_what_is_held_up(fault: Fault, s3_server: S3Server, bucket: str) -> None:
    """It takes its time, and that is all."""
    clock = asyncio.get_running_loop().time
    async with store_behind(fault, s3_server, bucket) as store:
        begun = clock()
        written = await store.put("head", b"sent", if_match=None)
        assert clock() - begun >= HELD_UP
        fetched = await store.get("head")
        assert fetched is not None
        assert (fetched.body, fetched.etag) == (b"sent", written.etag)


def test_weather_is_the_same_again() -> None:
    """A seed is all that it depends on, and every fault is about as frequent as it should be."""
    weather, again = Weather("seed"), Weather("seed")
    assert [weather.draw() for _ in range(2000)] == [again.draw() for _ in range(2000)]
    assert all(20 <= weather.befell[fault] <= 200 for fault in Fault), weather.befell
    assert Weather("another seed").draw() != Weather("seed").draw()
