"""HTTP transport of the S3 client, which closes five gaps of aiobotocore's and aiohttp's.

aiobotocore 2.25.1 verifies no certificate where ``AWS_CA_BUNDLE`` or ``REQUESTS_CA_BUNDLE`` is set
and empty, nor behind a proxy. A file of certificates that cannot be read is found with the first
request, once for each attempt, and looks like a lost connection there. A SOCKS proxy is taken for
an HTTP proxy on a host of the name ``socks5``.

aiohttp sends a PUT again by itself where the connection closes before the answer, also a fresh
one: an attempt of ours would be two at the server, of which the second is refused because the first
has taken effect. `If-None-Match: *` would be told 412 for its own success, and nobody could count.
And it reads a file to send in asyncio's default executor, which is the bot's: see `upload`.
"""

from __future__ import annotations

import ssl
from contextlib import aclosing
from copy import copy
from typing import Any, TypeAlias
from urllib.parse import urlsplit

from aiobotocore.config import AioConfig
from aiobotocore.httpsession import AIOHTTPSession
from aiohttp import ClientSession, Payload, TCPConnector
from aiohttp.abc import AbstractStreamWriter
from botocore.httpsession import get_cert_path

from ptb_s3._storage.upload import Upload

_Untyped: TypeAlias = Any  # what aiobotocore hands out: it ships no types

_PROXIES = frozenset({"http", "https"})


class CertificatesError(Exception):
    """Raised where the file of certificates that the settings name cannot be used."""


class ProxyKindError(Exception):
    """Raised where the settings name a proxy of another kind than HTTP, such as SOCKS."""


class Transport(AIOHTTPSession):  # type: ignore[misc] # aiobotocore ships no types
    """Verifying transport: each TLS connection is checked, by proxy or not, each request sent once.

    Args:
        verify: True, or the path of a file of certificates; empty is as if unset.
        proxies: URL of the proxy for each scheme.
        others: As aiobotocore's own.

    Raises:
        CertificatesError: There is no such file, or no certificate in it.
    """

    def __init__(
        self,
        verify: bool | str = True,  # noqa: FBT001, FBT002 - aiobotocore's signature
        proxies: dict[str, str] | None = None,
        **others: Any,  # noqa: ANN401 - handed on as it is
    ) -> None:
        given = verify.strip() if isinstance(verify, str) else verify
        super().__init__(verify=given or True, proxies=proxies, **others)
        self._given = dict(proxies or {})
        self._trusted: str = get_cert_path(self._verify)
        # For all connections by no proxy: to read the certificates takes as long as an import.
        self._direct = self._context(None)

    async def send(self, request: _Untyped) -> _Untyped:
        """Send a request.

        Raises:
            ProxyKindError: It would have to go by a proxy that is none for HTTP.
        """
        proxy = self._given.get(urlsplit(request.url).scheme, "")
        if "://" in proxy and urlsplit(proxy).scheme.lower() not in _PROXIES:
            raise ProxyKindError
        if isinstance(request.body, Upload):
            request = copy(request)  # botocore seeks in the body of its own
            request.body = _Outgoing(request.body)
        return await super().send(request)

    async def _get_session(self, proxy_url: str | None) -> ClientSession:
        session: ClientSession = await super()._get_session(proxy_url)
        # There is no public way. aiohttp's own test client does the same; if the name changes,
        # aiohttp repeats as before, which a commit and `doctor` settle by reading the object.
        session._retry_connection = False  # noqa: SLF001
        return session

    def _create_connector(self, proxy_url: str | None) -> TCPConnector:
        return TCPConnector(
            limit=self._max_pool_connections,
            ssl=self._context(proxy_url) if proxy_url else self._direct,
            **self._connector_args,
        )

    def _context(self, proxy_url: str | None) -> ssl.SSLContext:
        """Return the TLS context that decides whom to trust, of a proxy as of the storage."""
        own = self._setup_proxy_ssl_context(proxy_url) if proxy_url else None
        context: ssl.SSLContext = own or self._get_ssl_context()
        context.check_hostname = True
        try:
            context.load_verify_locations(self._trusted)
            if self._cert_file:
                context.load_cert_chain(self._cert_file, self._key_file)
        except OSError as exc:  # ssl.SSLError among them
            raise CertificatesError from exc
        return context


class _Outgoing(Payload):
    """Payload of aiohttp's for an upload, which is read anew for each request and redirect."""

    _autoclose = True  # there is nothing to close: whoever made the body does
    _value: Upload

    def decode(self, *_: str) -> str:
        """Refuse to put all of it into memory."""
        raise TypeError

    async def write(self, writer: AbstractStreamWriter) -> None:
        """Send all of it."""
        async with aclosing(self._value.pieces()) as pieces:
            async for piece in pieces:
                await writer.write(piece)


class Config(AioConfig):  # type: ignore[misc] # aiobotocore ships no types
    """Configuration of clients that use `Transport`, whatever it is merged with.

    As a session's default it goes for the clients, too, that fetch credentials.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - aiobotocore's
        super().__init__(*args, **{"http_session_cls": Transport, **kwargs})

    def merge(self, other: _Untyped) -> Config:
        """Return the two in one, in which the other comes first."""
        options = {**self._user_provided_options, **other._user_provided_options}  # noqa: SLF001
        arguments = {**self.connector_args, **(getattr(other, "connector_args", None) or {})}
        return Config(arguments, **options)
