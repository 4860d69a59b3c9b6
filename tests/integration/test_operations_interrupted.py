"""What comes in between on real storage: Ctrl-C, a bot that is running, and a slow network."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Mapping
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import pytest
from tests.integration.operators import (
    ALICE,
    CANARIES,
    CAROL,
    COMMITS,
    ROTATE,
    ROTATED,
    Operator,
    Outcome,
    State,
    compact_all,
    go_on,
    state_after,
    without,
)
from tests.support.persistence import BOT_ID, KEY, OTHER_KEY, Persistence, update
from tests.support.terminal import Terminal
from tests.support.turnstile import Turnstile

from ptb_s3 import Keyring
from ptb_s3.errors import UnknownKeyError

HEADS = r"PUT \S+/head "
DELETIONS = r"POST \S+delete"
LISTINGS = r"GET \S+versions\S+{}"
NOW = state_after(COMMITS)


async def ended(process: asyncio.subprocess.Process) -> Outcome:
    """Wait for the program."""
    stdout, stderr = await process.communicate()
    assert process.returncode is not None
    return Outcome(process.returncode, stdout.decode(), (stderr or b"").decode())


# Ctrl-C -----------------------------------------------------------------------------------------


class At(NamedTuple):
    """A request: what its first line matches, after how many others that do, and when.

    Attributes:
        request: What its first line matches.
        skip: So many that do have been answered before.
        after: Whether the storage has carried it out.
    """

    request: str
    skip: int = 0
    after: bool = False


class Interrupt(NamedTuple):
    """Ctrl-C in the middle of a command.

    Attributes:
        command: The command.
        at: The request that is under way.
        said: What the operator is told.
        left: The state as it is then.
        in_the_end: The state once the command has been run again.
        settings: Further variables.
    """

    command: tuple[object, ...]
    at: At
    said: str
    left: State
    in_the_end: State
    settings: Mapping[str, str] = MappingProxyType({})


PRUNE = ("prune", "--keep-last", 5, "--yes")  # the oldest two need older blobs
COMPACT = ("compact", "--all")
FORGET = ("forget", ALICE, "--purge", "--yes")
# Through a turnstile, the storage has another address, and the first head sent there must be
# refused: the commit is the second one.
COMMIT = At(HEADS, 1)
GONE, BACK = without(ALICE, NOW), state_after(3)
AGAIN, HISTORY = "same command again", "ptb-s3 history says"
INTERRUPTS = {
    "prune, once heads are gone": Interrupt(
        PRUNE, At(DELETIONS, after=True), "prune again", NOW, NOW
    ),
    "prune, among the blobs": Interrupt(PRUNE, At(DELETIONS, 2), "prune again", NOW, NOW),
    "rotate, among the blobs": Interrupt(
        ROTATE, At(r"PUT \S+/bot_data ", after=True), "rotate again", NOW, NOW, ROTATED
    ),
    "compact, among the blobs": Interrupt(
        COMPACT, At(r"PUT \S+/bot_data ", after=True), "compact again", NOW, NOW
    ),
    "compact, before the head": Interrupt(COMPACT, COMMIT, "compact again", NOW, NOW),
    "compact, once committed": Interrupt(
        COMPACT, COMMIT._replace(after=True), "compact again", NOW, NOW
    ),
    "forget, once it is erased": Interrupt(FORGET, COMMIT._replace(after=True), AGAIN, GONE, GONE),
    "forget, in the purge": Interrupt(FORGET, At(DELETIONS, 1), AGAIN, GONE, GONE),
    "restore, before": Interrupt(("restore", 3), COMMIT, HISTORY, NOW, BACK),
    "restore, once committed": Interrupt(
        ("restore", 3), COMMIT._replace(after=True), HISTORY, BACK, BACK
    ),
}


@pytest.mark.parametrize("case", INTERRUPTS.values(), ids=INTERRUPTS)
async def test_ctrl_c_loses_nothing(operator: Operator, case: Interrupt) -> None:
    """It is exit code 130 and says how things stand; the state is whole; a second run finishes."""
    keys = (OTHER_KEY, KEY) if case.settings else (KEY,)
    request, skip, after = case.at
    url = operator.server.endpoint_url
    async with Turnstile(url, request, skip=skip, after=after) as turnstile:
        process = await operator.start(
            *case.command, settings={**case.settings, **turnstile.settings}
        )
        running = asyncio.create_task(ended(process))
        await turnstile.hold(running)
        process.send_signal(signal.SIGINT)
        outcome = await running
    assert outcome.exit_code == 130
    *planned, said, last = outcome.stderr.splitlines()
    assert all("does not answer GetReplicationConfiguration" in line for line in planned)
    assert (case.said in said, last) == (True, "Interrupted.")
    assert not [canary for canary in CANARIES if canary in outcome.stdout + outcome.stderr]
    assert await operator.state(*keys) == case.left
    await all_is_well(operator, **case.settings)
    await operator.done(*case.command, **case.settings)
    assert await operator.state(*keys) == case.in_the_end
    await all_is_well(operator, **case.settings)
    await nothing_is_left_to_do(operator, case)


async def all_is_well(operator: Operator, **settings: str) -> None:
    """See that every version there is opens, and every commit that is listed has its blobs."""
    found = (await operator.done("verify", "--history", "--json", **settings)).json
    assert (found["findings"], found["stranded"]) == ([], [])


async def nothing_is_left_to_do(operator: Operator, case: Interrupt) -> None:
    if case.command[0] == "forget":
        assert await operator.holding(str(ALICE)) == []
        return
    before = await operator.listing()
    await operator.done(*case.command, **case.settings)
    assert await operator.listing() == before


async def test_ctrl_c_at_a_question_is_a_no(operator: Operator) -> None:
    """Ctrl-C is heard while the program asks, too, and nothing is done."""
    before = await operator.listing()
    async with Terminal() as terminal:
        process = await operator.start("forget", ALICE, "--purge", terminal=terminal)
        await terminal.until("[y/N]")
        # A signal between the question and the reading of the answer is heard with the next one:
        # no person is as quick as that.
        while "Nothing was changed." not in terminal.shown:
            process.send_signal(signal.SIGINT)
            with suppress(TimeoutError):
                async with asyncio.timeout(1):
                    await terminal.until("Nothing was changed.")
        assert (await ended(process)).exit_code == 130
        await terminal.until("Interrupted.")
        assert str(ALICE) not in terminal.shown
    assert await operator.listing() == before


@pytest.mark.parametrize(("answer", "exit_code", "left"), [("n", 1, COMMITS), ("y", 0, 3)])
async def test_a_question_is_answered_on_a_terminal(
    operator: Operator, answer: str, exit_code: int, left: int
) -> None:
    """No is exit code 1 and changes nothing; yes goes on. What is quick needs no bar."""
    async with Terminal() as terminal:
        process = await operator.start("prune", "--keep-last", 3, terminal=terminal)
        await terminal.until("[y/N]")
        terminal.type(f"{answer}\n")
        assert (await ended(process)).exit_code == exit_code
        assert "Deleting" not in terminal.shown
    assert len(await operator.revisions()) == left


# A bot that is running --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (("restore", 3), state_after(3)),
        (("forget", ALICE, "--yes"), GONE),
        (("forget", CAROL, "--purge", "--yes"), NOW),
    ],
    ids=["restore", "forget", "purge"],
)
async def test_a_running_bot_takes_it_over(
    operator: Operator, command: tuple[object, ...], expected: State
) -> None:
    """What the operator did stays done; what the bot changes itself goes on top of it."""
    async with operator.bot() as bot:
        assert "estart" in (await operator.done(*command)).stderr
        await update(bot, {"bot_data": {"orders": 99}})
        assert (await bot.get_user_data()) == expected["user_data"]
    assert await operator.state() == {**expected, "bot_data": {"orders": 99}}
    await all_is_well(operator)


async def test_a_running_bot_and_rotate(operator: Operator) -> None:
    """A bot that knows the new key goes on; one that does not says which it is, and keeps all."""
    async with (
        operator.bot(keyring=Keyring(KEY, retired=[OTHER_KEY])) as bot,
        operator.bot() as old_bot,
    ):
        await operator.done(*ROTATE, **ROTATED)
        with pytest.raises(ExceptionGroup) as caught:
            await update(old_bot, {"user_data": {ALICE: {"visits": 98}}})
        (error,) = caught.value.exceptions
        assert isinstance(error, UnknownKeyError)
        assert error.needed == OTHER_KEY.id
        await update(bot, {"bot_data": {"orders": 99}})
    assert await operator.state(OTHER_KEY, KEY) == {**NOW, "bot_data": {"orders": 99}}


async def test_keys_are_exchanged_again_for_a_bot_without_the_new_one(operator: Operator) -> None:
    """Its error says how; and its next interval saves all that it could not save meanwhile."""
    async with operator.bot() as bot:
        await operator.done(*ROTATE, **ROTATED)
        for revision in (1, 2):
            with pytest.raises(ExceptionGroup) as caught:
                await update(bot, {"user_data": {revision: {"visits": revision}}})
            said = str(caught.value.exceptions[0])
            assert "Everything that this bot has not saved is kept in its memory" in said
            assert (
                "rotate --while-running with the key that this bot seals with in PTB_S3_KEY" in said
            )
            assert f"key {OTHER_KEY.id} in PTB_S3_RETIRED_KEYS" in said
        back = {"PTB_S3_KEY": KEY.reveal(), "PTB_S3_RETIRED_KEYS": OTHER_KEY.reveal()}
        await operator.done(*ROTATE, **back)
        await update(bot, {"bot_data": {"orders": 99}})
    users = {**NOW["user_data"], 1: {"visits": 1}, 2: {"visits": 2}}
    expected = {**NOW, "user_data": users, "bot_data": {"orders": 99}}
    assert await operator.state() == expected


async def meanwhile(
    operator: Operator, at: At, command: tuple[object, ...], work: Awaitable[None]
) -> Outcome:
    """Run a command, and do something else while a request of its is under way."""
    url = operator.server.endpoint_url
    async with Turnstile(url, at.request, skip=at.skip, after=at.after) as turnstile:
        running = asyncio.create_task(operator.run(*command, **turnstile.settings))
        await turnstile.hold(running)
        await work
        turnstile.released.set()
        return await running


async def commit(bot: Persistence) -> None:
    await update(bot, {"bot_data": {"orders": 99}})


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (("restore", 3), "Nothing was restored: run the same command again."),
        (("forget", ALICE, "--yes"), "Run the same command again to go on"),
        (("import", "state", "--bot", BOT_ID, "--merge"), "Nothing was imported"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
async def test_a_bot_commits_in_the_middle(
    operator: Operator, command: tuple[object, ...], said: str, tmp_path: Path
) -> None:
    """Then it is the operator who is refused, with exit code 6, and the bot goes on."""
    file = tmp_path / "state"
    await operator.done("export", file, "--at", 4)
    command = tuple(file if part == "state" else part for part in command)
    async with operator.bot() as bot:
        outcome = await meanwhile(operator, COMMIT, command, commit(bot))
        assert outcome.exit_code == 6
        error = outcome.stderr.splitlines()[-1]
        assert error.startswith("error: A running bot has committed meanwhile; nothing ")
        assert said in error
        await update(bot, {"bot_data": {"orders": 100}})
    assert await operator.state() == {**NOW, "bot_data": {"orders": 100}}
    await operator.done(*command)
    await all_is_well(operator)


async def test_a_bot_commits_in_the_middle_of_rotate(operator: Operator) -> None:
    """Blobs that are sealed anew already do no harm; a second rotate does the rest."""
    async with operator.bot() as bot:
        command = ROTATE
        async with Turnstile(operator.server.endpoint_url, HEADS, skip=1) as turnstile:
            running = asyncio.create_task(operator.run(*command, **ROTATED, **turnstile.settings))
            await turnstile.hold(running)
            await commit(bot)
            turnstile.released.set()
            outcome = await running
        assert outcome.exit_code == 6
        assert "ptb-s3 rotate again" in outcome.stderr
    expected = {**NOW, "bot_data": {"orders": 99}}
    assert await operator.state(OTHER_KEY, KEY) == expected
    await operator.done(*ROTATE, **ROTATED)
    assert await operator.state(OTHER_KEY) == expected


async def test_a_bot_commits_in_the_middle_of_compact(operator: Operator) -> None:
    """That is no failure: it goes on from there, and the bot goes on from its head."""
    async with operator.bot() as bot:
        async with Turnstile(operator.server.endpoint_url, HEADS, skip=1) as turnstile:
            running = asyncio.create_task(operator.run(*COMPACT, **turnstile.settings))
            await turnstile.hold(running)
            await commit(bot)
            turnstile.released.set()
            outcome = await running
        assert outcome.exit_code == 0, outcome
        await update(bot, {"bot_data": {"orders": 100}})
    assert await operator.state() == {**NOW, "bot_data": {"orders": 100}}
    await all_is_well(operator)


async def test_purge_deletes_nothing_that_is_current(operator: Operator) -> None:
    """Where a bot has saved the same user again by then, nothing is purged: exit code 6."""

    async def save_again() -> None:
        async with operator.bot() as bot:
            await update(bot, {"user_data": {ALICE: {"visits": 1}}})

    searching = At(LISTINGS.format("user_data"), 1)  # once it is erased
    outcome = await meanwhile(operator, searching, FORGET, save_again())
    assert outcome.exit_code == 6
    assert "A running bot has saved it again, into head. Nothing was purged." in outcome.stderr
    assert (await operator.state())["user_data"][ALICE] == {"visits": 1}
    await operator.done(*FORGET)
    assert await operator.holding(str(ALICE)) == []


@pytest.mark.parametrize(
    "at",
    [At(LISTINGS.format("user_data")), At(r"GET \S+/head\?\S*versionId"), At(DELETIONS)],
    ids=["list", "plan", "delete"],
)
async def test_prune_while_a_bot_commits_and_compacts(operator: Operator, at: At) -> None:
    """The bot goes on, and every commit that is left can be restored, the bot's as well."""
    async with operator.bot() as bot:

        async def commit_and_compact() -> None:
            for revision in (9, 10, 11):
                await go_on(bot, revision)
                await compact_all(bot)

        outcome = await meanwhile(operator, at, PRUNE, commit_and_compact())
        assert outcome.exit_code == 0, outcome
        await go_on(bot, 12)
    assert set(range(COMMITS - 1, 13)) <= set(await operator.revisions())
    await all_is_well(operator)
    for revision in (9, 10):
        await operator.done("restore", revision)
        assert await operator.state() == state_after(revision)


# A slow network ---------------------------------------------------------------------------------


async def test_a_bar_for_what_takes_long(operator: Operator) -> None:
    """What takes longer than a second shows on a terminal how far it is, and nothing in a pipe."""
    async with (
        Turnstile(operator.server.endpoint_url, delay=0.2) as slow,
        Terminal() as terminal,
    ):
        command = ("verify", "--history")
        watched = await operator.start(*command, terminal=terminal, settings=slow.settings)
        piped = await operator.start(*command, settings=slow.settings)
        assert (await ended(watched)).stdout.startswith("All is well")
        assert (await ended(piped)).stderr == ""
        assert "Opening versions" in terminal.shown
        assert "/?" in terminal.shown  # while they are listed
        assert f"/{len(await operator.listing())}" in terminal.shown
