"""Endpoint of a bot behind a URL: who may call it, and what Telegram is answered.

The same on every host. Of the environment, it reads ``TELEGRAM_SECRET_TOKEN``, which is what the
webhook was set with, and ``RUN_DUE_SECRET``, which a schedule over HTTP shows.
``TELEGRAM_BOT_TOKEN`` and ``PTB_S3_*`` are the business of what builds the application.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
import re
from http import HTTPStatus
from typing import Any, Final

from ptb_s3._environment import required_variable, variable
from ptb_s3._ptb.state_loader import loader_of
from ptb_s3._ptb.transaction import OnConflict
from ptb_s3._storage.client import preload
from ptb_s3.errors import (
    PersistenceError,
    SerializationError,
    SettingsError,
    UpdateFormatError,
)
from ptb_s3.hosts._entry_point import Build, application_of
from ptb_s3.hosts._refusals import Refusals
from ptb_s3.serverless import begin, close, compact, deliver, run_due

HEADER: Final = "X-Telegram-Bot-Api-Secret-Token"
"""The header in which Telegram sends the secret. Bot API, setWebhook."""

SCHEDULE_HEADER: Final = "X-Run-Due-Secret"
"""The header in which a schedule sends its secret. Not ``Authorization``, which hosts look at."""

BODY_LIMIT: Final = 1024**2
"""Bytes that an update may have. Those of Telegram have some kilobytes: a text is of 4096
characters at most (Bot API, Message), and files come as ids."""

_SECRET = re.compile(r"[A-Za-z0-9_-]{1,256}")
"""Bot API, setWebhook: what a secret token may be. An empty one would let everybody in."""

_SCHEDULE_SECRET = re.compile(r"[A-Za-z0-9_-]{16,256}")
"""What may stand in a header and in a file of YAML, and is not guessed."""

REASONS: Final = {
    HTTPStatus.UNAUTHORIZED: "The secret token is missing or wrong. If it was Telegram that "
    "called, give setWebhook as secret_token what TELEGRAM_SECRET_TOKEN is.",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "The body is larger than any update, more than "
    f"{BODY_LIMIT} bytes. It was not looked at.",
}
"""Texts of the log for what is refused without a look at the update."""

_LOGGER = logging.getLogger("ptb_s3")


class Endpoint:
    """Endpoint of one bot: admits Telegram by its secret, and delivers updates.

    Args:
        build: Makes the application: a function, or its name, as in ``"shop.bot:build"``.
        on_conflict: As `deliver` takes it: ``"merge"`` for handlers that must not run twice.
        refusals: Log of what is not answered 200.

    Attributes:
        header: Name of the header in which Telegram sends the secret.
        ready: Whether the state is loaded and requests are welcome.

    Raises:
        SettingsError: A variable is missing or cannot be used, where the text shows no value; or
            the function is not there, or makes no application with an `S3Persistence`.
    """

    header: Final = HEADER

    def __init__(
        self,
        build: Build | str,
        on_conflict: OnConflict = "retry",
        refusals: Refusals | None = None,
    ) -> None:
        # At INFO, httpx logs the address of each request to Telegram, and the token is part of it.
        logging.getLogger("httpx").setLevel(logging.WARNING)
        self._secret, self._schedule_secret = _secret(), _schedule_secret()
        self._application = application_of(build)
        self._application.add_error_handler(_report)
        if self._schedule_secret and not loader_of(self._application.persistence).due_sources:  # type: ignore[arg-type]  # an S3Persistence
            raise SettingsError(
                "RUN_DUE_SECRET is set, and the application has no jobs that are kept: give it a "
                "PersistentJobQueue, or unset the variable."
            )
        self._on_conflict = on_conflict
        self._refusals = Refusals() if refusals is None else refusals
        self.ready = False
        # By itself, it would be imported with the first update: 1 s of CPU, and hosts lend more of
        # that to a process while it starts.
        preload()

    @property
    def flush_timeout(self) -> float:
        """Return the seconds that `close` may take: those of the application's persistence."""
        return float(self._application.persistence.flush_timeout)  # type: ignore[union-attr]  # an S3Persistence

    def admits(self, secret: str | None) -> bool:
        """Tell whether a request with this secret in its header is Telegram's. If not, answer 401.

        Args:
            secret: Content of the header `HEADER`; None: there is no such header.
        """
        # In constant time, and as bytes, since texts that are not ASCII cannot be compared so.
        return hmac.compare_digest((secret or "").encode(errors="replace"), self._secret)

    @property
    def takes_schedules(self) -> bool:
        """Return whether a schedule may call over HTTP: ``RUN_DUE_SECRET`` is set."""
        return bool(self._schedule_secret)

    def admits_schedule(self, secret: str | None) -> bool:
        """Tell whether a request with this secret in its header is the schedule's. If not, log it.

        Args:
            secret: Content of the header `SCHEDULE_HEADER`; None: there is no such header.
        """
        given = (secret or "").encode(errors="replace")
        if self._schedule_secret and hmac.compare_digest(given, self._schedule_secret):
            return True
        self._refusals.add(
            HTTPStatus.UNAUTHORIZED,
            "The secret of a call to run what is due is missing or wrong. Have the schedule send "
            f"what RUN_DUE_SECRET is, in the header {SCHEDULE_HEADER}.",
            reason="run_due",
        )
        return False

    async def run_due(self, within: float | None = None) -> HTTPStatus:
        """Run the jobs that are due, and return what to answer when their effects are durable.

        Args:
            within: Seconds that it may take, as `run_due` takes it.

        Returns:
            200, also where a value cannot be saved, which is in the log then. Or 500: the next call
            of the schedule runs what is left.
        """
        try:
            await run_due(self._application, timeout=within)
        except SerializationError as error:
            _LOGGER.error("Answered %d: %s", HTTPStatus.OK, describe(error))  # noqa: TRY400 - its text says it all
        except Exception as error:  # noqa: BLE001 - whatever it is, the schedule calls again
            status, text = (
                HTTPStatus.INTERNAL_SERVER_ERROR,
                f"To run what is due: {describe(error)}",
            )
            self._refusals.add(status, text, reason=f"run_due {type(error).__name__}")
            return status
        return HTTPStatus.OK

    async def compact(self, within: float | None = None) -> HTTPStatus:
        """Write the blobs that are due, and return what to answer.

        Args:
            within: Seconds that it may take, as `compact` takes it.

        Returns:
            200, or 500 where they are not all written. Nothing is lost by that.
        """
        try:
            written = await compact(self._application, timeout=within)
        except Exception as error:  # noqa: BLE001 - whatever it is, the schedule calls again
            text = str(error) if isinstance(error, TimeoutError) else describe(error)
            status = HTTPStatus.INTERNAL_SERVER_ERROR
            reason = f"compact {type(error).__name__}"
            self._refusals.add(status, f"To compact: {text}", reason=reason)
            return status
        _LOGGER.info("Compacted: %s.", ", ".join(written) or "nothing was due")
        return HTTPStatus.OK

    async def begin(self) -> None:
        """Load the state ahead of the first update.

        Raises:
            PersistenceError: It cannot be read.
            TelegramError: Telegram does not answer, or does not know the token.
        """
        await begin(self._application)
        self.ready = True

    async def begin_ahead(self, within: float) -> None:
        """Load the state before there is an update, or leave that to the first one.

        Args:
            within: Seconds that it may take.
        """
        try:
            async with asyncio.timeout(within):
                await self.begin()
        except Exception as error:  # noqa: BLE001 - the first update tries again, and is answered
            _LOGGER.warning(
                "The state could not be read ahead, and the next update tries again: %s",
                describe(error),
            )

    async def take(self, update: str | bytes, within: float | None = None) -> HTTPStatus:
        """Process an update, and return what to answer when its effects are durable.

        Args:
            update: Body of Telegram's request, of at most `BODY_LIMIT`.
            within: Seconds that it may take, waiting for its turn included. None: those that
                `deliver` has by default, by which a handler may take any time.

        Returns:
            200, also where a value cannot be saved, which is in the log then: to send the update
            again would not help. 400 for what is no update, and 413 for what is too large to be
            one. Or 500, for Telegram to send it again.
        """
        if len(update) > BODY_LIMIT:
            return self.refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        try:
            await deliver(self._application, update, on_conflict=self._on_conflict, timeout=within)
        except UpdateFormatError as error:
            return self.refuse(HTTPStatus.BAD_REQUEST, describe(error))
        except SerializationError as error:
            _LOGGER.error("Answered %d: %s", HTTPStatus.OK, describe(error))  # noqa: TRY400 - its text says it all
        except Exception as error:  # noqa: BLE001 - whatever it is, Telegram is to send it again
            return self._failed(update, error)
        return HTTPStatus.OK

    def refuse(self, status: HTTPStatus, text: str | None = None) -> HTTPStatus:
        """Return this status, and log at most once a minute that a request is answered with it.

        Args:
            status: One of 4xx.
            text: Why, without secrets; None: what `REASONS` says.
        """
        self._refusals.add(status, REASONS[status] if text is None else text)
        return status

    async def close(self) -> None:
        """Save what is left, before the process ends.

        Raises:
            PersistenceError: What changed is not durable.
        """
        self.ready = False
        self._refusals.flush()
        await close(self._application)

    def _failed(self, update: str | bytes, error: Exception) -> HTTPStatus:
        """Log that an update was not processed, and which, at most once a minute for each type."""
        status, number = HTTPStatus.INTERNAL_SERVER_ERROR, json.loads(update)["update_id"]
        self._refusals.add(status, describe(error), reason=type(error).__name__, update=number)
        return status


def describe(error: Exception) -> str:
    """Return an error in one line, without secrets."""
    if isinstance(error, PersistenceError):
        return str(error)
    if isinstance(error, TimeoutError):
        return "The time was up."
    # Without its text: PTB's InvalidToken, for one, quotes the token.
    return f"{type(error).__module__}.{type(error).__name__}"


async def _report(_: object, context: Any) -> None:  # noqa: ANN401 - of whatever types the bot uses
    """Log an error of a handler, or of a value that cannot be saved."""
    error = context.error
    known = isinstance(error, PersistenceError)
    _LOGGER.error("%s", describe(error), exc_info=None if known else error)


def _secret() -> bytes:
    secret = required_variable("TELEGRAM_SECRET_TOKEN")
    if not _SECRET.fullmatch(secret):
        raise SettingsError(
            "TELEGRAM_SECRET_TOKEN is none that Telegram takes. Give 1 to 256 letters, digits, "
            "_ and -, such as `openssl rand -hex 32` makes."
        )
    return secret.encode()


def _schedule_secret() -> bytes:
    """Return the secret of schedules over HTTP, empty where there is none."""
    secret = variable("RUN_DUE_SECRET")
    if secret and not _SCHEDULE_SECRET.fullmatch(secret):
        raise SettingsError(
            "RUN_DUE_SECRET is none. Give 16 to 256 letters, digits, _ and -, such as "
            "`openssl rand -hex 32` makes."
        )
    return secret.encode()
