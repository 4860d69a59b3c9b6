"""Credentials that expire, renewed in the background while they are still good.

botocore renews them within a request, from fifteen minutes before their end, and with every request
anew where that fails: three to nine seconds each while the service that hands them out is down. In
the last ten minutes it fails the request, although they are good still.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

from ptb_s3._storage.answers import NotSentError

_Untyped: TypeAlias = Any  # what botocore hands out: it ships no types

_EARLY = 15 * 60
"""Seconds before their end at which credentials are renewed: botocore's own choice."""
_PAUSE = 60.0
"""Seconds between two attempts to renew credentials that are good still."""


class Lasting:
    """Proxy of botocore's credentials that returns valid ones without waiting for newer ones.

    Args:
        credentials: botocore's credentials; None: there are none yet.
        load: Looks for credentials again, where there are none.
    """

    def __init__(self, credentials: _Untyped, load: Callable[[], Awaitable[_Untyped]]) -> None:
        self._inner = credentials
        self._load = load
        self._frozen: _Untyped = getattr(credentials, "_frozen_credentials", None)
        self._renewal: asyncio.Task[None] | None = None
        self._again = 0.0

    def __getattr__(self, name: str) -> _Untyped:
        return getattr(self._inner, name)

    async def get_frozen_credentials(self) -> _Untyped:
        """Return access key, secret key and token, without the line ends that secret stores add.

        Raises:
            NotSentError: None are valid, and none can be had.
        """
        if self._inner is None or not hasattr(self._inner, "refresh_needed"):
            await self._renew()
        elif self._frozen is None or self._inner.refresh_needed(0):
            await self._begun()
        elif self._inner.refresh_needed(_EARLY):
            if asyncio.get_running_loop().time() >= self._again:
                self._begun()
        else:
            await self._renew()
        return _stripped(self._frozen)

    def stop(self) -> None:
        """Cancel a renewal that is under way."""
        if self._renewal is not None:
            self._renewal.cancel()

    def _begun(self) -> Awaitable[None]:
        """Begin a renewal, unless one is under way, and return an awaitable for its end."""
        if self._renewal is None or self._renewal.done():
            self._renewal = asyncio.create_task(self._renew())
            self._renewal.add_done_callback(self._put_off)
        return asyncio.shield(self._renewal)

    def _put_off(self, renewal: asyncio.Task[None]) -> None:
        self._again = renewal.get_loop().time() + _PAUSE
        if not renewal.cancelled():
            renewal.exception()  # looked at, so that asyncio does not report it

    async def _renew(self) -> None:
        try:
            if self._inner is None:
                self._inner = await self._load()
            if self._inner is not None:
                self._frozen = await self._inner.get_frozen_credentials()
        except Exception as exc:
            raise NotSentError(exc) from exc


def _stripped(frozen: _Untyped) -> _Untyped:
    if frozen is None:
        return None
    fields = frozen._asdict().items()
    return frozen._replace(**{k: v.strip() for k, v in fields if isinstance(v, str)})
