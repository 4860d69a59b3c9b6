"""AWS Lambda behind a function URL: one event, one update, durable when it is answered."""
# ruff: noqa: INP001 - a module of its own on the host, beside those that it imports

from __future__ import annotations

import asyncio
import base64
import binascii
from http import HTTPStatus
from typing import Any, Protocol

import bot
from webhook import HEADER, Webhook

RESERVE = 2.0
"""Seconds before Lambda's time is up at which we give up: a process that Lambda ends starts cold
with the next update, and one that gives up goes on from where it was."""

_WEBHOOK = Webhook(bot.build)
# One loop for all invocations: a new one, and with it new connections, would cost each of them ten
# times the CPU. Connections that did not outlive a freeze are opened anew.
_RUNNER = asyncio.Runner()


class Context(Protocol):
    """As much of Lambda's context as is needed."""

    def get_remaining_time_in_millis(self) -> int:
        """Return for how long the invocation may still go on."""


def answer(event: dict[str, Any], context: Context) -> dict[str, Any]:
    """Answer a request to the function URL (payload format 2.0)."""
    return {"statusCode": int(_RUNNER.run(_status(event, context)))}


async def _status(event: dict[str, Any], context: Context) -> HTTPStatus:
    if not _WEBHOOK.admits(_header(event, HEADER)):
        return HTTPStatus.UNAUTHORIZED
    within = context.get_remaining_time_in_millis() / 1000 - RESERVE
    return await _WEBHOOK.take(_body(event), within)


def _header(event: dict[str, Any], name: str) -> str | None:
    """Return a header. Function URLs write names in lower case, and what else calls may not."""
    headers = {key.lower(): value for key, value in (event.get("headers") or {}).items()}
    return headers.get(name.lower())


def _body(event: dict[str, Any]) -> str | bytes:
    body = event.get("body") or ""
    if not event.get("isBase64Encoded"):
        return str(body)
    try:
        return base64.b64decode(body, validate=True)
    except (binascii.Error, ValueError):
        return b""  # no update either
