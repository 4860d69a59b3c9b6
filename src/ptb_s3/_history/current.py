"""Current objects, each read by itself: a fault of one says nothing of another.

This is for recovery, where the current objects do not make a state. To load a state that is whole,
use `ptb_s3._engine.repository.Repository.load`.
"""

from __future__ import annotations

from typing import NamedTuple

from ptb_s3._format.container import Header
from ptb_s3._format.entities import Entities
from ptb_s3._format.head import Head
from ptb_s3._format.reader import Reader
from ptb_s3._history.headers import peek
from ptb_s3._history.scan import NAMES
from ptb_s3._storage.contract import Fetched, Store
from ptb_s3._storage.threads import Offload
from ptb_s3.errors import PersistenceError


class Current(NamedTuple):
    """Current object with its content, or with the fault that kept it from being opened.

    Attributes:
        name: The object.
        found: Its bytes; None: there is none.
        header: Its header, authenticated where there is no fault; None where it cannot be read.
        content: The head or the entities of a blob; None where there is a fault.
        fault: Why it cannot be opened; None: it can, or there is none.
    """

    name: str
    found: Fetched | None
    header: Header | None
    content: Head | Entities | None
    fault: PersistenceError | None


async def read_current(store: Store, reader: Reader, offload: Offload) -> dict[str, Current]:
    """Read each current object by itself, and return them by name.

    Args:
        store: Where they lie.
        reader: Opens them.
        offload: Runs decryption, which would hold up the event loop.

    Raises:
        StorageError: The storage cannot be asked.
    """
    return {name: await _read(store, reader, name, offload) for name in NAMES}


async def _read(store: Store, reader: Reader, name: str, offload: Offload) -> Current:
    found = await store.get(name)
    if found is None:
        return Current(name, None, None, None, None)
    try:
        header, content = await offload(reader.open, name, found.body)
    except PersistenceError as fault:
        return Current(name, found, peek(name, found), None, fault)
    return Current(name, found, header, content, None)
