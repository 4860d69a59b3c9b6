"""Storage contract: the operations of a store, their results, and the errors that they may raise.

Rules that every implementation keeps:

* **Absence is a closed list.** A read returns None only where the storage said for certain that
  there is no such object. Every other answer that is not the object is an error.
* **No blind write.** `Store.put` always carries a condition, so that nothing is overwritten that
  the writer has not seen. `Store.overwrite` is for storage that knows no conditions.
* **Answers are not errors.** `PreconditionFailed` (HTTP 412) and `NotModified` (HTTP 304) are what
  a condition came to. They derive from `Exception` alone, so that no handler of storage errors
  takes them for a failure.

An outcome of a write is one of three: written, certainly not written (`PreconditionFailed`), or
unknown (`StorageUnavailableError`: the reply was lost). Whoever gets the last one has to read the
object to settle it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple, Protocol, TypeAlias

from ptb_s3._storage.body import Body

SLOWEST = 2**16
"""Bytes a second of the slowest line for which transfers are given time (64 KiB/s, our choice)."""


class PreconditionFailed(Exception):  # noqa: N818 - HTTP's name; an answer rather than an error
    """Raised by `Store.put` where the object is not the one to replace: nothing was written."""


class NotModified(Exception):  # noqa: N818 - HTTP's name; an answer rather than an error
    """Raised by a read where the object still has the ETag given as ``if_none_match``."""


class Written(NamedTuple):
    """Receipt for an object that the storage has taken.

    Attributes:
        etag: Opaque tag of this content, to be handed back as ``if_match``.
        version_id: Id of this version, or None in a bucket without versioning.
    """

    etag: str
    version_id: str | None


class Received(NamedTuple):
    """Metadata of one version of an object, whose body went to a sink.

    Attributes:
        etag: Opaque tag of its content.
        version_id: Its id, or None in a bucket without versioning.
        modified: When the storage took it, by the storage's clock, with time zone; None where the
            storage does not say.
    """

    etag: str
    version_id: str | None
    modified: datetime | None = None


class Fetched(NamedTuple):
    """One version of an object with its body: all bytes, or the first ones if so requested.

    Attributes:
        body: Its bytes.
        etag: Opaque tag of its content.
        version_id: Its id, or None in a bucket without versioning.
        modified: When the storage took it, by the storage's clock, with time zone; None where the
            storage does not say.
    """

    body: bytes
    etag: str
    version_id: str | None
    modified: datetime | None = None


Sink: TypeAlias = Callable[[int], Callable[[bytes], None]]
"""Receiver of a body as it arrives: called with its size, returns a function for each piece.

Both functions may raise, which ends the transfer at once.
"""


def hand_over(found: Fetched | None, into: Sink) -> Received | None:
    """Pass an object that is in memory to a sink, and return its metadata."""
    if found is None:
        return None  # nothing to hand over, as `Store.stream` says it
    into(len(found.body))(found.body)
    return Received(*found[1:])


class Version(NamedTuple):
    """One entry in the list of an object's versions.

    Attributes:
        version_id: Its id.
        modified: When the storage took it, by the storage's clock, with time zone.
        size: Bytes.
        is_latest: Whether the storage says that it is the current one. No version is where the
            object was deleted.
    """

    version_id: str
    modified: datetime
    size: int
    is_latest: bool


class Remains(NamedTuple):
    """Traces of a deleted object: its delete marker and its older versions.

    Attributes:
        version_id: Id of the newest version or, where none is left or none may be listed, of the
            delete marker.
        marker: Id of the delete marker; None where there is none, or none may be listed.
        deleted: When it was deleted, by the storage's clock; None where that is not known.
        versions: How many versions are left; None where none may be listed.
        more: Whether there are more versions than were counted.
    """

    version_id: str
    marker: str | None = None
    deleted: datetime | None = None
    versions: int | None = None
    more: bool = False


class Lock(NamedTuple):
    """Object lock: protection of a version from deletion by anybody.

    Attributes:
        until: When it ends, by the storage's clock; None for a legal hold, which ends when somebody
            lifts it.
    """

    until: datetime | None


class Store(Protocol):
    """Versioned key-value store with conditional writes: one prefix of one bucket.

    Names are given without the prefix. Every method raises `StorageUnavailableError` when there is
    no answer (a write may then have taken effect or not), `BucketNotFoundError`, and other
    subclasses of `StorageError` for refusals.
    """

    @property
    def ahead(self) -> timedelta:
        """Return how far the storage's clock is ahead of this machine's, by its last reply.

        Nothing before the first reply. Two hosts agree on a moment by the storage's clock alone, so
        this machine's may be set since that reply.
        """
        ...

    async def get(
        self,
        name: str,
        *,
        version_id: str | None = None,
        first_bytes: int | None = None,
        if_none_match: str | None = None,
    ) -> Fetched | None:
        """Read an object's current version, or the version with the given id.

        Args:
            name: Name of the object, such as ``head``.
            version_id: Id of a version to read in place of the current one.
            first_bytes: Number of bytes to read from the start, and to hold in memory, at most.
            if_none_match: An ETag. If the object still has it, `NotModified` is raised, and the
                body is not transferred where the storage can be asked on that condition.

        Returns:
            The version, with its body. None where there surely is none. A storage that answers
            with another version than the one asked for, as it keeps no versions, has none of that
            id.

        Raises:
            NotModified: The object still has the ETag `if_none_match`.
        """
        ...

    async def stream(
        self, name: str, into: Sink, *, if_none_match: str | None = None
    ) -> Received | None:
        """Read an object's current version into a sink, piece by piece.

        Args:
            name: Name of the object.
            into: Sink for the body. It is called when a transfer begins, at least once for an
                object that is there, and again when the transfer has to begin anew: everything
                that arrived before is void then. An exception of the sink ends the transfer, and
                is raised as it is.
            if_none_match: As for `get`. Where the storage cannot be asked on that condition, the
                sink may have been given a body when `NotModified` is raised.

        Returns:
            Metadata of the version, once all of the body was handed over. None where there surely
            is no object; the sink was not called then.

        Raises:
            NotModified: The object still has the ETag `if_none_match`.
        """
        ...

    async def get_range(
        self, name: str, start: int, length: int, *, etag: str, version_id: str | None = None
    ) -> bytes | None:
        """Read the bytes ``body[start : start + length]`` of exactly one version of an object.

        Args:
            name: Name of the object.
            start: Number of the first byte, counted from 0.
            length: Number of bytes. There are fewer, or none, where the object ends before.
            etag: ETag of the version.
            version_id: Its id; None, in a bucket without versioning: it has to be the current one.

        Returns:
            The bytes. None where the version surely is not there any more: it was replaced, deleted
            or expired. A storage that answers with a version of another ETag has not got this one.
        """
        ...

    async def put(self, name: str, body: bytes | Body, *, if_match: str | None) -> Written:
        """Write an object on the condition that its current version has this ETag.

        Args:
            name: Name of the object.
            body: All of its bytes, or where to read them while the call lasts.
            if_match: ETag of the version to replace; None: the object must not exist.

        Raises:
            PreconditionFailed: The condition does not hold. Nothing was written by this call or,
                where the store tries again by itself, at least not by its last try: read the object
                to know.
        """
        ...

    async def overwrite(self, name: str, body: bytes | Body) -> Written:
        """Write an object without a condition: only for storage that knows no conditions."""
        ...

    def versions(self, name: str) -> AsyncIterator[Version]:
        """Iterate over an object's versions without its delete markers, in no particular order.

        Raises:
            StorageError: Also where the storage does not come to an end of the list.
        """
        ...

    async def remains(self, name: str) -> Remains | None:
        """Return the traces of an object that `get` does not find.

        None if there never was one, as far as the storage tells: a bucket without versioning keeps
        no traces, and without the permission to list versions only some storages say that an object
        was deleted (AWS S3 and MinIO do, in the answer to a read).
        """
        ...

    async def neighbours(self, name: str) -> list[str]:
        """Return sibling prefixes that hold an object of this name, the most similar one first.

        For the warning of a mistyped prefix: a few at most, and as far as they may be listed.
        """
        ...

    def twin(self) -> Store:
        """Return another store of the same place, for an event loop in a thread of its own.

        One that keeps nothing of an event loop may return itself. Close it as well.
        """
        ...

    async def place(self) -> str:
        """Return an identifier of this bucket of this storage, to record its abilities under."""
        ...

    async def close(self) -> None:
        """Release connections. A later call opens them again."""
        ...


class Archive(Store, Protocol):
    """Store whose versions can be deleted: for operators, since a bot never has the permission."""

    async def delete(self, name: str, version_ids: Sequence[str]) -> list[str]:
        """Delete versions of an object for good. A version that is gone already is no error.

        Returns:
            Ids of versions that the storage refused to delete, for want of permission or since they
            are locked. All others are deleted.
        """
        ...

    async def lock(self, name: str, version_id: str) -> Lock | None:
        """Return the lock on a version, or None if there is none that the storage tells of."""
        ...
