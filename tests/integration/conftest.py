"""Fixtures: bots and operators on buckets of their own."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from tests.integration.operators import Operator, employed, live, looking_on
from tests.servers import S3Client, S3Server
from tests.support.bots import Bots
from tests.support.meddlingproxy import MeddlingProxy

from ptb_s3._storage import reads, retries, s3, target


@pytest.fixture
def bots(s3_server: S3Server, s3_client: S3Client, bucket: str) -> Bots:
    """Runs of bots on a new, versioned bucket."""
    return Bots(s3_server, s3_client, bucket)


@pytest.fixture
async def empty(s3_server: S3Server) -> AsyncIterator[Operator]:
    """An operator whose bot has not run yet."""
    async with employed(s3_server) as operator:
        yield operator


@pytest.fixture
async def operator(empty: Operator) -> Operator:
    """An operator whose bot has run for a while."""
    await live(empty.store())
    return empty


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_bucket(s3_server: S3Server) -> AsyncIterator[str]:
    """A bucket in which a bot has run for a while."""
    async with employed(s3_server) as operator:
        await live(operator.store())
        yield operator.bucket


@pytest.fixture
async def onlooker(s3_server: S3Server, shared_bucket: str) -> AsyncIterator[Operator]:
    """The same as `operator`, for tests that change nothing in the bucket; that is checked."""
    async with looking_on(s3_server, shared_bucket) as operator:
        yield operator


@pytest.fixture
async def proxy(s3_server: S3Server) -> AsyncIterator[MeddlingProxy]:
    """A way to the server on which requests and answers can be changed."""
    async with MeddlingProxy(s3_server) as proxy:
        yield proxy


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests are not tried again: whoever waits for a failure need not sit out the pauses."""
    for module in (reads, retries, s3, target):
        monkeypatch.setattr(module, "ATTEMPTS", 1)
