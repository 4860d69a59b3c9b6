"""Client of AWS KMS: makes data keys and unwraps them. It lies here, where botocore's door is.

Rules, beside those of `requester`:

* **No answer is logged.** botocore logs the body of each at level DEBUG, and a bot may have turned
  that on: here, the body is a key.
* **Each request names its key**, and the context that all of ours have: KMS unwraps nothing that
  was made by another key, or for another purpose.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from contextvars import ContextVar
from typing import Final, NamedTuple

from ptb_s3._storage.answers import NotSentError
from ptb_s3._storage.client import Untyped, prepared
from ptb_s3._storage.kms_answers import (
    DECRYPT,
    GENERATE,
    WRONG_CIPHERTEXT,
    Request,
    to_error,
    to_unanswered,
)
from ptb_s3._storage.link import LoopLink
from ptb_s3._storage.retries import ATTEMPTS, BACKOFF
from ptb_s3._storage.threads import Worker
from ptb_s3.errors import SettingsError

CONTEXT: Final = {"ptb-s3": "1"}
"""Encryption context of each request: a key's policy can ask for it (kms:EncryptionContext:ptb-s3).

It names neither bucket nor prefix, so that a bucket may be copied or renamed (FORMAT.md).
"""

_TIMEOUTS: Final[Mapping[str, float]] = {"connect_timeout": 3.0, "read_timeout": 4.0}
"""Seconds for each attempt, as the storage's client has them."""
_PATIENCE = ATTEMPTS * (sum(_TIMEOUTS.values()) + BACKOFF)
"""Seconds for a request with all its attempts."""

_ASKING: ContextVar[bool] = ContextVar("ptb_s3_kms", default=False)


class MadeKey(NamedTuple):
    """Data key as KMS has just made it. What an answer lacks is None.

    Attributes:
        secret: Its bytes.
        wrapped: The same, encrypted by KMS.
        arn: ARN of the KMS key that it is wrapped with, also where an alias was asked for.
    """

    secret: bytes | None
    wrapped: bytes | None
    arn: str | None

    def __repr__(self) -> str:
        return "<MadeKey>"


class KmsClient:
    """Client of KMS in one region, opened by the first request of an event loop.

    Args:
        region_name: Region of the keys; None leaves it to the AWS settings.
        otherwise: Region where these give none.
        session: An `aioboto3.Session` to take credentials from; None makes one.
    """

    def __init__(
        self, region_name: str | None, otherwise: str | None = None, session: Untyped = None
    ) -> None:
        self._region, self._otherwise, self._session = region_name, otherwise, session
        self._link = LoopLink()

    async def make_key(self, key_id: str, label: str) -> MadeKey:
        """Have KMS make a data key of 32 bytes.

        Args:
            key_id: Id, ARN or alias of the KMS key that wraps it.
            label: Name of that key in errors.

        Raises:
            PersistenceError: It does not.
        """
        answer = await self._ask(
            "generate_data_key", GENERATE, label, KeyId=key_id, KeySpec="AES_256"
        )
        # By `get`: the traceback of a KeyError would hold the answer.
        return MadeKey(*map(answer.get, ("Plaintext", "CiphertextBlob", "KeyId")))

    async def unwrap(self, key_id: str, label: str, wrapped: bytes) -> bytes | None:
        """Have KMS unwrap a data key.

        Args:
            key_id: Id or ARN of the KMS key that has wrapped it.
            label: Name of that key in errors.
            wrapped: The wrapped key, from a header that may be anybody's.

        Returns:
            The data key; None where that KMS key has not wrapped it.

        Raises:
            PersistenceError: KMS cannot be asked, or may not do it.
        """
        answer = await self._ask("decrypt", DECRYPT, label, KeyId=key_id, CiphertextBlob=wrapped)
        return None if answer is None else answer.get("Plaintext")

    async def close(self) -> None:
        """Close the connections. A later request opens others."""
        await self._link.close()

    async def _ask(self, operation: str, action: str, label: str, **request: object) -> Untyped:
        """Send a request, and return the reply, or None where a ciphertext is another key's."""
        asked = Request(action, label, self._region or "")
        async with self._using(asked) as client:
            asked = asked._replace(region=client.meta.region_name)
            answering = _ASKING.set(True)
            try:
                async with asyncio.timeout(_PATIENCE):
                    return await getattr(client, operation)(EncryptionContext=CONTEXT, **request)
            except Exception as exc:
                failure = _failure(asked, exc, client.meta.endpoint_url)
                if failure is exc:
                    raise
            finally:
                _ASKING.reset(answering)
        # Out here, the new error has no context: the old one may hold the request.
        if failure is not None:
            raise failure
        return None

    @asynccontextmanager
    async def _using(self, asked: Request) -> AsyncIterator[Untyped]:
        """Lend the client of the running loop."""
        lent = self._link.using(self._open, lambda _: None, self._credentials)
        async with AsyncExitStack() as stack:
            try:
                client = await stack.enter_async_context(lent)
            except Exception as exc:
                failure = to_unanswered(asked, NotSentError(exc), "KMS")
                if failure is None:
                    raise
                raise failure from None  # its text may hold the request
            yield client

    async def _credentials(self) -> Untyped:
        return await self._session.get_credentials()

    async def _open(self) -> Untyped:
        """Return a new client, as a context manager. The slow part of it runs in a thread."""
        _silence()
        options = {
            **_TIMEOUTS,
            "retries": {"mode": "standard", "total_max_attempts": ATTEMPTS},
        }
        self._session, config = await Worker("ptb-s3-kms")(
            prepared, self._session, options, signed=True, service="kms"
        )
        region = self._region or self._session.region_name or self._otherwise
        if not region:
            raise SettingsError(
                "PTB_S3_KMS_KEY_ID does not say which region the key is in. Give the key's ARN, or "
                "set AWS_REGION."
            )
        return self._session.client("kms", region_name=region, config=config)


def _failure(asked: Request, exc: Exception, endpoint: str) -> Exception | None:
    """Return the error that an exception stands for, or None for a ciphertext of another key."""
    response = getattr(exc, "response", None)
    if not isinstance(response, dict):  # which botocore's error for a refusal has
        return to_unanswered(asked, exc, endpoint) or exc
    error = response.get("Error", {})
    code = str(error.get("Code", ""))
    if code in WRONG_CIPHERTEXT and asked.action == DECRYPT:
        return None
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return to_error(asked, code, status, str(error.get("Message", "")))


class _Silence(logging.Filter):
    """Filter that drops what botocore logs of KMS's answers: their bodies are keys."""

    def filter(self, record: logging.LogRecord) -> bool:  # noqa: ARG002 - logging's
        """Drop a record while KMS answers."""
        return not _ASKING.get()


_SILENCE: Final = _Silence()


def _silence() -> None:
    """Keep botocore's parsers from logging KMS's answers: the filter is added but once."""
    for name in ("botocore.parsers", "aiobotocore.parsers"):
        logging.getLogger(name).addFilter(_SILENCE)
