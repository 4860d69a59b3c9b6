"""Writes of objects: one PUT each, whose MD5 is known before, whether the body is in memory or not.

botocore repeats a PUT that gets no answer, and each attempt sends the body from its first byte.
"""

from __future__ import annotations

import io

from ptb_s3._storage.answers import Answer, Question, to_error, version_of
from ptb_s3._storage.body import Body
from ptb_s3._storage.contract import SLOWEST, Written
from ptb_s3._storage.reads import etag_of
from ptb_s3._storage.requester import Requester
from ptb_s3._storage.streams import MAX_OBJECT, readied
from ptb_s3._storage.threads import Worker
from ptb_s3._storage.upload import Upload
from ptb_s3.errors import PersistenceError, StorageError


class Writes:
    """Writer of objects.

    Args:
        requester: Sends the requests.
    """

    def __init__(self, requester: Requester) -> None:
        self._requester = requester

    async def send(
        self, question: Question, body: bytes | Body, worker: Worker, condition: dict[str, str]
    ) -> Written:
        """Write an object.

        Args:
            question: Description of the request.
            body: All of its bytes.
            worker: Thread for what touches all of them.
            condition: Arguments of PutObject that state one, or none.

        Raises:
            PreconditionFailed: The condition does not hold.
            StorageError: It is over 5 GiB, and nothing was sent.
        """
        if len(body) > MAX_OBJECT:
            raise _too_large(question, len(body))
        if isinstance(body, bytes | bytearray | memoryview):
            stream, digest = await worker(readied, body)
            return await self._put(question, stream, digest, len(body), condition)
        upload = Upload(body, worker)
        digest = await upload.digest()
        try:
            return await self._put(question, upload, digest, len(body), condition)
        except PersistenceError:
            if upload.failure is None:
                raise
            raise upload.failure from None

    async def _put(
        self,
        question: Question,
        stream: io.BytesIO | Upload,
        digest: str,
        size: int,
        condition: dict[str, str],
    ) -> Written:
        response = await self._requester.ask(
            question,
            "put_object",
            # aiohttp bounds the wait for a reply, but not the sending before it.
            within=self._requester.patience + size / SLOWEST,
            Key=question.key,
            Body=stream,
            ContentLength=size,
            ContentMD5=digest,
            ContentType="application/octet-stream",
            **condition,
        )
        if isinstance(response, Answer):
            raise to_error(question, response)
        return Written(etag_of(question, response), version_of(response))


def _too_large(question: Question, size: int) -> StorageError:
    return StorageError(
        f"Could not {question}: it has {size:,} bytes, and storage takes 5 GiB at most in one "
        "request. Nothing was sent. Have the bot keep less in it; files belong into storage of "
        "their own."
    )
