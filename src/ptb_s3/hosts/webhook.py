"""A webhook as a service of its own: HTTP on ``PORT``, and an orderly end after SIGTERM.

Of the environment, it reads ``PORT`` and, where not every address is to be listened on, ``HOST``.
"""
# ruff: noqa: INP001 - a module of its own on the host, beside those that it imports

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys

import bot
from aiohttp import web
from telegram.error import TelegramError
from webhook import HEADER, Webhook, describe

from ptb_s3.errors import PersistenceError, StorageUnavailableError
from ptb_s3.settings import load_settings

PATH = "/webhook"
HEALTH = "/healthz"
GRACE = 1.0
"""Seconds that all may take after SIGTERM beyond PTB_S3_FLUSH_TIMEOUT. The host allows more."""

_LOGGER = logging.getLogger("service")


def routes(webhook: Webhook) -> web.Application:
    """Return what is answered at which path."""

    async def take(request: web.Request) -> web.Response:
        if not webhook.admits(request.headers.get(HEADER)):
            raise web.HTTPUnauthorized
        return web.Response(status=await webhook.take(await request.read()))

    async def health(_: web.Request) -> web.Response:
        # Of the process alone: to start it anew would not mend a storage that does not answer.
        return web.Response(text="ok\n")

    application = web.Application()
    application.add_routes([web.post(PATH, take), web.get(HEALTH, health)])
    return application


async def serve(webhook: Webhook, host: str | None, port: int, seconds: float) -> None:
    """Serve until SIGTERM (or SIGINT); then finish what is under way, and save what is left.

    Args:
        webhook: The bot.
        host: Address to listen on; None: all of them.
        port: Port to listen on.
        seconds: That it may take to save what is left.

    Raises:
        PersistenceError: The state cannot be read; or something could not be saved. No update that
            was answered 200 is lost.
        TelegramError: Telegram does not answer, or does not know the token.
    """
    terminated = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, terminated.set)
    # aiohttp waits for requests under way twice that long, and then cancels them. What a cancelled
    # one has changed is taken back, and Telegram sends it again.
    await webhook.begin()  # one that cannot read its state is not to be sent any requests
    runner = web.AppRunner(routes(webhook), access_log=None, shutdown_timeout=seconds / 3)
    await runner.setup()
    await web.TCPSite(runner, host, port).start()
    _LOGGER.info("Listening on port %d.", runner.addresses[0][1])
    await terminated.wait()
    try:
        async with asyncio.timeout(seconds + GRACE):
            await runner.cleanup()  # accepts nothing more, first of all
            await webhook.close()
    except TimeoutError:
        raise StorageUnavailableError(
            f"Not everything was saved within {seconds + GRACE} s of SIGTERM. Updates that were "
            "answered 200 are durable, and Telegram sends the others again. Look at the storage."
        ) from None


def main() -> int:
    """Run the service; return the exit code."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    host, port = os.environ.get("HOST"), int(os.environ.get("PORT", "8080"))
    try:
        seconds = load_settings().flush_timeout
        asyncio.run(serve(Webhook(bot.build), host, port, seconds))
    except (PersistenceError, TelegramError) as error:
        failure = error
    else:
        _LOGGER.info("Saved all, and ended.")
        return 0
    _LOGGER.error("%s", describe(failure))
    return failure.exit_code if isinstance(failure, PersistenceError) else 1


if __name__ == "__main__":
    sys.exit(main())
