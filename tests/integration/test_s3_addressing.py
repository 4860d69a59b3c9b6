"""Storages that take the bucket's name in front of their host alone, or in the path alone."""

from __future__ import annotations

import asyncio
import hashlib
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from aiohttp import web
from tests.servers import S3Server

from ptb_s3._storage.addressing import Style
from ptb_s3._storage.contract import NotModified
from ptb_s3._storage.s3 import S3Store
from ptb_s3._storage.spool import Spool
from ptb_s3.errors import AccessDeniedError, BucketNotFoundError, PersistenceError, SettingsError

_DEFINITE = (
    "SecondLevelDomainForbidden",
    "PathStyleDomainForbidden",
    "VirtualHostDomainRequired",
    "InvalidPathAccess",
)


class Storage:
    """Double of a provider at ``s3.test``: a few objects of one bucket, by virtual host alone.

    Args:
        status: What it answers to a bucket in the path.
        code: With that.
        lists: Whether the credentials may list.
        domain: In place of ``s3.test``.
    """

    def __init__(
        self,
        status: int = 403,
        code: str = _DEFINITE[0],
        *,
        lists: bool = True,
        domain: str = "s3.test",
    ) -> None:
        self.domain = domain
        self._refusal = _error(status, code)
        self._lists = lists
        self.objects: dict[str, bytes] = {}
        self.requests: list[tuple[str, str, str]] = []
        self.endpoint_url = ""

    async def _handle(self, request: web.Request) -> web.Response:
        host = request.host.partition(":")[0]
        self.requests.append((request.method, host, request.path))
        if host != f"bucket.{self.domain}":
            return web.Response(**self._refusal)
        if request.path == "/":
            listing = "<ListBucketResult><Name>bucket</Name></ListBucketResult>"
            return web.Response(text=listing) if self._lists else _answered(403, "AccessDenied")
        if request.method == "PUT":
            self.objects[request.path] = await request.read()
        body = self.objects.get(request.path)
        if body is None:
            return _answered(404, "NoSuchKey")
        etag = f'"{hashlib.md5(body, usedforsecurity=False).hexdigest()}"'
        if request.headers.get("If-None-Match") == etag:
            return web.Response(status=304, headers={"ETag": etag})
        given = b"" if request.method == "PUT" else body
        return web.Response(body=given, headers={"ETag": etag})

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        app = web.Application()
        app.router.add_route("*", "/{key:.*}", self._handle)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        self.endpoint_url = f"http://{self.domain}:{port}"
        try:
            yield
        finally:
            await runner.cleanup()


def _error(status: int, code: str) -> dict[str, Any]:
    text = f"<Error><Code>{code}</Code><Message>No.</Message></Error>"
    return {"status": status, "text": text, "content_type": "application/xml"}


def _answered(status: int, code: str) -> web.Response:
    return web.Response(**_error(status, code))


@pytest.fixture(autouse=True)
def _named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have ``s3.test`` and all in front of it lead here; and credentials in the environment."""
    real = socket.getaddrinfo

    def lookup(host: Any, *args: Any, **kwargs: Any) -> Any:
        return real("127.0.0.1" if str(host).endswith(".test") else host, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    for name, value in S3Server("", "", "key", "secret").environment.items():
        monkeypatch.setenv(name, value)


@asynccontextmanager
async def opened(storage: Storage, style: Style = "auto") -> AsyncIterator[S3Store]:
    async with storage.running():
        store = S3Store("bucket", "bot/", endpoint_url=storage.endpoint_url, addressing_style=style)
        try:
            yield store
        finally:
            await store.close()


async def _use(store: S3Store) -> None:
    """Do what a bot does, with several requests at a time."""
    assert await asyncio.gather(*(store.get(name) for name in "abcdef")) == [None] * 6
    written = await store.put("head", b"one", if_match=None)
    with pytest.raises(NotModified):
        await store.get("head", if_none_match=written.etag)


@pytest.mark.parametrize("code", _DEFINITE)
async def test_auto_turns_where_it_is_told_to(code: str) -> None:
    """Nothing has to be set; each request that was refused is sent again, and none after that."""
    storage = Storage(code=code)
    async with opened(storage) as store:
        await _use(store)
        assert storage.objects == {"/bot/head": b"one"}
        before = len(storage.requests)
        await store.get("head")
        assert {host for _, host, _ in storage.requests[6:]} == {"bucket.s3.test"}
        assert len(storage.requests) == before + 1


@pytest.mark.parametrize("spooled", [False, True], ids=["bytes", "body"])
async def test_the_first_request_may_be_a_write(*, spooled: bool) -> None:
    """Its body is sent again from the beginning."""
    storage = Storage()
    async with opened(storage) as store:
        with Spool() as spool:
            spool.write(b"one" * 99_999)
            body = spool.body(b"one") if spooled else b"one" * 100_000
            await store.put("head", body, if_match=None)
    assert storage.objects == {"/bot/head": b"one" * 100_000}


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (403, "AccessDenied"),
        (404, "NoSuchBucket"),
        (404, "NotFound"),
        (400, "InvalidRequest"),
        (405, "MethodNotAllowed"),
    ],
)
async def test_auto_finds_out_where_it_is_not_told(status: int, code: str) -> None:
    """A refusal that may mean anything is looked into: does the bucket's own host list it?"""
    storage = Storage(status, code)
    async with opened(storage) as store:
        await _use(store)
    assert storage.objects == {"/bot/head": b"one"}


async def test_only_the_bucket_s_name_proves_a_virtual_host() -> None:
    """Where the bucket may not be listed, the refusal stands: nothing is written on a guess."""
    storage = Storage(404, "NoSuchBucket", lists=False)
    async with opened(storage) as store:
        with pytest.raises(BucketNotFoundError):
            await store.get("head")
        with pytest.raises(PersistenceError):
            await store.put("head", b"one", if_match=None)
    assert storage.objects == {}
    assert [path for _, host, path in storage.requests if host == "bucket.s3.test"] == ["/"]


async def test_a_style_that_was_asked_for_is_kept() -> None:
    """`virtual` asks for no path, `path` turns nowhere and says what to set."""
    storage = Storage()
    async with opened(storage, "virtual") as store:
        await _use(store)
    assert {host for _, host, _ in storage.requests} == {"bucket.s3.test"}
    storage = Storage()
    async with opened(storage, "path") as store:
        with pytest.raises(SettingsError, match="PTB_S3_ADDRESSING_STYLE"):
            await store.get("head")
    assert {host for _, host, _ in storage.requests} == {"s3.test"}


@pytest.mark.parametrize("configured", ["virtual", "path", "auto"])
@pytest.mark.parametrize("by_variable", [True, False], ids=["AWS_ENDPOINT_URL_S3", "argument"])
async def test_auto_heeds_the_aws_configuration(
    configured: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *, by_variable: bool
) -> None:
    """`addressing_style` of its section `s3`, wherever the endpoint comes from."""
    file = tmp_path / "config"
    file.write_text(f"[default]\ns3 =\n    addressing_style = {configured}\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(file))
    storage = Storage()
    async with storage.running():
        if by_variable:
            monkeypatch.setenv("AWS_ENDPOINT_URL_S3", storage.endpoint_url)
        store = S3Store("bucket", endpoint_url=None if by_variable else storage.endpoint_url)
        if configured == "path":
            with pytest.raises(SettingsError):
                await store.get("head")
        else:
            assert await store.get("head") is None
        await store.close()
    first, last = storage.requests[0][1], storage.requests[-1][1]
    assert (first, last) == {
        "virtual": ("bucket.s3.test", "bucket.s3.test"),
        "path": ("s3.test", "s3.test"),
        "auto": ("s3.test", "bucket.s3.test"),
    }[configured]


async def test_an_address_of_numbers_is_asked_by_path_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No name can stand in front of it, so nothing is tried, and no time is lost."""
    storage = Storage(404, "NoSuchBucket")
    async with storage.running():
        numbers = storage.endpoint_url.replace("s3.test", "127.0.0.1")
        monkeypatch.setattr("ptb_s3._storage.requester.Requester._is_virtual_host", None)
        store = S3Store("bucket", endpoint_url=numbers)
        with pytest.raises(BucketNotFoundError):
            await store.get("head")
        await store.close()
    assert len(storage.requests) == 1


async def test_a_storage_that_let_us_in_is_not_doubted_later() -> None:
    """A refusal after a success is no matter of the style."""
    storage = Storage()
    async with opened(storage, "auto") as store:
        store._requester._addressing.settled = False
        store._requester._addressing.turned = False
        await store.put("head", b"one", if_match=None)
        storage._lists = False
        before = len(storage.requests)
        answer = await store.ask("list_objects_v2")
        assert answer[0] == "AccessDenied"  # type: ignore[index]
        assert len(storage.requests) == before + 1


async def test_an_error_names_the_bucket_s_own_host() -> None:
    """Whom was asked is what is said."""
    storage = Storage(404, "NoSuchBucket", lists=False)
    async with opened(storage, "virtual") as store:
        with pytest.raises(AccessDeniedError, match=r"http://bucket\.s3\.test:\d+ answered"):
            await anext(store.versions("head"))


@pytest.mark.parametrize("style", ["auto", "path"])
async def test_the_bucket_s_own_host_is_refused_where_its_name_does_not_tell(style: Style) -> None:
    """Before anything is written into a folder of the bucket's name, each time that it is tried."""
    storage = Storage(domain="storage.corp.test")
    async with storage.running():
        own = storage.endpoint_url.replace("storage", "bucket.storage")
        store = S3Store("bucket", "bot/", endpoint_url=own, addressing_style=style)
        for call in (store.get("head"), store.put("head", b"1", if_match=None)):
            with pytest.raises(SettingsError, match=f"to {storage.endpoint_url}$"):
                await call
        await store.close()
    assert storage.objects == {}


async def test_a_host_may_be_called_as_the_bucket_is(s3_server: S3Server, bucket: str) -> None:
    """As that of a service in a cluster: the storage lists the bucket, which is asked once."""
    port = urlsplit(s3_server.endpoint_url).port
    url = f"http://{bucket}.cluster.test:{port}"
    store = S3Store(bucket, "bot/", endpoint_url=url, session=s3_server.session())
    written = await store.put("head", b"1", if_match=None)
    found = await store.get("head")
    assert found is not None
    assert found.etag == written.etag
    await store.close()


@pytest.mark.parametrize("style", ["", "host", "Path"])
def test_a_style_that_is_none_is_refused(style: Any) -> None:
    """At once."""
    with pytest.raises(SettingsError, match="addressing_style"):
        S3Store("bucket", addressing_style=style)
