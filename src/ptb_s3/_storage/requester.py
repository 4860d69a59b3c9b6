"""Requests to one bucket: client per event loop, deadlines, addressing style, answers from errors.

Everything between `S3Store`, which knows what to ask, and the tables of `answers`, which know what
a refusal means. Rules that bind here:

* **Nothing before the first call.** aioboto3 is imported, and a client opened, by the first
  request: a bot that never gets that far does not wait for it.
* **No exception of botocore's gets out.** Its text may hold the request, and so a signature; what
  comes out is an `Answer` or one of our own errors, without the cause.
* **Where the bucket's name goes is learned from answers** (`addressing`), by at most one extra
  request, and never again after a first success.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace

from ptb_s3._storage.addressing import Addressing, Style
from ptb_s3._storage.answers import (
    Answer,
    NotSentError,
    Question,
    may_mean_virtual_host,
    means_absent,
    means_virtual_host,
    moment_of,
    policy_of,
    to_failure,
)
from ptb_s3._storage.client import Untyped, options, prepared
from ptb_s3._storage.contract import SLOWEST
from ptb_s3._storage.link import LoopLink
from ptb_s3._storage.place import OURS, THEIRS, bucket_in_it, check_endpoint, without_label
from ptb_s3._storage.reply_clock import ReplyClock
from ptb_s3._storage.streams import Deadline
from ptb_s3._storage.target import Target
from ptb_s3._storage.threads import Worker
from ptb_s3.errors import PersistenceError

UNVERSIONED = "null"
"""Id that a version has in a bucket without versioning; replies need not name it.

Source: Amazon S3 User Guide, "How S3 Versioning works".
"""
_PAGE = 2**20
"""Bytes: the most that a page of a listing takes, which has up to a thousand entries."""
_DEFAULT_REGION = "us-east-1"
"""Region that servers other than AWS take for theirs; the signature needs one."""


class Requester:
    """Sender of requests to one bucket, with a client for the running event loop.

    A client belongs to the loop that it was opened on: on another loop (`asyncio.run` for each
    invocation), a new one is opened.

    Args:
        target: The bucket, and how to ask it.

    Attributes:
        session: The session that credentials come from, once there is one.
        addressed: The server that was asked, for an error's text.
        patience: Seconds until the reply to a request has to begin, with all its attempts.
        clock: The storage's clock.
    """

    def __init__(self, target: Target) -> None:
        self.session = target.session
        self.addressed = target.endpoint_url or "the storage"
        self.patience = target.patience
        self.clock = ReplyClock()
        self._target = target
        self._owner = (
            {"ExpectedBucketOwner": target.expected_owner} if target.expected_owner else {}
        )
        self._addressing = Addressing(target.style)
        self._link = LoopLink()
        self._placed = False
        self._workers: dict[str, Worker] = {}

    @property
    def style(self) -> Style:
        """Return the addressing style as far as it is known, for another store of this place."""
        return self._addressing.style

    async def ask(
        self, question: Question, operation: str, within: float | None = None, **request: object
    ) -> Untyped:
        """Send one request.

        Args:
            question: Description of the request, for an error's text.
            operation: Method of botocore's client, such as ``put_object``.
            within: Seconds for all attempts together; None: as many as a page of a listing gets.
            request: Arguments of the method, other than those that say which bucket.

        Returns:
            botocore's view of the reply, or an `Answer` where the server refused.

        Raises:
            PersistenceError: There was no answer.
        """
        async with self.opened(question) as client:
            return await self.answer(client, question, operation, within, **request)

    async def answer(
        self,
        client: Untyped,
        question: Question,
        operation: str,
        within: float | None = None,
        **request: object,
    ) -> Untyped:
        """Send one request with a client that is in use already. Otherwise as `ask`."""
        if not self._placed:
            await self._refuse_own_host(client)
        within = self.patience + _PAGE / SLOWEST if within is None else within
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

    @asynccontextmanager
    async def opened(self, question: Question) -> AsyncIterator[Untyped]:
        """Lend the client of the running loop, which nobody closes before the end.

        Raises:
            PersistenceError: It cannot be made.
        """
        async with AsyncExitStack() as stack:
            try:
                client = await stack.enter_async_context(self.using())
            except Exception as exc:
                failure = self.failure(question, NotSentError(exc))
                if failure is None:
                    raise
                raise failure from None  # its text may hold the request
            yield client

    @asynccontextmanager
    async def using(self) -> AsyncIterator[Untyped]:
        """Lend the client of the running loop, or raise as botocore does if there is none."""
        credentials = None if self._target.anonymous else self.credentials
        async with self._link.using(self._open, self._ready, credentials) as client:
            yield client

    @asynccontextmanager
    async def in_time(self, question: Question) -> AsyncIterator[Deadline]:
        """Bound all attempts at one read by a deadline, which grows with the object's size.

        Raises:
            StorageUnavailableError: The deadline has passed.
        """
        deadline = Deadline(self.patience)
        try:
            async with deadline:
                yield deadline
        except TimeoutError as exc:
            failure = self.failure(question, exc) if deadline.expired else None
            if failure is None:
                raise
            raise failure from None

    def failure(self, question: Question, exc: Exception) -> Exception | None:
        """Return the error for a missing answer, or None for an exception that is not about it."""
        return to_failure(question, exc, self.addressed)

    async def credentials(self) -> Untyped:
        """Return the session's credentials as botocore finds them, or None."""
        return await self.session.get_credentials()

    def worker(self, name: str) -> Worker:
        """Return the thread that prepares an object's bodies: head's never waits for a blob's."""
        return self._workers.setdefault(name, Worker(f"ptb-s3-{name or 'client'}"))

    async def close(self) -> None:
        """Close the client once requests under way have ended. A later request opens another."""
        self._workers.clear()  # their threads end with them
        await self._link.close()

    # Addressing ---------------------------------------------------------------------------------

    async def _refuse_own_host(self, client: Untyped) -> None:
        """Refuse an endpoint that is the bucket's own host, where its name alone does not tell.

        Otherwise every request about the bucket would be taken for one about an object of its
        name, and everything would lie in a folder of that name.
        """
        target, right = self._target, without_label(self.addressed, self._target.bucket)
        if right is not None and self._server(client) == self.addressed:
            question = Question("look at", target.bucket, "")
            request: dict[str, object] = {"Prefix": target.prefix, "MaxKeys": 1}
            page = await self._sent(client, question, "list_objects_v2", self.patience, request)
            if isinstance(page, Answer) and means_absent(question, page):
                raise bucket_in_it(target.bucket, right, self._variable)
        self._placed = True

    async def _turned(self, question: Question, answer: Answer, before: bool) -> bool:  # noqa: FBT001
        """Turn to virtual hosts where the path style was refused.

        Args:
            question: The request that was refused.
            answer: The refusal.
            before: Whether the request went to the virtual host already.

        Returns:
            Whether to send the request again, to the virtual host.
        """
        addressing = self._addressing
        if before or addressing.turned:
            return not before
        if not addressing.settled and means_virtual_host(question, answer):
            addressing.turn()
        elif may_mean_virtual_host(question, answer) and addressing.is_worth_a_try(self.addressed):
            if await self._is_virtual_host():
                addressing.turn()
            addressing.settled = True
        return addressing.turned

    async def _is_virtual_host(self) -> bool:
        """Tell whether the bucket answers to its name in front of the endpoint's host.

        Only a listing proves it, since it states the bucket's name: a server that takes paths alone
        would take the first part of any key for the bucket.
        """
        target = replace(self._target, session=self.session, style="virtual", attempts=1)
        requester = Requester(target)
        question = Question("look at", target.bucket, "")
        request = {"Prefix": target.prefix, "MaxKeys": 1}
        try:
            page = await requester.ask(question, "list_objects_v2", self.patience, **request)
        except PersistenceError:
            return False  # there is no such host
        finally:
            await requester.close()
        return not isinstance(page, Answer) and page.get("Name") == target.bucket

    @property
    def _variable(self) -> str:
        """Return the name of the setting that the endpoint comes from, for an error's text."""
        return OURS if self._target.endpoint_url else THEIRS

    def _server(self, client: Untyped) -> str:
        """Return the address that requests of a client go to."""
        return self._addressing.asked(client, self._target.bucket)

    # One request, one client --------------------------------------------------------------------

    async def _sent(
        self,
        client: Untyped,
        question: Question,
        operation: str,
        within: float,
        request: dict[str, object],
    ) -> Untyped:
        """Send a request in the addressing style of this moment."""
        try:
            async with asyncio.timeout(within):
                reply = await getattr(client, operation)(
                    Bucket=self._target.bucket, **self._owner, **request
                )
                self._note_time(reply)
                return reply
        except Exception as exc:
            answer = _error_answer(exc)
            if answer is not None:
                return answer._replace(endpoint=self._server(client))
            failure = to_failure(question, exc, self._server(client))
            if failure is None:
                raise
            raise failure from None  # its text may hold the request

    def _note_time(self, reply: Untyped) -> None:
        """Learn the storage's time from a reply."""
        headers = reply.get("ResponseMetadata", {}).get("HTTPHeaders", {})
        if (now := moment_of(headers.get("date"))) is not None:
            self.clock.note(now)

    def _ready(self, client: Untyped) -> None:
        """Check the address that a new client asks, before its first request.

        Only the client knows it where it comes from the AWS configuration.
        """
        self.addressed = client.meta.endpoint_url
        check_endpoint(self.addressed, self._target.bucket, self._variable)
        self._addressing.bind(client)

    async def _open(self) -> Untyped:
        """Return a new client, as a context manager. The slow part of it runs in a thread."""
        target = self._target
        config = options(target.attempts, target.timeouts, self._addressing.style)
        self.session, config = await self.worker("")(
            prepared, self.session, config, signed=not target.anonymous
        )
        region = target.region_name or self.session.region_name
        if region is None and target.endpoint_url is not None:
            region = _DEFAULT_REGION
        return self.session.client(
            "s3", endpoint_url=target.endpoint_url, region_name=region, config=config
        )


def _error_answer(exc: Exception) -> Answer | None:
    """Return the server's refusal that an exception of botocore's stands for, or None."""
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
        str(headers.get("x-amz-version-id") or UNVERSIONED)
        if headers.get("x-amz-delete-marker") == "true"
        else "",
        policy=policy_of(str(error.get("Message", ""))),
    )
