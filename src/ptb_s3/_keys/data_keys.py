"""Data keys that were unwrapped, and those that are being unwrapped: one request for each.

They stay in memory, and are no part of a repr, a pickle or a copy.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, NamedTuple

from ptb_s3._format.key_source import SEAL_KEY_BYTES, KeptInMemory, SealedHeader
from ptb_s3.errors import DamagedObjectError

MAX_CIPHERTEXT = 6144
"""Bytes that Decrypt takes at most (AWS KMS API Reference); a data key makes some 200."""
MAX_KEPT = 4096
"""Data keys kept in memory (our choice): a history has one for each run of a bot."""


class Wrapped(NamedTuple):
    """Name of a data key: which key has wrapped it, and the wrapped key itself.

    Attributes:
        key: Id in headers of the key that has wrapped it.
        text: The wrapped key, in base64.
    """

    key: str
    text: str


class DataKeys(KeptInMemory):
    """Cache of data keys, each of which is unwrapped at most once.

    Also what is found to be no data key is remembered: whoever writes to the bucket cannot have it
    asked for with each read. Failures to ask are not.

    Args:
        unwrap: Asks the service: the data key, or None where the wrapped key is not that key's.
    """

    def __init__(self, unwrap: Callable[[str, bytes], Awaitable[bytes | None]]) -> None:
        self._unwrap = unwrap
        self._own: dict[Wrapped, bytes] = {}
        self._known: dict[Wrapped, bytes | None] = {}
        self._flights = Flights()

    def add_own(self, wrapped: Wrapped, secret: bytes) -> None:
        """Add the data key of this process, which is never forgotten."""
        self._own[wrapped] = secret

    async def fetch(self, header: SealedHeader) -> None:
        """Have the data key of an object unwrapped, unless it is known.

        Args:
            header: Part of the object's header, not authenticated.

        Raises:
            PersistenceError: The service cannot be asked.
        """
        wrapped, text = Wrapped(header.key, header.wrapped_key or ""), _decoded(header.wrapped_key)
        if text is None or wrapped in self._own:
            return
        if wrapped in self._known:
            self._known[wrapped] = self._known.pop(wrapped)  # the newest, to be kept longest
            return
        await self._flights.join(wrapped, lambda: self._ask(wrapped, text))

    def get(self, header: SealedHeader) -> bytes:
        """Return the data key of an object, which was fetched.

        Raises:
            DamagedObjectError: The header has no data key of the key that it names.
            RuntimeError: It was not fetched.
        """
        wrapped = Wrapped(header.key, header.wrapped_key or "")
        if _decoded(header.wrapped_key) is None:
            reason = "its wrapped key is missing, too long or not base64, and no key service's"
            raise DamagedObjectError(header.object, reason)
        if wrapped in self._own:
            return self._own[wrapped]
        if wrapped not in self._known:
            raise RuntimeError("The data key is not unwrapped: await prepare_opening() before.")
        secret = self._known[wrapped]
        if secret is None:
            reason = f"its wrapped key is none that key {header.key} has wrapped"
            raise DamagedObjectError(header.object, reason)
        return secret

    def cancel(self) -> None:
        """Give up the requests under way: nobody waits for them."""
        self._flights.cancel()

    async def _ask(self, wrapped: Wrapped, text: bytes) -> None:
        secret = await self._unwrap(wrapped.key, text)
        good = type(secret) is bytes and len(secret) == SEAL_KEY_BYTES
        self._known[wrapped] = secret if good else None
        while len(self._known) > MAX_KEPT:
            del self._known[next(iter(self._known))]


class Flights:
    """Requests under way, by what they are for: callers that want the same share one.

    A caller that is cancelled stops waiting, and the request goes on. One of another event loop,
    which may be closed, is shared with nobody.
    """

    def __init__(self) -> None:
        self._tasks: dict[object, asyncio.Task[None]] = {}

    async def join(self, what: object, begin: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Wait for the request that is under way for this, or for one that begins now.

        Raises:
            BaseException: What the request raised.
        """
        task = self._tasks.get(what)
        if task is None or task.done() or task.get_loop() is not asyncio.get_running_loop():
            task = self._tasks[what] = asyncio.create_task(begin())
            task.add_done_callback(lambda done: self._forget(what, done))
        await asyncio.wait([task])  # unlike `await task`, it is not cancelled with us
        task.result()

    def cancel(self) -> None:
        """Cancel the requests of the running loop."""
        here = asyncio.get_running_loop()
        for task in list(self._tasks.values()):
            if task.get_loop() is here:
                task.cancel()

    def _forget(self, what: object, task: asyncio.Task[None]) -> None:
        if self._tasks.get(what) is task:
            del self._tasks[what]
        if not task.cancelled():
            task.exception()  # retrieved, or asyncio logs it where all callers were cancelled


def _decoded(text: str | None) -> bytes | None:
    """Return the bytes of a wrapped key, or None for what is never sent to a key service."""
    if not text or len(text) > MAX_CIPHERTEXT * 4 / 3:
        return None
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
