"""The operator's commands beside a running bot: it reads what is right, whatever it has read.

Of a bot that reads on demand, three users stand for all: `LIVE`, of whom it has an object, `NEAR`,
whose data lies in the same part of a blob, and `UNREAD`, of whom it has read nothing. A bot that
reads all at its start is the measure: what holds for one holds for the other.
"""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from telegram.ext import MessageHandler, filters
from tests.integration.operators import CANARIES, ROTATE, ROTATED, Operator, employed
from tests.servers import S3Server
from tests.support import BOT_ID, KEY, OTHER_KEY, make_persistence
from tests.support.bots import App, gather_errors, say
from tests.support.jobs import begun, end, until
from tests.support.on_demand import (
    COUNT,
    DEMANDED,
    compacted,
    filled,
    on_demand,
    own,
    repository_of,
    small_segments,
)

from ptb_s3 import Keyring
from ptb_s3._format.entities import Kind
from ptb_s3._keys.keyring import Key
from ptb_s3.errors import (
    ConflictError,
    DamagedObjectError,
    StorageUnavailableError,
    UnknownKeyError,
)

LIVE, NEAR, UNREAD, NEW = 7, 8, 50, 900
THREE = (LIVE, NEAR, UNREAD)
FILLED = 2
"""Revision of the state that the bot begins with."""
IMPORT = ("--bot", BOT_ID, "--merge", "--replace")
ROTATED_BACK = {"PTB_S3_KEY": KEY.reveal(), "PTB_S3_RETIRED_KEYS": OTHER_KEY.reveal()}

ON_VERSIONS = [("versioned", "all"), ("versioned", "on_demand")]
WITHOUT = ("unversioned", "on_demand")
versioned = pytest.mark.parametrize(("operator", "load"), ON_VERSIONS, indirect=True)
"""For commands that need older versions."""
anywhere = pytest.mark.parametrize(("operator", "load"), [*ON_VERSIONS, WITHOUT], indirect=True)
ran: list[Any] = []
"""Data of user and chat that jobs have found."""
unversioned = pytest.mark.parametrize(("operator", "load"), [WITHOUT], indirect=True)


@pytest.fixture(autouse=True)
def _small_segments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("ptb_s3._engine.patience.PAUSE", 0.01)
    with small_segments():
        yield


@dataclass
class Beside:
    """A bot that runs beside the commands, and what it should find.

    Attributes:
        operator: Gives the commands.
        app: The bot.
        errors: What its error handlers were told.
        found: Data of user and chat as its handler has found them, by update.
        model: Data of its users, by id. Each has a private chat with the same data.
    """

    operator: Operator
    app: App
    errors: list[Exception]
    found: list[tuple[Any, Any]]
    model: dict[int, Any]

    async def hears(self, *users: int, text: str = "look") -> None:
        """Have users write, and see that the handler finds what it should."""
        for user in users:
            await say(self.app, text, user=user)
            assert not self.errors
            expected = self.model.setdefault(user, {})  # as PTB makes it then
            assert self.found.pop() == (expected, expected), user
            if text != "look":
                self.model[user] = {**expected, "said": text}

    async def saves(self, *users: int, text: str) -> None:
        await self.hears(*users, text=text)
        await self.app.update_persistence()
        assert not self.errors

    async def fails(self, user: int, text: str = "look") -> list[Exception]:
        """Have a user write, and the bot save; return what the error handlers are told."""
        await say(self.app, text, user=user)
        await self.app.update_persistence()
        told, self.errors[:] = list(self.errors), []
        assert not [word for word in (own(user)["text"], *CANARIES) if word in str(told)]
        return told

    async def agrees(self, *keys: Key, **settings: str) -> None:
        """See that it finds what it should, also in others' commits, and that it is all saved."""
        await self.saves(NEW, text="after")
        await self.hears(*THREE)
        await self.saves(*THREE, text="after")
        state = await self.operator.state(*keys)
        assert [state[kind] for kind in DEMANDED] == [self.model, self.model]
        for data in (self.app.user_data, self.app.chat_data):
            assert len(data) == len(self.model)
            assert set(data) == self.model.keys()
        await self.operator.done("verify", **settings)


@asynccontextmanager
async def beside(
    operator: Operator, load: str, model: dict[int, Any] | None = None, **options: Any
) -> AsyncIterator[Beside]:
    """Run a bot that has read and changed one of its users."""
    found: list[Any] = []

    async def see(update: Any, context: Any) -> None:
        found.append((dict(context.user_data), dict(context.chat_data)))
        if update.message.text != "look":
            context.user_data["said"] = context.chat_data["said"] = update.message.text

    app = on_demand(operator.store(), MessageHandler(filters.ALL, see), load=load, **options)
    async with app:
        model = {key: own(key) for key in range(1, COUNT + 1)} if model is None else model
        bot = Beside(operator, app, gather_errors(app), found, model)
        await bot.saves(LIVE, text="before")
        yield bot


@pytest.fixture
async def operator(s3_server: S3Server, request: pytest.FixtureRequest) -> AsyncIterator[Operator]:
    """An operator whose bot has sixty users, in blobs of ten parts."""
    async with employed(s3_server, versioned=request.param == "versioned") as operator:
        store = operator.store()
        await filled(store)
        await store.close()
        yield operator


@pytest.fixture
def load(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@pytest.fixture
async def bot(operator: Operator, load: str) -> AsyncIterator[Beside]:
    """A bot that looks for others' commits before each update."""
    async with beside(operator, load, sync=0) as bot:
        yield bot


async def keeps_versions(operator: Operator) -> bool:
    return len(await operator.versions("head")) > 1


# Erasing, importing, going back -------------------------------------------------------------------


@anywhere
async def test_who_is_forgotten_is_gone(bot: Beside) -> None:
    """Whatever the bot has of them; and nothing of anybody else goes with the old blobs."""
    for user in THREE:
        await bot.operator.done("forget", user, "--purge", "--yes")
        del bot.model[user]
    await bot.agrees()
    assert bot.model[UNREAD] == {"said": "after"}


@versioned
async def test_who_was_forgotten_comes_back_by_nothing(bot: Beside) -> None:
    """Not by what the bot has not saved, by its compactions, or with an older revision."""
    await bot.hears(LIVE, text="unsaved")
    for user in (LIVE, UNREAD):
        await bot.operator.done("forget", user, "--yes")
    bot.model[LIVE] = {"said": "unsaved"}  # and no word of what was erased
    del bot.model[UNREAD]
    await bot.saves(NEW, text="more")
    await compacted(bot.app.persistence)  # type: ignore[arg-type]
    await bot.hears(LIVE)
    await bot.operator.done("restore", FILLED)
    bot.model = {key: own(key) for key in range(1, COUNT + 1) if key not in (LIVE, UNREAD)}
    await bot.agrees()


@anywhere
async def test_what_is_imported_is_found(bot: Beside) -> None:
    """From either file; what the bot has not saved goes on top of it."""
    exported = dict(bot.model)
    for file in ("state.json", "state.pickle"):
        await bot.operator.done("export", file)
    imported = {user: {"imported": user} for user in THREE}
    change("state.pickle", exported, exported | imported)
    await bot.hears(NEAR, text="unsaved")
    await bot.operator.done("import", "state.pickle", *IMPORT)
    bot.model |= imported | {NEAR: {"imported": NEAR, "said": "unsaved"}}
    await bot.agrees()
    await bot.operator.done("import", "state.json", *IMPORT)
    bot.model |= exported
    await bot.agrees()


def change(file: str, before: dict[int, Any], after: dict[int, Any]) -> None:
    """Change the users and chats of a file of PicklePersistence's."""
    state = pickle.loads(Path(file).read_bytes())  # noqa: S301 - of our own
    assert state["user_data"] == state["chat_data"] == before
    Path(file).write_bytes(pickle.dumps({**state, "user_data": after, "chat_data": after}))


@versioned
async def test_what_is_restored_is_found(bot: Beside) -> None:
    """All of an older revision, or one user of it."""
    await bot.saves(LIVE, UNREAD, NEW, text="wrong")
    for kind in DEMANDED:
        await bot.operator.done("restore", FILLED, "--kind", kind, "--entity", UNREAD)
    bot.model[UNREAD] = own(UNREAD)
    await bot.agrees()
    await bot.operator.done("restore", FILLED)
    bot.model = {key: own(key) for key in range(1, COUNT + 1)}
    await bot.agrees()


# Looking ------------------------------------------------------------------------------------------


@versioned
async def test_what_it_writes_is_what_the_commands_show(bot: Beside) -> None:
    """Its commits and its compactions; and to look changes nothing."""
    await bot.saves(LIVE, UNREAD, text="tea")
    await compacted(bot.app.persistence)  # type: ignore[arg-type]
    await bot.saves(NEAR, text="milk")
    operator, before = bot.operator, await bot.operator.listing()
    listed = (await operator.done("history", "--json")).json
    assert {"user_data": 2, "chat_data": 2} in [commit["changed"] for commit in listed]
    changed = (await operator.done("diff", FILLED, "--json")).json["entities"]
    assert {(one["kind"], one["key"], one["what"]) for one in changed} == {
        (kind.value, user, "changed") for kind in DEMANDED for user in THREE
    }
    for revision, users in ((FILLED, {key: own(key) for key in bot.model}), ("", bot.model)):
        at = ("--at", revision) if revision else ()
        shown = (await operator.done("show", "user_data", *at, "--json")).json["user_data"]
        assert shown == {str(user): data for user, data in users.items()}
    found = (await operator.done("verify", "--history", "--json")).json
    assert (found["findings"], found["stranded"]) == ([], [])
    kinds = (await operator.done("status", "--json")).json["kinds"]
    assert [(kinds[kind]["entities"], kinds[kind]["differential"]) for kind in DEMANDED] == [
        (COUNT, 1)
    ] * 2
    assert (await operator.done("jobs", "--json")).json == []
    # On moto, whose buckets anybody may read, all is not well.
    assert "Wrote report.html" in (await operator.run("report", "report.html")).stdout
    assert await operator.listing() == before
    await bot.agrees()


# Blobs and keys -----------------------------------------------------------------------------------


@anywhere
async def test_the_blob_that_it_reads_from_may_go(operator: Operator, load: str) -> None:
    """Whichever commit the new one is of: it finds that by itself.

    Code that cannot await reads on where it needs no other head for it, or is told what to do.
    """
    async with beside(operator, load, sync=3600) as bot:
        for user, other in ((NEAR, COUNT - 1), (UNREAD, COUNT)):
            await operator.done("compact", "--all")
            await prune(operator)
            assert bot.app.user_data[user + 1] == own(user + 1)
            await operator.done("forget", other, "--yes")  # a commit that the bot has not seen
            await prune(operator)
            del bot.model[other]
            if load == "on_demand":
                with pytest.raises(StorageUnavailableError, match="Prefetch it"):
                    _ = bot.app.user_data[user + 2]
            await bot.hears(user)
            assert bot.app.user_data[user + 2] == own(user + 2)
        await bot.agrees()


async def prune(operator: Operator) -> None:
    """Delete the versions that are not current, in a bucket that keeps any."""
    if await keeps_versions(operator):
        await operator.done("prune", "--keep-last", 1, "--yes")


@anywhere
async def test_it_goes_on_with_another_key(operator: Operator, load: str) -> None:
    """With both keys it reads what either has sealed; also beside one that seals with the other."""
    async with beside(operator, load, keyring=Keyring(KEY, [OTHER_KEY])) as bot:
        await operator.done(*ROTATE, **ROTATED)
        await bot.agrees(OTHER_KEY, KEY, **ROTATED)
        turned = Keyring(OTHER_KEY, [KEY])
        async with beside(operator, load, bot.model, sync=0, keyring=turned) as other:
            await compacted(other.app.persistence)  # type: ignore[arg-type]
            for each in (bot, other, bot):
                await each.saves(1, NEAR, 59, text="tea")
                await compacted(each.app.persistence)  # type: ignore[arg-type]
        await bot.agrees(OTHER_KEY, KEY, **ROTATED)


@anywhere
async def test_without_the_new_key_it_says_so_and_loses_nothing(
    operator: Operator, load: str
) -> None:
    """As the error says, it saves again once everything is sealed with its own key again."""
    async with beside(operator, load) as bot:
        await operator.done(*ROTATE, **ROTATED)
        await bot.hears(LIVE)
        assert isinstance(error := (await bot.fails(LIVE, "unsaved"))[-1], UnknownKeyError)
        assert "rotate --while-running" in str(error)
        bot.model[LIVE] = {**bot.model[LIVE], "said": "unsaved"}
        bot.found.clear()
        told = await bot.fails(UNREAD)
        assert told
        assert all(isinstance(one, UnknownKeyError) and OTHER_KEY.id in str(one) for one in told)
        gone = load == "on_demand" and not await keeps_versions(operator)
        assert bot.found == ([] if gone else [(own(UNREAD), own(UNREAD))])
        bot.found.clear()
        await operator.done(*ROTATE, **ROTATED_BACK)
        await bot.agrees(KEY, OTHER_KEY, **ROTATED_BACK)


# Jobs ---------------------------------------------------------------------------------------------


@anywhere
async def test_jobs_are_of_the_state_that_commands_leave(operator: Operator, load: str) -> None:
    """Those of whoever is forgotten do not run, and others find their user where it is by then."""
    ran.clear()
    options: Any = {"load": load, "sync": 0, "trusted": (__name__,)}
    bot = await begun(make_persistence(operator.store(), **options))
    for user in (NEAR, UNREAD):
        bot.job_queue.run_once(remind, 3600, user_id=user, chat_id=user, name=str(user))
    await bot.update_persistence()
    listed = (await operator.done("jobs", "--json", "--user", UNREAD)).json
    assert [job["callback"] for job in listed] == [f"{__name__}:remind"]
    await operator.done("forget", UNREAD, "--purge", "--yes")
    for user in (UNREAD, NEAR):  # the bot has not heard of it yet
        (job,) = bot.job_queue.get_jobs_by_name(str(user))
        job.job.modify(next_run_time=datetime.now(UTC))
    await until(lambda: ran)
    await end(bot)
    assert ran == [(own(NEAR), own(NEAR))]
    assert (await operator.done("jobs", "--json")).json == []
    assert UNREAD not in (await operator.state())["user_data"]


async def remind(context: Any) -> None:
    ran.append((dict(context.user_data), dict(context.chat_data)))


# Damage -------------------------------------------------------------------------------------------


@anywhere
async def test_it_goes_on_from_what_a_repair_brings_back(bot: Beside) -> None:
    """All of it, or nothing where no version has it; what a repair has lost is not in memory."""
    await bot.hears(NEAR, text="unsaved")
    for kind in DEMANDED:
        await bot.operator.damage(kind)
    assert (await bot.operator.run("verify")).exit_code == 5
    repaired = await bot.operator.done("repair", "--yes")
    if "all of it is lost" in repaired.stderr:
        bot.model = {NEAR: {"said": "unsaved"}}
    await bot.agrees()


@unversioned
async def test_damage_to_a_part_is_an_error_for_those_in_it(operator: Operator, load: str) -> None:
    """It is named, and nothing is saved over them; all others are served."""
    async with beside(operator, load) as bot:
        source = repository_of(bot.app).base.partial[Kind.USER_DATA].source
        start, size = source.span(source.index.number_of(UNREAD))
        await operator.damage("user_data", at=start + size // 2)
        (error,) = await bot.fails(UNREAD, "tea")
        assert isinstance(error, DamagedObjectError)
        assert "ptb-s3 repair" in str(error)
        with pytest.raises(DamagedObjectError):
            _ = bot.app.user_data[UNREAD]
        await bot.saves(LIVE, NEAR, 30, text="milk")
        await operator.damage("user_data", at=start + size // 2)  # as it was
        await bot.agrees()


# At the same time ---------------------------------------------------------------------------------


@unversioned
async def test_commands_may_run_at_any_time(operator: Operator, load: str) -> None:
    """In processes of their own. One that is too late says so, and goes on when it is run again."""
    async with beside(operator, load) as bot:
        for command in (("compact", "--all"), ("forget", UNREAD, "--yes")):
            process = await operator.start(*command)
            ended = asyncio.create_task(process.communicate())
            while not ended.done():
                await goes_on(bot)
            await ended
            assert process.returncode in (0, 6)
        await operator.done("forget", UNREAD, "--yes")
        del bot.model[UNREAD]
        await bot.agrees()


async def goes_on(bot: Beside) -> None:
    """Have the bot serve ten users, save twice, and write its blobs anew."""
    for user in range(1, 11):
        await bot.hears(user, text=f"{len(bot.model[user])} at {user}")
        await bot.hears(COUNT - user % 9)
        if user % 5 == 0:
            await bot.app.update_persistence()
        await asyncio.sleep(0.02)
    with suppress(ConflictError):  # a command was first, and that will do
        await compacted(bot.app.persistence)  # type: ignore[arg-type]
