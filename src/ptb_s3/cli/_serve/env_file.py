"""File of variables for a bot: written once, never over other settings.

A file that already has the variables of this storage is right as it is, whatever else it holds:
a token, or another prefix. Any other file is somebody's, and is refused before anything is done.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from ptb_s3._environment import read_file
from ptb_s3.errors import SettingsError

_FREE_TO_CHOOSE = frozenset({"PTB_S3_PREFIX"})
"""Variables that a user may have changed: each bot of a storage has a prefix of its own."""


def is_written(path: Path, variables: Mapping[str, str] | None) -> bool:
    """Tell whether a file has these variables already.

    Args:
        path: The file.
        variables: Variables of the storage; None: it is a new one, so no file can have them.

    Returns:
        False where there is no such file, so that it is to be written.

    Raises:
        SettingsError: There is a file, and it has others.
    """
    if not os.path.lexists(path):
        if not path.absolute().parent.is_dir():
            raise SettingsError(f"{path}: there is no such folder. Make it, or name another file.")
        return False
    if not path.is_file():
        raise SettingsError(f"{path} is not a file. Name one that is not there yet.")
    there = read_file(path)
    if variables is None:
        raise _refusal(path, "This storage is new, and its settings are in no file yet")
    other = [
        name
        for name, value in variables.items()
        if name not in _FREE_TO_CHOOSE and there.get(name) != value
    ]
    if other:
        raise _refusal(path, f"It lacks this storage's {', '.join(other)}")
    return True


def write(path: Path, variables: Mapping[str, str]) -> None:
    """Write a new file that its owner alone can read.

    Raises:
        SettingsError: It is there by now, or cannot be written.
    """
    content = "".join(f"{line}\n" for line in lines(variables)).encode("ascii")
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
    except OSError as error:
        raise SettingsError(f"{path} cannot be written: {error.strerror}.") from None


def lines(variables: Mapping[str, str]) -> list[str]:
    """Return the lines of a file of variables. No value of ours needs quotation marks."""
    return [f"{name}={value}" for name, value in variables.items()]


def _refusal(path: Path, reason: str) -> SettingsError:
    return SettingsError(
        f"{path} is there already, and is not written over. {reason}. Name another file, or leave "
        "out --env-file and take the lines from the output. Nothing was changed."
    )
