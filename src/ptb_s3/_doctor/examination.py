"""The examination: what a storage is asked, in which order, and what keeps it from being asked.

What it can do is proven by use, on objects under ``doctor/`` that are cleared away at the end, also
where the end is Ctrl-C.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any, TypeVar
from urllib.parse import urlsplit

from ptb_s3._doctor import setup, trials
from ptb_s3._doctor.attempts import Attempts
from ptb_s3._doctor.findings import (
    TEMPLATES,
    Check,
    Finding,
    broken,
    completed,
    failed,
    ok,
    unknown,
)
from ptb_s3._doctor.scratch import FOLDER, Scratch
from ptb_s3._doctor.state import open_state
from ptb_s3._format.container import HEAD
from ptb_s3._format.entities import Kind
from ptb_s3._keys.keyring import Keyring
from ptb_s3._storage.answers import (
    PLAIN_OK,
    Answer,
    Question,
    means_denied,
    means_elsewhere,
    to_error,
)
from ptb_s3._storage.bucket_config import Bucket, ObjectLock, PublicAccess, Unknown, Versioning
from ptb_s3._storage.contract import Written
from ptb_s3._storage.lifecycle import Rule, sweepers
from ptb_s3._storage.s3 import S3Store
from ptb_s3.errors import (
    AccessDeniedError,
    BucketNotFoundError,
    PersistenceError,
    SettingsError,
    StorageError,
)

_TIMED = 20
"""Requests whose latency is measured, of each kind."""
_NOBODY = "000000000000"
"""Of the form that ids of AWS accounts have, and none's."""

_BLAMED: tuple[tuple[type[PersistenceError], Check], ...] = (
    (SettingsError, Check.SETTINGS),
    (BucketNotFoundError, Check.BUCKET),
    (AccessDeniedError, Check.CREDENTIALS),
    (PersistenceError, Check.CONNECTION),
)
_T = TypeVar("_T")


class Examination:
    """One look at the place of a bot's state. Run it once.

    Args:
        store: The place.
        keys: Open the state.
        name: What the place is called, such as its URL.
        token: Makes the names of scratch objects nobody else's.
        now: This machine's clock.
        report: Told how many checks are done.
    """

    def __init__(
        self,
        store: S3Store,
        keys: Keyring,
        name: str,
        *,
        token: str,
        now: Callable[[], datetime],
        report: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._store, self._keys, self._name = store, keys, name
        self._now, self._report = now, report
        self._scratch = Scratch(store, token)
        self._attempts = Attempts(store, self._scratch)
        self._findings: dict[Check, Finding] = {}
        self._on_aws = False
        self._region = ""
        self._versioning: Versioning | Unknown | None = None
        self._rules: tuple[Rule, ...] | Unknown | None = None
        self._public: PublicAccess | None = None
        self._lock: ObjectLock | Unknown | None = None

    @property
    def cleared(self) -> Finding | None:
        """What became of what the examination wrote, once that is known."""
        return self._findings.get(Check.CLEAN_UP)

    async def run(self) -> tuple[Finding, ...]:
        """Look into everything that can be looked into, and clear away what that took.

        Returns:
            A finding for each check, in their order.
        """
        try:
            if await self._reach():
                await self._look()
                await self._try()
        finally:
            await self._clear()
        ids = ", ".join(self._keys.ids[1:])
        opens = f", and opens what was sealed with {ids}" if ids else ""
        older = ", ".join(self._keys.history_ids)
        opens += f"; opens older versions with {older}" if older else ""
        self._add(ok(Check.SETTINGS, f"{self._name}; seals with key {self._keys.ids[0]}{opens}"))
        return completed(self._findings)

    def _add(self, finding: Finding) -> None:
        """Take down a finding. The first one of a check stays."""
        self._findings.setdefault(finding.check, finding)
        self._report(len(self._findings))

    async def _told(self, check: Check | None, answer: Awaitable[_T]) -> _T | None:
        """Return what comes of a request; where that is an error, take it down for the check."""
        try:
            return await answer
        except PersistenceError as error:
            if check is not None:
                self._add(broken(check, error))
            return None

    # Is anybody there, and are we let in?

    async def _reach(self) -> bool:
        """Ask the bucket something; tell whether there is sense in asking more."""
        try:
            access = await self._store.access()
            self._on_aws = _is_aws(access.endpoint)
            if access.credentials is None:
                remedy = "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give the host a role."
                self._add(failed(Check.CREDENTIALS, "there are none", remedy))
                return False
            answer = await self._list(self._store)
        except PersistenceError as error:
            self._add(broken(_to_blame(error), error))
            return False
        if not self._is_let_in(answer):
            return False
        self._add(ok(Check.CONNECTION, f"{access.endpoint} answers"))
        how = f"accepted; the AWS chain has them from: {access.credentials}"
        self._add(ok(Check.CREDENTIALS, how, method=access.credentials))
        self._region = access.region
        return await self._find_owner(listed=not isinstance(answer, Answer))

    async def _list(self, store: S3Store) -> dict[str, Any] | Answer:
        began = self._now()
        answer = await store.ask("list_objects_v2", Prefix=store.prefix, MaxKeys=1)
        if isinstance(answer, Answer):
            date = answer.date
        else:
            date = answer["ResponseMetadata"].get("HTTPHeaders", {}).get("date", "")
        self._add(setup.clock(date, began, self._now()))
        return answer

    def _is_let_in(self, answer: dict[str, Any] | Answer) -> bool:
        """Tell whether it is a bucket that answers, and the credentials are accepted."""
        question = Question("list", self._store.bucket, self._store.prefix)
        if not isinstance(answer, Answer):
            if "Name" in answer:
                return True
            answer = PLAIN_OK
        if means_denied(question, answer):
            return True  # who we are is known, at least
        error = to_error(question, answer)
        if not isinstance(error, PersistenceError):
            error = StorageError(f"Could not {question}: the storage answered {answer}.")
        elsewhere = means_elsewhere(question, answer)
        check = Check.REGION if elsewhere else _to_blame(error)
        self._add(broken(check, error))
        if check is not Check.CONNECTION:
            self._add(ok(Check.CONNECTION, "the storage answers"))
        if check is Check.BUCKET:
            self._add(ok(Check.CREDENTIALS, "accepted"))
        return False

    async def _find_owner(self, *, listed: bool) -> bool:
        """Tell whether the bucket is there, and whose; whether there is sense in going on."""
        expected = self._store.expected_owner
        self._attempts.permissions["ListBucket"] = listed
        if listed:
            self._add(ok(Check.BUCKET, f"{self._store.bucket!r} is there"))
            minds = await self._told(Check.OWNER, self._minds_owners())
            if minds is not None:
                aws = self._on_aws
                self._add(setup.owner(expected, accepted=True, minds=minds, on_aws=aws))
            return True
        if expected is None:
            self._add(setup.owner(None, accepted=True, minds=self._on_aws, on_aws=self._on_aws))
        elif await self._told(Check.OWNER, self._is_somebody_elses()):
            self._add(setup.owner(expected, accepted=False, minds=True))
            return False
        remedy = "Give the credentials ListBucket."
        self._add(unknown(Check.BUCKET, "the storage does not say: no ListBucket", remedy))
        self._add(unknown(Check.OWNER, "the storage does not say: no ListBucket", remedy))
        return True

    async def _is_somebody_elses(self) -> bool:
        """Tell whether we are let in if we do not mind whose bucket it is."""
        store = self._store.alike(any_owner=True)
        try:
            return not isinstance(await self._list(store), Answer)
        finally:
            await store.close()

    async def _minds_owners(self) -> bool:
        """Tell whether we are kept out where the bucket is to be nobody's."""
        store = self._store.alike(any_owner=True)
        try:
            answer = await store.ask(
                "list_objects_v2", Prefix=store.prefix, MaxKeys=1, ExpectedBucketOwner=_NOBODY
            )
        finally:
            await store.close()
        return isinstance(answer, Answer)

    # What is there?

    async def _look(self) -> None:
        """Look at the state, and at what the bucket is set up like."""
        bucket = Bucket(self._store)
        (
            region,
            self._versioning,
            self._rules,
            self._public,
            self._lock,
            state,
        ) = await asyncio.gather(
            self._told(Check.REGION, bucket.region()),
            self._told(Check.VERSIONING, bucket.versioning()),
            self._told(Check.LIFECYCLE, bucket.lifecycle()),
            self._told(Check.PUBLIC_ACCESS, bucket.public_access()),
            self._told(None, bucket.object_lock()),
            self._told(Check.STATE, open_state(self._store, self._keys)),
        )
        if state is not None:
            self._add(state)
        if region is not None:
            self._add(setup.region(self._region, region))

    # What can be done?

    async def _try(self) -> None:
        """Try what a bot does, unless what that takes could not be removed again."""
        tried = self._attempts
        if await self._may_write():
            await self._told(Check.CONDITIONAL_PUT, tried.create())
            await self._told(Check.PERMISSIONS, tried.use_permissions())
            self._add(trials.permissions(tried.permissions))
        await self._told(Check.PUBLIC_ACCESS, tried.ask_as_anybody())
        if tried.written is not None:
            await self._prove(tried.written)
        shown = None if tried.written is None else tried.written.version_id is not None
        if self._versioning is not None:
            older = tried.before_suspension is not None
            self._add(setup.versioning(self._versioning, shown=shown, older=older))
        if shown is not None:
            listed = tried.permissions.get("ListBucketVersions")
            self._add(trials.history(tried.past, kept=shown, listed=listed))
        if self._rules is not None:
            keys = [self._store.prefix + name for name in (HEAD, *Kind)]
            self._add(setup.lifecycle(self._rules, keys, history=self._is_versioned))
        self._add(setup.public_access(self._public, tried.anybody))

    async def _prove(self, written: Written) -> None:
        tried = self._attempts
        await self._told(Check.CONDITIONAL_PUT, tried.race(written))
        if tried.races:
            await self._told(None, tried.write_alone(written))
            await self._told(None, tried.write_above_a_marker())
            if self._versioning is Versioning.SUSPENDED:
                await self._told(None, tried.write_before_a_suspension())
            self._add(
                trials.conditional_put(
                    tried.races,
                    tried.accepted,
                    tried.above_marker,
                    tried.before_suspension,
                    unquoted=self._scratch.unquoted,
                )
            )
        times = await self._told(Check.LATENCY, self._scratch.latency(_TIMED))
        if times is not None:
            self._add(trials.latency(*times))
        if written.version_id is not None:
            await self._told(None, tried.look_back())
        await self._told(Check.EXCESS, tried.reach_outside())

    async def _may_write(self) -> bool:
        """Tell whether what is written can be removed, by us or by a lifecycle rule."""
        if self._rules is None or isinstance(self._rules, Unknown):
            return True  # nobody knows
        if sweepers(self._rules, self._scratch.key, versioned=self._is_versioned):
            return True
        locked = isinstance(self._lock, ObjectLock) and self._lock.days > 0
        said = self._versioning
        unversioned = said is Versioning.NEVER or (isinstance(said, Unknown) and not said.denied)
        if not locked and await self._told(None, self._scratch.may_delete(by_key=unversioned)):
            return True
        folder = self._store.prefix + FOLDER
        why = "new versions are locked" if locked else "the credentials may not delete versions"
        found = f"not tried: what it writes would stay, since {why}, and no lifecycle rule does"
        remedy = (
            f"Add a rule that expires what lies under {folder!r}, or use an operator's "
            f"credentials; {TEMPLATES} with one."
        )
        for check in (
            *(Check.CONDITIONAL_PUT, Check.LATENCY),
            *(Check.PERMISSIONS, Check.EXCESS, Check.HISTORY),
        ):
            self._add(unknown(check, found, remedy))
        return False

    @property
    def _is_versioned(self) -> bool:
        """Whether the bucket may keep what is replaced."""
        if isinstance(self._versioning, Versioning):
            return self._versioning is not Versioning.NEVER
        written = self._attempts.written
        return written is None or written.version_id is not None

    # What is left?

    async def _clear(self) -> None:
        """Clear away what was written, and say what is left of it."""
        left = await self._scratch.clear()
        folder = self._store.prefix + FOLDER
        self._add(trials.clean_up(left, self._rules, folder, versioned=self._is_versioned))
        if self._scratch.tried:
            self._add(trials.excess(left, self._attempts.outside))


def _to_blame(error: PersistenceError) -> Check:
    return next(check for cls, check in _BLAMED if isinstance(error, cls))


def _is_aws(endpoint: str) -> bool:
    host = urlsplit(endpoint).hostname or ""
    return host.endswith((".amazonaws.com", ".amazonaws.com.cn"))
