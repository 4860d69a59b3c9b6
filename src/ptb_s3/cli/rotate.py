"""``ptb-s3 rotate``: seal everything current with the key in PTB_S3_KEY.

A bot does so by itself after a restart with a new key. The command is for a key that may have
leaked, and for a bot that does not run. Beside a bot without the new key it refuses (exit code 6),
since that bot could not save from then on.
"""

from __future__ import annotations

from typing import Annotated

import typer

from ptb_s3._engine.rotation import rotate as seal_all
from ptb_s3.cli import _output
from ptb_s3.cli._interruption import in_steps, undisturbed
from ptb_s3.cli._opened import Place, refuse_to_exchange_keys, run
from ptb_s3.cli._options import DryRun, Json
from ptb_s3.cli._progress import progress
from ptb_s3.cli._wording import count

_TWO_STEPS = (
    "With a bot that runs, exchange keys in two steps: deploy it with the new key in "
    "PTB_S3_RETIRED_KEYS, everywhere; then with the two exchanged, and its commits seal all anew. "
    "If each bot that runs has the key already, or none does run: ptb-s3 rotate --while-running."
)
_RUNNING = (
    "A bot that runs without this key cannot save any more; what it has not saved yet, a restart "
    "loses. Its error says how to have it save first."
)
_AGAIN = "What is sealed anew stays so; run ptb-s3 rotate again to go on."


def rotate(
    *,
    while_running: Annotated[
        bool,
        typer.Option(
            "--while-running",
            help="Do it though a bot may be running: one without this key can save no more.",
        ),
    ] = False,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Seal everything current with the key in PTB_S3_KEY, now rather than by and by.

    A key that may have leaked belongs in PTB_S3_HISTORY_KEYS afterwards.
    """

    async def work(place: Place) -> tuple[str, list[str]]:
        repository = await place.load()
        names = repository.sealed_otherwise()
        sealing = repository.sealing_key_id
        if not while_running and not dry_run:
            refuse_to_exchange_keys(repository, _TWO_STEPS)
        if not json:
            _output.result(f"Sealed with another key than {sealing}: {', '.join(names) or 'none'}.")
        if names and not dry_run:
            with in_steps(_AGAIN), undisturbed(_AGAIN), progress("Sealing") as advance:
                await seal_all(repository, advance)
        return sealing, names

    sealing, names = run(work)
    if json:
        _output.result_json({"key": sealing, "sealed_otherwise": names, "done": not dry_run})
    elif names and not dry_run:
        _output.result(f"Everything current is sealed with key {sealing} now.")
        _output.note(
            f"{_RUNNING} Older versions are still sealed with the keys that they "
            "were: ptb-s3 status says up to which revision. Keep those keys as long as you want "
            "to go back; one that may have leaked, in PTB_S3_HISTORY_KEYS."
        )
    elif not names:
        _output.result("Nothing to do.")
    else:
        _output.result(f"{count(len(names), 'object')} would be sealed anew. Nothing was changed.")
