"""Rotate and forget on real storage: everything current is sealed anew, and somebody is gone."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.integration.operators import (
    ALICE,
    BOB,
    CAROL,
    COMMITS,
    GROUP,
    ROTATE,
    ROTATED,
    Operator,
    employed,
    live,
    state_after,
    without,
)
from tests.servers import S3Server
from tests.support.persistence import BOT_ID, KEY, OTHER_KEY, update

from ptb_s3._engine.active_writers import ACTIVE_FOR

NEW_KEY = {"PTB_S3_KEY": OTHER_KEY.reveal()}
LEAKED = {**NEW_KEY, "PTB_S3_HISTORY_KEYS": KEY.reveal()}
"""Settings in which the key so far has leaked."""


# Rotate -----------------------------------------------------------------------------------------


async def test_after_rotate_no_other_key_is_in_use(operator: Operator) -> None:
    """Everything current is sealed with the new key, and opens with it alone."""
    rotated = (await operator.done(*ROTATE, "--json", **ROTATED)).json
    assert rotated["key"] == OTHER_KEY.id
    assert set(rotated["sealed_otherwise"]) == {
        *("head", "user_data", "chat_data", "bot_data", "callback_data", "conversations")
    }
    keys = (await operator.done("status", "--json", **ROTATED)).json["keys"]
    assert keys[OTHER_KEY.id] == {
        "role": "seals",
        "current": 6,
        "newest": COMMITS + 1,
        "in_kms": False,
    }
    assert keys[KEY.id] == {"role": "opens", "current": 0, "newest": COMMITS}
    await operator.done("verify", **NEW_KEY)
    assert await operator.state(OTHER_KEY) == state_after(COMMITS)


async def test_after_rotate_history_takes_the_old_key(operator: Operator) -> None:
    """What is older still opens with the key that sealed it, and says which that is."""
    await operator.done(*ROTATE, **ROTATED)
    await operator.done("verify", "--history", **ROTATED)
    assert KEY.id in await operator.fails(4, "restore", 3, **NEW_KEY)
    await operator.done("restore", 3, **ROTATED)
    assert await operator.state(OTHER_KEY) == state_after(3)


async def test_a_key_that_leaked_opens_history_and_nothing_current(operator: Operator) -> None:
    """Moved to PTB_S3_HISTORY_KEYS after a rotation, it is what history needs, and no more."""
    await operator.done(*ROTATE, **ROTATED)
    await operator.done("verify", "--history", **LEAKED)
    keys = (await operator.done("status", "--json", **LEAKED)).json["keys"]
    assert keys == {
        OTHER_KEY.id: {"role": "seals", "current": 6, "newest": COMMITS + 1},
        KEY.id: {"role": "opens older versions", "current": 0, "newest": COMMITS},
    }
    missing = (await operator.done("status", "--json", **NEW_KEY)).json["keys"]
    assert missing[KEY.id]["role"] == "not at hand"
    found = (await operator.run("doctor", **LEAKED)).stdout  # of the storage, it says what it will
    assert f"seals with key {OTHER_KEY.id}; opens older versions with {KEY.id}." in found
    assert (await operator.done("show", "bot_data", "--at", 3, "--json", **LEAKED)).json
    await operator.done("prune", "--keep-last", 5, "--yes", **LEAKED)
    await operator.done("restore", 6, **LEAKED)
    assert await operator.state(OTHER_KEY) == state_after(6)
    await operator.done("forget", ALICE, "--purge", "--yes", **LEAKED)


async def test_what_a_leaked_key_sealed_is_not_current(operator: Operator) -> None:
    """Exit code 4, and what may have happened: it was written by whoever found the key."""
    for command in (("status",), ("restore", 3), ("rotate",), ("prune", "--keep-last", 1)):
        said = await operator.fails(4, *command, **LEAKED)
        assert "whoever has it may have written this" in said
    found = (await operator.run("verify", "--json", **LEAKED)).json["findings"]
    assert {finding["error"] for finding in found} == {"UnknownKeyError"}
    assert "damaged or gone" not in (await operator.done("history", **LEAKED)).stderr


async def test_keys_are_not_exchanged_beside_a_bot(operator: Operator, tmp_path: Path) -> None:
    """Within ten minutes of another writer's commit, a bot may be there that lacks the key."""
    said = await operator.fails(6, "rotate", **ROTATED)
    assert "in two steps" in said
    assert "rotate --while-running" in said
    dry = await operator.done("rotate", "--dry-run", **ROTATED)
    assert "would be sealed anew" in dry.stdout
    file, before = tmp_path / "state.json", await operator.listing()
    await operator.done("export", file, "--at", 3)
    import_ = ("import", file, "--bot", BOT_ID, "--merge", "--replace")
    for command in (("restore", 3), ("forget", ALICE, "--yes"), import_):
        outcome = await operator.run(*command, **ROTATED)
        assert outcome.exit_code == 6
        assert f"seal head with key {OTHER_KEY.id}" in outcome.stderr
        assert await operator.listing() == before


async def test_keys_are_exchanged_ten_minutes_after(s3_server: S3Server) -> None:
    """Nobody has to say anything of bots where none has been at work."""
    async with employed(s3_server) as quiet:
        await live(quiet.store(), when=lambda _: datetime.now(UTC) - ACTIVE_FOR)
        await quiet.done("rotate", **ROTATED)
        # Head is sealed with it: whatever runs has the key, or cannot save as it is.
        await quiet.done("restore", 3, **ROTATED)


async def test_rotate_again_has_nothing_to_do(operator: Operator) -> None:
    """A second rotate writes nothing; nor does one without a new key."""
    assert "none." in (await operator.done("rotate")).stdout
    outcome = await operator.done(*ROTATE, **ROTATED)
    assert f"is sealed with key {OTHER_KEY.id} now." in outcome.stdout
    assert "without this key cannot save any more" in outcome.stderr
    before = await operator.listing()
    again = await operator.done(*ROTATE, **ROTATED)
    assert again.stdout.endswith("Nothing to do.\n")
    assert await operator.listing() == before


# Forget -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("subject", [ALICE, BOB, GROUP])
async def test_what_is_forgotten_is_in_no_current_object(operator: Operator, subject: int) -> None:
    """A user's or chat's data and conversations go; current objects, opened, do not hold the id."""
    assert await operator.holding(str(subject), current=True)
    found = (await operator.done("forget", subject, "--yes", "--json")).json
    assert (found["done"], sum(found["entities"].values()) > 0) == (True, True)
    assert await operator.holding(str(subject), current=True) == []
    assert await operator.state() == without(subject, state_after(COMMITS))


async def test_what_is_forgotten_comes_back_by_no_command(
    operator: Operator, tmp_path: Path
) -> None:
    """Restore, show, diff and export of an older revision leave it out."""
    await operator.done("forget", ALICE, "--yes")
    shown = await operator.done("show", "--at", 3)
    assert (shown.json["revision"], str(ALICE) in shown.stdout) == (3, False)
    changed = await operator.done("diff", 3, 5, "--values")
    assert str(ALICE) not in changed.stdout
    file = tmp_path / "state.json"
    await operator.done("export", file, "--at", 3)
    assert (str(CAROL) in file.read_text(), str(ALICE) in file.read_text()) == (True, False)
    await operator.done("restore", 3)
    assert await operator.state() == without(ALICE, state_after(3))
    await operator.fails(3, "show", "user_data", ALICE, "--at", 3)


async def test_who_comes_back_is_kept(operator: Operator) -> None:
    """Somebody who was forgotten and writes again is a new user, also in what is restored."""
    await operator.done("forget", ALICE, "--yes")
    async with operator.bot() as bot:
        await update(bot, {"user_data": {ALICE: {"visits": 1}}})
    back = (await operator.revisions())[0]
    assert (await operator.state())["user_data"][ALICE] == {"visits": 1}
    await operator.done("restore", 3)
    assert ALICE not in (await operator.state())["user_data"]
    await operator.done("restore", back)
    assert (await operator.state())["user_data"][ALICE] == {"visits": 1}


async def test_an_id_that_is_nowhere(operator: Operator) -> None:
    """Nothing is found of it, which is said; everything else stays as it is."""
    outcome = await operator.done("forget", 999_999_999, "--yes", "--purge")
    assert "Nothing current is that id's" in outcome.stderr
    assert "Restore points that go with them: none." in outcome.stdout
    assert "Deleted 0 older versions" in outcome.stdout
    assert await operator.state() == state_after(COMMITS)
    assert set(range(1, COMMITS + 1)) < set(await operator.revisions())


async def test_forget_says_what_it_has_not_done(operator: Operator) -> None:
    """What is not looked into and what is out of reach is named, and the bot to restart."""
    said = (await operator.done("forget", ALICE, "--yes")).stderr
    for word in ("bot_data", "callback_data", "replicas", "logs", "Restart the bot"):
        assert word in said
    assert str(ALICE) not in said


# Purge ------------------------------------------------------------------------------------------


async def test_purge_deletes_every_version_that_holds_it(operator: Operator) -> None:
    """None is left, by a search of our own; no delete marker is; and the rest can be restored."""
    planned = await operator.done("forget", CAROL, "--purge", "--dry-run")
    assert "Restore points that go with them: 2 to 6." in planned.stdout
    assert set(await operator.holding(str(CAROL))) == {"head", "user_data"}
    found = (await operator.done("forget", CAROL, "--purge", "--yes", "--json")).json
    assert await operator.holding(str(CAROL)) == []
    listing = await operator.listing()
    assert all(etag for _, _, etag in listing)
    assert found["searched"] == len(listing)
    assert found["purge"]["delete"]["versions"] > 0
    assert set(range(2, 7)) <= set(found["purge"]["lost"])
    left = await operator.revisions()
    assert [revision for revision in left if revision <= COMMITS] == [8, 7, 1]
    await no_commit_is_stranded(operator)
    await operator.done("restore", 7)
    assert await operator.state() == state_after(7)


async def test_purge_says_how_many_versions_went(operator: Operator) -> None:
    """What was deleted is counted, and how many versions were searched for a proof."""
    said = (await operator.done("forget", BOB, "--purge", "--yes")).stdout
    assert f"None of the {len(await operator.listing())} versions that remain holds it." in said
    assert "older versions that held it." in said
    assert await operator.holding(str(BOB)) == []
    assert await operator.state() == without(BOB, state_after(COMMITS))
    assert [r for r in await operator.revisions() if r <= COMMITS] == [3, 2, 1]
    await no_commit_is_stranded(operator)


async def test_purge_without_a_key_for_all_versions_changes_nothing(operator: Operator) -> None:
    """A version that cannot be opened may hold it: exit code 4, before anything is erased."""
    await operator.done(*ROTATE, **ROTATED)
    before = await operator.listing()
    outcome = await operator.run("forget", ALICE, "--purge", "--yes", **NEW_KEY)
    assert (outcome.exit_code, KEY.id in outcome.stderr) == (4, True)
    assert await operator.listing() == before
    await operator.done("forget", ALICE, "--purge", "--yes", **ROTATED)
    assert await operator.holding(str(ALICE), OTHER_KEY, KEY) == []


async def no_commit_is_stranded(operator: Operator) -> None:
    found = (await operator.done("verify", "--history", "--json")).json
    assert (found["findings"], found["stranded"]) == ([], [])
