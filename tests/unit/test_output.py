"""What tables look like in a terminal that is not wide."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest
from rich.console import Console

from ptb_s3.cli import _output
from ptb_s3.cli._consent import typed
from ptb_s3.cli._table import Spare, table
from ptb_s3.cli._wording import without_seconds
from ptb_s3.errors import PersistenceError

ID = "aa6a0fc07956b0d7"
COLUMNS = ["revision", "time", "writer", "changed", "size", ""]
SPARE: list[Spare] = ["", ("time", without_seconds), "writer"]
ROW = ["8", "2026-11-29 14:20:29", ID, "user 2, bot 1, conversations 2", "4.5 kB", "#" * 12]


@pytest.mark.parametrize(
    ("width", "shown"),
    [
        (120, (True, True, True)),
        (100, (False, True, True)),
        (85, (False, False, True)),
        (80, (False, False, False)),
    ],
)
def test_what_does_not_fit_goes(
    width: int,
    shown: tuple[bool, bool, bool],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Bars first, then seconds, then the writer; and an id is there as a whole, or not at all."""
    monkeypatch.setattr(Console, "is_terminal", True)
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    table(COLUMNS, [ROW], right=["revision", "size"], spare=SPARE)
    printed = capsys.readouterr().out
    assert max(map(len, printed.splitlines())) <= width
    assert ("####" in printed, "14:20:29" in printed, ID in printed) == shown
    assert "2026-11-29 14:20" in printed
    assert ID[:8] not in printed.replace(ID, "")


def test_an_id_is_never_broken_in_two(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where something has to give way, it is what has spaces."""
    monkeypatch.setattr(Console, "is_terminal", True)
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("TERM", "xterm")
    rows = [["user_data", "6713760bcd71b43a19ed6f793c16dd45", "it does not begin like an object"]]
    table(["object", "version", "cannot be read, since"], rows)
    assert "6713760bcd71b43a19ed6f793c16dd45" in capsys.readouterr().out


TEXT = (
    "The state in this place was deleted at 2026-11-29 14:20:29 UTC. To begin a new one: ptb-s3 "
    "begin-anew 6713760bcd71b43a19ed6f793c16dd456713760bcd71b43a19ed6f793c16dd45"
)


def at_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make standard error a terminal of 60 columns that knows colours."""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)


def test_long_errors_break_between_words(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """No word is broken, however long; and none is lost."""
    at_a_terminal(monkeypatch)
    _output.failure(PersistenceError(TEXT))
    printed = click.unstyle(capsys.readouterr().err)
    assert printed.split() == ["error:", *TEXT.split()]
    lines = printed.splitlines()
    assert len(lines) > 2
    assert [line for line in lines if len(line) > 60] == [TEXT.rsplit(maxsplit=1)[-1]]


@pytest.mark.parametrize(("variable", "value"), [("NO_COLOR", "1"), ("TERM", "dumb"), ("", "")])
def test_a_severity_is_a_word_and_a_colour(
    variable: str, value: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The word is there in any case; the colour where it is wanted and can be shown."""
    at_a_terminal(monkeypatch)
    if variable:
        monkeypatch.setenv(variable, value)
    _output.failure(PersistenceError("no"))
    _output.warning("look")
    printed = capsys.readouterr().err
    assert click.unstyle(printed) == "error: no\nwarning: look\n"
    assert ("\x1b[" in printed) == (not variable)


def test_in_a_pipe_a_line_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Nobody looks on: nothing is wrapped or coloured."""
    _output.failure(PersistenceError(TEXT))
    assert capsys.readouterr().err == f"error: {TEXT}\n"


@pytest.mark.parametrize("wanted", ["", "1"])
def test_a_graded_cell(
    wanted: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A table colours what it says of how bad something is, if NO_COLOR is not set."""
    monkeypatch.setattr(Console, "is_terminal", True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", wanted)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    table(["", "check"], [[_output.Graded("FAILED", _output.Severity.BAD), "bucket"]])
    printed = capsys.readouterr().out
    assert "FAILED" in click.unstyle(printed)
    assert ("\x1b[31m" in printed) == (not wanted)


_COMPLETED = """
eval "$(ptb-s3 --show-completion bash)"
COMP_WORDS=(ptb-s3 re) COMP_CWORD=1
_ptb_s3_completion ptb-s3
echo "${COMPREPLY[@]}"
"""


def test_a_shell_completes_commands() -> None:
    """What typer prints for bash does complete, in bash."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    found = subprocess.run(  # noqa: S603 - a fixed command
        ["bash", "-c", _COMPLETED],  # noqa: S607 - whichever bash there is
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PATH": path},
    )
    assert found.stdout.split() == ["report", "repair", "restore"]


def test_a_question_leaves_nothing_on_stdout(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What a command prints may go to a file, or be JSON."""
    monkeypatch.setattr("sys.stdin", io.StringIO(" yes \n"))
    assert typed("Erase it? [y/N]: ") == "yes"
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("", "Erase it? [y/N]: ")
