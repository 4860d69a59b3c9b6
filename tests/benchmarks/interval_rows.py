"""The rows about intervals: stalls, CPU time, requests, bytes and money; bounds are the issue's."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from functools import partial

from tests.benchmarks.contestants import NAIVE, OURS
from tests.benchmarks.data import REALISTIC
from tests.benchmarks.figures import MULTIPLIED, Figure, each, is_large
from tests.benchmarks.intervals import floor, intervals, mended
from tests.benchmarks.measure import Bench
from tests.benchmarks.prices import AS_OF, PRICES, month
from tests.benchmarks.setting import Setting
from tests.benchmarks.traffic import Traffic, traffic

STALL = 0.010  # seconds
FLAT = 1.5  # times the CPU time of the smallest size
LESS_SENT = 20.0  # times less than whole blobs


def stall(bench: Bench, setting: Setting) -> list[Figure]:
    """The longest event-loop stall in an interval with 1 % changed."""
    runs = bench.take_all(intervals, setting)
    median = each(runs, lambda run: statistics.median(run.stalls))
    with_nothing_saved = bench.plain(floor, setting)
    row = partial(Figure, "stall", unit="s", users=setting.users, data=setting.data)
    return [
        row(
            name="longest stall in an interval, median",
            values=median,
            bound=STALL,
            note=f"{setting.one_per_cent:,} users changed; beyond PTB's deep copies and full "
            f"passes of Python's collector. {MULTIPLIED}. With on_flush it saves nothing",
        ),
        row(
            name="the same beyond what PTB takes if nothing is saved, median",
            values=each(
                median, lambda stall: max(stall - with_nothing_saved, 0) if stall else None
            ),
            bound=STALL,
            note="PTB starts a task for each user, all in one tick, whoever the persistence",
        ),
        row(
            name="longest stall in an interval, maximum",
            values=each(runs, lambda run: max(run.stalls)),
            bound=STALL,
        ),
        row(
            name="the same with PersistentApplication, median",
            values={OURS: bench.plain(mended, setting)},
            bound=STALL,
            note="which hands over all users in one call",
        ),
        row(
            name="the same if nothing is saved, median",
            values={OURS: with_nothing_saved},
        ),
        row(
            name="longest stall while a blob is written anew",
            values={OURS: runs[OURS].rewriting},
            bound=STALL,
            note="in the background, after a commit; empty: no blob was, in this run",
        ),
        row(name="longest stall at shutdown", values=each(runs, lambda run: run.shutdown)),
        row(
            name="full pass of the collector",
            values=each(runs, lambda run: run.collector),
            note="left out above; deep copies bring it about every few intervals",
        ),
        row(
            name="PTB's deep copies in an interval, median",
            values={OURS: statistics.median(runs[OURS].copies)},
            note="left out above, whoever the persistence",
        ),
    ]


def cpu(bench: Bench, settings: Sequence[Setting]) -> list[Figure]:
    """CPU time per interval: it should grow with what changed, and not with the users."""
    runs = {setting: bench.take_all(intervals, setting) for setting in settings}
    few = partial(each, figure=lambda run: statistics.median(run.cpu_of_few))
    least = few(runs[settings[0]])[OURS]
    figures = []
    for setting in settings:
        row = partial(Figure, "cpu", unit="s", users=setting.users, data=setting.data)
        bound = FLAT * least if least and setting is not settings[0] else None
        as_many = setting.a_few == settings[0].a_few
        figures += [
            row(
                name=f"CPU time of an interval, {setting.a_few} changed",
                values=few(runs[setting]),
                bound=bound if as_many else None,
                note="without deep copies, full passes of the collector and blobs written anew",
            ),
            row(
                name="CPU time of an interval, 1 % changed",
                values=each(runs[setting], lambda run: statistics.median(run.cpu)),
            ),
        ]
    return figures


def requests(bench: Bench, setting: Setting) -> list[Figure]:
    """Requests of an interval."""
    runs = bench.take_all(intervals, setting)
    row = partial(Figure, "requests", unit="", users=setting.users, data=setting.data)
    return [
        row(
            name="requests when nothing changed",
            values=each(runs, lambda run: run.idle_requests),
            bound=0,
            note="users marked, nothing changed. PicklePersistence: writes of its file",
        ),
        row(
            name="requests on the commit path",
            values=each(runs, lambda run: run.requests),
            bound=1,
        ),
    ]


def sent(bench: Bench, setting: Setting) -> list[Figure]:
    """Bytes sent per interval, on average."""
    runs = _storing(bench, setting)
    ours = runs[OURS]
    row = partial(Figure, "bytes", users=setting.users, data=setting.data)
    bounded = setting.data == REALISTIC and is_large(setting)
    return [
        row(
            name="bytes sent per interval",
            unit="B",
            values=each(runs, lambda run: run.sent),
            bound=ours.whole / LESS_SENT if bounded else None,
            note=f"average of {setting.intervals:,} with {setting.at_work:,} users changed, and "
            f"{ours.rewrites} blobs written anew. All objects, whole, are "
            f"{ours.whole / 1e6:.2f} MB: {ours.whole / ours.sent:.1f} times as much",
        ),
        row(
            name="CPU time of these intervals, on average",
            unit="s",
            values=each(runs, lambda run: run.cpu),
            note="blobs written anew included",
        ),
    ]


def money(bench: Bench, setting: Setting) -> list[Figure]:
    """Requests and dollars a month."""
    runs = _storing(bench, setting)
    row = partial(Figure, "money", users=setting.users, data=setting.data)
    figures: list[Figure] = []
    for prices in PRICES:
        months = {
            name: month(prices, puts=run.puts, sent=run.sent, whole=run.whole)
            for name, run in runs.items()
        }
        history = "with 30 days of history" if prices.history else "which keeps no history"
        if not figures:
            puts = each(months, lambda spent: spent.puts)
            figures.append(row(name="writing requests a month", unit="", values=puts))
        figures += [
            row(
                name=f"bytes stored, {prices.provider}",
                unit="B",
                values=each(months, lambda spent: spent.stored),
            ),
            row(
                name=f"dollars a month, {prices.provider}",
                unit="$",
                values=each(months, lambda spent: spent.dollars),
                note=f"list prices of {AS_OF}, {history}; {setting.at_work:,} users changed in "
                "each interval of 60 s",
            ),
        ]
    return figures


def _storing(bench: Bench, setting: Setting) -> dict[str, Traffic]:
    names = [name for name in (OURS, NAIVE) if name in bench.contestants]
    return {name: bench.take(traffic, setting, name) for name in names}
