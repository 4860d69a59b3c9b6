"""``ptb-s3 copy``: copy the current state to another bucket, prefix or provider.

The copy goes to an empty place, is sealed with the key there, and is read back and compared. The
history stays. A bot that commits at the old place meanwhile is told of by a warning: its commits
are not in the copy.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Annotated, Any

import typer

from ptb_s3._engine.publication import publish, require_empty, require_same
from ptb_s3._engine.repository import Repository
from ptb_s3._format.entities import Kind
from ptb_s3._storage.client import endpoint_of, session_of
from ptb_s3._storage.s3 import S3Store
from ptb_s3.cli import _output
from ptb_s3.cli._interruption import in_steps
from ptb_s3.cli._opened import Place, elsewhere, opened, run, warn_of_files
from ptb_s3.cli._options import DryRun, Json
from ptb_s3.cli._parsing import split_url
from ptb_s3.cli._progress import progress, steps
from ptb_s3.errors import SettingsError

_AGAIN = (
    "The old place is as it was. What was written in the new one is no state before its head is "
    "there: delete it by the bucket's own means, and run ptb-s3 copy again."
)


def copy(
    target: Annotated[
        str | None,
        typer.Argument(
            metavar="s3://BUCKET/PREFIX",
            help="Another place of the same storage, for the same keys and credentials.",
            show_default=False,
        ),
    ] = None,
    *,
    to_env: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help="Settings of the other place: bucket, key, credentials and all."
        ),
    ] = None,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Copy the current state to another place, sealed with the key there, and read it back.

    Its history stays where it is. Stop the bot before; start it with the settings of the other.
    """
    if (target is None) == (to_env is None):
        raise SettingsError("Give the other place: s3://bucket/prefix, or --to-env and a file.")

    async def work(place: Place) -> dict[str, Any]:
        source = await place.load()
        async with _other(place, target, to_env) as other:
            await require_empty(other.load, other.name)
            outcome = {"from": place.name, "to": other.name, "source_revision": source.revision}
            if dry_run:
                return {**outcome, "revision": None, "moved_on": False}
            copied = await _write(other, source)
        moved_on = (await place.load()).revision != source.revision
        return {**outcome, "revision": copied.revision, "moved_on": moved_on}

    outcome = run(work)
    if json:
        _output.result_json(outcome)
    else:
        _tell(outcome)


def _tell(outcome: Mapping[str, Any]) -> None:
    """Say that the state was copied, or that there is room for it."""
    if outcome["revision"] is None:
        _output.result(f"There is room at {outcome['to']}. Nothing was changed.")
        return
    _output.result(
        f"Copied revision {outcome['source_revision']} to {outcome['to']}, as revision "
        f"{outcome['revision']} there; read back, the same."
    )
    _output.note(f"The history stays at {outcome['from']}.")
    if outcome["moved_on"]:
        _output.warning(
            "A bot has committed at the old place meanwhile, and that is not in the copy: stop it, "
            "and copy to an empty place again."
        )


async def _write(other: Place, source: Repository) -> Repository:
    """Write a state to another place, and return it as it is read back from there."""
    repository = other.repository()
    repository.begin_from(source.base)
    with in_steps(_AGAIN), progress("Writing") as advance:
        await publish(repository, steps(advance, len(Kind) + 1))
    again = await other.load()
    require_same(source.base, again.base, "copied")
    return again


@asynccontextmanager
async def _other(place: Place, target: str | None, to_env: str | None) -> AsyncIterator[Place]:
    """Open the other place: one of the same storage, or one with settings of its own."""
    if target is not None:
        async with elsewhere(place, *split_url(target)) as other:
            yield other
        return
    from ptb_s3.settings import load_settings_of  # noqa: PLC0415 - --help needs none

    settings, aws = load_settings_of(to_env or "")
    warn_of_files(settings)
    session = session_of(aws, settings.bucket) if aws else None
    open_ = partial(
        S3Store,
        endpoint_url=settings.endpoint_url or endpoint_of(aws),
        region_name=settings.region,
        addressing_style=settings.addressing_style,
        expected_bucket_owner=settings.expected_bucket_owner,
        session=session,
    )
    async with opened(settings, open_, session) as other:
        yield other
