"""A few thousand schedules of the whole engine; and that they would find it broken."""

from __future__ import annotations

import itertools
import multiprocessing
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor

import pytest
from tests.simulation.__main__ import attempt
from tests.simulation.features import FEATURES
from tests.simulation.model import Violation
from tests.simulation.mutants import MUTANTS, Mutant
from tests.simulation.world import simulate

SCHEDULES = 500
# Seconds of CPU within which whatever is broken must be found, however busy the machine is.
PATIENCE = 60.0


def test_schedules_hold_what_was_promised(monkeypatch: pytest.MonkeyPatch) -> None:
    """No acknowledged change is lost, every load was committed, every blob fits its head."""
    monkeypatch.setenv("PYTHONHASHSEED", "0")  # of the processes of the pool: as seeds repeat it
    with ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn")) as pool:
        results = list(pool.map(attempt, range(SCHEDULES), chunksize=20))
    failures = [failure for _, failure in results if failure]
    assert not failures, "\n".join(failures)
    tally = sum((happened for happened, _ in results), Counter[str]())
    for what in COMMON:
        assert tally[what] >= SCHEDULES / 50, f"hardly any schedule had {what}: {tally}"
    for feature in FEATURES:
        assert tally[f"with {feature}"] >= SCHEDULES / 20, f"hardly any had {feature}: {tally}"
    assert tally["commits"] >= 5 * SCHEDULES


COMMON = (
    *("killed", "conflicts", "merged", "overridden", "compactions", "restored", "words"),
    *("expired", "settled", "pages", "meddled", "answered", "started again"),
)


def test_a_schedule_is_the_same_each_time() -> None:
    """What a seed found once, it finds again."""
    assert simulate(3) == simulate(3)


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_broken_engine_is_found(mutant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Broken in one place, the engine is caught within a minute."""
    for target, name, broken in MUTANTS[mutant].patches:
        monkeypatch.setattr(target, name, broken)
    with pytest.raises(Violation):
        _simulate_for(PATIENCE, MUTANTS[mutant])


def _simulate_for(seconds: float, mutant: Mutant) -> None:
    until = time.process_time() + seconds
    seeds = itertools.count(mutant.first)
    while time.process_time() < until:
        simulate(next(seeds), mutant.features)
