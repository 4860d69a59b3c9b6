"""Handler for AWS Lambda behind a function URL: one event, one update, durable when answered.

.. code:: python

    from ptb_s3.hosts.aws_lambda import handler_for

    handler = handler_for("shop.bot:build")

Everything is imported and built with the module, and the state is read, before the first event,
when Lambda lends a whole core (`_start_phase`). Between two events the process is frozen or gone,
and nothing is unsaved.

A schedule of EventBridge's has it run the jobs that are due. Who may send such an event is IAM's
matter. A request to the function URL cannot be one: what it sends is in the event's ``body``.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Callable
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias

from ptb_s3.hosts._start_phase import LIMIT, begin_ahead, collector_paused

if TYPE_CHECKING:
    from ptb_s3._ptb.transaction import OnConflict
    from ptb_s3.hosts._endpoint import Endpoint
    from ptb_s3.hosts._entry_point import Build

__all__ = ["Context", "handler_for"]

RUN_DUE: Final = {"ptb_s3": "run_due"}
"""Event of a schedule that is given an input of its own, as in infra/lambda/template.yaml."""

COMPACT: Final = {"ptb_s3": "compact"}
"""Event of a schedule that has the blobs written that are due."""

RESERVE: Final = 2.0
"""Seconds before Lambda's time is up at which we give up: a process that Lambda ends starts cold
with the next update, and one that gives up goes on from where it was."""


class Context(Protocol):
    """As much of Lambda's context as is needed."""

    def get_remaining_time_in_millis(self) -> int:
        """Return for how long the invocation may still go on."""


Handler: TypeAlias = Callable[[dict[str, Any], Context], dict[str, Any]]


def handler_for(build: Build | str, *, on_conflict: OnConflict = "retry") -> Handler:
    """Return a handler for the events of a function URL (payload format 2.0), and of a schedule.

    A schedule is a rule of EventBridge's, or any that sends the event ``{"ptb_s3": "run_due"}``: it
    runs the jobs that are due, as :func:`ptb_s3.serverless.run_due`. The event
    ``{"ptb_s3": "compact"}`` has blobs written that are due, as :func:`ptb_s3.serverless.compact`.

    Args:
        build: Makes the application: a function without arguments, or its name, as in
            ``"shop.bot:build"``. Called once.
        on_conflict: ``"merge"`` for handlers that must not run twice, as
            :func:`ptb_s3.serverless.deliver` takes it.

    Returns:
        Function of event and context that returns ``{"statusCode": …}``. Telegram's secret is
        looked for first, and an event without it is answered 401 and nothing else of it is read.

    Raises:
        SettingsError: A variable is missing or cannot be used, or ``build`` makes no application
            with an :class:`ptb_s3.S3Persistence`.
    """
    # One loop for all invocations: a new one, and with it new connections, would cost each of them
    # ten times the CPU. Connections that did not outlive a freeze are opened anew.
    runner = asyncio.Runner()
    with collector_paused():
        from ptb_s3.hosts._endpoint import Endpoint  # noqa: PLC0415 - PTB is imported here, too

        endpoint = Endpoint(build, on_conflict)
        begin_ahead(lambda: runner.run(endpoint.begin_ahead(LIMIT)))

    def handler(event: dict[str, Any], context: Context) -> dict[str, Any]:
        return {"statusCode": int(runner.run(_status(endpoint, event, context)))}

    return handler


async def _status(endpoint: Endpoint, event: dict[str, Any], context: Context) -> HTTPStatus:
    if event == COMPACT:  # nothing that comes by the URL: that has a context
        return await endpoint.compact(_within(context))
    if _is_schedule(event):
        return await endpoint.run_due(_within(context))
    if not endpoint.admits(_header(event, endpoint.header)):
        return endpoint.refuse(HTTPStatus.UNAUTHORIZED)
    return await endpoint.take(_body(event), _within(context))


def _within(context: Context) -> float:
    """Return the seconds that an invocation may take."""
    return context.get_remaining_time_in_millis() / 1000 - RESERVE


def _is_schedule(event: dict[str, Any]) -> bool:
    """Tell whether an event is a schedule's. One of HTTP, by whichever way, has a context of it.

    Those of EventBridge's rules are as its user guide shows them ("Scheduled Event").
    """
    if "requestContext" in event or "headers" in event:
        return False
    kind = event.get("source"), event.get("detail-type")
    return event == RUN_DUE or kind == ("aws.events", "Scheduled Event")


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
