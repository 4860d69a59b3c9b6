"""Jobs of a state, read for the commands: nobody's code runs, and what cannot be read is counted.

Only a state with jobs costs the second that `telegram.ext` takes to import.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, NamedTuple

from ptb_s3._format.entities import EntityKey, Kind
from ptb_s3._format.words import spell_out
from ptb_s3._jobs.listing import ListedJob, listed
from ptb_s3.cli._view import State


class FoundJobs(NamedTuple):
    """Jobs of a state.

    Attributes:
        jobs: Those that can be read, by key, the next one to run first and paused ones last.
        unreadable: Keys of the others.
    """

    jobs: dict[EntityKey, ListedJob]
    unreadable: list[EntityKey]

    @property
    def due(self) -> list[datetime]:
        """Return when jobs run next, the next one first, without paused ones."""
        return [job.next for job in self.jobs.values() if job.next is not None]

    def overdue(self, now: datetime) -> int:
        """Count the jobs that are due, and that nobody runs."""
        return sum(job.is_overdue(now) for job in self.jobs.values())


def find_jobs(state: State) -> FoundJobs:
    """Return the jobs of a state. Those of another serializer can be read by the bot alone."""
    jobs: dict[EntityKey, ListedJob] = {}
    unreadable = []
    for key, data in state.entities[Kind.JOBS].items():
        try:
            jobs[key] = listed(key, _value(state, data))
        except Exception:  # noqa: BLE001 - bad bytes may raise anything
            unreadable.append(key)
    return FoundJobs(dict(sorted(jobs.items(), key=_order)), unreadable)


def _value(state: State, data: bytes) -> Any:  # noqa: ANN401 - the value of an entity
    """Return the value of an entity, with placeholders for classes.

    Raises:
        LookupError: Another serializer has made it.
        Exception: It is damaged.
    """
    from ptb_s3._values.transcoder import Transcoder  # noqa: PLC0415 - takes a second

    if state.serializer != Transcoder.id:
        raise LookupError
    return Transcoder().loads(spell_out(data, state.words))


def _order(item: tuple[EntityKey, ListedJob]) -> tuple[bool, float, str, str]:
    job = item[1]
    due = 0.0 if job.next is None else job.next.timestamp()
    return (job.next is None, due, job.name, job.id)
