"""Work tree of Git around a file of secrets: tell whether the file could be committed."""

from __future__ import annotations

import subprocess
from pathlib import Path

_WITHIN = 5.0
"""Seconds for Git's answer. Without one, nothing is said."""
_NOT_IGNORED = 1
"""Exit code of ``git check-ignore``: no pattern matches, or the file is tracked (128: no tree)."""


def may_be_committed(path: Path) -> bool:
    """Tell whether a file lies in a work tree of Git, and Git does not ignore it."""
    try:
        ran = subprocess.run(  # noqa: S603 - no shell, and the path is an argument after "--"
            ["git", "check-ignore", "-q", "--", path.name],  # noqa: S607 - the user's own Git
            cwd=path.absolute().parent,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=False,
            timeout=_WITHIN,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return ran.returncode == _NOT_IGNORED
