"""What a bucket is set up like, by what it answers; and that it is unknown where it does not."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from ptb_s3._storage.answers import Answer
from ptb_s3._storage.bucket_config import Bucket, ObjectLock, PublicAccess, Unknown, Versioning
from ptb_s3._storage.lifecycle import Rule
from ptb_s3.errors import AccessDeniedError, BucketNotFoundError, StorageUnavailableError

DENIED = Answer("AccessDenied", 403)
NOT_IMPLEMENTED = Answer("NotImplemented", 501)


class Asked:
    """A bucket that answers each operation as it is told, and all others with the last answer."""

    def __init__(self, otherwise: Answer = DENIED, **answers: dict[str, Any] | Answer) -> None:
        self.bucket = "bucket"
        self._answers = answers
        self._otherwise = otherwise

    async def ask(
        self, operation: str, *, key: str = "", **request: object
    ) -> dict[str, Any] | Answer:
        assert not key
        assert not request
        return self._answers.get(operation, self._otherwise)


QUESTIONS: dict[str, Callable[[Bucket], Awaitable[Any]]] = {
    "GetBucketLocation": Bucket.region,
    "GetBucketVersioning": Bucket.versioning,
    "GetLifecycleConfiguration": Bucket.lifecycle,
    "GetBucketObjectLockConfiguration": Bucket.object_lock,
    "GetReplicationConfiguration": Bucket.replicated_to,
}
every_question = pytest.mark.parametrize(
    ("permission", "ask"), QUESTIONS.items(), ids=QUESTIONS.keys()
)


@every_question
async def test_a_permission_that_is_missing(
    permission: str, ask: Callable[[Bucket], Awaitable[Any]]
) -> None:
    """It is unknown, and names the permission that it takes."""
    unknown = await ask(Bucket(Asked(DENIED)))
    assert unknown == Unknown(permission, denied=True)
    assert str(unknown) == f"the credentials have no {permission}"


@every_question
@pytest.mark.parametrize("answer", [NOT_IMPLEMENTED, Answer("MethodNotAllowed", 405)])
async def test_a_server_that_does_not_know_it(
    permission: str, ask: Callable[[Bucket], Awaitable[Any]], answer: Answer
) -> None:
    """It is unknown, for another reason."""
    unknown = await ask(Bucket(Asked(answer)))
    assert unknown == Unknown(permission, denied=False)
    assert str(unknown) == f"the storage does not answer {permission}"


@every_question
@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (Answer("SlowDown", 503), StorageUnavailableError),
        (Answer("NoSuchBucket", 404), BucketNotFoundError),
        (Answer("InvalidAccessKeyId", 403), AccessDeniedError),
    ],
)
async def test_what_is_no_answer_to_the_question(
    permission: str,
    ask: Callable[[Bucket], Awaitable[Any]],
    answer: Answer,
    error: type[Exception],
) -> None:
    """Weather, no bucket and wrong credentials are errors: they say nothing of the bucket."""
    assert permission
    with pytest.raises(error):
        await ask(Bucket(Asked(answer)))


@pytest.mark.parametrize(
    ("answer", "versioning"),
    [
        ({"Status": "Enabled"}, Versioning.ENABLED),
        ({"Status": "Suspended"}, Versioning.SUSPENDED),
        ({}, Versioning.NEVER),
    ],
)
async def test_versioning(answer: dict[str, Any], versioning: Versioning) -> None:
    """A bucket that never had versions says nothing of them."""
    assert await Bucket(Asked(get_bucket_versioning=answer)).versioning() is versioning


@pytest.mark.parametrize(
    ("answer", "rules"),
    [
        (Answer("NoSuchLifecycleConfiguration", 404), ()),
        ({"Rules": [{"ID": "r", "Status": "Enabled", "Prefix": "a"}]}, (Rule("r", "a"),)),
    ],
)
async def test_lifecycle(answer: dict[str, Any] | Answer, rules: tuple[Rule, ...]) -> None:
    """No configuration is no rule, rather than unknown."""
    assert await Bucket(Asked(get_bucket_lifecycle_configuration=answer)).lifecycle() == rules


@pytest.mark.parametrize(
    ("answer", "lock"),
    [
        (Answer("ObjectLockConfigurationNotFoundError", 404), ObjectLock(enabled=False)),
        (
            {"ObjectLockConfiguration": {"ObjectLockEnabled": "Enabled"}},
            ObjectLock(enabled=True),
        ),
        (
            {
                "ObjectLockConfiguration": {
                    "ObjectLockEnabled": "Enabled",
                    "Rule": {"DefaultRetention": {"Mode": "COMPLIANCE", "Years": 2}},
                }
            },
            ObjectLock(enabled=True, mode="COMPLIANCE", days=730),
        ),
        (
            {
                "ObjectLockConfiguration": {
                    "ObjectLockEnabled": "Enabled",
                    "Rule": {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": 3}},
                }
            },
            ObjectLock(enabled=True, mode="GOVERNANCE", days=3),
        ),
    ],
)
async def test_object_lock(answer: dict[str, Any] | Answer, lock: ObjectLock) -> None:
    """Whether there is one, and how long it holds what is written from now on."""
    assert await Bucket(Asked(get_object_lock_configuration=answer)).object_lock() == lock


async def test_replication() -> None:
    """The buckets that versions are copied to, once each; disabled rules copy nothing."""
    nothing = Answer("ReplicationConfigurationNotFoundError", 404)
    assert await Bucket(Asked(get_bucket_replication=nothing)).replicated_to() == ()
    rules = [
        {"Status": status, "Destination": {"Bucket": f"arn:aws:s3:::{name}"}}
        for status, name in (("Enabled", "a"), ("Disabled", "b"), ("Enabled", "a"))
    ]
    answer = {"ReplicationConfiguration": {"Rules": rules}}
    asked = Asked(get_bucket_replication=answer)
    assert await Bucket(asked).replicated_to() == ("arn:aws:s3:::a",)


@pytest.mark.parametrize(
    ("answers", "region"),
    [
        (
            {
                "head_bucket": {
                    "ResponseMetadata": {"HTTPHeaders": {"x-amz-bucket-region": "eu-west-3"}}
                }
            },
            "eu-west-3",
        ),
        ({"head_bucket": Answer("403", 403, "eu-west-3")}, "eu-west-3"),
        (
            {
                "head_bucket": {"ResponseMetadata": {}},
                "get_bucket_location": {"LocationConstraint": "home"},
            },
            "home",
        ),
        (
            {
                "head_bucket": {"ResponseMetadata": {}},
                "get_bucket_location": {"LocationConstraint": None},
            },
            Unknown("GetBucketLocation", denied=False),
        ),
    ],
)
async def test_region(answers: dict[str, Any], region: str | Unknown) -> None:
    """AWS says it in a header, even where it denies the rest; others may say it if asked."""
    assert await Bucket(Asked(**answers)).region() == region


ALL_ON = dict.fromkeys(
    ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets"), True
)
OWNER = {"Grantee": {"Type": "CanonicalUser", "ID": "me"}, "Permission": "FULL_CONTROL"}


def granted_to(group: str) -> dict[str, Any]:
    uri = f"http://acs.amazonaws.com/groups/global/{group}"
    return {"Grants": [OWNER, {"Grantee": {"Type": "Group", "URI": uri}, "Permission": "READ"}]}


@pytest.mark.parametrize(
    ("answers", "access"),
    [
        (
            {
                "get_public_access_block": {"PublicAccessBlockConfiguration": ALL_ON},
                "get_bucket_policy_status": {"PolicyStatus": {"IsPublic": False}},
                "get_bucket_acl": {"Grants": [OWNER]},
            },
            PublicAccess((), public_policy=False, public_acl=False),
        ),
        (
            {
                "get_public_access_block": {
                    "PublicAccessBlockConfiguration": ALL_ON | {"IgnorePublicAcls": False}
                },
                "get_bucket_policy_status": {"PolicyStatus": {"IsPublic": True}},
                "get_bucket_acl": granted_to("AllUsers"),
            },
            PublicAccess(("IgnorePublicAcls",), public_policy=True, public_acl=True),
        ),
        (
            {
                "get_public_access_block": Answer("NoSuchPublicAccessBlockConfiguration", 404),
                "get_bucket_policy_status": Answer("NoSuchBucketPolicy", 404),
                "get_bucket_acl": granted_to("AuthenticatedUsers"),
            },
            PublicAccess(tuple(sorted(ALL_ON)), public_policy=False, public_acl=True),
        ),
        (
            {"get_public_access_block": NOT_IMPLEMENTED},
            PublicAccess(
                Unknown("GetBucketPublicAccessBlock", denied=False),
                Unknown("GetBucketPolicyStatus", denied=True),
                Unknown("GetBucketAcl", denied=True),
            ),
        ),
    ],
)
async def test_public_access(answers: dict[str, Any], access: PublicAccess) -> None:
    """The block, the policy and the list are three things, each known or not."""
    said = await Bucket(Asked(**answers)).public_access()
    if not isinstance(said.unblocked, Unknown):
        said = said._replace(unblocked=tuple(sorted(said.unblocked)))
    assert said == access
