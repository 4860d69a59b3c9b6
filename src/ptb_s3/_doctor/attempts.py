"""Attempts on a storage: each permission by its use, and each write that must be refused.

Only what is seen to work, or seen to be refused, counts: no setting of the bucket and no policy is
believed.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, TypeVar

from ptb_s3._doctor.evidence import Older, Part, Past, Race, Verdict
from ptb_s3._doctor.past import look_back
from ptb_s3._doctor.scratch import Scratch
from ptb_s3._format.container import HEAD
from ptb_s3._storage.answers import Answer, Question, means_denied
from ptb_s3._storage.conditional import NO_ETAG
from ptb_s3._storage.contract import Fetched, PreconditionFailed, Store, Written
from ptb_s3._storage.ranges import PARTIAL, Span
from ptb_s3._storage.s3 import S3Store
from ptb_s3.errors import AccessDeniedError, NoHistoryError, StorageError, StorageUnavailableError

READ, LIST, WRITE = "read", "list", "write"
"""Kinds of access, in findings."""

_ROUNDS = 8
"""Races on each condition: a storage that lets two win does not do so in every race."""
_ENOUGH = 60.0
"""Seconds after which no further race begins, if one was decided.

SeaweedFS 4.48 has each writer wait for its turn, now and then for seconds; a storage that lets two
win is quick about it.
"""
_UNDECIDED = 3
"""Undecided races after which no further race begins."""
_REFUSED_FOR_THE_OBJECT = frozenset({404, 412})
"""HTTP statuses of a write that is allowed, and refused because of the object that is there."""
_OF_A_DIGEST = frozenset({400, 422})
"""HTTP statuses of a body with another digest than its header states."""
_WRONG_DIGEST = base64.b64encode(bytes(16)).decode()
"""MD5 digest, in base64, that no known content has."""
_T = TypeVar("_T")


class Attempts:
    """Collector of evidence: each method tries one thing, and stores the outcome in an attribute.

    An outcome is None as long as it is not known. Methods raise errors of the storage; a missing
    permission is an outcome.

    Args:
        store: The place.
        scratch: Objects to try things on.

    Attributes:
        written: Receipt of the scratch object's first version, if it could be written.
        permissions: Whether the credentials have each permission that a bot needs, by its name.
        anybody: Whether each kind of access (`READ`, `LIST`, `WRITE`) is granted to anybody.
        outside: Whether each kind of access (`READ`, `WRITE`) is granted outside the prefix.
        races: Most telling race on each condition.
        accepted: Writes that were accepted and had to be refused; see `Scratch.accepted`.
        above_marker: Faults of conditions above a delete marker.
        before_suspension: State of a head that is older than a suspension of versioning; None:
            there is no such head.
        past: Evidence about the list of versions.
        part: Answer to a request for a range.
    """

    def __init__(self, store: S3Store, scratch: Scratch) -> None:
        self._store = store
        self._scratch = scratch
        self.written: Written | None = None
        self.permissions: dict[str, bool | None] = dict.fromkeys(
            ("PutObject", "GetObject", "GetObjectVersion", "ListBucket", "ListBucketVersions")
        )
        self.anybody: dict[str, bool | None] = {}
        self.outside: dict[str, bool | None] = {}
        self.races: tuple[Race, ...] = ()
        self.accepted: list[str] | None = None
        self.above_marker: list[str] | None = None
        self.before_suspension: Older | None = None
        self.past: Past | None = None
        self.part: Part | None = None

    @property
    def conditions_hold(self) -> bool:
        """Return whether conditional writes are proven to be refused where they must be."""
        proven = all(race.verdict is Verdict.PROVEN for race in self.races)
        return proven and self.accepted == []

    async def create(self) -> None:
        """Write the scratch object.

        Raises:
            StorageError: The storage cannot. A missing permission is an outcome instead.
        """
        self.written = await self._use("PutObject", self._scratch.write(if_match=None))

    async def use_permissions(self) -> None:
        """Use each permission that a bot needs, other than PutObject."""
        name = HEAD if self.written is None else self._scratch.name
        await self._use("GetObject", self._store.get(name))
        version_id = None if self.written is None else self.written.version_id
        if version_id is not None:
            version = self._store.get(name, version_id=version_id)
            await self._use("GetObjectVersion", version)
        elif self.written is not None:
            del self.permissions["GetObjectVersion"]  # there are no versions to get
        if self.permissions["GetObject"]:
            # Of what does not exist, S3 says so only to those who may list the bucket.
            absent = self._store.get(f"{self._scratch.name}-absent")
            await self._use("ListBucket", absent)
        try:
            await self._use("ListBucketVersions", _drained(self._store, name))
        except StorageUnavailableError:
            raise
        except StorageError:
            del self.permissions["ListBucketVersions"]  # the storage keeps no versions

    async def ask_as_anybody(self) -> None:
        """Try without credentials: to list the bucket, and to read and write the scratch object."""
        anybody = self._store.alike(anonymous=True)
        try:
            self.anybody[LIST] = await self._is_let_in(anybody.ask("list_objects_v2", MaxKeys=1))
            if self.written is not None:
                name = self._scratch.name
                self.anybody[READ] = await self._is_let_in(anybody.get(name))
                self.anybody[WRITE] = await self._is_let_in(anybody.put(name, b"", if_match=None))
        finally:
            await anybody.close()

    async def race(self, written: Written) -> None:
        """Let writers race on either condition.

        Args:
            written: Receipt of the scratch object's first version, which is still current.
        """
        await self._scratch.write(if_match=written.etag)
        races = (_telling(self._race_to_create), _telling(self._race_to_replace))
        runs = await asyncio.gather(*races, return_exceptions=True)  # none goes on by itself
        for run in runs:
            if isinstance(run, BaseException):
                raise run
        self.races = tuple(run for run in runs if isinstance(run, Race))

    async def write_alone(self, written: Written) -> None:
        """Try one by one the writes that must be refused, after `race`.

        Args:
            written: Receipt of the scratch object's first version, which was replaced.
        """
        self.accepted = await self._scratch.accepted(written.etag)

    async def write_above_a_marker(self) -> None:
        """Try conditions on an object that was deleted."""
        self.above_marker = await self._scratch.above_a_marker()

    async def write_before_a_suspension(self) -> None:
        """Try the right condition on a head that is older than the suspension of versioning.

        No object of our own can be so old. So head is sent as it is, with a digest that is wrong:
        the storage refuses it either way. If it does so for the condition, that is the fault.
        """
        head = await self._store.get(HEAD)
        if head is None or head.version_id is None:
            return
        self.before_suspension = Older.UNPROVEN
        scratch = await self._store.get(self._scratch.name)
        if scratch is None or not self.conditions_hold:
            return
        if await self._refusal(self._scratch.name, scratch) not in _OF_A_DIGEST:
            return  # it may not look at digests
        if await self._refusal(HEAD, head) in _REFUSED_FOR_THE_OBJECT:
            self.before_suspension = Older.REFUSED

    async def _refusal(self, name: str, there: Fetched) -> int | None:
        """Replace an object by itself with a wrong digest, and return the status of the refusal."""
        answer = await self._store.ask(
            "put_object",
            key=self._store.prefix + name,
            Body=there.body,
            IfMatch=there.etag,
            ContentMD5=_WRONG_DIGEST,
        )
        return answer.status if isinstance(answer, Answer) else None

    async def look_back(self) -> None:
        """Compare the list of versions with what was written, if versions are listed."""
        with suppress(NoHistoryError, AccessDeniedError):
            self.past = await look_back(self._store, *await self._scratch.history())

    async def read_a_range(self) -> None:
        """Read some bytes of the scratch object, as a bot reads some users."""
        name, start, length = self._scratch.name, 2, 3
        there = await self._store.get(name)
        if there is None:
            return
        try:
            part = await self._store.get_range(
                name, start, length, etag=there.etag, version_id=there.version_id
            )
        except StorageUnavailableError:
            raise
        except StorageError:
            part = None
        if part != there.body[start : start + length]:
            self.part = Part.OTHER
            return
        key, header = self._store.prefix + name, Span(start, length).header()
        asked = await self._store.ask("get_object", key=key, Range=header)
        if not isinstance(asked, Answer):
            asked["Body"].close()
            alone = asked["ResponseMetadata"]["HTTPStatusCode"] == PARTIAL
            self.part = Part.ALONE if alone else Part.WHOLE

    async def reach_outside(self) -> None:
        """Try to read and to replace an object outside the prefix that does not exist."""
        if not self._store.prefix:
            return  # all of the bucket is the bot's
        self.outside = {READ: None, WRITE: None}
        other = "y" if self._store.prefix.startswith("x") else "x"
        key = f"{other}-ptb-s3-{self._scratch.name.replace('/', '-')}"
        self.outside[READ] = self._may(await self._store.ask("head_object", key=key))
        if self.conditions_hold:
            put = self._store.ask("put_object", key=key, Body=b"", IfMatch=NO_ETAG)
            self.outside[WRITE] = self._may(await put)

    async def _race_to_create(self, again: int) -> Race:
        return await self._scratch.race(None, aside=f"-race{again}")

    async def _race_to_replace(self, _: int) -> Race:
        fetched = await self._store.get(self._scratch.name)
        return await self._scratch.race(fetched and fetched.etag)

    async def _use(self, permission: str, use: Awaitable[_T]) -> _T | None:
        """Use a permission, record whether it is granted, and return the result."""
        try:
            result = await use
        except AccessDeniedError:
            self.permissions[permission] = False
            return None
        self.permissions[permission] = True
        return result

    async def _is_let_in(self, request: Awaitable[Any]) -> bool | None:
        """Tell whether a request without credentials is granted, or None if that stays open."""
        try:
            answer = await request
        except AccessDeniedError:
            return False
        except PreconditionFailed:
            return True  # the object was in the way, and not a missing permission
        except StorageError:
            return None
        if isinstance(answer, Answer):
            return False if self._is_denial(answer) else None
        return None if answer is None else True

    def _may(self, answer: dict[str, Any] | Answer) -> bool | None:
        """Tell whether an answer means that the request is allowed, or None if that stays open."""
        if not isinstance(answer, Answer) or answer.status in _REFUSED_FOR_THE_OBJECT:
            return True
        return False if self._is_denial(answer) else None

    def _is_denial(self, answer: Answer) -> bool:
        return means_denied(Question("look at", self._store.bucket, ""), answer)


async def _telling(race: Callable[[int], Awaitable[Race]]) -> Race:
    """Run up to eight races and return the most telling one: with two winners, else with one.

    A storage that looks before it writes, without a lock, lets a few of many writers win, and not
    in each race (s3proxy 3.1.0 up to 11 of 16, S3Mock 5.2.0 up to 4).
    """
    runs: list[Race] = []
    loop = asyncio.get_running_loop()
    until = loop.time() + _ENOUGH
    for again in range(_ROUNDS):
        runs.append(await race(again))
        verdicts = [run.verdict for run in runs]
        if Verdict.BROKEN in verdicts:
            return runs[-1]
        if verdicts.count(Verdict.OPEN) == _UNDECIDED:
            break
        if Verdict.PROVEN in verdicts and loop.time() > until:
            break
    proven = [run for run in runs if run.verdict is Verdict.PROVEN]
    return proven[0]._replace(rounds=len(proven)) if proven else runs[-1]


async def _drained(store: Store, name: str) -> None:
    async for _ in store.versions(name):
        pass
