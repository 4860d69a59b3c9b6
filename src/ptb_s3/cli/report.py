"""``ptb-s3 report``: write one page of HTML about a bot's state, its history and its storage.

Nothing is written to the bucket, unless ``--probe`` has the doctor do so. The exit code is 0, or
that of what was found: 5 for damaged data, 4 for a key that is not at hand, else that of the first
check that failed. The page is written in any of these cases. JSON: file, verdict and exit code.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ptb_s3.cli import _output
from ptb_s3.cli._opened import Place, run
from ptb_s3.cli._options import Json, OfStore
from ptb_s3.cli._parsing import moment
from ptb_s3.cli._wording import size
from ptb_s3.errors import SettingsError

if TYPE_CHECKING:
    from ptb_s3.cli._report.facts import Facts

_STDOUT = Path("-")

_File = Annotated[Path, typer.Argument(help="The file to make; - writes to standard output.")]
_Since = Annotated[str | None, typer.Option(help="The oldest commit: a time, or '2 hours ago'.")]
_Limit = Annotated[int, typer.Option(min=0, help="How many commits, the newest; 0 for all.")]
_User = Annotated[
    int | None, typer.Option(metavar="ID", help="Add the life of this user or chat, redacted.")
]
_Values = Annotated[
    bool, typer.Option("--values", help="With --user: show values. Unpickles them.")
]
_Deep = Annotated[
    bool, typer.Option("--deep", help="Open every commit: restores, and changes by entity.")
]
_Verify = Annotated[bool, typer.Option("--verify/--no-verify", help="Open the current objects.")]
_VerifyHistory = Annotated[
    bool, typer.Option("--verify-history", help="Open every version that the bucket holds.")
]
_Doctor = Annotated[
    bool, typer.Option("--doctor/--no-doctor", help="Check the storage, writing nothing.")
]
_Probe = Annotated[
    bool, typer.Option("--probe", help="Check it as doctor does, which writes under doctor/.")
]
_Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace a file that is no report.")]


def report(
    file: _File = Path("report.html"),
    *,
    since: _Since = None,
    limit: _Limit = 10_000,
    store: OfStore = None,
    user: _User = None,
    values: _Values = False,
    deep: _Deep = False,
    verify: _Verify = True,
    verify_history: _VerifyHistory = False,
    doctor: _Doctor = True,
    probe: _Probe = False,
    overwrite: _Overwrite = False,
    json: Json = False,
) -> None:
    """Write one page of HTML that shows the state, its history and its storage.

    It needs no server, and has no script. Without --user, no id of a user and no value is in it.
    """
    from ptb_s3.cli._report.gathering import Request, gather  # noqa: PLC0415 - no other has it

    if values and user is None:
        raise SettingsError("--values is about one user: give --user ID as well.")
    if json and file == _STDOUT:
        raise SettingsError("Standard output takes the page or JSON: give a file.")
    request = Request(
        since=None if since is None else moment(since),
        limit=limit,
        store=store,
        verify=verify,
        every_version=verify_history,
        examine=doctor or probe,
        probe=probe,
        deep=deep,
        subject=user,
        values=values,
    )
    _refuse(file, overwrite=overwrite)

    async def work(place: Place) -> Facts:
        return await gather(place, request)

    _finish(run(work, warns=not request.examine), file, overwrite=overwrite, json=json)


def _refuse(file: Path, *, overwrite: bool) -> None:
    """Refuse a file that cannot be written, before anything is read for it.

    Raises:
        SettingsError: It is there, and no report, or it is a directory.
    """
    from ptb_s3._transfer.files import refuse_existing  # noqa: PLC0415 - no other has it

    if file != _STDOUT:
        refuse_existing(file, overwrite=overwrite or _is_report(file))


def _is_report(file: Path) -> bool:
    """Tell whether a file is a report of ours, by its beginning."""
    from ptb_s3.cli._report.rendering import BEGINNING  # noqa: PLC0415 - no other has it

    try:
        with file.open("rb") as opened:
            return opened.read(len(BEGINNING)) == BEGINNING
    except OSError:
        return False


def _finish(facts: Facts, file: Path, *, overwrite: bool, json: bool) -> None:
    """Write the page, say so, and exit with the code of what was found."""
    from ptb_s3._transfer.files import write_whole  # noqa: PLC0415 - no other has it
    from ptb_s3.cli._report.page import compose  # noqa: PLC0415 - as above
    from ptb_s3.cli._report.rendering import render  # noqa: PLC0415 - as above
    from ptb_s3.cli._report.verdict import exit_code, judge  # noqa: PLC0415 - as above

    page, verdict, code = render(compose(facts)), judge(facts), exit_code(facts)
    if file == _STDOUT:
        sys.stdout.buffer.write(page)
    else:
        write_whole(file, page, overwrite=overwrite or _is_report(file))
        if json:
            told = {"file": str(file), "verdict": verdict.word, "exit_code": code}
            _output.result_json({**told, "reasons": [r._asdict() for r in verdict.reasons]})
        else:
            _output.result(f"{verdict.word}. Wrote {file}, {size(len(page))}.")
    if facts.life is not None and facts.life.values:
        _output.note("The page holds values of a user. Keep it as safe as the bot's token.")
    if code:
        raise typer.Exit(code)
