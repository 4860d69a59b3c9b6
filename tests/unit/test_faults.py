"""Promises 1, 2 and 4: whatever call fails, and however, nothing is lost or mixed."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable

import pytest
from tests.support import make_persistence, state_of
from tests.support.session import EAGER, STEPS, Session, State, state_after

from ptb_s3._format import head
from ptb_s3._format.entities import Kind
from ptb_s3._storage.faults import Call, Fault, ProcessKilled, seeded_faults
from ptb_s3._storage.memory import MemoryStore
from ptb_s3.errors import ConflictError


@pytest.fixture(autouse=True)
def _eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blobs are written anew as soon as anything was carried along."""
    monkeypatch.setattr(head, "COMPACTION_SLACK", EAGER)


def mortal(faults: Callable[[Call], Fault | None]) -> Callable[[Call], Fault | None]:
    """Once killed, a process makes no further call."""
    dead = False

    def fault(call: Call) -> Fault | None:
        nonlocal dead
        if dead:
            return Fault.KILL_BEFORE
        chosen = faults(call)
        dead = chosen in {Fault.KILL_BEFORE, Fault.KILL_AFTER}
        return chosen

    return fault


async def survivors(faults: Callable[[Call], Fault | None]) -> tuple[Session, State, MemoryStore]:
    store = MemoryStore(faults=mortal(faults))
    session = Session(store)
    with contextlib.suppress(ProcessKilled):
        await session.run()
    store.faults = lambda _: None
    return session, await state_of(make_persistence(store), "order"), store


def assert_nothing_lost(session: Session, found: State, store: MemoryStore) -> None:
    allowed = range(session.acknowledged, session.attempted + 1)
    assert found in [state_after(step) for step in allowed], (
        f"expected the state after one of {list(allowed)}; calls: {store.calls}"
    )


async def _calls_of_a_session() -> int:
    _, found, store = await survivors(lambda _: None)
    assert found == state_after(STEPS)
    return len(store.calls) - 1 - len(Kind)  # the last load's


async def test_a_session_has_every_kind_of_call() -> None:
    """The session that faults are put into commits, compacts, flushes and opens anew."""
    _, _, store = await survivors(lambda _: None)
    puts = [call.name for call in store.calls if call.operation == "put"]
    assert puts.count("head") >= STEPS
    assert all(puts.count(kind) >= 2 for kind in ("user_data", "bot_data", "conversations"))


@pytest.mark.parametrize("fault", Fault)
async def test_any_call_may_fail_or_be_the_last(fault: Fault) -> None:
    """Fail or die at call N, before or after it took effect: a commit is there whole, or not."""
    for number in range(1, await _calls_of_a_session() + 1):
        session, found, store = await survivors(
            lambda call, n=number: fault if call.number == n else None  # type: ignore[misc]  # n is bound
        )
        assert_nothing_lost(session, found, store)
        if fault in {Fault.FAIL_BEFORE, Fault.FAIL_AFTER} and number > 2 + len(Kind):
            assert found == state_after(STEPS), "what failed goes with the next commit"


@pytest.mark.long
@pytest.mark.parametrize(
    ("first", "second"),
    list(itertools.product([Fault.FAIL_BEFORE, Fault.FAIL_AFTER], Fault)),
)
async def test_two_calls_in_a_row_may_fail(first: Fault, second: Fault) -> None:
    """A reply is lost, and then no answer to whether it was lost: still all or nothing."""
    for number in range(3 + len(Kind), await _calls_of_a_session() + 1, 4):
        session, found, store = await survivors(
            lambda call, n=number: {n: first, n + 1: second}.get(call.number)  # type: ignore[misc]  # n is bound
        )
        assert_nothing_lost(session, found, store)


async def test_random_faults_lose_nothing() -> None:
    """However often calls fail, the state is the last acknowledged one or a later one."""
    for seed in range(40):
        faults = seeded_faults(seed, rate=0.3)
        session, found, store = await survivors(
            lambda call, f=faults: None if call.number < 8 else f(call)  # type: ignore[misc]  # f is bound
        )
        assert_nothing_lost(session, found, store)


async def test_one_writer_never_conflicts_with_itself() -> None:
    """Lost replies are settled by reading head, and never taken for another writer's commit."""
    for seed in range(20):
        faults = seeded_faults(seed, rate=0.5)
        store = MemoryStore(faults=lambda call, f=faults: None if call.number < 8 else f(call))  # type: ignore[misc]  # f is bound
        session = Session(store)
        try:
            await session.run()
        except ConflictError:
            pytest.fail(f"seed {seed}")
        assert session.persistence.stats.conflicts == 0
