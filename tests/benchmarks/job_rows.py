"""The rows about jobs that are kept: bounds are the issue's."""

from __future__ import annotations

from functools import partial
from importlib.util import find_spec
from typing import Any, NamedTuple

from tests.benchmarks import jobs
from tests.benchmarks.contestants import OURS
from tests.benchmarks.figures import Figure
from tests.benchmarks.jobs import JobStart, made
from tests.benchmarks.measure import Bench
from tests.benchmarks.setting import Setting

START = 0.5  # seconds beyond the state's own load
FASTER = 5.0  # times faster than the jobs in SQLite
MAKING = 0.0002  # seconds beyond PTB's own
_ROW = partial(Figure, "jobs", users=None, data="")


class _Starts(NamedTuple):
    """Starts, at best, in seconds: until the scheduler runs, and until jobs were asked for."""

    running: float
    asked: float


def job_rows(bench: Bench, setting: Setting) -> list[Figure]:
    """Start with jobs, to make one, and to wait."""
    bench.plain(jobs.fill, setting)
    ours = _best([bench.plain(jobs.start, setting) for _ in range(bench.rounds)])
    load = _best([bench.plain(jobs.start_without, setting) for _ in range(bench.rounds)])
    return [
        _ROW(
            name="start with jobs, beyond the state's own load",
            unit="s",
            values={OURS: ours.running - load.running},
            bound=START,
            note=f"{setting.jobs:,} of them: to the scheduler running, {ours.running:.3f} s; "
            f"the same state without our job queue, {load.running:.3f} s; best of {bench.rounds}",
        ),
        *_beside_sql(bench, setting, ours, load),
        *_making(bench, setting),
        _ROW(
            name="requests of three intervals in which jobs wait",
            unit="",
            values={OURS: bench.plain(jobs.waiting, setting)},
            bound=0,
        ),
    ]


def _best(runs: list[JobStart]) -> _Starts:
    return _Starts(min(run.running for run in runs), min(run.asked for run in runs))


def _beside_sql(bench: Bench, setting: Setting, ours: _Starts, load: _Starts) -> list[Figure]:
    """Start beside the same jobs in SQLite, where SQLAlchemy is installed."""
    name = "the same, by that of SQLAlchemyJobStore on SQLite"
    if find_spec("sqlalchemy") is None:
        note = "not measured: it needs SQLAlchemy, of the extra benchmarks"
        return [_ROW(name=name, unit="x", values={OURS: None}, bound=1 / FASTER, note=note)]
    from tests.benchmarks import sql_jobs  # noqa: PLC0415 - it needs the extra

    bench.plain(sql_jobs.fill, setting)
    theirs = _best([bench.plain(sql_jobs.start, setting) for _ in range(bench.rounds)])
    asked = ours.asked - load.running
    fixed, their_fixed = (_second(bench, setting, way) for way in (jobs, sql_jobs))
    return [
        _ROW(
            name=name,
            unit="x",
            values={OURS: (ours.running - load.running) / theirs.running},
            bound=1 / FASTER,
            note=f"theirs: {theirs.running:.3f} s, in which it reads no job: it asks the database "
            "for what is due, on the event loop, each time that it wakes up",
        ),
        _ROW(
            name="the same until all jobs were asked for, by that of SQLAlchemyJobStore",
            unit="x",
            values={OURS: asked / theirs.asked},
            bound=1 / FASTER,
            note=f"ours {asked:.3f} s, theirs {theirs.asked:.3f} s: each get_jobs_by_name() reads "
            "all of them there",
        ),
        _ROW(
            name="the same of a program that makes its jobs at each start",
            unit="x",
            values={OURS: fixed / their_fixed},
            bound=1 / FASTER,
            note=f"each of one id, as such a store needs it: ours {fixed:.3f} s with the state's "
            f"load, theirs {their_fixed:.3f} s",
        ),
    ]


def _second(bench: Bench, setting: Setting, way: Any) -> float:
    """Return seconds of a start whose jobs the start before it has made."""
    bench.plain(way.start_with_fixed, setting)
    start: JobStart = bench.plain(way.start_with_fixed, setting)
    return start.running


def _making(bench: Bench, setting: Setting) -> list[Figure]:
    ours, plain = (bench.plain(probe, setting) for probe in (jobs.making, jobs.making_plain))
    return [
        _ROW(
            name="event loop held to make a job, beyond PTB's own",
            unit="s",
            values={OURS: max(ours.each - plain.each, 0)},
            bound=MAKING,
            note=f"average of {made(setting):,} beside {setting.jobs:,}: {ours.each * 1e6:.0f} us, "
            f"PTB's own {plain.each * 1e6:.0f} us",
        ),
        _ROW(
            name="requests to make jobs, before the interval's save",
            unit="",
            values={OURS: ours.requests},
            bound=0,
        ),
    ]
