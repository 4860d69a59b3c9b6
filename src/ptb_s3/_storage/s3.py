"""`Store` on S3-compatible storage: which requests an operation takes, and what their replies say.

How a request is sent stands in `requester`, how an object is read in `reads`, how one is written in
`writes`, and what a refusal means is decided by the tables of `answers`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from datetime import timedelta
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from ptb_s3._storage.addressing import STYLES, Style
from ptb_s3._storage.answers import (
    PLAIN_OK,
    Answer,
    NotSentError,
    Question,
    means_absent,
    moment_of,
    to_error,
)
from ptb_s3._storage.body import Body
from ptb_s3._storage.client import Untyped
from ptb_s3._storage.conditional_get import ConditionalGet
from ptb_s3._storage.contract import (
    Fetched,
    Lock,
    Received,
    Remains,
    Sink,
    Version,
    Written,
)
from ptb_s3._storage.deletion import Deletion
from ptb_s3._storage.listing import Page, Progress, remaining
from ptb_s3._storage.place import check_endpoint, check_prefix
from ptb_s3._storage.ranges import Span
from ptb_s3._storage.reads import RANGE_NOT_SATISFIABLE, Reads, Selection
from ptb_s3._storage.requester import Requester
from ptb_s3._storage.retries import ATTEMPTS
from ptb_s3._storage.streams import Whole
from ptb_s3._storage.target import Target
from ptb_s3._storage.writes import Writes
from ptb_s3.errors import SettingsError

if TYPE_CHECKING:
    import aioboto3

_LONG = 30.0
"""Seconds to wait for a reply where the request is not to be sent twice."""
_NEIGHBOURS = 10
"""Sibling prefixes that are looked at, where a new state is begun."""


class Access(NamedTuple):
    """Way to the bucket, as the client was set up.

    Attributes:
        endpoint: URL of the S3 API.
        region: Region that requests are signed for.
        credentials: Name of botocore's provider that the credentials come from, such as ``env``;
            None: there are none.
    """

    endpoint: str
    region: str
    credentials: str | None


class S3Store:
    """`Store` of the objects under one prefix of one bucket, which must exist: it is never created.

    Nothing is imported or opened before the first call. Use a store on one event loop at a time;
    on another loop (`asyncio.run` for each invocation), it opens another client.

    Args:
        bucket: Name of the bucket.
        prefix: Prefix of every object's name, taken as it is.
        endpoint_url: Address of the S3 API; None is AWS (or what ``AWS_ENDPOINT_URL_S3`` says).
        region_name: The bucket's region; None leaves it to the AWS settings, and to ``us-east-1``
            where there are none and `endpoint_url` is given.
        session: An `aioboto3.Session` to take credentials from; None makes one.
        expected_bucket_owner: Id of the AWS account that the bucket must belong to.
        addressing_style: Place of the bucket's name: in the ``path``, in front of the host
            (``virtual``), or ``auto``: what the AWS configuration says, else found out.
        anonymous: Whether to ask without credentials, as anybody could.
        connect_timeout: Seconds to wait for a connection, in each attempt.
        read_timeout: Seconds to wait for the next bytes of a reply, in each attempt.
        attempts: Number of attempts at a request, at most, while there is no answer; None: three.

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
        self.expected_owner = expected_bucket_owner or None
        self._target = Target(
            bucket=bucket,
            prefix=prefix,
            endpoint_url=endpoint_url,
            region_name=region_name,
            session=session,
            expected_owner=self.expected_owner,
            style=addressing_style,
            anonymous=anonymous,
            connect_timeout=connect_timeout,
            read_timeout=read_timeout,
            attempts=attempts or ATTEMPTS,
        )
        self._requester = Requester(self._target)
        self._conditional_get = ConditionalGet(bucket, self.expected_owner, self._requester.clock)
        self._reads = Reads(self._requester, self._conditional_get)
        self._writes = Writes(self._requester)
        self._deletion = Deletion(self._requester.ask)

    def __repr__(self) -> str:
        if not hasattr(self, "_deletion"):  # an argument was refused; a debugger may still look
            return f"<{type(self).__name__} refused>"
        return (
            f"{type(self).__name__}({self.bucket!r}, {self.prefix!r}, "
            f"endpoint_url={self.endpoint_url!r}, region_name={self.region_name!r})"
        )

    @property
    def ahead(self) -> timedelta:
        """See `Store.ahead`. To the second, as HTTP states times."""
        return self._requester.clock.ahead

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
        versioned = version_id is not None
        question = Question("read", self.bucket, self.prefix + name, version=versioned)
        span = None if first_bytes is None else Span(0, first_bytes)
        selection = Selection(version_id, span, if_none_match)
        received = await self._reads.receive(question, whole.begin, selection)
        return received and Fetched(whole.body(), *received)

    async def stream(
        self, name: str, into: Sink, *, if_none_match: str | None = None
    ) -> Received | None:
        """See `Store.stream`.

        Raises:
            StorageError: The object is larger than any that was ever written: over 5 GiB.
        """
        question = Question("read", self.bucket, self.prefix + name)
        selection = Selection(if_none_match=if_none_match)
        return await self._reads.receive(question, into, selection)

    async def get_range(
        self, name: str, start: int, length: int, *, etag: str, version_id: str | None = None
    ) -> bytes | None:
        """See `Store.get_range`. Where the version is not there any more, it may ask twice."""
        whole, versioned = Whole(), version_id is not None
        question = Question("read", self.bucket, self.prefix + name, version=versioned)
        selection = Selection(version_id, Span(start, length), etag=etag)
        received = await self._reads.receive(question, whole.begin, selection)
        return None if received is None else whole.body()

    async def put(self, name: str, body: bytes | Body, *, if_match: str | None) -> Written:
        """See `Store.put`. A `Body` is read twice: for its MD5, and to be sent.

        An attempt whose reply was lost is made again, and that one may be refused because the first
        one succeeded: after `PreconditionFailed`, read the object to know whose it is.
        """
        condition = {"IfNoneMatch": "*"} if if_match is None else {"IfMatch": if_match}
        return await self._put(name, body, condition)

    async def overwrite(self, name: str, body: bytes | Body) -> Written:
        """See `Store.overwrite`."""
        return await self._put(name, body, {})

    async def place(self) -> str:
        """See `Store.place`: the address of the S3 API, and the bucket."""
        async with self._requester.opened(Question("look at", self.bucket, "")) as client:
            return f"{client.meta.endpoint_url}/{self.bucket}"

    async def _put(self, name: str, body: bytes | Body, condition: dict[str, str]) -> Written:
        key, if_match = self.prefix + name, "IfMatch" in condition
        question = Question(
            "write", self.bucket, key, if_match=if_match, unconditional=not condition
        )
        return await self._writes.send(question, body, self._requester.worker(name), condition)

    async def versions(self, name: str) -> AsyncIterator[Version]:
        """See `Store.versions`. Without versioning there is one, with the id ``null``."""
        async with aclosing(self._pages(name)) as pages:
            async for page in pages:
                for version in page.versions:
                    yield version

    async def remains(self, name: str) -> Remains | None:
        """See `Store.remains`."""
        question = Question("read", self.bucket, self.prefix + name)
        request = {"Key": question.key, "Range": "bytes=0-0"}
        found = await self._requester.ask(question, "get_object", None, **request)
        if not isinstance(found, Answer):
            found["Body"].close()
            return None
        if found.status == RANGE_NOT_SATISFIABLE:
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
        page = await self._requester.ask(question, "list_objects_v2", None, **request)
        if isinstance(page, Answer):
            return []
        beside = [str(entry["Prefix"]) for entry in page.get("CommonPrefixes", [])]
        others = [prefix for prefix in (parent, *beside) if prefix != self.prefix]
        nearest = get_close_matches(self.prefix, others, n=_NEIGHBOURS, cutoff=0.0)
        holds = await asyncio.gather(*(self._holds(prefix + name) for prefix in nearest))
        return [prefix for prefix, held in zip(nearest, holds, strict=True) if held]

    async def _holds(self, key: str) -> bool:
        question = Question("look at", self.bucket, key)
        found = await self._requester.ask(question, "head_object", Key=question.key)
        return not isinstance(found, Answer)

    async def _pages(self, name: str) -> AsyncGenerator[Page, None]:
        """Iterate over the pages of the list of an object's versions."""
        question = Question("list versions of", self.bucket, self.prefix + name)
        progress = Progress(question)
        while progress.markers is not None:
            request = {"Prefix": question.key, **progress.markers}
            page = await self._requester.ask(question, "list_object_versions", None, **request)
            if isinstance(page, Answer):
                raise to_error(question, page)
            if "Name" not in page:
                raise to_error(question, PLAIN_OK)
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
        """Send a request that is none of `Store`'s, such as one about the bucket itself.

        Args:
            operation: Method of botocore's client.
            key: Full key of an object, where the request is about one.
            request: Other arguments of the method, but for those that say which bucket.

        Returns:
            botocore's view of the reply, or an `Answer` where the server refused.

        Raises:
            PersistenceError: There was no answer.
        """
        keyed = {"Key": key} if key else {}
        question = Question("look at", self.bucket, key)
        answer: dict[str, Any] | Answer = await self._requester.ask(
            question, operation, self._requester.patience, **keyed, **request
        )
        return answer

    async def access(self) -> Access:
        """Return the way to the bucket, without sending it a request.

        Raises:
            PersistenceError: The client cannot be set up.
        """
        try:
            async with self._requester.using() as client:
                credentials = await self._requester.credentials()
        except Exception as exc:
            question = Question("look at", self.bucket, "")
            failure = self._requester.failure(question, NotSentError(exc))
            if failure is None:
                raise
            raise failure from None
        method = None if credentials is None else str(credentials.method)
        return Access(client.meta.endpoint_url, client.meta.region_name, method)

    def alike(
        self,
        *,
        anonymous: bool = False,
        any_owner: bool = False,
        once: bool = False,
        own_session: bool = False,
    ) -> Self:
        """Return another store of the same place, which asks in another way. Close it as well.

        Args:
            anonymous: Whether it uses no credentials, so that it is told what anybody is told.
            any_owner: Whether it leaves out the check of the bucket's owner.
            once: Whether it waits longer for an answer rather than ask again. Only a 409 makes it
                ask again.
            own_session: Whether it makes a session of its own, unless it was given one.
        """
        timeouts = {**self._target.timeouts, **({"read_timeout": _LONG} if once else {})}
        return type(self)(
            self.bucket,
            self.prefix,
            endpoint_url=self.endpoint_url,
            region_name=self.region_name,
            session=self._target.session if own_session else self._requester.session,
            expected_bucket_owner=None if any_owner else self.expected_owner,
            addressing_style=self._requester.style,
            anonymous=anonymous,
            attempts=1 if once else None,
            **timeouts,
        )

    def twin(self) -> Self:
        """See `Store.twin`. A session of its own: credentials are renewed under a loop's lock."""
        return self.alike(own_session=True)

    async def close(self) -> None:
        """See `Store.close`. Requests under way are waited for, later ones open another client."""
        self._conditional_get.forget()
        await self._requester.close()

    async def _client(self) -> Untyped:
        """Return the client of the running loop."""
        async with self._requester.using() as client:
            return client
