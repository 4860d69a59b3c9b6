"""The HTTP session of S3 clients: it sends a request once, and leaves it to botocore to ask again.

aiohttp sends a PUT again by itself where the connection closes before the answer, also a fresh one.
An attempt of ours would be two at the server, of which the second is refused because the first has
taken effect: `If-None-Match: *` would be told 412 for its own success, and nobody could count.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiobotocore.httpsession import AIOHTTPSession

if TYPE_CHECKING:
    from aiohttp import ClientSession


class Once(AIOHTTPSession):  # type: ignore[misc]  # it ships no types
    """HTTP session of aiobotocore whose aiohttp sessions send each request once."""

    async def _get_session(self, proxy_url: str | None) -> ClientSession:
        session: ClientSession = await super()._get_session(proxy_url)
        # There is no public way. aiohttp's own test client does the same; if the name changes,
        # aiohttp repeats as before, which a commit and `doctor` settle by reading the object.
        session._retry_connection = False  # noqa: SLF001
        return session
