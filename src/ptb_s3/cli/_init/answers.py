"""Answers about a bot's storage, each with its check, and the variables they make. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ptb_s3._storage.place import check_endpoint, prefix_fault
from ptb_s3.cli._init.providers import Provider
from ptb_s3.errors import SettingsError

LONGEST_NAME = 63
"""Characters that a bucket's name has at most (Amazon S3 User Guide, "Bucket naming rules")."""
_BUCKET = re.compile(r"[a-z0-9][a-z0-9-]*[a-z0-9]")
# As above: what these begin and end with is kept for other things than buckets.
_RESERVED_BEGINNINGS = ("xn--", "sthree-", "amzn-s3-demo-")
_RESERVED_ENDS = ("-s3alias", "--ol-s3", "--x-s3", "--table-s3")
# As in infra/bucket: no wildcards, since the prefix becomes part of what a policy allows.
_PREFIX = re.compile(r"[A-Za-z0-9!_.()-][A-Za-z0-9!_.()/-]*/")
_ACCOUNT = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, kw_only=True)
class Answers:
    """Snapshot of all answers.

    Attributes:
        provider: Provider of the storage.
        bucket: Name of the bucket.
        prefix: Prefix of the bot's objects.
        region: Region to sign for.
        endpoint_url: URL of the S3 API; None: AWS's own.
        single_writer: Whether the user vouches for a single instance, where that is needed.
        history_days: Days that a version is kept once it has been replaced.
    """

    provider: Provider
    bucket: str
    prefix: str
    region: str
    endpoint_url: str | None
    single_writer: bool = False
    history_days: int = 30

    @property
    def variables(self) -> dict[str, str]:
        """Return the variables of a bot's settings by name, all but the key."""
        given = {
            "PTB_S3_BUCKET": self.bucket,
            "PTB_S3_PREFIX": self.prefix,
            "PTB_S3_ENDPOINT_URL": self.endpoint_url or "",
            "PTB_S3_REGION": self.region,
            "PTB_S3_SINGLE_WRITER": "true" if self.single_writer else "",
        }
        return {name: value for name, value in given.items() if value}

    @property
    def user(self) -> str:
        """Return a name for the bot's user, policy and key, made of the prefix."""
        return slug(self.prefix)


def slug(text: str) -> str:
    """Return a text as lower-case letters, digits and single hyphens, or a bot's name for none."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:40].strip("-") or "my-bot"


def bucket_fault(name: str, shortest: int = 3) -> str | None:
    """Return what is wrong with the name of a bucket, as a sentence, or None.

    Args:
        name: The name.
        shortest: Characters that it has at least.
    """
    if not shortest <= len(name) <= LONGEST_NAME:
        return f"The name of a bucket has {shortest} to {LONGEST_NAME} characters."
    if "." in name:
        return (
            "A name with a dot does not fit the certificates of *.s3.amazonaws.com. Choose one "
            "without."
        )
    if not _BUCKET.fullmatch(name):
        return (
            "The name of a bucket has lower-case letters, digits and hyphens, and begins and ends "
            "with a letter or digit."
        )
    if name.startswith(_RESERVED_BEGINNINGS) or name.endswith(_RESERVED_ENDS):
        return "Names that begin or end like that are kept for other things. Choose another."
    return None


def prefix_form_fault(prefix: str) -> str | None:
    """Return what is wrong with a prefix, as a sentence, or None."""
    if fault := prefix_fault(prefix):
        return f"It {fault}"
    if not prefix.endswith("/"):
        return f"A prefix ends in a slash, such as {slug(prefix)}/, so that it is no other bot's."
    if not _PREFIX.fullmatch(prefix):
        return "A prefix has letters, digits and any of !_.()-/ alone."
    return None


def account_fault(account: str) -> str | None:
    """Return what is wrong with the id of an account of Cloudflare, as a sentence, or None."""
    if _ACCOUNT.fullmatch(account):
        return None
    return "The id of an account has 32 digits and letters from a to f; the dashboard shows it."


def endpoint_fault(url: str, bucket: str = "") -> str | None:
    """Return what is wrong with the URL of an S3 API, in sentences, or None.

    Args:
        url: The URL.
        bucket: Name of the bucket, which is not to be part of it.
    """
    try:
        check_endpoint(url, bucket, "--endpoint-url")
    except (SettingsError, ValueError) as error:
        return str(error)
    return None
