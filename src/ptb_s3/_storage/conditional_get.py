"""Conditional GET by signed URL: ask whether an object has changed, at a fraction of the CPU time.

botocore takes 1.5 to 2 ms for a request and its answer (our benchmark), which is too much for what
is asked as often as once a second. So it is told to sign alone, once for a minute, and the HTTP
session of its client sends the request, with the same connections, proxies and certificates.

Only two answers are understood here: 304, and 200 with an ETag. Whatever else comes is for the
usual way (`reads`) to ask again and to understand.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

from ptb_s3._storage.answers import moment_of, version_of
from ptb_s3._storage.contract import NotModified, Received
from ptb_s3._storage.reply_clock import ReplyClock

_Untyped: TypeAlias = Any  # what aioboto3 hands out: it ships no types

_NOT_MODIFIED = 304
_OK = 200
_SIGNED_FOR = 300
"""Seconds that a signed URL is good for. It is used for a fifth of them, since clocks differ."""


class ConditionalGet:
    """Reader of objects of one bucket that have changed, with a cache of signed URLs.

    Args:
        bucket: Name of the bucket.
        owner: Id of the AWS account that must own it, or None.
        clock: The storage's clock, which each reply sets.
    """

    def __init__(self, bucket: str, owner: str | None, clock: ReplyClock) -> None:
        self._bucket = bucket
        self._owner = owner
        self._clock = clock
        self._addresses: dict[str, tuple[str, float]] = {}

    def forget(self) -> None:
        """Drop the signed URLs, such as with the credentials that they were signed by."""
        self._addresses.clear()

    async def ask(
        self,
        client: _Untyped,
        key: str,
        etag: str,
        read: Callable[[dict[str, Any]], Awaitable[None]],
    ) -> Received | None:
        """Read an object unless it has this ETag.

        Args:
            client: botocore's client.
            key: Full key of the object.
            etag: ETag of the object as it was last seen.
            read: Reads the body of a reply into its sink.

        Returns:
            Metadata of the object, whose body was read; None: ask in the usual way.

        Raises:
            NotModified: The object still has the ETag.
        """
        from aiobotocore.response import StreamingBody  # noqa: PLC0415 - not before the first call
        from botocore.awsrequest import AWSPreparedRequest  # noqa: PLC0415 - as above

        session = client._endpoint.http_session  # noqa: SLF001 - there is no public way to it
        headers = {"If-None-Match": etag}
        if self._owner is not None:
            headers["x-amz-expected-bucket-owner"] = self._owner
        url = await self._signed(client, key)
        request = AWSPreparedRequest("GET", url, headers, body=None, stream_output=True)
        response = await session.send(request)
        async with response.raw:
            found = response.headers
            version = version_of({"VersionId": found.get("x-amz-version-id")})
            modified = moment_of(found.get("last-modified"))
            if (date := moment_of(found.get("date"))) is not None:
                self._clock.note(date)
            if response.status_code == _NOT_MODIFIED:
                raise NotModified(key)
            if response.status_code != _OK or not found.get("etag"):
                self.forget()  # the address may have expired
                return None
            size = int(found.get("content-length", 0))
            await read({"ContentLength": size, "Body": StreamingBody(response.raw, size)})
        return Received(found["etag"], version, modified)

    async def _signed(self, client: _Untyped, key: str) -> str:
        """Return a URL by which anybody can read an object for a while, cached for a minute."""
        now = asyncio.get_running_loop().time()
        address, until = self._addresses.get(key, ("", now))
        if now >= until:
            owner = {} if self._owner is None else {"ExpectedBucketOwner": self._owner}
            address = await client.generate_presigned_url(
                "get_object",
                Params={"Bucket": self._bucket, "Key": key, **owner},
                ExpiresIn=_SIGNED_FOR,
            )
            self._addresses[key] = address, now + _SIGNED_FOR / 5
        return address
