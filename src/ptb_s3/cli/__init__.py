"""The command line, ``ptb-s3``: one module for each group of commands.

Importing this package is cheap. The commands come with `main`, and what they need (settings,
storage) comes when one of them runs.
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
