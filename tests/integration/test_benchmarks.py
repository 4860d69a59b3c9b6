"""The benchmarks are a program that people run: it must run, whatever its figures are here."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

PROJECT = Path(__file__).parents[2]
SMALL = ["--samples=2", "--intervals=3", "--rounds=1", "--versions=30", "--jobs=100"]
ROWS = {
    *("stall", "cpu", "requests", "bytes", "start", "memory", "flush", "import", "money"),
    *("writers", "recovery", "jobs", "cold", "rival"),
}
BOUNDED = {
    "longest stall in an interval, median",
    "longest stall in an interval, maximum",
    "the same beyond what PTB takes if nothing is saved, median",
    "the same with PersistentApplication, median",
    "longest stall while a blob is written anew",
    "requests when nothing changed",
    "requests on the commit path",
    "import beyond telegram.ext",
    "200 commits of two writers in turn, by those of one",
    "requests of a warm serverless invocation",
    "CPU time of a look at head that finds nothing new",
    "saving and flushing 1 % where each request takes 2 s",
    "repair finds the newest state of a deleted one",
    "restore finds a revision of late there",
    "start with jobs, beyond the state's own load",
    "the same, by that of SQLAlchemyJobStore on SQLite",
    "the same until all jobs were asked for, by that of SQLAlchemyJobStore",
    _FIXED := "the same of a program that makes its jobs at each start",
    "event loop held to make a job, beyond PTB's own",
    "requests to make jobs, before the interval's save",
    "requests of three intervals in which jobs wait",
    "cold invocation on Lambda, by that without persistence",
    'the same with load="on_demand"',
    "loading, by that of DjangoPersistence on SQLite",
    "saving 1 %, by that of DjangoPersistence on SQLite",
}
WITH_SQLALCHEMY = {_FIXED, *(name for name in BOUNDED if "SQLAlchemyJobStore" in name)}
if find_spec("sqlalchemy") is None:  # the tables need no more than the extra test
    BOUNDED -= WITH_SQLALCHEMY - {"the same, by that of SQLAlchemyJobStore on SQLite"}
WITH_DJANGO = {name for name in BOUNDED if "DjangoPersistence" in name}
DJANGO = find_spec("python_telegram_bot_django_persistence")
if DJANGO is not None and Path("/dev/shm").is_dir():  # noqa: S108 - Linux's
    WITH_DJANGO |= {"the same with SQLite's file in memory"}
    BOUNDED |= WITH_DJANGO
PICKLES = {"Pickle", "Pickle, on_flush"}
ALL = {"ptb-s3", "naive S3", *PICKLES}
# Those that not everybody takes part in: a file sends nothing, and is not asked over a network.
SOME = {
    "longest stall while a blob is written anew": set(),  # none is, in so few intervals
    "bytes sent per interval": ALL - PICKLES,
    "CPU time of these intervals, on average": ALL - PICKLES,
    "writing requests a month": ALL - PICKLES,
    "bytes stored, AWS S3, us-east-1": ALL - PICKLES,
    "dollars a month, AWS S3, us-east-1": ALL - PICKLES,
    "bytes stored, Cloudflare R2": ALL - PICKLES,
    "dollars a month, Cloudflare R2": ALL - PICKLES,
    "cold start, by that of PicklePersistence": {"ptb-s3"},
    "cold start over a slow line, by transfer and opening in turn": {"ptb-s3"},
    "first request of a process": {"ptb-s3"},
    "the same with PersistentApplication, median": {"ptb-s3"},
    "the same if nothing is saved, median": {"ptb-s3"},
    "PTB's deep copies in an interval, median": {"ptb-s3"},
    "200 commits of two writers in turn, by those of one": {"ptb-s3"},
    "requests of a warm serverless invocation": {"ptb-s3"},
    "CPU time of a look at head that finds nothing new": {"ptb-s3", "naive S3"},
    "saving and flushing 1 % where each request takes 2 s": {"ptb-s3"},
    "repair finds the newest state of a deleted one": {"ptb-s3"},
    "restore finds a revision of late there": {"ptb-s3"},
    "start with jobs, beyond the state's own load": {"ptb-s3"},
    "event loop held to make a job, beyond PTB's own": {"ptb-s3"},
    "requests to make jobs, before the interval's save": {"ptb-s3"},
    "requests of three intervals in which jobs wait": {"ptb-s3"},
    "cold invocation on Lambda": {"ptb-s3"},
    "cold invocation on Lambda, by that without persistence": {"ptb-s3"},
    'the same with load="on_demand"': {"ptb-s3"},
    **{name: {"ptb-s3"} if find_spec("sqlalchemy") else set() for name in WITH_SQLALCHEMY},
    **{name: {"ptb-s3"} if DJANGO else set() for name in WITH_DJANGO},
}


def run(*arguments: str, program: Path | None = None) -> subprocess.CompletedProcess[str]:
    which = ["-m", "tests.benchmarks"] if program is None else [str(program)]
    return subprocess.run(  # noqa: S603 - our own program
        [sys.executable, *which, *arguments],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def figures(answer: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    assert not answer.returncode, answer.stderr
    found: list[dict[str, Any]] = json.loads(answer.stdout)["figures"]
    return found


@pytest.fixture(scope="module")
def rows() -> dict[str, dict[str, Any]]:
    found = figures(run("--sizes=60", "--one-kind", *SMALL, "--json"))
    assert {row["users"] for row in found} == {60, None}
    return {row["name"]: row for row in found}


def test_every_row_of_the_issue_is_there(rows: dict[str, dict[str, Any]]) -> None:
    assert {row["row"] for row in rows.values()} == ROWS


def test_every_row_has_the_figures_of_all_who_can_have_one(
    rows: dict[str, dict[str, Any]],
) -> None:
    for name, row in rows.items():
        there = {who: value for who, value in row["values"].items() if value is not None}
        assert there.keys() == SOME.get(name, ALL), name
        assert all(map(math.isfinite, there.values())), name


def test_every_bound_that_holds_at_this_size_is_printed_with_whether_it_is_met(
    rows: dict[str, dict[str, Any]],
) -> None:
    for name, row in rows.items():
        assert (row["bound"] is not None) == (name in BOUNDED), name
        measured = row["values"]["ptb-s3"] is not None
        assert (row["met"] is not None) == (name in BOUNDED and measured), name


def test_requests_do_not_depend_on_the_machine(rows: dict[str, dict[str, Any]]) -> None:
    assert rows["requests when nothing changed"]["values"] == {
        "ptb-s3": 0,
        "Pickle": 0,
        "Pickle, on_flush": 0,
        "naive S3": 1,
    }
    assert rows["requests on the commit path"]["values"]["ptb-s3"] == 1
    assert rows["writing requests a month"]["values"] == {"ptb-s3": 43_200, "naive S3": 43_200}


def test_sizes_and_data_of_choice_as_a_table_and_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    options = ["--sizes=60,20", "--only=bytes", "--alone", "--one-kind", "--data=incompressible"]
    answer = run(*options, *SMALL, f"--json={file}")
    assert not answer.returncode, answer.stderr
    assert "bytes sent per interval, incompressible" in answer.stdout
    found = json.loads(file.read_text())["figures"]
    assert [row["users"] for row in found] == [20, 20, 60, 60]
    assert {row["data"] for row in found} == {"incompressible"}


def test_state_on_demand_has_its_rows_and_none_counts_as_met_that_was_not_measured() -> None:
    """A build without the mode says so, in as many rows as one with it has figures."""
    found = figures(run("--only=on_demand", "--users=1200", "--one-kind", *SMALL, "--json"))
    assert {row["row"] for row in found} == {"on_demand"}
    assert {row["users"] for row in found} == {1000, 1200}
    assert sum(row["bound"] is not None for row in found) == 8
    for row in found:
        measured = row["values"]["ptb-s3"] is not None
        assert measured != row["note"].startswith("not measured"), row["name"]
        assert measured or row["met"] is None, row["name"]
    squeezed = [row for row in found if "256 MiB" in row["name"]]
    assert squeezed[0]["values"] == {"ptb-s3": 0}, squeezed[0]["note"]


def test_a_chart_without_its_library_is_one_line_and_a_usage_error(tmp_path: Path) -> None:
    program = tmp_path / "without.py"
    program.write_text(
        "import runpy, sys\n"
        f"sys.path.insert(0, {str(PROJECT)!r})\n"
        "sys.modules['matplotlib'] = None\n"
        "runpy.run_module('tests.benchmarks', run_name='__main__')\n"
    )
    answer = run("--chart", str(tmp_path), program=program)
    assert (answer.returncode, answer.stdout) == (2, "")
    assert answer.stderr == "A chart needs matplotlib: pip install -e '.[benchmarks]'\n"


@pytest.mark.parametrize("options", [["--only=nothing"], ["--sizes=0"], ["--rounds=none"]])
def test_what_there_is_not_is_a_usage_error(options: list[str]) -> None:
    assert run(*options).returncode == 2
