"""The storage contract.

Absence is a closed list: `get` returns None only where the storage said "no such key" for sure;
everything else that is not an object is an error. `put` is always conditional: nothing is
overwritten unseen.
"""

from __future__ import annotations

import io
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import datetime
from typing import NamedTuple, Protocol, TypeAlias


class PreconditionFailed(Exception):  # noqa: N818 - HTTP's name; an answer rather than an error
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
    """One version of an object, whole (or its first bytes, where that was asked for).

    Attributes:
        body: Its bytes, unless they went elsewhere or were not needed.
        etag: Opaque tag of its content.
        version_id: Its id, or None in a bucket without versioning.
        modified: When the storage took it, by the storage's clock, with time zone; None where it
            does not say.
    """

    body: bytes
    etag: str
    version_id: str | None
    modified: datetime | None = None


Into: TypeAlias = Callable[[int], Callable[[bytes], None]]
"""Where an object goes as it arrives: called with its size, gives what to call with each piece.

Either may raise: the transfer ends there and then.
"""


SLOWEST = 2**16
"""Bytes a second of the slowest line that transfers are given time for."""


def hand_over(found: Fetched | None, into: Into | None) -> Fetched | None:
    """Have an object that is there as a whole go where it is to go, if anywhere."""
    if found is None or into is None:
        return found
    into(len(found.body))(found.body)
    return found._replace(body=b"")


def empty_stream(size: int) -> io.BytesIO:
    """Return a stream to write an object of so many bytes into, piece by piece.

    Its memory is there when it is written to, and never moved. To have all of it filled with zeros
    at once, or to copy it while it grows, holds up all threads (by 90 ms for 80 MB).
    """
    return io.BytesIO(bytes(size))


class Version(NamedTuple):
    """One entry of an object's history.

    Attributes:
        version_id: Its id.
        modified: When the storage took it, by the storage's clock, with time zone.
        size: Bytes.
        is_latest: Whether the storage says that it is the current one. It is not where the object
            was deleted.
    """

    version_id: str
    modified: datetime
    size: int
    is_latest: bool


class Remains(NamedTuple):
    """What is left of an object that was deleted.

    Attributes:
        version_id: Id of its newest version or, where none is left or none may be listed, of the
            delete marker.
        marker: Id of the delete marker; None where there is none, or none may be listed.
        deleted: When it was deleted, by the storage's clock, where that is known.
        versions: How many versions are left; None where none may be listed.
        more: Whether there are more than were counted.
    """

    version_id: str
    marker: str | None = None
    deleted: datetime | None = None
    versions: int | None = None
    more: bool = False


class Lock(NamedTuple):
    """What keeps a version from being deleted by anybody.

    Attributes:
        until: When that ends, by the storage's clock; None: when somebody ends it (a legal hold).
    """

    until: datetime | None


class Store(Protocol):
    """A versioned key-value store with conditional writes, under one prefix of one bucket.

    Names are given without the prefix. Methods raise `StorageUnavailableError` when there is no
    answer (a write may then have taken effect or not), other `StorageError` for refusals, and
    `BucketNotFoundError`.
    """

    async def get(
        self,
        name: str,
        *,
        version_id: str | None = None,
        first_bytes: int | None = None,
        unless: str | None = None,
        into: Into | None = None,
    ) -> Fetched | None:
        """Return an object's current version, or the one named; None if there is surely none.

        Args:
            name: The object, such as ``head``.
            version_id: A version to read in place of the current one.
            first_bytes: Read no more than this many bytes, from the start, and hold no more.
            unless: An ETag. Where it is still the object's, there is no need for the body, which
                is left out, and perhaps the version's id and its time.
            into: Where the body goes, piece by piece, and is left out of what is returned. Called
                when a transfer begins, and again when it begins anew: what has arrived before is
                void then. Not called for a body that is left out by `unless`. What it raises, or
                what it gave does, ends the transfer at once, and `get` raises it.

        Returns:
            The version that was asked for. A storage that gives another one in its place, since it
            knows no versions, has surely none of that id.
        """
        ...

    async def put(self, name: str, body: bytes, *, if_match: str | None) -> Written:
        """Write an object if its current version has this ETag; None: if there is no object.

        Raises:
            PreconditionFailed: It is not. Nothing was written by this call or, where the store
                tries again by itself, at least not by its last try: read the object to know.
        """
        ...

    async def overwrite(self, name: str, body: bytes) -> Written:
        """Write an object whatever is there: for storage that knows no conditions, and no other."""
        ...

    def versions(self, name: str) -> AsyncIterator[Version]:
        """Iterate over an object's versions, delete markers left out, in any order.

        Raises:
            StorageError: Also where the storage does not come to an end of the list.
        """
        ...

    async def remains(self, name: str) -> Remains | None:
        """Return what is left of an object that `get` does not find; None if there never was one.

        As far as the storage tells: in a bucket without versions nothing is left, and without the
        right to list them only some storages say that an object was deleted (AWS S3 and MinIO, in
        the answer to a read).
        """
        ...

    async def neighbours(self, name: str) -> list[str]:
        """Return the prefixes beside this one that hold such an object, those most like it first.

        As far as they may be listed, and not more than a few.
        """
        ...

    async def place(self) -> str:
        """Return what tells this bucket of this storage from others, to note what it can do."""
        ...

    async def close(self) -> None:
        """Release connections. A later call opens them again."""
        ...


class Archive(Store, Protocol):
    """A store whose history can be thinned out. No bot asks for this, or needs the permission."""

    async def delete(self, name: str, version_ids: Sequence[str]) -> list[str]:
        """Delete versions of an object for good; one that is gone already is no fault.

        Returns:
            Those that the storage would not delete, for want of permission or since they are
            locked. All others are deleted.
        """
        ...

    async def lock(self, name: str, version_id: str) -> Lock | None:
        """Return what keeps a version from being deleted, as far as the storage tells."""
        ...
