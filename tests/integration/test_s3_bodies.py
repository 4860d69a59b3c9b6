"""Bodies that are not in memory: sent whole, as often as it takes, and never held as a whole."""

from __future__ import annotations

import asyncio
import hashlib
import os
import threading
import time
import tracemalloc
from base64 import b64encode
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web
from tests.servers import S3Server
from tests.support.buckets import open_store
from tests.support.faultproxy import FaultProxy, Lost

from ptb_s3._storage import writes
from ptb_s3._storage.body import Body, joined
from ptb_s3._storage.contract import PreconditionFailed
from ptb_s3._storage.s3 import S3Store
from ptb_s3._storage.spool import Spool
from ptb_s3.errors import StorageError, StorageUnavailableError


class Pieces:
    """A body that keeps count of who reads it.

    Attributes:
        readers: Threads that have read it.
        read: How many times its reading was begun.
    """

    def __init__(self, piece: bytes, times: int) -> None:
        self.readers: set[threading.Thread] = set()
        self.read = 0
        self._piece = piece
        self._times = times

    def __len__(self) -> int:
        return len(self._piece) * self._times

    def pieces(self) -> Iterator[bytes]:
        self.read += 1
        for _ in range(self._times):
            self.readers.add(threading.current_thread())
            yield self._piece


class _BrokenDisk(Pieces):
    """A body that can be read once, and breaks off the next time."""

    def pieces(self) -> Iterator[bytes]:
        for number, piece in enumerate(super().pieces()):
            if self.read > 1 and number > self._times // 2:
                raise StorageError("The disk is broken.")
            yield piece


class _Huge(Pieces):
    """A body of one byte more than one request takes, which nobody reads."""

    def __len__(self) -> int:
        return 5 * 2**30 + 1

    def pieces(self) -> Iterator[bytes]:
        raise AssertionError("It was read.")


class Answering:
    """Server that takes bodies and gives these answers, one after the other, the last one always.

    Attributes:
        taken: The bodies, as they came.
        pace: Seconds that it lets pass with each 64 KiB of a body.
    """

    def __init__(self, *answers: tuple[int, dict[str, str]], pace: float = 0.0) -> None:
        self.taken: list[bytes] = []
        self.pace = pace
        self._answers = answers

    async def _handle(self, request: web.Request) -> web.Response:
        body = b""
        while piece := await request.content.read(2**16):
            await asyncio.sleep(self.pace)
            body += piece
        md5 = b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()
        assert request.headers["Content-MD5"] == md5
        assert request.headers["Content-Length"] == str(len(body))
        assert "Expect" not in request.headers
        assert "Transfer-Encoding" not in request.headers
        self.taken.append(body)
        status, headers = self._answers[min(len(self.taken), len(self._answers)) - 1]
        code = "ConditionalRequestConflict" if status == 409 else "SlowDown"
        text = f"<Error><Code>{code}</Code></Error>" if status >= 400 else ""
        return web.Response(status=status, headers={"ETag": '"x"', **headers}, text=text)

    @asynccontextmanager
    async def store(self, **options: object) -> AsyncIterator[S3Store]:
        app = web.Application(client_max_size=2**30)
        app.router.add_route("*", "/{key:.*}", self._handle)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        store = open_store(S3Server("answering", url, "key", "secret"), "b", **options)
        try:
            yield store
        finally:
            await store.close()
            await runner.cleanup()


_BODIES: dict[str, Callable[[bytes], bytes | Body]] = {
    "bytes": lambda whole: whole,
    "body": lambda whole: Pieces(whole, 1),
}
_either = pytest.mark.parametrize("make", _BODIES.values(), ids=_BODIES.keys())


@pytest.mark.parametrize("lost", Lost)
async def test_it_is_sent_again_from_its_start(
    s3_server: S3Server, bucket: str, fault_proxy: FaultProxy, lost: Lost
) -> None:
    """Whether the request is lost or its reply, as it is with bytes."""
    store = open_store(s3_server, bucket, endpoint_url=fault_proxy.endpoint_url)
    first = await store.put("user_data", b"one", if_match=None)
    fault_proxy.lose(lost, method="PUT")
    body = Pieces(os.urandom(2**18), 12)
    if lost is Lost.REPLY:
        with pytest.raises(PreconditionFailed):
            await store.put("user_data", body, if_match=first.etag)
    else:
        await store.put("user_data", body, if_match=first.etag)
    assert (await store.get("user_data") or [b""])[0] == joined(body)
    await store.close()


@_either
@pytest.mark.parametrize("status", [409, 503])
async def test_a_refusal_for_now_has_it_sent_again(
    make: Callable[[bytes], bytes | Body], status: int
) -> None:
    """All of it each time, also where the server has read it to its end."""
    whole, server = os.urandom(700_000), Answering((status, {}), (status, {}), (200, {}))
    async with server.store() as store:
        await store.put("user_data", make(whole), if_match='"y"')
    assert server.taken == [whole] * 3


@_either
async def test_a_redirect_has_it_sent_again(make: Callable[[bytes], bytes | Body]) -> None:
    """S3 redirects to a new bucket's region, and aiohttp follows by itself."""
    whole, server = os.urandom(700_000), Answering((307, {"Location": "/elsewhere"}), (200, {}))
    async with server.store() as store:
        await store.put("user_data", make(whole), if_match='"y"')
    assert server.taken == [whole] * 2


async def test_the_event_loop_reads_nothing_of_it() -> None:
    """Neither its MD5 nor its bytes: a slow disk stops no bot."""
    body, server = Pieces(os.urandom(2**18), 12), Answering((200, {}))
    async with server.store() as store:
        await store.put("user_data", body, if_match=None)
    assert {thread.name.startswith("ptb-s3-user_data") for thread in body.readers} == {True}
    assert body.read == 2
    assert server.taken == [joined(body)]


@_either
@pytest.mark.parametrize(("slowest", "arrives"), [(2**16, True), (2**26, False)])
async def test_its_time_grows_with_its_size(
    monkeypatch: pytest.MonkeyPatch,
    make: Callable[[bytes], bytes | Body],
    slowest: int,
    *,
    arrives: bool,
) -> None:
    """A slow line has time, by the size of what is sent, and a line that stands still ends."""
    monkeypatch.setattr(writes, "SLOWEST", slowest)
    whole, server = bytes(16 * 2**20), Answering((200, {}), pace=0.005)  # 1.3 s, of 256 or 0.25
    async with server.store() as store:
        await store._client()
        store._requester.patience = 0.2
        began = time.monotonic()
        if arrives:
            await store.put("user_data", make(whole), if_match=None)
            assert server.taken == [whole]
            assert time.monotonic() - began > 1
        else:
            with pytest.raises(StorageUnavailableError, match="TimeoutError"):
                await store.put("user_data", make(whole), if_match=None)
            assert server.taken == []


async def test_a_disk_that_breaks_is_not_taken_for_the_storage() -> None:
    """The error is that of the disk, and what was sent is no object."""
    server = Answering((200, {}))
    async with server.store() as store:
        with pytest.raises(StorageError, match=r"^The disk is broken\.$") as caught:
            await store.put("user_data", _BrokenDisk(b"x" * 1000, 10), if_match=None)
    assert not isinstance(caught.value, StorageUnavailableError)
    assert server.taken == []


async def test_more_than_one_request_takes_is_not_sent() -> None:
    """Nothing of it is read, either."""
    server = Answering((200, {}))
    async with server.store() as store:
        with pytest.raises(StorageError, match=r"5,368,709,121 bytes.*5 GiB.*Nothing was sent"):
            await store.put("user_data", _Huge(b"", 0), if_match=None)
    assert server.taken == []


async def test_whoever_gives_up_may_close_it() -> None:
    """A body that is closed while it is sent harms nobody, and the store goes on."""
    server = Answering((200, {}), pace=0.05)
    async with server.store() as store:
        await store._client()
        with Spool() as spool:
            for _ in range(32):
                spool.write(bytes(2**20))
            sending = asyncio.create_task(store.put("user_data", spool.body(b""), if_match=None))
            await asyncio.sleep(0.3)
            sending.cancel()
            with pytest.raises(asyncio.CancelledError):
                await sending
        server.pace = 0.0
        await store.put("user_data", Pieces(b"x", 3), if_match=None)
    assert server.taken[-1] == b"xxx"


async def test_300_mb_are_sent_in_little_memory(
    s3_server: S3Server, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is spooled and sent is never in memory as a whole, on this side of the line."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    store = open_store(s3_server, bucket)
    await store.put("user_data", b"one", if_match=None)
    piece, size = os.urandom(3 * 10**6), 300 * 10**6
    tracemalloc.start()
    try:
        with Spool() as spool:
            for _ in range(size // len(piece)):
                spool.write(piece)
            written = await store.put("chat_data", spool.body(b"beginning"), if_match=None)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4 * 2**20
    end = await store.get_range("chat_data", size + 9 - 100, 200, etag=written.etag)
    assert end == piece[-100:]
    assert [version.size async for version in store.versions("chat_data")] == [size + 9]
    await store.close()
