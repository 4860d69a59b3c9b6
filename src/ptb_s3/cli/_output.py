"""The voice of the command line: results on stdout, everything said about them on stderr.

Times are shown in the local zone and written in UTC in JSON. Nothing is cut to fit where nobody
looks on: in a pipe, a table is as wide as it is.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import textwrap
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from contextvars import ContextVar
from datetime import UTC, datetime
from enum import Enum
from typing import TYPE_CHECKING, Self

import typer

from ptb_s3.errors import SettingsError, StorageError

if TYPE_CHECKING:
    from ptb_s3.errors import PersistenceError

Progress = Callable[[int, int | None], None]
"""Told how much is done, and of how much, where that is known."""

for_programs: ContextVar[bool] = ContextVar("for_programs", default=False)
"""Whether JSON was asked for, so that an error is told as JSON, too."""


class Severity(Enum):
    """How bad something is, as a colour. The word that says so stands there in any case."""

    GOOD = "green"
    DOUBTFUL = "yellow"
    BAD = "red"


class Graded(str):
    """A table's cell that says how bad something is."""

    __slots__ = ("severity",)
    severity: Severity

    def __new__(cls, text: str, severity: Severity) -> Self:
        graded = super().__new__(cls, text)
        graded.severity = severity
        return graded


Spare = str | tuple[str, Callable[[str], str]]
"""A column to leave out, or one and what makes its cells shorter."""

_SHOWN_AFTER = 1.0  # seconds: what is done sooner needs no bar
_SECONDS = re.compile(r"(\d\d:\d\d):\d\d")
_TICK = 0.2  # seconds
_WIDE = 10_000  # columns where nobody looks on


def result(text: str) -> None:
    """Print a line of what was asked for."""
    typer.echo(text)


def result_json(value: object) -> None:
    """Print what was asked for, for programs."""
    typer.echo(json.dumps(value, indent=2))


def readable_json(value: object, indent: int | None = None) -> str:
    """Write JSON for people: letters of all scripts as they are, where the output can take them."""
    text = json.dumps(value, indent=indent, ensure_ascii=False)
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:  # half a character, in what a bot was sent, is none anywhere
        return json.dumps(value, indent=indent)
    return text


def note(text: str) -> None:
    """Print what a person should know beside the result."""
    _tell("", None, text)


def warning(text: str) -> None:
    """Print what a person should look into."""
    _tell("warning: ", Severity.DOUBTFUL, text)


def _tell(word: str, severity: Severity | None, text: str) -> None:
    """Print to stderr; where somebody looks on, break long lines between words, and colour one."""
    if not sys.stderr.isatty():
        typer.echo(word + text, err=True)
        return
    from rich.console import Console  # noqa: PLC0415 - only where somebody looks on
    from rich.text import Text  # noqa: PLC0415 - as above

    console = Console(stderr=True, highlight=False)
    told = Text("\n".join(_wrapped(line, console.width) for line in (word + text).split("\n")))
    told.stylize(severity.value if severity else "", 0, len(word))
    console.print(told, soft_wrap=True)


def _wrapped(line: str, width: int) -> str:
    return textwrap.fill(line, width, break_long_words=False, break_on_hyphens=False)


def failure(error: PersistenceError) -> None:
    """Print what happened and what to do about it, for programs as well where they asked."""
    text = " ".join([str(error), *getattr(error, "__notes__", [])])
    _tell("error: ", Severity.BAD, text)
    if for_programs.get():
        message, _, remedy = text.partition(". ")
        told = {"kind": type(error).__name__, "message": message, "remedy": remedy}
        result_json({"error": {**told, "exit_code": error.exit_code}})


def table(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    right: Sequence[str] = (),
    spare: Sequence[Spare] = (),
) -> None:
    """Print a table. What has no spaces, such as an id, is not broken in two.

    Args:
        columns: Their headings.
        rows: Their cells, which may hold rich's markup no more than their data allows: none.
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
    shown = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False)
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


def _style(cell: str) -> str:
    return cell.severity.value if isinstance(cell, Graded) else ""


def _fitting(
    columns: Sequence[str], rows: Sequence[Sequence[str]], spare: Sequence[Spare], width: int
) -> tuple[Sequence[str], Sequence[Sequence[str]]]:
    """Leave out what is spare until the rest fits."""
    for name, shorten in ((one, None) if isinstance(one, str) else one for one in spare):
        widths = [max(map(len, cells)) for cells in zip(columns, *rows, strict=True)]
        if sum(widths) + 2 * (len(widths) - 1) <= width:
            break
        at = columns.index(name)
        if shorten is None:
            columns = [*columns[:at], *columns[at + 1 :]]
        rows = [
            [*row[:at], *([] if shorten is None else [shorten(row[at])]), *row[at + 1 :]]
            for row in rows
        ]
    return columns, rows


@contextmanager
def progress(what: str) -> Iterator[Progress]:
    """Show a bar on a terminal once the work has taken a second.

    Args:
        what: What is being done.

    Yields:
        What to call with how much is done, and of how much.
    """
    if not sys.stderr.isatty():
        yield lambda _done, _total: None
        return
    from rich.console import Console  # noqa: PLC0415 - only where somebody looks on
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn  # noqa: PLC0415 - as above
    from rich.progress import Progress as Bars  # noqa: PLC0415 - as above

    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    bars = Bars(*columns, console=Console(stderr=True), transient=True)
    bar = bars.add_task(what, total=None)
    began = time.monotonic()

    def advance(done: int, total: int | None) -> None:
        bars.update(bar, completed=done, total=total)
        if not bars.live.is_started and time.monotonic() - began > _SHOWN_AFTER:
            bars.start()

    try:
        yield advance
    finally:
        bars.stop()


@asynccontextmanager
async def waiting(what: str, done: Callable[[], tuple[int, int | None]]) -> AsyncIterator[None]:
    """Show a bar for work that does not call back, as `progress` does.

    Args:
        what: What is being done.
        done: Tells how much is done, and of how much, where that is known.
    """

    async def show() -> None:
        with progress(what) as advance:
            while True:
                advance(*done())
                await asyncio.sleep(_TICK)

    shown = asyncio.create_task(show())
    try:
        yield
    finally:
        shown.cancel()
        with suppress(asyncio.CancelledError):
            await shown


@contextmanager
def in_steps(state: str | Callable[[], str]) -> Iterator[None]:
    """Say what is done so far where the work is broken off half way.

    Args:
        state: What is so then, and how to go on.
    """
    try:
        yield
    except (KeyboardInterrupt, asyncio.CancelledError):
        note(state if isinstance(state, str) else state())
        raise
    except StorageError as error:
        error.add_note(state if isinstance(state, str) else state())
        raise


def confirm(question: str, *, yes: bool) -> None:
    """Have a person agree to what cannot be undone.

    Args:
        question: What they agree to.
        yes: They have agreed beforehand.

    Raises:
        SettingsError: Nobody is there to ask.
        typer.Exit: They do not agree.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise SettingsError("This cannot be undone. Pass --yes to have it done without a question.")
    if not typer.confirm(question, err=True):
        note("Nothing was changed.")
        raise typer.Exit(1)


def when(moment: datetime) -> str:
    """Write a time in the local zone."""
    return f"{moment.astimezone():%Y-%m-%d %H:%M:%S}"


def without_seconds(text: str) -> str:
    """Make a text with times in it shorter."""
    return _SECONDS.sub(r"\1", text)


def when_json(moment: datetime) -> str:
    """Write a time in UTC, for programs."""
    return moment.astimezone(UTC).isoformat()


def ago(moment: datetime) -> str:
    """Say how long ago a time was."""
    import humanize  # noqa: PLC0415 - not every command shows an age

    return humanize.naturaltime(datetime.now(UTC) - moment)


def size(number: int) -> str:
    """Write a number of bytes."""
    import humanize  # noqa: PLC0415 - not every command shows a size

    return humanize.naturalsize(number)


def bar(share: float, width: int) -> str:
    """Draw a share of a whole, from 0 to 1, as a bar of at most so many columns."""
    return ("█" if _can_draw() else "#") * max(1, round(share * width))


def _can_draw() -> bool:
    return (sys.stdout.encoding or "").lower().startswith("utf")


def count(number: int, what: str, plural: str = "") -> str:
    """Write a number of things, such as ``1 version`` and ``2,000 versions``."""
    return f"{number:,} {what if number == 1 else plural or f'{what}s'}"
