"""Policy for a bot's user, as ``infra/bucket`` has it. Pure.

It is the bot's policy, and what `ptb-s3 doctor` looks at: settings of the bucket, none of which it
can change. It can delete nothing.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

_OF_OBJECTS = ("GetObject", "GetObjectVersion", "PutObject")
_OF_BUCKET = ("ListBucket", "ListBucketVersions")
_OF_DOCTOR = (
    "GetBucketLocation",
    "GetBucketObjectLockConfiguration",
    "GetBucketPolicyStatus",
    "GetBucketPublicAccessBlock",
    "GetBucketVersioning",
    "GetEncryptionConfiguration",
    "GetLifecycleConfiguration",
    "GetReplicationConfiguration",
)


def bot_policy(bucket: str, prefix: str, without: Collection[str] = ()) -> dict[str, Any]:
    """Return the policy of a bot, as a document of IAM.

    Args:
        bucket: Name of the bucket.
        prefix: Prefix of the bot's objects.
        without: Actions to leave out, which the storage's policies do not know.
    """
    arn = f"arn:aws:s3:::{bucket}"
    statements = (
        ("ReadAndWriteTheState", _OF_OBJECTS, f"{arn}/{prefix}*"),
        ("TellMissingFromDeniedAndListTheHistory", _OF_BUCKET, arn),
        ("LetDoctorLookAtTheBucket", _OF_DOCTOR, arn),
    )
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Sid": sid,
                "Effect": "Allow",
                "Action": [f"s3:{action}" for action in actions if action not in without],
                "Resource": resource,
            }
            for sid, actions, resource in statements
        ],
    }
