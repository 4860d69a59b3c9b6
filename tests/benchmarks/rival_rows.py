"""The rows beside the newest persistence of others: bounds are the issue's."""

from __future__ import annotations

from functools import partial
from importlib.util import find_spec

from tests.benchmarks import rival
from tests.benchmarks.contestants import OURS
from tests.benchmarks.figures import Figure
from tests.benchmarks.measure import Bench
from tests.benchmarks.rival import DJANGO, DJANGO_IN_MEMORY, IN_MEMORY, PLAIN
from tests.benchmarks.setting import Setting

FASTER_SAVE = 20.0  # times
FASTER_LOAD = 2.5
SAVING = "saving 1 %, by that of DjangoPersistence on SQLite"
SAVING_IN_MEMORY = "the same with SQLite's file in memory"
LOADING = "loading, by that of DjangoPersistence on SQLite"
_MODULE = "python_telegram_bot_django_persistence"


def rivals(bench: Bench, setting: Setting) -> list[Figure]:
    """Loading, and saving 1 %, beside Django where it is installed."""
    row = partial(Figure, "rival", unit="x", users=setting.users, data="")
    load = partial(row, name=LOADING, bound=1 / FASTER_LOAD)
    save = partial(row, name=SAVING, bound=1 / FASTER_SAVE)
    if find_spec(_MODULE) is None:
        note = f"not measured: it needs {_MODULE}, of the extra benchmarks"
        return [line(values={OURS: None}, note=note) for line in (load, save)]
    bench.bare(rival.fill, setting)
    # Starts come first: what is saved changes what is loaded, and finds words.
    ours, theirs = (_loads(bench, setting, name) for name in (OURS, DJANGO))
    return [
        load(
            values={OURS: ours.seconds / theirs.seconds},
            note=f"initialize(), client made and database open, best of {bench.rounds}: "
            f"{ours.seconds:.3f} s ({ours.words} words), theirs {theirs.seconds:.3f} s",
        ),
        *_saves(bench, setting, save),
    ]


def _loads(bench: Bench, setting: Setting, name: str) -> rival.Load:
    return min(bench.bare(rival.load, setting, name) for _ in range(bench.rounds))


def _saves(bench: Bench, setting: Setting, row: partial[Figure]) -> list[Figure]:
    names = [OURS, PLAIN, DJANGO, *([DJANGO_IN_MEMORY] if IN_MEMORY.is_dir() else [])]
    taken = {name: bench.bare(rival.save, setting, name) for name in names}
    ours = taken[OURS]
    seconds = ", ".join(f"{name}: {seconds:.4f} s" for name, seconds in taken.items())
    note = f"update_persistence(), {setting.one_per_cent:,} users, median. {seconds}"
    figures = [row(values={OURS: ours / taken[DJANGO]}, note=note)]
    if in_memory := taken.get(DJANGO_IN_MEMORY):
        figures.append(row(name=SAVING_IN_MEMORY, values={OURS: ours / in_memory}, note=note))
    return figures
