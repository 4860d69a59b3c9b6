"""The storage contract, and its in-memory implementation.

Absence is a closed list: `get` returns None only where the storage said "no such key" for sure;
everything else that is not an object is an error. `put` is always conditional: nothing is
overwritten unseen.
"""

from __future__ import annotations

import io
import random
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime
from enum import Enum, auto
from typing import NamedTuple, Protocol, TypeAlias

from ptb_s3.errors import StorageUnavailableError


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


class Call(NamedTuple):
    """One call of a store, as a fault sees it.

    Attributes:
        number: Counted from 1, over all operations.
        operation: ``get``, ``put``, ``versions`` or ``delete``.
        name: The object.
    """

    number: int
    operation: str
    name: str


class Fault(Enum):
    """What may befall a call. After a kill, the process is to be treated as dead."""

    FAIL_BEFORE = auto()
    FAIL_AFTER = auto()
    KILL_BEFORE = auto()
    KILL_AFTER = auto()


class ProcessKilled(BaseException):
    """The process died in the middle of a call: no handler of ordinary errors sees it."""


def seeded_faults(seed: int, rate: float) -> Callable[[Call], Fault | None]:
    """Return faults that fail calls at random, before or after they took effect.

    Args:
        seed: The same seed gives the same faults.
        rate: Share of calls that fail, from 0 to 1.
    """
    rng = random.Random(seed)  # noqa: S311 - to be repeatable is the point
    choices = (Fault.FAIL_BEFORE, Fault.FAIL_AFTER)

    def fault(_: Call) -> Fault | None:
        return rng.choice(choices) if rng.random() < rate else None

    return fault


class _Stored(NamedTuple):
    body: bytes
    written: Written
    modified: datetime


class MemoryStore:
    """A store in memory, with history, conditional writes and faults on demand.

    Args:
        versioned: Whether it keeps old versions, as a versioned bucket does.
        clock: Gives the time that versions are marked with.
        faults: Asked before every call what is to befall it.

    Attributes:
        calls: Every call so far.
        locked: Locks by version id.
    """

    def __init__(
        self,
        *,
        versioned: bool = True,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        faults: Callable[[Call], Fault | None] = lambda _: None,
    ) -> None:
        self.versioned = versioned
        self.clock = clock
        self.faults = faults
        self.calls: list[Call] = []
        self.locked: dict[str, Lock] = {}
        self._history: dict[str, list[_Stored]] = {}
        self._current: dict[str, _Stored] = {}
        self._markers: dict[str, tuple[str, datetime]] = {}
        self._serial = 0

    async def get(
        self,
        name: str,
        *,
        version_id: str | None = None,
        first_bytes: int | None = None,
        unless: str | None = None,
        into: Into | None = None,
    ) -> Fetched | None:
        """See `Store.get`."""
        fault = self._begin("get", name)
        found = self._current.get(name) if version_id is None else self._version(name, version_id)
        self._end(fault)
        if found is None:
            return None
        if found.written.etag == unless:
            return Fetched(b"", *found.written, found.modified)
        body = found.body[:first_bytes]
        return hand_over(Fetched(body, *found.written, found.modified), into)

    async def put(self, name: str, body: bytes, *, if_match: str | None) -> Written:
        """See `Store.put`."""
        fault = self._begin("put", name)
        current = self._current.get(name)
        if if_match != (current and current.written.etag):
            self._end(fault)
            raise PreconditionFailed(name)
        written = self.replace(name, bytes(body))
        self._end(fault)
        return written

    async def overwrite(self, name: str, body: bytes) -> Written:
        """See `Store.overwrite`."""
        fault = self._begin("put", name)
        written = self.replace(name, bytes(body))
        self._end(fault)
        return written

    async def versions(self, name: str) -> AsyncIterator[Version]:
        """See `Store.versions`."""
        self._end(self._begin("versions", name))
        for stored in reversed(self._history.get(name, [])):
            version_id = stored.written.version_id
            latest = stored is self._current.get(name)
            yield Version(version_id or "null", stored.modified, len(stored.body), latest)

    async def remains(self, name: str) -> Remains | None:
        """See `Store.remains`."""
        self._end(self._begin("remains", name))
        versions = self._history.get(name, [])
        marker, deleted = self._markers.get(name, ("", None))
        if name in self._current or not (versions or marker):
            return None
        newest = versions[-1].written.version_id if versions else None
        return Remains(newest or marker, marker or None, deleted, len(versions))

    async def delete(self, name: str, version_ids: Sequence[str]) -> list[str]:
        """See `Archive.delete`."""
        fault = self._begin("delete", name)
        for version_id in version_ids:
            if version_id not in self.locked:
                self.lose(name, version_id)
        self._end(fault)
        return [version_id for version_id in version_ids if version_id in self.locked]

    async def lock(self, name: str, version_id: str) -> Lock | None:  # noqa: ARG002 - ids are unique
        """See `Archive.lock`."""
        return self.locked.get(version_id)

    async def neighbours(self, name: str) -> list[str]:  # noqa: ARG002 - there are none
        """See `Store.neighbours`."""
        return []

    async def place(self) -> str:
        """See `Store.place`."""
        return "memory"

    async def close(self) -> None:
        """See `Store.close`."""

    def replace(self, name: str, body: bytes) -> Written:
        """Put an object there whatever was there before, as an outsider would."""
        self._serial += 1
        version_id = f"v{self._serial}" if self.versioned else None
        stored = _Stored(body, Written(f'"{self._serial}"', version_id), self.clock())
        history = self._history.setdefault(name, [])
        if not self.versioned:
            history.clear()
        history.append(stored)
        self._current[name] = stored
        self._markers.pop(name, None)
        return stored.written

    def lose(self, name: str, version_id: str | None = None) -> None:
        """Delete an object as an outsider would: with a marker, or one version of it for good."""
        if version_id is None:
            self._current.pop(name, None)
            if self.versioned:
                self._serial += 1
                self._markers[name] = f"v{self._serial}", self.clock()
            else:
                self._history.pop(name, None)
            return
        history = self._history.get(name, [])
        history[:] = [s for s in history if s.written.version_id != version_id]
        if name in self._current and self._current[name] not in history:
            del self._current[name]
            self._current |= {name: history[-1]} if history else {}

    def current(self) -> dict[str, bytes]:
        """Return the current version of every object, by name."""
        return {name: stored.body for name, stored in self._current.items()}

    def _version(self, name: str, version_id: str) -> _Stored | None:
        history = self._history.get(name, [])
        return next((s for s in history if (s.written.version_id or "null") == version_id), None)

    def _begin(self, operation: str, name: str) -> Fault | None:
        call = Call(len(self.calls) + 1, operation, name)
        self.calls.append(call)
        fault = self.faults(call)
        if fault is Fault.KILL_BEFORE:
            raise ProcessKilled
        if fault is Fault.FAIL_BEFORE:
            raise StorageUnavailableError(f"The storage gave no answer for object {name!r}.")
        return fault

    def _end(self, fault: Fault | None) -> None:
        if fault is Fault.KILL_AFTER:
            raise ProcessKilled
        if fault is Fault.FAIL_AFTER:
            raise StorageUnavailableError("The storage's answer was lost.")
