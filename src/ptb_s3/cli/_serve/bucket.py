"""Bucket of a local storage: made once, with versions, and waited for at each start.

SeaweedFS answers requests a little before its volumes have reported to it (up to 5 s, seen on
4.48 after a start on older data), and until then reads of what is there fail or hang. So the bucket
holds an object whose only purpose is to be read at the start: once it is, so is all the rest, since
all volumes report at once.
"""

from __future__ import annotations

import asyncio
from typing import Any

from ptb_s3._environment import prepare_for_aws, without_variables
from ptb_s3._storage.answers import Answer, Question, to_error
from ptb_s3._storage.bucket_config import Bucket, Versioning
from ptb_s3._storage.s3 import S3Store
from ptb_s3.cli._serve.folder import REGION, Settings
from ptb_s3.errors import BucketNotFoundError, StorageUnavailableError

_READY_WITHIN = 30.0
"""Seconds until the object can be read. It takes none to five; the rest is for a busy machine."""
_POLL = 0.1
"""Seconds between two tries."""
_READ_TIMEOUT = 2.0
"""Seconds for one answer: some requests hang that are sent before the volumes are known."""
_MARK = ".ptb-s3-serve"
_RETENTION = {
    "ID": "history",
    "Status": "Enabled",
    "Filter": {"Prefix": ""},
    "NoncurrentVersionExpiration": {"NoncurrentDays": 30},
}
"""Lifecycle rule of the whole bucket: the history of 30 days, as in the templates of infra."""
_MADE_ALREADY = frozenset({"BucketAlreadyExists", "BucketAlreadyOwnedByYou"})


def prepare(settings: Settings) -> None:
    """Make the bucket where there is none, and return when its objects can be read.

    Raises:
        StorageUnavailableError: They cannot, half a minute after the server has begun to answer.
        StorageError: The server refuses something for good.
    """
    with without_variables():  # the user's own credentials are for another storage
        prepare_for_aws(settings.credentials)
        asyncio.run(_prepared(settings))


async def _prepared(settings: Settings) -> None:
    store = S3Store(
        settings.bucket,
        endpoint_url=settings.endpoint_url,
        region_name=REGION,
        read_timeout=_READ_TIMEOUT,
        attempts=1,
    )
    try:
        await _until_ready(store)
    finally:
        await store.close()


async def _until_ready(store: S3Store) -> None:
    """Try again until the object can be read, or the time is up."""
    last = StorageUnavailableError("SeaweedFS gives no answer.")
    try:
        async with asyncio.timeout(_READY_WITHIN):
            while True:
                try:
                    await _make(store)
                    return await _mark(store)
                except StorageUnavailableError as error:
                    last = error
                await asyncio.sleep(_POLL)
    except TimeoutError:
        raise last from None


async def _make(store: S3Store) -> None:
    """Make the bucket, and turn on versioning where it never was: a suspension is the user's."""
    bucket = Bucket(store)
    try:
        versioning = await bucket.versioning()
    except BucketNotFoundError:
        made = await store.ask("create_bucket")
        if isinstance(made, Answer) and made.code not in _MADE_ALREADY:
            raise to_error(Question("make", store.bucket, ""), made) from None
        versioning = await bucket.versioning()
    if versioning is Versioning.NEVER:
        # Versioning comes last: it is the sign that all of it is set up.
        rules = {"Rules": [_RETENTION]}
        await _set(store, "put_bucket_lifecycle_configuration", LifecycleConfiguration=rules)
        enabled = {"Status": "Enabled"}
        await _set(store, "put_bucket_versioning", VersioningConfiguration=enabled)


async def _set(store: S3Store, operation: str, **request: Any) -> None:  # noqa: ANN401 - botocore's arguments
    """Change a setting of the bucket."""
    answer = await store.ask(operation, **request)
    if isinstance(answer, Answer):
        raise to_error(Question("set up", store.bucket, ""), answer)


async def _mark(store: S3Store) -> None:
    """Read the object, and write it where it is not there yet."""
    if await store.get(_MARK) is None:
        await store.overwrite(_MARK, b"ptb-s3 serve\n")
        await store.get(_MARK)
