"""Options that several commands share, and the words by which they describe a restore point."""

from __future__ import annotations

from typing import Annotated

import typer

from ptb_s3.cli import _output


def _note_json(value: bool) -> bool:  # noqa: FBT001 - Typer calls it with the option's value
    _output.for_programs.set(value)
    return value


Json = Annotated[bool, typer.Option("--json", callback=_note_json, help="Print JSON.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]

OfStore = Annotated[
    str | None,
    typer.Option("--store", metavar="ID", help="Of the store of this id, which lay here before."),
]

POINT = "A revision, a time (ISO 8601, or like '2 hours ago'), or the version id of a head"
"""The forms of a restore point, as the help texts of arguments give them."""
