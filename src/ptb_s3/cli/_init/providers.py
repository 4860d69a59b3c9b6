"""Providers of storage that ``ptb-s3 init`` knows: what each has to be asked, and can do. Pure.

Sources, of November 2026: the S3 API pages of each provider's documentation, which
``docs/providers.md`` sums up. "Conditional" and "versions" here mean the same as there.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

_AWS_REGION = re.compile(r"[a-z]{2,5}(-[a-z]+){1,3}-\d{1,2}")
"""Such as eu-central-1, us-gov-west-1, eusc-de-east-1."""
_B2_REGION = re.compile(r"[a-z]{2}-[a-z]+-\d{3}")
"""Such as eu-central-003. The console shows it as part of a bucket's endpoint."""
_ANY_REGION = re.compile(r"[A-Za-z0-9-]{1,63}")


class Step(StrEnum):
    """Step in the making of a bucket."""

    BUCKET = "bucket"
    PRIVACY = "privacy"
    VERSIONS = "versions"
    RETENTION = "retention"


@dataclass(frozen=True, kw_only=True)
class Provider:
    """Record of a provider of storage.

    Attributes:
        name: What it is called by ``--provider``, and its script.
        title: What people call it.
        endpoint: URL of its S3 API, with ``{region}`` and ``{account}`` in it where it takes them;
            empty: AWS's own.
        asks_endpoint: Whether it runs wherever its user has it, so that `endpoint` is a proposal.
        region: Region to sign for; where it is asked for, a proposal.
        region_form: Form of a region that has to be asked for; None: there is but one.
        region_example: A region, for the text of a fault.
        shortest_name: Characters that a bucket's name has at least.
        conditional: Whether it has conditional PUT, so that several instances are safe.
        overlapping_rules: Whether an object may be subject to several lifecycle rules.
        unknown_actions: Actions of our policy that its own policies do not know, and refuse.
        steps: Steps that ``--create`` can take there.
        limits: What it cannot do, in sentences.
    """

    name: str
    title: str
    endpoint: str = ""
    asks_endpoint: bool = False
    region: str = ""
    region_form: re.Pattern[str] | None = None
    region_example: str = ""
    shortest_name: int = 3
    conditional: bool = True
    overlapping_rules: bool = True
    unknown_actions: frozenset[str] = frozenset()
    steps: tuple[Step, ...]
    limits: tuple[str, ...] = ()

    @property
    def is_aws(self) -> bool:
        """Return whether it is AWS, where a request that makes a bucket names its region."""
        return not self.endpoint

    @property
    def asks_account(self) -> bool:
        """Return whether the account's id is part of the endpoint."""
        return "{account}" in self.endpoint

    def region_fault(self, region: str) -> str | None:
        """Return what is wrong with the form of a region, as a sentence, or None."""
        if (self.region_form or _ANY_REGION).fullmatch(region):
            return None
        return f"A region of {self.title} looks like {self.region_example or self.region}."


_AWS = Provider(
    name="aws",
    title="AWS S3",
    region="us-east-1",
    region_form=_AWS_REGION,
    region_example="eu-central-1",
    steps=tuple(Step),
)
_R2 = Provider(
    name="r2",
    title="Cloudflare R2",
    endpoint="https://{account}.r2.cloudflarestorage.com",
    region="auto",
    steps=(Step.BUCKET,),
    limits=(
        "R2 keeps no versions: there is no going back. Keep a copy with ptb-s3 export.",
        "A token of R2 is for a whole bucket, not for a prefix in it: one bucket for one bot.",
    ),
)
_B2 = Provider(
    name="b2",
    title="Backblaze B2",
    endpoint="https://s3.{region}.backblazeb2.com",
    region_form=_B2_REGION,
    region_example="eu-central-003",
    shortest_name=6,  # Backblaze, "Buckets": 6 to 63 characters
    conditional=False,
    overlapping_rules=False,  # Backblaze, "Lifecycle Rules": no two for the same files
    steps=(Step.BUCKET, Step.RETENTION),
    limits=(
        "B2 has no conditional PUT: run one instance of the bot, not even two during a deploy.",
        "B2 always keeps versions, and has lifecycle rules of a form of its own.",
    ),
)
_TIGRIS = Provider(
    name="tigris",
    title="Tigris",
    endpoint="https://t3.storage.dev",
    region="auto",
    # Tigris, "Supported S3-Compatible IAM Actions": others are an error.
    unknown_actions=frozenset(
        {
            "GetBucketLocation",
            "GetBucketObjectLockConfiguration",
            "GetBucketPublicAccessBlock",
            "GetBucketVersioning",
            "GetEncryptionConfiguration",
            "GetObjectVersion",
            "GetReplicationConfiguration",
            "ListBucketVersions",
        }
    ),
    steps=(Step.BUCKET,),
    limits=(
        "Tigris keeps no versions as S3 does: there is no going back. Keep a copy (ptb-s3 export).",
        "On Fly, the endpoint is https://fly.storage.tigris.dev: give it with --endpoint-url.",
    ),
)
_MINIO = Provider(
    name="minio",
    title="MinIO",
    endpoint="http://127.0.0.1:9000",
    asks_endpoint=True,
    region="us-east-1",
    unknown_actions=frozenset({"GetBucketPublicAccessBlock"}),  # minio/pkg, policy/action.go
    steps=(Step.BUCKET, Step.VERSIONS, Step.RETENTION),
    limits=("MinIO keeps conditions from RELEASE.2025-09-06 on; an older one is not safe.",),
)

PROVIDERS = {provider.name: provider for provider in (_AWS, _R2, _B2, _TIGRIS, _MINIO)}
"""All of them, by name."""
