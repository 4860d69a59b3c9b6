"""Scan of all versions of all objects, each opened: for verify, prune and purge.

No value is unpickled. Objects are decrypted in a thread, a few at a time: each is held whole.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Container, Iterator, Mapping
from contextlib import aclosing
from typing import NamedTuple

from ptb_s3._format.container import HEAD, Header
from ptb_s3._format.entities import Entities, Kind
from ptb_s3._format.head import Head
from ptb_s3._format.reader import Reader
from ptb_s3._history.headers import peek
from ptb_s3._history.listing import list_versions
from ptb_s3._history.pipeline import pipelined
from ptb_s3._storage.contract import Store, Version
from ptb_s3.errors import (
    AccessDeniedError,
    DamagedObjectError,
    PersistenceError,
    StorageUnavailableError,
)

NAMES: tuple[str, ...] = (HEAD, *Kind)
"""Every object of a store, head first."""

# Versions on their way or waiting to be decrypted. Blobs may be large, and each is held whole.
_WIDTH = 4

Listing = Mapping[str, list[Version]]
"""The versions of each object, as `ptb_s3._history.order.by_time` orders them."""
Advance = Callable[[int, int | None], None]
"""Progress callback: how much is done, and of how much, where that is known."""


class Opened(NamedTuple):
    """Version of an object with its content, or with the fault that kept it from being opened.

    Attributes:
        name: The object.
        version: Which version.
        header: Authenticated, unless there is a fault; None where even it cannot be read.
        content: The head or the entities of a blob; None where there is a fault.
        fault: Why it cannot be opened.
    """

    name: str
    version: Version
    header: Header | None
    content: Head | Entities | None
    fault: PersistenceError | None

    def refuse_without_key(self) -> None:
        """Raise the fault unless it is damage: a version that a key would open may be needed."""
        if self.fault is not None and not isinstance(self.fault, DamagedObjectError):
            raise self.fault


async def list_all(store: Store, advance: Advance) -> Listing:
    """List the versions of all objects.

    Heads are listed last: whatever blob a listed head refers to, the lists of blobs have it, unless
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
        found[name] = await list_versions(store, name, more)
    return {name: found[name] for name in NAMES}


async def open_all(
    store: Store, reader: Reader, listing: Listing, advance: Advance
) -> AsyncGenerator[Opened, None]:
    """Open the versions of a listing one by one, leaving out those that have expired meanwhile.

    Args:
        store: Where they lie.
        reader: Opens them.
        listing: Which versions.
        advance: Called with how many are done, and of how many.

    Raises:
        StorageError: The storage cannot be asked. Faults of objects are yielded instead.
    """
    total = sum(map(len, listing.values()))

    async def opened(item: tuple[str, Version]) -> Opened | None:
        return await _open(store, reader, *item)

    done = 0
    async with aclosing(pipelined(_flat(listing), opened, _WIDTH)) as versions:
        async for version in versions:
            done += 1
            advance(done, total)
            if version is not None:
                yield version


def unseen(listing: Listing, seen: Container[tuple[str, str]]) -> list[tuple[str, Version]]:
    """Return the versions of a listing whose object name and version id are not among those seen.

    They were listed and could not be read. `ptb_s3._history.listing.require_gone` tells whether
    they have expired.
    """
    return [
        (name, version)
        for name, version in _flat(listing)
        if (name, version.version_id) not in seen
    ]


def _flat(listing: Listing) -> Iterator[tuple[str, Version]]:
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
