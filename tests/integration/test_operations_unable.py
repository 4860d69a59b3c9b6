"""What operators can do on storage that lacks a request which AWS has."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from tests.integration.operators import (
    ALICE,
    COMMITS,
    Operator,
    employed,
    live,
    state_after,
    without,
)
from tests.integration.test_operations_refused import lock, locking
from tests.meddlingproxy import Answered, Asked, Change, MeddlingProxy, error
from tests.servers import S3Server

from ptb_s3._container import HEAD
from ptb_s3.errors import AccessDeniedError, StorageUnavailableError


@pytest.fixture
async def operator(s3_server: S3Server) -> AsyncIterator[Operator]:
    """An operator whose bot has run for a while."""
    async with employed(s3_server) as operator:
        await live(operator.store())
        yield operator


@pytest.fixture
async def proxy(s3_server: S3Server) -> AsyncIterator[MeddlingProxy]:
    """A way to the server on which requests and answers can be changed."""
    async with MeddlingProxy(s3_server) as proxy:
        yield proxy


def by_way_of(proxy: MeddlingProxy, operator: Operator) -> Operator:
    return replace(operator, server=proxy.server)


# Without DeleteObjects ----------------------------------------------------------------------------


def deletes_many(asked: Asked) -> bool:
    return asked.method == "POST" and "delete" in asked.query


def deletes_one(asked: Asked) -> bool:
    return asked.method == "DELETE" and "versionId" in asked.query


def refusing(answer: Answered) -> Change:
    return lambda asked: answer if deletes_many(asked) else asked


REFUSALS = {
    "wants an MD5": error(400, "MissingContentMD5"),
    "has none": error(501, "NotImplemented"),
    "allows none": error(405, "MethodNotAllowed"),
    "says nothing": Answered(501, {}),
    "finds no such page": Answered(404, {"Content-Type": "text/html"}, b"<html/>"),
}


@pytest.mark.parametrize("refusal", REFUSALS.values(), ids=REFUSALS)
async def test_versions_are_deleted_one_by_one(
    operator: Operator, proxy: MeddlingProxy, refusal: Answered
) -> None:
    """Where the storage does not take DeleteObjects, prune and forget --purge do as elsewhere."""
    proxy.change = refusing(refusal)
    way = by_way_of(proxy, operator)
    pruned = (await way.done("prune", "--keep-last", 3, "--yes", "--json")).json
    assert len(await operator.versions(HEAD)) == 3
    assert sum(map(deletes_many, proxy.asked)) == 1  # the refusal is remembered
    assert sum(map(deletes_one, proxy.asked)) == pruned["delete"]["versions"]
    purged = await way.done("forget", ALICE, "--purge", "--yes")
    assert "None of the" in purged.stdout
    assert await operator.state() == without(ALICE, state_after(COMMITS))
    assert not await operator.holding(f"{ALICE}")


async def test_a_locked_version_is_named_one_by_one(
    s3_server: S3Server, proxy: MeddlingProxy
) -> None:
    """What the storage would not delete is returned; all others are deleted."""
    proxy.change = refusing(REFUSALS["wants an MD5"])
    async with locking(s3_server) as operator:
        heads = await operator.versions(HEAD)
        await lock(operator, HEAD, heads[2])
        store = by_way_of(proxy, operator).store()
        assert await store.delete(HEAD, [*heads[1:5], "no-such-version"]) == [heads[2]]
        await store.close()
        assert await operator.versions(HEAD) == [heads[0], heads[2], *heads[5:]]


@pytest.mark.parametrize(
    ("answer", "raised"),
    [
        (error(403, "AccessDenied"), AccessDeniedError),
        (error(403, "InvalidAccessKeyId"), AccessDeniedError),
        (error(503, "SlowDown"), StorageUnavailableError),
    ],
)
@pytest.mark.usefixtures("impatient")
async def test_other_refusals_are_no_reason_to_ask_in_another_way(
    operator: Operator, proxy: MeddlingProxy, answer: Answered, raised: type[Exception]
) -> None:
    """Who may not delete many versions may not delete one, and a busy storage is not asked more."""
    proxy.change = refusing(answer)
    store = by_way_of(proxy, operator).store()
    with pytest.raises(raised):
        await store.delete(HEAD, await operator.versions(HEAD))
    await store.close()
    assert not any(map(deletes_one, proxy.asked))


@pytest.mark.usefixtures("impatient")
async def test_weather_is_no_refusal_of_a_version(operator: Operator, proxy: MeddlingProxy) -> None:
    """A version whose deletion got no answer is not taken for one that nobody may delete."""

    def change(asked: Asked) -> Asked | Answered:
        if deletes_many(asked):
            return REFUSALS["has none"]
        return error(503, "SlowDown") if deletes_one(asked) else asked

    proxy.change = change
    store = by_way_of(proxy, operator).store()
    with pytest.raises(StorageUnavailableError):
        await store.delete(HEAD, await operator.versions(HEAD))
    await store.close()
