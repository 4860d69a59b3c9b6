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
from tests.servers import S3Server
from tests.support.meddlingproxy import Answered, Asked, Change, MeddlingProxy, error

from ptb_s3._format.container import HEAD
from ptb_s3.errors import AccessDeniedError, StorageUnavailableError


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
        assert await store.delete(HEAD, heads[3:4]) == []
        assert await store.delete(HEAD, heads[1:5]) == [heads[2]]  # one is gone already
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
async def test_denied_and_busy_are_no_reason_to_delete_one_by_one(
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


# Without a list of versions -----------------------------------------------------------------------


@pytest.fixture
async def unversioned(s3_server: S3Server) -> AsyncIterator[Operator]:
    """An operator of a bucket without versions, in which a bot has lived."""
    async with employed(s3_server, versioned=False) as operator:
        await live(operator.store())
        yield operator


def lists_versions(asked: Asked) -> bool:
    return asked.method == "GET" and "versions" in asked.query


def unlisted(*also: str) -> Change:
    """Have no versions listed; also: other things of the bucket that it does not answer."""

    def change(asked: Asked) -> Asked | Answered:
        if lists_versions(asked) or any(query in asked.query for query in also):
            return error(501, "NotImplemented")
        return asked

    return change


def history_rows(shown: str) -> list[str]:
    return [line for line in shown.splitlines() if line.startswith("history")]


async def test_status_without_a_history(unversioned: Operator, proxy: MeddlingProxy) -> None:
    """All that is current is shown, and no history line."""
    way = by_way_of(proxy, unversioned)
    for change in (unlisted(), unlisted("versioning")):
        proxy.change = change
        shown = await way.done("status")
        assert f"revision  {COMMITS}" in shown.stdout
        assert history_rows(shown.stdout) == []
        history = (await way.done("status", "--json")).json["history"]
        assert history == {"commits": 0, "oldest": None, "earlier_stores": []}


async def test_status_where_a_history_is_not_listed(
    operator: Operator, proxy: MeddlingProxy
) -> None:
    """A storage that keeps versions and lists none is no reason to show nothing."""
    assert len(history_rows((await operator.done("status")).stdout)) == 1
    proxy.change = unlisted()
    assert history_rows((await by_way_of(proxy, operator).done("status")).stdout) == []


@pytest.mark.parametrize("also", [(), ("versioning",)], ids=["told", "untold"])
@pytest.mark.parametrize("lists", [True, False])
async def test_a_purge_where_no_versions_are_kept(
    unversioned: Operator, proxy: MeddlingProxy, also: tuple[str, ...], *, lists: bool
) -> None:
    """It forgets, and says that the storage keeps none; nothing is said to be deleted."""
    unable = unlisted(*also)
    proxy.change = lambda asked: asked if lists and lists_versions(asked) else unable(asked)
    way = by_way_of(proxy, unversioned)
    planned = await way.done("forget", ALICE, "--purge", "--dry-run")
    assert "The storage keeps no versions" in planned.stderr
    assert "delete" not in planned.stdout
    said = await way.done("forget", ALICE, "--purge", "--yes")
    assert "The storage keeps no versions" in said.stderr
    assert said.stdout.endswith("Erased, and everything current sealed anew.\n")
    assert await unversioned.state() == without(ALICE, state_after(COMMITS))
    again = (await way.done("forget", ALICE, "--purge", "--yes", "--json")).json
    assert (again["left"]["versioned"], again["done"]) == (False, True)


async def test_a_purge_of_what_is_kept_and_not_listed(
    operator: Operator, proxy: MeddlingProxy
) -> None:
    """Nobody can vouch for versions that the storage keeps to itself: it is refused."""
    proxy.change = unlisted()
    said = await by_way_of(proxy, operator).fails(7, "forget", ALICE, "--purge", "--yes")
    assert "keeps versions and the storage does not list them" in said
    assert "without --purge" in said


async def test_a_purge_after_a_suspension(unversioned: Operator, proxy: MeddlingProxy) -> None:
    """A head without versions is no proof that blobs have none: those are searched."""
    suspended = b"<VersioningConfiguration><Status>Suspended</Status></VersioningConfiguration>"
    proxy.change = lambda asked: (
        Answered(200, {"Content-Type": "application/xml"}, suspended)
        if "versioning" in asked.query
        else asked
    )
    said = await by_way_of(proxy, unversioned).done("forget", ALICE, "--purge", "--yes")
    assert "keeps no versions" not in said.stdout + said.stderr
    assert "None of the 6 versions that remain holds it." in said.stdout


@pytest.mark.parametrize(
    ("command", "exit_code", "says"),
    [
        (("prune", "--keep-last", 1, "--yes"), 2, "keeps no versions"),
        (("restore", 3), 3, "the bucket keeps no versions, so there is no history"),
        (("show", "--at", 3), 3, "the bucket keeps no versions, so there is no history"),
    ],
)
async def test_what_takes_a_history_says_that_there_is_none(
    unversioned: Operator,
    proxy: MeddlingProxy,
    command: tuple[object, ...],
    exit_code: int,
    says: str,
) -> None:
    """As in a bucket without versioning, and never in the storage's words for it."""
    proxy.change = unlisted("versioning")
    assert says in await by_way_of(proxy, unversioned).fails(exit_code, *command)


async def test_what_needs_none_goes_on(unversioned: Operator, proxy: MeddlingProxy) -> None:
    """What is there is all there is: it is verified, and there is nothing to repair."""
    proxy.change = unlisted("versioning")
    way = by_way_of(proxy, unversioned)
    assert "6 versions" in (await way.done("verify", "--history")).stdout
    assert "nothing to repair" in (await way.done("repair")).stdout
    history = (await way.done("history", "--json")).json
    assert [commit["revision"] for commit in history] == [COMMITS]


async def test_damage_is_told_before_a_lack(unversioned: Operator, proxy: MeddlingProxy) -> None:
    """That there are no versions to go by hides nothing of what is wrong with the current state."""
    await unversioned.damage(HEAD)
    proxy.change = unlisted("versioning")
    way = by_way_of(proxy, unversioned)
    assert "'head' is damaged" in await way.fails(5, "status")
    assert "'head' is damaged" in await way.fails(3, "repair", "--yes")


# Versions that have no ids ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer",
    [error(400, "InvalidArgument"), error(501, "NotImplemented"), error(404, "NoSuchVersion")],
)
async def test_what_is_listed_as_null_is_read(
    unversioned: Operator, proxy: MeddlingProxy, answer: Answered
) -> None:
    """Where the storage refuses it by that id, it is read without one; another id is none."""
    proxy.change = lambda asked: (
        answer if asked.method == "GET" and asked.key and "versionId" in asked.query else asked
    )
    way = by_way_of(proxy, unversioned)
    store = way.store()
    current = await store.get(HEAD)
    assert current is not None
    assert await store.get(HEAD, version_id="null") == current
    assert await store.get(HEAD, version_id="null", first_bytes=9) == current._replace(
        body=current.body[:9]
    )
    assert await store.get(HEAD, version_id="x") is None
    assert await store.get("absent", version_id="null") is None
    await store.close()
    assert "6 versions" in (await way.done("verify", "--history")).stdout
    await way.done("forget", ALICE, "--purge", "--yes")


async def test_a_version_with_an_id_is_not_read_as_null(operator: Operator) -> None:
    """Where there is no version `null`, what is current is none, whatever else is read."""
    store = operator.store()
    assert await store.get(HEAD, version_id="null") is None
    await store.close()


async def test_a_read_that_is_not_implemented_is_no_lack_of_conditions(
    unversioned: Operator, proxy: MeddlingProxy
) -> None:
    """It says so, and recommends nothing that has to do with writes."""
    proxy.change = lambda asked: (
        error(501, "NotImplemented") if asked.method == "GET" and asked.key else asked
    )
    said = await by_way_of(proxy, unversioned).fails(7, "status")
    assert "does not know such a request" in said
    assert "single_writer" not in said
