"""Store in memory: the shortest implementation of the contract, with faults on demand.

It never awaits anything, so that a simulation decides by itself when a call takes effect.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple, Self

from ptb_s3._storage.body import Body, joined
from ptb_s3._storage.contract import (
    Fetched,
    Lock,
    NotModified,
    PreconditionFailed,
    Received,
    Remains,
    Sink,
    Version,
    Written,
    hand_over,
)
from ptb_s3._storage.faults import Call, Fault, ProcessKilled
from ptb_s3.errors import StorageUnavailableError


class _Stored(NamedTuple):
    """One version of an object, with its receipt and its time."""

    body: bytes
    written: Written
    modified: datetime


class MemoryStore:
    """`Archive` in memory, with history, delete markers, conditional writes and faults.

    Args:
        versioned: Whether it keeps old versions, as a versioned bucket does.
        clock: Returns the time that versions are marked with, with time zone.
        faults: Called before every call; returns the fault to inject, or None.

    Attributes:
        calls: Every call so far, in order.
        ahead: See `Store.ahead`; to be set by tests.
        locked: Locks by version id; to be filled by tests.
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
        self.ahead = timedelta()
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
        if_none_match: str | None = None,
    ) -> Fetched | None:
        """See `Store.get`."""
        fault = self._begin("get", name)
        found = self._found(name, version_id)
        self._end(fault)
        if found is None:
            return None
        if found.written.etag == if_none_match:
            raise NotModified(name)
        return Fetched(found.body[:first_bytes], *found.written, found.modified)

    async def stream(
        self, name: str, into: Sink, *, if_none_match: str | None = None
    ) -> Received | None:
        """See `Store.stream`. It counts as a call of ``get``, and hands over one piece."""
        return hand_over(await self.get(name, if_none_match=if_none_match), into)

    async def get_range(
        self, name: str, start: int, length: int, *, etag: str, version_id: str | None = None
    ) -> bytes | None:
        """See `Store.get_range`."""
        fault = self._begin("get_range", name)
        found = self._found(name, version_id)
        self._end(fault)
        if found is None or found.written.etag != etag:
            return None
        return found.body[start : start + length]

    async def put(self, name: str, body: bytes | Body, *, if_match: str | None) -> Written:
        """See `Store.put`."""
        fault = self._begin("put", name)
        current = self._current.get(name)
        if if_match != (current and current.written.etag):
            self._end(fault)
            raise PreconditionFailed(name)
        written = self.replace(name, joined(body))
        self._end(fault)
        return written

    async def overwrite(self, name: str, body: bytes | Body) -> Written:
        """See `Store.overwrite`."""
        fault = self._begin("put", name)
        written = self.replace(name, joined(body))
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

    def twin(self) -> Self:
        """See `Store.twin`. Its methods never wait, so that it serves any thread."""
        return self

    async def place(self) -> str:
        """See `Store.place`."""
        return "memory"

    async def close(self) -> None:
        """See `Store.close`."""

    def replace(self, name: str, body: bytes) -> Written:
        """Write an object without a fault and without a call, as an outsider would."""
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
        """Delete an object as an outsider would.

        Args:
            name: Name of the object.
            version_id: Version to delete for good; None lays a delete marker on top.
        """
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

    def _found(self, name: str, version_id: str | None) -> _Stored | None:
        if version_id is None:
            return self._current.get(name)
        history = self._history.get(name, [])
        return next((s for s in history if (s.written.version_id or "null") == version_id), None)

    def _begin(self, operation: str, name: str) -> Fault | None:
        """Record a call, and inject its fault or return one that comes after the effect."""
        call = Call(len(self.calls) + 1, operation, name)
        self.calls.append(call)
        fault = self.faults(call)
        if fault is Fault.KILL_BEFORE:
            raise ProcessKilled
        if fault is Fault.FAIL_BEFORE:
            raise StorageUnavailableError(f"The storage gave no answer for object {name!r}.")
        return fault

    def _end(self, fault: Fault | None) -> None:
        """Inject a fault that comes after the effect."""
        if fault is Fault.KILL_AFTER:
            raise ProcessKilled
        if fault is Fault.FAIL_AFTER:
            raise StorageUnavailableError("The storage's answer was lost.")
