"""A run of one file of PTB's own test suite, in a process of its own, with PTB's own settings."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Self
from xml.etree import ElementTree as ET

import ptb_s3

_PATIENCE = 300  # seconds


class Outcome(NamedTuple):
    """What came of PTB's suite: each test, and what the plugin counted over all of them."""

    tests: dict[str, str]
    counted: dict[str, int]
    output: str


class SuiteRun:
    """Some tests of PTB's suite in a process of its own, with PTB's own settings."""

    def __init__(
        self, suite: Path, folder: Path, file: str, tests: Sequence[str], *options: str
    ) -> None:
        folder.mkdir()
        self._junit, self._report, self._output = (
            folder / name for name in ("junit.xml", "report.json", "output.txt")
        )
        if options:
            options = (*options, "--s3-report", str(self._report))
        command = [
            *(sys.executable, "-m", "pytest", "--rootdir", str(suite), "-p", "no:cacheprovider"),
            *("--junitxml", str(self._junit), *options),
            *(f"{file}::{test}" for test in tests),
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


def names_in(suite: Path, file: str) -> list[str]:
    """Return the names of all tests that PTB's suite has."""
    found = subprocess.run(  # noqa: S603 - pytest, of this environment
        [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", file],
        cwd=suite,
        env=_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stdout + found.stderr
    lines = [line for line in found.stdout.splitlines() if line.startswith(f"{file}::")]
    assert lines, found.stdout
    return [line.removeprefix(f"{file}::") for line in lines]


def joined(shares: Sequence[SuiteRun]) -> Outcome:
    outcomes = [share.outcome() for share in shares]
    return Outcome(
        {name: was for outcome in outcomes for name, was in outcome.tests.items()},
        {name: sum(outcome.counted[name] for outcome in outcomes) for name in outcomes[0].counted},
        "\n".join(outcome.output for outcome in outcomes),
    )
