"""Reads of objects: attempts, versions, ranges, and what counts as absent.

botocore repeats a request that gets no answer; it does not see that a body breaks off. So each
attempt here is one request and its whole body, and the sink is begun anew with each.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any, NamedTuple

from ptb_s3._storage.answers import PLAIN_OK, Answer, Question, means_absent, to_error, version_of
from ptb_s3._storage.client import Untyped
from ptb_s3._storage.conditional_get import ConditionalGet
from ptb_s3._storage.contract import NotModified, Received, Sink
from ptb_s3._storage.ranges import Span
from ptb_s3._storage.requester import UNVERSIONED, Requester
from ptb_s3._storage.retries import ATTEMPTS, jitter
from ptb_s3._storage.streams import Transfer
from ptb_s3.errors import StorageUnavailableError

_LOGGER = logging.getLogger("ptb_s3")

RANGE_NOT_SATISFIABLE = 416
"""HTTP status of an object that has no byte in the range asked for: an empty one has none."""
_PRECONDITION_FAILED = 412


class Selection(NamedTuple):
    """Choice of what to read of an object.

    Attributes:
        version_id: Id of a version; None: the current one.
        span: Range of its bytes; None: all.
        if_none_match: ETag of an object that need not be read again; None: read it in any case.
        etag: ETag that the version has to have, or else counts as absent; None: whatever it has.
    """

    version_id: str | None = None
    span: Span | None = None
    if_none_match: str | None = None
    etag: str | None = None

    def request(self, key: str) -> dict[str, Any]:
        """Return the arguments of GetObject. An id is as good as a condition, and needs none."""
        request: dict[str, Any] = {"Key": key}
        if self.version_id is not None:
            request["VersionId"] = self.version_id
        elif self.etag is not None:
            request["IfMatch"] = self.etag
        if self.span is not None:
            request["Range"] = self.span.header()
        return request

    def means(self, response: dict[str, Any]) -> bool:
        """Tell whether a reply is of the version that was asked for.

        SeaweedFS 4.48 ignores the version in a bucket without versioning, and gives the current
        object. GCS ignores the condition. Where an ETag is wanted, it alone decides; a reply
        without one is no answer of S3's, and an error later (`etag_of`).
        """
        if self.etag is not None:
            return (response.get("ETag") or self.etag) == self.etag
        wanted = None if self.version_id == UNVERSIONED else self.version_id
        return self.version_id is None or version_of(response) == wanted


class Reads:
    """Reader of objects into sinks.

    Args:
        requester: Sends the requests.
        conditional_get: Asks whether an object has changed, at less cost.
    """

    def __init__(self, requester: Requester, conditional_get: ConditionalGet) -> None:
        self._requester = requester
        self._conditional_get = conditional_get

    async def receive(
        self, question: Question, into: Sink, selection: Selection
    ) -> Received | None:
        """Read an object into a sink, and return its metadata, or None where there surely is none.

        Raises:
            NotModified: It still has the ETag ``if_none_match``.
            StorageError: It is larger than any that was ever written: over 5 GiB.
        """
        # Opening the client is not part of the read's time: it may import for a second.
        async with (
            self._requester.opened(question) as client,
            self._requester.in_time(question) as deadline,
        ):
            transfer = Transfer(question, deadline, selection.span, into)
            if selection.if_none_match is not None and selection.version_id is None:
                found = await self._if_modified(client, question.key, selection, transfer)
                if found is not None:
                    return found
            received = await self._get(client, question, selection, transfer)
        if received is not None and received.etag == selection.if_none_match:
            raise NotModified(question.key)
        return received

    async def _get(
        self, client: Untyped, question: Question, selection: Selection, transfer: Transfer
    ) -> Received | None:
        """Read an object in as many attempts as it takes, where its body breaks off."""
        request, attempt = selection.request(question.key), 1
        while True:
            response = await self._requester.answer(client, question, "get_object", **request)
            if isinstance(response, Answer):
                reduced = _reduced(request, response)
                if reduced is not None:
                    request = reduced
                    continue
                if means_absent(question, response):
                    return None
                raise to_error(question, response)
            if not selection.means(response):
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
                etag, version = etag_of(question, response), version_of(response)
                return Received(etag, version, response.get("LastModified"))

    async def _if_modified(
        self, client: Untyped, key: str, selection: Selection, transfer: Transfer
    ) -> Received | None:
        """Read an object by `conditional_get`, or return None to ask in the usual way."""
        etag = selection.if_none_match or ""
        try:
            return await self._conditional_get.ask(client, key, etag, transfer.read)
        except NotModified:
            raise
        except Exception as exc:
            if exc is transfer.refusal:
                raise
            _LOGGER.debug("Conditional GET by signed URL failed: %s", type(exc).__name__)
            return None


def etag_of(question: Question, response: dict[str, Any]) -> str:
    """Return the ETag of a reply.

    Raises:
        StorageError: There is none: a web server that is none of S3's says 200 to many things.
    """
    etag = response.get("ETag")
    if not etag:
        raise to_error(question, PLAIN_OK)
    return str(etag)


def _reduced(request: dict[str, Any], answer: Answer) -> dict[str, Any] | None:
    """Return the request to send in place of one that some servers refuse, or None.

    * The id ``null`` is left out. versitygw 1.8.0, where it was given no folder for versions,
      lists objects by that id and does not read them by it (InvalidArgument).
    * The range is left out where it holds no byte: the object is shorter, but has an ETag.
    * The condition is left out where it does not hold, so that the ETag of what is there decides:
      some storages refuse a right one for its quotation marks (see `conditional`).
    """
    if request.get("VersionId") == UNVERSIONED and answer.status in {400, 404, 405, 501}:
        return {name: value for name, value in request.items() if name != "VersionId"}
    unmet = {RANGE_NOT_SATISFIABLE: "Range", _PRECONDITION_FAILED: "IfMatch"}.get(answer.status)
    if unmet in request:
        return {name: value for name, value in request.items() if name != unmet}
    return None
