"""Stores around other stores: doubles override what they do otherwise."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from typing import Any

from ptb_s3._storage.contract import (
    Fetched,
    Lock,
    Received,
    Remains,
    Sink,
    Store,
    Version,
    Written,
    hand_over,
)
from ptb_s3._storage.memory import MemoryStore


class StoreAround:
    """A store that does as another one does: what a double of a store begins as."""

    def __init__(self, store: Store) -> None:
        self.store = store

    @property
    def ahead(self) -> timedelta:
        return self.store.ahead

    async def get(self, name: str, **options: Any) -> Fetched | None:
        return await self.store.get(name, **options)

    async def stream(self, name: str, into: Sink, **options: Any) -> Received | None:
        """Read as `get` does, which most doubles override."""
        return hand_over(await self.get(name, **options), into)

    async def put(self, name: str, body: bytes, *, if_match: str | None) -> Written:
        return await self.store.put(name, body, if_match=if_match)

    async def overwrite(self, name: str, body: bytes) -> Written:
        return await self.store.overwrite(name, body)

    def versions(self, name: str) -> AsyncIterator[Version]:
        return self.store.versions(name)

    async def remains(self, name: str) -> Remains | None:
        return await self.store.remains(name)

    async def neighbours(self, name: str) -> list[str]:
        return await self.store.neighbours(name)

    async def place(self) -> str:
        return await self.store.place()

    async def close(self) -> None:
        await self.store.close()


class AnyOrder(StoreAround):
    """Lists versions in an order of its own, as S3's documentation lets nobody expect.

    Args:
        store: The store.
        order: ``oldest first`` (gofakes3 1.2.0), ``null last`` (SeaweedFS 4.48), or a seed to
            shuffle by.
    """

    def __init__(self, store: MemoryStore, order: str) -> None:
        super().__init__(store)
        self.memory = store
        self._order = order

    async def versions(self, name: str) -> AsyncIterator[Version]:
        listed = [version async for version in self.store.versions(name)]
        if self._order == "oldest first":
            listed.reverse()
        elif self._order == "null last":
            listed.sort(key=lambda version: version.version_id == "null")
        else:
            random.Random(f"{self._order}{name}").shuffle(listed)  # noqa: S311 - to be repeatable
        for version in listed:
            yield version

    async def delete(self, name: str, version_ids: Sequence[str]) -> list[str]:
        return await self.memory.delete(name, version_ids)

    async def lock(self, name: str, version_id: str) -> Lock | None:
        return await self.memory.lock(name, version_id)
