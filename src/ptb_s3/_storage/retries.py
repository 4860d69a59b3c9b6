"""Retries of requests: how often, after how long, and which habits of botocore are curbed.

botocore does the waiting: its mode "standard" retries with jitter and a quota. It is extended by
the one answer that it does not know to be transient (409), and kept from two of its habits.
"""

from __future__ import annotations

import random
from contextvars import ContextVar
from typing import Any, TypeAlias

_Untyped: TypeAlias = Any  # what aioboto3 hands out: it ships no types

ATTEMPTS = 3
"""Attempts at a request at most, each of them one request at the server (see `transport`).

botocore's default of 5 outlasts any SIGTERM window. A client whose retry quota is used up, after
some fifty failed calls, makes one attempt at each until others succeed.
"""
BACKOFF = 2.0
"""Seconds: the longest that botocore waits before the third attempt."""
_WAIT = 0.25
"""Seconds: upper bound of the first wait of our own; it doubles with each further one."""
_CONFLICTS = frozenset({"ConditionalRequestConflict", "OperationAborted"})
_DEEPEST = 3
"""Nested calls of HeadBucket that redirects may lead to."""
_DEPTH: ContextVar[int] = ContextVar("ptb_s3_head_bucket", default=0)


def jitter(attempt: int) -> float:
    """Return the seconds to wait after that attempt, counted from 1."""
    return random.uniform(0, _WAIT * 2 ** (attempt - 1))  # noqa: S311 - to spread, not to hide


def hook_into(client: _Untyped) -> None:
    """Register our retry rules with a new client of botocore's."""
    client.meta.events.register("needs-retry.s3.PutObject", _retry_conflict)
    client.meta.events.register("before-sign.s3.PutObject", _expect_nothing)
    client.meta.events.register("before-call.s3.HeadBucket", _descend)
    client.meta.events.register("after-call.s3.HeadBucket", _ascend)
    client.meta.events.register("after-call-error.s3.HeadBucket", _ascend)


def _retry_conflict(
    response: tuple[Any, dict[str, Any]] | None, attempts: int, **_: object
) -> float | None:
    """Return the seconds after which to repeat a PUT that was answered 409, or None.

    Amazon S3 User Guide, "Add preconditions to S3 operations": on a 409 Conflict, retry the upload.
    """
    if response is None or response[1].get("Error", {}).get("Code") not in _CONFLICTS:
        return None
    return jitter(attempts) if attempts < ATTEMPTS else None


def _expect_nothing(request: _Untyped, **_: object) -> None:
    """Have a body sent at once: aiohttp waits for "100 Continue" without any timeout."""
    del request.headers["Expect"]


def _descend(**_: object) -> None:
    """End botocore's search for a region, in which each redirect makes it ask again, without end.

    Python's own recursion limit would end it as well, but anywhere, and leave a connection open.
    """
    if _DEPTH.get() >= _DEEPEST:
        raise RecursionError
    _DEPTH.set(_DEPTH.get() + 1)


def _ascend(**_: object) -> None:
    _DEPTH.set(_DEPTH.get() - 1)
