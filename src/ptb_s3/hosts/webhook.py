"""Service that takes updates over HTTP, and ends in order after SIGTERM.

    python -m ptb_s3.hosts.webhook shop.bot:build

Of the environment, it reads ``PORT`` and, where not every address is to be listened on, ``HOST``.

The state is loaded before it listens, so that a revision that cannot read its state is sent no
requests, whichever probes the host has. Updates are processed one at a time, in the order in which
they came. Each has `UPDATE_TIMEOUT` seconds from its turn on, so that one whose handler never ends
delays the others and does not stop them.

Where ``RUN_DUE_SECRET`` is set, a schedule may have it run the jobs that are due (`SCHEDULE`).
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from http import HTTPStatus
from typing import Final, get_args

from aiohttp import web
from telegram.error import TelegramError

from ptb_s3._environment import variable
from ptb_s3._ptb.transaction import OnConflict
from ptb_s3.errors import PersistenceError, SettingsError, StorageUnavailableError
from ptb_s3.hosts._endpoint import BODY_LIMIT, HEADER, SCHEDULE_HEADER, Endpoint, describe

__all__ = ["main"]

PATH: Final = "/webhook"
SCHEDULE: Final = "/run-due"
ALIVE: Final = "/healthz"
READY: Final = "/readyz"
DEFAULT_PORT: Final = "8080"
GRACE: Final = 1.0
"""Seconds that all may take after SIGTERM beyond PTB_S3_FLUSH_TIMEOUT. The host allows more."""
UPDATE_TIMEOUT: Final = 55.0
"""Seconds for an update, from its turn on. Telegram hangs up after 60 s without an answer and
sends it again (tdlib/telegram-bot-api, WebhookActor::create_connection): to give up before that
keeps two copies of one update from waiting at a time."""

_REASONS: Final = {
    HTTPStatus.NOT_FOUND: "There is no such path. If it was Telegram that called, give "
    f"setWebhook a url that ends in {PATH}.",
    HTTPStatus.METHOD_NOT_ALLOWED: "The method is none of this path's. Telegram sends "
    f"POST {PATH}.",
}

_LOGGER = logging.getLogger("ptb_s3")

_Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


def routes(endpoint: Endpoint, update_timeout: float = UPDATE_TIMEOUT) -> web.Application:
    """Return the answers by path: updates, liveness and readiness, and schedules if they may call.

    Args:
        endpoint: Endpoint of the bot.
        update_timeout: Seconds for an update, from its turn on.
    """
    turn = asyncio.Lock()  # first come, first served: whoever waits has its turn

    async def take(request: web.Request) -> web.Response:
        if not endpoint.admits(request.headers.get(HEADER)):
            raise web.HTTPUnauthorized
        body = await request.read()
        async with turn:
            return web.Response(status=await endpoint.take(body, update_timeout))

    async def alive(_: web.Request) -> web.Response:
        # Of the process alone: to start it anew would not mend a storage that does not answer.
        return web.Response(text="ok\n")

    async def ready(_: web.Request) -> web.Response:
        if endpoint.ready:
            return web.Response(text="ready\n")
        return web.Response(status=HTTPStatus.SERVICE_UNAVAILABLE, text="not ready\n")

    @web.middleware
    async def logged(request: web.Request, handler: _Answer) -> web.StreamResponse:
        """Log what is refused before an update is looked at. Not the path: it may hold a token."""
        try:
            return await handler(request)
        except web.HTTPClientError as error:
            endpoint.refuse(status := HTTPStatus(error.status), _REASONS.get(status))
            raise

    application = web.Application(client_max_size=BODY_LIMIT, middlewares=[logged])
    application.add_routes([web.post(PATH, take), web.get(ALIVE, alive), web.get(READY, ready)])
    if endpoint.takes_schedules:
        application.add_routes([_schedule_route(endpoint, turn, update_timeout)])
    return application


def _schedule_route(endpoint: Endpoint, turn: asyncio.Lock, timeout: float) -> web.RouteDef:
    """Return the answer to a schedule, which takes its turn among the updates.

    Args:
        endpoint: Endpoint of the bot.
        turn: Lock of the turn.
        timeout: Seconds from the turn on.
    """

    async def run_due(request: web.Request) -> web.Response:
        if not endpoint.admits_schedule(request.headers.get(SCHEDULE_HEADER)):
            return web.Response(status=HTTPStatus.UNAUTHORIZED)
        async with turn:
            return web.Response(status=await endpoint.run_due(timeout))

    return web.post(SCHEDULE, run_due)


async def serve(endpoint: Endpoint, host: str | None, port: int, update_timeout: float) -> None:
    """Serve until SIGTERM (or SIGINT), then finish what is under way, and save what is left.

    Args:
        endpoint: Endpoint of the bot.
        host: Address to listen on; None: all of them.
        port: Port to listen on; 0: any that is free.
        update_timeout: Seconds for an update, from its turn on.

    Raises:
        PersistenceError: The state cannot be read; or something could not be saved. No update that
            was answered 200 is lost.
        TelegramError: Telegram does not answer, or does not know the token.
    """
    terminated = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, terminated.set)
    await endpoint.begin()  # one that cannot read its state is not to be sent any requests
    # aiohttp waits for requests under way twice that long, and then cancels them. What a cancelled
    # one has changed is taken back, and Telegram sends it again.
    patience = endpoint.flush_timeout / 3
    application = routes(endpoint, update_timeout)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=patience)
    await runner.setup()
    await web.TCPSite(runner, host, port).start()
    _LOGGER.info("Listening on port %d.", runner.addresses[0][1])
    await terminated.wait()
    await _end(endpoint, runner)


async def _end(endpoint: Endpoint, runner: web.AppRunner) -> None:
    """Accept nothing more, finish what is under way and save what is left, in time.

    Raises:
        PersistenceError: Something could not be saved.
    """
    endpoint.ready = False
    seconds = endpoint.flush_timeout + GRACE
    try:
        async with asyncio.timeout(seconds):
            await runner.cleanup()  # accepts nothing more, first of all
            await endpoint.close()
    except TimeoutError:
        raise StorageUnavailableError(
            f"Not everything was saved within {seconds} s of SIGTERM. Updates that were "
            "answered 200 are durable, and Telegram sends the others again. Look at the storage."
        ) from None


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the service, and return the exit code.

    Args:
        arguments: Those of the command line; None: the process's.
    """
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    asked = _parser().parse_args(arguments)
    try:
        port = _port(variable("PORT") or DEFAULT_PORT)
        endpoint = Endpoint(asked.build, asked.on_conflict)
        asyncio.run(serve(endpoint, variable("HOST") or None, port, asked.update_timeout))
    except (PersistenceError, TelegramError) as error:
        failure = error
    else:
        _LOGGER.info("Saved all, and ended.")
        return 0
    _LOGGER.error("%s", describe(failure))
    return failure.exit_code if isinstance(failure, PersistenceError) else 1


def _parser() -> argparse.ArgumentParser:
    # No secret is an argument: those of a process can be read by all who are on the machine.
    parser = argparse.ArgumentParser(
        prog="python -m ptb_s3.hosts.webhook",
        description="Serve a bot's webhook on PORT, until SIGTERM.",
    )
    parser.add_argument(
        "build", help="function that returns the application: module:function, as shop.bot:build"
    )
    parser.add_argument(
        "--update-timeout",
        type=float,
        default=UPDATE_TIMEOUT,
        metavar="SECONDS",
        help="time for an update, handlers included (default: %(default)g)",
    )
    parser.add_argument(
        "--on-conflict",
        choices=get_args(OnConflict),
        default="retry",
        help="merge: for handlers that must not run twice (default: %(default)s)",
    )
    return parser


def _port(text: str) -> int:
    if text.isascii() and text.isdecimal() and int(text) < 2**16:
        return int(text)
    raise SettingsError("PORT is not a port. Give a number from 0 to 65535.")


if __name__ == "__main__":
    sys.exit(main())
