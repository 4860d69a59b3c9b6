"""Scratch objects under ``doctor/``: written, raced for, timed, and handed to the clean-up."""

from __future__ import annotations

import asyncio
import itertools
import statistics
import time
from collections.abc import Awaitable, Callable

from ptb_s3._doctor.clearing import UNVERSIONED, Clearing, Known
from ptb_s3._doctor.evidence import NOTHING_ELSE, SAME_AS_SEEN, Latency, Left, Race
from ptb_s3._storage.conditional import NO_ETAG, form_of, has_other_form
from ptb_s3._storage.contract import PreconditionFailed, Written
from ptb_s3._storage.s3 import S3Store
from ptb_s3.errors import (
    StorageError,
    StorageUnavailableError,
)

FOLDER = "doctor/"
"""Folder under the prefix. Nothing in it is a state, and a lifecycle rule may remove it."""
WRITERS = 16
"""Writers in a race (our choice)."""
_VERSIONS = 12
"""Versions of an object: three pages of a list, of five each, the last one of two."""


class Scratch:
    """Writer of objects whose loss is no loss.

    A write goes on if its caller is cancelled, so that `clear` knows of everything that was sent.

    Args:
        store: The place.
        token: Random text that makes the objects' names unique.

    Attributes:
        name: Name of the main object, which the names of all others begin with.
        unquoted: Whether the storage takes ETags only without their quotation marks, as a bot then
            sends them.
    """

    def __init__(self, store: S3Store, token: str) -> None:
        self.name = FOLDER + token
        self.unquoted = False
        self._store = store
        self._once = store.alike(once=True)
        self._known: Known = {}
        self._clearing = Clearing(store, self.key, self._known)
        self._writes: set[asyncio.Task[Written]] = set()
        self._serial = itertools.count(1)

    @property
    def key(self) -> str:
        """Return the full key of the main object."""
        return self._store.prefix + self.name

    @property
    def tried(self) -> bool:
        """Return whether anything was sent that may have to be cleared away."""
        return bool(self._writes)

    async def write(self, *, if_match: str | None, aside: str = "") -> Written:
        """Write an object while nobody else does.

        Args:
            if_match: Condition, as for `Store.put`.
            aside: Suffix of the name, for another object than the main one.

        Raises:
            StorageError: Also where the storage refuses a write that it must accept.
        """
        name, body = self.name + aside, self._body()
        written = await self._written(name, body, if_match)
        if written is None and has_other_form(if_match, self.unquoted):
            self.unquoted = True
            written = await self._written(name, body, if_match)
            self.unquoted = written is not None
        if written is None:
            condition = NOTHING_ELSE if if_match is None else SAME_AS_SEEN
            raise StorageError(
                f"The storage refuses a write of {self.key + aside!r} whose condition "
                f"({condition}) holds. A bot could save nothing there. Use another storage; "
                "docs/providers.md lists some."
            )
        return written

    async def _written(self, name: str, body: bytes, if_match: str | None) -> Written | None:
        """Write an object, or return None if that is refused."""
        try:
            return await self._begin(name, body, if_match)
        except PreconditionFailed:
            fetched = await self._store.get(name)
        if fetched is None or fetched.body != body:
            return None
        self._known[name][fetched.version_id or UNVERSIONED] = body
        return Written(fetched.etag, fetched.version_id)  # the reply to a first attempt was lost

    async def race(self, if_match: str | None, *, aside: str = "") -> Race:
        """Let writers of different bodies write the same object on the same condition, at once.

        Args:
            if_match: Condition, as for `Store.put`.
            aside: Suffix of the name, for another object than the main one.

        Raises:
            StorageError: The storage refuses the request for another reason.
        """
        name = self.name + aside
        bodies = [self._body() for _ in range(WRITERS)]
        writes = (self._begin(name, body, if_match, once=True) for body in bodies)
        results = await asyncio.gather(*writes, return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException) and not isinstance(
                result, (PreconditionFailed, StorageUnavailableError)
            ):
                raise result
        told = dict(zip(bodies, results, strict=True))
        stored = await self._store.get(name)
        won = [body for body, result in told.items() if type(result) is Written]
        if not won and stored is not None and stored.body in told:
            # Its answer was lost, or it was sent twice, and refused the second time alone.
            won = [stored.body]
        undecided = [
            body for body, result in told.items() if isinstance(result, StorageUnavailableError)
        ]
        return Race(
            NOTHING_ELSE if if_match is None else SAME_AS_SEEN,
            writers=len(bodies),
            winners=len(won),
            undecided=len({*undecided} - {*won}),
            kept=stored is not None and stored.body in won,
        )

    async def accepted(self, outdated: str) -> list[str]:
        """Return descriptions of the writes that were accepted and had to be refused.

        The main object must exist.

        Args:
            outdated: ETag of an earlier version of it.
        """
        trials: dict[str, tuple[str | None, str]] = {
            f"{NOTHING_ELSE} on an object that exists": (None, ""),
            f"{SAME_AS_SEEN} with an outdated ETag": (outdated, ""),
            f"{SAME_AS_SEEN} on an object that does not exist": (NO_ETAG, "-missing"),
        }
        return [
            trial
            for trial, (if_match, aside) in trials.items()
            if await self._takes(self.name + aside, if_match)
        ]

    async def above_a_marker(self) -> list[str] | None:
        """Return the faults of conditions on a deleted object, or None if none can be deleted.

        In a versioned bucket, a delete marker lies above its versions then: there is no object.
        """
        name, faults = f"{self.name}-deleted", []
        written = await self.write(if_match=None, aside="-deleted")
        # In this order: SeaweedFS 4.48 keeps a marker whose id is `null` until it is written over.
        for condition, if_match in ((SAME_AS_SEEN, written.etag), (NOTHING_ELSE, None)):
            if not await self._clearing.mark(name):
                return None  # that takes DeleteObject, which no bot needs
            taken = await self._takes(name, if_match)
            if taken != (condition == NOTHING_ELSE):
                faults.append(f"{condition} is {'taken' if taken else 'refused'}")
        return faults

    async def _takes(self, name: str, if_match: str | None) -> bool:
        try:
            await self._begin(name, self._body(), if_match)
        except PreconditionFailed:
            return False
        return True

    async def history(self) -> tuple[str, dict[str, bytes]]:
        """Write versions of an object one after another, while nobody else does.

        No other object's name begins with its own: SeaweedFS 4.48 leaves out versions where pages
        of a list go over several objects, which no object of a state has to bear.

        Returns:
            The object's name, and the bodies of its versions by version id, the oldest first.
        """
        aside, etag = "-history", None
        for _ in range(_VERSIONS):
            etag = (await self.write(if_match=etag, aside=aside)).etag
        return self.name + aside, dict(self._known[self.name + aside])

    async def latency(self, requests: int) -> tuple[Latency, Latency]:
        """Return the latency of reads and of writes of the main object, which must exist."""
        fetched = await self._store.get(self.name)
        etag = fetched.etag if fetched is not None else None

        async def replace() -> None:
            nonlocal etag
            etag = (await self.write(if_match=etag)).etag

        gets = [await _timed(lambda: self._store.get(self.name)) for _ in range(requests)]
        puts = [await _timed(replace) for _ in range(requests)]
        return _latency(gets), _latency(puts)

    async def may_delete(self, *, by_key: bool) -> bool:
        """Tell whether what is written may be deleted for good, as `Clearing.may_delete`."""
        return await self._clearing.may_delete(self.name, by_key=by_key)

    async def clear(self) -> Left:
        """Delete what was written, once writes under way have ended, and return what is left."""
        await asyncio.gather(*self._writes, return_exceptions=True)
        await self._once.close()
        return await self._clearing.clear()

    async def _begin(
        self, name: str, body: bytes, if_match: str | None, *, once: bool = False
    ) -> Written:
        """Write an object by a request that goes on if whoever awaits it is cancelled.

        Args:
            name: Name of the object.
            body: Its bytes.
            if_match: Condition, as for `Store.put`.
            once: Whether to wait longer rather than to try again: an attempt that is given up is
                still with the storage, and may take effect when the race is over.
        """
        store = self._once if once else self._store
        task = asyncio.create_task(self._put(store, name, body, if_match))
        self._writes.add(task)
        return await asyncio.shield(task)

    async def _put(self, store: S3Store, name: str, body: bytes, if_match: str | None) -> Written:
        ids = self._known.setdefault(name, {})
        if if_match is not None:
            if_match = form_of(if_match, self.unquoted)
        written = await store.put(name, body, if_match=if_match)
        ids[written.version_id or UNVERSIONED] = body
        return written

    def _body(self) -> bytes:
        """Return a body that no other write has: the same body would have the same ETag."""
        return b"write %d" % next(self._serial)


async def _timed(call: Callable[[], Awaitable[object]]) -> float:
    began = time.perf_counter()
    await call()
    return (time.perf_counter() - began) * 1000


def _latency(times: list[float]) -> Latency:
    p95 = statistics.quantiles(times, n=20, method="inclusive")[-1]
    return Latency(len(times), statistics.median(times), p95)
