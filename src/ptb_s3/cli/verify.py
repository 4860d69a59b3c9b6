"""``ptb-s3 verify``: open everything, change nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from ptb_s3._format.committed import Reader, no_state
from ptb_s3._history.put_back import PutBack
from ptb_s3._history.verify import Finding, Report, verify_current, verify_history
from ptb_s3.cli import _output
from ptb_s3.cli._opened import Json, Place, moment, run
from ptb_s3.cli._output import Graded, Severity, count, size, when, when_json
from ptb_s3.cli.prune import runs
from ptb_s3.errors import SettingsError


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
            return await verify_current(place.store, reader)
        with _output.progress("Opening versions") as advance:
            return await verify_history(place.store, reader, advance, first)

    report = run(work)
    if not report.objects:
        raise no_state()
    if json:
        _output.result_json(_report_json(report))
    else:
        _show(report, "version" if history else "object")
    raise typer.Exit(report.exit_code)


def _show(report: Report, what: str) -> None:
    if report.findings:
        _output.table(
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


def tell_put_back(found: Sequence[PutBack]) -> None:
    """Warn of current objects that are copies of what was written earlier."""
    for name, made, modified in found:
        _output.warning(
            f"{name} was made at {when(made)}, and the storage has it since {when(modified)}: an "
            "older version was put back, or the bucket was copied. If nobody of yours did, whoever "
            "can write to the bucket has rolled the state back: see ptb-s3 history."
        )


def put_back_json(found: Sequence[PutBack]) -> list[dict[str, Any]]:
    """Return the same for programs."""
    return [
        {"object": name, "created": when_json(made), "modified": when_json(modified)}
        for name, made, modified in found
    ]


_REMEDY = (
    "A current object that is damaged: ptb-s3 repair says what can be brought back, and does it. "
    "A key that is not at hand belongs in PTB_S3_RETIRED_KEYS; or in PTB_S3_HISTORY_KEYS, if older "
    "versions alone are sealed with it."
)


def _row(finding: Finding) -> list[str]:
    revision = "?" if finding.revision is None else str(finding.revision)
    why = Graded(finding.reason, Severity.BAD)
    return [finding.name, finding.version_id or "current", revision, why]


def _report_json(report: Report) -> dict[str, Any]:
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
