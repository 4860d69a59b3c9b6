"""What a storage refuses in the middle of a command: locked versions, and no room."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.integration.operators import (
    ALICE,
    CANARIES,
    COMMITS,
    PREFIX,
    ROTATE,
    ROTATED,
    Operator,
    employed,
    live,
    state_after,
    without,
)
from tests.servers import S3Server
from tests.support import BOT_ID
from tests.support.meddlingproxy import Answered, Asked, MeddlingProxy, error

from ptb_s3._format.container import HEAD
from ptb_s3._format.entities import Kind

USER = Kind.USER_DATA
UNTIL = datetime.now(UTC).replace(microsecond=0) + timedelta(days=9)
STAMP = f"until {UNTIL:%Y-%m-%d %H:%M:%S} UTC"


@asynccontextmanager
async def locking(server: S3Server) -> AsyncIterator[Operator]:
    """Give an operator of a bucket with object lock, in which a bot has lived."""
    async with employed(server, locking=True) as operator:
        await live(operator.store())
        yield operator
        for key, version_id, _ in await operator.listing():
            await operator.client.put_object_legal_hold(
                Bucket=operator.bucket, Key=key, VersionId=version_id, LegalHold={"Status": "OFF"}
            )
            await operator.client.delete_object(
                Bucket=operator.bucket,
                Key=key,
                VersionId=version_id,
                BypassGovernanceRetention=True,
            )


async def lock(operator: Operator, name: str, version_id: str) -> None:
    await operator.client.put_object_retention(
        Bucket=operator.bucket,
        Key=PREFIX + name,
        VersionId=version_id,
        Retention={"Mode": "GOVERNANCE", "RetainUntilDate": UNTIL},
    )


async def hold(operator: Operator, name: str, version_id: str) -> None:
    await operator.client.put_object_legal_hold(
        Bucket=operator.bucket,
        Key=PREFIX + name,
        VersionId=version_id,
        LegalHold={"Status": "ON"},
    )


async def test_what_is_locked_stays_with_what_it_needs(s3_server: S3Server) -> None:
    """prune leaves it, says until when, and it can be restored."""
    async with locking(s3_server) as operator:
        heads = await operator.versions(HEAD)
        await lock(operator, HEAD, heads[3])  # revision 5, on the blobs of 3
        oldest = (await operator.versions(USER))[-1]
        await hold(operator, USER, oldest)
        planned = await operator.done("prune", "--keep-last", 2, "--dry-run")
        assert f"1 of head {STAMP}" in planned.stderr
        before = await operator.listing()
        pruned = (await operator.done("prune", "--keep-last", 2, "--yes", "--json")).json
        assert pruned["locked"] == [
            {"object": "head", "version_id": heads[3], "until": UNTIL.isoformat()},
            {"object": "user_data", "version_id": oldest, "until": None},
        ]
        gone = len(before) - len(await operator.listing())
        assert pruned["delete"]["versions"] == gone > 0
        assert await operator.revisions() == [8, 7, 5]
        assert await operator.versions(HEAD) == [heads[0], heads[1], heads[3]]
        await operator.done("restore", 5)
        assert await operator.state() == state_after(5)


async def test_a_held_blob_stays_alone(s3_server: S3Server) -> None:
    """A blob under a legal hold that no kept commit needs is named, and does not stop the rest."""
    async with locking(s3_server) as operator:
        oldest = (await operator.versions(USER))[-1]
        await hold(operator, USER, oldest)
        said = await operator.done("prune", "--keep-last", 1, "--yes")
        assert "1 of user_data by a legal hold" in said.stderr
        assert await operator.versions(HEAD) == (await operator.versions(HEAD))[:1]
        assert oldest in await operator.versions(USER)
        assert await operator.state() == state_after(COMMITS)


async def test_a_purge_says_what_it_could_not_delete(s3_server: S3Server) -> None:
    """forget --purge deletes what it can, vouches for nothing, and can be run again afterwards."""
    async with locking(s3_server) as operator:
        locked = (await operator.versions(HEAD))[2]
        await lock(operator, HEAD, locked)
        outcome = await operator.run("forget", ALICE, "--purge", "--yes")
        assert outcome.exit_code == 1
        assert f"1 of head {STAMP}" in outcome.stderr
        assert "Run the same command again" in outcome.stderr
        assert not [canary for canary in CANARIES if canary in outcome.stderr]
        assert "None of the" not in outcome.stdout
        assert locked in await operator.versions(HEAD)
        assert len(await operator.versions(HEAD)) == 2  # that one, and what is current
        assert await operator.state() == without(ALICE, state_after(COMMITS))
        await operator.client.delete_object(
            Bucket=operator.bucket,
            Key=PREFIX + HEAD,
            VersionId=locked,
            BypassGovernanceRetention=True,
        )
        assert "None of the" in (await operator.done("forget", ALICE, "--purge", "--yes")).stdout


async def test_a_lock_that_nobody_told_of(s3_server: S3Server) -> None:
    """Where the storage does not tell beforehand, the refusal is named, and what was deleted."""

    def silent(asked: Asked) -> Asked | Answered:
        return error(501, "NotImplemented") if "object-lock" in asked.query else asked

    async with locking(s3_server) as operator, MeddlingProxy(s3_server) as proxy:
        proxy.change = silent
        heads = await operator.versions(HEAD)
        await lock(operator, HEAD, heads[3])
        blobs = [await operator.versions(kind) for kind in Kind]
        outcome = await replace(operator, server=proxy.server).run(
            "prune", "--keep-last", 2, "--yes"
        )
        assert outcome.exit_code == 7
        assert "Versions of object 'head' that the storage would not delete: 1." in outcome.stderr
        assert f"1 of head {STAMP}" in outcome.stderr
        assert "Deleted 5 versions of" in outcome.stderr
        assert await operator.versions(HEAD) == [heads[0], heads[1], heads[3]]
        assert [await operator.versions(kind) for kind in Kind] == blobs  # it may need them
        await operator.done("restore", 5)


class _Filling:
    """A storage that takes so many writes, and is full then."""

    def __init__(self, room: int) -> None:
        self.room = room

    def __call__(self, asked: Asked) -> Asked | Answered:
        if asked.method == "PUT":
            self.room -= 1
            if self.room < 0:
                return error(403, "QuotaExceeded")
        return asked


@pytest.mark.parametrize(
    ("command", "settings", "room", "says"),
    [
        (("forget", ALICE, "--yes"), {}, 2, "what is done stays done"),
        (ROTATE, ROTATED, 2, "run ptb-s3 rotate again"),
        (("compact", "--all"), {}, 1, "run ptb-s3 compact again"),
        (("repair", "--yes"), {}, 1, "run ptb-s3 repair again"),
        (("restore", 3), {}, 0, "ptb-s3 history says"),
    ],
    ids=["forget", "rotate", "compact", "repair", "restore"],
)
async def test_no_room_half_way(
    operator: Operator,
    command: tuple[object, ...],
    settings: dict[str, str],
    room: int,
    says: str,
) -> None:
    """A command that the storage stops says so, what is done, and goes on when there is room."""
    if command[0] == "repair":
        await operator.delete(USER)
        await operator.delete(HEAD)
    async with MeddlingProxy(operator.server) as proxy:
        proxy.change = _Filling(room)
        way = replace(operator, server=proxy.server)
        outcome = await way.run(*command, **settings)
        assert outcome.exit_code == 7, outcome
        told = outcome.stderr.splitlines()[-1]
        assert "QuotaExceeded" in told
        assert "ptb-s3 prune" in told
        assert says in told
        proxy.change = lambda asked: asked
        await way.done(*command, **settings)
    if command[0] == "repair":
        assert await operator.state() == state_after(COMMITS)


async def test_no_room_for_a_copy(operator: Operator) -> None:
    """What is there of a copy is no state, and that is said."""
    async with MeddlingProxy(operator.server) as proxy:
        proxy.change = _Filling(2)
        way = replace(operator, server=proxy.server)
        outcome = await way.run("copy", f"s3://{operator.bucket}/copy/")
    assert outcome.exit_code == 7
    assert "The old place is as it was" in outcome.stderr
    assert await operator.state() == state_after(COMMITS)


async def test_no_room_for_an_import(operator: Operator, tmp_path: Path) -> None:
    """An import that is committed and whose blobs find no room is told as that."""
    file = tmp_path / "state.pickle"
    await operator.done("export", file)
    async with MeddlingProxy(operator.server) as proxy:
        proxy.change = _Filling(3)
        way = replace(operator, server=proxy.server)
        outcome = await way.run("import", file, "--bot", BOT_ID, PTB_S3_PREFIX="import/")
    assert outcome.exit_code == 7, outcome
    assert "ptb-s3 status says" in outcome.stderr
    assert await operator.state(prefix="import/") == state_after(COMMITS)
