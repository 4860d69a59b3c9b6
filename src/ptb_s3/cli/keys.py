"""``ptb-s3 keys``: make a key, and list the ids of those that are configured."""

from __future__ import annotations

import typer

from ptb_s3._keys.keyring import Key
from ptb_s3.cli import _output
from ptb_s3.cli._opened import env_file, warn_of_files
from ptb_s3.cli._options import Json

app = typer.Typer(help="Make keys, and see which ones are configured.", no_args_is_help=True)

_WHAT_TO_DO = """\
This is key {id}. It is shown this once.
  Use it     PTB_S3_KEY=<the line above>, in the environment or in .env
  Keep it    in a second safe place: without it, nobody can read the state again
  Rotate     put the key that was in PTB_S3_KEY into PTB_S3_RETIRED_KEYS, and restart
  Leaked     run ptb-s3 rotate after that, and move that key into PTB_S3_HISTORY_KEYS"""


_UNNAMED = "(an alias)      "
"""In place of the id of a key that an alias names: KMS tells it when it is asked."""


@app.command()
def new(*, json: Json = False) -> None:
    """Make a new key and print it: PTB_S3_KEY=$(ptb-s3 keys new) works."""
    key = Key.generate()
    if json:
        _output.result_json({"key": key.reveal(), "id": key.id})
        return
    _output.result(key.reveal())
    _output.note(_WHAT_TO_DO.format(id=key.id))


@app.command("list")
def list_(*, json: Json = False) -> None:
    """List the ids of the configured keys, never the keys: sealing, retired, and for history."""
    from ptb_s3.settings import load_key_settings  # noqa: PLC0415 - --help needs none

    settings = load_key_settings(env_file.get())
    warn_of_files(settings)
    ring = settings.keyring()
    ids = list(ring.ids) if ring.is_named else [None, *ring.ids]
    roles = ["sealing", *("retired" for _ in ids[1:])]
    rows = [*zip(ids, roles, strict=True), *((key_id, "history") for key_id in ring.history_ids)]
    kept = {*ring.kms_ids, None}
    if json:
        _output.result_json(
            [{"id": key, "role": role, "in_kms": key in kept} for key, role in rows]
        )
        return
    for key, role in rows:
        where = ", kept by AWS KMS" if key in kept else ""
        _output.result(f"{key or _UNNAMED}  {role}{where}")
