"""Every version of every object, looked into: to verify them, to thin them out, to search them.

No value is unpickled here. One version at a time is decoded while a few more are on their way.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import aclosing
from typing import NamedTuple

from ptb_s3._format import container
from ptb_s3._format.container import HEAD, Header
from ptb_s3._format.entities import Entities, Kind
from ptb_s3._format.head import Head
from ptb_s3._format.reader import Reader
from ptb_s3._history.listing import ahead, listed
from ptb_s3._storage.contract import Fetched, Store, Version
from ptb_s3.errors import (
    AccessDeniedError,
    PersistenceError,
    StorageUnavailableError,
)

NAMES: tuple[str, ...] = (HEAD, *Kind)

# Versions on their way or waiting to be decoded. Blobs may be large, and each is held whole.
_WIDTH = 4

Listing = Mapping[str, list[Version]]
"""The versions of each object, as `ptb_s3._history.order.by_time` orders them."""
Advance = Callable[[int, int | None], None]
"""Told how much is done, and of how much, where that is known."""


class Opened(NamedTuple):
    """A version of an object, opened, or why it cannot be.

    Attributes:
        name: The object.
        version: Which version.
        header: Authenticated, unless there is a fault; None where even it cannot be read.
        content: What it holds; None where there is a fault.
        fault: Why it cannot be opened.
    """

    name: str
    version: Version
    header: Header | None
    content: Head | Entities | None
    fault: PersistenceError | None


async def list_all(store: Store, advance: Advance) -> Listing:
    """List the versions of all objects.

    Heads come last: whatever blob a head of the list refers to, the lists of blobs have it, unless
    it is newer than all of them.

    Args:
        store: Where they lie.
        advance: Called with how many have been listed.

    Raises:
        StorageError: Also where not all are listed.
    """
    found: dict[str, list[Version]] = {}

    def more(number: int) -> None:
        advance(sum(map(len, found.values())) + number, None)

    for name in reversed(NAMES):
        found[name] = await listed(store, name, more)
    return {name: found[name] for name in NAMES}


async def open_all(
    store: Store,
    reader: Reader,
    listing: Listing,
    advance: Advance,
) -> AsyncGenerator[Opened, None]:
    """Open the versions listed; those that have expired meanwhile are left out.

    Args:
        store: Where they lie.
        reader: Opens them.
        listing: Which versions.
        advance: Called with how many are done, and of how many.
    """
    total = sum(map(len, listing.values()))

    async def opened(item: tuple[str, Version]) -> Opened | None:
        return await _open(store, reader, *item)

    done = 0
    async with aclosing(ahead(_each(listing), opened, _WIDTH)) as versions:
        async for version in versions:
            done += 1
            advance(done, total)
            if version is not None:
                yield version


async def _each(listing: Listing) -> AsyncIterator[tuple[str, Version]]:
    for name, versions in listing.items():
        for version in versions:
            yield name, version


async def _open(store: Store, reader: Reader, name: str, version: Version) -> Opened | None:
    fetched = None
    try:
        fetched = await store.get(name, version_id=version.version_id)
        if fetched is None:
            return None
        reader = reader if version.is_latest else reader.for_history
        header, content = await asyncio.to_thread(reader.open, name, fetched.body)
    except (StorageUnavailableError, AccessDeniedError):
        raise  # says nothing of the object
    except PersistenceError as fault:
        return Opened(name, version, peek(name, fetched), None, fault)
    return Opened(name, version, header, content, None)


def peek(name: str, fetched: Fetched | None) -> Header | None:
    """Return an object's header, not authenticated, if it can be read."""
    try:
        return container.read_header(name, fetched.body)[0] if fetched else None
    except PersistenceError:
        return None
