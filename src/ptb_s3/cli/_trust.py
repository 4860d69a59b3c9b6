"""Trust in classes of a pickle file: the option, and its default."""

from __future__ import annotations

from typing import Annotated

import typer

# As every bot does by default. The rest of a bot's default is its own folder, which no command has.
_TRUSTED = ("__main__",)

Trusted = Annotated[
    list[str] | None,
    typer.Option(
        help="A module whose classes may be in a pickle file, besides __main__; may be given "
        "repeatedly. None is imported."
    ),
]


def trusted_modules(given: list[str] | None) -> list[str]:
    """Return the modules whose classes may be in a pickle file: the default, and those given."""
    return [*_TRUSTED, *(given or ())]
