"""PTB's own `tests/ext/test_basepersistence.py`, with `S3Persistence` in the place of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple, Self
from xml.etree import ElementTree as ET

import pytest
from tests.conformance.ptb_suite import SuiteNotToBeHadError, ptb_suite

import ptb_s3

SUITE = "tests/ext/test_basepersistence.py"
# Looks for duplicates in the __slots__ along PTB's own classes: a rule of PTB's for its code, which
# a class with a __dict__, as third parties write them, has no part in.
DOES_NOT_APPLY = "TestBasePersistence::test_slot_behaviour"
APPLIES = 60
"""Tests of PTB 22.7 and 22.8 that do apply; a later one may have more."""
_SHARES = 2  # of each run, side by side: PTB's tests sleep for most of their minute
_PATIENCE = 300  # seconds


class Outcome(NamedTuple):
    """What came of PTB's suite: each test, and what the plugin counted over all of them."""

    tests: dict[str, str]
    counted: dict[str, int]
    output: str


class _Process:
    """Some tests of PTB's suite in a process of its own, with PTB's own settings."""

    def __init__(self, suite: Path, folder: Path, tests: Sequence[str], *options: str) -> None:
        folder.mkdir()
        self._junit, self._report, self._output = (
            folder / name for name in ("junit.xml", "report.json", "output.txt")
        )
        if options:
            options = (*options, "--s3-report", str(self._report))
        command = [
            *(sys.executable, "-m", "pytest", "--rootdir", str(suite), "-p", "no:cacheprovider"),
            *("--junitxml", str(self._junit), *options),
            *(f"{SUITE}::{test}" for test in tests),
        ]
        with self._output.open("wb") as output:
            self._process = subprocess.Popen(  # noqa: S603 - pytest, of this environment
                command,
                cwd=suite,
                env=_environment(),
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()

    def outcome(self) -> Outcome:
        self._process.wait(_PATIENCE)
        output = self._output.read_text()
        assert self._junit.exists(), output
        counted = json.loads(self._report.read_text()) if self._report.exists() else {}
        return Outcome(_read_junit(self._junit), counted, output)


def _environment() -> dict[str, str]:
    own = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    # And the package that is tested here, wherever it was imported from.
    paths = os.pathsep.join(map(str, (Path(__file__).parent, Path(ptb_s3.__file__).parents[1])))
    return own | {"PYTHONPATH": paths, "PYTHONDONTWRITEBYTECODE": "1"}


def _read_junit(path: Path) -> dict[str, str]:
    outcomes = {}
    for case in ET.parse(path).iter("testcase"):  # noqa: S314 - pytest, just above, has written it
        in_class = str(case.get("classname")).rpartition(".")[2]
        bad = {child.tag for child in case} & {"failure", "error", "skipped"}
        outcomes[f"{in_class}::{case.get('name')}"] = "+".join(sorted(bad)) or "passed"
    return outcomes


def _tests(suite: Path) -> list[str]:
    """Return the names of all tests that PTB's suite has."""
    found = subprocess.run(  # noqa: S603 - pytest, of this environment
        [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", SUITE],
        cwd=suite,
        env=_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stdout + found.stderr
    lines = [line for line in found.stdout.splitlines() if line.startswith(f"{SUITE}::")]
    assert lines, found.stdout
    return [line.removeprefix(f"{SUITE}::") for line in lines]


def _joined(shares: Sequence[_Process]) -> Outcome:
    outcomes = [share.outcome() for share in shares]
    return Outcome(
        {name: was for outcome in outcomes for name, was in outcome.tests.items()},
        {name: sum(outcome.counted[name] for outcome in outcomes) for name in outcomes[0].counted},
        "\n".join(outcome.output for outcome in outcomes),
    )


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Outcome, Outcome]]:
    """PTB's suite as PTB runs it, and with `S3Persistence`, at the same time."""
    try:
        suite = ptb_suite()
    except SuiteNotToBeHadError as exc:
        pytest.fail(str(exc))
    tests = _tests(suite)
    applying = [test for test in tests if test != DOES_NOT_APPLY]
    folder = tmp_path_factory.mktemp("ptb-suite")
    with ExitStack() as stack:
        runs = [
            [
                stack.enter_context(
                    _Process(suite, folder / f"{name}-{n}", selected[n::_SHARES], *options)
                )
                for n in range(_SHARES)
            ]
            for name, selected, options in [
                ("own", tests, ()),
                ("s3", applying, ("-p", "tracking_plugin")),
            ]
        ]
        own, s3 = map(_joined, runs)
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
