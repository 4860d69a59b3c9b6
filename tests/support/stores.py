"""Stores around other stores: doubles override what they do otherwise."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Sequence

from ptb_s3._storage.around import StoreAround
from ptb_s3._storage.contract import (
    Lock,
    Version,
)
from ptb_s3._storage.memory import MemoryStore


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
