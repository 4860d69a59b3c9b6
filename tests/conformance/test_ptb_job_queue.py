"""PTB's own `tests/ext/test_jobqueue.py`, with `PersistentJobQueue` in the place of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from tests.conformance.ptb_run import Outcome, SuiteRun, joined, names_in
from tests.conformance.ptb_suite import SuiteNotToBeHadError, ptb_suite

SUITE = "tests/ext/test_jobqueue.py"
APPLIES = 96
"""Tests of PTB 22.8 that do apply; a later one may have more."""
WITHOUT_APSCHEDULER = {"TestNoJobQueue::test_init_job_queue", "TestNoJobQueue::test_init_job"}
"""Tests that PTB skips where APScheduler is installed, as it is here."""
_SHARES = 4  # side by side: PTB's tests sleep for most of their minute


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outcome]:
    """PTB's suite with `PersistentJobQueue(persistent=False)`."""
    try:
        suite = ptb_suite()
    except SuiteNotToBeHadError as exc:
        pytest.fail(str(exc))
    tests = names_in(suite, SUITE)
    folder = tmp_path_factory.mktemp("ptb-suite")
    with ExitStack() as stack:
        runs = [
            stack.enter_context(
                SuiteRun(
                    *(suite, folder / str(n), SUITE, tests[n::_SHARES]),
                    *("-p", "job_queue_plugin"),
                )
            )
            for n in range(_SHARES)
        ]
        yield joined(runs)


def test_every_test_of_ptb_passes(outcome: Outcome) -> None:
    """`PersistentJobQueue` passes all that PTB's own queue does, with nothing left out."""
    skipped = {name for name, was in outcome.tests.items() if was == "skipped"}
    others = {name: was for name, was in outcome.tests.items() if name not in skipped}
    assert skipped == WITHOUT_APSCHEDULER
    assert set(others.values()) == {"passed"}, outcome.output
    assert len(others) >= APPLIES


def test_it_is_our_scheduler_that_passed_them(outcome: Outcome) -> None:
    """PTB's own queue was in none of them, and jobs went through ours."""
    assert outcome.counted["queues"] >= APPLIES // 2
    assert outcome.counted["jobs"] >= APPLIES // 2
