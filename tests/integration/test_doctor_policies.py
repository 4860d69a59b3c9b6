"""`ptb-s3 doctor` with the policies of infra/bucket, on moto, where IAM is enforced."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from unittest import mock

import pytest
from tests.moto_server import AwsClient, MotoServer, running_moto
from tests.servers import S3Server
from tests.support import KEY
from tests.support.bucket_templates import Json, Values, Written, in_cloudformation
from tests.support.buckets import open_store

from ptb_s3 import Keyring
from ptb_s3._doctor import scratch
from ptb_s3._doctor.examination import Examination
from ptb_s3._doctor.findings import Check, Finding, Status

BUCKET = "tea-shop"
PLACE = Values(BUCKET, "bot/")
WARNING, UNKNOWN = Status.WARNING, Status.UNKNOWN


@dataclass(frozen=True)
class Account:
    """An account with a bucket as the template makes it, and those that have its policies."""

    s3: AwsClient
    bot: S3Server
    operator: S3Server


@pytest.fixture(scope="module")
def account() -> Iterator[Account]:
    written = in_cloudformation(PLACE)
    with running_moto() as server:
        everything = {"Effect": "Allow", "Action": "*", "Resource": "*"}
        admin = make_user(server, "admin", {"Version": "2012-10-17", "Statement": [everything]})
        bot = make_user(server, "bot", written.bot_policy)
        # S3 asks for DeleteObjectVersion on the object, and moto for this, where several may go.
        for_moto = {"Effect": "Allow", "Action": "s3:DeleteObject", "Resource": PLACE.arn}
        written.operator_policy["Statement"].append(for_moto)
        operator = make_user(server, "operator", written.operator_policy)
        server.enforce()
        s3 = server.client("s3", admin)
        make_bucket(s3, written)
        yield Account(s3, bot, operator)


def make_user(server: MotoServer, name: str, policy: Json) -> S3Server:
    anybody = {"AccessKeyId": "anybody", "SecretAccessKey": "any"}
    iam = server.client("iam", server.identity(anybody))
    iam.create_user(UserName=name)
    iam.put_user_policy(UserName=name, PolicyName=name, PolicyDocument=json.dumps(policy))
    return server.identity(iam.create_access_key(UserName=name)["AccessKey"])


def make_bucket(s3: AwsClient, written: Written) -> None:
    s3.create_bucket(Bucket=BUCKET)
    s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": written.versioning})
    s3.put_public_access_block(Bucket=BUCKET, PublicAccessBlockConfiguration=written.public_access)
    s3.put_bucket_lifecycle_configuration(
        Bucket=BUCKET, LifecycleConfiguration={"Rules": written.lifecycle}
    )


async def examine(server: S3Server) -> dict[Check, Finding]:
    store = open_store(server, BUCKET)
    now, token = (lambda: datetime.now(UTC)), secrets.token_hex(8)
    # moto keeps no two writers apart, and 16 of them for too long.
    with mock.patch.object(scratch, "WRITERS", 1):
        findings = await Examination(store, Keyring(KEY), BUCKET, token=token, now=now).run()
    await store.close()
    return {finding.check: finding for finding in findings}


def not_ok(findings: dict[Check, Finding]) -> dict[Check, Status]:
    return {c: finding.status for c, finding in findings.items() if finding.status != "ok"}


def entries(account: Account) -> list[dict[str, Any]]:
    page = account.s3.list_object_versions(Bucket=BUCKET)
    return [*page.get("Versions", []), *page.get("DeleteMarkers", [])]


async def test_with_the_operators_policy(account: Account) -> None:
    """Everything can be looked into, and nothing is left; it is called too much for a bot."""
    before = entries(account)
    findings = await examine(account.operator)
    assert not_ok(findings) == {Check.EXCESS: WARNING}
    assert findings[Check.EXCESS].found == "may delete versions"
    assert findings[Check.LIFECYCLE].found == (
        "rule 'history' removes what was replaced 30 days ago"
    )
    assert findings[Check.PUBLIC_ACCESS].found == "blocked"
    assert entries(account) == before


async def test_with_the_bots_policy(account: Account) -> None:
    """It has all it needs and no more; what it may not look at, and not delete, is said."""
    before = entries(account)
    findings = await examine(account.bot)
    assert not_ok(findings) == {Check.LIFECYCLE: UNKNOWN, Check.CLEAN_UP: UNKNOWN}
    assert findings[Check.PERMISSIONS].found == (
        "PutObject, GetObject, GetObjectVersion, ListBucket, ListBucketVersions"
    )
    assert findings[Check.VERSIONING].found == "a write was given a version id"
    left = [entry for entry in entries(account) if entry not in before]
    assert left
    assert all(entry["Key"].startswith("bot/doctor/") for entry in left)
    assert findings[Check.CLEAN_UP].data["left"] == {
        key: sum(entry["Key"] == key for entry in left) for key in {e["Key"] for e in left}
    }
