"""Fixtures: an S3 server where a test asks for one, and none of the developer's own settings."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator, Iterator

import pytest
from tests import departures, servers
from tests.servers import S3Client, S3Server
from tests.support.buckets import client_of, keep_versions, new_bucket, open_store
from tests.support.faultproxy import FaultProxy

from ptb_s3._storage.s3 import S3Store
from ptb_s3.errors import PersistenceError

_STATED = pytest.StashKey[dict[str, str]]()
"""The credentials that the environment held at the start, for a server that runs elsewhere."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--s3",
        default=servers.DEFAULT,
        metavar="SERVER",
        help=f"S3 server of the integration tests: {', '.join(servers.CHOICES)}, or the URL of any "
        "other, with credentials in AWS_*",
    )
    parser.addoption(
        "--unversioned",
        action="store_true",
        help="the server keeps no versions: leave the versioning of buckets as it is",
    )
    parser.addoption(
        "--long",
        action="store_true",
        help="all of tests/unit, with all examples; and let the two bots of "
        "tests/integration/test_two_bots.py count for ten minutes, in place of half of one",
    )
    parser.addoption(
        "--seed",
        default="1",
        metavar="TEXT",
        help="what is drawn from it: when those bots are killed, and what befalls their requests",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_STATED] = {k: v for k, v in os.environ.items() if k.startswith("AWS_")}
    _forget_the_developers_settings()
    _let_children_be_interrupted()
    pytest.register_assert_rewrite("tests.store_contract")
    if config.getoption("--s3") != servers.DEFAULT:
        servers.describe(config.getoption("--s3"))  # not to be had: better said now


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Expect of a server what it is known to do otherwise than S3."""
    known = departures.of(config.getoption("--s3"))
    for item in items:
        name = "::".join(item.nodeid.split("::")[1:])
        if departure := known.get(name):
            item.add_marker(
                pytest.mark.xfail(reason=departure.reason, raises=departure.raises, strict=True)
            )


def pytest_report_header(config: pytest.Config) -> str:
    try:
        return f"S3 server: {servers.describe(config.getoption('--s3'))}"
    except PersistenceError as exc:
        return f"S3 server: {exc}"  # an error of the first test that asks for it


def _forget_the_developers_settings() -> None:
    for name in list(os.environ):
        if name.startswith(("AWS_", "PTB_S3_")) or name.lower().endswith("_proxy"):
            del os.environ[name]
    os.environ |= {
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
        "NO_PROXY": "*",
    }


def _let_children_be_interrupted() -> None:
    """A shell that starts a run in the background has it, and all that it starts, ignore SIGINT."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def s3_server(pytestconfig: pytest.Config) -> Iterator[S3Server]:
    """The S3 server, started when the first test asks for it."""
    with servers.running(pytestconfig.getoption("--s3"), pytestconfig.stash[_STATED]) as server:
        yield server


@pytest.fixture
async def s3_client(s3_server: S3Server) -> AsyncIterator[S3Client]:
    """A client of the server, for what `Store` cannot do: make buckets, delete, look behind it."""
    async with client_of(s3_server) as client:
        yield client


@pytest.fixture
async def bucket(s3_client: S3Client, pytestconfig: pytest.Config) -> AsyncIterator[str]:
    """Name of a new, versioned bucket."""
    async with new_bucket(s3_client) as name:
        if not pytestconfig.getoption("--unversioned"):
            await keep_versions(s3_client, name)
        yield name


@pytest.fixture
async def unversioned_bucket(s3_client: S3Client) -> AsyncIterator[str]:
    """Name of a new bucket without versioning."""
    async with new_bucket(s3_client) as name:
        yield name


@pytest.fixture
async def s3_store(s3_server: S3Server, bucket: str) -> AsyncIterator[S3Store]:
    """A store on the versioned bucket."""
    store = open_store(s3_server, bucket)
    yield store
    await store.close()


@pytest.fixture
async def unversioned_store(s3_server: S3Server, unversioned_bucket: str) -> AsyncIterator[S3Store]:
    """A store on the bucket without versioning."""
    store = open_store(s3_server, unversioned_bucket)
    yield store
    await store.close()


@pytest.fixture
async def fault_proxy(s3_server: S3Server) -> AsyncIterator[FaultProxy]:
    """A way to the server on which requests and replies can be lost."""
    async with FaultProxy(s3_server.endpoint_url) as proxy:
        yield proxy
