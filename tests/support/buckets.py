"""Buckets on the server of the integration tests, and clients and stores on them."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from http import HTTPStatus
from typing import Any

from tests.servers import S3Client, S3Server, Session

from ptb_s3._storage.s3 import S3Store


def open_store(server: S3Server, bucket: str, **options: object) -> S3Store:
    """Return a store on a bucket of that server; options go in the place of what would be."""
    settings: dict[str, Any] = {
        "endpoint_url": server.endpoint_url,
        "region_name": server.region_name,
        "session": server.session(),
        **options,
    }
    return S3Store(bucket, "bot/", **settings)


@cache
def shared_session(server: S3Server) -> Session:
    """Return one session for many clients, since reading the model of S3 takes it longest."""
    session = server.session()
    if server.endpoint_url.startswith("http://"):
        # Each client would load all certificates there are, which takes as long as a command.
        session._session.set_config_variable("ca_bundle", False)  # noqa: FBT003 - none
    return session


def client_of(server: S3Server) -> S3Client:
    """Return a client of a server, to be entered, for what a store cannot do."""
    from aiobotocore.config import AioConfig  # noqa: PLC0415 - unit tests can do without

    config = AioConfig(
        s3={"addressing_style": "path"},
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    session = shared_session(server)
    return session.client("s3", endpoint_url=server.endpoint_url, config=config)


@asynccontextmanager
async def new_bucket(client: S3Client, *, locking: bool = False) -> AsyncIterator[str]:
    """Make a bucket, and remove it with all that is in it.

    Args:
        client: Makes it.
        locking: Whether its objects can be locked. Such a bucket keeps versions.
    """
    name = f"ptb-s3-test-{secrets.token_hex(8)}"
    region = client.meta.region_name
    elsewhere = {"CreateBucketConfiguration": {"LocationConstraint": region}}
    settings: dict[str, Any] = {} if region == "us-east-1" else elsewhere
    if locking:  # s3proxy refuses to be told that it need not
        settings["ObjectLockEnabledForBucket"] = True
    await client.create_bucket(Bucket=name, **settings)
    yield name
    await empty_bucket(client, name)
    await client.delete_bucket(Bucket=name)


async def empty_bucket(client: S3Client, name: str) -> None:
    """Delete all there is in a bucket; versions, too, if the server lists any."""
    from botocore.exceptions import ClientError  # noqa: PLC0415 - unit tests can do without

    pages = client.get_paginator("list_object_versions").paginate(Bucket=name)
    try:
        async for page in pages:
            for entry in page.get("Versions", []) + page.get("DeleteMarkers", []):
                of = {"Key": entry["Key"], "VersionId": entry["VersionId"]}
                await client.delete_object(Bucket=name, **of)
    except ClientError as exc:
        if exc.response["ResponseMetadata"]["HTTPStatusCode"] != HTTPStatus.NOT_IMPLEMENTED:
            raise
        page = await client.list_objects_v2(Bucket=name)  # a test makes no more than fit on one
        for entry in page.get("Contents", []):
            await client.delete_object(Bucket=name, Key=entry["Key"])


async def keep_versions(client: S3Client, bucket: str) -> None:
    """Have a bucket keep versions."""
    await client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
