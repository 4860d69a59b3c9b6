"""The rows about starts, memory and the end: bounds are the issue's."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from functools import partial

from tests.benchmarks.contestants import NAIVE, OURS, PICKLE, PICKLE_ON_FLUSH
from tests.benchmarks.figures import MULTIPLIED, Figure, each, is_large
from tests.benchmarks.intervals import flush
from tests.benchmarks.measure import Bench
from tests.benchmarks.memory import memory, one_dict
from tests.benchmarks.setting import Setting
from tests.benchmarks.slow_line import RATE
from tests.benchmarks.start import Start

COLD_START = 2.0  # times the yardstick
FASTER_START = 5.0  # times faster than PicklePersistence
MEMORY = 0.20  # of the live objects
PEAK = 0.35  # of them, too
FLUSH = {100_000: 0.5, 1_000_000: 3.0}  # seconds, by users
IMPORT = 0.100  # seconds

_MODULES = {OURS: "ptb_s3.persistence", NAIVE: "botocore.session"}


def starts(bench: Bench, setting: Setting) -> list[Figure]:
    """Cold start to `initialize()` done."""
    yardstick = bench.yardstick(setting)
    runs = {name: bench.starts(setting, name) for name in bench.contestants}
    best = each(runs, lambda all_: min(run.seconds for run in all_))
    row = partial(Figure, "start", users=setting.users, data=setting.data)
    ours, theirs = best[OURS], best.get(PICKLE)
    return [
        row(
            name="cold start",
            unit="s",
            values=best,
            bound=COLD_START * yardstick if is_large(setting) else None,
            note=f"Application.initialize(), client open, best of {bench.rounds}; bound: "
            f"{COLD_START:.0f} x pickle.loads of one dict, collector off ({yardstick:.3f} s)",
        ),
        row(
            name="cold start, by pickle.loads",
            unit="x",
            values=each(best, lambda seconds: seconds and seconds / yardstick),
            bound=COLD_START if is_large(setting) else None,
        ),
        row(
            name="cold start, by that of PicklePersistence",
            unit="x",
            values={OURS: ours / theirs if ours and theirs else None},
            bound=1 / FASTER_START if is_large(setting) else None,
        ),
        _overlapped(bench, setting, runs[OURS]),
        row(
            name="growth of the process by a start",
            unit="B",
            values=each(runs, lambda all_: statistics.median(run.resident for run in all_)),
            note="resident memory",
        ),
    ]


def _overlapped(bench: Bench, setting: Setting, quick: Sequence[Start]) -> Figure:
    slow = bench.starts(setting, OURS, slow=True)
    opening = min(run.seconds - run.transfer for run in quick)
    transfer = min(run.transfer for run in slow)
    together = min(run.seconds for run in slow)
    return Figure(
        "start",
        "cold start over a slow line, by transfer and opening in turn",
        "x",
        setting.users,
        setting.data,
        {OURS: together / (transfer + opening)},
        note=f"{RATE * 8 / 1e6:.0f} Mbit/s: transfer {transfer:.2f} s, opening {opening:.2f} s, "
        f"together {together:.2f} s; {max(transfer, opening) / (transfer + opening):.0%} if the "
        "shorter were hidden in the longer",
    )


def memories(bench: Bench, setting: Setting) -> list[Figure]:
    """Memory beyond the live objects."""
    runs = bench.take_all(memory, setting)
    plain = bench.plain(one_dict, setting)
    row = partial(Figure, "memory", users=setting.users, data=setting.data)
    return [
        row(
            name="memory beyond the live objects, share of them",
            unit="x",
            values=each(runs, lambda run: run.beyond / run.live),
            bound=MEMORY if is_large(setting) else None,
            note="what is freed when the persistence is let go (tracemalloc)",
        ),
        row(
            name="peak beyond the live objects, at start, share of them",
            unit="x",
            values=each(runs, lambda run: run.peak / run.live),
            bound=PEAK if is_large(setting) else None,
        ),
        row(
            name="peak beyond the live objects, all written anew, share of them",
            unit="x",
            values=each(runs, lambda run: run.rewriting / run.live),
            bound=PEAK if is_large(setting) else None,
        ),
        row(name="live objects", unit="B", values=each(runs, lambda run: run.live)),
        row(
            name="live objects and beyond, by those of one dict",
            unit="x",
            values=each(runs, lambda run: (run.live + run.beyond) / plain),
            note=f"as pickle.loads of all data gives it: {plain / 1e6:,.0f} MB, with strings that "
            "many users have in common there once. What PTB makes of it belongs to the live ones",
        ),
    ]


def flushes(bench: Bench, setting: Setting) -> list[Figure]:
    """A flush with 1 % dirty."""
    taken = bench.take_all(flush, setting)
    return [
        Figure(
            "flush",
            "saving and flushing 1 %",
            "s",
            setting.users,
            setting.data,
            each(taken, float),
            FLUSH.get(setting.users),
            f"{setting.one_per_cent:,} users changed: update_persistence(), then flush(). "
            f"{MULTIPLIED}",
        )
    ]


def imports(bench: Bench) -> list[Figure]:
    """Import of `S3Persistence` beyond `import telegram.ext`."""
    runs = {name: bench.imports(module) for name, module in _MODULES.items()}
    taken = each(runs, lambda all_: statistics.median(run.module for run in all_))
    telegram = statistics.median(run.telegram for run in runs[OURS])
    row = partial(Figure, "import", unit="s", users=None, data="")
    return [
        row(
            name="import beyond telegram.ext",
            values={**taken, PICKLE: 0, PICKLE_ON_FLUSH: 0},
            bound=IMPORT,
            note=f"of S3Persistence; median of {bench.rounds} interpreters; telegram.ext itself: "
            f"{telegram:.2f} s. Naive S3: botocore, which ptb-s3 imports with its first request",
        ),
        row(
            name="first request of a process",
            values={OURS: bench.first_request()},
            note="imports aioboto3 and opens the client; comes on top of a cold start",
        ),
    ]
