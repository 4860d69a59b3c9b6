"""Versions of an object as a storage lists them: all of them, in order, and with their headers."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
    Sequence,
)
from contextlib import aclosing
from datetime import UTC, datetime
from typing import TypeVar

from ptb_s3._format import container
from ptb_s3._format.container import HEAD, MAX_PREAMBLE, Header
from ptb_s3._history.order import JITTER, Commit, by_time
from ptb_s3._storage.contract import Store, Version
from ptb_s3.errors import DamagedObjectError, NoHistoryError, StorageError

# Requests under way at once where many versions are looked at.
_WIDTH = 16

_UNVERSIONED = "null"

# Versions of head that are looked at together: those of one page of a listing.
PAGE = 1000

# Times that an object is listed before what is there and not in the list is taken for hidden.
_TRIES = 3

_LOGGER = logging.getLogger("ptb_s3")

_T = TypeVar("_T")
_R = TypeVar("_R")


def is_kept(version: Version) -> bool:
    """Tell whether a version is one that stays when it is replaced: without versioning, none is."""
    return version.version_id != _UNVERSIONED


async def listed(
    store: Store,
    name: str,
    advance: Callable[[int], None] = lambda _: None,
    *,
    strict: bool = False,
) -> list[Version]:
    """List an object's versions as `by_time` orders them; one that a read gives is current, too.

    Args:
        store: Where they lie.
        name: The object.
        advance: Called with how many have been listed.
        strict: Where the storage lists no versions, do not give what is current in their place.

    Raises:
        NoHistoryError: The storage lists no versions, and is to be taken strictly, or keeps some.
        StorageError: Also where a version that is there is not listed: others may be missing, too.
    """
    for _ in range(_TRIES):
        # Before the list: what is written later is in it, or not.
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
        # A bot may have committed meanwhile, and retention taken what was current before.
    raise StorageError(
        f"The storage does not list what it has: a version of object {name!r} can be read, and "
        "is not in the list of its versions. Nothing can be said of its history, or done with "
        "it. Check PTB_S3_PREFIX for characters that the storage takes for others."
    )


async def by_age(
    store: Store, advance: Callable[[int], None] = lambda _: None
) -> AsyncGenerator[list[Version], None]:
    """Iterate over the versions of head, newest first, a page at a time.

    If a page is not in order, its storage lists in an order of its own: then all of them at once,
    and a word of that.
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
    """Iterate over an object's versions; where the storage keeps none, over what is current.

    Raises:
        NoHistoryError: It lists none, and what is current has the id of a version.
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
    """Make sure that versions that could not be read have expired meanwhile.

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
    """Return those of the versions that the storage still lists."""
    asked = list(versions)
    left = {
        (name, version.version_id)
        for name in {name for name, _ in asked}
        for version in await listed(store, name)
    }
    return [(name, version) for name, version in asked if (name, version.version_id) in left]


async def header_of(store: Store, name: str, version: Version) -> Header | None:
    """Read the header of a version; None if the version is gone.

    Raises:
        DamagedObjectError: It is none.
    """
    found = await store.get(name, version_id=version.version_id, first_bytes=MAX_PREAMBLE)
    return found and container.read_header(name, found.body)[0]


async def read_commit(store: Store, version: Version, name: str = HEAD) -> Commit | None:
    """Read the header of a version, not authenticated; None if the version is gone."""
    try:
        header = await header_of(store, name, version)
    except DamagedObjectError:
        return Commit(version, None)
    return None if header is None else Commit(version, header)


async def each(items: Iterable[_T]) -> AsyncIterator[_T]:
    """Iterate over what is there already."""
    for item in items:
        yield item


async def read_commits(
    store: Store, versions: Sequence[Version], name: str = HEAD
) -> AsyncGenerator[Commit | None, None]:
    """Read the headers of versions, several at a time; see `read_commit`."""

    async def read(version: Version) -> Commit | None:
        return await read_commit(store, version, name)

    async with aclosing(ahead(each(versions), read)) as commits:
        async for commit in commits:
            yield commit


async def ahead(
    items: AsyncIterable[_T], work: Callable[[_T], Awaitable[_R]], width: int = _WIDTH
) -> AsyncGenerator[_R, None]:
    """Do the work for each item, up to `width` at once, and yield what comes out in their order."""
    tasks: deque[asyncio.Future[_R]] = deque()
    try:
        async for item in items:
            tasks.append(asyncio.ensure_future(work(item)))
            if len(tasks) >= width:
                yield await tasks.popleft()
        while tasks:
            yield await tasks.popleft()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
