"""The storage contract, and its in-memory implementation.

Absence is a closed list: `get` returns None only where the storage said "no such key" for sure; everything
else that is not an object is an error. `put` is always conditional: nothing is overwritten unseen.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime
from typing import NamedTuple, Protocol


class PreconditionFailed(Exception):  # noqa: N818 - the field's name for it, and an answer rather than an error
    """The object is not the one that `put` was to replace: a definite no, nothing was written."""


class Written(NamedTuple):
    """What the storage says of an object it has just taken.

    Attributes:
        etag: Opaque tag of this content, to be handed back as `if_match`.
        version_id: Id of this version, or None in a bucket without versioning.
    """

    etag: str
    version_id: str | None


class Fetched(NamedTuple):
    """One version of an object, whole (or its first bytes, where that was asked for)."""

    body: bytes
    etag: str
    version_id: str | None


class Version(NamedTuple):
    """One entry of an object's history.

    Attributes:
        version_id: Its id.
        modified: When the storage took it, by the storage's clock, with time zone.
        size: Bytes.
    """

    version_id: str
    modified: datetime
    size: int


class Store(Protocol):
    """A versioned key-value store with conditional writes, under one prefix of one bucket.

    Names are given without the prefix. Methods raise `StorageUnavailableError` when there is no answer (a write may
    then have taken effect or not), other `errors.StorageError` for refusals, `BucketNotFoundError`.
    """

    async def get(
        self, name: str, *, version_id: str | None = None, first_bytes: int | None = None
    ) -> Fetched | None:
        """Return the current version of an object, or the one named; None if there is definitely none.

        Args:
            name: The object, such as ``head``.
            version_id: A version to read in place of the current one.
            first_bytes: Read no more than this many bytes, from the start.
        """
        ...

    async def put(self, name: str, body: bytes | bytearray, *, if_match: str | None) -> Written:
        """Write an object if its current version is the one with this ETag; None: if there is no object.

        Raises:
            PreconditionFailed: It is not. Nothing was written.
        """
        ...

    def versions(self, name: str) -> AsyncIterator[Version]:
        """Iterate over an object's versions, newest first, delete markers left out."""
        ...

    async def close(self) -> None:
        """Release connections. A later call opens them again."""
        ...
