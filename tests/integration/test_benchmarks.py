"""The benchmarks are a program that people run: it must run, whatever its figures are here."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PROJECT = Path(__file__).parents[2]
BOUNDED = {
    "longest stall in an interval, median",
    "longest stall in an interval, maximum",
    "requests when nothing changed",
    "requests on the commit path",
    "cold start",
    "cold start without transfer, by pickle.loads",
    "memory beyond the live objects, share of them",
    "import of S3Persistence, median",
    "import of S3Persistence, best",
}
OTHERS = {
    "PTB's deep copies in an interval, median",
    "longest full pass of the collector",
    "longest stall while a blob is written anew",
    "longest stall at shutdown",
    "bytes per interval",
    "first request of a process",
    "memory beyond the live objects",
    "live objects",
    "peak beyond the live objects",
    "growth of the process by a start",
}
ALONE = {
    "PTB's deep copies in an interval, median",
    "longest full pass of the collector",
    "longest stall while a blob is written anew",
    "first request of a process",
}


@pytest.fixture(scope="module")
def rows() -> dict[str, dict[str, Any]]:
    small = ["--users=60", "--changed=6", "--intervals=2", "--rounds=1", "--json"]
    answer = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-m", "tests.benchmarks", *small],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert not answer.returncode, answer.stderr
    report = json.loads(answer.stdout)
    assert (report["users"], report["changed"]) == (60, 6)
    return {row["name"]: row for row in report["figures"]}


def test_every_row_is_there(rows: dict[str, dict[str, Any]]) -> None:
    assert rows.keys() == BOUNDED | OTHERS


def test_every_row_has_its_figures_and_the_alternatives_beside_them(
    rows: dict[str, dict[str, Any]],
) -> None:
    for name, row in rows.items():
        assert math.isfinite(row["ours"]), name
        assert (row["theirs"] is None) == (name in ALONE), name


def test_every_bound_of_the_issue_is_printed_with_whether_it_is_met(
    rows: dict[str, dict[str, Any]],
) -> None:
    for name, row in rows.items():
        assert (row["bound"] is not None) == (name in BOUNDED), name
        assert (row["met"] is not None) == (name in BOUNDED), name


def test_requests_do_not_depend_on_the_machine(rows: dict[str, dict[str, Any]]) -> None:
    assert rows["requests when nothing changed"]["ours"] == 0
    assert rows["requests on the commit path"]["ours"] == 1
    assert rows["requests on the commit path"]["theirs"] == 6
