"""Figures and tables of the page, as data: strips of bars over one axis of time. Pure.

Each strip has its words beside it, so that colour tells nothing by itself; each figure has a table
that says the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ptb_s3.cli._report.scale import Tick

ROWS = 50
"""Rows of a table, at most; those left off are counted."""
TALL = 44
"""Pixels that a strip of bars is high."""
LOW = 14
"""Pixels that a strip of marks or of a life is high."""
_LEAST = 2.0  # pixels of a bar that stands for anything at all


class Bar(NamedTuple):
    """Bar in a strip.

    Attributes:
        x: Its left side, in percent.
        width: Its width, in percent.
        y: Its top, in pixels.
        height: Its height, in pixels.
        title: Words that are shown when it is pointed at.
        style: Name of its style: ``plain``, ``area`` or ``mark``.
    """

    x: float
    width: float
    y: float
    height: float
    title: str
    style: str = "plain"


class Strip(NamedTuple):
    """Strip of bars over the axis.

    Attributes:
        label: Name.
        note: Total or highest value, in words.
        height: Pixels.
        bars: The bars.
    """

    label: str
    note: str
    height: int
    bars: tuple[Bar, ...]


class Table(NamedTuple):
    """Table.

    Attributes:
        caption: Name.
        columns: Headings.
        numbers: Those of the columns that hold numbers.
        rows: Cells.
        left_off: How many rows more there are.
    """

    caption: str
    columns: tuple[str, ...]
    numbers: frozenset[str]
    rows: tuple[tuple[str, ...], ...]
    left_off: int = 0


class Figure(NamedTuple):
    """Strips over one axis of time, and the same as a table.

    Attributes:
        name: Name that is unique on the page, of letters.
        told: Description of what is drawn, for whoever does not see it.
        strips: The strips.
        ticks: Marks of the axis.
        table: The same in numbers.
    """

    name: str
    told: str
    strips: tuple[Strip, ...]
    ticks: tuple[Tick, ...]
    table: Table


def tabulate(
    caption: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    numbers: Sequence[str] = (),
    most: int = ROWS,
) -> Table:
    """Return a table, cut to so many rows."""
    shown = tuple(tuple(row) for row in rows[:most])
    return Table(caption, tuple(columns), frozenset(numbers), shown, max(len(rows) - most, 0))


def standing(x: float, width: float, share: float, title: str, style: str = "plain") -> Bar:
    """Return a bar that stands on the ground of a tall strip.

    Args:
        x: Its left side, in percent.
        width: Its width, in percent.
        share: Share of the strip's height that it takes, from 0 to 1.
        title: Words for it.
        style: Name of its style.
    """
    height = round(max(share * TALL, _LEAST if share > 0 else 0), 1)
    return Bar(round(x, 3), round(width, 3), round(TALL - height, 1), height, title, style)
