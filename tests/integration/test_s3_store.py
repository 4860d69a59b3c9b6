"""What `S3Store` does when something is in the way: bucket, credentials, network, loops."""

from __future__ import annotations

import asyncio
import gc
import math
import os
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import pytest
from tests.servers import S3Client, S3Server
from tests.support.buckets import open_store
from tests.support.faultproxy import FaultProxy, Lost

from ptb_s3._storage.contract import NotModified, PreconditionFailed
from ptb_s3._storage.s3 import S3Store
from ptb_s3.errors import (
    AccessDeniedError,
    BucketNotFoundError,
    PersistenceError,
    SettingsError,
    StorageUnavailableError,
)

_ATTEMPTS = 3


async def _history(store: S3Store) -> list[str]:
    return [version.version_id async for version in store.versions("head")]


_CALLS: dict[str, Callable[[S3Store], Awaitable[object]]] = {
    "get": lambda store: store.get("head"),
    "put": lambda store: store.put("head", b"one", if_match=None),
    "replace": lambda store: store.put("head", b"one", if_match='"0"'),
    "versions": _history,
}
every_call = pytest.mark.parametrize("call", _CALLS.values(), ids=_CALLS.keys())


# SeaweedFS 4.48 says 412 to an If-Match in a missing bucket; reading then tells what is wrong.
@pytest.mark.parametrize("call", [_CALLS[name] for name in ("get", "put", "versions")])
async def test_a_bucket_that_is_not_there(
    s3_server: S3Server, s3_client: S3Client, call: Callable[[S3Store], Awaitable[object]]
) -> None:
    """It is said so, with the bucket's name, and the bucket is not made."""
    store = open_store(s3_server, "ptb-s3-no-such-bucket")
    with pytest.raises(BucketNotFoundError, match=r"'ptb-s3-no-such-bucket'.*PTB_S3_BUCKET"):
        await call(store)
    await store.close()
    buckets = (await s3_client.list_buckets())["Buckets"]
    assert "ptb-s3-no-such-bucket" not in [entry["Name"] for entry in buckets]


@every_call
@pytest.mark.parametrize(
    ("credentials", "remedy"),
    [
        ({"aws_secret_access_key": "not-the-secret-of-this-key"}, "AWS_SECRET_ACCESS_KEY"),
        ({"aws_access_key_id": "nobody-has-this-key"}, "AWS_ACCESS_KEY_ID"),
    ],
    ids=["secret", "key"],
)
async def test_credentials_that_are_wrong(
    s3_server: S3Server,
    bucket: str,
    call: Callable[[S3Store], Awaitable[object]],
    credentials: dict[str, str],
    remedy: str,
) -> None:
    """The error says which variables to look at, and shows none of them."""
    store = open_store(s3_server, bucket, session=s3_server.session(**credentials))
    with pytest.raises(AccessDeniedError, match=remedy) as caught:
        await call(store)
    await store.close()
    for secret in (s3_server.secret_key, s3_server.access_key, *credentials.values()):
        assert secret not in str(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


@every_call
async def test_credentials_that_are_missing(
    s3_server: S3Server, bucket: str, call: Callable[[S3Store], Awaitable[object]]
) -> None:
    """Without any, nothing is asked anonymously."""
    store = open_store(s3_server, bucket, session=None)
    with pytest.raises(AccessDeniedError, match="no usable credentials"):
        await call(store)
    await store.close()


@every_call
async def test_an_endpoint_that_is_down(call: Callable[[S3Store], Awaitable[object]]) -> None:
    """It takes seconds to know, not minutes, and a write may have taken effect."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        server = S3Server("none", f"http://127.0.0.1:{unused.getsockname()[1]}", "key", "secret")
        store = open_store(server, "bucket")
        began = time.monotonic()
        with pytest.raises(StorageUnavailableError, match="no connection to"):
            await call(store)
        assert time.monotonic() - began < 8
        await store.close()


@every_call
async def test_the_endpoint_that_was_asked_is_named(
    call: Callable[[S3Store], Awaitable[object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where a variable of AWS says whom to ask."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", url)
        store = open_store(S3Server("none", "", "key", "secret"), "bucket", endpoint_url=None)
        with pytest.raises(StorageUnavailableError, match=f"no connection to {url}"):
            await call(store)
        await store.close()


async def test_the_endpoint_that_answered_is_named(
    s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As well."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", s3_server.endpoint_url)
    store = open_store(s3_server, "ptb-s3-no-such-bucket", endpoint_url=None)
    with pytest.raises(BucketNotFoundError, match=f"storage at {s3_server.endpoint_url} answered"):
        await store.get("head")
    await store.close()


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("https://x.r2.cloudflarestorage.com/bucket", "to https://x.r2.cloudflarestorage.com$"),
        ("http://u:p4ss@host", "address of an S3 API"),
        ("s3.example.com", "address of an S3 API"),
    ],
)
async def test_an_endpoint_of_aws_variables_that_cannot_be_right(
    url: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is refused as ours would be, before anything is asked, each time that it is tried."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", url)
    store = open_store(S3Server("none", "", "key", "secret"), "bucket", endpoint_url=None)
    for call in (store.get("head"), store.place(), store.access()):
        with pytest.raises(SettingsError, match=says) as caught:
            await call
        assert "AWS_ENDPOINT_URL_S3" in str(caught.value)
        assert "p4ss" not in str(caught.value)
    await store.close()


@asynccontextmanager
async def _serving(reply: bytes | None) -> AsyncIterator[S3Server]:
    """A server that says the same to all, or nothing."""
    connections: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        connections.add(task)
        with suppress(OSError):
            await reader.read(2**16 if reply else -1)
            writer.write(reply or b"")
            await writer.drain()
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    yield S3Server("impostor", f"http://127.0.0.1:{port}", "key", "secret")
    server.close()
    await asyncio.gather(*connections)


async def test_a_server_that_never_answers() -> None:
    """The read timeout bounds each attempt, from the first byte on."""
    async with _serving(None) as server:
        store = open_store(server, "bucket", read_timeout=0.1)
        with pytest.raises(StorageUnavailableError, match="may have taken effect"):
            await store.put("head", b"one", if_match=None)
        await store.close()


async def test_a_web_server_is_not_taken_for_storage() -> None:
    """A captive portal says 200 to all: that is neither an object nor a write, nor absence."""
    head = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: text/html\r\n"
    page = b"<html>Welcome to this hotel</html>"
    async with _serving(b"%bContent-Length: %d\r\n\r\n%b" % (head, len(page), page)) as server:
        store = open_store(server, "bucket")
        for call in (_CALLS["get"], _CALLS["put"], _CALLS["versions"]):
            with pytest.raises(PersistenceError, match="no answer of an S3 server"):
                await call(store)
        await store.close()


@pytest.mark.parametrize(
    ("bucket_name", "endpoint_url"),
    [("", "http://127.0.0.1:1"), ("white space", "http://127.0.0.1:1"), ("b/c", "http://[::1]:1")],
)
async def test_a_name_that_no_bucket_has(bucket_name: str, endpoint_url: str) -> None:
    """It is a matter of settings, found before any request."""
    store = open_store(S3Server("none", endpoint_url, "key", "secret"), bucket_name)
    with pytest.raises(SettingsError, match="PTB_S3_BUCKET"):
        await store.get("head")
    await store.close()


@pytest.mark.parametrize(
    "endpoint_url", ["", "s3.example.com", "ftp://s3.example.com", "http://", "http://u:p4ss@host"]
)
def test_an_endpoint_that_is_no_address(endpoint_url: str) -> None:
    """It is refused at once, and what may be a password is not shown."""
    with pytest.raises(SettingsError, match="PTB_S3_ENDPOINT_URL") as caught:
        S3Store("bucket", endpoint_url=endpoint_url)
    assert "p4ss" not in str(caught.value)


def test_repr_holds_no_secret(s3_server: S3Server) -> None:
    """It names the place, and not the credentials."""
    text = repr(open_store(s3_server, "bucket"))
    assert "'bucket', 'bot/'" in text
    assert s3_server.secret_key not in text
    assert s3_server.access_key not in text


async def test_a_write_that_was_lost_before_it_arrived(
    s3_server: S3Server, bucket: str, fault_proxy: FaultProxy
) -> None:
    """The library sends it again, once is enough."""
    store = open_store(s3_server, bucket, endpoint_url=fault_proxy.endpoint_url)
    fault_proxy.lose(Lost.REQUEST)
    written = await store.put("head", b"one", if_match=None)
    assert (await store.get("head") or ())[:3] == (b"one", *written)
    assert len(await _history(store)) == 1
    await store.close()


@pytest.mark.parametrize("size", [3, 3 * 2**20], ids=["small", "large"])
@pytest.mark.parametrize("lost", Lost)
async def test_a_large_write_is_sent_again_from_its_start(
    s3_server: S3Server, bucket: str, fault_proxy: FaultProxy, lost: Lost, size: int
) -> None:
    """Over a connection that is used again, whose loss aiohttp and botocore both see."""
    store = open_store(s3_server, bucket, endpoint_url=fault_proxy.endpoint_url)
    first = await store.put("head", b"one", if_match=None)
    body = os.urandom(size)
    fault_proxy.lose(lost, method="PUT")
    if lost is Lost.REPLY:
        with pytest.raises(PreconditionFailed):
            await store.put("head", body, if_match=first.etag)
    else:
        await store.put("head", body, if_match=first.etag)
    fetched = await store.get("head")
    assert fetched is not None
    assert fetched.body == body
    assert len(await _history(store)) == 2
    await store.close()


async def test_a_reply_lost_after_the_write_took_effect(
    s3_server: S3Server, bucket: str, fault_proxy: FaultProxy
) -> None:
    """The second attempt meets the first one's object: a no, which the layer above looks into."""
    store = open_store(s3_server, bucket, endpoint_url=fault_proxy.endpoint_url)
    fault_proxy.lose(Lost.REPLY, method="PUT")
    with pytest.raises(PreconditionFailed):
        await store.put("head", b"ours", if_match=None)
    fetched = await store.get("head")
    assert fetched is not None
    assert fetched.body == b"ours"
    assert len(await _history(store)) == 1
    await store.close()


async def test_every_reply_lost(s3_server: S3Server, bucket: str, fault_proxy: FaultProxy) -> None:
    """When attempts run out, the error says that the write may have taken effect. It has."""
    store = open_store(s3_server, bucket, endpoint_url=fault_proxy.endpoint_url)
    fault_proxy.lose(Lost.REPLY, 100, method="PUT")
    with pytest.raises(StorageUnavailableError, match="may have taken effect"):
        await store.put("head", b"ours", if_match=None)
    puts = [line for line in fault_proxy.requests if line.startswith("PUT")]
    assert len(puts) == _ATTEMPTS  # aiohttp repeats none by itself
    fetched = await store.get("head")
    assert fetched is not None
    assert fetched.body == b"ours"
    await store.close()


@pytest.mark.parametrize("reused", [False, True], ids=["fresh", "reused"])
@pytest.mark.parametrize("lost", Lost)
async def test_one_attempt_is_one_request(
    s3_server: S3Server, bucket: str, fault_proxy: FaultProxy, lost: Lost, *, reused: bool
) -> None:
    """Whoever asks for no second one gets none, on whatever connection; nor does a read."""
    store = open_store(s3_server, bucket, endpoint_url=fault_proxy.endpoint_url)
    once = store.alike(once=True)
    if reused:
        assert await once.get("head") is None
    for method, call in (("PUT", _CALLS["put"]), ("GET", _CALLS["get"])):
        fault_proxy.requests.clear()
        fault_proxy.lose(lost, 100, method=method)
        with pytest.raises(StorageUnavailableError):
            await call(once)
        assert [line.split()[0] for line in fault_proxy.requests] == [method]
    await once.close()
    fault_proxy.lose(lost, 0, method="NONE")
    assert (await store.get("head") is None) == (lost is Lost.REQUEST)
    await store.close()


async def test_refused_connections_then_not(
    s3_server: S3Server, bucket: str, fault_proxy: FaultProxy
) -> None:
    """The same store works again when the endpoint does."""
    store = open_store(s3_server, bucket, endpoint_url=fault_proxy.endpoint_url)
    await store.put("head", b"one", if_match=None)
    await fault_proxy.refuse()
    with pytest.raises(StorageUnavailableError):
        await store.get("head")
    await fault_proxy.accept()
    fetched = await store.get("head")
    assert fetched is not None
    assert fetched.body == b"one"
    await store.close()


async def test_a_body_that_breaks_off_is_read_again(
    s3_server: S3Server, bucket: str, fault_proxy: FaultProxy
) -> None:
    """A cut in the middle of a body is weather, too, and never a shorter object."""
    store = open_store(s3_server, bucket, endpoint_url=fault_proxy.endpoint_url)
    body = os.urandom(2**20)
    await store.put("head", body, if_match=None)
    fault_proxy.cut_reply_after(2**17)
    fetched = await store.get("head")
    assert fetched is not None
    assert fetched.body == body
    fault_proxy.cut_reply_after(2**17, 100)
    with pytest.raises(StorageUnavailableError):
        await store.get("head")
    await store.close()


async def test_a_body_goes_where_it_is_to_go_as_it_arrives(
    s3_server: S3Server, bucket: str, fault_proxy: FaultProxy
) -> None:
    """In pieces, in order; and from the beginning where the first transfer broke off."""
    store = open_store(s3_server, bucket, endpoint_url=fault_proxy.endpoint_url)
    body = os.urandom(2**22)
    written = await store.put("user_data", body, if_match=None)
    arrived: list[list[bytes]] = []

    def into(size: int) -> Callable[[bytes], None]:
        assert size == len(body)
        arrived.append([])
        return arrived[-1].append

    received = await store.stream("user_data", into)
    assert received is not None
    assert received[:2] == written
    assert len(arrived[0]) > 1
    assert b"".join(arrived[0]) == body
    fault_proxy.cut_reply_after(2**21)
    assert await store.stream("user_data", into) == received
    assert [b"".join(pieces) == body for pieces in arrived] == [True, False, True]
    assert body.startswith(b"".join(arrived[1]))
    assert await store.stream("chat_data", into) is None
    assert len(arrived) == 3
    await store.close()


async def test_one_request_each(s3_server: S3Server, bucket: str, fault_proxy: FaultProxy) -> None:
    """A read is one GET, a write one PUT: nothing is looked up first, nothing probed."""
    store = open_store(s3_server, bucket, endpoint_url=fault_proxy.endpoint_url)
    await store.get("head")
    await store.put("head", b"one", if_match=None)
    assert [line.split()[:2] for line in fault_proxy.requests] == [
        ["GET", f"/{bucket}/bot/head"],
        ["PUT", f"/{bucket}/bot/head"],
    ]
    await store.close()


@pytest.mark.parametrize("page", [1, 2, 3, 7])
async def test_history_over_several_pages(s3_store: S3Store, page: int) -> None:
    """S3 gives a thousand versions at a time; here a few, with neighbours on the same page."""
    written = [await s3_store.put("head", b"0", if_match=None)]
    for number in range(1, 7):
        written.append(await s3_store.put("head", b"%d" % number, if_match=written[-1].etag))
    for neighbour in ("hea", "head2"):
        await s3_store.put(neighbour, b"another object", if_match=None)
    client = await s3_store._client()
    client.meta.events.register(
        "provide-client-params.s3.ListObjectVersions",
        lambda params, **_: {**params, "MaxKeys": page},
    )
    assert await _history(s3_store) == [each.version_id for each in reversed(written)]


async def test_many_calls_open_one_client(s3_store: S3Store) -> None:
    """The first calls of a cold start come all at once, and share a client."""
    assert await asyncio.gather(*(s3_store.get(name) for name in "abcdef")) == [None] * 6


async def test_a_cancelled_first_call_harms_no_other(s3_store: S3Store) -> None:
    """Whoever was to open the client may be cancelled; the next one opens it."""
    first = asyncio.create_task(s3_store.get("head"))
    second = asyncio.create_task(s3_store.get("head"))
    await asyncio.sleep(0)
    first.cancel()
    assert await second is None


# The sockets of a loop that ended without close() are left to the garbage collector.
@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("closed", [True, False], ids=["closed", "left open"])
async def test_a_loop_for_each_call(s3_server: S3Server, bucket: str, *, closed: bool) -> None:
    """Serverless hosts call `asyncio.run` for each invocation; a store outlives its loops."""
    store = open_store(s3_server, bucket)

    async def invocation(number: int) -> None:
        fetched = await store.get("head")
        await store.put("head", b"%d" % number, if_match=fetched and fetched.etag)
        if closed:
            await store.close()

    def three_invocations() -> None:
        for number in range(3):
            asyncio.run(invocation(number))

    await asyncio.to_thread(three_invocations)
    fetched = await store.get("head")
    assert fetched is not None
    assert fetched.body == b"2"
    await store.close()
    gc.collect()  # now, while that is no error


async def test_an_unchanged_object_is_one_request(
    s3_server: S3Server, bucket: str, fault_proxy: FaultProxy
) -> None:
    """Asked by a signed address; a changed object comes with the same request."""
    store = open_store(s3_server, bucket, endpoint_url=fault_proxy.endpoint_url)
    one = await store.put("head", b"one", if_match=None)
    before = len(fault_proxy.requests)
    with pytest.raises(NotModified):
        await store.get("head", if_none_match=one.etag)
    two = await store.put("head", b"two", if_match=one.etag)
    assert (await store.get("head", if_none_match=one.etag) or ())[:3] == (b"two", *two)
    lines = fault_proxy.requests[before:]
    assert [line.split()[0] for line in lines] == ["GET", "PUT", "GET"]
    assert "X-Amz-Signature" in lines[0]
    await store.close()


async def test_a_short_way_that_fails_is_made_up_for(
    s3_server: S3Server, bucket: str, fault_proxy: FaultProxy
) -> None:
    """An address that has expired, a reply that is lost or breaks off: the usual way is left."""
    store = open_store(s3_server, bucket, endpoint_url=fault_proxy.endpoint_url)
    one = await store.put("head", os.urandom(100_000), if_match=None)
    address, until = f"{fault_proxy.endpoint_url}/{bucket}/bot/head?X-Amz-Expires=1", math.inf
    store._conditional_get._addresses["bot/head"] = (address, until)
    assert (await store.get("head", if_none_match='"other"')) == (await store.get("head"))
    assert store._conditional_get._addresses == {}
    fault_proxy.lose(Lost.REPLY)
    with pytest.raises(NotModified):
        await store.get("head", if_none_match=one.etag)
    fault_proxy.cut_reply_after(50_000)
    whole = await store.get("head", if_none_match='"other"')
    assert whole is not None
    assert len(whole.body) == 100_000
    await store.close()


async def test_a_denied_look_is_denied(s3_server: S3Server, bucket: str) -> None:
    """The short way takes no "no" for an answer: the usual way says what it means."""
    wrong = s3_server.session(aws_secret_access_key="wrong")  # noqa: S106 - that is the test
    store = open_store(s3_server, bucket, session=wrong)
    with pytest.raises(AccessDeniedError):
        await store.get("head", if_none_match='"any"')
    await store.close()
