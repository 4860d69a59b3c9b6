"""`Store` on S3-compatible storage: the only importer of aioboto3 and botocore, at first use.

aioboto3 does the waiting: retries with jitter and a quota are botocore's mode "standard", extended
by the one answer that it does not know to be weather (409). What an answer means is decided in
`_s3_answers`; here stand the requests and what can go wrong before there is an answer.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, Self, TypeAlias
from urllib.parse import urlsplit

from ptb_s3._arguments import check_prefix
from ptb_s3._s3_answers import (
    Answer,
    Question,
    means_absent,
    to_error,
    to_failure,
    version_of,
)
from ptb_s3._s3_bodies import read, readied
from ptb_s3._s3_glance import Glance
from ptb_s3._store import Fetched, Into, Version, Written, hand_over
from ptb_s3.errors import SettingsError, StorageUnavailableError

if TYPE_CHECKING:
    import aioboto3

_LOGGER = logging.getLogger("ptb_s3")
_Untyped: TypeAlias = Any  # what aioboto3 hands out: it ships no types

_ATTEMPTS = 3
"""Attempts at a request, all told. botocore's default of 5 outlasts any SIGTERM window."""
_BACKOFF = 2.0
"""Seconds: the longest that botocore waits before the third attempt."""
_SLOWEST = 2**16
"""Bytes a second. aiohttp bounds the wait for a reply, but not the sending before it."""
_POOL = 32
"""Connections. A cold start reads six objects at once; `doctor` lets 32 writers race."""
_LONG = 30.0
"""Seconds to wait for an answer where the request is not to be sent twice."""
_DEFAULT_REGION = "us-east-1"
"""What servers other than AWS take for theirs; the signature needs one."""
_DELETED_AT_ONCE = 1000
"""Versions: the most that one request takes (Amazon S3 API Reference, "DeleteObjects")."""
_GONE_ALREADY = frozenset({"NoSuchKey", "NoSuchVersion"})
_CONFLICTS = frozenset({"ConditionalRequestConflict", "OperationAborted"})
_WAIT = 0.25
"""Seconds: upper bound of the first wait of our own; it doubles with each further one."""
_RANGE_NOT_SATISFIABLE = 416
_NOT_S3 = Answer("200", 200)
"""What we make of a success without what S3 adds to it: some web server said it."""


class Access(NamedTuple):
    """How a bucket is reached.

    Attributes:
        endpoint: URL of the S3 API.
        region: The one that requests are signed for.
        credentials: How botocore came by them, such as ``env``; None: there are none.
    """

    endpoint: str
    region: str
    credentials: str | None


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
        anonymous: Ask without credentials, as anybody could.
        connect_timeout: Seconds to wait for a connection, in each attempt.
        read_timeout: Seconds to wait for the next bytes of an answer, in each attempt.
        attempts: How often a request is sent at most, if there is no answer to it; None: thrice.

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
        anonymous: bool = False,
        connect_timeout: float = 3.0,
        read_timeout: float = 4.0,
        attempts: int | None = None,
    ) -> None:
        check_prefix(prefix)
        _check_endpoint(endpoint_url)
        self.bucket = bucket
        self.prefix = prefix
        self.endpoint_url = endpoint_url
        self.region_name = region_name
        self._owner = (
            {"ExpectedBucketOwner": expected_bucket_owner} if expected_bucket_owner else {}
        )
        self._signed = not anonymous
        self._timeouts = {"connect_timeout": connect_timeout, "read_timeout": read_timeout}
        self._attempts = attempts or _ATTEMPTS
        self._patience = _ATTEMPTS * (connect_timeout + read_timeout + _BACKOFF)
        self._session: Any = session
        self._link: _Link | None = None
        self._glance = Glance(bucket, expected_bucket_owner)

    @property
    def expected_owner(self) -> str | None:
        """Id of the AWS account that the bucket must belong to, if there is one."""
        return self._owner.get("ExpectedBucketOwner")

    def __repr__(self) -> str:
        if not hasattr(self, "_glance"):  # an argument was refused; a debugger may still look
            return f"<{type(self).__name__} refused>"
        return (
            f"{type(self).__name__}({self.bucket!r}, {self.prefix!r}, "
            f"endpoint_url={self.endpoint_url!r}, region_name={self.region_name!r})"
        )

    async def get(
        self,
        name: str,
        *,
        version_id: str | None = None,
        first_bytes: int | None = None,
        unless: str | None = None,
        into: Into | None = None,
    ) -> Fetched | None:
        """See `Store.get`. A version id that the storage knows nothing of gives None, too.

        Raises:
            StorageError: The object is larger than any that was ever written: over 5 GiB.
        """
        question = Question("read", self.bucket, self.prefix + name, version=version_id is not None)
        request: dict[str, Any] = {"Key": question.key}
        if unless is not None:
            found = await self._get_unless(question, unless)
            if found is not None:
                return found
        if version_id is not None:
            request["VersionId"] = version_id
        if first_bytes is not None:
            request["Range"] = f"bytes=0-{max(first_bytes, 1) - 1}"
        fetched = await self._get(question, request, into)
        return fetched and fetched._replace(body=fetched.body[:first_bytes])

    async def put(self, name: str, body: bytes, *, if_match: str | None) -> Written:
        """See `Store.put`.

        An attempt whose reply was lost is made again, and that one may be refused because the first
        one succeeded: after `PreconditionFailed`, read the object to know whose it is.
        """
        condition = {"IfNoneMatch": "*"} if if_match is None else {"IfMatch": if_match}
        return await self._put(name, body, condition)

    async def overwrite(self, name: str, body: bytes) -> Written:
        """See `Store.overwrite`."""
        return await self._put(name, body, {})

    async def place(self) -> str:
        """See `Store.place`: the address of the S3 API, and the bucket."""
        return f"{(await self._client()).meta.endpoint_url}/{self.bucket}"

    async def _put(self, name: str, body: bytes, condition: dict[str, str]) -> Written:
        key, if_match = self.prefix + name, "IfMatch" in condition
        question = Question("write", self.bucket, key, if_match=if_match)
        stream, digest = await asyncio.to_thread(readied, body)
        response = await self._ask(
            question,
            "put_object",
            within=self._patience + len(body) / _SLOWEST,
            Key=question.key,
            Body=stream,
            ContentLength=len(body),
            ContentMD5=digest,
            ContentType="application/octet-stream",
            **condition,
        )
        if isinstance(response, Answer):
            raise to_error(question, response)
        return Written(_etag(question, response), version_of(response))

    async def versions(self, name: str) -> AsyncIterator[Version]:
        """See `Store.versions`. Without versioning there is one, with the id ``null``."""
        question = Question("list", self.bucket, self.prefix + name)
        markers: dict[str, Any] = {}
        while True:
            page = await self._ask(question, "list_object_versions", Prefix=question.key, **markers)
            if isinstance(page, Answer):
                raise to_error(question, page)
            if "Name" not in page:
                raise to_error(question, _NOT_S3)
            for entry in page.get("Versions", []):
                if entry["Key"] == question.key:
                    yield Version(
                        entry["VersionId"],
                        entry["LastModified"],
                        entry["Size"],
                        bool(entry.get("IsLatest")),
                    )
            if not page.get("IsTruncated"):
                return
            markers = {
                marker: page[f"Next{marker}"]
                for marker in ("KeyMarker", "VersionIdMarker")
                if page.get(f"Next{marker}")
            }

    async def delete(self, name: str, version_ids: Sequence[str]) -> None:
        """See `Archive.delete`."""
        question = Question("delete versions of", self.bucket, self.prefix + name)
        for at in range(0, len(version_ids), _DELETED_AT_ONCE):
            batch = version_ids[at : at + _DELETED_AT_ONCE]
            response = await self._ask(
                question,
                "delete_objects",
                Delete={
                    "Objects": [{"Key": question.key, "VersionId": id_} for id_ in batch],
                    "Quiet": True,
                },
            )
            if isinstance(response, Answer):
                raise to_error(question, response)
            for refused in response.get("Errors", []):
                if refused.get("Code") not in _GONE_ALREADY:
                    raise to_error(question, Answer(str(refused.get("Code", "")), 403))

    async def ask(
        self, operation: str, *, key: str = "", **request: object
    ) -> dict[str, Any] | Answer:
        """Send a request that is none of `Store`'s, such as what looks at the bucket itself.

        Args:
            operation: The method of botocore's client.
            key: The object's full key, where one is meant.
            request: Its other arguments, but for those that say which bucket.

        Returns:
            botocore's view of the reply, or an `Answer` where the server said no.

        Raises:
            PersistenceError: There was no answer.
        """
        keyed = {"Key": key} if key else {}
        question = Question("look at", self.bucket, key)
        answer: dict[str, Any] | Answer = await self._ask(
            question, operation, self._patience, **keyed, **request
        )
        return answer

    async def access(self) -> Access:
        """Return how the bucket is reached, without asking it anything.

        Raises:
            PersistenceError: It cannot be told.
        """
        try:
            client = await self._client()
            credentials = await self._session.get_credentials()
        except Exception as exc:
            failure = to_failure(Question("look at", self.bucket, ""), exc, self._whom)
            if failure is None:
                raise
            raise failure from None
        method = None if credentials is None else str(credentials.method)
        return Access(client.meta.endpoint_url, client.meta.region_name, method)

    def alike(
        self, *, anonymous: bool = False, any_owner: bool = False, once: bool = False
    ) -> Self:
        """Return a store of the same place that asks in another way. Close it as well.

        Args:
            anonymous: It uses no credentials, so that it is told what anybody is told.
            any_owner: It does not mind whose bucket it is.
            once: It waits for an answer rather than ask again; only a 409 is one that it does not
                take for the last word.
        """
        timeouts = {**self._timeouts, **({"read_timeout": _LONG} if once else {})}
        return type(self)(
            self.bucket,
            self.prefix,
            endpoint_url=self.endpoint_url,
            region_name=self.region_name,
            session=self._session,
            expected_bucket_owner=None if any_owner else self.expected_owner,
            anonymous=anonymous,
            attempts=1 if once else None,
            **timeouts,
        )

    async def close(self) -> None:
        """See `Store.close`."""
        self._glance.forget()
        link, self._link = self._link, None
        if link is not None:
            await link.close()

    async def _get(
        self, question: Question, request: dict[str, Any], into: Into | None
    ) -> Fetched | None:
        """Read an object; again where its body breaks off, which botocore does not see."""
        attempt = 1
        while True:
            response = await self._ask(question, "get_object", **request)
            if isinstance(response, Answer):
                if means_absent(question, response):
                    return None
                if response.status == _RANGE_NOT_SATISFIABLE and "Range" in request:
                    request = {key: value for key, value in request.items() if key != "Range"}
                    continue  # the object is empty: it has no first byte, but an ETag
                raise to_error(question, response)
            early = into if response.get("ContentLength") else None  # its size is known
            try:
                body = await read(question, response, early)
            except StorageUnavailableError:
                if attempt == _ATTEMPTS:
                    raise
                await asyncio.sleep(_jitter(attempt))
                attempt += 1
            else:
                fetched = Fetched(body, _etag(question, response), version_of(response))
                return fetched if early else hand_over(fetched, into)

    async def _get_unless(self, question: Question, etag: str) -> Fetched | None:
        """Read an object unless it has this ETag, the short way; None: ask in the usual one."""
        try:
            client = await self._client()
            async with asyncio.timeout(self._patience):
                return await self._glance.ask(client, question.key, etag, partial(read, question))
        except Exception as exc:  # noqa: BLE001 - it is only a short cut
            _LOGGER.debug("Could not ask in the short way: %s", type(exc).__name__)
            return None

    async def _ask(
        self, question: Question, operation: str, within: float | None = None, **request: object
    ) -> _Untyped:
        """Send one request; return botocore's view of the reply, or `Answer` for an error answer.

        Args:
            question: What it asks, for the error's text.
            operation: The client's method.
            within: Seconds for all attempts together; None leaves it to the timeouts of each.
            request: Its arguments, other than those that say which bucket.

        Raises:
            PersistenceError: There was no answer.
        """
        try:
            client = await self._client()
            call = getattr(client, operation)
            async with asyncio.timeout(within):
                return await call(Bucket=self.bucket, **self._owner, **request)
        except Exception as exc:
            answer = _error_answer(exc)
            if answer is not None:
                return answer
            failure = to_failure(question, exc, self._whom)
            if failure is None:
                raise
            raise failure from None  # its text may hold the request

    @property
    def _whom(self) -> str:
        return self.endpoint_url or "AWS S3"

    async def _client(self) -> _Untyped:
        """Return the client of the running loop."""
        link = self._link
        if link is None or link.loop is not asyncio.get_running_loop():
            stale, self._link = link, _Link()
            link = self._link
            if stale is not None:
                await stale.close()
        return await link.client(self._open)

    async def _open(self) -> _Untyped:
        """Return a new client, as a context manager. What is slow about it is done in a thread."""
        self._session, config = await asyncio.to_thread(
            _prepared, self._session, self._options(), signed=self._signed
        )
        region = self.region_name or self._session.region_name
        if region is None and self.endpoint_url is not None:
            region = _DEFAULT_REGION
        return self._session.client(
            "s3", endpoint_url=self.endpoint_url, region_name=region, config=config
        )

    def _options(self) -> dict[str, Any]:
        """Return the arguments of botocore's `Config`."""
        s3: dict[str, Any] = {"payload_signing_enabled": False}
        if self.endpoint_url is not None:
            s3["addressing_style"] = "path"  # a name in front of minio:9000 resolves nowhere
        return {
            **self._timeouts,
            "retries": {"mode": "standard", "total_max_attempts": self._attempts},
            "max_pool_connections": _POOL,
            # Content-MD5 guards the way there, authenticated encryption all of it. botocore's own
            # checksums would be computed on the loop, and not every server knows them.
            "request_checksum_calculation": "when_required",
            "response_checksum_validation": "when_required",
            "s3": s3,
        }


class _Link:
    """A client, and the loop that it is bound to."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self._lock = asyncio.Lock()
        self._stack = AsyncExitStack()
        self._client: Any = None

    async def client(self, make: Callable[[], Awaitable[Any]]) -> _Untyped:
        """Return the client; open it if nobody has, or if whoever began has failed."""
        async with self._lock:
            if self._client is None:
                client = await self._stack.enter_async_context(await make())
                client.meta.events.register("needs-retry.s3.PutObject", _retry_conflict)
                client.meta.events.register("before-sign.s3.PutObject", _expect_nothing)
                self._client = client
            return self._client

    async def close(self) -> None:
        """Close the client, also after its loop has been; leave that of a loop that lives on."""
        if self.loop.is_closed() or self.loop is asyncio.get_running_loop():
            await self._stack.aclose()


def _prepared(
    session: _Untyped, options: dict[str, Any], *, signed: bool
) -> tuple[_Untyped, _Untyped]:
    """Import, make a session and read the service's model: a second of work, for a thread to do."""
    import aioboto3  # noqa: PLC0415 - takes longer to import than all else together
    from aiobotocore.config import AioConfig  # noqa: PLC0415 - as above
    from aiobotocore.session import get_session  # noqa: PLC0415 - as above
    from botocore import UNSIGNED  # noqa: PLC0415 - as above

    if session is None:
        core = get_session()
        loader = core.get_component("data_loader")  # keeps what it has read
        for model in ("service-2", "endpoint-rule-set-1"):
            loader.load_service_model("s3", model)
        for data in ("endpoints", "partitions", "sdk-default-configuration", "_retry"):
            loader.load_data(data)
        session = aioboto3.Session(botocore_session=core)
    # Said, so that it goes for signed addresses, too: botocore's default for those is version 2.
    return session, AioConfig(**options, signature_version="s3v4" if signed else UNSIGNED)


def _error_answer(exc: Exception) -> Answer | None:
    """Return what the server said, where the exception is that it said something."""
    from botocore.exceptions import ClientError  # noqa: PLC0415 - not before the first call

    if not isinstance(exc, ClientError):
        return None
    metadata = exc.response.get("ResponseMetadata", {})
    error = exc.response.get("Error", {})
    headers = metadata.get("HTTPHeaders", {})
    return Answer(
        str(error.get("Code", "")),
        metadata.get("HTTPStatusCode", 0),
        str(headers.get("x-amz-bucket-region") or error.get("Region") or ""),
        str(headers.get("date") or ""),
    )


def _retry_conflict(
    response: tuple[Any, dict[str, Any]] | None, attempts: int, **_: object
) -> float | None:
    """Tell botocore to repeat a PUT after 409, as S3 asks; return the seconds to wait, or None.

    Amazon S3 User Guide, "Add preconditions to S3 operations": on a 409 Conflict, retry the upload.
    """
    if response is None or response[1].get("Error", {}).get("Code") not in _CONFLICTS:
        return None
    return _jitter(attempts) if attempts < _ATTEMPTS else None


def _jitter(attempt: int) -> float:
    """Return seconds to wait after that attempt, counted from 1."""
    return random.uniform(0, _WAIT * 2 ** (attempt - 1))  # noqa: S311 - to spread, not to hide


def _expect_nothing(request: _Untyped, **_: object) -> None:
    """Have a body sent at once: aiohttp waits for "100 Continue" without any timeout."""
    del request.headers["Expect"]


def _etag(question: Question, response: dict[str, Any]) -> str:
    """Return the ETag. A web server that is none of S3's says 200 to many things, but no ETag."""
    etag = response.get("ETag")
    if not etag:
        raise to_error(question, _NOT_S3)
    return str(etag)


def _check_endpoint(endpoint_url: str | None) -> None:
    """Refuse what is no address of a server, and one with a password: it would end up in logs."""
    if endpoint_url is None:
        return
    parts = urlsplit(endpoint_url)
    if parts.scheme not in {"http", "https"} or not parts.hostname or "@" in parts.netloc:
        raise SettingsError(
            "The endpoint must be the address of an S3 API, such as https://s3.example.com, "
            "without a user name or password. Mend PTB_S3_ENDPOINT_URL."
        )
