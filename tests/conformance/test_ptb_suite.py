"""PTB's own `tests/ext/test_basepersistence.py`, with `S3Persistence` in the place of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from tests.conformance.ptb_suite import SuiteNotToBeHadError, ptb_suite

SUITE = "tests/ext/test_basepersistence.py"
# Looks for duplicates in the __slots__ along PTB's own classes: a rule of PTB's for its code, which
# a class with a __dict__, as third parties write them, has no part in.
DOES_NOT_APPLY = "test_slot_behaviour"
APPLIES = 60
"""Tests of PTB 22.7 and 22.8 that do apply."""
_PATIENCE = 300  # seconds; it takes about 50, most of them asleep


@dataclass(frozen=True)
class Run:
    """The outcome of PTB's suite, each test by its name: passed, skipped or failed."""

    outcomes: dict[str, str]
    output: str
    report: Path

    def names(self, outcome: str) -> set[str]:
        return {name for name, was in self.outcomes.items() if was == outcome}


class _Process:
    """PTB's suite in a process of its own, with PTB's own settings."""

    def __init__(self, suite: Path, results: Path, *options: str) -> None:
        self._junit = results.with_suffix(".xml")
        self._report = results.with_suffix(".json")
        self._output = results.with_suffix(".txt")
        command = [
            *(sys.executable, "-m", "pytest", SUITE, "--rootdir", str(suite), "-rf"),
            *("-p", "no:cacheprovider", "--junitxml", str(self._junit)),
            *options,
        ]
        if options:
            command += ["--s3-report", str(self._report)]
        environment = {
            **{name: value for name, value in os.environ.items() if "PYTEST" not in name},
            "PYTHONPATH": str(Path(__file__).parent),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        with self._output.open("wb") as output:
            self._process = subprocess.Popen(  # noqa: S603 - pytest, of this environment
                command, cwd=suite, env=environment, stdout=output, stderr=subprocess.STDOUT
            )

    def result(self) -> Run:
        self._process.wait(_PATIENCE)
        output = self._output.read_text()
        assert self._junit.exists(), output
        return Run(_outcomes(self._junit), output, self._report)

    def end(self) -> None:
        self._process.kill()
        self._process.wait()


def _outcomes(junit: Path) -> dict[str, str]:
    root = ET.parse(junit).getroot()  # noqa: S314 - pytest, just above, has written it
    outcomes = {}
    for case in root.iter("testcase"):
        tags = {child.tag for child in case}
        bad = tags & {"failure", "error", "skipped"}
        outcomes[str(case.get("name"))] = "+".join(sorted(bad)) or "passed"
    return outcomes


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Run, Run]]:
    """PTB's suite as PTB runs it, and with `S3Persistence`, side by side."""
    try:
        suite = ptb_suite()
    except SuiteNotToBeHadError as exc:
        pytest.fail(str(exc))
    results = tmp_path_factory.mktemp("ptb-suite")
    processes = [
        _Process(suite, results / "own"),
        _Process(suite, results / "s3", "-p", "tracking_plugin", "-k", f"not {DOES_NOT_APPLY}"),
    ]
    try:
        own, s3 = (process.result() for process in processes)
        yield own, s3
    finally:
        for process in processes:
            process.end()


def test_every_test_of_ptb_that_applies_passes(runs: tuple[Run, Run]) -> None:
    """`S3Persistence` passes what PTB's own in-memory class passes, but for the one on slots."""
    own, s3 = runs
    assert own.names("passed") == set(own.outcomes), own.output
    assert s3.outcomes == dict.fromkeys(own.outcomes.keys() - {DOES_NOT_APPLY}, "passed"), s3.output
    assert len(s3.outcomes) == APPLIES


def test_it_is_s3persistence_that_passed_them(runs: tuple[Run, Run]) -> None:
    """The suite made commits and loads through the engine; it did not run PTB's own class."""
    done = json.loads(runs[1].report.read_text())
    assert done["loads"] >= APPLIES // 2
    assert done["commits"] >= APPLIES // 4
    assert not runs[0].report.exists()
