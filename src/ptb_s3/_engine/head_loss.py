"""Loss of `head` under a running bot: taken away, damaged, or replaced by what is no commit."""

from __future__ import annotations

from ptb_s3._engine.staging import Staged
from ptb_s3.errors import HeadLostError


class HeadLoss:
    """Watch over the head: whether it was lost since it was last read as the base.

    Args:
        staged: What is unsaved then.

    Attributes:
        lost: Whether it was. Another head of the same revision is then one that was made in its
            place, rather than the second winner of one conditional PUT.
    """

    def __init__(self, staged: Staged) -> None:
        self.lost = False
        self._staged = staged

    def note_found(self) -> None:
        """Note that head was read, and is the base."""
        self.lost = False

    def error(self, found: str) -> HeadLostError:
        """Note that head is lost, and return the error for it.

        Args:
            found: What is the matter with it, as a clause.
        """
        self.lost = True
        unsaved = sum(map(len, self._staged.dirty.values()))
        return HeadLostError(
            f"Object 'head' was changed by something else than a commit: {found}. Nothing was "
            f"overwritten; {unsaved} unsaved changes are kept in memory, and are committed once "
            "head is put right: ptb-s3 repair brings back its newest version. Do not stop the bot "
            "before."
        )
