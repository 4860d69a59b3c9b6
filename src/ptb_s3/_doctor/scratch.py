"""Objects to try a storage on, under ``doctor/``: raced for, timed, and cleared away."""

from __future__ import annotations

import asyncio
import itertools
import statistics
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping

from ptb_s3._doctor.evidence import NOTHING_ELSE, SAME_AS_SEEN, Latency, Left, Race
from ptb_s3._s3 import S3Store
from ptb_s3._s3_answers import Answer
from ptb_s3._store import PreconditionFailed, Written
from ptb_s3.errors import (
    AccessDeniedError,
    PersistenceError,
    StorageError,
    StorageUnavailableError,
)

FOLDER = "doctor/"
"""Under the prefix: what lies in it is nobody's state, and a lifecycle rule may remove it."""
WRITERS = 16

_UNVERSIONED = "null"
NO_ETAG = f'"{"0" * 32}"'
"""Of the form that S3's have, and no object's."""


class Scratch:
    """Objects whose loss is no loss. What was begun of a write goes on if its caller is cancelled.

    Args:
        store: Where they lie.
        token: Makes their names nobody else's.
    """

    def __init__(self, store: S3Store, token: str) -> None:
        self.name = FOLDER + token
        self._store = store
        self._once = store.alike(once=True)
        self._known: dict[str, set[str]] = {}
        self._writes: set[asyncio.Task[Written]] = set()
        self._serial = itertools.count(1)

    @property
    def key(self) -> str:
        """The main object's full key."""
        return self._store.prefix + self.name

    @property
    def tried(self) -> bool:
        """Whether there may be anything to clear away."""
        return bool(self._writes)

    async def write(self, *, if_match: str | None) -> Written:
        """Write the object while nobody else does.

        Raises:
            StorageError: Also where the storage refuses what it must accept.
        """
        body = self._body()
        try:
            return await self._begin(self.name, body, if_match)
        except PreconditionFailed:
            fetched = await self._store.get(self.name)
        if fetched is None or fetched.body != body:  # else the reply to a first attempt was lost
            condition = NOTHING_ELSE if if_match is None else SAME_AS_SEEN
            raise StorageError(
                f"The storage refuses a write of {self.key!r} whose condition ({condition}) holds. "
                "A bot could save nothing there. Use another storage; the README lists providers."
            )
        return Written(fetched.etag, fetched.version_id)

    async def race(self, if_match: str | None, *, aside: str = "") -> Race:
        """Let writers of different bodies write the same object on the same condition, at once.

        Args:
            if_match: The condition, as for `Store.put`.
            aside: Put behind the object's name, where the race is for another object.

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
        """Return which writes that must be refused are not, of those that can be tried alone.

        The object must exist.

        Args:
            outdated: ETag of an earlier version of it.
        """
        trials: dict[str, tuple[str | None, str]] = {
            f"{NOTHING_ELSE} on an object that exists": (None, ""),
            f"{SAME_AS_SEEN} with an outdated ETag": (outdated, ""),
            f"{SAME_AS_SEEN} on an object that does not exist": (NO_ETAG, "-missing"),
        }
        found = []
        for trial, (if_match, aside) in trials.items():
            try:
                await self._begin(self.name + aside, self._body(), if_match)
            except PreconditionFailed:
                continue
            found.append(trial)
        return found

    async def latency(self, requests: int) -> tuple[Latency, Latency]:
        """Return how long it takes to get the object, and to put it. It must exist."""
        fetched = await self._store.get(self.name)
        etag = fetched.etag if fetched is not None else None

        async def replace() -> None:
            nonlocal etag
            etag = (await self.write(if_match=etag)).etag

        gets = [await _timed(lambda: self._store.get(self.name)) for _ in range(requests)]
        puts = [await _timed(replace) for _ in range(requests)]
        return _latency(gets), _latency(puts)

    async def may_delete(self) -> bool:
        """Tell whether versions may be deleted, by deleting one that does not exist."""
        try:
            return not await self._store.delete(self.name, [_UNVERSIONED])
        except StorageUnavailableError:
            raise
        except StorageError:
            return False

    async def clear(self) -> Left:
        """Delete every version of what was written, once what was begun has ended; tell the rest.

        Where that is not allowed, a delete marker is laid on top, so that lifecycle rules for
        versions that were replaced see to it.
        """
        await asyncio.gather(*self._writes, return_exceptions=True)
        await self._once.close()
        try:
            return await self._clear() if self._known else Left({})
        except PersistenceError as error:
            return Left(self._counted(self._known), counted=False, fault=str(error))

    async def _clear(self) -> Left:
        listed = await self._list()
        before = self._known if listed is None else listed
        hidden = False
        try:
            refused = [await self._store.delete(name, sorted(ids)) for name, ids in before.items()]
            denied = any(refused)
        except AccessDeniedError:
            denied = True
        if denied:
            hidden = await self._hide(name for name, ids in before.items() if ids)
        after = await self._list()
        counted = after is not None
        if after is None:
            after = {
                name: ids
                for name, ids in before.items()
                if denied or await self._is_there(name)  # a marker may be on top of it
            }
        gone = sum(len(ids - after.get(name, set())) for name, ids in before.items())
        return Left(self._counted(after), gone, denied, hidden, counted)

    async def _list(self) -> dict[str, set[str]] | None:
        """Return the versions and delete markers that there are, by name; None if nobody says."""
        page = await self._store.ask("list_object_versions", Prefix=self.key)
        if isinstance(page, Answer):
            return None
        found: dict[str, set[str]] = {}
        for entry in [*page.get("Versions", []), *page.get("DeleteMarkers", [])]:
            name = str(entry["Key"]).removeprefix(self._store.prefix)
            found.setdefault(name, set()).add(str(entry["VersionId"]))
        return found

    async def _hide(self, names: Iterable[str]) -> bool:
        """Delete objects by key, not by version; tell whether that is allowed."""
        keys = [self._store.prefix + name for name in names]
        answers = [await self._store.ask("delete_object", key=key) for key in keys]
        return bool(answers) and not any(isinstance(answer, Answer) for answer in answers)

    async def _is_there(self, name: str) -> bool:
        try:
            return await self._store.get(name, first_bytes=1) is not None
        except StorageError:
            return True

    def _counted(self, found: Mapping[str, set[str]]) -> dict[str, int]:
        return {self._store.prefix + name: len(ids) for name, ids in found.items() if ids}

    async def _begin(
        self, name: str, body: bytes, if_match: str | None, *, once: bool = False
    ) -> Written:
        """Write an object; the request goes on if whoever awaits it is cancelled.

        Args:
            name: The object.
            body: What to write.
            if_match: The condition, as for `Store.put`.
            once: Do not ask again where there is no answer: an attempt that is given up is still
                with the storage, and may take effect when all is over.
        """
        store = self._once if once else self._store
        task = asyncio.create_task(self._put(store, name, body, if_match))
        self._writes.add(task)
        return await asyncio.shield(task)

    async def _put(self, store: S3Store, name: str, body: bytes, if_match: str | None) -> Written:
        ids = self._known.setdefault(name, set())
        written = await store.put(name, body, if_match=if_match)
        ids.add(written.version_id or _UNVERSIONED)
        return written

    def _body(self) -> bytes:
        """Return what no other write has: the same body would have the same ETag."""
        return b"write %d" % next(self._serial)


async def _timed(call: Callable[[], Awaitable[object]]) -> float:
    began = time.perf_counter()
    await call()
    return (time.perf_counter() - began) * 1000


def _latency(times: list[float]) -> Latency:
    p95 = statistics.quantiles(times, n=20, method="inclusive")[-1]
    return Latency(len(times), statistics.median(times), p95)
