"""Comparison of a list of versions with what was written: complete, in order, to the end?"""

from __future__ import annotations

import asyncio
from typing import Any

from ptb_s3._doctor.evidence import Past
from ptb_s3._storage.answers import Answer, Question, to_error
from ptb_s3._storage.contract import Version
from ptb_s3._storage.listing import Progress
from ptb_s3._storage.s3 import S3Store
from ptb_s3.errors import StorageError, StorageUnavailableError

_PAGE = 5
"""Versions a page. Not one, with which versitygw 1.8.0 alone comes to no end."""


async def look_back(store: S3Store, name: str, written: dict[str, bytes]) -> Past:
    """Compare the versions of an object that are listed and served with those that were written.

    Args:
        store: The place.
        name: Name of the object. Nobody writes it meanwhile.
        written: Bodies of its versions by version id, the oldest first.

    Raises:
        NoHistoryError: The storage lists no versions.
        StorageError: It cannot be asked.
    """
    listed, ends = await _pages(store, name)
    if not ends:
        listed = [version async for version in store.versions(name)]
    ids = [version.version_id for version in listed]
    served = await asyncio.gather(
        *(_serves(store, name, id_, body) for id_, body in written.items())
    )
    current = await store.get(name, first_bytes=1)
    latest = [version.version_id for version in listed if version.is_latest]
    known = [id_ for id_ in ids if id_ in written]
    return Past(
        versions=len(written),
        hidden=len(written.keys() - ids),
        unserved=served.count(False),
        newest_first=known == [id_ for id_ in reversed(written) if id_ in known],
        ends=ends,
        latest_served=current is not None and latest == [current.version_id],
    )


async def _serves(store: S3Store, name: str, version_id: str, body: bytes) -> bool:
    """Tell whether a version can be read by its id, and holds what was written."""
    found = await store.get(name, version_id=version_id)
    return found is not None and found.body == body


async def _pages(store: S3Store, name: str) -> tuple[list[Version], bool]:
    """List versions a few at a time, and return whether the pages come to an end."""
    question = Question("list versions of", store.bucket, store.prefix + name)
    progress = Progress(question)
    listed: list[Version] = []
    while progress.markers is not None:
        request: dict[str, Any] = {"Prefix": question.key, "MaxKeys": _PAGE, **progress.markers}
        page = await store.ask("list_object_versions", **request)
        if isinstance(page, Answer):
            raise to_error(question, page)
        try:
            listed += progress.take(page).versions
        except StorageUnavailableError:
            raise
        except StorageError:
            return listed, False
    return listed, True
