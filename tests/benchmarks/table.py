"""The table, for people and for programs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.table import Table
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


def as_table(setting: Setting, rows: Sequence[Figure]) -> Table:
    """Return all rows for people to read."""
    table = Table(
        title=f"{setting.users:,} users, of whom {setting.changed:,} change in an interval",
        caption="ratio: how many times as much PicklePersistence takes",
    )
    table.add_column("figure", ratio=3)
    for heading in ("ptb-s3", "PicklePersistence", "ratio", "bound"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("met", justify="center")
    table.add_column("", style="dim", ratio=5)
    for row in rows:
        table.add_row(
            row.name,
            _figure(row.ours, row.unit),
            _figure(row.theirs, row.unit),
            ""
            if row.ratio is None
            else f"{row.ratio:,.3g}"
            if row.ratio < 1e3
            else f"{row.ratio:,.0f}",
            _figure(row.bound, row.unit),
            _VERDICTS[row.met],
            row.note,
        )
    return table


def _figure(value: float | None, unit: str) -> str:
    if value is None:
        return ""
    if unit == "x":
        return f"{value:.0%}" if value < 1 else f"{value:.2f} x"
    for least, name, factor in _SCALES.get(unit, ()):
        if value >= least:
            return (
                f"{value * factor:,.3g} {name}"
                if value * factor < 1e3
                else f"{value * factor:,.0f} {name}"
            )
    return f"{value:,.0f}"
