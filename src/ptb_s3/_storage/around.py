"""Decorator of a store, to be derived from: whoever does overrides what it does otherwise."""

from __future__ import annotations

from collections.abc import AsyncIterator
from copy import copy
from datetime import timedelta
from typing import Self

from ptb_s3._storage.body import Body
from ptb_s3._storage.contract import (
    Fetched,
    Received,
    Remains,
    Sink,
    Store,
    Version,
    Written,
    hand_over,
)


class StoreAround:
    """Decorator of a store, with nothing of its own.

    Args:
        store: The store.

    Attributes:
        store: As above.
    """

    def __init__(self, store: Store) -> None:
        self.store = store

    @property
    def ahead(self) -> timedelta:
        """See `Store.ahead`."""
        return self.store.ahead

    async def get(
        self,
        name: str,
        *,
        version_id: str | None = None,
        first_bytes: int | None = None,
        if_none_match: str | None = None,
    ) -> Fetched | None:
        """See `Store.get`."""
        return await self.store.get(
            name, version_id=version_id, first_bytes=first_bytes, if_none_match=if_none_match
        )

    async def stream(
        self, name: str, into: Sink, *, if_none_match: str | None = None
    ) -> Received | None:
        """See `Store.stream`. It reads as `get` does, which most decorators override."""
        return hand_over(await self.get(name, if_none_match=if_none_match), into)

    async def get_range(
        self, name: str, start: int, length: int, *, etag: str, version_id: str | None = None
    ) -> bytes | None:
        """See `Store.get_range`."""
        return await self.store.get_range(name, start, length, etag=etag, version_id=version_id)

    async def put(self, name: str, body: bytes | Body, *, if_match: str | None) -> Written:
        """See `Store.put`."""
        return await self.store.put(name, body, if_match=if_match)

    async def overwrite(self, name: str, body: bytes | Body) -> Written:
        """See `Store.overwrite`."""
        return await self.store.overwrite(name, body)

    def versions(self, name: str) -> AsyncIterator[Version]:
        """See `Store.versions`."""
        return self.store.versions(name)

    async def remains(self, name: str) -> Remains | None:
        """See `Store.remains`."""
        return await self.store.remains(name)

    async def neighbours(self, name: str) -> list[str]:
        """See `Store.neighbours`."""
        return await self.store.neighbours(name)

    def twin(self) -> Self:
        """See `Store.twin`."""
        twin = copy(self)
        twin.store = self.store.twin()
        return twin

    async def place(self) -> str:
        """See `Store.place`."""
        return await self.store.place()

    async def close(self) -> None:
        """See `Store.close`."""
        await self.store.close()
