"""Accidents, as an operator meets them at three in the morning: what was lost comes back.

Each on a real server, with a bot's life before, the program's words, and what a bot loads after.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.integration.operators import (
    ALICE,
    COMMITS,
    PREFIX,
    ROTATE,
    ROTATED,
    Operator,
    go_on,
    state_after,
)
from tests.support import BOT_ID, OTHER_KEY, make_persistence, settled, state_of, update
from tests.support.buckets import open_store
from tests.support.meddlingproxy import MeddlingProxy, error

from ptb_s3._format.container import HEAD
from ptb_s3._format.entities import PTB_KINDS, Kind
from ptb_s3.errors import (
    ConflictError,
    DeletedStateError,
    ForeignStoreError,
    NoConditionalPutError,
    PersistenceError,
    StorageUnavailableError,
)

ALL = (HEAD, *PTB_KINDS)  # the bot has no job queue


async def delete_all(operator: Operator) -> None:
    """Do as `aws s3 rm --recursive`."""
    for name in ALL:
        await operator.delete(name)


async def test_all_deleted(operator: Operator) -> None:
    """The bot says so and does not start; one command brings everything back."""
    newest = (await operator.versions(HEAD))[0]
    await delete_all(operator)
    with pytest.raises(DeletedStateError, match=rf"begin-anew {newest}"):
        await operator.state()
    said = await operator.fails(3, "show")
    assert "ptb-s3 repair" in said
    assert f"{COMMITS}" in said
    status = await operator.run("status")
    assert status.exit_code == 3
    assert f"revision {COMMITS}" in status.stderr
    assert f"| {COMMITS}," in status.stdout or f"{COMMITS}, " in status.stdout
    planned = await operator.run("repair", "--dry-run")
    assert planned.exit_code == 3
    assert "Nothing is lost." in planned.stderr
    done = await operator.done("repair")
    assert f"Brought back revision {COMMITS}, as revision {COMMITS + 1}." in done.stdout
    assert await operator.state() == state_after(COMMITS)
    again = await operator.done("repair")
    assert "nothing to repair" in again.stdout


async def test_a_new_state_on_purpose(operator: Operator) -> None:
    """By the command, and on a host without a shell; each for the deletion it was meant for."""
    await delete_all(operator)
    newest = (await operator.versions(HEAD))[0]
    await operator.fails(3, "begin-anew", "no-such-version")
    await operator.done("begin-anew", newest)
    assert await operator.state() == state_after(0)
    await operator.fails(6, "begin-anew", newest)
    await delete_all(operator)
    with pytest.raises(DeletedStateError) as caught:
        async with operator.bot(begin_anew=newest):
            pass
    async with operator.bot(begin_anew=caught.value.version_id) as bot:
        await update(bot, {"user_data": {ALICE: {"new": 1}}})
    assert (await operator.state())["user_data"] == {ALICE: {"new": 1}}


BROKEN = [(name, how) for name in ALL for how in ("deleted", "emptied", "garbled", "flipped")]


@pytest.mark.parametrize(("name", "how"), BROKEN)
async def test_one_object(operator: Operator, name: str, how: str) -> None:
    """Whatever became of it, the bot says which and starts again after the one command."""
    if how == "deleted":
        await operator.delete(name)
    elif how == "flipped":
        await operator.damage(name)
    else:
        await operator.put(name, b"" if how == "emptied" else b"<html>No.</html>" * 200)
    with pytest.raises(PersistenceError, match=name):
        await operator.state()
    past = await operator.done("show", "--at", "3")
    assert past.json["revision"] == 3
    assert len(await operator.revisions()) >= COMMITS - 1
    await operator.done("repair", "--yes")
    assert await operator.state() == state_after(COMMITS)
    assert (await operator.done("verify")).stdout.startswith("All is well")


@pytest.mark.parametrize("name", ALL)
async def test_an_older_one_put_back(operator: Operator, name: str) -> None:
    """A blob is read from its version; of a head, the newest commit is brought back."""
    await operator.put(name, await operator.read(name, (await operator.versions(name))[-1]))
    await operator.done("repair")
    async with operator.bot() as bot:
        await update(bot, {"bot_data": {"orders": "later"}})
    assert await operator.state() == {**state_after(COMMITS), "bot_data": {"orders": "later"}}


async def test_one_kind_beyond_help(operator: Operator) -> None:
    """The others come back, and what is lost is named before anything is done."""
    await operator.expire(Kind.USER_DATA, *await operator.versions(Kind.USER_DATA))
    refused = await operator.run("repair")
    assert refused.exit_code == 2
    assert "user_data: all of it is lost" in refused.stderr
    await operator.done("repair", "--yes")
    found = await operator.state()
    assert found == {**state_after(COMMITS), "user_data": {}}


async def test_versioning_suspended_in_between(operator: Operator) -> None:
    """Commits of that time overwrite one another: the last one is the version `null`."""
    status = {"Status": "Suspended"}
    await operator.client.put_bucket_versioning(
        Bucket=operator.bucket, VersioningConfiguration=status
    )
    await operator.put(HEAD, await operator.read(HEAD))
    async with operator.bot() as bot:
        await go_on(bot, COMMITS)
        await update(bot, {"bot_data": {"orders": "suspended"}})
    await operator.client.put_bucket_versioning(
        Bucket=operator.bucket, VersioningConfiguration={"Status": "Enabled"}
    )
    await operator.put(HEAD, b"garbage")
    await operator.done("repair", "--yes")
    assert (await operator.state())["bot_data"] == {"orders": "suspended"}


async def test_versioning_suspended_under_a_running_bot(operator: Operator) -> None:
    """SeaweedFS refuses right conditions then: the bot says so, and goes on when it is enabled."""

    async def version(status: str) -> None:
        await operator.client.put_bucket_versioning(
            Bucket=operator.bucket, VersioningConfiguration={"Status": status}
        )

    said = ""
    async with operator.bot() as bot:
        await version("Suspended")
        for number in range(3):
            try:
                await update(bot, {"bot_data": {"orders": number}})
            except* NoConditionalPutError as errors:
                said = str(errors.exceptions[0])
        await version("Enabled")
        await update(bot, {"user_data": {ALICE: {"visits": "enabled"}}})
    assert ("versioning was suspended" in said) == (operator.server.name == "SeaweedFS")
    found = await operator.state()
    assert found["bot_data"] == {"orders": 2}
    assert found["user_data"][ALICE] == {"visits": "enabled"}


async def test_a_new_key_lost(operator: Operator) -> None:
    """What the retired one opens comes back, and what does not is named."""
    await operator.done(*ROTATE, **ROTATED)
    said = await operator.run("repair", "--dry-run")
    assert said.exit_code == 4
    assert f"revision {COMMITS + 1}" in said.stderr
    assert OTHER_KEY.id in said.stderr
    assert (await operator.run("repair")).exit_code == 2
    await operator.done("repair", "--yes")
    assert await operator.state() == state_after(COMMITS)


async def test_a_prefix_copied_while_the_bot_wrote(operator: Operator) -> None:
    """Blobs of one moment and a head of another, without their versions: nothing is mixed."""
    for kind in PTB_KINDS:
        await operator.client.put_object(
            Bucket=operator.bucket, Key=f"copy/{kind}", Body=await operator.read(kind)
        )
    head = await operator.read(HEAD, (await operator.versions(HEAD))[-1])
    await operator.client.put_object(Bucket=operator.bucket, Key="copy/head", Body=head)
    run = await operator.run("repair", "--dry-run", PTB_S3_PREFIX="copy/")
    assert run.exit_code in (0, 5)
    assert await operator.state(prefix="copy/") == state_after(1)


async def test_two_bots_on_one_prefix(operator: Operator) -> None:
    """The second one does not start; nothing of it is written, or restored over the first."""
    for request in (None, "3"):
        persistence = make_persistence(operator.store(), bot=BOT_ID + 1, restore=request)
        with pytest.raises(ForeignStoreError, match="another bot"):
            await state_of(persistence)
    assert await operator.state() == state_after(COMMITS)


SHORT, LONG = 6.0, 300.0
"""Seconds for which the storage is out of reach, without and with ``--long``."""


@pytest.mark.parametrize("how", ["refused", "silent"])
async def test_an_outage_under_a_running_bot(
    operator: Operator, how: str, pytestconfig: pytest.Config
) -> None:
    """Each interval says that it was not saved; the first one afterwards saves all of it."""
    clock = asyncio.get_running_loop().time
    until = clock() + (LONG if pytestconfig.option.long else SHORT)
    async with MeddlingProxy(operator.server) as proxy:
        store = open_store(proxy.server, operator.bucket, attempts=1, read_timeout=0.5)
        bot = make_persistence(store)
        await state_of(bot, "order")
        if how == "refused":
            proxy.change = lambda _: error(503, "ServiceUnavailable")
        else:
            proxy.open.clear()
        minutes = 0
        while clock() < until:
            minutes += 1
            with pytest.raises(ExceptionGroup) as caught:
                await update(bot, {"user_data": {minutes: {"met": minutes}}})
            (failure,) = caught.value.exceptions  # one for all, and a log need not say it twice
            assert isinstance(failure, StorageUnavailableError)
            await asyncio.sleep(SHORT / 6)
        assert minutes > 1
        assert await operator.state() == state_after(COMMITS)
        proxy.change = lambda asked: asked
        proxy.open.set()
        await update(bot, {"bot_data": {"orders": "after"}})
        await settled(bot)
        await store.close()
    found = await operator.state()
    assert found["bot_data"] == {"orders": "after"}
    before = state_after(COMMITS)["user_data"]
    assert found["user_data"] == before | {n: {"met": n} for n in range(1, minutes + 1)}
    assert (await operator.revisions())[0] == COMMITS + 1  # all in one commit


async def test_an_outage_and_then_a_deletion_under_a_running_bot(operator: Operator) -> None:
    """It keeps what it has, says so, and goes on by itself once the state was brought back."""
    async with operator.bot() as bot:
        await delete_all(operator)
        with pytest.raises(ExceptionGroup) as caught:
            await update(bot, {"user_data": {ALICE: {"visits": "unsaved"}}})
        assert any(isinstance(error, ConflictError) for error in caught.value.exceptions)
        assert "unsaved changes are kept in memory" in str(caught.value.exceptions[0])
        await operator.done("repair")
        await update(bot, {"bot_data": {"orders": COMMITS}})
        await settled(bot)
    found = await operator.state()
    assert found["user_data"][ALICE] == {"visits": "unsaved"}


async def test_an_earlier_store_under_a_newer_one(operator: Operator) -> None:
    """It is named, looked at and brought back by its id; and `prune` leaves it alone."""
    old = (await operator.done("status", "--json")).json["store"]
    await delete_all(operator)
    await operator.done("begin-anew", (await operator.versions(HEAD))[0])
    async with operator.bot() as bot:
        await update(bot, {"bot_data": {"orders": "new"}})
    status = await operator.done("status")
    assert "earlier store" in status.stdout
    assert old in status.stdout
    (earlier,) = (await operator.done("status", "--json")).json["history"]["earlier_stores"]
    assert (earlier["store"], earlier["revision"]) == (old, COMMITS)
    listed = (await operator.done("history", "--store", old, "--json")).json
    assert [commit["revision"] for commit in listed] == [*range(COMMITS, 0, -1)]
    assert (await operator.done("show", "--store", old)).json["revision"] == COMMITS
    before = await operator.listing()
    pruned = await operator.done("prune", "--keep-last", 1, "--yes")
    assert "of a store that lay here before stay" in pruned.stderr
    assert len(await operator.listing()) >= len(before) - 2
    await operator.done("restore", 3, "--store", old)
    assert await operator.state() == state_after(3)
    await operator.done("restore", "--store", old)
    assert await operator.state() == state_after(COMMITS)
    await operator.done("prune", "--keep-last", 1, "--all-stores", "--yes")
    assert (await operator.done("status", "--json")).json["history"]["earlier_stores"] == []


async def test_a_health_check(operator: Operator) -> None:
    """`status --max-age`: 0 while the bot saves, 1 when it does not, 5 where there is damage."""
    await operator.done("status", "--quick", "--max-age", "10m")
    await asyncio.sleep(1.1)
    old = await operator.run("status", "--quick", "--max-age", "1s")
    assert old.exit_code == 1
    assert "older than 1s" in old.stderr
    wrong = await operator.run("status", "--max-age", "soon")
    assert wrong.exit_code == 2
    await operator.damage(HEAD)
    assert (await operator.run("status", "--quick", "--max-age", "10m")).exit_code == 5


async def test_errors_for_programs(operator: Operator) -> None:
    """With `--json`, what went wrong stands on stdout as JSON as well."""
    await operator.damage(HEAD)
    outcome = await operator.run("export", "state.json", "--json")
    error = outcome.json["error"]
    assert outcome.exit_code == error["exit_code"] == 5
    assert error["kind"] == "DamagedObjectError"
    assert error["message"].startswith("Object 'head' is damaged")
    assert "ptb-s3 repair" in error["remedy"]


async def test_a_mistyped_prefix(operator: Operator, caplog: pytest.LogCaptureFixture) -> None:
    """It begins a new state, and says so, and what there is beside it."""
    with caplog.at_level("WARNING", "ptb_s3"):
        await operator.state()
        assert "Beginning a new state" not in caplog.text
        store = operator.store("bto/")
        persistence = make_persistence(store, prefix="bto/")
        await state_of(persistence)
        await store.close()
    assert "Beginning a new state at s3://bucket/bto/: there is none" in caplog.text
    assert f"there is one at s3://bucket/{PREFIX}." in caplog.text


async def test_the_file_of_variables_after_the_command(
    operator: Operator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`--env-file` may stand anywhere."""
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "other.env"
    file.write_text("PTB_S3_SYNC=none\nPTB_S3_NO_SUCH=1\n")
    for arguments in (("status", "--env-file", file), ("--env-file", file, "status")):
        assert "PTB_S3_NO_SUCH" in await operator.fails(2, *arguments)
    assert "PTB_S3_NO_SUCH" in await operator.fails(2, "status", f"--env-file={file}")


async def test_a_nightly_check_is_green_again(operator: Operator) -> None:
    """What was bad before a repair stays in the history, and is known then."""
    await operator.damage(HEAD)
    await asyncio.sleep(1.1)  # a storage tells seconds
    await operator.done("repair")
    assert (await operator.run("verify", "--history")).exit_code == 5
    after = (datetime.now(UTC) - timedelta(seconds=1)).isoformat()
    checked = await operator.done("verify", "--history", "--since", after)
    assert "1 older version cannot be read or brought back, as is known" in checked.stderr
    await operator.damage(HEAD)
    assert (await operator.run("verify", "--history", "--since", after)).exit_code == 5
    assert "give --history" in await operator.fails(2, "verify", "--since", after)


@pytest.mark.parametrize("revision", [COMMITS, 3])
async def test_a_restore_after_all_was_deleted(operator: Operator, revision: int) -> None:
    """Also to the newest commit, which differs in nothing from what the versions give."""
    await delete_all(operator)
    done = await operator.done("restore", revision)
    assert f"Restored as revision {COMMITS + 1}." in done.stdout
    assert await operator.state() == state_after(revision)
