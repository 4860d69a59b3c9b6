"""Identity of fixed jobs: those that a bot's code makes anew at each start. Pure.

``main`` and ``post_init`` make the same jobs at each start, and the store holds those of the last
start. A job is taken for a saved one that is of the same name, callback, chat and user, and the
same number among those that are. Where the trigger is the same, too, the saved job goes on as it
is, from its saved moment and with its saved data; else it is the new one, under the saved id.

A saved fixed job that nothing has matched was removed from the code. One that the code has asked
for (`JobQueue.get_jobs_by_name`) counts as matched: to make a job only where there is none is a
common way to write it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from ptb_s3._jobs.record import JobRecord
from ptb_s3._jobs.triggers import alike


class FixedJobs:
    """Matcher of the jobs that code makes before an application starts, with saved ones.

    Attributes:
        open: Whether jobs that are made now are fixed. They are until the application starts.
    """

    def __init__(self) -> None:
        self.open = True
        self._made: Counter[tuple[object, ...]] = Counter()
        self._saved: dict[tuple[tuple[object, ...], int], JobRecord] = {}

    def learn(self, saved: Iterable[JobRecord]) -> None:
        """Learn the fixed jobs that the store holds."""
        for record in saved:
            if record.fixed is not None:
                self._saved[record.identity, record.fixed] = record

    def number(self, record: JobRecord) -> None:
        """Give a job that is made now its number, if it is fixed."""
        if self.open:
            record.fixed = self._made[record.identity]
            self._made[record.identity] += 1

    def match(self, record: JobRecord) -> JobRecord | None:
        """Return the saved job that a new one is, once, or None where there is none."""
        if record.fixed is None:
            return None
        return self._saved.pop((record.identity, record.fixed), None)

    def keep(self, record: JobRecord) -> None:
        """Count a saved job as matched: the code has asked for it."""
        if self.open and record.fixed is not None:
            self._saved.pop((record.identity, record.fixed), None)

    def close(self) -> list[JobRecord]:
        """End the time in which jobs are fixed, and return the saved ones that nothing matched."""
        self.open = False
        left, self._saved = list(self._saved.values()), {}
        return left


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
