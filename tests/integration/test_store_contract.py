"""Both stores keep the contract: the one in memory, in whatever order it lists, and S3."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
from tests.servers import S3Client
from tests.store_contract import StoreContract
from tests.support.stores import AnyOrder

from ptb_s3._storage.contract import Store
from ptb_s3._storage.memory import MemoryStore
from ptb_s3._storage.s3 import S3Store


class TestMemoryStore(StoreContract):
    """The store in memory, which tests and the simulation run on."""

    @pytest.fixture
    def store(self) -> Store:
        return MemoryStore()

    @pytest.fixture
    def unversioned(self) -> Store:
        return MemoryStore(versioned=False)

    @pytest.fixture
    def delete(self, store: MemoryStore) -> Callable[[str], Awaitable[None]]:
        async def delete(name: str) -> None:
            store.lose(name)

        return delete


class TestAnyOrder(StoreContract):
    """The same with its versions listed as other servers list them."""

    @pytest.fixture(params=["oldest first", "shuffled"])
    def store(self, request: pytest.FixtureRequest) -> Store:
        return AnyOrder(MemoryStore(), request.param)

    @pytest.fixture
    def unversioned(self) -> Store:
        return AnyOrder(MemoryStore(versioned=False), "shuffled")

    @pytest.fixture
    def delete(self, store: AnyOrder) -> Callable[[str], Awaitable[None]]:
        async def delete(name: str) -> None:
            store.memory.lose(name)

        return delete


class TestS3Store(StoreContract):
    """The store on a real S3 server."""

    @pytest.fixture
    def store(self, s3_store: S3Store) -> Store:
        return s3_store

    @pytest.fixture
    def unversioned(self, unversioned_store: S3Store) -> Store:
        return unversioned_store

    @pytest.fixture
    def delete(self, s3_client: S3Client, bucket: str) -> Callable[[str], Awaitable[None]]:
        async def delete(name: str) -> None:
            await s3_client.delete_object(Bucket=bucket, Key=f"bot/{name}")

        return delete
