"""What a check has found: how it ended, what is so, and what to do about it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, NamedTuple

from ptb_s3.errors import PersistenceError, StorageError

TEMPLATES = "infra/bucket has templates of a bucket"


class Check(StrEnum):
    """What is looked into, in the order in which it is shown."""

    SETTINGS = "settings"
    CREDENTIALS = "credentials"
    CONNECTION = "connection"
    BUCKET = "bucket"
    REGION = "region"
    OWNER = "owner"
    STATE = "state"
    VERSIONING = "versioning"
    HISTORY = "history"
    PUBLIC_ACCESS = "public access"
    PERMISSIONS = "permissions"
    EXCESS = "excess permissions"
    CLOCK = "clock"
    CONDITIONAL_PUT = "conditional PUT"
    LIFECYCLE = "lifecycle"
    LATENCY = "latency"
    CLEAN_UP = "clean-up"


class Status(StrEnum):
    """How a check ended."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    UNKNOWN = "unknown"


class Finding(NamedTuple):
    """What a check has found.

    Attributes:
        check: The check.
        status: How it ended.
        found: What is so, without a full stop.
        remedy: What to do about it; empty where all is well.
        data: The same for programs.
        exit_code: What it means on the command line, where it failed.
    """

    check: Check
    status: Status
    found: str
    remedy: str = ""
    data: Mapping[str, Any] = {}
    exit_code: int = 0


def ok(check: Check, found: str, **data: object) -> Finding:
    """Find that all is well."""
    return Finding(check, Status.OK, found, data=data)


def warning(check: Check, found: str, remedy: str, **data: object) -> Finding:
    """Find what a bot can do with, but should not have to."""
    return Finding(check, Status.WARNING, found, remedy, data)


def failed(check: Check, found: str, remedy: str, **data: object) -> Finding:
    """Find that the storage is none to keep a state in."""
    return Finding(check, Status.FAILED, found, remedy, data, StorageError.exit_code)


def unknown(check: Check, found: str, remedy: str, **data: object) -> Finding:
    """Find that nothing can be found."""
    return Finding(check, Status.UNKNOWN, found, remedy, data)


def broken(check: Check, error: PersistenceError) -> Finding:
    """Find what an error says: in its first sentence what is so, and then what to do."""
    lines = [line.partition(". ") for line in str(error).splitlines()]
    found = "; ".join(first.removesuffix(".") for first, _, _ in lines)
    remedy = " ".join(rest for _, _, rest in lines if rest) or "Mend that, and look again."
    return Finding(check, Status.FAILED, found, remedy, {}, error.exit_code)


def completed(findings: Mapping[Check, Finding]) -> tuple[Finding, ...]:
    """Return a finding for each check, in their order; what has none was not looked into."""
    first = next((c for c in Check if c in findings and findings[c].status is Status.FAILED), None)
    found = "not looked into" + (f", because of: {first}" if first else "")
    return tuple(
        findings.get(check) or unknown(check, found, "Mend that first, and look again.")
        for check in Check
    )
