"""The voice of the command line: results on stdout, everything said about them on stderr."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from ptb_s3.errors import PersistenceError


def result(text: str) -> None:
    """Print a line of what was asked for."""
    typer.echo(text)


def result_json(value: object) -> None:
    """Print what was asked for, for programs."""
    typer.echo(json.dumps(value, indent=2))


def note(text: str) -> None:
    """Print what a person should know beside the result."""
    typer.echo(text, err=True)


def failure(error: PersistenceError) -> None:
    """Print what happened and what to do about it."""
    typer.echo(f"error: {error}", err=True)
