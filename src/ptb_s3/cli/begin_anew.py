"""``ptb-s3 begin-anew``: begin an empty state where one was deleted."""

from __future__ import annotations

from typing import Annotated

import typer

from ptb_s3._engine.repair import begin_after
from ptb_s3._transfer.import_plan import SERIALIZER
from ptb_s3.cli import _output
from ptb_s3.cli._opened import Place, run
from ptb_s3.errors import NothingThereError, SettingsError


def begin_anew(
    version_id: Annotated[
        str,
        typer.Argument(metavar="VERSION", help="Id of the deleted head, as the error gives it."),
    ],
    *,
    bot: Annotated[
        int | None, typer.Option(help="Id of the bot, if no version of the old state opens.")
    ] = None,
) -> None:
    """Begin a new, empty state where one was deleted, whose versions stay where they are."""

    async def work(place: Place) -> None:
        identity = await _identity(place, bot)
        await begin_after(place.repository(*identity, begin_anew=version_id))

    run(work)
    _output.result("Began a new, empty state, as revision 1.")
    _output.note(
        "The deleted one's versions are still there: ptb-s3 repair --store brings it back."
    )


async def _identity(place: Place, bot: int | None) -> tuple[int, str]:
    """Return the bot's id and the serializer's for the new state: those of the deleted one.

    Raises:
        SettingsError: No version of the deleted one opens, and no bot is given.
    """
    try:
        found = (await place.repository().recover()).found
    except NothingThereError:
        if bot is None:
            raise SettingsError(
                "No version of the old state opens, so that nobody knows whose it was. Give --bot "
                "and the bot's id: the digits before ':' in its token."
            ) from None
        return bot, SERIALIZER
    return bot or found.head.bot, found.header.serializer
