"""Ask S3 whether an object has changed, at a fraction of the CPU that it usually takes.

botocore takes 1.5 to 2 ms for a request and its answer, which is too much for what is asked as
often as once a second. So it is told to sign alone, and the rest is left to the HTTP session of its
client, with the same connections, proxies and certificates. Whatever comes but "not modified" and
the object is for the usual way to understand.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

from ptb_s3._storage.answers import moment_of, version_of
from ptb_s3._storage.contract import NotModified, Received

_Untyped: TypeAlias = Any  # what aioboto3 hands out: it ships no types

_NOT_MODIFIED = 304
_OK = 200
_SIGNED_FOR = 300
"""Seconds that a signed address is good for; used for a fifth of it, since clocks differ."""


class ConditionalGet:
    """Looks at objects of one bucket.

    Args:
        bucket: Name of the bucket.
        owner: Id of the AWS account that must own it, if there is one.
    """

    def __init__(self, bucket: str, owner: str | None) -> None:
        self._bucket = bucket
        self._owner = owner
        self._addresses: dict[str, tuple[str, float]] = {}

    def forget(self) -> None:
        """Sign anew from now on."""
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
            key: The object's full key.
            etag: The ETag; if it is the object's, the body stays out.
            read: Reads the body of a reply.

        Returns:
            The object; None: the answer is for the usual way to understand.
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
            if response.status_code == _NOT_MODIFIED:
                raise NotModified(key)
            if response.status_code != _OK or not found.get("etag"):
                self.forget()  # the address may have expired
                return None
            size = int(found.get("content-length", 0))
            await read({"ContentLength": size, "Body": StreamingBody(response.raw, size)})
        return Received(found["etag"], version, modified)

    async def _signed(self, client: _Untyped, key: str) -> str:
        """Return an address that lets whoever knows it read an object for a while."""
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
