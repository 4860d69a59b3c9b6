"""The run of this process, as heads know it: who made which commit.

By its writer id a process recognises its own commit where the reply was lost. Two processes that
shared one, as after a fork or a resume from a snapshot, would take each other's commits for theirs.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache
from importlib import import_module
from importlib.util import find_spec

_resumes = 0


def current_run() -> tuple[int, int]:
    """Return what a forked child, and a machine that was resumed from a snapshot, have anew."""
    return os.getpid(), _resumes


@cache
def notice_resumes() -> None:
    """Have AWS Lambda tell of a resume by SnapStart, where its runtime hooks are there.

    AWS Lambda Developer Guide, "Lambda SnapStart runtime hooks for Python".
    """
    if find_spec("snapshot_restore_py") is not None:
        import_module("snapshot_restore_py").register_after_restore(_note_resume)


def _note_resume() -> None:
    global _resumes  # noqa: PLW0603 - the machine's, and so the process's
    _resumes += 1


class Run:
    """Writer id of a process, drawn when it is first needed and again when it would be shared.

    Args:
        draw: Returns a new id.

    Attributes:
        begins_line: Whether the next commit is the first one under this id.
    """

    def __init__(self, draw: Callable[[], str]) -> None:
        self.begins_line = True
        self._draw = draw
        self._id: str | None = None
        self._of = current_run()

    @property
    def writer(self) -> str:
        """Id of the writer that the next object is written as."""
        if self._of != current_run():
            self.renew()
        if self._id is None:
            self._id = self._draw()
            self._of = current_run()
        return self._id

    def renew(self) -> None:
        """Go on as another writer: an attempt under this id may yet take effect."""
        self._id, self.begins_line = None, True

    def note_commit(self, writer: str) -> None:
        """Note that a commit under an id has taken effect."""
        if writer == self._id:
            self.begins_line = False
