"""Voice of the command line: results go to stdout, everything said about them to stderr.

So a pipe holds results only. What happened comes first, then the remedy. With ``--json`` a result
is one JSON value, and so is an error. Long lines are broken on a terminal alone.
"""

from __future__ import annotations

import json
import sys
import textwrap
from contextvars import ContextVar
from enum import Enum
from typing import TYPE_CHECKING, Self

import typer

if TYPE_CHECKING:
    from ptb_s3.errors import PersistenceError

for_programs: ContextVar[bool] = ContextVar("for_programs", default=False)
"""Whether JSON was asked for, so that an error is told as JSON, too."""


class Severity(Enum):
    """Severity of something, as a colour. The word that says so stands there in any case."""

    GOOD = "green"
    DOUBTFUL = "yellow"
    BAD = "red"


class Graded(str):
    """Text of a table's cell with a severity."""

    __slots__ = ("severity",)
    severity: Severity

    def __new__(cls, text: str, severity: Severity) -> Self:
        graded = super().__new__(cls, text)
        graded.severity = severity
        return graded


def result(text: str) -> None:
    """Print a line of the result."""
    typer.echo(text)


def result_json(value: object) -> None:
    """Print the result as JSON, for programs."""
    typer.echo(json.dumps(value, indent=2))


def readable_json(value: object, indent: int | None = None) -> str:
    """Write JSON for people: letters of all scripts as they are, if the output can take them."""
    text = json.dumps(value, indent=indent, ensure_ascii=False)
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:  # half a character, in what a bot was sent, is none anywhere
        return json.dumps(value, indent=indent)
    return text


def note(text: str) -> None:
    """Print a remark on the result."""
    _tell("", None, text)


def warning(text: str) -> None:
    """Print a remark that a person should look into."""
    _tell("warning: ", Severity.DOUBTFUL, text)


def failure(error: PersistenceError) -> None:
    """Print an error and its remedy, for programs as well where they asked for JSON."""
    text = " ".join([str(error), *getattr(error, "__notes__", [])])
    _tell("error: ", Severity.BAD, text)
    if for_programs.get():
        message, _, remedy = text.partition(". ")
        told = {"kind": type(error).__name__, "message": message, "remedy": remedy}
        result_json({"error": {**told, "exit_code": error.exit_code}})


def _tell(word: str, severity: Severity | None, text: str) -> None:
    """Print to stderr, on a terminal with long lines broken and the first word coloured."""
    if not sys.stderr.isatty():
        typer.echo(word + text, err=True)
        return
    from rich.console import Console  # noqa: PLC0415 - for a terminal alone
    from rich.text import Text  # noqa: PLC0415 - as above

    console = Console(stderr=True, highlight=False)
    told = Text("\n".join(_wrapped(line, console.width) for line in (word + text).split("\n")))
    told.stylize(severity.value if severity else "", 0, len(word))
    console.print(told, soft_wrap=True)


def _wrapped(line: str, width: int) -> str:
    return textwrap.fill(line, width, break_long_words=False, break_on_hyphens=False)
