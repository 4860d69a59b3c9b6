"""Operations on storage that lists in an order of its own, hides what it has, or had copies made.

SeaweedFS lists the version ``null`` last even where it is the latest, and heeds no version where
there is no versioning.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.integration.operators import (
    ALICE,
    COMMITS,
    PREFIX,
    Operator,
    employed,
    go_on,
    live,
    state_after,
)
from tests.servers import S3Server
from tests.support.meddlingproxy import Answered, Asked, MeddlingProxy, error
from tests.support.persistence import make_persistence, state_of

from ptb_s3.errors import RestorePointError


@pytest.fixture
async def unversioned(s3_server: S3Server) -> AsyncIterator[Operator]:
    """The same on a bucket that keeps no versions."""
    async with employed(s3_server, versioned=False) as operator:
        await live(operator.store())
        yield operator


async def test_what_is_current_is_not_pruned_where_it_is_listed_last(operator: Operator) -> None:
    """Versioning suspended, each object copied onto itself, more commits: the last state stays."""
    bucket, client = operator.bucket, operator.client
    await client.put_bucket_versioning(
        Bucket=bucket, VersioningConfiguration={"Status": "Suspended"}
    )
    for key in {key for key, _, _ in await operator.listing()}:
        await client.copy_object(
            Bucket=bucket,
            Key=key,
            CopySource={"Bucket": bucket, "Key": key},
            MetadataDirective="REPLACE",
        )
    async with operator.bot() as bot:
        for revision in (COMMITS + 1, COMMITS + 2):
            await go_on(bot, revision)
    expected = state_after(COMMITS + 2)
    assert await operator.state() == expected
    listed = await operator.versions("head")
    assert listed.index("null") in {0, len(listed) - 1}  # first, as S3 has it, or last: SeaweedFS
    assert len(listed) > COMMITS
    planned = (await operator.done("prune", "--keep-last", 1, "--json", "--dry-run")).json
    assert [commit["revision"] for commit in planned["keep"]["commits"]] == [COMMITS + 2]
    await operator.done("prune", "--keep-last", 1, "--yes")
    assert await operator.state() == expected
    assert (await operator.done("status", "--json")).json["revision"] == COMMITS + 2
    assert await operator.revisions() == [COMMITS + 2]
    await operator.done("verify", "--history")
    await operator.done("forget", ALICE, "--purge", "--yes")
    assert ALICE not in (await operator.state())["user_data"]


async def test_nonsense_is_no_restore_point_without_versions(unversioned: Operator) -> None:
    """Neither at a bot's start nor by command does any id give what is current."""
    assert "no such version of head" in await unversioned.fails(3, "restore", "nonsense")
    store = unversioned.store()
    persistence = make_persistence(store, restore="nonsense")
    with pytest.raises(RestorePointError, match="no such version of head"):
        await state_of(persistence, "order")
    await store.close()
    assert await unversioned.state() == state_after(COMMITS)


async def test_a_purge_does_not_vouch_for_what_is_not_listed(
    s3_server: S3Server, operator: Operator
) -> None:
    """Where the storage lists under another name, each command that needs the list says so."""

    def amend(asked: Asked, answered: Answered) -> Answered:
        if "versions" not in asked.query:
            return answered
        body = answered.body.replace(f"<Key>{PREFIX}".encode(), b"<Key>elsewhere/")
        return Answered(answered.status, _without_length(answered), body)

    async with MeddlingProxy(s3_server) as proxy:
        proxy.amend = amend
        through = {"PTB_S3_ENDPOINT_URL": proxy.server.endpoint_url}
        for command in (
            ("forget", ALICE, "--purge", "--yes"),
            ("prune", "--keep-last", 1, "--yes"),
            ("history",),
            ("status",),
            ("verify", "--history"),
            ("restore", 3),
        ):
            assert "does not list what it has" in await operator.fails(7, *command, **through)


async def test_a_purge_does_not_vouch_for_what_it_cannot_read(
    s3_server: S3Server, operator: Operator
) -> None:
    """A version that is listed and not given may hold anybody: nothing is deleted, exit code 7."""
    hidden = (await operator.versions("head"))[3]

    def change(asked: Asked) -> Asked | Answered:
        if asked.method == "GET" and asked.query.get("versionId") == [hidden]:
            return error(404, "NoSuchVersion")
        return asked

    async with MeddlingProxy(s3_server) as proxy:
        proxy.change = change
        through = {"PTB_S3_ENDPOINT_URL": proxy.server.endpoint_url}
        said = await operator.fails(7, "forget", ALICE, "--purge", "--yes", **through)
        assert "lists 1 of the versions of head" in said
        said = await operator.fails(7, "prune", "--keep-last", 1, "--yes", **through)
        assert "lists 1 of the versions of head" in said
        report: Any = (await operator.run("verify", "--history", "--json", **through)).json
        assert [finding["version_id"] for finding in report["findings"]] == [hidden]


async def test_an_older_state_that_was_put_back_is_told(operator: Operator) -> None:
    """Status and verify say of a current object that the storage took it long after it was made."""
    for command in ("status", "verify"):
        outcome = await operator.done(command)
        assert "was put back" not in outcome.stderr
        assert (await operator.done(command, "--json")).json["put_back"] == []
    long_ago = datetime.now(UTC) - timedelta(minutes=20)
    async with employed(operator.server) as other:
        await live(other.store(), 2, when=lambda _: long_ago)
        for arguments in (["status"], ["verify"], ["verify", "--history"]):
            outcome = await other.done(*arguments)
            assert "an older version was put back, or the bucket was copied" in outcome.stderr
            told = (await other.done(*arguments, "--json")).json["put_back"]
            assert "head" in [found["object"] for found in told]
            assert {found["created"] for found in told} == {long_ago.isoformat()}


def _without_length(answered: Answered) -> dict[str, str]:
    return {k: v for k, v in answered.headers.items() if k.lower() != "content-length"}
