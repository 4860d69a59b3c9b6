"""File of variables of a local storage: written once, never over other settings.

A file that already has the variables of this storage is right as it is, whatever else it holds:
a token, or another prefix. Any other file is somebody's, and is refused before anything is done.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from ptb_s3._environment import read_file
from ptb_s3.cli._env_file import refuse_unusable
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
    refuse_unusable(path)
    if not os.path.lexists(path):
        return False
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


def _refusal(path: Path, reason: str) -> SettingsError:
    return SettingsError(
        f"{path} is there already, and is not written over. {reason}. Name another file, or leave "
        "out --env-file and take the lines from the output. Nothing was changed."
    )
