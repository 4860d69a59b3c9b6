"""`ptb-s3 compact` on real storage: head gets small, and nothing else changes."""

from __future__ import annotations

import os
from typing import Any

from tests.integration.operators import (
    ALICE,
    COMMITS,
    PREFIX,
    ROTATED,
    Operator,
    state_after,
)
from tests.support import KEY

from ptb_s3._engine.repository import Repository
from ptb_s3._format.entities import Kind
from ptb_s3._keys.keyring import Keyring

NOW = state_after(COMMITS)


async def entities(operator: Operator) -> dict[Kind, dict[Any, bytes]]:
    """Return every entity as its bytes, whatever they stand for."""
    store = operator.store()
    repository = Repository(store, Keyring(KEY))
    try:
        await repository.load()
        return {kind: dict(of) for kind, of in repository.base.entities.items()}
    finally:
        await store.close()


async def overdue(operator: Operator) -> None:
    """Commit values that are no pickles, as a bot does that gets no time for its blobs."""
    store = operator.store()
    repository = Repository(store, Keyring(KEY), resolve=lambda *_: None)  # type: ignore[arg-type]
    try:
        await repository.load()
        for user in range(2):
            repository.stage(Kind.USER_DATA, user, b"no pickle" + os.urandom(100_000))
            await repository.commit()
            repository.stage(Kind.BOT_DATA, 0, b"none either" + bytes([user]))
            await repository.commit()
    finally:
        await store.close()


async def test_nothing_that_is_due_is_nothing_to_do(operator: Operator) -> None:
    """It says so, writes nothing, and it is no failure."""
    await operator.done("compact")
    before = await operator.listing()
    assert (await operator.done("compact")).stdout == "Nothing to do.\n"
    found = (await operator.done("compact", "--json")).json
    assert found == {"objects": [], "done": False, "sent": 0, "head": None}
    assert await operator.listing() == before


async def test_what_is_due_is_written_and_head_gets_small(operator: Operator) -> None:
    """The same entities as before, to the byte, and no value of them is looked at."""
    await overdue(operator)
    before = await entities(operator)
    objects = {name: len(await operator.versions(name)) for name in ("head", *Kind)}
    told = (await operator.done("status", "--json")).json["compaction"]
    assert told["due"] == ["user_data"]
    assert told["sends"] >= told["carried"] > 40_000
    done = (await operator.done("compact", "--json")).json
    assert done["objects"] == ["user_data", "head"]
    assert done["done"] is True
    assert done["head"]["before"] > 200_000
    assert done["head"]["after"] == len(await operator.read("head")) < 10_000
    assert done["sent"] >= 200_000
    assert await entities(operator) == before
    written = {name: len(await operator.versions(name)) for name in ("head", *Kind)}
    assert {name for name in written if written[name] > objects[name]} == {"user_data", "head"}
    assert (await operator.done("status", "--json")).json["compaction"] == {
        "due": [],
        "carried": 0,
        "sends": 0,
    }
    assert "compaction" not in (await operator.done("status")).stdout


async def test_status_says_what_is_due_and_what_it_costs(operator: Operator) -> None:
    """Kinds, bytes of each commit, bytes of the compaction, and its command."""
    await overdue(operator)
    (line,) = [
        line
        for line in (await operator.done("status")).stdout.splitlines()
        if line.startswith("compaction")
    ]
    assert "due for user_data; each commit carries " in line
    assert "ptb-s3 compact sends some " in line


async def test_all_is_all_that_anything_was_changed_of(operator: Operator) -> None:
    """Due or not; then the differentials are empty."""
    said = (await operator.done("compact", "--all")).stdout
    assert said.startswith("Written: ")
    kinds = (await operator.done("status", "--json")).json["kinds"]
    assert {kind["differential"] for kind in kinds.values()} == {0}
    assert (await operator.done("compact", "--all")).stdout == "Nothing to do.\n"
    assert await operator.state() == NOW
    assert ALICE in NOW["user_data"]


async def test_a_dry_run_names_what_it_would_write(operator: Operator) -> None:
    """And writes nothing."""
    await overdue(operator)
    before = await operator.listing()
    said = (await operator.done("compact", "--dry-run")).stdout
    assert said == "Would be written: user_data, head. Nothing was changed.\n"
    assert await operator.listing() == before


async def test_it_exchanges_no_keys_beside_a_bot(operator: Operator) -> None:
    """A bot without the key that it would seal with could not save any more."""
    assert "could not save from then on" in await operator.fails(6, "compact", "--all", **ROTATED)


async def test_without_a_state_it_says_so(operator: Operator) -> None:
    """As every command does."""
    await operator.fails(3, "compact", PTB_S3_PREFIX=f"{PREFIX}other/")
