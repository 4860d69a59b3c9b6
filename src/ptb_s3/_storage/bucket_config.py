"""Settings of a bucket: versioning, lifecycle, public access, object lock, replication.

Any of them may stay unknown, since a bot has no permission to read them, and many servers do not
have them: the result is `Unknown` then, which says why. Only a server that gives no answer is an
error.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple, Protocol

from ptb_s3._storage.answers import Answer, Question, means_denied, to_error
from ptb_s3._storage.lifecycle import Rule, read_rules
from ptb_s3.errors import AccessDeniedError, BucketNotFoundError, StorageUnavailableError


class Unknown(NamedTuple):
    """Setting that the bucket does not tell.

    Attributes:
        permission: Permission that reading it takes.
        denied: Whether that permission is missing; else the server does not have the request.
    """

    permission: str
    denied: bool

    def __str__(self) -> str:
        if self.denied:
            return f"the credentials have no {self.permission}"
        return f"the storage does not answer {self.permission}"


class Versioning(StrEnum):
    """Versioning state of a bucket."""

    ENABLED = "enabled"
    SUSPENDED = "suspended"
    NEVER = "never enabled"


class PublicAccess(NamedTuple):
    """Access to a bucket for those without permission.

    Attributes:
        unblocked: Names of the settings of Block Public Access that are off.
        public_policy: Whether the bucket policy grants access to anybody.
        public_acl: Whether the access control list (ACL) does.
    """

    unblocked: tuple[str, ...] | Unknown
    public_policy: bool | Unknown
    public_acl: bool | Unknown


class ObjectLock(NamedTuple):
    """Object lock of a bucket, with its default retention.

    Attributes:
        enabled: Whether versions can be locked at all.
        mode: ``GOVERNANCE`` or ``COMPLIANCE`` if new versions are locked by default; else empty.
        days: Days for which they are.
    """

    enabled: bool
    mode: str = ""
    days: int = 0


class Asked(Protocol):
    """Sender of requests about a bucket: `S3Store`."""

    bucket: str

    async def ask(
        self, operation: str, *, key: str = "", **request: object
    ) -> dict[str, Any] | Answer:
        """Send a request, as `S3Store.ask` does."""
        ...


class _Operation(NamedTuple):
    """Request for a setting, its permission, and the codes by which S3 says that nothing is set."""

    method: str
    permission: str
    nothing: frozenset[str] = frozenset()


_LOCATION = _Operation("get_bucket_location", "GetBucketLocation")
_VERSIONING = _Operation("get_bucket_versioning", "GetBucketVersioning")
_LIFECYCLE = _Operation(
    "get_bucket_lifecycle_configuration",
    "GetLifecycleConfiguration",
    frozenset({"NoSuchLifecycleConfiguration"}),
)
_BLOCK = _Operation(
    "get_public_access_block",
    "GetBucketPublicAccessBlock",
    frozenset({"NoSuchPublicAccessBlockConfiguration"}),
)
_POLICY = _Operation(
    "get_bucket_policy_status", "GetBucketPolicyStatus", frozenset({"NoSuchBucketPolicy"})
)
_ACL = _Operation("get_bucket_acl", "GetBucketAcl")
_LOCK = _Operation(
    "get_object_lock_configuration",
    "GetBucketObjectLockConfiguration",
    frozenset({"ObjectLockConfigurationNotFoundError"}),
)
_REPLICATION = _Operation(
    "get_bucket_replication",
    "GetReplicationConfiguration",
    frozenset({"ReplicationConfigurationNotFoundError"}),
)

_SWITCHES = ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")
# Amazon S3 User Guide, "Access control list (ACL) overview": everybody, and whoever has an account.
_PUBLIC_GROUPS = ("/groups/global/AllUsers", "/groups/global/AuthenticatedUsers")
_DAYS_A_YEAR = 365


@dataclass(frozen=True, slots=True)
class Bucket:
    """Reader of a bucket's settings.

    Each method raises `StorageUnavailableError`, `BucketNotFoundError` or, where the credentials
    are not accepted at all, `AccessDeniedError`.

    Attributes:
        asked: Sender of the requests.
    """

    asked: Asked

    async def region(self) -> str | Unknown:
        """Return the region that the bucket lies in."""
        head = await self.asked.ask("head_bucket")
        if isinstance(head, Answer):
            region = head.region
        else:
            region = head["ResponseMetadata"].get("HTTPHeaders", {}).get("x-amz-bucket-region", "")
        if region:
            return str(region)
        # Only servers other than AWS get here; what they leave empty is no region's name.
        answer = await self._look(_LOCATION)
        if isinstance(answer, Unknown):
            return answer
        return answer.get("LocationConstraint") or Unknown(_LOCATION.permission, denied=False)

    async def versioning(self) -> Versioning | Unknown:
        """Return the versioning state."""
        answer = await self._look(_VERSIONING)
        if isinstance(answer, Unknown):
            return answer
        states = {"Enabled": Versioning.ENABLED, "Suspended": Versioning.SUSPENDED}
        return states.get(answer.get("Status", ""), Versioning.NEVER)

    async def lifecycle(self) -> tuple[Rule, ...] | Unknown:
        """Return the lifecycle rules that are enabled."""
        answer = await self._look(_LIFECYCLE)
        return answer if isinstance(answer, Unknown) else read_rules(answer)

    async def public_access(self) -> PublicAccess:
        """Return the access for those without permission."""
        block = await self._look(_BLOCK)
        policy = await self._look(_POLICY)
        acl = await self._look(_ACL)
        return PublicAccess(
            block if isinstance(block, Unknown) else _unblocked(block),
            policy
            if isinstance(policy, Unknown)
            else bool(policy.get("PolicyStatus", {}).get("IsPublic")),
            acl if isinstance(acl, Unknown) else _is_public(acl),
        )

    async def object_lock(self) -> ObjectLock | Unknown:
        """Return the object lock and its default retention."""
        answer = await self._look(_LOCK)
        if isinstance(answer, Unknown):
            return answer
        lock = answer.get("ObjectLockConfiguration", {})
        retention = lock.get("Rule", {}).get("DefaultRetention", {})
        days = int(retention.get("Days") or 0) + _DAYS_A_YEAR * int(retention.get("Years") or 0)
        return ObjectLock(bool(lock.get("ObjectLockEnabled")), str(retention.get("Mode", "")), days)

    async def replicated_to(self) -> tuple[str, ...] | Unknown:
        """Return the ARNs of the buckets that new versions are replicated to, under any prefix."""
        answer = await self._look(_REPLICATION)
        if isinstance(answer, Unknown):
            return answer
        rules = answer.get("ReplicationConfiguration", {}).get("Rules", [])
        enabled = (rule for rule in rules if rule.get("Status") == "Enabled")
        return tuple(dict.fromkeys(str(rule["Destination"]["Bucket"]) for rule in enabled))

    async def _look(self, operation: _Operation) -> dict[str, Any] | Unknown:
        """Return the reply to a request for a setting, or an empty one where nothing is set."""
        answer = await self.asked.ask(operation.method)
        if not isinstance(answer, Answer):
            return answer
        if answer.code in operation.nothing:
            return {}
        question = Question("look at", self.asked.bucket, "")
        if means_denied(question, answer):
            return Unknown(operation.permission, denied=True)
        error = to_error(question, answer)
        if isinstance(error, (AccessDeniedError, BucketNotFoundError, StorageUnavailableError)):
            raise error
        return Unknown(operation.permission, denied=False)


def _unblocked(block: Mapping[str, Any]) -> tuple[str, ...]:
    settings = block.get("PublicAccessBlockConfiguration", {})
    return tuple(switch for switch in _SWITCHES if not settings.get(switch))


def _is_public(acl: Mapping[str, Any]) -> bool:
    grantees = (str(grant.get("Grantee", {}).get("URI", "")) for grant in acl.get("Grants", []))
    return any(grantee.endswith(_PUBLIC_GROUPS) for grantee in grantees)
