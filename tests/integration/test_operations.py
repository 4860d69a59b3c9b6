"""The operator's commands, run on real storage: what they print, and how they fail."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import pytest
from tests.integration.operators import (
    ADDRESS,
    ALICE,
    BOB,
    CANARIES,
    COMMITS,
    GROUP,
    IN_HEADER,
    PREFIX,
    ROTATE,
    ROTATED,
    Operator,
    state_after,
)
from tests.support import BOT_ID, KEY, OTHER_KEY

POLICY = ("--keep-last", "2")
ON_A_STORE: list[tuple[str, ...]] = [
    ("status",),
    ("history",),
    ("show",),
    ("diff", "1"),
    ("verify",),
    ("verify", "--history"),
    ("restore", "1"),
    ("rotate",),
    ("compact",),
    ("compact", "--all"),
    ("prune", *POLICY, "--yes"),
    ("forget", str(ALICE), "--yes"),
    ("forget", str(GROUP), "--purge", "--yes"),
    ("export", "state.pickle"),
]
OPENING = [command for command in ON_A_STORE if command != ("history",)]
"""Those that take the key."""
OF_WHAT_IS_CURRENT = [
    command for command in OPENING if command[0] not in ("verify", "status", "diff", "restore")
]
"""Those that cannot do without any object of the current state."""


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        "ptb_s3._engine.loading.LOAD_PAUSE", 0
    )  # what does not fit together is read again


# What they print -------------------------------------------------------------------------------


async def test_status_as_json(onlooker: Operator) -> None:
    """Status tells revision, age, writer, sizes, keys and when each kind was compacted."""
    status = (await onlooker.done("status", "--json")).json
    assert status["state"] == f"s3://{onlooker.bucket}/{PREFIX}"
    assert (status["revision"], status["bot"]) == (COMMITS, BOT_ID)
    assert datetime.fromisoformat(status["created"]).utcoffset() is not None
    assert status["head"]["key"] == KEY.id
    assert status["head"]["bytes"] > 0
    assert status["history"]["commits"] == COMMITS
    assert status["history"]["oldest"]["revision"] == 1
    users = status["kinds"]["user_data"]
    assert users["entities"] == 2
    assert users["differential"] == 2
    assert users["blob"]["revision"] == 6
    assert users["blob"]["key"] == KEY.id
    assert users["blob"]["bytes"] > 0
    assert datetime.fromisoformat(users["blob"]["created"]).utcoffset() is not None
    assert status["keys"] == {
        KEY.id: {"role": "seals", "current": 6, "newest": COMMITS, "in_kms": False}
    }
    quick = (await onlooker.done("status", "--quick", "--json")).json
    assert quick["history"] is None


async def test_status_for_people(onlooker: Operator) -> None:
    """Status is a table on stdout, with nothing on stderr."""
    outcome = await onlooker.done("status")
    assert outcome.stderr == ""
    assert f"{COMMITS} commits; the oldest is revision 1 (" in outcome.stdout
    assert f"{KEY.id}  seals                6  needed up to revision 8" in outcome.stdout
    quick = await onlooker.done("status", "--quick")
    assert "not looked at" in quick.stdout


async def test_show_as_of_any_commit(onlooker: Operator) -> None:
    """Show gives the values of all kinds, one kind or one entity, now or at a revision."""
    shown = json.loads((await onlooker.done("show")).stdout)
    assert shown["revision"] == COMMITS
    assert shown["user_data"][str(ALICE)] == {"visits": COMMITS, "address": ADDRESS}
    assert shown["conversations"] == {f'["order",[{GROUP},{BOB}]]': 1}
    assert shown["callback_data"]['["q","query"]'] == "uuid"
    chats = json.loads((await onlooker.done("show", "chat_data", "--at", 3)).stdout)
    assert (chats["revision"], chats["chat_data"]) == (3, {str(GROUP): {"topic": "tea"}})
    assert chats.keys() == {"revision", "created", "chat_data"}
    one = (await onlooker.done("show", "user_data", BOB, "--json")).json
    assert one["user_data"] == {str(BOB): {"cart": [{"$tuple": ["Oolong", COMMITS]}]}}
    key = f'["order",[{GROUP},{BOB}]]'
    assert (await onlooker.done("show", "conversations", key)).json["conversations"] == {key: 1}


async def test_show_redacted(onlooker: Operator) -> None:
    """Redacted, the keys are shown and no value is."""
    outcome = await onlooker.done("show", "--redact")
    assert outcome.json["user_data"] == [ALICE, BOB]
    assert outcome.json["conversations"] == [["order", [GROUP, BOB]]]
    assert not [value for value in (ADDRESS, "Oolong", "tea", "visits") if value in outcome.stdout]


async def test_diff_between_any_two_commits(onlooker: Operator) -> None:
    """Diff names what was added, changed and removed, and which fields did, if that is asked."""
    found = (await onlooker.done("diff", 3, 5, "--json")).json
    assert (found["old"]["revision"], found["new"]["revision"]) == (3, 5)
    what = {(e["kind"], json.dumps(e["key"])): e["what"] for e in found["entities"]}
    assert what.pop(("user_data", "700800900")) == "removed"
    assert what.pop(("user_data", str(BOB))) == "added"
    assert what.pop(("conversations", f'["order", [{ALICE}, {ALICE}]]')) == "removed"
    assert what.pop(("conversations", f'["order", [{GROUP}, {BOB}]]')) == "added"
    assert set(what.values()) == {"changed"}
    assert not any(entity["fields"] for entity in found["entities"])
    valued = (await onlooker.done("diff", 7, "--values", "--json")).json
    fields = {e["key"]: e["fields"] for e in valued["entities"] if e["kind"] == "user_data"}
    assert fields[ALICE] == [{"path": "['visits']", "before": 7, "after": 8}]
    shown = await onlooker.done("diff", 7, "--values")
    assert "['visits']" in shown.stdout
    assert shown.stderr == "3 entities changed.\n"
    assert "Nothing differs." in (await onlooker.done("diff", COMMITS)).stdout


async def test_diff_without_values_shows_none(onlooker: Operator) -> None:
    """What the fields held stays unsaid unless it is asked for."""
    shown = await onlooker.done("diff", 1)
    assert ADDRESS not in shown.stdout
    assert str(ALICE) in shown.stdout


async def test_verify_counts_what_it_opened(onlooker: Operator) -> None:
    """All is well with every current object, and with every version."""
    shown = await onlooker.done("verify")
    assert shown.stdout.startswith("All is well: 6 objects, ")
    assert shown.stderr == ""
    found = (await onlooker.done("verify", "--history", "--json")).json
    assert found["objects"] == len(await onlooker.listing())
    assert (found["commits"], found["findings"], found["stranded"]) == (COMMITS, [], [])


async def test_verify_reports_each_fault_by_name(operator: Operator) -> None:
    """Each damaged version is reported by object, version, revision and reason; exit code 5."""
    await operator.damage("user_data")
    await operator.damage("chat_data", at=IN_HEADER)
    users, chats = [(await operator.versions(name))[0] for name in ("user_data", "chat_data")]
    for history in ((), ("--history",)):
        outcome = await operator.run("verify", *history, "--json")
        assert outcome.exit_code == 5
        found = {finding["object"]: finding for finding in outcome.json["findings"]}
        assert found.keys() == {"user_data", "chat_data"}
        assert (found["user_data"]["version_id"], found["user_data"]["revision"]) == (users, 6)
        assert (found["chat_data"]["version_id"], found["chat_data"]["revision"]) == (chats, None)
        assert "fails authentication" in found["user_data"]["reason"]
    shown = await operator.run("verify")
    assert (shown.exit_code, users in shown.stdout) == (5, True)
    assert "2 of 6 objects" in shown.stderr
    assert "Nothing was changed." in shown.stderr


async def test_verify_tells_a_key_from_damage(operator: Operator) -> None:
    """Versions whose key is not at hand are exit code 4, and damage among them is 5."""
    await operator.done(*ROTATE, **ROTATED)
    alone = {"PTB_S3_KEY": OTHER_KEY.reveal()}
    await operator.done("verify", **alone)
    outcome = await operator.run("verify", "--history", "--json", **alone)
    assert outcome.exit_code == 4
    assert {finding["error"] for finding in outcome.json["findings"]} == {"UnknownKeyError"}
    await operator.damage("head")
    assert (await operator.run("verify", "--history", **alone)).exit_code == 5


async def test_the_second_copy_of_the_key_is_tried_with_status(operator: Operator) -> None:
    """The right one shows the state; another key is exit code 4, and the id that is needed."""
    assert KEY.id in (await operator.done("status", PTB_S3_KEY=KEY.reveal())).stdout
    said = await operator.fails(4, "status", PTB_S3_KEY=OTHER_KEY.reveal())
    assert KEY.id in said


# How they fail ----------------------------------------------------------------------------------


async def test_nothing_there_is_exit_code_3(empty: Operator) -> None:
    """Where no bot has saved anything, each command says so, and what to check."""
    for command in ON_A_STORE:
        said = await empty.fails(3, *command)
        assert "There is no state here" in said
        assert "PTB_S3_PREFIX" in said


async def test_no_bucket_is_exit_code_3(empty: Operator) -> None:
    """Where there is no bucket, each command says that, and makes none."""
    for command in ON_A_STORE:
        said = await empty.fails(3, *command, PTB_S3_BUCKET="no-such-bucket")
        assert "The bucket does not exist" in said


@pytest.mark.usefixtures("impatient")
async def test_storage_out_of_reach_is_exit_code_7(empty: Operator, unused_tcp_port: int) -> None:
    """Where nobody listens, each command names the address."""
    address = f"http://127.0.0.1:{unused_tcp_port}"
    for command in ON_A_STORE:
        assert address in await empty.fails(7, *command, PTB_S3_ENDPOINT_URL=address)


async def test_wrong_key_is_exit_code_4(onlooker: Operator) -> None:
    """Without the key, each command that takes it names the key it needs and those it has."""
    for command in OPENING:
        if command[0] == "verify":
            assert (await onlooker.run(*command, PTB_S3_KEY=OTHER_KEY.reveal())).exit_code == 4
            continue
        said = await onlooker.fails(4, *command, PTB_S3_KEY=OTHER_KEY.reveal())
        assert KEY.id in said
        assert OTHER_KEY.id in said


async def test_damage_is_exit_code_5(operator: Operator) -> None:
    """With a current object damaged, no command goes on that is about the current state."""
    await operator.damage("user_data")
    for command in OF_WHAT_IS_CURRENT:
        assert "Object 'user_data' is damaged" in await operator.fails(5, *command)
    await operator.damage("head")
    for command in OF_WHAT_IS_CURRENT:
        assert "Object 'head' is damaged" in await operator.fails(5, *command)


async def test_history_needs_no_current_state(operator: Operator) -> None:
    """What is about older commits goes by the newest one that can be read, and says so first."""
    await operator.damage("head")
    for command in (("show", "--at", 2), ("diff", 2, 3), ("restore", 2, "--dry-run")):
        outcome = await operator.done(*command)
        assert outcome.stderr.startswith("The current state cannot be read. Object 'head' is")
        assert "revision 8" in outcome.stderr
    outcome = await operator.run("status")
    assert outcome.exit_code == 5
    assert "The current state cannot be read." in outcome.stderr
    assert "needed up to" in outcome.stdout or "seals" in outcome.stdout
    await operator.done("prune", "--keep-last", 3, "--dry-run")
    before = await operator.listing()
    await operator.done("restore", 2)
    assert await operator.state() == state_after(2)
    assert len(await operator.listing()) > len(before)


async def test_a_head_that_is_gone_is_exit_code_5(operator: Operator) -> None:
    """A head that was deleted is told from a place where nobody has saved anything."""
    await operator.delete("head")
    for command in OF_WHAT_IS_CURRENT[:3]:
        assert "while user_data" in await operator.fails(5, *command)


WRONG_USE = [
    (("show", "users"), "'users' is no kind. There are: user_data, chat_data, "),
    (("show", "user_data", "x"), "That is no key of user_data. It looks like 123456789."),
    (("show", "conversations", "[1]"), "That is no key of conversations. It looks like "),
    (("show", "conversations", "{"), "That is no key of conversations. It looks like "),
    (("restore", "1", "--kind", "users"), "'users' is no kind."),
    (("restore", "1", "--entity", str(ALICE)), "--entity needs --kind"),
    (("restore", "1", "--kind", "user_data", "--entity", '"x"'), "no key of user_data"),
    (("history", "--since", "some day"), "'some day' is no time. Give one like "),
    (("history", "--until", "1/2/2026"), "'1/2/2026' is no time."),
    (("prune",), "The policy is empty"),
    (("prune", "--keep-last", "0", "--yes"), "The policy is empty"),
    (("prune", "--keep-last", "-1", "--yes"), "below 0"),
    (("import", "state.pickle"), "Whose state is it? Give --bot"),
    (("import", "state.pickle", "--replace"), "give --merge as well"),
    (("import", "s3://"), "names no bucket"),
]


async def test_wrong_use_is_exit_code_2(onlooker: Operator) -> None:
    """What cannot be meant is said before anything is done."""
    await onlooker.done("export", "state.pickle")
    for command, said in WRONG_USE:
        assert said in await onlooker.fails(2, *command)


async def test_what_cannot_be_undone_is_not_done_unasked(onlooker: Operator) -> None:
    """Without --yes and without a terminal to ask on, nothing is deleted; the plan is shown."""
    before = await onlooker.listing()
    for command in (("prune", *POLICY), ("forget", ALICE), ("forget", ALICE, "--purge")):
        outcome = await onlooker.run(*command)
        assert outcome.exit_code == 2
        assert outcome.stderr.endswith(
            "error: This cannot be undone. Pass --yes to have it done without a question.\n"
        )
        assert not [canary for canary in CANARIES if canary in outcome.stdout]
    assert await onlooker.listing() == before


async def test_the_wrong_arguments_are_exit_code_2(empty: Operator) -> None:
    """What the command line does not know is shown with how it is used."""
    for arguments in (
        ("forget", "x"),
        ("forget", ALICE, "--porge"),
        ("prune", "--keep", 1),
        ("history", "--limit", -1),
        ("import", "state.pickle", "--bot", 0),
    ):
        outcome = await empty.run(*arguments)
        assert (outcome.exit_code, outcome.stdout) == (2, "")
        assert outcome.stderr.startswith("Usage:")
    assert "Give a point to go back to" in await empty.fails(2, "restore")


async def test_an_entity_that_is_not_there_is_exit_code_3(onlooker: Operator) -> None:
    """An id that nobody has is said without showing it."""
    said = await onlooker.fails(3, "show", "user_data", "123123123")
    assert said == "error: There is no such entity of user_data at revision 8.\n"


async def test_commands_that_look_change_nothing(onlooker: Operator) -> None:
    """Neither what only looks, nor a dry run, leaves anything behind in the bucket."""
    before = await onlooker.listing()
    for command in (
        *(command for command in ON_A_STORE if command[0] in {"status", "history", "show"}),
        ("diff", "1", "--values"),
        ("verify", "--history"),
        ("export", "state.pickle"),
        ("restore", "1", "--dry-run"),
        ("prune", *POLICY, "--dry-run"),
        ("forget", str(ALICE), "--purge", "--dry-run"),
        ("import", "state.pickle", "--bot", str(BOT_ID), "--merge", "--dry-run"),
    ):
        await onlooker.done(*command)
    await onlooker.done("rotate", "--dry-run", **ROTATED)
    assert await onlooker.listing() == before
