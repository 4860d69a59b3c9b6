"""`Store` on S3-compatible storage: the only importer of aioboto3 and botocore, at first use.

aioboto3 does the waiting: retries with jitter and a quota are botocore's mode "standard", extended
by the one answer that it does not know to be weather (409). What an answer means is decided in
`_s3_answers`; here stand the requests and what can go wrong before there is an answer.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import random
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ptb_s3._s3_answers import (
    MAY_HAVE_TAKEN_EFFECT,
    Answer,
    Question,
    means_absent,
    to_error,
)
from ptb_s3._store import Fetched, Version, Written
from ptb_s3.errors import (
    AccessDeniedError,
    PersistenceError,
    SettingsError,
    StorageError,
    StorageUnavailableError,
)

if TYPE_CHECKING:
    import aioboto3

MAX_OBJECT = 5 * 2**30
"""Bytes. The most that one PUT takes (Amazon S3 User Guide, "Uploading objects"), so the most to read."""

_ATTEMPTS = 3
"""Attempts at a request, all told. botocore's default of 5 outlasts any SIGTERM window."""
_PIECE = 2**20
_POOL = 16
"""Connections. A cold start reads six objects at once."""
_DEFAULT_REGION = "us-east-1"
"""What servers other than AWS take for theirs; the signature needs one."""
_CONFLICTS = frozenset({"ConditionalRequestConflict", "OperationAborted"})
_CONFLICT_WAIT = 0.25
"""Seconds: upper bound of the first wait after a 409; doubles with each further one."""


class S3Store:
    """Objects under one prefix of one bucket. The bucket must exist; it is never created.

    Nothing is imported or opened before the first call. A client belongs to the event loop that it
    was opened on: on another loop (`asyncio.run` for each invocation), a new one is opened. Use it
    on one loop at a time.

    Args:
        bucket: Name of the bucket.
        prefix: Put in front of every object's name, as it is.
        endpoint_url: Address of the S3 API; None is AWS (or what ``AWS_ENDPOINT_URL_S3`` says).
        region_name: The bucket's region; None leaves it to the AWS settings, and to ``us-east-1``
            where there are none and `endpoint_url` is given.
        session: An `aioboto3.Session` to take credentials from; None makes one.
        expected_bucket_owner: Id of the AWS account that the bucket must belong to.
        connect_timeout: Seconds to wait for a connection, in each of three attempts.
        read_timeout: Seconds to wait for the next bytes of an answer, in each of three attempts.

    Raises:
        SettingsError: The endpoint is not an http or https address, or holds a password.
    """

    def __init__(
        self,
        bucket: str,
        prefix: str = "",
        *,
        endpoint_url: str | None = None,
        region_name: str | None = None,
        session: aioboto3.Session | None = None,
        expected_bucket_owner: str | None = None,
        connect_timeout: float = 3.0,
        read_timeout: float = 10.0,
    ) -> None:
        _check_endpoint(endpoint_url)
        self.bucket = bucket
        self.prefix = prefix
        self.endpoint_url = endpoint_url
        self.region_name = region_name
        self._owner = {"ExpectedBucketOwner": expected_bucket_owner} if expected_bucket_owner else {}
        self._timeouts = {"connect_timeout": connect_timeout, "read_timeout": read_timeout}
        self._session: Any = session
        self._link: _Link | None = None

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({self.bucket!r}, {self.prefix!r}, "
            f"endpoint_url={self.endpoint_url!r}, region_name={self.region_name!r})"
        )

    async def get(
        self, name: str, *, version_id: str | None = None, first_bytes: int | None = None
    ) -> Fetched | None:
        """See `Store.get`. A version id that the storage knows nothing of gives None, too.

        Raises:
            StorageError: The object is larger than any that was ever written: over 5 GiB.
        """
        question = Question("read", self.bucket, self.prefix + name, version=version_id is not None)
        request = {"VersionId": version_id} if version_id is not None else {}
        if first_bytes is not None:
            request["Range"] = f"bytes=0-{max(first_bytes, 1) - 1}"
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                return await self._get(question, request, first_bytes)
            except _BodyCutError as exc:
                # botocore retries up to the headers; a body that breaks off is weather all the same.
                if attempt == _ATTEMPTS:
                    raise self._unanswered(question, "The answer broke off.") from exc
                await asyncio.sleep(_jitter(attempt))
        raise AssertionError  # the last attempt returns or raises

    async def put(self, name: str, body: bytes | bytearray, *, if_match: str | None) -> Written:
        """See `Store.put`.

        An attempt whose reply was lost is tried again, and the second one may then fail on the
        first one's success: after `PreconditionFailed`, read the object to know whose it is.
        """
        question = Question("write", self.bucket, self.prefix + name, if_match=if_match is not None)
        condition = {"IfNoneMatch": "*"} if if_match is None else {"IfMatch": if_match}
        stream, digest = await asyncio.to_thread(_readied, body)
        response = await self._call(
            question,
            "put_object",
            Body=stream,
            ContentLength=len(body),
            ContentMD5=digest,
            ContentType="application/octet-stream",
            **condition,
        )
        return Written(_etag(response, question), _version_id(response))

    async def versions(self, name: str) -> AsyncIterator[Version]:
        """See `Store.versions`. In a bucket without versioning there is one, with the id ``null``."""
        key = self.prefix + name
        question = Question("list", self.bucket, key)
        markers: dict[str, str] = {}
        while True:
            page = await self._call(
                question, "list_object_versions", Prefix=key, key=False, **markers
            )
            for entry in page.get("Versions", []):
                if entry["Key"] == key:
                    yield Version(entry["VersionId"], entry["LastModified"], entry["Size"])
            markers = {
                marker: page[f"Next{marker}"]
                for marker in ("KeyMarker", "VersionIdMarker")
                if page.get(f"Next{marker}")
            }
            if not page.get("IsTruncated") or markers.get("KeyMarker", "") > key:
                return

    async def close(self) -> None:
        """See `Store.close`."""
        link, self._link = self._link, None
        if link is not None:
            await link.close()

    async def _get(
        self, question: Question, request: dict[str, str], first_bytes: int | None
    ) -> Fetched | None:
        try:
            response = await self._call(question, "get_object", **request)
        except _AbsentError:
            return None
        except _EmptyError:
            response = await self._get_whole_of_empty(question, request)
            if response is None:
                return None
        body = await _read(response, question)
        return Fetched(body[:first_bytes], _etag(response, question), _version_id(response))
