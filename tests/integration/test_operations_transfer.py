"""Import and export on real storage, with files that PTB's own persistences write and load."""

from __future__ import annotations

import json
import pickle
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from telegram.ext import (
    DictPersistence,
    MessageHandler,
    PicklePersistence,
    filters,
)
from tests.integration.operators import (
    ADDRESS,
    ALICE,
    BOB,
    COMMITS,
    GROUP,
    PREFIX,
    Operator,
    state_after,
)
from tests.support import BOT_ID, state_of, update
from tests.support.bots import App, Bots, Context, asking, make_application, say

OWN = ("--bot", BOT_ID)


@dataclass
class Order:
    tea: str


@dataclass
class Address:
    street: str


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def application(persistence: Any) -> App:
    """A bot that keeps messages, and has a conversation."""

    async def keep(update: Any, context: Context) -> None:
        context.user_data["last"] = update.message
        context.bot_data["count"] = context.bot_data.get("count", 0) + 1

    keeping = MessageHandler(filters.TEXT & ~filters.COMMAND, keep)
    return make_application(persistence, [keeping, asking("order")])


async def pickled(path: Path, *, single: bool = True) -> None:
    """Let a bot run with PicklePersistence."""
    async with application(PicklePersistence(path, single_file=single)) as app:
        await say(app, ADDRESS, user=ALICE)
        await say(app, "/start", user=BOB)


def write(name: str, content: str | bytes) -> None:
    Path(name).write_bytes(content.encode() if isinstance(content, str) else content)


def read(name: str) -> bytes:
    return Path(name).read_bytes()


def exists(name: str) -> bool:
    return Path(name).exists()


def mode_of(name: str) -> int:
    return stat.S_IMODE(Path(name).stat().st_mode)


def pickle_of(*values: object) -> bytes:
    """Return a file of PicklePersistence's in which users have these as data."""
    maps = {"user_data": dict(enumerate(values)), "chat_data": {}, "bot_data": {}}
    return pickle.dumps(maps | {"conversations": {}, "callback_data": None})


# Import -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("single", [True, False], ids=["one file", "five files"])
async def test_what_a_bot_had_pickled_is_taken_over(empty: Operator, single: bool) -> None:  # noqa: FBT001 - a parameter
    """A bot goes on from its pickles: data, conversations, and messages that it can reply to."""
    await pickled(Path("state"), single=single)
    found = (await empty.done("import", "state", *OWN, "--json")).json
    assert found["kinds"]["user_data"] == {"found": 2, "imported": 2, "kept": 0}
    assert found["kinds"]["conversations"] == {"found": 1, "imported": 1, "kept": 0}
    bots = Bots(empty.server, empty.client, empty.bucket)
    async with application(bots.persistence()) as app:
        assert app.user_data[ALICE]["last"].text == ADDRESS
        assert app.user_data[ALICE]["last"].get_bot() is app.bot
        assert app.bot_data == {"count": 1}
        await say(app, "Ada", user=BOB)  # an answer to what the conversation has asked
    assert (await empty.done("show", "conversations")).json["conversations"] == {
        f'["order",[{BOB},{BOB}]]': 1
    }


async def test_an_import_is_counted_and_verified(empty: Operator) -> None:
    """It says what it found and took over, and leaves whole blobs behind."""
    await pickled(Path("state"))
    outcome = await empty.done("import", "state", *OWN)
    assert outcome.stdout.splitlines()[0].split() == [
        *("kind", "found", "to", "import", "there", "already")
    ]
    assert outcome.stdout.endswith("Imported 6 entities as revision 2; read back, the same.\n")
    assert outcome.stderr == "A bot that is running takes this over with its next commit.\n"
    kinds = (await empty.done("status", "--json")).json["kinds"]
    assert {kind["differential"] for kind in kinds.values()} == {0}
    await empty.done("verify", "--history")


async def test_import_of_dict_persistence(empty: Operator) -> None:
    """The JSON texts that DictPersistence gives, in one file, are taken over."""
    given = DictPersistence()
    await given.update_user_data(ALICE, {"address": ADDRESS, "cart": [1]})
    await given.update_bot_data({"orders": 3})
    await given.update_conversation("order", (ALICE, ALICE), 2)
    names = [f"{name}_json" for name in ("user_data", "bot_data", "conversations")]
    write("state.json", json.dumps({name: getattr(given, name) for name in names}))
    await empty.done("import", "state.json", *OWN)
    state = await empty.state()
    assert state["user_data"] == {ALICE: {"address": ADDRESS, "cart": [1]}}
    assert state["bot_data"] == {"orders": 3}
    assert state["conversations"] == {"order": {(ALICE, ALICE): 2}}


async def test_import_of_another_store(operator: Operator) -> None:
    """What lies at another prefix is taken over whole, and for the bot whose it is."""
    source, elsewhere = f"s3://{operator.bucket}/{PREFIX}", {"PTB_S3_PREFIX": "copy/"}
    await operator.done("import", source, **elsewhere)
    assert await operator.state(prefix="copy/") == state_after(COMMITS)
    status = (await operator.done("status", "--json", **elsewhere)).json
    assert (status["bot"], status["revision"]) == (BOT_ID, 2)
    assert await operator.state() == state_after(COMMITS)


async def test_a_store_that_is_not_empty_is_not_touched_unasked(onlooker: Operator) -> None:
    """Without --merge it is exit code 6; a dry run with it changes nothing."""
    write("state", pickle_of({"new": 1}))
    said = await onlooker.fails(6, "import", "state", *OWN)
    assert "it is at revision 8" in said
    assert "--merge" in said
    before = await onlooker.listing()
    outcome = await onlooker.done("import", "state", *OWN, "--merge", "--dry-run")
    assert outcome.stdout.endswith("Nothing was changed.\n")
    assert await onlooker.listing() == before


async def test_merge_keeps_and_replaces(operator: Operator) -> None:
    """--merge adds what is not there and keeps what is; with --replace, what is there goes."""
    given = {"user_data": {ALICE: {"visits": 0}, 5: {"new": True}}, "bot_data": {"orders": 0}}
    write("state", pickle.dumps(given))
    state = state_after(COMMITS)
    found = (await operator.done("import", "state", *OWN, "--merge", "--json")).json
    assert found["kinds"]["user_data"] == {"found": 2, "imported": 1, "kept": 1}
    state["user_data"][5] = {"new": True}
    assert await operator.state() == state
    await operator.done("import", "state", *OWN, "--merge", "--replace")
    assert await operator.state() == {
        **state,
        "user_data": {**state["user_data"], ALICE: {"visits": 0}},
        "bot_data": {"orders": 0},
    }


async def test_an_import_of_nothing_new_makes_no_commit(onlooker: Operator) -> None:
    """What is there already is left alone, so that no running bot is refused for it."""
    await onlooker.done("export", "state")
    before = await onlooker.listing()
    for how in (("--merge",), ("--merge", "--replace")):
        outcome = await onlooker.done("import", "state", *OWN, *how)
        assert outcome.stdout.endswith("Nothing was changed.\n")
    assert (await onlooker.done("import", "state", *OWN, "--merge", "--json")).json[
        "revision"
    ] is None
    assert await onlooker.listing() == before


async def test_bad_files(empty: Operator) -> None:
    """A file that is truncated, garbage or of another sort is exit code 5, and no file is 3."""
    await pickled(Path("whole"))
    whole = read("whole")
    for size in (0, 1, 20, len(whole) // 2, len(whole) - 1):
        write("bad", whole[:size])
        assert "File 'bad' cannot be taken over" in await empty.fails(5, "import", "bad", *OWN)
    for bad in (b"\0garbage" * 50, pickle.dumps([ADDRESS]), pickle.dumps({"users": ADDRESS})):
        write("bad", bad)
        await empty.fails(5, "import", "bad", *OWN)
    for text in (
        "",
        "{",
        f'["{ADDRESS}"]',
        f'{{"users": "{ADDRESS}"}}',
        f'{{"user_data": {ALICE}}}',
    ):
        write("bad.json", text)
        await empty.fails(5, "import", "bad.json", *OWN)
    write("bad.json", json.dumps({"user_data": {ADDRESS: {}}}))
    await empty.fails(5, "import", "bad.json", *OWN)
    write("bad.json", json.dumps({"conversations": {"order": {ADDRESS: 1}}}))
    await empty.fails(5, "import", "bad.json", *OWN)
    assert "There is no file 'none'" in await empty.fails(3, "import", "none", *OWN)
    assert "Is a directory" in await empty.fails(2, "import", ".", *OWN)
    await empty.fails(3, "status")


class Trap:
    """What it takes to load it is a call."""

    def __reduce__(self) -> Any:
        return write, ("sprung", "x")


async def test_untrusted_classes(empty: Operator) -> None:
    """All classes that are not trusted are named at once, and none of their code is run."""
    write("state", pickle_of({"order": Order("Oolong")}, Address(ADDRESS)))
    said = await empty.fails(5, "import", "state", *OWN)
    assert f"{__name__}.Address, {__name__}.Order" in said
    assert "--trusted" in said
    await empty.done("import", "state", *OWN, "--trusted", __name__)
    shown = (await empty.done("show", "user_data", 0)).stdout
    assert f'"$class": "{__name__}.Order"' in shown
    write("state", pickle_of(Trap()))
    await empty.fails(5, "import", "state", *OWN, "--merge", "--trusted", __name__)
    assert not exists("sprung")


async def test_what_cannot_be_taken_is_left_out_by_name(empty: Operator) -> None:
    """If that is asked for; everything else arrives, and whatever PTB does not load is named."""
    users = {0: Order("Oolong"), 1: Trap(), 2: {"n": 1}}
    maps = {"user_data": users, "chat_data": {}, "conversations": {}, "monitors": {}}
    write("telegram_bot_data", pickle.dumps(maps))
    await empty.fails(5, "import", "telegram_bot_data", *OWN)
    done = await empty.done("import", "telegram_bot_data", *OWN, "--skip-unreadable")
    assert "Left out: the key 'monitors' (PTB does not load it either)." in done.stderr
    assert f"Left out: user_data 0 (not trusted: {__name__}.Order)." in done.stderr
    assert "Left out: user_data 1 (not trusted:" in done.stderr
    assert (await empty.done("show", "user_data", "--json")).json["user_data"] == {"2": {"n": 1}}
    again = ("import", "telegram_bot_data", *OWN, "--merge", "--skip-unreadable", "--json")
    left = (await empty.done(*again, "--trusted", __name__)).json["left_out"]
    assert [(one["kind"], one["key"]) for one in left] == [(None, "monitors"), ("user_data", 1)]
    assert not exists("sprung")
    said = await empty.fails(2, "import", "s3://bucket/bot/", "--skip-unreadable")
    assert "--skip-unreadable is for files" in said


async def test_a_store_of_another_bot(onlooker: Operator) -> None:
    """State is not merged into another bot's, whoever's it is said to be."""
    await onlooker.done("export", "state")
    said = await onlooker.fails(5, "import", "state", "--bot", 999, "--merge")
    assert "belongs to another bot" in said


async def test_nothing_to_import_is_said_of_the_source(onlooker: Operator) -> None:
    """Where the other store is empty, nobody is sent to look at their own settings."""
    source = f"s3://{onlooker.bucket}/none/"
    said = await onlooker.fails(3, "import", source, "--merge")
    assert f"nothing to import at {source}" in said
    assert "PTB_S3" not in said
    said = await onlooker.fails(3, "import", "s3://no-such-bucket/bot/", "--merge")
    assert "There is no bucket 'no-such-bucket'" in said


# Export -----------------------------------------------------------------------------------------


async def test_ptb_loads_what_is_exported(onlooker: Operator) -> None:
    """PTB's own PicklePersistence loads the file: all five maps, as the bot had them."""
    outcome = await onlooker.done("export", "state.pickle")
    assert outcome.stdout == "Wrote revision 8, 7 entities, to state.pickle.\n"
    assert "not encrypted" in outcome.stderr
    app = make_application(PicklePersistence("state.pickle"))  # type: ignore[arg-type] # PTB's own
    loaded: Any = app.persistence
    assert await state_of(loaded, "order") == state_after(COMMITS)
    assert mode_of("state.pickle") == 0o600


async def test_a_bot_goes_back_to_pickling(empty: Operator) -> None:
    """Messages in the file belong to the bot that loads it."""
    bots = Bots(empty.server, empty.client, empty.bucket)
    async with application(bots.persistence()) as app:
        await say(app, ADDRESS, user=ALICE)
    await empty.done("export", "state")
    async with application(PicklePersistence("state")) as app:
        assert app.user_data[ALICE]["last"].text == ADDRESS
        assert app.user_data[ALICE]["last"].get_bot() is app.bot


async def test_export_as_of_an_older_commit(operator: Operator) -> None:
    """What is exported is the state of the commit that is named, and it comes back by an import."""
    found = (await operator.done("export", "state", "--at", 4, "--json")).json
    assert (found["file"], found["revision"]) == ("state", 4)
    elsewhere = {"PTB_S3_PREFIX": "copy/"}
    await operator.done("import", "state", *OWN, **elsewhere)
    assert await operator.state(prefix="copy/") == state_after(4)


async def test_export_to_json(onlooker: Operator) -> None:
    """JSON holds all of it for people to read."""
    await onlooker.done("export", "state.json")
    written = json.loads(read("state.json"))
    assert written["user_data"][str(ALICE)] == {"visits": COMMITS, "address": ADDRESS}
    assert written["chat_data"] == {str(GROUP): {"topic": "tea"}}


async def test_export_overwrites_nothing_unasked(onlooker: Operator) -> None:
    """A file that is there stays as it is, unless it is said that it may go."""
    for name in ("state.pickle", "state.json"):
        write(name, "mine")
        assert f"'{name}' is there already" in await onlooker.fails(2, "export", name)
        assert read(name) == b"mine"
        await onlooker.done("export", name, "--overwrite")
        assert read(name) != b"mine"
    await onlooker.fails(2, "export", "none/state.pickle")
    await onlooker.fails(2, "export", ".")


async def test_export_of_classes_that_are_not_trusted(operator: Operator) -> None:
    """A file for PTB names no class that the operator has not called trusted."""
    async with operator.bot(trusted=(__name__,)) as bot:
        await update(bot, {"user_data": {ALICE: {"order": Order("Oolong")}}})
    said = await operator.fails(5, "export", "state")
    assert f"{__name__}.Order" in said
    assert not exists("state")
    await operator.done("export", "state", "--trusted", __name__)
    app = make_application(PicklePersistence("state"))  # type: ignore[arg-type] # PTB's own
    users: Any = await app.persistence.get_user_data()  # type: ignore[union-attr] # it has one
    assert users[ALICE] == {"order": Order("Oolong")}
