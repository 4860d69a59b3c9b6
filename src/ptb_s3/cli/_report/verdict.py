"""Verdict on a bot's state, with reasons, from what was checked. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import NamedTuple

from ptb_s3._doctor.findings import Finding, Status
from ptb_s3._history.key_needs import NOT_AT_HAND
from ptb_s3._history.verify import Report
from ptb_s3._jobs import claims
from ptb_s3.cli._report.facts import Facts
from ptb_s3.cli._wording import count, runs, when


class Grade(StrEnum):
    """Grade of a state, and of each reason for it."""

    BAD = "bad"
    DOUBTFUL = "doubtful"
    GOOD = "good"
    OPEN = "open"


LATE = claims.LASTS
"""How long a job may be due without a doubt: another instance waits so long for a dead one's."""

WORDS = {
    Grade.BAD: "Not well",
    Grade.DOUBTFUL: "Look into this",
    Grade.GOOD: "All is well",
    Grade.OPEN: "Not checked",
}
"""Grade in words, as the page has it."""


class Reason(NamedTuple):
    """Reason for a verdict.

    Attributes:
        grade: Its grade.
        told: A sentence.
        command: Command or option that goes on from there; empty: none does.
    """

    grade: Grade
    told: str
    command: str = ""


class Verdict(NamedTuple):
    """Verdict on a state.

    Attributes:
        grade: The gravest reason's; good where there is no grave one.
        reasons: The reasons, the gravest first, then what was left out.
    """

    grade: Grade
    reasons: tuple[Reason, ...]

    @property
    def word(self) -> str:
        """Return the grade in words."""
        return WORDS[self.grade]


def judge(facts: Facts) -> Verdict:
    """Judge a state by what was checked of it."""
    reasons = [*_of_state(facts), *_of_objects(facts), *_of_storage(facts), *_left_out(facts)]
    reasons.sort(key=lambda reason: list(Grade).index(reason.grade))
    grades = {reason.grade for reason in reasons}
    checked = facts.verified is not None or facts.examined is not None
    otherwise = Grade.GOOD if checked else Grade.OPEN
    grave = (grade for grade in (Grade.BAD, Grade.DOUBTFUL) if grade in grades)
    return Verdict(next(grave, otherwise), tuple(reasons))


def exit_code(facts: Facts) -> int:
    """Return the exit code: of a state that cannot be read, of damage, of a failed check, or 0."""
    if facts.exit_code:
        return facts.exit_code
    if facts.verified is not None and facts.verified.exit_code:
        return facts.verified.exit_code
    return next((f.exit_code for f in facts.examined or () if f.status is Status.FAILED), 0)


def _of_state(facts: Facts) -> Iterator[Reason]:
    """Yield the reasons that the current state and its keys give."""
    if facts.fault:
        yield Reason(Grade.BAD, f"The current state cannot be read. {facts.fault}")
    damaged = sum(commit.header is None for commit in facts.commits)
    if damaged:
        told = f"The header of {count(damaged, 'version')} of head cannot be read."
        yield Reason(Grade.DOUBTFUL, told, "ptb-s3 verify --history")
    current = facts.current
    for key, need in current.needs.items() if current is not None else ():
        if need.role == NOT_AT_HAND:
            yield Reason(Grade.DOUBTFUL, f"Key {key} is needed, and not at hand here.")
    if current is not None and current.put_back:
        names = ", ".join(each.name for each in current.put_back)
        told = f"Put back or copied after it was made: {names}."
        yield Reason(Grade.DOUBTFUL, told, "ptb-s3 history")
    jobs = None if current is None else current.jobs
    if jobs is not None and jobs.late is not None and facts.now - jobs.late > LATE:
        told = (
            f"{count(jobs.overdue, 'job')} due, the first since {when(jobs.late)}, and nobody runs "
            "them: is the bot running, with its job queue?"
        )
        yield Reason(Grade.DOUBTFUL, told, "ptb-s3 jobs")
    if not facts.versioned and facts.examined is None:  # the doctor says it as well
        told = "The bucket keeps no versions: there is no history to go back to."
        yield Reason(Grade.DOUBTFUL, told)


def _of_objects(facts: Facts) -> Iterator[Reason]:
    """Yield the reasons that verification gives."""
    verified = facts.verified
    if verified is None:
        return
    opened = f"{verified.objects:,} {'versions' if facts.every_version else 'current objects'}"
    if verified.findings:
        told = f"{len(verified.findings):,} of {opened} cannot be read: see Findings."
        yield Reason(Grade.BAD, told, "ptb-s3 repair")
    else:
        yield Reason(Grade.GOOD, f"{opened}, opened and intact.")
    if verified.stranded:
        told = f"No blobs are left to bring these revisions back: {runs(verified.stranded)}."
        yield Reason(Grade.DOUBTFUL, told)


def _of_storage(facts: Facts) -> Iterator[Reason]:
    """Yield the reasons that the doctor's findings give."""
    if facts.examined is None:
        return
    for finding in facts.examined:
        if finding.status is Status.FAILED:
            yield Reason(Grade.BAD, sentence(finding))
        elif finding.status is Status.WARNING:
            yield Reason(Grade.DOUBTFUL, sentence(finding))
    well = sum(finding.status is Status.OK for finding in facts.examined)
    yield Reason(Grade.GOOD, f"{count(well, 'check')} of the storage passed.")


def _left_out(facts: Facts) -> Iterator[Reason]:
    """Yield what was not looked into."""
    if facts.verified is None:
        yield Reason(Grade.OPEN, "Not checked: whether the objects open.", "ptb-s3 verify")
    elif not facts.every_version:
        yield Reason(Grade.OPEN, "Not checked: older versions.", "--verify-history")
    if facts.examined is None:
        yield Reason(Grade.OPEN, "Not checked: the storage.", "ptb-s3 doctor")
    elif not facts.probed:
        yield Reason(Grade.OPEN, "Not checked: what takes writing to the bucket.", "--probe")


def sentence(finding: Finding) -> str:
    """Return a finding with its remedy, in sentences."""
    text = f"{finding.check}: {finding.found}. {finding.remedy}".rstrip(". ") + "."
    return text[0].upper() + text[1:]


def tabulated(verified: Report) -> list[tuple[str, ...]]:
    """Return the rows of objects that cannot be read."""
    return [
        (
            finding.name,
            finding.version_id or "current",
            "?" if finding.revision is None else str(finding.revision),
            finding.reason,
        )
        for finding in verified.findings
    ]
