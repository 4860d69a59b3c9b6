"""History, restore and prune on real storage: what is listed can be gone back to."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
import pytest_asyncio
from tests.integration.operators import (
    ALICE,
    BOB,
    COMMITS,
    GROUP,
    IN_HEADER,
    ROTATE,
    ROTATED,
    Operator,
    employed,
    flipped,
    live,
    state_after,
    without,
)
from tests.servers import S3Server
from tests.support import KEY, OTHER_KEY

from ptb_s3._keys.keyring import Key

# Revision n is made n minutes after this, by the bot's clock. The storage's says now of all of
# them: as in a bucket that was copied, where the bot's is the one to go by.
BEGAN = datetime.now(UTC).replace(microsecond=250_000) - timedelta(hours=2)
ELSEWHERE = "Asia/Kolkata"


def made(revision: int) -> datetime:
    return BEGAN + timedelta(minutes=revision)


@pytest.fixture(autouse=True)
def _without_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "ptb_s3._engine.loading.LOAD_PAUSE", 0
    )  # what does not fit together is read again


@pytest.fixture
async def operator(s3_server: S3Server) -> AsyncIterator[Operator]:
    """An operator whose bot has run for a while, with a commit a minute."""
    async with employed(s3_server) as operator:
        await live(operator.store(), when=made)
        yield operator


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_bucket(s3_server: S3Server) -> AsyncIterator[str]:
    """A bucket in which a bot has run for a while, with a commit a minute."""
    async with employed(s3_server) as operator:
        await live(operator.store(), when=made)
        yield operator.bucket


@pytest.fixture
async def unversioned(s3_server: S3Server) -> AsyncIterator[Operator]:
    """The same on a bucket that keeps no versions."""
    async with employed(s3_server, versioned=False) as operator:
        await live(operator.store(), when=made)
        yield operator


@pytest.fixture
def _elsewhere(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Move the operator to a zone that no server is in."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", ELSEWHERE)
        time.tzset()
        yield
    time.tzset()


# History ----------------------------------------------------------------------------------------


async def test_history_is_listed_newest_first(onlooker: Operator) -> None:
    """Each commit has its revision, time, writer, key, size, version and what it changed."""
    listed = (await onlooker.done("history", "--json")).json
    assert [commit["revision"] for commit in listed] == list(range(COMMITS, 0, -1))
    assert [datetime.fromisoformat(commit["created"]) for commit in listed] == [
        made(commit["revision"]) for commit in listed
    ]
    assert [commit["version_id"] for commit in listed] == await onlooker.versions("head")
    assert len({commit["writer"] for commit in listed}) == 1
    assert {commit["key"] for commit in listed} == {KEY.id}
    assert all(commit["bytes"] > 0 for commit in listed)
    changed = {commit["revision"]: commit["changed"] for commit in listed}
    assert changed[1] == {"user_data": 1, "bot_data": 1, "callback_data": 2, "conversations": 1}
    assert changed[4] == {"user_data": 2, "bot_data": 1, "conversations": 2}
    assert changed[8] == {"user_data": 2, "bot_data": 1}


async def test_history_for_people(onlooker: Operator) -> None:
    """The table shows counts by kind and a bar for the size; what it leaves out is said."""
    outcome = await onlooker.done("history", "--limit", 5)
    lines = outcome.stdout.splitlines()
    assert lines[0].split() == ["revision", "time", "writer", "changed", "size"]
    assert [int(line.split()[0]) for line in lines[1:]] == [8, 7, 6, 5, 4]
    assert "user 2, bot 1, conversations 2" in lines[5]
    assert max(line.count("█") for line in lines) == 12
    assert outcome.stderr == "These are the newest 5. --limit 0 lists all.\n"
    assert (await onlooker.done("history", "--limit", COMMITS)).stderr == ""


async def test_history_of_a_span_of_time(onlooker: Operator) -> None:
    """Both ends of a span are taken as ISO times or in words, and are part of it."""

    async def listed(*span: object) -> list[int]:
        found = (await onlooker.done("history", "--json", *span)).json
        return [commit["revision"] for commit in found]

    third, sixth = made(3).isoformat(), made(6).isoformat()
    assert await listed("--since", third, "--until", sixth) == [6, 5, 4, 3]
    assert await listed("--since", sixth) == [8, 7, 6]
    assert await listed("--until", third, "--limit", 2) == [3, 2]
    assert await listed("--since", "3 hours ago") == [8, 7, 6, 5, 4, 3, 2, 1]
    age = datetime.now(UTC) - made(5) + timedelta(seconds=20)
    assert await listed("--since", f"{age.total_seconds():.0f} seconds ago") == [8, 7, 6, 5]
    assert await listed("--until", "3 hours ago") == []
    assert await listed("--until", "9999-12-31T23:59:59", "--limit", 3) == [8, 7, 6]
    nothing = await onlooker.done("history", "--until", "2001-01-01")
    assert (nothing.stdout, nothing.stderr) == ("", "No commits until 2001-01-01 00:00:00.\n")


@pytest.mark.usefixtures("_elsewhere")
async def test_times_are_local(onlooker: Operator) -> None:
    """Times are shown in the local zone, and one without a zone is taken for local."""
    local = made(5).astimezone(ZoneInfo(ELSEWHERE)).replace(tzinfo=None)
    shown = f"{local:%Y-%m-%d %H:%M:%S}"
    lines = (await onlooker.done("history")).stdout.splitlines()
    assert [line.split()[0] for line in lines if shown in line] == ["5"]
    since = f"{local:%Y-%m-%dT%H:%M:%S}"
    listed = (await onlooker.done("history", "--json", "--since", since)).json
    assert [commit["revision"] for commit in listed] == [8, 7, 6, 5]
    assert listed[-1]["created"] == made(5).isoformat()
    assert (
        f"Back to revision 5, of {shown}:"
        in (await onlooker.done("restore", shown, "--dry-run")).stdout
    )


async def test_any_time_that_history_shows_goes_back_there(onlooker: Operator) -> None:
    """A time as history shows it, to the second, is that of the commit in its line."""
    for line in (await onlooker.done("history")).stdout.splitlines()[1:]:
        revision, day, clock, *_ = line.split()
        shown = (await onlooker.done("show", "bot_data", "--at", f"{day} {clock}")).json
        assert shown["revision"] == int(revision)
    until = (await onlooker.done("history", "--json", "--until", f"{day} {clock}")).json
    assert [commit["revision"] for commit in until] == [1]


async def test_a_clock_that_is_ahead_hides_no_commit(s3_server: S3Server) -> None:
    """A span of time has all its commits, also where a writer's clock was ahead of the next's."""
    clock = {1: made(1), 2: made(2), 3: made(6), 4: made(4)}
    async with employed(s3_server) as operator:
        await live(operator.store(), 4, when=clock.__getitem__)
        listed = (await operator.done("history", "--json", "--since", made(5).isoformat())).json
        assert [commit["revision"] for commit in listed] == [3]


async def test_a_damaged_version_does_not_break_the_list(operator: Operator) -> None:
    """What cannot be read is listed as such, and everything else as ever."""
    body = await operator.read("head")
    await operator.damage("head", at=IN_HEADER)
    await operator.put("head", body)
    listed = (await operator.done("history", "--json")).json
    revisions = [commit["revision"] for commit in listed]
    assert [r for r in revisions if r is not None] == [8, *range(8, 0, -1)]
    assert revisions.count(None) == 1  # its second is that of others, and it has no revision
    outcome = await operator.done("history")
    assert outcome.stdout.count("damaged") == 1
    assert outcome.stderr == "1 version cannot be read: ptb-s3 verify --history says why.\n"
    await operator.done("restore", 3)


async def test_history_is_there_without_a_current_head(operator: Operator) -> None:
    """With the current head damaged or deleted, history tells what there is to bring back."""
    await operator.damage("head", at=IN_HEADER)
    outcome = await operator.done("history")
    assert "The current head is damaged or gone" in outcome.stderr
    assert [line.split()[0] for line in outcome.stdout.splitlines()[1:3]] == ["?", "8"]
    await operator.expire("head", (await operator.versions("head"))[0])
    await operator.delete("head")
    assert await operator.revisions() == list(range(COMMITS, 0, -1))


async def test_history_takes_no_key(onlooker: Operator) -> None:
    """Whoever lost the key can still see when what was saved."""
    assert len((await onlooker.done("history", PTB_S3_KEY=Key.generate().reveal())).stdout) > 0


# Restore ----------------------------------------------------------------------------------------


async def test_restore_by_revision_time_and_version_id(operator: Operator) -> None:
    """Each of the three names a commit; all kinds come back, as a new commit, and can be undone."""
    version_ids = await operator.versions("head")
    for number, (point, revision) in enumerate(
        [("3", 3), (made(5).isoformat(), 5), (version_ids[-2], 2)], start=1
    ):
        outcome = await operator.done("restore", point)
        assert f"Back to revision {revision}, of " in outcome.stdout
        assert outcome.stdout.endswith(f"Restored as revision {COMMITS + number}.\n")
        assert f"To undo it: ptb-s3 restore {COMMITS + number - 1}" in outcome.stderr
        assert await operator.state() == state_after(revision)
    await operator.done("restore", COMMITS)
    assert await operator.state() == state_after(COMMITS)
    await operator.done("verify", "--history")


async def test_restore_says_what_it_did(operator: Operator) -> None:
    """As JSON: where from, which entities, and the new revision."""
    outcome = (await operator.done("restore", 3, "--json")).json
    assert outcome["from"] == {"revision": 3, "created": made(3).isoformat()}
    assert outcome["revision"] == COMMITS + 1
    assert sorted(outcome["changes"]["user_data"]) == sorted([str(ALICE), str(BOB), "700800900"])
    assert outcome["changes"]["chat_data"] == []


async def test_restore_of_one_kind_or_entity(operator: Operator) -> None:
    """Everything else stays as it is now."""
    await operator.done("restore", 3, "--kind", "user_data")
    users = {**state_after(COMMITS), "user_data": state_after(3)["user_data"]}
    assert await operator.state() == users
    await operator.done("restore", COMMITS)
    await operator.done("restore", 4, "--kind", "user_data", "--entity", ALICE)
    one = state_after(COMMITS)
    one["user_data"][ALICE] = state_after(4)["user_data"][ALICE]
    assert await operator.state() == one
    await operator.done("restore", COMMITS)
    key = f'["order",[{GROUP},{BOB}]]'  # there was none then: it goes
    await operator.done("restore", 3, "--kind", "conversations", "--entity", key)
    assert (await operator.state())["conversations"] == {"order": {}}


async def test_restore_of_what_is_so_already(onlooker: Operator) -> None:
    """No commit is made for nothing, and it is said."""
    outcome = await onlooker.done("restore", COMMITS)
    assert outcome.stdout.endswith("The state is like that already. Nothing was changed.\n")
    nothing = (await onlooker.done("restore", COMMITS, "--json")).json
    assert nothing["revision"] is None
    assert await onlooker.revisions() == list(range(COMMITS, 0, -1))


async def test_what_cannot_be_gone_back_to(onlooker: Operator) -> None:
    """Each bad point is exit code 3, says why, and which revisions can be restored."""
    blob = (await onlooker.versions("user_data"))[0]
    first = made(1).astimezone().isoformat(" ", "seconds")
    for point, why in (
        ("99", "the nearest one before it is 8"),
        ("0", f"history does not reach back so far. Revisions from 1 ({first}) on can"),
        ("2001-01-01", f"no commit so old is left. Revisions from 1 ({first}) on can"),
        ("3 years ago", "no commit so old is left"),
        (blob, "there is no such version of head"),
        ("0" * 32, "there is no such version of head"),
        ("some day", "there is no such version of head"),
        ("", "there is no such version of head"),
    ):
        said = await onlooker.fails(3, "restore", point)
        assert why in said
        assert said.endswith("Nothing was changed.\n")
    for command in (("show", "--at", 0), ("diff", 0), ("diff", 1, 0), ("export", "x", "--at", 0)):
        assert "history does not reach back so far" in await onlooker.fails(3, *command)


async def test_a_damaged_commit_is_told_from_a_damaged_state(operator: Operator) -> None:
    """Where an older version is damaged, nobody is told to mend what is current."""
    newer, older, *_ = await operator.versions("user_data")
    bodies = await operator.read("user_data", older), await operator.read("user_data", newer)
    await operator.put("user_data", flipped(bodies[0]))
    await operator.put("user_data", bodies[1])
    await operator.expire("user_data", newer, older)
    said = await operator.fails(3, "restore", 5)
    assert "the version of user_data that it builds on is damaged: it fails" in said
    head = await operator.read("head")
    await operator.damage("head")
    damaged = (await operator.versions("head"))[0]
    await operator.put("head", head)
    said = await operator.fails(3, "restore", damaged)
    assert "that commit is damaged: it fails authentication" in said
    await operator.done("restore", 7)
    assert await operator.state() == state_after(7)


async def test_a_history_half_expired(operator: Operator) -> None:
    """Where blobs have expired, it is said which revisions can be restored, and those can."""
    await operator.expire("user_data", *(await operator.versions("user_data"))[1:])
    left = f"Revisions from 6 ({made(6).astimezone().isoformat(' ', 'seconds')}) on can"
    for revision in (5, 2):
        said = await operator.fails(3, "restore", revision)
        assert f"no version of user_data is left that it can build on. {left}" in said
    verified = await operator.done("verify", "--history")
    assert verified.stdout.startswith("Opened and intact: ")
    assert "4 commits cannot be brought back" in verified.stderr
    assert "revision 2 to 5." in verified.stderr
    assert (await operator.done("verify", "--history", "--json")).json["stranded"] == [5, 4, 3, 2]
    for command in (("prune", "--keep-last", 8), ("forget", 999, "--purge")):
        plan = (await operator.done(*command, "--dry-run", "--json")).json
        keep = plan.get("purge", plan)["keep"]  # what is there, and can be brought back
        assert [commit["revision"] for commit in keep["commits"]] == [8, 7, 6, 1]
    await operator.expire("head", *(await operator.versions("head"))[4:])
    assert left in await operator.fails(3, "restore", 1)
    for revision in (6, 7):
        await operator.done("restore", revision)
        assert await operator.state() == state_after(revision)


async def test_restore_does_not_stand_in_for_one_at_start(operator: Operator) -> None:
    """What PTB_S3_RESTORE asks for is carried out, whatever the operator has restored before."""
    await operator.done("restore", 3)
    await operator.done("restore", COMMITS)
    async with operator.bot(restore="3") as bot:
        assert bot.stats.revision == COMMITS + 3
    assert await operator.state() == state_after(3)
    await operator.done("restore", 5)
    async with operator.bot(restore="3") as bot:  # that has been carried out
        assert bot.stats.revision == COMMITS + 4
    assert await operator.state() == state_after(5)


# Prune ------------------------------------------------------------------------------------------


async def test_prune_keeps_what_it_says(operator: Operator) -> None:
    """Versions go by id and leave no marker; kept commits and the current state are as before."""
    policy = ("--keep-last", 5)  # the oldest two need older blobs
    planned = (await operator.done("prune", *policy, "--dry-run", "--json")).json
    assert [commit["revision"] for commit in planned["keep"]["commits"]] == [8, 7, 6, 5, 4]
    before = await operator.listing()
    done = (await operator.done("prune", *policy, "--yes", "--json")).json
    assert done == {**planned, "done": True}
    left = await operator.listing()
    assert set(left) < set(before)
    assert (len(left), len(before) - len(left)) == (
        done["keep"]["versions"],
        done["delete"]["versions"],
    )
    assert await operator.revisions() == [8, 7, 6, 5, 4]
    assert await operator.state() == state_after(COMMITS)
    assert (await operator.done("verify", "--history")).stdout.startswith("All is well")
    for revision in (4, 7):
        await operator.done("restore", revision)
        assert await operator.state() == state_after(revision)


async def test_prune_by_hours_days_and_months(onlooker: Operator) -> None:
    """The last commit of a period stands for it; what any rule keeps is kept."""
    periods = ("--keep-hourly", 48, "--keep-daily", 30, "--keep-monthly", 12)
    planned = (await onlooker.done("prune", *periods, "--dry-run", "--json")).json
    kept = [commit["revision"] for commit in planned["keep"]["commits"]]
    assert kept[0] == COMMITS
    assert len(kept) <= 2  # the storage's clock may have struck meanwhile
    both = (await onlooker.done("prune", *periods, "--keep-last", 4, "--dry-run", "--json")).json
    kept = [commit["revision"] for commit in both["keep"]["commits"]]
    assert kept[:4] == [8, 7, 6, 5]
    assert len(kept) <= 5  # as above


async def test_prune_says_what_goes_and_again_finds_nothing(operator: Operator) -> None:
    """The plan is a table of what stays and goes; carried out, there is nothing left to do."""
    outcome = await operator.done("prune", "--keep-last", 1, "--yes")
    assert "1 commit that can be restored, revision 8 (" in outcome.stdout
    assert "7 of head, 2 of user_data" in outcome.stdout
    assert "Deleted " in outcome.stdout
    again = await operator.done("prune", "--keep-last", 1, "--yes")
    assert again.stdout.endswith("Nothing to delete.\n")


async def test_prune_keeps_what_it_cannot_open(operator: Operator) -> None:
    """Without the key of a commit that is to be kept, nobody knows what it needs: exit code 4."""
    await operator.done(*ROTATE, **ROTATED)
    alone = {"PTB_S3_KEY": OTHER_KEY.reveal()}
    assert KEY.id in await operator.fails(4, "prune", "--keep-last", 3, "--yes", **alone)
    await operator.done("prune", "--keep-last", 1, "--yes", **alone)


# Without versions -------------------------------------------------------------------------------


async def test_a_bucket_without_versions(unversioned: Operator) -> None:
    """There is no history to go back to or to thin out, which is said; everything else works."""
    for point in ("7", made(3).isoformat()):
        said = await unversioned.fails(3, "restore", point)
        assert "the bucket keeps no versions, so there is no history" in said
    said = await unversioned.fails(2, "prune", "--keep-last", 1, "--yes")
    assert "Turn on versioning" in said
    assert await unversioned.revisions() == [COMMITS]
    status = (await unversioned.done("status", "--json")).json
    assert status["history"]["commits"] == 1
    await unversioned.done("verify")
    await unversioned.done("verify", "--history")
    await unversioned.done(*ROTATE, **ROTATED)
    await unversioned.done("forget", ALICE, "--purge", "--yes", **ROTATED)
    assert await unversioned.holding(str(ALICE), OTHER_KEY) == []
    assert await unversioned.state(OTHER_KEY) == without(ALICE, state_after(COMMITS))
