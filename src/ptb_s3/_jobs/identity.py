"""Identity of fixed jobs: those that a bot's code makes anew at each start. Pure.

``main`` and ``post_init`` make the same jobs at each start, and the store holds those of the last
start. So the id of such a job is made of its name, callback, chat and user, and of its number among
those that have the same: it is the same at each start, and in each instance. Two instances that
start at once, and make a job that is in no store yet, make one. Where the trigger is the same, too,
the saved job goes on as it is, from its saved moment and with its saved data; else it is the new
one, under the same id.

A saved fixed job that is not made again was removed from the code. One that the code has asked for
(`JobQueue.get_jobs_by_name`) counts as made: to make a job only where there is none is a common way
to write it.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable

from ptb_s3._jobs.record import JobRecord
from ptb_s3._jobs.triggers import alike


class FixedJobs:
    """Register of the jobs that code makes before an application starts.

    Attributes:
        open: Whether jobs that are made now are fixed. They are until the application starts.
        made: Ids of the fixed jobs that this process has made.
    """

    def __init__(self) -> None:
        self.open = True
        self.made: set[str] = set()
        self._numbers: Counter[tuple[object, ...]] = Counter()
        self._left: dict[str, JobRecord] = {}

    def number(self, *identity: object) -> int | None:
        """Return the number of a job that is made now, or None: it is not fixed.

        Args:
            identity: Name, callback, chat and user.
        """
        if not self.open:
            return None
        self._numbers[identity] += 1
        return self._numbers[identity] - 1

    def learn(self, saved: Iterable[JobRecord]) -> None:
        """Learn the fixed jobs that the store holds."""
        if self.open:
            self._left = {one.id: one for one in saved if one.fixed is not None}
            for job_id in self.made:
                self.keep(job_id)

    def note(self, record: JobRecord) -> None:
        """Note that a job was made, if it is fixed."""
        if record.fixed is not None:
            self.made.add(record.id)
            self.keep(record.id)

    def keep(self, job_id: str) -> None:
        """Count a saved job as made."""
        self._left.pop(job_id, None)

    def close(self) -> list[JobRecord]:
        """End the time in which jobs are fixed, and return the saved ones that were not made."""
        self.open = False
        left, self._left = list(self._left.values()), {}
        return left


def fixed_id(number: int, *identity: object) -> str:
    """Return the id of a fixed job, the same at each start.

    Args:
        number: Its number.
        identity: Its name, callback, chat and user.
    """
    return hashlib.sha256(repr((*identity, number)).encode()).hexdigest()[:32]


def merged(made: JobRecord, saved: JobRecord) -> JobRecord:
    """Return the job that goes on where the code has made a saved one again.

    Args:
        made: The job as the code has made it.
        saved: The same job as it was saved.
    """
    going_on = saved.copy()
    going_on.options = made.options
    if alike(made.trigger, saved.trigger):
        return going_on
    going_on.trigger, going_on.next, going_on.data = made.trigger, made.next, made.data
    return going_on
