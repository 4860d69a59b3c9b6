"""Run of this process: the writer id under which its commits stand in heads.

By its writer id a process recognises its own commit where the reply was lost. Two processes that
shared an id, as after a fork or a resume from a snapshot, would take each other's commits for their
own. So the id is drawn when it is first needed, and drawn again whenever it could be shared:

====================================================  ==========================================
event                                                 what would go wrong under the same id
====================================================  ==========================================
fork; resume of a snapshot (AWS Lambda SnapStart)     two processes are one writer
a clone of this process was seen in head              the same, found late
an attempt may yet take effect                        a later commit of the id would hide it
head was put back, or the store's branch was left     a revision is given twice on one line
====================================================  ==========================================

A new id also begins a new *line*: a stretch of revisions that follow one another, named by the id
whose first commit began it. Head lists the newest lines, and each blob names the one of its
revision. So where a store was rolled back and went on, the same revision is of two lines, and
nothing of the branch that was given up fits the head::

    revision   1 ... 5 | 6   7   8            line A to 5, then line B: rolled back, and given up
                       | 6   7   8   9        line C: the head lists A from 1, and C from 6
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache
from importlib import import_module
from importlib.util import find_spec

# Resumes of this machine from a snapshot that were told of so far.
_resumes = 0


def current_run() -> tuple[int, int]:
    """Return process id and number of resumes: a fork changes the one, a snapshot the other."""
    return os.getpid(), _resumes


@cache
def notice_resumes() -> None:
    """Register for resumes by AWS Lambda SnapStart, where its runtime hooks are installed.

    AWS Lambda Developer Guide, "Lambda SnapStart runtime hooks for Python".
    """
    if find_spec("snapshot_restore_py") is not None:
        import_module("snapshot_restore_py").register_after_restore(_note_resume)


def _note_resume() -> None:
    global _resumes  # noqa: PLW0603 - the machine's, and so the process's
    _resumes += 1


class Run:
    """Writer id of a process, drawn when it is first needed and again when it could be shared.

    Args:
        draw: Returns a new id.

    Attributes:
        begins_line: Whether the next commit is the first one under this id, and so begins a line
            of revisions (`_format.head.Line`).
    """

    def __init__(self, draw: Callable[[], str]) -> None:
        self.begins_line = True
        self._draw = draw
        self._id: str | None = None
        self._of = current_run()

    @property
    def writer(self) -> str:
        """Return the id under which the next object is written."""
        if self._of != current_run():
            self.renew()
        if self._id is None:
            self._id = self._draw()
            self._of = current_run()
        return self._id

    def renew(self) -> None:
        """Go on as another writer, on a line of its own."""
        self._id, self.begins_line = None, True

    def note_commit(self, writer: str) -> None:
        """Note that a commit under an id has taken effect, so that its line has begun."""
        if writer == self._id:
            self.begins_line = False
