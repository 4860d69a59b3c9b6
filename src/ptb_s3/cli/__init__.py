"""Command line, ``ptb-s3``: one module for each command.

Rule: a command parses its arguments, shows a plan, asks, has it done and tells what came of it. The
plan and the doing are of `_engine`, `_history` and `_transfer`, where they can be tested without
it. Results go to stdout, everything else to stderr (`_output`).

To import this package is cheap. The commands come with `main`, and what they need (settings,
storage) comes when one of them runs. Begin with `_app`, the list of commands, and `_opened`, the
place that a command works on. Modules with an underscore are shared by several commands.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec

__all__ = ["main"]

_EXTRA = ("typer", "rich")  # what ptb-s3[cli] adds


def main() -> None:
    """Run the command line on ``sys.argv``, and exit."""
    if not all(find_spec(name) for name in _EXTRA):
        sys.stderr.write('error: ptb-s3 needs its extra "cli": pip install "ptb-s3[cli]"\n')
        sys.exit(2)
    from ptb_s3.cli._app import app  # noqa: PLC0415 - imports the extra

    app()
