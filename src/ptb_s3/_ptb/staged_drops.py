"""Stage the drops of users and chats when they are made, and not only with the next save.

PTB tells its persistence of a drop when it saves. If another instance commits a change to the same
data in between, the live object would be refreshed to that change, and so come back to life.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from typing import Any, Final

from ptb_s3._format.entities import Kind
from ptb_s3._ptb.group_commit import GroupCommit

_NOTHING: Final = object()
"""Stands for no staged change; None is a staged drop."""


class StagedDrops:
    """Undo log of the drops since the last save: each with the change that was staged before it."""

    def __init__(self) -> None:
        self._before: dict[Kind, dict[int, Any]] = {Kind.USER_DATA: {}, Kind.CHAT_DATA: {}}

    def stage(self, commits: GroupCommit, kind: Kind, key: int) -> None:
        """Stage a drop, and withdraw the value that waits to be staged, if there is one.

        Args:
            commits: Group commit that the drop goes with.
            kind: Users or chats.
            key: Id of the one that was dropped.
        """
        commits.withdraw(kind, key)
        staged = commits.repository.staged
        self._before[kind].setdefault(key, staged.dirty[kind].get(key, _NOTHING))
        staged.drop(kind, key)

    def staged(self, kind: Kind) -> AbstractSet[int]:
        """Return the ids whose drops were staged since the last save."""
        return self._before[kind].keys()

    def take(self, kind: Kind) -> set[int]:
        """Return the ids whose drops were staged, once: a save need not tell of them again."""
        taken, self._before[kind] = self._before[kind], {}
        return set(taken)

    def take_back(self, commits: GroupCommit) -> None:
        """Undo all drops since the last save: the update that made them is taken back.

        Args:
            commits: Group commit that the drops were staged in.
        """
        for kind, before in self._before.items():
            staged = commits.repository.staged
            for key, change in before.items():
                staged.unstage(kind, key)
                if change is not _NOTHING:
                    staged.restage(kind, key, change)
            before.clear()
