"""Statistics of a persistence: the engine counts in them, and its user reads a snapshot.

One class for both, so that a figure is listed and described in one place. They outlive the engine's
repositories: an application that is started a second time goes on counting.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime


@dataclass(slots=True)
class Stats:
    """Snapshot of what a persistence has done since it was made.

    Attributes:
        revision: The last revision that is known to be committed. 0 before the first commit.
        age: Seconds since the last durable commit or, before one, since the state was loaded. None
            while no state is loaded.
        bytes_sent: Bytes of the objects that the storage took.
        commits: Commits that are known to be durable.
        compactions: Blobs that were written anew.
        conflicts: Commits that another writer was ahead of.
        merged: Entities that had changed on both sides in these conflicts.
        overridden: Changes of other writers to these entities that ours have won over.
        failures: Commits that failed for other reasons. What they held goes with a later one.
        committed_at: Time of the last durable commit or, before one, of the load. None while no
            state is loaded.
    """

    revision: int = 0
    age: float | None = None
    bytes_sent: int = 0
    commits: int = 0
    compactions: int = 0
    conflicts: int = 0
    merged: int = 0
    overridden: int = 0
    failures: int = 0
    committed_at: datetime | None = None

    def snapshot(self, revision: int, now: datetime) -> Stats:
        """Return a copy that later commits do not change.

        Args:
            revision: The last revision that is known to be committed.
            now: The present time, with time zone, from which `age` follows.
        """
        age = None if self.committed_at is None else (now - self.committed_at).total_seconds()
        return replace(self, revision=revision, age=age)
