"""Attempts to commit: each a head that was sent, known by its commit id. Pure.

An attempt whose outcome is unknown is *undecided*. One whose changes were taken back since is
*abandoned*: if it takes effect all the same, it counts as another writer's commit, and what is
staged by then goes on top of it.
"""

from __future__ import annotations

from typing import NamedTuple

from ptb_s3._engine.conditional_writer import Undecided
from ptb_s3._format.entities import Changes, EntityKey, Kind
from ptb_s3._format.head import Head

# Undecided attempts remembered. Each was sent while its predecessors could still arrive, which
# takes no longer than the network's time-outs; one forgotten too early is reported as a conflict.
MAX_UNDECIDED = 16


class Attempt(NamedTuple):
    """Attempt to commit.

    Attributes:
        head: The head that it sends.
        changes: Changes in it that its base had not.
        updates: Ids of the updates whose effects they are.
    """

    head: Head
    changes: Changes
    updates: tuple[int, ...]

    @property
    def commit(self) -> str:
        """Return its commit id, by which a head shows it."""
        return self.head.commit

    @property
    def writer(self) -> str:
        """Return the writer id that it was sent under."""
        return self.head.writers[-1].writer


class Attempts:
    """Register of this process's attempts: undecided ones, abandoned ones, and the last to win.

    Attributes:
        own: Commit id of the last attempt that is known to have taken effect; None: none has.
    """

    def __init__(self) -> None:
        self.own: str | None = None
        self._undecided = Undecided[Attempt](MAX_UNDECIDED)
        self._abandoned: set[str] = set()

    @property
    def undecided(self) -> bool:
        """Return whether there are attempts whose outcome is unknown."""
        return bool(self._undecided)

    def in_flight(self) -> dict[Kind, set[EntityKey]]:
        """Return the keys of the entities that undecided attempts have changed."""
        attempts = self._undecided.puts()
        return {
            kind: {key for one in attempts for key in one.changes.get(kind, ())}
            for kind in (Kind if attempts else ())
        }

    def remember(self, attempt: Attempt) -> None:
        """Remember an attempt until its outcome is known."""
        forgotten = self._undecided.remember(attempt.commit, attempt)
        if forgotten is not None:
            self._abandoned.discard(forgotten)

    def forget(self, attempt: Attempt) -> None:
        """Forget an attempt that has surely taken no effect."""
        self._undecided.forget(attempt.commit)

    def winner(self, head: Head) -> Attempt | None:
        """Return the oldest undecided attempt that a head shows, or None."""
        return self._undecided.shown(head.lists)

    def abandon(self) -> None:
        """Note that the changes of all undecided attempts have been taken back."""
        self._abandoned.update(self._undecided)

    def is_abandoned(self, attempt: Attempt) -> bool:
        """Tell whether the changes of an attempt have been taken back."""
        return attempt.commit in self._abandoned

    def decide(self) -> None:
        """Forget all attempts: the head that they were to replace is gone for good."""
        self._undecided.clear()
        self._abandoned.clear()
