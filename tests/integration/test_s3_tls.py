"""Whom an S3 client trusts: servers with a certificate of nobody's, by proxy, by another name."""

from __future__ import annotations

import asyncio
import ipaddress
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from tests.servers import S3Server
from tests.support.buckets import open_store

from ptb_s3._storage.s3 import S3Store
from ptb_s3.errors import SettingsError, StorageUnavailableError
from ptb_s3.settings import load_settings

_ABSENT = b"<Error><Code>NoSuchKey</Code></Error>"
_REPLY = b"HTTP/1.1 404 Not Found\r\nContent-Length: %d\r\n\r\n%b" % (len(_ABSENT), _ABSENT)


class Authority:
    """A certificate authority that nobody has heard of, in files of a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "nobody")])
        self.file = folder / "authority.pem"
        authority = x509.BasicConstraints(ca=True, path_length=None)
        self.file.write_bytes(_pem(self._signed(self._name, self._key, authority)))

    def _signed(
        self, name: x509.Name, key: ec.EllipticCurvePrivateKey, extension: x509.ExtensionType
    ) -> x509.Certificate:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(extension, critical=True)
            .sign(self._key, hashes.SHA256())
        )

    def context(self, *names: x509.GeneralName) -> ssl.SSLContext:
        """Return what a server of these names needs."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "server")])
        certificate = self._signed(subject, key, x509.SubjectAlternativeName(names))
        file = self._folder / "server.pem"
        kind, none = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        secret = key.private_bytes(serialization.Encoding.PEM, kind, none)
        file.write_bytes(_pem(certificate) + secret)
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(file)
        return context


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


class Secured(NamedTuple):
    """A server with a certificate; and a proxy in front of it, plain HTTP."""

    port: int
    proxy: int
    authority: Authority
    requests: list[bytes]

    @property
    def endpoint_url(self) -> str:
        return f"https://localhost:{self.port}"

    def store(self) -> S3Store:
        return open_store(S3Server("tls", self.endpoint_url, "key", "secret"), "bucket")


async def _answer(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, requests: list[bytes]
) -> None:
    with suppress(OSError, asyncio.IncompleteReadError):
        requests.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(_REPLY)
        await writer.drain()
    writer.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(2**16):
            writer.write(data)
    writer.close()


async def _forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    line = (await reader.readuntil(b"\r\n\r\n")).split()
    assert line[0] == b"CONNECT"
    there, out = await asyncio.open_connection("127.0.0.1", int(line[1].rpartition(b":")[2]))
    writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
    await asyncio.gather(_pump(reader, out), _pump(there, writer))


@asynccontextmanager
async def secured(folder: Path, *names: x509.GeneralName) -> AsyncIterator[Secured]:
    authority, requests = Authority(folder), list[bytes]()
    context = authority.context(*names)
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(
            await asyncio.start_server(
                lambda r, w: _answer(r, w, requests), "127.0.0.1", 0, ssl=context
            )
        )
        proxy = await stack.enter_async_context(
            await asyncio.start_server(_forward, "127.0.0.1", 0)
        )
        yield Secured(_port(server), _port(proxy), authority, requests)


def _port(server: asyncio.Server) -> int:
    return int(server.sockets[0].getsockname()[1])


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Secured]:
    """A server at localhost and 127.0.0.1 whose certificate is of an authority of its own."""
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    async with secured(tmp_path, x509.DNSName("localhost"), address) as it:
        yield it


_UNSET: list[dict[str, str]] = [
    {},
    {"AWS_CA_BUNDLE": ""},
    {"AWS_CA_BUNDLE": " \n"},
    {"REQUESTS_CA_BUNDLE": ""},
    {"AWS_CA_BUNDLE": "", "REQUESTS_CA_BUNDLE": ""},
    {"AWS_CONFIG_FILE": "[default]\nca_bundle =\n"},
]
"""Settings that name no file of certificates; of a configuration file, what is in it."""


@pytest.mark.parametrize("settings", _UNSET, ids=str)
@pytest.mark.parametrize("proxied", [False, True], ids=["direct", "by proxy"])
async def test_a_certificate_of_nobody_is_refused(
    server: Secured,
    settings: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    *,
    proxied: bool,
) -> None:
    """Empty is as if unset, and a proxy does not vouch for whom it leads to: nothing is sent."""
    _apply(settings, monkeypatch, tmp_path)
    if proxied:
        monkeypatch.delenv("NO_PROXY")
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{server.proxy}")
    store = server.store()
    with pytest.raises(StorageUnavailableError, match="no TLS connection to"):
        await store.get("head")
    assert server.requests == []
    await store.close()


def _apply(settings: dict[str, str], monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    for name, value in settings.items():
        if name == "AWS_CONFIG_FILE":
            (folder / "config").write_text(value)
            monkeypatch.setenv(name, str(folder / "config"))
        else:
            monkeypatch.setenv(name, value)


@pytest.mark.parametrize("variable", ["AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE"])
@pytest.mark.parametrize("proxied", [False, True], ids=["direct", "by proxy"])
async def test_an_authority_of_one_s_own_is_trusted(
    server: Secured, variable: str, monkeypatch: pytest.MonkeyPatch, *, proxied: bool
) -> None:
    """Where it is named, by proxy as well."""
    monkeypatch.setenv(variable, str(server.authority.file))
    if proxied:
        monkeypatch.delenv("NO_PROXY")
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{server.proxy}")
    store = server.store()
    assert await store.get("head") is None
    assert len(server.requests) == 1
    await store.close()


@pytest.mark.parametrize("own", [True, False], ids=["own session", "no session"])
async def test_an_empty_variable_does_not_hide_another(
    server: Secured, monkeypatch: pytest.MonkeyPatch, *, own: bool
) -> None:
    """As if unset: the next place is looked into."""
    for name, value in S3Server("", "", "key", "secret").environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_CA_BUNDLE", "")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(server.authority.file))
    if not own:
        monkeypatch.setenv("AWS_PROFILE", "")
    store = server.store() if own else S3Store("bucket", endpoint_url=server.endpoint_url)
    assert await store.get("head") is None
    await store.close()


async def test_settings_take_empty_variables_out_of_the_environment(
    server: Secured, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """So that the configuration file counts, to which they would be preferred."""
    for name, value in {
        "PTB_S3_BUCKET": "bucket",
        "PTB_S3_KEY": "ptbs3k1_ZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXp7fH1-f4CBgoOeXryU",
        "AWS_CA_BUNDLE": "",
    }.items():
        monkeypatch.setenv(name, value)
    config = {"AWS_CONFIG_FILE": f"[default]\nca_bundle = {server.authority.file}\n"}
    _apply(config, monkeypatch, tmp_path)
    load_settings(None)
    store = server.store()
    assert await store.get("head") is None
    await store.close()


async def test_a_certificate_for_another_name_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of an authority that is trusted, but somebody else's."""
    async with secured(tmp_path, x509.DNSName("elsewhere.example")) as server:
        monkeypatch.setenv("AWS_CA_BUNDLE", str(server.authority.file))
        store = server.store()
        with pytest.raises(StorageUnavailableError, match="certificate is for that name"):
            await store.get("head")
        assert server.requests == []
        await store.close()


@pytest.mark.parametrize("variable", ["AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE"])
@pytest.mark.parametrize("content", [None, "folder", "", "no certificate\n"], ids=repr)
async def test_a_bundle_that_is_none_is_told_at_once(
    server: Secured,
    variable: str,
    content: str | None,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """It is a matter of settings: no request, no second attempt, no provider to look at."""
    bundle = tmp_path / "bundle.pem"
    if content == "folder":
        bundle.mkdir()
    elif content is not None:
        bundle.write_text(content)
    monkeypatch.setenv(variable, str(bundle))
    store = server.store()
    with pytest.raises(SettingsError, match=variable) as caught:
        await store.get("head")
    assert "status page" not in str(caught.value)
    assert server.requests == []
    await store.close()


@pytest.mark.parametrize("proxy", ["socks5://127.0.0.1:1", "socks5h://u:p4ss@127.0.0.1:1"])
async def test_a_socks_proxy_is_named_at_once(
    server: Secured, proxy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And what helps is said; where the storage is exempt from it, it is no fault."""
    monkeypatch.delenv("NO_PROXY")
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    monkeypatch.setenv("AWS_CA_BUNDLE", str(server.authority.file))
    store = server.store()
    began = time.monotonic()
    with pytest.raises(SettingsError, match=r"SOCKS.*NO_PROXY") as caught:
        await store.get("head")
    assert time.monotonic() - began < 3
    assert "p4ss" not in str(caught.value)
    await store.close()
    monkeypatch.setenv("NO_PROXY", "localhost")
    store = server.store()
    assert await store.get("head") is None
    await store.close()
