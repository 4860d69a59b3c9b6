"""Reads from servers that are slow, wordy, or not what they seem: they end, early and in time."""

from __future__ import annotations

import asyncio
import os
import threading
import time
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import pytest
from tests.servers import S3Server
from tests.support.buckets import open_store
from tests.support.faultproxy import FaultProxy

from ptb_s3._storage import streams
from ptb_s3._storage.contract import NotModified
from ptb_s3._storage.s3 import S3Store
from ptb_s3._storage.spool import Spool
from ptb_s3.errors import AccessDeniedError, StorageError, StorageUnavailableError

_DATE = "Sun, 29 Nov 2026 10:00:00 GMT"


class Scripted:
    """HTTP server whose replies a test writes, byte by byte where it wants to."""

    def __init__(self) -> None:
        self.requests: list[str] = []
        self.sent = 0
        self.endpoint_url = ""

    async def reply(self, line: str, writer: asyncio.StreamWriter) -> None:
        raise NotImplementedError

    async def send(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        writer.write(data)
        await writer.drain()
        self.sent += len(data)

    async def begin(self, writer: asyncio.StreamWriter, length: int, **headers: str) -> None:
        lines = {"ETag": '"x"', "Content-Length": str(length), "Last-Modified": _DATE, **headers}
        text = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in lines.items())
        writer.write(f"HTTP/1.1 200 OK\r\n{text}\r\n".encode())
        await writer.drain()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.CancelledError):
            while line := (await reader.readline()).decode("latin-1").strip():
                while (await reader.readline()).strip():
                    pass
                self.requests.append(line)
                await self.reply(line, writer)
        writer.close()

    @asynccontextmanager
    async def store(self, **options: object) -> AsyncIterator[S3Store]:
        tasks: set[asyncio.Task[None]] = set()

        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            tasks.add(task)
            await self._connected(reader, writer)

        server = await asyncio.start_server(connected, "127.0.0.1", 0)
        self.endpoint_url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        store = open_store(S3Server("scripted", self.endpoint_url, "key", "secret"), "b", **options)
        yield store
        await store.close()
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class _Dripping(Scripted):
    """Gives a byte now and then, which no timeout between two of them ends."""

    def __init__(self, length: int) -> None:
        super().__init__()
        self._length = length

    async def reply(self, line: str, writer: asyncio.StreamWriter) -> None:
        if "versions" in line or "delete" in line:
            await self.begin(writer, self._length, Content_Type="application/xml")
        else:
            await self.begin(writer, self._length)
        while True:
            await self.send(writer, b"<")
            await asyncio.sleep(0.02)


async def _history(store: S3Store) -> list[str]:
    return [version.version_id async for version in store.versions("head")]


_READS: dict[str, Callable[[S3Store], object]] = {
    "get": lambda store: store.get("head"),
    "first": lambda store: store.get("head", first_bytes=1000),
    "range": lambda store: store.get_range("head", 5000, 1000, etag='"x"'),
    "glance": lambda store: store.get("head", if_none_match='"other"'),
    "versions": _history,
    "delete": lambda store: store.delete("head", ["a"]),
}


@pytest.mark.parametrize("read", _READS.values(), ids=_READS.keys())
async def test_a_reply_that_drips_ends_in_time(
    monkeypatch: pytest.MonkeyPatch, read: Callable[[S3Store], object]
) -> None:
    """Each read has time by its size, all attempts together, however the bytes come in."""
    monkeypatch.setattr("ptb_s3._storage.target.BACKOFF", 0.0)
    monkeypatch.setattr("ptb_s3._storage.requester._PAGE", 0)
    async with _Dripping(100_000).store(connect_timeout=0.1, read_timeout=0.1) as store:
        monkeypatch.setattr(streams, "SLOWEST", 500_000)  # 0.2 s for what is promised
        await store._client()  # which may take a while
        began = time.monotonic()
        with pytest.raises(StorageUnavailableError, match="TimeoutError"):
            await read(store)  # type: ignore[misc] # all of them are awaitable
        assert time.monotonic() - began < 10  # 0.8 s on an idle machine


async def test_a_large_object_has_the_time_that_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes at the pace of a slow line arrives, though it takes longer than an answer may."""
    monkeypatch.setattr("ptb_s3._storage.target.BACKOFF", 0.0)
    monkeypatch.setattr(streams, "SLOWEST", 20)

    class Slow(Scripted):
        async def reply(self, _line: str, writer: asyncio.StreamWriter) -> None:
            await self.begin(writer, 120)
            for _ in range(120):
                await self.send(writer, b"x")
                await asyncio.sleep(0.02)

    async with Slow().store(connect_timeout=0.1, read_timeout=0.5) as store:  # 1.8 s
        fetched = await store.get("head")
    assert fetched is not None
    assert fetched.body == b"x" * 120


class _Wordy(Scripted):
    """Has an object of 300 MB, and gives all of it whatever is asked for."""

    size = 300 * 10**6

    async def reply(self, _line: str, writer: asyncio.StreamWriter) -> None:
        await self.begin(writer, self.size)
        for _ in range(self.size // 10**6):
            await self.send(writer, bytes(10**6))


class _GarbageError(Exception):
    """What arrives is not what it should be."""


@pytest.mark.parametrize("if_none_match", [None, '"other"'], ids=["always", "if changed"])
@pytest.mark.parametrize("at_once", [True, False], ids=["size", "piece"])
async def test_who_takes_the_bytes_may_end_the_transfer(
    if_none_match: str | None, *, at_once: bool
) -> None:
    """What it raises of size or piece comes out of `stream`, and no more is read, nor again."""
    server = _Wordy()
    pieces: list[int] = []

    def take(piece: bytes) -> None:
        pieces.append(len(piece))
        raise _GarbageError

    def into(size: int) -> Callable[[bytes], None]:
        assert size == _Wordy.size
        if at_once:
            raise _GarbageError
        return take

    async with server.store() as store:
        with pytest.raises(_GarbageError):
            await store.stream("head", into, if_none_match=if_none_match)
        await asyncio.sleep(0)
        assert len(server.requests) == 1
        assert len(pieces) == (not at_once)
    assert server.sent < 30 * 10**6  # what lies in buffers on the way


@pytest.mark.parametrize("error", [OSError, TimeoutError, StorageUnavailableError])
@pytest.mark.parametrize("if_none_match", [None, '"other"'], ids=["always", "if changed"])
async def test_what_the_taker_raises_is_not_taken_for_weather(
    error: type[Exception], if_none_match: str | None
) -> None:
    """Neither does the storage get the blame, nor is anything asked again."""
    server, mine = _Wordy(), error("mine")

    def into(_size: int) -> Callable[[bytes], None]:
        raise mine

    async with server.store() as store:
        with pytest.raises(error) as caught:
            await store.stream("head", into, if_none_match=if_none_match)
        assert caught.value is mine
        assert len(server.requests) == 1


async def test_the_first_bytes_are_all_that_is_read() -> None:
    """A server that ignores Range sends on, and nobody listens."""
    server = _Wordy()
    async with server.store() as store:
        fetched = await store.get("head", first_bytes=70_000)
        assert fetched is not None
        assert fetched.body == bytes(70_000)
        assert fetched.modified == datetime(2026, 11, 29, 10, tzinfo=UTC)
        looked = await store.get("head", first_bytes=70_000, if_none_match='"other"')
        assert looked is not None
        assert looked[:2] == (bytes(70_000), '"x"')
        assert looked.modified == fetched.modified
    assert server.sent < 60 * 10**6


async def test_a_range_of_a_whole_reply_is_cut_out_of_it() -> None:
    """A server that ignores Range: what lies before is not kept, what lies behind not read."""
    server = _Wordy()
    start = 40 * 10**6
    async with server.store() as store:
        await store._client()  # which imports what takes more
        tracemalloc.start()
        try:
            part = await store.get_range("user_data", start, 70_000, etag='"x"')
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert part == bytes(70_000)
        assert len(server.requests) == 1
        assert await store.get_range("user_data", _Wordy.size, 5, etag='"x"') == b""
    assert start < server.sent < 100 * 10**6
    assert peak < 8 * 2**20  # 40 MB with all that lies before


class _Ranges(Scripted):
    """Answers each request by the next of these statuses and headers, and with this body."""

    def __init__(self, *answers: tuple[str, dict[str, str]], body: bytes = b"0123456789") -> None:
        super().__init__()
        self._answers = answers
        self._body = body

    async def reply(self, _line: str, writer: asyncio.StreamWriter) -> None:
        status, headers = self._answers[min(len(self.requests), len(self._answers)) - 1]
        lines = {"ETag": '"x"', "Content-Length": str(len(self._body)), **headers}
        text = "".join(f"{name}: {value}\r\n" for name, value in lines.items() if value)
        writer.write(f"HTTP/1.1 {status}\r\n{text}\r\n".encode() + self._body)
        await writer.drain()


def _partial(content_range: str, **headers: str) -> tuple[str, dict[str, str]]:
    return "206 Partial Content", {"Content-Range": content_range, **headers}


@pytest.mark.parametrize(
    "stated",
    [
        *("bytes 20-29/100", "bytes 20-29/*", "bytes 20-29/30", "bytes 20-35/36", ""),
        pytest.param(f"bytes 20-29/{'9' * 5000}", id="of more digits than Python reads"),
    ],
)
async def test_a_range_that_was_asked_for(stated: str) -> None:
    """It is taken as it comes, also where the reply does not say all about it."""
    body = b"0123456789" if "35" not in stated else b"0123456789abcdef"
    async with _Ranges(_partial(stated), body=body).store() as store:
        assert await store.get_range("user_data", 20, 10, etag='"x"') == b"0123456789"


@pytest.mark.parametrize(
    ("stated", "read"),
    [
        *((stated, lambda store: store.get_range("user_data", 20, 10, etag='"x"'))
          for stated in ("bytes 0-9/100", "bytes 21-30/100", "bytes 20-28/100", "bytes 10-19/*")),
        *((stated, lambda store: store.get("user_data", first_bytes=12))
          for stated in ("bytes 1-12/100", "bytes 0-9/100")),
    ],
)  # fmt: skip
async def test_another_range_than_the_one_asked_for(
    stated: str, read: Callable[[S3Store], Awaitable[object]]
) -> None:
    """Neither is it taken for the one, nor its end for the object's."""
    async with _Ranges(_partial(stated)).store() as store:
        with pytest.raises(StorageError, match="another range") as caught:
            await read(store)
    assert not isinstance(caught.value, StorageUnavailableError)


@pytest.mark.parametrize("checksum", ["x-amz-checksum-crc32", "x-amz-checksum-sha256"])
async def test_a_checksum_of_the_whole_is_none_of_the_range(checksum: str) -> None:
    """A storage may state it all the same; sealed content needs none."""
    stated = {checksum: "AAAAAA==", "x-amz-checksum-type": "FULL_OBJECT"}
    async with _Ranges(_partial("bytes 20-29/30", **stated)).store() as store:
        for length in (10, 100):
            part = await store.get_range("user_data", 20, length, etag='"x"')
            assert part == b"0123456789"


async def test_a_condition_that_a_storage_misreads_is_left_out() -> None:
    """A 412 is believed if what is there has another ETag, and not for its quotation marks."""
    unmet: tuple[str, dict[str, str]] = ("412 Precondition Failed", {})
    there = _partial("bytes 20-29/100")
    server = _Ranges(unmet, there)
    async with server.store() as store:
        assert await store.get_range("user_data", 20, 10, etag='"x"') == b"0123456789"
        assert len(server.requests) == 2
    async with _Ranges(unmet, there).store() as store:
        assert await store.get_range("user_data", 20, 10, etag='"y"') is None


@pytest.mark.parametrize("version_id", [None, "v1"])
async def test_a_storage_that_ignores_what_was_asked_for(version_id: str | None) -> None:
    """What has another ETag is another version, and none of its body is read."""
    server = _Wordy()
    async with server.store() as store:
        found = await store.get_range("user_data", 20, 10, etag='"y"', version_id=version_id)
        assert found is None
        assert len(server.requests) == 1
    assert server.sent < 30 * 10**6


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (("200 OK", {"ETag": ""}), StorageError),
        (("403 Forbidden", {}), AccessDeniedError),
        (("404 Not Found", {}), StorageError),
        (("503 Service Unavailable", {}), StorageUnavailableError),
        (("416 Range Not Satisfiable", {}), StorageError),
    ],
    ids=lambda value: str(value)[2:5],
)
async def test_a_range_is_not_absent_for_other_reasons(
    answer: tuple[str, dict[str, str]], error: type[Exception]
) -> None:
    """Only what says so means that the version is gone; all else is an error, as in `get`."""
    async with _Ranges(answer, body=b"").store(attempts=1) as store:
        with pytest.raises(error):
            await store.get_range("user_data", 20, 10, etag='"x"')


async def test_a_range_that_breaks_off_is_read_again(
    s3_server: S3Server, bucket: str, fault_proxy: FaultProxy
) -> None:
    """It comes whole or not at all, in as many attempts as a read of all gets."""
    store = open_store(s3_server, bucket, endpoint_url=fault_proxy.endpoint_url)
    body = os.urandom(2**20)
    written = await store.put("user_data", body, if_match=None)
    fault_proxy.cut_reply_after(2**17)
    part = await store.get_range("user_data", 1000, 2**19, etag=written.etag)
    assert part == body[1000 : 1000 + 2**19]
    fault_proxy.cut_reply_after(2**17, 100)
    with pytest.raises(StorageUnavailableError):
        await store.get_range("user_data", 1000, 2**19, etag=written.etag)
    await store.close()


class _Listing(Scripted):
    """Lists page after page, each with so many versions and these markers."""

    def __init__(self, *markers: str, versions: int = 1) -> None:
        super().__init__()
        self._markers = markers
        self._versions = versions

    async def reply(self, _line: str, writer: asyncio.StreamWriter) -> None:
        number = len(self.requests) - 1
        marker = self._markers[number % len(self._markers)]
        entries = "".join(
            f"<Version><Key>bot/head</Key><VersionId>v{number}.{each}</VersionId><IsLatest>false"
            "</IsLatest><LastModified>2026-11-29T10:00:00.000Z</LastModified><Size>1</Size>"
            "</Version>"
            for each in range(self._versions)
        )
        page = (
            '<?xml version="1.0"?><ListVersionsResult><Name>b</Name>'
            f"<IsTruncated>true</IsTruncated>{marker}{entries}</ListVersionsResult>"
        ).encode()
        await self.begin(writer, len(page), Content_Type="application/xml")
        await self.send(writer, page)


def _marker(number: int) -> str:
    return (
        "<NextKeyMarker>bot/head</NextKeyMarker>"
        f"<NextVersionIdMarker>v{number}</NextVersionIdMarker>"
    )


@pytest.mark.parametrize(
    ("markers", "pages"),
    [([""], 1), ([_marker(1)], 2), ([_marker(1), _marker(2), _marker(3)], 4)],
    ids=["none", "the same", "in a circle"],
)
async def test_a_listing_without_end_is_an_error(markers: Sequence[str], pages: int) -> None:
    """A page that says there is more, and leads nowhere new, is the last one that is asked for."""
    server = _Listing(*markers)
    async with server.store() as store:
        with pytest.raises(StorageError, match="its list goes on, and not where"):
            await asyncio.wait_for(_history(store), 20)
    assert len(server.requests) == pages


async def test_another_version_than_the_one_asked_for_is_none() -> None:
    """Where a server ignores the version, what it gives is not taken for it, and not read."""

    class Heedless(_Wordy):
        async def reply(self, _line: str, writer: asyncio.StreamWriter) -> None:
            await self.begin(writer, self.size, **({"x-amz-version-id": "v9"}))
            await self.send(writer, bytes(10**6))

    server = Heedless()
    async with server.store() as store:
        assert await store.get("head", version_id="nonsense") is None
        assert await store.get("head", version_id="null") is None
        found = await store.get("head", version_id="v9", first_bytes=10)
        assert found is not None
        assert found.version_id == "v9"


async def test_without_versioning_no_id_but_null_is_there(unversioned_store: S3Store) -> None:
    """SeaweedFS gives the object itself for any id; only ``null`` is the one it has."""
    written = await unversioned_store.put("head", b"one", if_match=None)
    assert await unversioned_store.get("head", version_id="nonsense") is None
    found = await unversioned_store.get("head", version_id="null")
    assert found is not None
    assert found[:2] == (b"one", written.etag)


async def test_a_bot_that_fills_the_executor_reads_and_writes(
    s3_server: S3Server, bucket: str
) -> None:
    """No thread of asyncio's default executor is needed: not for a body, nor for a host's name."""
    loop, ended = asyncio.get_running_loop(), threading.Event()
    executor = ThreadPoolExecutor(2)
    loop.set_default_executor(executor)
    blocked = [loop.run_in_executor(None, ended.wait) for _ in range(4)]
    address = urlsplit(s3_server.endpoint_url)
    named = f"{address.scheme}://localhost:{address.port}"
    store = open_store(s3_server, bucket, endpoint_url=named)
    try:
        async with asyncio.timeout(20):
            body = os.urandom(3 * 2**20)
            written = await store.put("head", body, if_match=None)
            fetched = await store.get("head")
            assert fetched is not None
            assert fetched[:3] == (body, *written)
            with Spool() as spool:
                spool.write(body)
                written = await store.put("head", spool.body(b"x"), if_match=written.etag)
            part = await store.get_range("head", 5, 9, etag=written.etag)
            assert part == body[4:13]
            await store.close()
    finally:
        ended.set()
        await asyncio.gather(*blocked)
        executor.shutdown()


async def test_a_reply_sets_the_storages_clock(unversioned_store: S3Store) -> None:
    """Also the one that says that nothing has changed, as an idle bot hears it alone."""
    store = unversioned_store
    assert store.ahead == timedelta()
    etag = (await store.put("head", b"head", if_match=None)).etag
    with pytest.raises(NotModified):
        await store.get("head", if_none_match=etag)
    store._requester.clock.note(datetime(2020, 1, 1, tzinfo=UTC))
    assert store.ahead < -timedelta(days=365)
    with pytest.raises(NotModified):
        await store.get("head", if_none_match=etag)
    assert abs(store.ahead) < timedelta(minutes=1)
