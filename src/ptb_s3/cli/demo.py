"""``ptb-s3 demo``: run a bot and its storage on this machine, kill the bot, and take over."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Annotated

import typer

from ptb_s3.cli import _output
from ptb_s3.errors import SettingsError


def demo(
    *,
    live: Annotated[
        bool,
        typer.Option(
            "--live", help="Run the demo's bot on Telegram: TELEGRAM_BOT_TOKEN and PTB_S3_*."
        ),
    ] = False,
    token: Annotated[
        str, typer.Option(envvar="TELEGRAM_BOT_TOKEN", hidden=True, show_default=False)
    ] = "",
) -> None:
    """Watch a bot be killed and go on elsewhere. Needs no token, no Docker and no network."""
    if live:
        _poll(token)
    else:
        _tell()


def _tell() -> None:
    """Run the demo offline, on a server of its own."""
    # Imported here, since no other command needs them.
    from ptb_s3.cli._demo.narration import Narrator  # noqa: PLC0415 - see above
    from ptb_s3.cli._demo.steps import STEPS, run_steps  # noqa: PLC0415 - see above
    from ptb_s3.cli._seaweedfs import embedded_seaweedfs, weed_program  # noqa: PLC0415 - see above

    weed_program()  # whose error comes before anything is printed
    narrator, began = Narrator(), time.monotonic()
    narrator.title("A bot's state on S3: saved, killed, taken over, rotated, brought back")
    with narrator.serving(embedded_seaweedfs()) as server:
        held = asyncio.run(run_steps(server, narrator))
    if not held:
        raise typer.Exit(1)
    seconds = time.monotonic() - began
    narrator.end(f"All {len(STEPS)} steps held, in {seconds:.1f} s. Nothing of it is left here.")


def _poll(token: str) -> None:
    """Run the bot of the demo on Telegram, with the settings of the environment.

    Raises:
        SettingsError: The token is missing, or none that Telegram knows.
    """
    if not token.strip():
        raise SettingsError(
            "TELEGRAM_BOT_TOKEN is not set. Get a token from @BotFather on Telegram, and put it "
            "there."
        )
    from telegram.error import InvalidToken, TelegramError  # noqa: PLC0415 - a second of imports

    from ptb_s3.cli._demo import bot as demo_bot  # noqa: PLC0415 - as above

    bot = demo_bot.build(token.strip(), demo_bot.persistence())
    bot.post_init = _open_shop
    # What PTB logs of its start is raised as well, and a bad token's traceback holds the token.
    logging.getLogger("telegram.ext").addFilter(_without_traceback)
    try:
        bot.run_polling()
    except InvalidToken:
        raise SettingsError(
            "TELEGRAM_BOT_TOKEN is not a token that Telegram knows. Copy it again from @BotFather."
        ) from None
    except TelegramError as error:
        _output.note(f"error: Telegram cannot be used: {error}")
        raise typer.Exit(1) from None


async def _open_shop(_: object) -> None:
    """Say that the bot is polling, when PTB has started it."""
    _output.note("The tea shop is open: write /start to your bot. Ctrl-C closes it.")


def _without_traceback(record: logging.LogRecord) -> bool:
    """Strip a log record of its traceback, which may quote the token."""
    record.exc_info = None
    return True
