"""Objects to try a storage on, under ``doctor/``: raced for, timed, and cleared away."""

from __future__ import annotations

import asyncio
import itertools
import statistics
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence

from ptb_s3._doctor.evidence import NOTHING_ELSE, SAME_AS_SEEN, Latency, Left, Race
from ptb_s3._storage.answers import Answer
from ptb_s3._storage.conditional import NO_ETAG, form_of, has_other_form
from ptb_s3._storage.contract import PreconditionFailed, Written
from ptb_s3._storage.s3 import S3Store
from ptb_s3.errors import (
    PersistenceError,
    StorageError,
    StorageUnavailableError,
)

FOLDER = "doctor/"
"""Under the prefix: what lies in it is nobody's state, and a lifecycle rule may remove it."""
WRITERS = 16
_VERSIONS = 12
"""Enough for three pages of a list, of five each, the last one of two."""

_UNVERSIONED = "null"


class Scratch:
    """Objects whose loss is no loss. What was begun of a write goes on if its caller is cancelled.

    Args:
        store: Where they lie.
        token: Makes their names nobody else's.

    Attributes:
        unquoted: Whether the storage takes right ETags without their quotation marks alone, as a
            bot then gives them.
    """

    def __init__(self, store: S3Store, token: str) -> None:
        self.name = FOLDER + token
        self.unquoted = False
        self._store = store
        self._once = store.alike(once=True)
        self._known: dict[str, dict[str, bytes]] = {}
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

    async def write(self, *, if_match: str | None, aside: str = "") -> Written:
        """Write the object while nobody else does.

        Args:
            if_match: The condition, as for `Store.put`.
            aside: Put behind the object's name, where it is another one.

        Raises:
            StorageError: Also where the storage refuses what it must accept.
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
                f"({condition}) holds. A bot could save nothing there. Use another storage; the "
                "README lists providers."
            )
        return written

    async def _written(self, name: str, body: bytes, if_match: str | None) -> Written | None:
        """Write an object; None if that is refused."""
        try:
            return await self._begin(name, body, if_match)
        except PreconditionFailed:
            fetched = await self._store.get(name)
        if fetched is None or fetched.body != body:
            return None
        self._known[name][fetched.version_id or _UNVERSIONED] = body
        return Written(fetched.etag, fetched.version_id)  # the reply to a first attempt was lost

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
        return [
            trial
            for trial, (if_match, aside) in trials.items()
            if await self._takes(self.name + aside, if_match)
        ]

    async def above_a_marker(self) -> list[str] | None:
        """Return what is wrong with conditions where an object was deleted; None: not to be tried.

        In a versioned bucket, a delete marker lies above its versions then: there is no object.
        """
        name, faults = f"{self.name}-deleted", []
        written = await self.write(if_match=None, aside="-deleted")
        # In this order: SeaweedFS 4.48 keeps a marker whose id is `null` until it is written over.
        for condition, if_match in ((SAME_AS_SEEN, written.etag), (NOTHING_ELSE, None)):
            if not await self._mark(name):
                return None  # that takes DeleteObject, which no bot needs
            taken = await self._takes(name, if_match)
            if taken != (condition == NOTHING_ELSE):
                faults.append(f"{condition} is {'taken' if taken else 'refused'}")
        return faults

    async def _mark(self, name: str) -> bool:
        """Delete an object by key, which leaves a marker; tell whether that is allowed."""
        answer = await self._store.ask("delete_object", key=self._store.prefix + name)
        if isinstance(answer, Answer):
            return False
        if answer.get("VersionId"):
            self._known.setdefault(name, {})[str(answer["VersionId"])] = b""
        return True

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
            The object's name; and its versions, the oldest first, and what each holds.
        """
        aside, etag = "-history", None
        for _ in range(_VERSIONS):
            etag = (await self.write(if_match=etag, aside=aside)).etag
        return self.name + aside, dict(self._known[self.name + aside])

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

    async def may_delete(self, *, by_key: bool) -> bool:
        """Tell whether what is written may be deleted for good, by deleting what does not exist.

        Args:
            by_key: Whether that is so of what is deleted without a version's id, too, since no
                versions are kept. versitygw 1.8.0 then refuses the id `null`.
        """
        if await self._delete(self.name, {_UNVERSIONED}):
            return True
        return by_key and await self._mark(self.name)

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
        before = {name: {*ids} for name, ids in self._known.items()} if listed is None else listed
        denied = [name for name, ids in before.items() if not await self._delete(name, ids)]
        # Without a list, there may be what was written and whose id was not told.
        rest = [name for name in before if listed is None and await self._is_there(name)]
        hidden = await self._hide(dict.fromkeys([*denied, *rest]))
        after = await self._list()
        counted = after is not None
        if after is None:
            after = {name: ids for name, ids in before.items() if await self._is_left(name, denied)}
        gone = sum(len(ids - after.get(name, set())) for name, ids in before.items())
        return Left(self._counted(after), gone, bool(denied), hidden, counted)

    async def _delete(self, name: str, ids: set[str]) -> bool:
        """Delete versions; tell whether that is allowed, and possible."""
        try:
            return not (ids and await self._store.delete(name, sorted(ids)))
        except StorageUnavailableError:
            raise
        except StorageError:
            return False

    async def _is_left(self, name: str, denied: Sequence[str]) -> bool:
        """Tell whether there is something of an object, as far as it is known without a list."""
        versions = self._known[name].keys() - {_UNVERSIONED}
        return bool(name in denied and versions) or await self._is_there(name)

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
        allowed = [await self._mark(name) for name in names]
        return bool(allowed) and all(allowed)

    async def _is_there(self, name: str) -> bool:
        try:
            return await self._store.get(name, first_bytes=1) is not None
        except StorageError:
            return True

    def _counted(self, found: Mapping[str, Collection[str]]) -> dict[str, int]:
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
        ids = self._known.setdefault(name, {})
        if if_match is not None:
            if_match = form_of(if_match, self.unquoted)
        written = await store.put(name, body, if_match=if_match)
        ids[written.version_id or _UNVERSIONED] = body
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
