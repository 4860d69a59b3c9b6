"""Lists of versions: complete, in order, and checked against what a read gives.

A list is believed only if it names the version that a read of the same object gives: some storages
list some names under other ones, and so would hide a history without an error. Where the storage
lists no versions at all, the current object is the whole history.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable
from datetime import UTC, datetime

from ptb_s3._format.container import HEAD
from ptb_s3._history.order import JITTER, by_time
from ptb_s3._storage.contract import Store, Version
from ptb_s3.errors import NoHistoryError, StorageError

# Version id of an object in a bucket without versioning (Amazon S3 User Guide, "How S3 Versioning
# works").
_UNVERSIONED = "null"

# Versions of head that are looked at together: those of one page of a listing (Amazon S3 API
# Reference, ListObjectVersions: at most 1,000).
PAGE = 1000

# Times that an object is listed before a version that can be read, and is not in the list, is taken
# for hidden. A bot may commit between the two requests, and retention remove the version before.
_TRIES = 3

_LOGGER = logging.getLogger("ptb_s3")


def is_kept(version: Version) -> bool:
    """Tell whether a version stays when it is replaced: without versioning, none does."""
    return version.version_id != _UNVERSIONED


async def list_versions(
    store: Store,
    name: str,
    advance: Callable[[int], None] = lambda _: None,
    *,
    strict: bool = False,
) -> list[Version]:
    """List the versions of an object in the order of `by_time`, that of a plain read as current.

    Args:
        store: Where they lie.
        name: The object.
        advance: Called with how many have been listed.
        strict: Raise where the storage lists no versions, rather than return the current object.

    Raises:
        NoHistoryError: The storage lists no versions, and it is strict or the bucket keeps some.
        StorageError: Also where a version that is there is not listed: others may be missing, too.
    """
    for _ in range(_TRIES):
        # Before the list, so that a version which is written in between is no contradiction.
        found = await store.get(name, first_bytes=1)
        versions: list[Version] = []
        async for version in store.versions(name) if strict else _versions(store, name):
            versions.append(version)
            advance(len(versions))
        if found is None:
            return by_time(versions)
        current = found.version_id or _UNVERSIONED
        ids = {version.version_id for version in versions}
        if current in ids or (ids and not found.version_id):
            return by_time(
                version._replace(is_latest=True) if version.version_id == current else version
                for version in versions
            )
    raise StorageError(
        f"The storage does not list what it has: a version of object {name!r} can be read, and "
        "is not in the list of its versions. Nothing can be said of its history, or done with "
        "it. Check PTB_S3_PREFIX for characters that the storage takes for others."
    )


async def pages_by_age(
    store: Store, advance: Callable[[int], None] = lambda _: None
) -> AsyncGenerator[list[Version], None]:
    """Iterate over the versions of head, newest first, a page at a time.

    S3 lists newest first, so that the newest page usually answers what is asked. A page that is not
    in order shows that its storage has an order of its own: then all versions are listed, sorted
    and yielded at once, and the log says so.

    Args:
        store: Where they lie.
        advance: Called with how many have been listed.
    """
    page: list[Version] = []
    number, in_turn, oldest = 0, True, datetime.max.replace(tzinfo=UTC)
    async for version in _versions(store, HEAD):
        in_turn = in_turn and version.modified - JITTER <= oldest
        oldest = min(oldest, version.modified)
        page.append(version)
        number += 1
        advance(number)
        if len(page) >= PAGE and in_turn:
            yield by_time(page)
            page = []
        elif len(page) == PAGE + 1:
            _LOGGER.warning(
                "The storage does not list the versions of head newest first: all of them are "
                "read, which takes a while."
            )
    yield by_time(page)


async def _versions(store: Store, name: str) -> AsyncIterator[Version]:
    """Iterate over an object's versions, or over the current one where the storage keeps none.

    Raises:
        NoHistoryError: It lists none although the current object has a version id, so keeps some.
    """
    try:
        async for version in store.versions(name):
            yield version
    except NoHistoryError:
        found = await store.get(name)
        if found is not None and found.version_id is not None:
            raise
        if found is not None:
            modified = found.modified or datetime.min.replace(tzinfo=UTC)
            yield Version(_UNVERSIONED, modified, len(found.body), is_latest=True)


async def require_gone(store: Store, missing: Iterable[tuple[str, Version]]) -> None:
    """Check that versions which could not be read have expired since they were listed.

    Args:
        store: Where they lay.
        missing: The names of their objects, and which versions.

    Raises:
        StorageError: The storage still lists some.
    """
    left = await still_listed(store, missing)
    if left:
        names = ", ".join(sorted({name for name, _ in left}))
        raise StorageError(
            f"The storage lists {len(left)} of the versions of {names} and says of each that there "
            "is none when it is to be read. Nobody can tell what they hold."
        )


async def still_listed(
    store: Store, versions: Iterable[tuple[str, Version]]
) -> list[tuple[str, Version]]:
    """Return those of the versions that the storage still lists.

    Args:
        store: Where they lie.
        versions: The names of their objects, and which versions.
    """
    asked = list(versions)
    left = {
        (name, version.version_id)
        for name in {name for name, _ in asked}
        for version in await list_versions(store, name)
    }
    return [(name, version) for name, version in asked if (name, version.version_id) in left]
