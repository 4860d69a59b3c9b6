"""PTB's own `tests/ext/test_basepersistence.py`, with `S3Persistence` in the place of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from tests.conformance.ptb_run import Outcome, SuiteRun, joined, names_in
from tests.conformance.ptb_suite import SuiteNotToBeHadError, ptb_suite

SUITE = "tests/ext/test_basepersistence.py"
# Looks for duplicates in the __slots__ along PTB's own classes: a rule of PTB's for its code, which
# a class with a __dict__, as third parties write them, has no part in.
DOES_NOT_APPLY = "TestBasePersistence::test_slot_behaviour"
APPLIES = 60
"""Tests of PTB 22.7 and 22.8 that do apply; a later one may have more."""
_SHARES = 2  # of each run, side by side: PTB's tests sleep for most of their minute


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Outcome, Outcome]]:
    """PTB's suite as PTB runs it, and with `S3Persistence`, at the same time."""
    try:
        suite = ptb_suite()
    except SuiteNotToBeHadError as exc:
        pytest.fail(str(exc))
    tests = names_in(suite, SUITE)
    applying = [test for test in tests if test != DOES_NOT_APPLY]
    folder = tmp_path_factory.mktemp("ptb-suite")
    with ExitStack() as stack:
        runs = [
            [
                stack.enter_context(
                    SuiteRun(suite, folder / f"{name}-{n}", SUITE, selected[n::_SHARES], *options)
                )
                for n in range(_SHARES)
            ]
            for name, selected, options in [
                ("own", tests, ()),
                ("s3", applying, ("-p", "tracking_plugin")),
            ]
        ]
        own, s3 = map(joined, runs)
        yield own, s3


def test_every_test_of_ptb_that_applies_passes(outcomes: tuple[Outcome, Outcome]) -> None:
    """`S3Persistence` passes what PTB's own in-memory class passes, but for the one on slots."""
    own, s3 = outcomes
    assert set(own.tests.values()) == {"passed"}, own.output
    assert set(s3.tests.values()) == {"passed"}, s3.output
    assert own.tests.keys() - s3.tests.keys() == {DOES_NOT_APPLY}
    assert len(s3.tests) == len(own.tests) - 1 >= APPLIES


def test_it_is_s3persistence_that_passed_them(outcomes: tuple[Outcome, Outcome]) -> None:
    """The suite loaded and committed through the engine; PTB's own class was not in it."""
    own, s3 = outcomes
    assert s3.counted["loads"] >= APPLIES // 2
    assert s3.counted["commits"] >= APPLIES // 4
    assert not own.counted
