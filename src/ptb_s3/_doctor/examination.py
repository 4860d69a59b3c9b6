"""Examination of the place of a bot's state: the order of its requests, and what forbids some.

The abilities of a storage are proven by use, on objects under ``doctor/`` that are cleared away at
the end, also where the end is Ctrl-C. Where they could not be removed again, nothing is written.

======= ====================================================== =====================================
step    requests                                               left out where
======= ====================================================== =====================================
keys    key service, where one keeps a key                     never
reach   connection, credentials, bucket, owner                 never
look    state, region, versioning, lifecycle, public access    it cannot be reached
try     permissions, conditions, latency, history, excess      what it writes would stay for good
clear   deletion of what was written                           never
======= ====================================================== =====================================

Requests of the third step are sent at once. Those that write come one after another, since each
relies on what the one before has written.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, cast

from ptb_s3._doctor import setup, trials
from ptb_s3._doctor.attempts import Attempts
from ptb_s3._doctor.findings import TEMPLATES, Check, Finding, unknown
from ptb_s3._doctor.reach import Reach
from ptb_s3._doctor.record import Record
from ptb_s3._doctor.scratch import FOLDER, Scratch
from ptb_s3._doctor.state import open_state
from ptb_s3._format.container import HEAD
from ptb_s3._format.entities import Kind
from ptb_s3._format.key_source import key_service
from ptb_s3._keys.ring import Ring
from ptb_s3._storage.bucket_config import Bucket, ObjectLock, PublicAccess, Unknown, Versioning
from ptb_s3._storage.contract import Written
from ptb_s3._storage.lifecycle import Rule, sweepers
from ptb_s3._storage.s3 import S3Store

if TYPE_CHECKING:
    from ptb_s3._keys.kms_keyring import KmsKeyring

_TIMED = 20
"""Requests whose latency is measured, of each kind."""


class Examination:
    """Examiner of one place, to be run once.

    Args:
        store: The place.
        keys: Keys that open the state.
        name: Name of the place in the report, such as its URL.
        token: Random text that makes the names of scratch objects unique.
        now: Returns the time by this machine's clock, with time zone.
        report: Called with the number of checks that are done, after each.
        exposed: Key files that other users may read: for each, what is wrong and what to do.
        writes: Whether to prove the storage by use; else checks that take writing are left out.
    """

    def __init__(
        self,
        store: S3Store,
        keys: Ring,
        name: str,
        *,
        token: str,
        now: Callable[[], datetime],
        report: Callable[[int], None] = lambda _: None,
        exposed: Sequence[tuple[str, str]] = (),
        writes: bool = True,
    ) -> None:
        self._store, self._keys, self._name = store, keys, name
        self._exposed, self._writes = exposed, writes
        self._record = Record(report)
        self._reach = Reach(store, self._record, now)
        self._scratch = Scratch(store, token)
        self._attempts = Attempts(store, self._scratch)
        self._versioning: Versioning | Unknown | None = None
        self._rules: tuple[Rule, ...] | Unknown | None = None
        self._public: PublicAccess | None = None
        self._lock: ObjectLock | Unknown | None = None

    @property
    def cleared(self) -> Finding | None:
        """Return the finding about the clean-up, or None before there is one."""
        return self._record.get(Check.CLEAN_UP)

    @property
    def total(self) -> int:
        """Return the number of checks: one fewer where no key service is to be asked."""
        return len(Check) - (key_service(self._keys) is None)

    async def run(self) -> tuple[Finding, ...]:
        """Run all checks that can be run, and clear away what they wrote.

        Returns:
            A finding for each check, in their order.
        """
        await self._try_key_service()
        try:
            if await self._reach.succeeds():
                self._attempts.permissions["ListBucket"] = self._reach.listed
                await self._look()
                await self._try()
        finally:
            await self._clear()
        self._record.add(setup.settings(self._name, self._keys, self._exposed))
        return self._record.completed()

    async def _try_key_service(self) -> None:
        """Try the key service, where one keeps a key."""
        if key_service(self._keys) is None:
            return
        # Imported here, with all that is of KMS: most have no key there.
        from ptb_s3._doctor.key_service import try_key_service  # noqa: PLC0415 - see above

        tried = try_key_service(cast("KmsKeyring", self._keys))
        finding = await self._record.told(Check.KEY_SERVICE, tried)
        if finding is not None:
            self._record.add(finding)

    async def _look(self) -> None:
        """Read the state and the settings of the bucket."""
        bucket, told = Bucket(self._store), self._record.told
        (
            region,
            self._versioning,
            self._rules,
            self._public,
            self._lock,
            state,
        ) = await asyncio.gather(
            told(Check.REGION, bucket.region()),
            told(Check.VERSIONING, bucket.versioning()),
            told(Check.LIFECYCLE, bucket.lifecycle()),
            told(Check.PUBLIC_ACCESS, bucket.public_access()),
            told(None, bucket.object_lock()),
            told(Check.STATE, open_state(self._store, self._keys)),
        )
        if state is not None:
            self._record.add(state)
        if region is not None:
            self._record.add(setup.region(self._reach.region, region))

    async def _try(self) -> None:
        """Try what a bot does, unless what that takes could not be removed again."""
        tried, told = self._attempts, self._record.told
        if await self._may_write():
            await told(Check.CONDITIONAL_PUT, tried.create())
            await told(Check.PERMISSIONS, tried.use_permissions())
            self._record.add(trials.permissions(tried.permissions))
        await told(Check.PUBLIC_ACCESS, tried.ask_as_anybody())
        if tried.written is not None:
            await self._prove(tried.written)
        self._judge_history()
        if self._rules is not None:
            keys = [self._store.prefix + name for name in (HEAD, *Kind)]
            self._record.add(setup.lifecycle(self._rules, keys, history=self._is_versioned))
        self._record.add(setup.public_access(self._public, tried.anybody))

    def _judge_history(self) -> None:
        """Add the findings about versions: whether they are kept, and whether they are listed."""
        tried = self._attempts
        shown = None if tried.written is None else tried.written.version_id is not None
        if self._versioning is not None:
            older = tried.before_suspension is not None
            self._record.add(setup.versioning(self._versioning, shown=shown, older=older))
        if shown is not None:
            listed = tried.permissions.get("ListBucketVersions")
            self._record.add(trials.history(tried.past, kept=shown, listed=listed))

    async def _prove(self, written: Written) -> None:
        """Try what takes an object that was written, from conditions to excess permissions."""
        tried, told = self._attempts, self._record.told
        await told(Check.CONDITIONAL_PUT, tried.race(written))
        if tried.races:
            await self._try_conditions(written)
        await told(Check.RANGES, tried.read_a_range())
        if tried.part is not None:
            self._record.add(trials.ranges(tried.part))
        times = await told(Check.LATENCY, self._scratch.latency(_TIMED))
        if times is not None:
            self._record.add(trials.latency(*times))
        if written.version_id is not None:
            await told(None, tried.look_back())
        await told(Check.EXCESS, tried.reach_outside())

    async def _try_conditions(self, written: Written) -> None:
        """Try conditional writes one by one, after the races."""
        tried, told = self._attempts, self._record.told
        await told(None, tried.write_alone(written))
        await told(None, tried.write_above_a_marker())
        if self._versioning is Versioning.SUSPENDED:
            await told(None, tried.write_before_a_suspension())
        self._record.add(
            trials.conditional_put(
                tried.races,
                tried.accepted,
                tried.above_marker,
                tried.before_suspension,
                unquoted=self._scratch.unquoted,
            )
        )

    async def _may_write(self) -> bool:
        """Tell whether to write, and what is written can be removed, by us or by a rule."""
        if not self._writes:
            self._leave_out("not tried, since that takes writing", "Run ptb-s3 doctor.")
            return False
        if self._rules is None or isinstance(self._rules, Unknown):
            return True  # nobody knows
        if sweepers(self._rules, self._scratch.key, versioned=self._is_versioned):
            return True
        locked = isinstance(self._lock, ObjectLock) and self._lock.days > 0
        said = self._versioning
        unversioned = said is Versioning.NEVER or (isinstance(said, Unknown) and not said.denied)
        if not locked and await self._record.told(
            None, self._scratch.may_delete(by_key=unversioned)
        ):
            return True
        self._say_not_tried(locked=locked)
        return False

    def _say_not_tried(self, *, locked: bool) -> None:
        """Add the findings of all checks that take writing."""
        folder = self._store.prefix + FOLDER
        why = "new versions are locked" if locked else "the credentials may not delete versions"
        found = f"not tried: what it writes would stay, since {why}, and no lifecycle rule does"
        remedy = (
            f"Add a rule that expires what lies under {folder!r}, or use an operator's "
            f"credentials; {TEMPLATES} with one."
        )
        self._leave_out(found, remedy)

    def _leave_out(self, found: str, remedy: str) -> None:
        """Add that finding for each check that takes writing."""
        for check in (
            *(Check.CONDITIONAL_PUT, Check.RANGES, Check.LATENCY),
            *(Check.PERMISSIONS, Check.EXCESS, Check.HISTORY),
        ):
            self._record.add(unknown(check, found, remedy))

    @property
    def _is_versioned(self) -> bool:
        """Return whether the bucket may keep noncurrent versions."""
        if isinstance(self._versioning, Versioning):
            return self._versioning is not Versioning.NEVER
        written = self._attempts.written
        return written is None or written.version_id is not None

    async def _clear(self) -> None:
        """Clear away what was written, and add the findings about what is left of it."""
        left = await self._scratch.clear()
        folder = self._store.prefix + FOLDER
        versioned = self._is_versioned
        self._record.add(trials.clean_up(left, self._rules, folder, versioned=versioned))
        if self._scratch.tried:
            self._record.add(trials.excess(left, self._attempts.outside))
