"""`Store` on S3-compatible storage: the requests, and what can go wrong before there is an answer.

What an answer means is decided in `answers`; how a client is set up stands in `client`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from ptb_s3._storage.addressing import STYLES, Addressing, Style
from ptb_s3._storage.answers import (
    Answer,
    NotSentError,
    Question,
    may_mean_virtual_host,
    means_absent,
    means_virtual_host,
    moment_of,
    policy_of,
    to_error,
    to_failure,
    version_of,
)
from ptb_s3._storage.client import ATTEMPTS, BACKOFF, Link, Untyped, jitter, options, prepared
from ptb_s3._storage.conditional_get import ConditionalGet
from ptb_s3._storage.contract import (
    SLOWEST,
    Fetched,
    Lock,
    NotModified,
    Received,
    Remains,
    Sink,
    Version,
    Written,
)
from ptb_s3._storage.deletion import Deletion
from ptb_s3._storage.listing import Page, Progress, remaining
from ptb_s3._storage.place import (
    OURS,
    THEIRS,
    bucket_in_it,
    check_endpoint,
    check_prefix,
    without_label,
)
from ptb_s3._storage.streams import Deadline, Transfer, Whole, readied
from ptb_s3._storage.threads import Worker
from ptb_s3.errors import PersistenceError, SettingsError, StorageUnavailableError

if TYPE_CHECKING:
    import aioboto3

_LOGGER = logging.getLogger("ptb_s3")

_PAGE = 2**20
"""Bytes that a page of a listing, of a thousand entries, takes at most."""
_LONG = 30.0
"""Seconds to wait for an answer where the request is not to be sent twice."""
_DEFAULT_REGION = "us-east-1"
"""What servers other than AWS take for theirs; the signature needs one."""
_NEIGHBOURS = 10
"""Prefixes beside one's own that are looked at, where a new state is begun."""
_RANGE_NOT_SATISFIABLE = 416
_UNVERSIONED = "null"
"""The id that a version has where there is no versioning; replies need not name it."""
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
        addressing_style: Where the bucket's name goes: into the ``path``, in front of the host
            (``virtual``), or ``auto``: what the AWS configuration says, else found out.
        anonymous: Ask without credentials, as anybody could.
        connect_timeout: Seconds to wait for a connection, in each attempt.
        read_timeout: Seconds to wait for the next bytes of an answer, in each attempt.
        attempts: How often a request is sent at most, if there is no answer to it; None: thrice.

    Raises:
        SettingsError: The endpoint is not an http or https address, or holds a password or the
            bucket; the style is none; or the prefix is not one that every storage takes as it is.
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
        addressing_style: Style = "auto",
        anonymous: bool = False,
        connect_timeout: float = 3.0,
        read_timeout: float = 4.0,
        attempts: int | None = None,
    ) -> None:
        check_prefix(prefix)
        check_endpoint(endpoint_url, bucket)
        if addressing_style not in STYLES:
            raise SettingsError('addressing_style has to be "auto", "path" or "virtual".')
        self.bucket = bucket
        self.prefix = prefix
        self.endpoint_url = endpoint_url
        self.region_name = region_name
        self._owner = (
            {"ExpectedBucketOwner": expected_bucket_owner} if expected_bucket_owner else {}
        )
        self._signed = not anonymous
        self._timeouts = {"connect_timeout": connect_timeout, "read_timeout": read_timeout}
        self._attempts = attempts or ATTEMPTS
        self._patience = ATTEMPTS * (connect_timeout + read_timeout + BACKOFF)
        self._session: Any = session
        self._link: Link | None = None
        self._addressing = Addressing(addressing_style)
        self._asked = endpoint_url or "the storage"
        self._placed = False
        self._conditional_get = ConditionalGet(bucket, expected_bucket_owner)
        self._deletion = Deletion(self._ask)
        self._workers: dict[str, Worker] = {}

    @property
    def expected_owner(self) -> str | None:
        """Id of the AWS account that the bucket must belong to, if there is one."""
        return self._owner.get("ExpectedBucketOwner")

    def __repr__(self) -> str:
        if not hasattr(
            self, "_conditional_get"
        ):  # an argument was refused; a debugger may still look
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
        if_none_match: str | None = None,
    ) -> Fetched | None:
        """See `Store.get`. A version id that the storage knows nothing of gives None, too.

        Raises:
            StorageError: The object is larger than any that was ever written: over 5 GiB.
        """
        whole = Whole()
        received = await self._receive(
            name,
            whole.begin,
            version_id=version_id,
            first_bytes=first_bytes,
            if_none_match=if_none_match,
        )
        return received and Fetched(whole.body(), *received)

    async def stream(
        self, name: str, into: Sink, *, if_none_match: str | None = None
    ) -> Received | None:
        """See `Store.stream`.

        Raises:
            StorageError: The object is larger than any that was ever written: over 5 GiB.
        """
        return await self._receive(name, into, if_none_match=if_none_match)

    async def _receive(
        self,
        name: str,
        into: Sink,
        *,
        version_id: str | None = None,
        first_bytes: int | None = None,
        if_none_match: str | None = None,
    ) -> Received | None:
        question = Question("read", self.bucket, self.prefix + name, version=version_id is not None)
        # To open the client takes the time that it takes.
        async with self._opened(question) as client, self._in_time(question) as deadline:
            transfer = Transfer(question, deadline, first_bytes, into)
            if if_none_match is not None and version_id is None:
                found = await self._get_if_modified(client, question.key, if_none_match, transfer)
                if found is not None:
                    return found
            request: dict[str, Any] = {"Key": question.key}
            if version_id is not None:
                request["VersionId"] = version_id
            if first_bytes is not None:
                request["Range"] = f"bytes=0-{max(first_bytes, 1) - 1}"
            received = await self._get(client, question, request, transfer)
        if received is not None and received.etag == if_none_match:
            raise NotModified(name)
        return received

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
        async with self._opened(Question("look at", self.bucket, "")) as client:
            return f"{client.meta.endpoint_url}/{self.bucket}"

    async def _put(self, name: str, body: bytes, condition: dict[str, str]) -> Written:
        key, if_match = self.prefix + name, "IfMatch" in condition
        question = Question(
            "write", self.bucket, key, if_match=if_match, unconditional=not condition
        )
        stream, digest = await self._worker(name)(readied, body)
        response = await self._ask(
            question,
            "put_object",
            # aiohttp bounds the wait for a reply, but not the sending before it.
            within=self._patience + len(body) / SLOWEST,
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
        async with aclosing(self._pages(name)) as pages:
            async for page in pages:
                for version in page.versions:
                    yield version

    async def remains(self, name: str) -> Remains | None:
        """See `Store.remains`."""
        question = Question("read", self.bucket, self.prefix + name)
        found = await self._ask(question, "get_object", Key=question.key, Range="bytes=0-0")
        if not isinstance(found, Answer):
            found["Body"].close()
            return None
        if found.status == _RANGE_NOT_SATISFIABLE:
            return None  # an empty object
        if not means_absent(question, found):
            raise to_error(question, found)
        async with aclosing(self._pages(name)) as pages:
            return await remaining(pages, found.marker)

    async def neighbours(self, name: str) -> list[str]:
        """See `Store.neighbours`."""
        parent = self.prefix.rstrip("/").rpartition("/")[0]
        parent = f"{parent}/" if parent else ""
        question = Question("list", self.bucket, parent)
        request = {"Prefix": parent, "Delimiter": "/"}
        page = await self._ask(question, "list_objects_v2", None, **request)
        if isinstance(page, Answer):
            return []
        beside = [str(entry["Prefix"]) for entry in page.get("CommonPrefixes", [])]
        others = [prefix for prefix in (parent, *beside) if prefix != self.prefix]
        nearest = get_close_matches(self.prefix, others, n=_NEIGHBOURS, cutoff=0.0)
        holds = await asyncio.gather(*(self._holds(prefix + name) for prefix in nearest))
        return [prefix for prefix, held in zip(nearest, holds, strict=True) if held]

    async def _holds(self, key: str) -> bool:
        question = Question("look at", self.bucket, key)
        found = await self._ask(question, "head_object", Key=question.key)
        return not isinstance(found, Answer)

    async def _pages(self, name: str) -> AsyncGenerator[Page, None]:
        """Iterate over the pages of the list of an object's versions."""
        question = Question("list versions of", self.bucket, self.prefix + name)
        progress = Progress(question)
        while progress.markers is not None:
            request = {"Prefix": question.key, **progress.markers}
            page = await self._ask(question, "list_object_versions", None, **request)
            if isinstance(page, Answer):
                raise to_error(question, page)
            if "Name" not in page:
                raise to_error(question, _NOT_S3)
            yield progress.take(page)

    async def delete(self, name: str, version_ids: Sequence[str]) -> list[str]:
        """See `Archive.delete`."""
        question = Question("delete versions of", self.bucket, self.prefix + name)
        return await self._deletion.delete(question, version_ids)

    async def lock(self, name: str, version_id: str) -> Lock | None:
        """See `Archive.lock`."""
        key = self.prefix + name
        found = await self.ask("head_object", key=key, VersionId=version_id)
        # Amazon S3 API Reference, "HeadObject": only to those who may ask for a version's lock.
        if isinstance(found, Answer):
            return None
        if found.get("ObjectLockLegalHoldStatus") == "ON":
            return Lock(None)
        until = found.get("ObjectLockRetainUntilDate")
        now = moment_of(found["ResponseMetadata"].get("HTTPHeaders", {}).get("date"))
        return None if until is None or (now is not None and until <= now) else Lock(until)

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
            async with self._using() as client:
                credentials = await self._session.get_credentials()
        except Exception as exc:
            early = NotSentError(exc)
            failure = to_failure(Question("look at", self.bucket, ""), early, self._asked)
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
            addressing_style=self._addressing.style,
            anonymous=anonymous,
            attempts=1 if once else None,
            **timeouts,
        )

    async def close(self) -> None:
        """See `Store.close`. Requests under way are waited for; later ones open another client."""
        self._conditional_get.forget()
        link, self._link = self._link, None
        self._workers.clear()  # their threads end with them
        if link is not None:
            await link.close()

    @asynccontextmanager
    async def _in_time(self, question: Question) -> AsyncIterator[Deadline]:
        """Bound all of a read, however many attempts it takes."""
        deadline = Deadline(self._patience)
        try:
            async with deadline:
                yield deadline
        except TimeoutError as exc:
            failure = to_failure(question, exc, self._asked) if deadline.expired else None
            if failure is None:
                raise
            raise failure from None

    async def _get(
        self, client: Untyped, question: Question, request: dict[str, Any], transfer: Transfer
    ) -> Received | None:
        """Read an object; again where its body breaks off, which botocore does not see."""
        attempt, wanted = 1, request.get("VersionId")
        while True:
            response = await self._answer(client, question, "get_object", **request)
            if isinstance(response, Answer):
                if request.get("VersionId") == _UNVERSIONED and _may_have_no_ids(response):
                    request = {key: value for key, value in request.items() if key != "VersionId"}
                    continue
                if means_absent(question, response):
                    return None
                if response.status == _RANGE_NOT_SATISFIABLE and "Range" in request:
                    request = {key: value for key, value in request.items() if key != "Range"}
                    continue  # the object is empty: it has no first byte, but an ETag
                raise to_error(question, response)
            if not _is_version(response, wanted):
                response["Body"].close()
                return None
            try:
                await transfer.read(response)
            except StorageUnavailableError as error:
                if error is transfer.refusal or attempt == ATTEMPTS:
                    raise
                await asyncio.sleep(jitter(attempt))
                attempt += 1
            else:
                etag, version = _etag(question, response), version_of(response)
                return Received(etag, version, response.get("LastModified"))

    async def _get_if_modified(
        self, client: Untyped, key: str, etag: str, transfer: Transfer
    ) -> Received | None:
        """Read an object unless it has this ETag, the short way; None: ask in the usual one."""
        try:
            return await self._conditional_get.ask(client, key, etag, transfer.read)
        except NotModified:
            raise
        except Exception as exc:
            if exc is transfer.refusal:
                raise
            _LOGGER.debug("Could not ask in the short way: %s", type(exc).__name__)
            return None

    @asynccontextmanager
    async def _opened(self, question: Question) -> AsyncIterator[Untyped]:
        """Give the client of the running loop, as `_using`.

        Raises:
            PersistenceError: It cannot be made.
        """
        async with AsyncExitStack() as stack:
            try:
                client = await stack.enter_async_context(self._using())
            except Exception as exc:
                failure = to_failure(question, NotSentError(exc), self._asked)
                if failure is None:
                    raise
                raise failure from None  # its text may hold the request
            yield client

    async def _ask(
        self, question: Question, operation: str, within: float | None = None, **request: object
    ) -> Untyped:
        """Send one request; return botocore's view of the reply, or `Answer` for an error answer.

        Args:
            question: What it asks, for the error's text.
            operation: The client's method.
            within: Seconds for all attempts together; None: as many as a page of a listing gets.
            request: Its arguments, other than those that say which bucket.

        Raises:
            PersistenceError: There was no answer.
        """
        async with self._opened(question) as client:
            return await self._answer(client, question, operation, within, **request)

    async def _answer(
        self,
        client: Untyped,
        question: Question,
        operation: str,
        within: float | None = None,
        **request: object,
    ) -> Untyped:
        """Send one request with a client that is in use; as `_ask`."""
        if not self._placed:
            await self._refuse_own_host(client)
        within = self._patience + _PAGE / SLOWEST if within is None else within
        turned = self._addressing.turned
        answer = await self._sent(client, question, operation, within, request)
        if not isinstance(answer, Answer):
            self._addressing.settled = True
            return answer
        if not await self._turned(question, answer, turned):
            return answer
        if "Body" in request:
            request["Body"].seek(0)  # type: ignore[attr-defined] # it is a stream
        return await self._sent(client, question, operation, within, request)

    async def _refuse_own_host(self, client: Untyped) -> None:
        """Refuse an endpoint that is the bucket's own host, where its name alone does not tell.

        There, what is asked of the bucket is asked of an object of its name, and everything would
        lie in a folder of that name.
        """
        right = without_label(self._asked, self.bucket)
        if right is not None and self._whom(client) == self._asked:
            question = Question("look at", self.bucket, "")
            request: dict[str, object] = {"Prefix": self.prefix, "MaxKeys": 1}
            page = await self._sent(client, question, "list_objects_v2", self._patience, request)
            if isinstance(page, Answer) and means_absent(question, page):
                raise bucket_in_it(self.bucket, right, self._variable)
        self._placed = True

    async def _turned(self, question: Question, answer: Answer, before: bool) -> bool:  # noqa: FBT001
        """Turn to virtual hosts where the path was refused; tell whether to ask that way now.

        Args:
            question: What was asked.
            answer: The refusal.
            before: Whether it was asked by virtual host already.
        """
        addressing = self._addressing
        if before or addressing.turned:
            return not before
        if not addressing.settled and means_virtual_host(question, answer):
            addressing.turn()
        elif may_mean_virtual_host(question, answer) and addressing.is_worth_a_try(self._asked):
            if await self._is_virtual_host():
                addressing.turn()
            addressing.settled = True
        return addressing.turned

    async def _is_virtual_host(self) -> bool:
        """Tell whether the bucket answers to its name in front of the endpoint's host.

        Only a listing proves it, since it says the bucket's name: a server that takes paths alone
        would take the first part of any key for the bucket.
        """
        store = type(self)(
            self.bucket,
            self.prefix,
            endpoint_url=self.endpoint_url,
            region_name=self.region_name,
            session=self._session,
            expected_bucket_owner=self.expected_owner,
            addressing_style="virtual",
            anonymous=not self._signed,
            attempts=1,
            **self._timeouts,
        )
        try:
            page = await store.ask("list_objects_v2", Prefix=self.prefix, MaxKeys=1)
        except PersistenceError:
            return False  # nobody is there
        finally:
            await store.close()
        return not isinstance(page, Answer) and page.get("Name") == self.bucket

    async def _sent(
        self,
        client: Untyped,
        question: Question,
        operation: str,
        within: float,
        request: dict[str, object],
    ) -> Untyped:
        """Send a request, by the addressing style of now."""
        try:
            async with asyncio.timeout(within):
                return await getattr(client, operation)(
                    Bucket=self.bucket, **self._owner, **request
                )
        except Exception as exc:
            answer = _error_answer(exc)
            if answer is not None:
                return answer._replace(endpoint=self._whom(client))
            failure = to_failure(question, exc, self._whom(client))
            if failure is None:
                raise
            raise failure from None  # its text may hold the request

    def _worker(self, name: str) -> Worker:
        """Return the thread that readies an object's bodies: head's never waits for a blob's."""
        return self._workers.setdefault(name, Worker(f"ptb-s3-{name or 'client'}"))

    @property
    def _variable(self) -> str:
        """Where the endpoint comes from, for an error's text."""
        return OURS if self.endpoint_url else THEIRS

    def _whom(self, client: Untyped) -> str:
        return self._addressing.asked(client, self.bucket)

    def _ready(self, client: Untyped) -> None:
        """Look at where a new client leads before it is used."""
        self._asked = client.meta.endpoint_url
        check_endpoint(self._asked, self.bucket, self._variable)
        self._addressing.bind(client)

    async def _client(self) -> Untyped:
        """Return the client of the running loop."""
        async with self._using() as client:
            return client

    @asynccontextmanager
    async def _using(self) -> AsyncIterator[Untyped]:
        """Give the client of the running loop; until the end, nobody closes it."""
        link, stale = self._link, None
        if link is None or link.loop is not asyncio.get_running_loop():
            stale, link = link, Link()
            self._link = link
        with link.in_use():
            if stale is not None:
                await stale.close()
            credentials = self._credentials if self._signed else None
            yield await link.client(self._open, self._ready, credentials)

    async def _credentials(self) -> Untyped:
        return await self._session.get_credentials()

    async def _open(self) -> Untyped:
        """Return a new client, as a context manager. What is slow about it is done in a thread."""
        config = options(self._attempts, self._timeouts, self._addressing.style)
        self._session, config = await self._worker("")(
            prepared, self._session, config, signed=self._signed
        )
        region = self.region_name or self._session.region_name
        if region is None and self.endpoint_url is not None:
            region = _DEFAULT_REGION
        return self._session.client(
            "s3", endpoint_url=self.endpoint_url, region_name=region, config=config
        )


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
        # Amazon S3 API Reference, "GetObject": x-amz-delete-marker.
        str(headers.get("x-amz-version-id") or _UNVERSIONED)
        if headers.get("x-amz-delete-marker") == "true"
        else "",
        policy=policy_of(str(error.get("Message", ""))),
    )


def _etag(question: Question, response: dict[str, Any]) -> str:
    """Return the ETag. A web server that is none of S3's says 200 to many things, but no ETag."""
    etag = response.get("ETag")
    if not etag:
        raise to_error(question, _NOT_S3)
    return str(etag)


def _may_have_no_ids(answer: Answer) -> bool:
    """Tell whether what is there may be ``null`` and not be read by that id, which it is listed by.

    So it is with versitygw 1.8.0 (InvalidArgument) where it was given no folder for versions.
    """
    return answer.status in {400, 404, 405, 501}


def _is_version(response: dict[str, Any], wanted: str | None) -> bool:
    """Tell whether a reply is of the version that was asked for.

    SeaweedFS 4.48 heeds no version in a bucket without versioning, and gives what is current.
    """
    if wanted is None:
        return True
    return version_of(response) == (wanted if wanted != _UNVERSIONED else None)
