"""S3 clients: the only importer of aioboto3, at first use, and how clients are set up.

aioboto3 does the waiting: retries with jitter and a quota are botocore's mode "standard", extended
by the one answer that it does not know to be weather (409).
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, contextmanager, suppress
from contextvars import ContextVar
from typing import Any, TypeAlias

from ptb_s3._storage.answers import NotSentError, Question, to_failure
from ptb_s3._storage.credentials import Lasting

Untyped: TypeAlias = Any
"""Anything that aioboto3 hands out: it ships no types."""

ATTEMPTS = 3
"""Attempts at a request at most, each of them one request at the server (see `_storage.transport`).

botocore's default of 5 outlasts any SIGTERM window. A client whose retry quota is used up, after
some fifty failed calls, makes one attempt at each until others succeed.
"""
BACKOFF = 2.0
"""Seconds: the longest that botocore waits before the third attempt."""
_POOL = 32
"""Connections. A cold start reads six objects at once; `doctor` lets 32 writers race."""
_DEEPEST = 3
"""Calls of HeadBucket within each other that a redirect may lead to."""
_DEPTH: ContextVar[int] = ContextVar("ptb_s3_head_bucket", default=0)
_CONFLICTS = frozenset({"ConditionalRequestConflict", "OperationAborted"})
_WAIT = 0.25
"""Seconds: upper bound of the first wait of our own; it doubles with each further one."""


_GRACE = 0.25
"""Seconds to close a client that is still in use, once nobody waits for that any more."""


class Link:
    """A client, the loop that it is bound to, and how many use it."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self._lock = asyncio.Lock()
        self._users = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._stack = AsyncExitStack()
        self._client: Any = None
        self._credentials: Lasting | None = None

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Have whoever closes the client wait: it is being opened, or a request is under way."""
        self._users += 1
        self._idle.clear()
        try:
            yield
        finally:
            self._users -= 1
            if not self._users:
                self._idle.set()

    async def client(
        self,
        make: Callable[[], Awaitable[Any]],
        ready: Callable[[Any], None],
        credentials: Callable[[], Awaitable[Any]] | None,
    ) -> Untyped:
        """Return the client; open it if nobody has, or if whoever began has failed.

        Args:
            make: Makes it.
            ready: Is told of it before its first request; may refuse it.
            credentials: Looks for credentials where it has none; None: it needs none.
        """
        async with self._lock:
            if self._client is None:
                client = await self._stack.enter_async_context(await make())
                ready(client)
                if credentials is not None:
                    signer = client._request_signer  # noqa: SLF001 - there is no public way to it
                    found = signer._credentials  # noqa: SLF001 - as above
                    self._credentials = signer._credentials = Lasting(found, credentials)  # noqa: SLF001
                client.meta.events.register("needs-retry.s3.PutObject", _retry_conflict)
                client.meta.events.register("before-sign.s3.PutObject", _expect_nothing)
                client.meta.events.register("before-call.s3.HeadBucket", _descend)
                client.meta.events.register("after-call.s3.HeadBucket", _ascend)
                client.meta.events.register("after-call-error.s3.HeadBucket", _ascend)
                self._client = client
            return self._client

    async def close(self) -> None:
        """Close the client when nobody uses it any more, and at once if this is cancelled.

        That of a loop which was closed at once, and that of another which lives on, not at all.
        """
        if self.loop is asyncio.get_running_loop():
            if self._credentials is not None:
                self._credentials.stop()
            try:
                await self._idle.wait()
            except asyncio.CancelledError:
                with suppress(TimeoutError):
                    async with asyncio.timeout(_GRACE):
                        await self._stack.aclose()
                raise
        elif not self.loop.is_closed():
            return
        await self._stack.aclose()


def prepared(session: Untyped, options: dict[str, Any], *, signed: bool) -> tuple[Untyped, Untyped]:
    """Import, make a session and read the service's model: a second of work, for a thread to do."""
    import aioboto3  # noqa: PLC0415 - takes longer to import than all else together
    from aiobotocore.session import get_session  # noqa: PLC0415 - as above
    from botocore import UNSIGNED  # noqa: PLC0415 - as above

    from ptb_s3._storage.resolver import Resolver  # noqa: PLC0415 - it imports aiohttp
    from ptb_s3._storage.transport import Config  # noqa: PLC0415 - as above

    if session is None:
        core = get_session()
        _take_empty_for_unset(core)  # first: all else looks at the profile
        core.set_default_client_config(Config())
        loader = core.get_component("data_loader")  # keeps what it has read
        for model in ("service-2", "endpoint-rule-set-1"):
            loader.load_service_model("s3", model)
        for data in ("endpoints", "partitions", "sdk-default-configuration", "_retry"):
            loader.load_data(data)
        session = aioboto3.Session(botocore_session=core)
    else:
        _take_empty_for_unset(session._session)  # noqa: SLF001 - aioboto3 has no public way to it
    # Said, so that it goes for signed addresses, too: botocore's default for those is version 2.
    version = "s3v4" if signed else UNSIGNED
    names = {"resolver": Resolver()}
    return session, Config(names, **options, signature_version=version)


def _take_empty_for_unset(core: Untyped) -> None:
    """Have a session see no empty setting and no line end, such as compose files hand on."""
    from botocore.configprovider import (  # noqa: PLC0415 - not before the first call
        BOTOCORE_DEFAUT_SESSION_VARIABLES as VARIABLES,
    )

    store = core.get_component("config_store")
    for name, (_, _, unset, _) in VARIABLES.items():  # the profile first: it says where to look
        with suppress(ValueError):  # a number that is none, which is told where it is needed
            value = store.get_config_variable(name)
            if isinstance(value, str) and value != value.strip():
                store.set_config_variable(name, value.strip())
            if isinstance(value, str) and not value.strip():
                store.set_config_variable(name, unset)


def options(attempts: int, timeouts: dict[str, float], style: str) -> dict[str, Any]:
    """Return the arguments of botocore's `Config`.

    Args:
        attempts: How often a request is sent at most.
        timeouts: ``connect_timeout`` and ``read_timeout``.
        style: Where the bucket's name goes; ``auto``: where the AWS configuration says, else into
            the path, but for AWS itself.
    """
    s3: dict[str, Any] = {"payload_signing_enabled": False}
    if style != "auto":
        s3["addressing_style"] = style
    return {
        **timeouts,
        "retries": {"mode": "standard", "total_max_attempts": attempts},
        "max_pool_connections": _POOL,
        # Content-MD5 guards the way there, authenticated encryption all of it. botocore's own
        # checksums would be computed on the loop, and not every server knows them.
        "request_checksum_calculation": "when_required",
        "response_checksum_validation": "when_required",
        "s3": s3,
    }


def _retry_conflict(
    response: tuple[Any, dict[str, Any]] | None, attempts: int, **_: object
) -> float | None:
    """Tell botocore to repeat a PUT after 409, as S3 asks; return the seconds to wait, or None.

    Amazon S3 User Guide, "Add preconditions to S3 operations": on a 409 Conflict, retry the upload.
    """
    if response is None or response[1].get("Error", {}).get("Code") not in _CONFLICTS:
        return None
    return jitter(attempts) if attempts < ATTEMPTS else None


def _descend(**_: object) -> None:
    """End botocore's search for a region: each redirect of it makes it ask again, without end.

    Python's own limit would end it as well, but anywhere, and leave a connection open.
    """
    if _DEPTH.get() >= _DEEPEST:
        raise RecursionError
    _DEPTH.set(_DEPTH.get() + 1)


def _ascend(**_: object) -> None:
    _DEPTH.set(_DEPTH.get() - 1)


def jitter(attempt: int) -> float:
    """Return seconds to wait after that attempt, counted from 1."""
    return random.uniform(0, _WAIT * 2 ** (attempt - 1))  # noqa: S311 - to spread, not to hide


def _expect_nothing(request: Untyped, **_: object) -> None:
    """Have a body sent at once: aiohttp waits for "100 Continue" without any timeout."""
    del request.headers["Expect"]


def endpoint_of(variables: Mapping[str, str]) -> str | None:
    """Return the endpoint that a file's ``AWS_*`` variables name, if they do."""
    return variables.get("AWS_ENDPOINT_URL_S3") or variables.get("AWS_ENDPOINT_URL")


def session_of(variables: Mapping[str, str], bucket: str) -> Untyped:
    """Return a session with the credentials of a file's ``AWS_*`` variables.

    Args:
        variables: The variables.
        bucket: What the session is for, for the error's text.

    Raises:
        PersistenceError: They name a profile that is not there.
    """
    import aioboto3  # noqa: PLC0415 - takes longer to import than telegram.ext
    from botocore.exceptions import BotoCoreError  # noqa: PLC0415 - as above

    try:
        return aioboto3.Session(
            aws_access_key_id=variables.get("AWS_ACCESS_KEY_ID"),
            aws_secret_access_key=variables.get("AWS_SECRET_ACCESS_KEY"),
            aws_session_token=variables.get("AWS_SESSION_TOKEN"),
            region_name=variables.get("AWS_DEFAULT_REGION"),
            profile_name=variables.get("AWS_PROFILE"),
        )
    except BotoCoreError as exc:
        failure = to_failure(Question("look at", bucket, ""), NotSentError(exc), "")
        raise (failure or exc) from None
