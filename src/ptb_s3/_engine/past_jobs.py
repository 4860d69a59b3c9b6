"""Jobs of an older state: those that have run since are not to run again when it is brought back.

The engine sees bytes only: which job is overdue is told by a function from above, as `Resolve` is.
`ptb_s3._jobs.going_back` has the rule.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol

from ptb_s3._format.committed import Base
from ptb_s3._format.entities import Entities, EntityKey, Kind
from ptb_s3._format.words import spell_out


class JudgePastJob(Protocol):
    """Judge of the jobs of an older state, given to the engine from above."""

    def __call__(self, older: bytes, current: bytes | None) -> bytes | None:
        """Return what an older job becomes when it is brought back, or None to leave it out.

        Args:
            older: Its bytes in the older state, without references to words.
            current: Its bytes now, likewise; None: it is not there.
        """
        ...


class PastJobs(NamedTuple):
    """Jobs of an older state, as they are brought back.

    Attributes:
        entities: All entities of the state, or of a part of it, with other jobs.
        left_out: Keys of the jobs that were overdue there, and are not there any more.
        going_on: Keys of the jobs that were overdue there, and go on from when they are due now.
    """

    entities: Mapping[Kind, Entities]
    left_out: tuple[EntityKey, ...] = ()
    going_on: tuple[EntityKey, ...] = ()


def judge_past_jobs(
    base: Base, entities: Mapping[Kind, Entities], judge: JudgePastJob | None
) -> PastJobs:
    """Return an older state with its jobs as they are to be brought back.

    Args:
        base: The current state.
        entities: Entities of the older one, by kind.
        judge: Says what becomes of each job; None: all are brought back as they were.
    """
    if judge is None or Kind.JOBS not in entities:
        return PastJobs(entities)
    jobs: Entities = {}
    left_out, going_on = [], []
    now = base.entities[Kind.JOBS]
    for key, older in entities[Kind.JOBS].items():
        if key in now and now[key] == older:
            jobs[key] = older
            continue
        before, current = _spelled(base, older), _spelled(base, now.get(key))
        assert before is not None  # noqa: S101 - for mypy: only what is not there is None
        judged = judge(before, current)
        if judged is None:
            left_out.append(key)
            continue
        # The very bytes where nothing differs, so that no change is counted.
        jobs[key] = older if judged == before else now[key] if judged == current else judged
        if judged != before:
            going_on.append(key)
    return PastJobs({**entities, Kind.JOBS: jobs}, tuple(left_out), tuple(going_on))


def _spelled(base: Base, value: bytes | None) -> bytes | None:
    return None if value is None else spell_out(value, base.head.words)
