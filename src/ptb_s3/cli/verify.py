"""``ptb-s3 verify``: open every object, or every version, and report those that cannot be read.

Nothing is changed. The exit code is that of the gravest finding: 5 for damaged data, 4 for a key
that is not at hand, 0 for none. JSON: counts, and ``findings`` with object, version id, revision,
class of the error and reason.
"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from ptb_s3._format.reader import Reader, no_state
from ptb_s3._history.verify import Finding, Report, verify_current, verify_history
from ptb_s3.cli import _output
from ptb_s3.cli._opened import Place, run
from ptb_s3.cli._options import Json
from ptb_s3.cli._output import Graded, Severity
from ptb_s3.cli._parsing import moment
from ptb_s3.cli._progress import progress
from ptb_s3.cli._put_back import put_back_json, tell_put_back
from ptb_s3.cli._table import table
from ptb_s3.cli._wording import count, runs, size
from ptb_s3.errors import SettingsError

_REMEDY = (
    "A current object that is damaged: ptb-s3 repair says what can be brought back, and does it. "
    "A key that is not at hand belongs in PTB_S3_RETIRED_KEYS; or in PTB_S3_HISTORY_KEYS, if older "
    "versions alone are sealed with it."
)


def verify(
    *,
    history: Annotated[
        bool, typer.Option("--history", help="Open every version that the bucket holds.")
    ] = False,
    since: Annotated[
        str | None,
        typer.Option(help="With --history: what was wrong before this time is known, and counted."),
    ] = None,
    json: Json = False,
) -> None:
    """Open every object that the current state needs, and report those that cannot be read."""
    if since is not None and not history:
        raise SettingsError("--since is about older versions: give --history as well.")
    first = None if since is None else moment(since)

    async def work(place: Place) -> Report:
        reader = Reader(place.keys)
        if not history:
            return await verify_current(place.archive, reader)
        with progress("Opening versions") as advance:
            return await verify_history(place.archive, reader, advance, first)

    report = run(work)
    if not report.objects:
        raise no_state()
    if json:
        _output.result_json(_report_json(report))
    else:
        _show(report, "version" if history else "object")
    raise typer.Exit(report.exit_code)


def _show(report: Report, what: str) -> None:
    """Print the findings as a table, then the counts and the remedy.

    Args:
        report: The report.
        what: The noun to count: object or version.
    """
    if report.findings:
        table(
            ["object", "version", "revision", "cannot be read, since"],
            [_row(finding) for finding in report.findings],
            right=["revision"],
        )
    read = f"{count(report.objects, what)}, {size(report.size)}"
    if report.findings:
        _output.note(f"{len(report.findings)} of {read}, cannot be read. Nothing was changed.")
        _output.note(_REMEDY)
    elif report.stranded:
        _output.result(f"Opened and intact: {read}.")
    else:
        _output.result(f"All is well: {read}, opened and intact.")
    if report.known:
        _output.note(
            f"{count(report.known, 'older version')} cannot be read or brought back, as is known."
        )
    if report.stranded:
        _output.note(
            f"{count(len(report.stranded), 'commit')} cannot be brought back, for want of blobs to "
            f"build on: revision {runs(report.stranded)}."
        )
    tell_put_back(report.put_back)


def _row(finding: Finding) -> list[str]:
    """Return the row of an object that cannot be read."""
    revision = "?" if finding.revision is None else str(finding.revision)
    why = Graded(finding.reason, Severity.BAD)
    return [finding.name, finding.version_id or "current", revision, why]


def _report_json(report: Report) -> dict[str, Any]:
    """Return the report as JSON."""
    return {
        "objects": report.objects,
        "bytes": report.size,
        "commits": report.commits,
        "stranded": report.stranded,
        "known": report.known,
        "put_back": put_back_json(report.put_back),
        "findings": [
            {
                "object": finding.name,
                "version_id": finding.version_id,
                "revision": finding.revision,
                "error": type(finding.error).__name__,
                "reason": finding.reason,
            }
            for finding in report.findings
        ],
    }
