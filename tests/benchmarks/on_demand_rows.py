"""The rows about state on demand: bounds are the issue's."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import NamedTuple

from tests.benchmarks import on_demand, on_demand_state, squeezed
from tests.benchmarks.contestants import OURS, PICKLE
from tests.benchmarks.figures import Figure
from tests.benchmarks.measure import Bench
from tests.benchmarks.on_demand import ALL, MODES, ON_DEMAND, VISITS, First
from tests.benchmarks.on_demand_state import Stored
from tests.benchmarks.setting import Setting
from tests.benchmarks.slow_line import RATE, ROUND_TRIP
from tests.benchmarks.squeezed import Squeezed

FASTER = 20.0  # times faster than load="all"
GROWTH = 3.0  # times, for a thousand times as many users
LESS_MEMORY = 20.0  # times less than load="all"
FETCHED = 0.02  # of the blobs, beside head
MORE_ROUND_TRIPS = 1.5  # one, and what the machine adds
PEAK = 64 * 2**20  # bytes
SMALL = 1_000
"""Users of the bot that the large one is held against."""

FIRST = "from initialize() to the end of the first handler"
_LINE = f"{RATE * 8 / 1e6:.0f} Mbit/s, {ROUND_TRIP * 1e3:.0f} ms of round trip, client made"
_row = partial(Figure, "on_demand", data="")
_MISSING = 'not measured: this build has no load="on_demand"'


class _Size(NamedTuple):
    """What was measured at one size.

    Attributes:
        setting: The size.
        empty: First updates with an empty differential, by mode.
        mean: The same with one of the average size; without `PicklePersistence`, which has none.
        stored: Bytes in the bucket with an empty differential.
        aged: Bytes in the bucket with one of the average size.
        fetched: Bytes of answers up to the end of the first handler, with an empty one, by mode.
    """

    setting: Setting
    empty: dict[str, First]
    mean: dict[str, First]
    stored: Stored
    aged: Stored
    fetched: dict[str, int]


def on_demand_rows(bench: Bench, setting: Setting, users: int) -> list[Figure]:
    """State on demand beside `load="all"`, for a small bot and a large one."""
    settings = [replace(setting, users=number) for number in (SMALL, users)]
    large = settings[-1]
    for one in settings:
        bench.bare(on_demand_state.fill, one)
    warm = _warm(bench, large)  # before anything is saved
    small, big = (_size(bench, one) for one in settings)
    return [
        *_firsts(small),
        *_firsts(big),
        *_ratios(small, big),
        _memory(bench, big),
        _fetched(big),
        warm,
        *_peaks(bench, large),
        *_squeezed(large),
    ]


def _size(bench: Bench, setting: Setting) -> _Size:
    stored = bench.bare(on_demand_state.stored, setting)
    empty, fetched = {}, {}
    for mode in (*MODES, PICKLE):
        before = bench.lines.long.carried()
        empty[mode] = _first(bench, setting, mode)
        fetched[mode] = (bench.lines.long.carried() - before) // bench.rounds
    aged = bench.bare(on_demand_state.age, setting)
    mean = {mode: _first(bench, setting, mode) for mode in MODES}
    return _Size(setting, empty, mean, stored, aged, fetched)


def _first(bench: Bench, setting: Setting, mode: str) -> First:
    far = _far(bench, setting)
    return min(bench.bare(on_demand.first, far, mode) for _ in range(bench.rounds))


def _far(bench: Bench, setting: Setting) -> Setting:
    return replace(setting, endpoint_url=bench.lines.long.url)


def _firsts(size: _Size) -> list[Figure]:
    """One row for each mode and state of the differential."""
    note = f"{_LINE}; head of {{0.head:,}} bytes, blobs of {{0.blobs:,}}"
    states = [
        (size.empty, "differential empty", note.format(size.stored)),
        (size.mean, "differential of the average size", note.format(size.aged)),
    ]
    return [
        _row(
            name=f'{FIRST}, load="{mode}", {state}',
            unit="s",
            users=size.setting.users,
            values={OURS: _seconds(runs.get(mode)), PICKLE: _seconds(runs.get(PICKLE))},
            note=text if mode in MODES else _MISSING,
        )
        for runs, state, text in states
        for mode in (ALL, ON_DEMAND)
    ]


def _seconds(run: First | None) -> float | None:
    return None if run is None else run.seconds


def _ratios(small: _Size, big: _Size) -> list[Figure]:
    """On demand by `load="all"`, and a large bot by a small one."""
    users = big.setting.users
    rows = []
    for state, few, many in (
        ("differential empty", small.empty, big.empty),
        ("differential of the average size", small.mean, big.mean),
    ):
        bounded = many is big.empty  # the bounds are for that, the other is beside it
        by_all = partial(_row, name=f'{FIRST}, by load="all", {state}', unit="x", users=users)
        by_small = partial(
            _row, name=f"{FIRST}, by {SMALL:,} users, {state}", unit="x", users=users
        )
        ours = many.get(ON_DEMAND)
        rows += [
            by_all(
                values={OURS: ours and ours.seconds / many[ALL].seconds},
                bound=1 / FASTER if bounded else None,
                note=_LINE if ours else _MISSING,
            ),
            by_small(
                values={OURS: ours and ours.seconds / few[ON_DEMAND].seconds},
                bound=GROWTH if bounded else None,
                note=f'load="on_demand"; {_LINE}' if ours else _MISSING,
            ),
        ]
    return rows


def _memory(bench: Bench, big: _Size) -> Figure:
    """Resident memory beyond that of a bot without state."""
    nobody = replace(big.setting, users=0)
    beyond = {
        mode: big.empty[mode].resident - _first(bench, nobody, mode).resident for mode in MODES
    }
    figures = ", ".join(f'load="{mode}": {size / 1e6:,.0f} MB' for mode, size in beyond.items())
    ours = beyond.get(ON_DEMAND)
    return _row(
        name='resident memory beyond a bot without state, after the first handler, by load="all"',
        unit="x",
        users=big.setting.users,
        values={OURS: None if ours is None else ours / beyond[ALL]},
        bound=1 / LESS_MEMORY,
        note=figures if ours is not None else f"{_MISSING}; {figures}",
    )


def _fetched(big: _Size) -> Figure:
    ours, whole = big.fetched.get(ON_DEMAND), big.fetched[ALL]
    note = f'of answers, HTTP\'s included; load="all": {whole:,}'
    return _row(
        name="bytes fetched up to the end of the first handler, beside head, by all blobs",
        unit="x",
        users=big.setting.users,
        values={OURS: None if ours is None else (ours - big.stored.head) / big.stored.blobs},
        bound=FETCHED,
        note=note if ours is not None else f"{_MISSING}; {note}",
    )


def _warm(bench: Bench, setting: Setting) -> Figure:
    """Round trips that a warm update of a user takes who was not seen before."""
    row = partial(
        _row,
        name="round trips of a warm update of a user not seen, beyond one of a user seen",
        unit="",
        users=setting.users,
        bound=MORE_ROUND_TRIPS,
    )
    if ON_DEMAND not in MODES:
        return row(values={OURS: None}, note=_MISSING)
    line, far = bench.lines.long, _far(bench, setting)
    before = line.carried()
    _first(bench, setting, ON_DEMAND)
    between = line.carried()
    run = bench.bare(on_demand.warm, far, ON_DEMAND)
    more = line.carried() - between - (between - before) / bench.rounds
    transfer = more / VISITS / RATE
    waited = (run.unseen - run.seen - transfer) / ROUND_TRIP
    return row(
        values={OURS: waited},
        note=f"medians of {VISITS}: {run.unseen * 1e3:.1f} and {run.seen * 1e3:.1f} ms, of which "
        f"the line takes {transfer * 1e3:.1f} for {more / VISITS:,.0f} bytes; {_LINE}",
    )


def _peaks(bench: Bench, setting: Setting) -> list[Figure]:
    rows = []
    for mode in (ALL, ON_DEMAND):
        run = bench.bare(on_demand.rewriting, setting, mode) if mode in MODES else None
        note = f"allocations (tracemalloc) beyond the {run.held / 1e6:,.0f} MB" if run else _MISSING
        rows.append(
            _row(
                name=f'peak beyond what is held, all written anew, load="{mode}"',
                unit="B",
                users=setting.users,
                values={OURS: run.beyond if run else None},
                bound=PEAK,
                note=note,
            )
        )
    return rows


def _squeezed(setting: Setting) -> list[Figure]:
    rows = []
    for mode in (ALL, ON_DEMAND):
        run = squeezed.run(setting, mode) if mode in MODES else None
        row = partial(_row, users=setting.users, note=_told(run) if run else _MISSING)
        where = f'in {squeezed.MEMORY // 2**20} MiB of memory, load="{mode}"'
        missing = None if run is None else squeezed.UPDATES - run.updates + (not run.compacted)
        rows.append(
            row(
                name=f"{squeezed.UPDATES:,} updates and a compaction, {where}: not done of these",
                unit="",
                values={OURS: missing},
                bound=0 if mode == ON_DEMAND else None,
            )
        )
    return rows


def _told(run: Squeezed) -> str:
    return (
        f"limited by RLIMIT_DATA; {run.updates:,} updates, at most {run.resident / 1e6:,.0f} MB "
        f"resident; {run.failure or 'ended well'}"
    )
