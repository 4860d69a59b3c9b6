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

    Counters begin at 0 with the process and never go down. `revision` counts commits of all
    writers since the store was begun, and jobs are those of all; everything else is of this
    persistence alone.

    Attributes:
        revision: The last revision that is known to be committed. 0 before the first commit.
        age: Seconds since the last durable commit or, before one, since the state was loaded. None
            while no state is loaded. An interval in which nothing changed makes no commit.
        bytes_sent: Counter of bytes: of the objects that the storage took, `head` and blobs, as
            they are stored, compressed and sealed.
        commits: Counter of commits that are known to be durable.
        compactions: Counter of blobs that were written anew.
        conflicts: Counter of how often another writer was found to be ahead, by a commit or by a
            look (`sync=`), so that its changes were taken over first.
        merged: Counter of entities that had changed on both sides in these conflicts.
        overridden: Counter of changes of other writers to these entities that ours have won over.
        failures: Counter of commits that failed for other reasons. What they held goes with a later
            one.
        committed_at: Time of the last durable commit or, before one, of the load. None while no
            state is loaded.
        longest_stall: Seconds of the longest time that a commit has held the event loop in one go,
            so that nothing else of the bot ran: from one point at which it let others run to the
            next. 0.0 before the first commit. Of the wall clock, so that it includes what a busy
            machine and other threads took meanwhile, and what pickling of a bot's own classes
            takes. PTB's copying of the data, before each interval's commit, is not included.
        jobs: Jobs that are kept, paused ones included. 0 without a `PersistentJobQueue`.
        jobs_due: Jobs among them that are due and have not run yet, or run now, here or in another
            instance.
        jobs_late: Seconds since that one of them was due that waits the longest, also where it runs
            now. 0.0 where none is due.
        overdue: Kinds whose blobs are due to be written anew, and were left out because a
            serverless host gives too little time for it: run `ptb-s3 compact`. Empty on others.
        overdue_carried: Bytes that each commit carries along for these kinds. 0 where there are
            none.
        overdue_sends: Bytes, about, that a compaction of these kinds would send, once.
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
    longest_stall: float = 0.0
    jobs: int = 0
    jobs_due: int = 0
    jobs_late: float = 0.0
    overdue: tuple[str, ...] = ()
    overdue_carried: int = 0
    overdue_sends: int = 0

    def snapshot(self, revision: int, now: datetime) -> Stats:
        """Return a copy that later commits do not change.

        Args:
            revision: The last revision that is known to be committed.
            now: The present time, with time zone, from which `age` follows.
        """
        age = None if self.committed_at is None else (now - self.committed_at).total_seconds()
        return replace(self, revision=revision, age=age)
