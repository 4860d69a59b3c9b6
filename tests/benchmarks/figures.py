"""The figures of the table, from what was measured, and their bounds from the issue."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.benchmarks.bots import Setting
from tests.benchmarks.fresh import Imports
from tests.benchmarks.intervals import Intervals, PickleIntervals
from tests.benchmarks.start import Memory, Start
from tests.benchmarks.writers import COMMITS, SLOW, Writers

STALL = 0.020  # seconds
COLD_START = 2.5  # times the yardstick
MEMORY = 0.25  # of the live objects
IMPORT = 0.120  # seconds
CONFLICTS = 3.0  # times the time without
INVOCATION = 2  # one conditional GET and one PUT
FLUSH = 1.0  # seconds


@dataclass
class Measured:
    """What was measured, each list one entry per round."""

    intervals: list[Intervals] = field(default_factory=list)
    pickle_intervals: list[PickleIntervals] = field(default_factory=list)
    pickle_flushes: list[float] = field(default_factory=list)
    yardsticks: list[Start] = field(default_factory=list)
    starts: list[Start] = field(default_factory=list)
    pickle_starts: list[Start] = field(default_factory=list)
    memory: list[Memory] = field(default_factory=list)
    pickle_memory: list[Memory] = field(default_factory=list)
    imports: list[Imports] = field(default_factory=list)
    first_requests: list[float] = field(default_factory=list)
    writers: list[Writers] = field(default_factory=list)


@dataclass(frozen=True)
class Figure:
    """One row: what was measured, of both, in one unit.

    Attributes:
        name: What it is.
        unit: ``s``, ``B``, ``x`` (a share) or empty (a count).
        ours: Of ptb-s3.
        theirs: Of `PicklePersistence`; None where it has no such thing.
        bound: What ours may be; None where the issue says nothing.
        note: What has to be known to read it.
    """

    name: str
    unit: str
    ours: float
    theirs: float | None = None
    bound: float | None = None
    note: str = ""

    @property
    def met(self) -> bool | None:
        """Whether ours is within its bound; None where there is none."""
        return None if self.bound is None else self.ours <= self.bound

    @property
    def ratio(self) -> float | None:
        """How many times as much theirs is; None where that says nothing."""
        return self.theirs / self.ours if self.theirs and self.ours else None


def figures(setting: Setting, measured: Measured) -> list[Figure]:
    """Return all rows, in the order of the issue."""
    return [
        *_stalls(measured),
        *_traffic(setting, measured),
        *_starts(measured),
        *_memory(measured),
        *_imports(measured),
        *_writers(setting, measured.writers[0]),
    ]


def _stalls(measured: Measured) -> list[Figure]:
    stalls = [stall for run in measured.intervals for stall in run.stalls]
    copies = [taken for run in measured.intervals for taken in run.copies]
    theirs = min(run.stall for run in measured.pickle_intervals)
    rewriting = max(run.rewriting for run in measured.intervals)
    return [
        Figure(
            "longest stall in an interval, median",
            "s",
            statistics.median(stalls),
            theirs,
            STALL,
            f"of {len(stalls)} intervals, beyond PTB's deep copies and full passes of Python's "
            "collector. PicklePersistence writes its file once for each changed user: worked out "
            "from one such write",
        ),
        Figure("longest stall in an interval, maximum", "s", max(stalls), theirs, STALL),
        Figure(
            "PTB's deep copies in an interval, median",
            "s",
            statistics.median(copies),
            note="left out above, whoever the persistence",
        ),
        Figure(
            "longest full pass of the collector",
            "s",
            max(run.collector for run in measured.intervals),
            note="as above; deep copies bring it about every few intervals",
        ),
        Figure(
            "longest stall while a blob is written anew",
            "s",
            rewriting,
            note="in the background, after a commit" if rewriting else "no blob was, in this run",
        ),
        Figure(
            "longest stall at shutdown",
            "s",
            min(run.shutdown for run in measured.intervals),
            min(measured.pickle_flushes),
            note="PicklePersistence with on_flush=True, which saves then and never before",
        ),
    ]


def _traffic(setting: Setting, measured: Measured) -> list[Figure]:
    ours, theirs = measured.intervals, measured.pickle_intervals[0]
    rewrites = sum(run.rewrites for run in ours)
    return [
        Figure(
            "requests when nothing changed",
            "",
            max(run.idle_requests for run in ours),
            theirs.idle_writes,
            0,
            f"{setting.changed} users marked. PicklePersistence: writes of its file",
        ),
        Figure(
            "requests on the commit path",
            "",
            max(run.requests for run in ours),
            theirs.writes,
            1,
            "PicklePersistence: writes of its file",
        ),
        Figure(
            "bytes per interval",
            "B",
            statistics.mean(run.sent for run in ours),
            theirs.written,
            note=f"on average, with {rewrites} rewrites of a blob",
        ),
    ]


def _starts(measured: Measured) -> list[Figure]:
    best = min(measured.starts)
    yardstick = min(measured.yardsticks)
    transfer = min(start.transfer for start in measured.starts)
    theirs = min(measured.pickle_starts)
    return [
        Figure(
            "cold start",
            "s",
            best.seconds,
            theirs.seconds,
            COLD_START * yardstick.seconds + transfer,
            f"Application.initialize(), best of {len(measured.starts)}; bound: {COLD_START} x "
            f"pickle.loads ({yardstick.seconds:.3f} s) + transfer ({transfer:.3f} s)",
        ),
        Figure(
            "cold start without transfer, by pickle.loads",
            "x",
            (best.seconds - transfer) / yardstick.seconds,
            theirs.seconds / yardstick.seconds,
            COLD_START,
        ),
        Figure(
            "first request of a process",
            "s",
            min(measured.first_requests),
            note="imports aioboto3 and opens the client; comes on top of a cold start",
        ),
    ]


def _memory(measured: Measured) -> list[Figure]:
    ours, theirs = measured.memory[0], measured.pickle_memory[0]
    yardstick = _resident(measured.yardsticks)
    return [
        Figure(
            "memory beyond the live objects, share of them",
            "x",
            ours.beyond / ours.live,
            theirs.beyond / theirs.live,
            MEMORY,
            "what is freed when the persistence is let go (tracemalloc)",
        ),
        Figure("memory beyond the live objects", "B", ours.beyond, theirs.beyond),
        Figure("live objects", "B", ours.live, theirs.live),
        Figure("peak beyond the live objects", "B", ours.peak, theirs.peak, note="while starting"),
        Figure(
            "growth of the process by a start",
            "B",
            _resident(measured.starts),
            _resident(measured.pickle_starts),
            note=f"resident memory; pickle.loads of the dict alone: {yardstick / 1e6:.0f} MB",
        ),
    ]


def _imports(measured: Measured) -> list[Figure]:
    runs = measured.imports
    telegram = statistics.median(run.telegram for run in runs)
    note = f"of {len(runs)} interpreters, after import telegram.ext ({telegram:.2f} s)"
    ours = [run.ptb_s3 for run in runs]
    return [
        Figure("import of S3Persistence, median", "s", statistics.median(ours), 0, IMPORT, note),
        Figure("import of S3Persistence, best", "s", min(ours), 0, IMPORT),
    ]


def _writers(setting: Setting, measured: Writers) -> list[Figure]:
    return [
        Figure(
            f"{COMMITS} commits of two writers in turn, by those of one",
            "x",
            measured.in_turn / measured.alone,
            bound=CONFLICTS,
            note=f"{measured.conflicts} conflicts; {measured.in_turn:.2f} s, and "
            f"{measured.alone:.2f} s without",
        ),
        Figure(
            "requests of a warm serverless invocation",
            "",
            sum(measured.invocation.values()),
            bound=INVOCATION,
            note=", ".join(f"{count} x {call}" for call, count in measured.invocation.items()),
        ),
        Figure(
            "saving and flushing an interval's changes",
            "s",
            measured.flush,
            bound=FLUSH,
            note=f"{setting.changed} of {setting.users} users changed",
        ),
        Figure(
            f"the same where each request takes {SLOW:.0f} s",
            "s",
            measured.slow_flush,
            bound=measured.allowed + SLOW,
            note="the commit, and then flush() within flush_timeout: blobs only if time is left",
        ),
    ]


def _resident(starts: Sequence[Start]) -> float:
    return statistics.median(start.resident for start in starts)
