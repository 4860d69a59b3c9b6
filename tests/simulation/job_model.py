"""The model of jobs: what was made, acknowledged and run, by the storage's clock and by each bot's.

*Each acknowledged job runs to its end at least once, none before its time, none twice without a
crash or a lapsed claim in between.* Whether it is time, the clock of whoever runs a job says, even
one that is wrong; whether a claim has lapsed, the storage's alone. *One that was cancelled, which a
save has acknowledged, is not claimed any more.* A run is of one job at one moment: a job that
repeats has many.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from tests.simulation.loop import Process
from tests.simulation.model import Violation

from ptb_s3._jobs import claims

SLOWEST_CLAIM = timedelta(minutes=4)
"""How old a claim may be, by the storage's clock, when its run begins: the storage was away."""


A_SECOND = timedelta(seconds=1)
"""The storage's clock is to the second, as its replies state it."""


@dataclass
class JobRun:
    """A run of a job.

    Attributes:
        at: When it began, by the storage's clock.
        until: When its claim lapses, unless it is renewed.
        process: Who ran it.
        ended: Whether its callback has come to its end.
    """

    at: datetime
    until: datetime
    process: Process
    ended: bool = False


@dataclass
class _Made:
    """A job as it was made.

    Attributes:
        due: When it is to run, by the clock of whoever runs it.
        at: When it was made, by the storage's clock.
    """

    due: datetime
    at: datetime


class JobModel:
    """Jobs by number, and what has become of them.

    Args:
        now: Gives the time by the storage's clock.
        tally: What happened.

    Attributes:
        violation: The first that there was.
        acknowledged: Jobs of which a save has said that they are durable.
        dead: Processes that were killed, or have ended.
        cancels: Jobs that somebody has asked to cancel.
        cancelled: Those of which a save has said that they are, and when by the storage's clock.
    """

    def __init__(self, now: Callable[[], datetime], tally: Counter[str]) -> None:
        self.violation: Violation | None = None
        self.acknowledged: set[int] = set()
        self.dead: set[Process] = set()
        self._now = now
        self._tally = tally
        self._made: list[_Made] = []
        self.cancels: set[int] = set()
        self.cancelled: dict[int, datetime] = {}
        self._runs: dict[tuple[int, str], list[JobRun]] = defaultdict(list)
        self._jumps: dict[Process, tuple[datetime, datetime]] = {}

    def make(self, due: datetime) -> int:
        """Note that a job is made, and return its number."""
        self._made.append(_Made(due, self._now()))
        return len(self._made) - 1

    def due(self, number: int) -> datetime:
        return self._made[number].due

    @property
    def latest(self) -> datetime:
        """Return when the last of all jobs is due."""
        return max((made.due for made in self._made), default=self._now())

    def jump(self, process: Process, by: timedelta) -> None:
        """Set a process's clock ahead, or back."""
        self._jumps[process] = self._now(), self._now() + process.skew
        process.skew += by
        self._tally["jumped"] += 1

    def begin(self, number: int, name: str, until: datetime, process: Process) -> JobRun:
        """Note that a run begins, by its id, and hold it against the model."""
        run = JobRun(self._now(), until, process)
        if not self._is_time(number, process):
            self.violate(f"job {number} ran before its time")
        if not timedelta() < until - run.at + SLOWEST_CLAIM - claims.LASTS < 2 * SLOWEST_CLAIM:
            self.violate(f"job {number} has a claim of {until - run.at}")
        cancelled = self.cancelled.get(number)
        if cancelled is not None and until - claims.LASTS > cancelled + A_SECOND:
            self.violate(f"job {number} was claimed when it was cancelled")
        for earlier in self._runs[number, name]:
            self._tally["again"] += 1
            self._compare(number, earlier, run)
        self._runs[number, name].append(run)
        return run

    def _is_time(self, number: int, process: Process) -> bool:
        made = self._made[number]
        if made.due <= self._now() + process.skew:
            return True
        # It may have been due, and be claimed, when the clock of its bot was set back.
        at, shown = self._jumps.get(process, (made.at, made.due))
        return at > made.at and made.due <= shown

    def _compare(self, number: int, earlier: JobRun, run: JobRun) -> None:
        if earlier.process not in self.dead and run.at < earlier.until:
            self.violate(f"job {number} ran twice, and its first claim holds")
        if earlier.ended and earlier.process is run.process:
            self.violate(f"job {number} ran twice in one process")

    def violate(self, what: str) -> None:
        self.violation = self.violation or Violation(what)

    def check(self) -> None:
        """See that all is as it must be when there is nothing left to do.

        Raises:
            Violation: It is not.
        """
        if self.violation is not None:
            raise self.violation
        ended = {number for (number, _), runs in self._runs.items() if any(r.ended for r in runs)}
        if lost := self.acknowledged - ended - self.cancels:
            raise Violation(f"acknowledged jobs never ran to their end: {sorted(lost)}")
        self._tally["acknowledged"] += len(self.acknowledged)
        self._tally["ran"] += len(ended)
