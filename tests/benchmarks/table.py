"""The table, for people and for programs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text
from tests.benchmarks.bots import Setting
from tests.benchmarks.figures import Figure

_SCALES = {
    "s": ((60.0, "min", 1 / 60), (1.0, "s", 1.0), (0.0, "ms", 1e3)),
    "B": ((1e9, "GB", 1e-9), (1e6, "MB", 1e-6), (0.0, "kB", 1e-3)),
}
_VERDICTS = {True: "[green]yes[/]", False: "[red]no[/]", None: ""}


def as_json(setting: Setting, rows: Sequence[Figure]) -> dict[str, Any]:
    """Return all rows as they are, for a program to read."""
    return {
        "users": setting.users,
        "changed": setting.changed,
        "figures": [asdict(row) | {"ratio": row.ratio, "met": row.met} for row in rows],
    }


def as_table(setting: Setting, rows: Sequence[Figure]) -> Group:
    """Return all rows for people to read, and the notes below."""
    table = Table(
        title=f"{setting.users:,} users, of whom {setting.changed:,} change in an interval",
        caption="ratio: how many times as much PicklePersistence takes",
    )
    table.add_column("figure")
    for heading in ("ptb-s3", "Pickle", "ratio", "bound"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("met", justify="center")
    notes: list[str] = []
    for row in rows:
        if row.note:
            notes.append(f"{len(notes) + 1}. {row.note}.")
        table.add_row(
            f"{row.name} ({len(notes)})" if row.note else row.name,
            _amount(row.ours, row.unit),
            _amount(row.theirs, row.unit),
            "" if row.ratio is None else _short(row.ratio),
            _amount(row.bound, row.unit),
            _VERDICTS[row.met],
        )
    return Group(table, *(Text(note, style="dim") for note in notes))


def _amount(value: float | None, unit: str) -> str:
    if value is None:
        return ""
    if unit == "x":
        return f"{value:.1%}" if value < 1 else f"{value:.2f} x"
    for least, name, factor in _SCALES.get(unit, ()):
        if value >= least:
            return f"{_short(value * factor)} {name}"
    return _short(value)


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
