"""Tables of the command line, fitted to the width of the terminal.

In a pipe nothing is cut: a table is as wide as its cells. On a terminal, columns that the caller
can spare are shortened or left out, and only then are cells broken.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

import typer

from ptb_s3.cli._output import Graded

Spare = str | tuple[str, Callable[[str], str]]
"""A column to leave out, or a column and the function that makes its cells shorter."""

_WIDE = 10_000  # columns of a pipe, so that nothing is broken
_GAP = 2  # columns between two cells


def table(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    right: Sequence[str] = (),
    spare: Sequence[Spare] = (),
) -> None:
    """Print a table, in which text without spaces, such as an id, is never broken in two.

    Args:
        columns: Their headings.
        rows: Their cells. Nothing in a cell is taken for rich's markup.
        right: The columns that hold numbers.
        spare: The columns to leave out or to shorten where it is too wide, the first one first.
    """
    from rich.console import Console  # noqa: PLC0415 - not every command shows a table
    from rich.table import Table  # noqa: PLC0415 - as above
    from rich.text import Text  # noqa: PLC0415 - as above

    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = _WIDE
    columns, rows = _fitting(columns, rows, spare, console.width)
    shown = Table(box=None, padding=(0, _GAP, 0, 0), header_style="dim", pad_edge=False)
    for at, column in enumerate(columns):
        numbers = column in right
        whole = numbers or all(" " not in row[at] for row in rows)
        shown.add_column(column, justify="right" if numbers else "left", no_wrap=whole)
    for row in rows:
        shown.add_row(*(Text(cell, overflow="fold", style=_style(cell)) for cell in row))
    with console.capture() as captured:
        console.print(shown)
    lines = captured.get().splitlines()
    typer.echo("\n".join(line.rstrip() for line in lines))


def bar(share: float, width: int) -> str:
    """Draw a share of a whole, from 0 to 1, as a bar of at most so many columns."""
    return ("█" if _can_draw() else "#") * max(1, round(share * width))


def _can_draw() -> bool:
    return (sys.stdout.encoding or "").lower().startswith("utf")


def _style(cell: str) -> str:
    return cell.severity.value if isinstance(cell, Graded) else ""


def _fitting(
    columns: Sequence[str], rows: Sequence[Sequence[str]], spare: Sequence[Spare], width: int
) -> tuple[Sequence[str], Sequence[Sequence[str]]]:
    """Shorten or leave out spare columns, one after the other, until the rest fits a width."""
    for name, shorten in ((one, None) if isinstance(one, str) else one for one in spare):
        widths = [max(map(len, cells)) for cells in zip(columns, *rows, strict=True)]
        if sum(widths) + _GAP * (len(widths) - 1) <= width:
            break
        at = columns.index(name)
        if shorten is None:
            columns = [*columns[:at], *columns[at + 1 :]]
        rows = [
            [*row[:at], *([] if shorten is None else [shorten(row[at])]), *row[at + 1 :]]
            for row in rows
        ]
    return columns, rows
