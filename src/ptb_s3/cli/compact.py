"""``ptb-s3 compact``: write the blobs that are due anew, so that head gets small again.

A bot does so by itself. The command is for one on a host that gives it too little time for that,
such as AWS Lambda with a large state: ``ptb-s3 status`` and the bot's log say when it is overdue.
It may run beside the bot, from anywhere, and changes nothing of the state.
"""

from __future__ import annotations

from functools import partial
from typing import Annotated

import typer

from ptb_s3._engine.blob_rewrite import Rewrite, rewrite, to_rewrite
from ptb_s3._engine.repository import Repository
from ptb_s3._format.container import HEAD
from ptb_s3.cli import _output
from ptb_s3.cli._interruption import in_steps
from ptb_s3.cli._opened import Place, refuse_to_exchange_keys, run
from ptb_s3.cli._options import DryRun, Json
from ptb_s3.cli._progress import progress, steps
from ptb_s3.cli._wording import size

_AGAIN = "What is written stays so, and the state is as it was; run ptb-s3 compact again to go on."


def compact(
    *,
    everything: Annotated[
        bool,
        typer.Option("--all", help="Write all blobs that anything was changed of, due or not."),
    ] = False,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Write the blobs that are due anew, beside a running bot, so that head gets small again."""

    async def work(place: Place) -> tuple[list[str], Rewrite | None]:
        repository = await place.load()
        kinds = to_rewrite(repository, everything=everything)
        # After an interruption, all that is left may be the head that refers to what was written.
        names = [*kinds, HEAD] if kinds or repository.base.unpublished else []
        if not names or dry_run:
            return names, None
        refuse_to_exchange_keys(repository)
        with in_steps(_AGAIN), progress("Writing") as advance:
            step = steps(advance, len(names))
            return names, await rewrite(partial(_again, place), repository, kinds, step)

    names, done = run(work)
    if json:
        _output.result_json(_json(names, done))
    elif done is not None:
        _output.result(
            f"Written: {', '.join(names)}; {size(done.bytes)} in all.\n"
            f"Head had {size(done.before)}, and has {size(done.after)} now."
        )
    elif names:
        _output.result(f"Would be written: {', '.join(names)}. Nothing was changed.")
    else:
        _output.result("Nothing to do.")


async def _again(place: Place) -> Repository:
    """Load the state again, once another writer has committed."""
    repository = await place.load()
    refuse_to_exchange_keys(repository)
    return repository


def _json(names: list[str], done: Rewrite | None) -> dict[str, object]:
    """Return what was done as JSON, sizes in bytes."""
    return {
        "objects": names,
        "done": done is not None,
        "sent": done.bytes if done else 0,
        "head": done and {"before": done.before, "after": done.after},
    }
