"""Look at the current objects, each by itself: what is wrong with one says nothing of another."""

from __future__ import annotations

from typing import NamedTuple

from ptb_s3._format.container import Header
from ptb_s3._format.entities import Entities
from ptb_s3._format.head import Head
from ptb_s3._format.reader import Reader
from ptb_s3._history.scan import NAMES, peek
from ptb_s3._storage.contract import Fetched, Store
from ptb_s3._storage.threads import Offload
from ptb_s3.errors import PersistenceError


class Current(NamedTuple):
    """A current object, looked at by itself.

    Attributes:
        name: The object.
        found: The object; None: there is none.
        header: What it says of itself, authenticated where there is no fault; None where nothing.
        content: What it holds; None where there is a fault.
        fault: Why it cannot be read; None: it can, or there is none.
    """

    name: str
    found: Fetched | None
    header: Header | None
    content: Head | Entities | None
    fault: PersistenceError | None


async def read_current(store: Store, reader: Reader, offload: Offload) -> dict[str, Current]:
    """Look at each current object by itself.

    Args:
        store: Where they lie.
        reader: Opens them.
        offload: Runs what would hold up the event loop.

    Raises:
        StorageError: The storage cannot be asked.
    """
    return {name: await _look_at(store, reader, name, offload) for name in NAMES}


async def _look_at(store: Store, reader: Reader, name: str, offload: Offload) -> Current:
    found = await store.get(name)
    if found is None:
        return Current(name, None, None, None, None)
    try:
        header, content = await offload(reader.open, name, found.body)
    except PersistenceError as fault:
        return Current(name, found, peek(name, found), None, fault)
    return Current(name, found, header, content, None)
