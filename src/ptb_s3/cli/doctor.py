"""``ptb-s3 doctor``: check that a bot can keep its state here, and say what to mend.

The checks are `ptb_s3._doctor`'s. The exit code is that of the first check that failed, or 0.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime

import typer

from ptb_s3._doctor.examination import Examination
from ptb_s3._doctor.findings import Check, Finding, Status, broken, completed
from ptb_s3.cli import _output
from ptb_s3.cli._opened import Place, run
from ptb_s3.cli._options import Json
from ptb_s3.cli._output import Graded, Severity
from ptb_s3.cli._progress import waiting
from ptb_s3.cli._table import table
from ptb_s3.cli._wording import count
from ptb_s3.errors import SettingsError

_MARKS = {
    Status.OK: Graded("ok", Severity.GOOD),
    Status.WARNING: Graded("warning", Severity.DOUBTFUL),
    Status.FAILED: Graded("FAILED", Severity.BAD),
    Status.UNKNOWN: "?",
}


def doctor(*, json: Json = False) -> None:
    """Check settings, bucket, permissions and conditional writes, and say what to mend.

    What it takes to prove them is written under doctor/, and deleted again where that is allowed.
    """
    findings = examined()
    if json:
        _output.result_json(as_json(findings))
    else:
        show(findings)
    exit_by(findings)


def examined() -> tuple[Finding, ...]:
    """Run the checks on the place that the settings name, and return what they found."""
    try:
        return run(_examine, warns=False)  # a finding says it
    except SettingsError as error:
        return completed({Check.SETTINGS: broken(Check.SETTINGS, error)})


def exit_by(findings: Sequence[Finding]) -> None:
    """Exit with the code of the first check that failed, if one did."""
    for finding in findings:
        if finding.status is Status.FAILED:
            raise typer.Exit(finding.exit_code)


async def _examine(place: Place) -> tuple[Finding, ...]:
    """Run the checks, and say what is left under doctor/ where they are interrupted."""
    done: list[int] = [0]
    examination = Examination(
        place.store,
        place.keys,
        place.name,
        token=secrets.token_hex(8),
        now=lambda: datetime.now(UTC),
        report=done.append,
        exposed=place.exposed,
    )
    try:
        async with waiting("Checking", lambda: (done[-1], examination.total)):
            return await examination.run()
    except asyncio.CancelledError:
        if examination.cleared is not None:
            text = _text(examination.cleared)
            _output.note(text[0].upper() + text[1:])
        raise


def show(findings: Sequence[Finding]) -> None:
    """Print the findings as a table, and how many there are of each status."""
    rows = [[_MARKS[f.status], f.check.value, _text(f)] for f in findings]
    table(["", "check", "found"], rows)
    counts = Counter(finding.status for finding in findings)
    words = {
        Status.OK: f"{counts[Status.OK]} ok",
        Status.WARNING: count(counts[Status.WARNING], "warning"),
        Status.FAILED: f"{counts[Status.FAILED]} failed",
        Status.UNKNOWN: f"{counts[Status.UNKNOWN]} not known",
    }
    _output.note(", ".join(text for status, text in words.items() if counts[status]))


def _text(finding: Finding) -> str:
    """Return a finding with its remedy, in sentences."""
    return f"{finding.found}. {finding.remedy}".rstrip(". ") + "."


def as_json(findings: Sequence[Finding]) -> dict[str, object]:
    """Return the findings for programs, with the scratch objects that could not be deleted."""
    left = {finding.check: finding.data for finding in findings}[Check.CLEAN_UP].get("left", {})
    return {
        "checks": [
            {
                "check": finding.check,
                "status": finding.status,
                "found": finding.found,
                "remedy": finding.remedy,
                "data": finding.data,
            }
            for finding in findings
        ],
        "left": left,
    }
