"""The rows of the table: which there are, and in what order they are measured and printed."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import partial

from tests.benchmarks.cold import cold_rows
from tests.benchmarks.contestants import NAIVE, OURS
from tests.benchmarks.figures import Figure
from tests.benchmarks.interval_rows import cpu, money, requests, sent, stall
from tests.benchmarks.job_rows import job_rows
from tests.benchmarks.measure import Bench
from tests.benchmarks.on_demand_rows import on_demand_rows
from tests.benchmarks.recovery import recovery
from tests.benchmarks.rival_rows import rivals
from tests.benchmarks.setting import Setting
from tests.benchmarks.start_rows import flushes, imports, memories, starts
from tests.benchmarks.writers import COMMITS, SLOW, writers

CONFLICTS = 3.0  # times the time without
INVOCATION = 2  # one conditional GET and one PUT
LOOK = 0.001  # seconds of CPU time
RECOVERY = 10.0  # seconds

OF_EACH = {
    "start": starts,
    "memory": memories,
    "flush": flushes,
    "stall": stall,
    "requests": requests,
    "bytes": sent,
    "money": money,
    "rival": rivals,
}
"""Rows of each size and kind of data, in an order that lets those that change it come last."""
_OF_ONE_KIND = {"requests", "money", "rival"}
"""Whatever the data is like, these are the same or, like money, follow from others."""
NAMES = [
    *("stall", "cpu", "requests", "bytes", "start", "memory", "flush", "import", "money"),
    *("writers", "recovery", "jobs", "cold", "rival", "on_demand"),
]
"""All rows, in the order that they are printed in."""
USUAL = [name for name in NAMES if name != "on_demand"]
"""Those that take no million users."""


def collect(
    bench: Bench,
    settings: Sequence[Setting],
    others: Sequence[Setting],
    only: Collection[str],
    users: int,
) -> list[Figure]:
    """Return all figures that are asked for, in the order that they are printed in.

    Args:
        bench: Measures them.
        settings: Those of all sizes, the smallest first.
        others: Those of other data, for comparison.
        only: Names of rows.
        users: Of the large bot whose state is loaded on demand.
    """
    figures: list[Figure] = []
    for setting in (*settings, *others):
        for name, row in OF_EACH.items():
            if name in only and not (setting in others and name in _OF_ONE_KIND):
                figures += row(bench, setting)
    once = {
        "cpu": lambda: cpu(bench, settings),
        "import": lambda: imports(bench),
        "writers": lambda: two_writers(bench, settings[-1]),
        "recovery": lambda: recoveries(bench, settings[0]),
        "jobs": lambda: job_rows(bench, settings[0]),
        "cold": lambda: cold_rows(bench, settings[0]),
        "on_demand": lambda: on_demand_rows(bench, settings[0], users),
    }
    for name in once.keys() & set(only):
        figures += once[name]()
    return sorted(figures, key=lambda figure: NAMES.index(figure.row))


def two_writers(bench: Bench, setting: Setting) -> list[Figure]:
    """What a second writer costs, a serverless invocation, a look at head, and a slow storage."""
    run = bench.plain(writers, setting)
    row = partial(Figure, "writers", users=None, data="")
    return [
        row(
            name=f"{COMMITS} commits of two writers in turn, by those of one",
            unit="x",
            values={OURS: run.in_turn / run.alone},
            bound=CONFLICTS,
            note=f"{run.conflicts} conflicts; {run.in_turn:.2f} s, and {run.alone:.2f} s without",
        ),
        row(
            name="requests of a warm serverless invocation",
            unit="",
            values={OURS: sum(run.invocation.values())},
            bound=INVOCATION,
            note=", ".join(f"{count} x {call}" for call, count in run.invocation.items()),
        ),
        row(
            name="CPU time of a look at head that finds nothing new",
            unit="s",
            values={OURS: run.look, NAIVE: run.botocore_look},
            bound=LOOK,
            note="naive S3: get_object of botocore's own with IfNoneMatch, by aioboto3",
        ),
        row(
            name=f"saving and flushing 1 % where each request takes {SLOW:.0f} s",
            unit="s",
            values={OURS: run.slow_flush},
            bound=run.allowed + SLOW,
            note=f"{setting.users:,} users: the commit, and then flush() within flush_timeout",
        ),
    ]


def recoveries(bench: Bench, setting: Setting) -> list[Figure]:
    """How long it takes to find the newest state where head was deleted, among many versions."""
    run = bench.plain(recovery, setting)
    row = partial(Figure, "recovery", unit="s", users=None, data="", bound=RECOVERY)
    note = f"{setting.versions:,} versions; a whole process, of which {run.help:.1f} s is its start"
    return [
        row(
            name="repair finds the newest state of a deleted one",
            values={OURS: run.repair},
            note=note,
        ),
        row(name="restore finds a revision of late there", values={OURS: run.restore}, note=note),
    ]
