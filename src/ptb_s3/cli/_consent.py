"""Consent of a person to work that cannot be undone."""

from __future__ import annotations

import signal
import sys

import typer

from ptb_s3.cli import _output
from ptb_s3.errors import SettingsError


def agree(question: str, *, yes: bool) -> None:
    """Have a person agree to work that cannot be undone, where Ctrl-C means no.

    The event loop stands still while they are asked, and would hear of Ctrl-C only afterwards. So
    Python's own handler takes its place for as long.

    Args:
        question: The work, as a question.
        yes: They have agreed beforehand.

    Raises:
        SettingsError: Nobody is there to ask.
        typer.Exit: They do not agree.
        KeyboardInterrupt: They pressed Ctrl-C.
    """
    if yes or not sys.stdin.isatty():
        _confirm(question, yes=yes)
        return
    heard = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        _confirm(question, yes=yes)
    except (KeyboardInterrupt, EOFError):
        _output.note("\nNothing was changed.")
        raise KeyboardInterrupt from None
    finally:
        signal.signal(signal.SIGINT, heard)


def _confirm(question: str, *, yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise SettingsError("This cannot be undone. Pass --yes to have it done without a question.")
    if typed(f"{question} [y/N]: ").lower() not in {"y", "yes"}:
        _output.note("Nothing was changed.")
        raise typer.Exit(1)


def typed(text: str) -> str:
    """Show a text and return the line that is typed after it, with nothing on a stdout for files.

    Typer's own questions put a space there, also where they are asked on stderr.

    Raises:
        EOFError: The input has ended.
    """
    if sys.stdout.isatty():
        return input(text).strip()
    typer.echo(text, nl=False, err=True)
    return input().strip()
