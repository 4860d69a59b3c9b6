"""The table, for people and for programs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from itertools import groupby
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text
from tests.benchmarks.contestants import ALTERNATIVES, OURS
from tests.benchmarks.data import REALISTIC
from tests.benchmarks.figures import Figure

_SCALES = {
    "s": (
        (86_400.0, "days", 1 / 86_400),
        (3_600.0, "h", 1 / 3_600),
        (60.0, "min", 1 / 60),
        (1.0, "s", 1.0),
        (0.0, "ms", 1e3),
    ),
    "B": ((1e12, "TB", 1e-12), (1e9, "GB", 1e-9), (1e6, "MB", 1e-6), (0.0, "kB", 1e-3)),
}
_VERDICTS = {True: "[green]yes[/]", False: "[red]no[/]", None: ""}


def as_json(figures: Sequence[Figure]) -> dict[str, Any]:
    """Return all rows as they are, for a program to read."""
    rows = [asdict(figure) | {"ratios": figure.ratios, "met": figure.met} for figure in figures]
    return {"figures": rows}


def as_table(figures: Sequence[Figure]) -> Group:
    """Return all rows for people to read, and the notes below."""
    notes: list[str] = []
    parts: list[RenderableType] = [
        _part(name, rows, notes) for name, rows in groupby(figures, lambda figure: figure.row)
    ]
    met = [figure.met for figure in figures if figure.met is not None]
    parts += [Text(note, style="dim") for note in notes]
    bounds = sum(figure.bound is not None for figure in figures)
    total = f"{sum(met)} of {bounds} bounds are met, {bounds - len(met)} were not measured."
    return Group(*parts, Text(total))


def _part(name: str, figures: Iterable[Figure], notes: list[str]) -> Table:
    table = Table(title=name, title_justify="left", expand=True)
    table.add_column("figure", ratio=1)
    for heading in ("users", OURS, *ALTERNATIVES, "bound"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("met", justify="center")
    for figure in figures:
        table.add_row(
            _titled(figure, notes),
            "" if figure.users is None else f"{figure.users:,}",
            amount(figure.ours, figure.unit),
            *(_beside(figure, alternative) for alternative in ALTERNATIVES),
            amount(figure.bound, figure.unit),
            _VERDICTS[figure.met],
        )
    return table


def _titled(figure: Figure, notes: list[str]) -> str:
    """Return a row's name, with the number of its note, which is added where it is new."""
    name = figure.name if figure.data in {"", REALISTIC} else f"{figure.name}, {figure.data}"
    if not figure.note:
        return name
    numbers = [number for number, note in enumerate(notes, 1) if note.endswith(f" {figure.note}.")]
    if not numbers:
        notes.append(f"{len(notes) + 1}. {figure.note}.")
        numbers = [len(notes)]
    return f"{name} ({numbers[0]})"


def _beside(figure: Figure, alternative: str) -> str:
    theirs, ratio = figure.values.get(alternative), figure.ratios[alternative]
    text = amount(theirs, figure.unit)
    return text if ratio is None else f"{text} ({_short(ratio)}x)"


def amount(value: float | None, unit: str) -> str:
    """Return a figure with its unit, for people to read."""
    if value is None:
        return ""
    if unit == "x":
        return f"{value:.1%}" if value < 1 else f"{value:.2f} x"
    if unit == "$":
        return f"${value:,.2f}"
    for least, name, factor in _SCALES.get(unit, ()):
        if value >= least:
            return f"{_short(value * factor)} {name}"
    return _short(value)


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
