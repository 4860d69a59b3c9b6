"""Detection of current objects that were put back, or copied, after they were made.

Whoever can write to the bucket can put an older version back, and so roll the state back: the
objects are authentic, only old. The storage's time shows it, see `ptb_s3._history.order.put_back`.
"""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from ptb_s3._format.committed import Base
from ptb_s3._format.container import HEAD, Header
from ptb_s3._format.entities import Kind
from ptb_s3._history.order import put_back
from ptb_s3._storage.contract import Store


class PutBack(NamedTuple):
    """Current object that the storage took long after it was made.

    Attributes:
        name: The object.
        made: When it was made, by its writer's clock.
        modified: When the storage took it.
    """

    name: str
    made: datetime
    modified: datetime


def if_put_back(name: str, header: Header, modified: datetime | None) -> list[PutBack]:
    """Return an object if it was put back or copied, else nothing.

    Args:
        name: The object.
        header: Its header.
        modified: When the storage took it; None: the storage does not tell.
    """
    if modified is None or not put_back(header, modified):
        return []
    return [PutBack(name, header.created, modified)]


async def find_put_back(store: Store, base: Base) -> list[PutBack]:
    """Return which current objects of a state that was just loaded were put back, or copied.

    Args:
        store: Where they lie.
        base: The state. Objects that have been replaced since are left out.
    """
    found = []
    for name, stored in base.objects.items():
        fetched = await store.get(name, first_bytes=1)
        etag = base.etag if name == HEAD else base.blobs[Kind(name)].etag
        if fetched is not None and fetched.etag == etag:
            found += if_put_back(name, stored.header, fetched.modified)
    return found
