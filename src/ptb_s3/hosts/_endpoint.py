"""A bot behind a URL: who may call it, and what Telegram is answered. The same on every host.

Of the environment, it reads ``TELEGRAM_TOKEN``; ``TELEGRAM_SECRET_TOKEN``, which is what the
webhook was set with; and ``TELEGRAM_API_URL``, where there is a Bot API server of one's own.
``PTB_S3_*`` is left to `S3Persistence.from_env`.
"""
# ruff: noqa: INP001 - a module of its own on the host, beside those that import it

from __future__ import annotations

import hmac
import logging
import os
import re
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, TypeAlias

# By itself, it would be imported with the first update: 1 s of CPU, and hosts lend more of that to
# a process while it starts.
import aioboto3  # noqa: F401
from telegram.ext import Application, ApplicationBuilder

from ptb_s3 import PersistentApplication
from ptb_s3.errors import (
    PersistenceError,
    SerializationError,
    SettingsError,
    UpdateFormatError,
)
from ptb_s3.serverless import begin, close, deliver

__all__ = ["HEADER", "Webhook", "describe"]

App: TypeAlias = Application[Any, Any, Any, Any, Any, Any]
Builder: TypeAlias = ApplicationBuilder[Any, Any, Any, Any, Any, Any]

HEADER = "X-Telegram-Bot-Api-Secret-Token"
"""The header in which Telegram sends the secret. Bot API, setWebhook."""

_SECRET = re.compile(r"[A-Za-z0-9_-]{1,256}")
"""Bot API, setWebhook: what a secret token may be. An empty one would let everybody in."""

_LOGGER = logging.getLogger("webhook")
# At INFO, httpx logs the address of each request to Telegram, and the bot's token is part of that.
logging.getLogger("httpx").setLevel(logging.WARNING)


class Webhook:
    """A bot, and the secret that Telegram shows it.

    Args:
        build: Makes the application, of a builder that knows all but what is the bot's own.

    Raises:
        SettingsError: A variable is missing or cannot be used; the text shows no value.
    """

    def __init__(self, build: Callable[[Builder], App]) -> None:
        token, secret = _required("TELEGRAM_TOKEN"), _required("TELEGRAM_SECRET_TOKEN")
        if not _SECRET.fullmatch(secret):
            raise SettingsError(
                "TELEGRAM_SECRET_TOKEN is none that Telegram takes. Give 1 to 256 letters, digits, "
                "_ and -, such as `openssl rand -hex 32` makes."
            )
        self._secret = secret.encode()
        self._application = build(_builder(token))
        self._application.add_error_handler(_report)

    def admits(self, secret: str | None) -> bool:
        """Tell whether a request with this in its header is Telegram's. If not, answer 401."""
        # In constant time; and as bytes, since texts that are not ASCII cannot be compared so.
        return hmac.compare_digest((secret or "").encode(errors="replace"), self._secret)

    async def begin(self) -> None:
        """Load the state ahead of the first update.

        Raises:
            PersistenceError: It cannot be read.
            TelegramError: Telegram does not answer, or does not know the token.
        """
        await begin(self._application)

    async def take(self, update: str | bytes, within: float | None = None) -> HTTPStatus:
        """Process an update, and return what to answer when its effects are durable.

        Args:
            update: The body of Telegram's request.
            within: Seconds that it may take; None: those that `deliver` has by default.

        Returns:
            200, also where a value cannot be saved, which is in the log then: to send the update
            again would not help; 400 for what is no update; or 500, for Telegram to send it again.
        """
        try:
            await deliver(self._application, update, timeout=within)
        except UpdateFormatError as error:
            return _failed(HTTPStatus.BAD_REQUEST, error)
        except SerializationError as error:
            return _failed(HTTPStatus.OK, error)
        except Exception as error:  # noqa: BLE001 - whatever it is, Telegram is to send it again
            return _failed(HTTPStatus.INTERNAL_SERVER_ERROR, error)
        return HTTPStatus.OK

    async def close(self) -> None:
        """Save what is left, before the process ends.

        Raises:
            PersistenceError: What changed is not durable.
        """
        await close(self._application)


def describe(error: Exception) -> str:
    """Return an error in one line, without secrets."""
    if isinstance(error, PersistenceError):
        return str(error)
    if isinstance(error, TimeoutError):
        return "The time was up."
    # Without its text: PTB's InvalidToken, for one, quotes the token.
    return f"{type(error).__module__}.{type(error).__name__}"


async def _report(_: object, context: Any) -> None:  # noqa: ANN401 - of whatever types the bot uses
    """Log what went wrong in a handler, or with a value that cannot be saved."""
    error = context.error
    known = isinstance(error, PersistenceError)
    _LOGGER.error("%s", describe(error), exc_info=None if known else error)


def _failed(status: HTTPStatus, error: Exception) -> HTTPStatus:
    _LOGGER.error("Answered %d: %s", status, describe(error))
    return status


def _builder(token: str) -> Builder:
    builder: Builder = ApplicationBuilder().application_class(PersistentApplication).token(token)
    url = os.environ.get("TELEGRAM_API_URL", "").rstrip("/")
    if url:
        builder = builder.base_url(f"{url}/bot").base_file_url(f"{url}/file/bot")
    return builder.updater(None).job_queue(None)


def _required(name: str) -> str:
    value = os.environ.get(name, "")
    if not value:
        raise SettingsError(f"{name} is not set. The README beside this host's files says to what.")
    return value
