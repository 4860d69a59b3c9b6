"""First requests of an examination: does the storage answer, let us in, and know the bucket?

The first request is a listing of one entry, which needs no object. Its answer decides whether there
is sense in asking anything else:

=============================== ============================================ ========
answer                          findings                                     go on
=============================== ============================================ ========
200, and names the bucket       connection, credentials and bucket are ok    yes
200, and does not               connection failed: that is no S3             no
401 or 403: not permitted       bucket and owner are not known               yes
403: key unknown or expired     credentials failed                           no
the bucket does not exist       bucket failed, credentials are ok            no
another region                  region failed                                no
none                            connection, credentials or settings failed   no
=============================== ============================================ ========

Where an owner is expected (PTB_S3_EXPECTED_BUCKET_OWNER), the refusal may be due to that alone:
then the same request without the check of the owner is let in, and the examination ends.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from ptb_s3._doctor import setup
from ptb_s3._doctor.findings import Check, broken, failed, ok, unknown
from ptb_s3._doctor.record import Record
from ptb_s3._storage.answers import (
    PLAIN_OK,
    Answer,
    Question,
    means_denied,
    means_elsewhere,
    to_error,
)
from ptb_s3._storage.s3 import S3Store
from ptb_s3.errors import (
    AccessDeniedError,
    BucketNotFoundError,
    PersistenceError,
    SettingsError,
    StorageError,
)

_NOBODY = "000000000000"
"""Account id of the form that AWS's have, and of no account."""
_BLAMED: tuple[tuple[type[PersistenceError], Check], ...] = (
    (SettingsError, Check.SETTINGS),
    (BucketNotFoundError, Check.BUCKET),
    (AccessDeniedError, Check.CREDENTIALS),
    (PersistenceError, Check.CONNECTION),
)
"""Check that a first error belongs to, by its class, the most special one first."""


class Reach:
    """Examiner of the way to the bucket: connection, credentials, clock, bucket and owner.

    Args:
        store: The place.
        record: Takes the findings.
        now: Returns the time by this machine's clock, with time zone.

    Attributes:
        region: Region that requests are signed for, once it is known.
        listed: Whether the bucket may be listed; None before that was tried.
    """

    def __init__(self, store: S3Store, record: Record, now: Callable[[], datetime]) -> None:
        self.region = ""
        self.listed: bool | None = None
        self._store = store
        self._record = record
        self._now = now
        self._on_aws = False

    async def succeeds(self) -> bool:
        """Send the first requests, and tell whether there is sense in sending more."""
        try:
            access = await self._store.access()
            self._on_aws = _is_aws(access.endpoint)
            if access.credentials is None:
                remedy = "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give the host a role."
                self._record.add(failed(Check.CREDENTIALS, "there are none", remedy))
                return False
            answer = await self._list(self._store)
        except PersistenceError as error:
            self._record.add(broken(_to_blame(error), error))
            return False
        if not self._is_let_in(answer):
            return False
        self._record.add(ok(Check.CONNECTION, f"{access.endpoint} answers"))
        how = f"accepted; the AWS chain has them from: {access.credentials}"
        self._record.add(ok(Check.CREDENTIALS, how, method=access.credentials))
        self.region = access.region
        self.listed = not isinstance(answer, Answer)
        return await self._check_owner() if self.listed else await self._find_owner()

    async def _list(self, store: S3Store) -> dict[str, Any] | Answer:
        """Ask for the first entry of a listing, and check the clock by the reply."""
        began = self._now()
        answer = await store.ask("list_objects_v2", Prefix=store.prefix, MaxKeys=1)
        if isinstance(answer, Answer):
            date = answer.date
        else:
            date = answer["ResponseMetadata"].get("HTTPHeaders", {}).get("date", "")
        self._record.add(setup.clock(date, began, self._now()))
        return answer

    def _is_let_in(self, answer: dict[str, Any] | Answer) -> bool:
        """Tell whether a bucket of S3 answers, and accepts the credentials."""
        question = Question("list", self._store.bucket, self._store.prefix)
        if not isinstance(answer, Answer):
            if "Name" in answer:
                return True
            answer = PLAIN_OK
        if means_denied(question, answer):
            return True  # the credentials are known, at least
        error = to_error(question, answer)
        if not isinstance(error, PersistenceError):
            error = StorageError(f"Could not {question}: the storage answered {answer}.")
        elsewhere = means_elsewhere(question, answer)
        check = Check.REGION if elsewhere else _to_blame(error)
        self._record.add(broken(check, error))
        if check is not Check.CONNECTION:
            self._record.add(ok(Check.CONNECTION, "the storage answers"))
        if check is Check.BUCKET:
            self._record.add(ok(Check.CREDENTIALS, "accepted"))
        return False

    async def _check_owner(self) -> bool:
        """Find out whether the storage checks owners, of a bucket that may be listed."""
        self._record.add(ok(Check.BUCKET, f"{self._store.bucket!r} is there"))
        minds = await self._record.told(Check.OWNER, self._minds_owners())
        if minds is not None:
            expected, aws = self._store.expected_owner, self._on_aws
            self._record.add(setup.owner(expected, accepted=True, minds=minds, on_aws=aws))
        return True

    async def _find_owner(self) -> bool:
        """Find out whether a bucket that may not be listed is denied because of its owner.

        Returns:
            Whether there is sense in sending more requests.
        """
        expected, aws = self._store.expected_owner, self._on_aws
        if expected is None:
            self._record.add(setup.owner(None, accepted=True, minds=aws, on_aws=aws))
        elif await self._record.told(Check.OWNER, self._is_somebody_elses()):
            self._record.add(setup.owner(expected, accepted=False, minds=True))
            return False
        remedy = "Give the credentials ListBucket."
        for check in (Check.BUCKET, Check.OWNER):
            self._record.add(unknown(check, "the storage does not say: no ListBucket", remedy))
        return True

    async def _is_somebody_elses(self) -> bool:
        """Tell whether a request without the check of the owner is let in."""
        store = self._store.alike(any_owner=True)
        try:
            return not isinstance(await self._list(store), Answer)
        finally:
            await store.close()

    async def _minds_owners(self) -> bool:
        """Tell whether the storage refuses a request that expects an owner who cannot be."""
        store = self._store.alike(any_owner=True)
        try:
            answer = await store.ask(
                "list_objects_v2", Prefix=store.prefix, MaxKeys=1, ExpectedBucketOwner=_NOBODY
            )
        finally:
            await store.close()
        return isinstance(answer, Answer)


def _to_blame(error: PersistenceError) -> Check:
    return next(check for cls, check in _BLAMED if isinstance(error, cls))


def _is_aws(endpoint: str) -> bool:
    host = urlsplit(endpoint).hostname or ""
    return host.endswith((".amazonaws.com", ".amazonaws.com.cn"))
