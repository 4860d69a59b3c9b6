"""``ptb-s3 export``: write the state to a file that PTB's own persistences load.

The current state has to be readable only where no older one (``--at``) and no other store is asked
for. The file is written whole or not at all, for its owner alone to read, and is not encrypted.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ptb_s3._format.entities import Kind
from ptb_s3._transfer.import_plan import State, require_built_in, spelled_out
from ptb_s3.cli import _output
from ptb_s3.cli._opened import Place, run
from ptb_s3.cli._options import POINT, Json, OfStore
from ptb_s3.cli._parsing import point
from ptb_s3.cli._progress import progress
from ptb_s3.cli._trust import Trusted, trusted_modules
from ptb_s3.cli._wording import count


def export(
    file: Annotated[
        Path,
        typer.Argument(help="The file to make: JSON if its name ends in .json, else a pickle."),
    ],
    *,
    at: Annotated[str | None, typer.Option(metavar="POINT", help=f"{POINT}.")] = None,
    store: OfStore = None,
    trusted: Trusted = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the file if it is there.")
    ] = False,
    json: Json = False,
) -> None:
    """Write the state to a file that PTB's PicklePersistence loads, or to JSON. Not encrypted."""
    request = None if at is None else point(at)

    async def work(place: Place) -> tuple[int, State]:
        state: State
        past = request is not None or store is not None
        opened = await place.load_or_recover(store) if past else None
        repository = await place.load() if opened is None else opened.repository
        require_built_in(repository.base.identity.serializer)
        if request is None:
            head, state = repository.base.head, repository.base.entities
        else:
            _, head, state = await repository.history.state_at(request)
        return head.revision, spelled_out(state, head.words)

    revision, state = run(work)
    left_out = _write(file, state, trusted_modules(trusted), overwrite=overwrite)
    total = sum(map(len, state.values())) - left_out
    if json:
        told = {"file": str(file), "revision": revision, "entities": total}
        _output.result_json({**told, "jobs_left_out": left_out})
        return
    _output.result(f"Wrote revision {revision}, {count(total, 'entity', 'entities')}, to {file}.")
    if left_out:
        _output.warning(
            f"Left out: {count(left_out, 'job')}, which PicklePersistence has no place for. A file "
            "whose name ends in .json holds them, and ptb-s3 copy takes them along."
        )
    _output.note("The file is not encrypted. Keep it as safe as the bot's token.")


def _write(file: Path, state: State, trusted: list[str], *, overwrite: bool) -> int:
    """Write the file in the format that its name says, and return how many jobs it lacks."""
    # These import telegram.ext, which takes a second.
    from ptb_s3._transfer.file_formats import holds_jobs, write_file  # noqa: PLC0415 - see above

    with progress("Writing") as advance:
        write_file(file, state, trusted=trusted, overwrite=overwrite, progress=advance)
    return 0 if holds_jobs(file) else len(state[Kind.JOBS])
