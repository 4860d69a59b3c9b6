"""Findings of an examination: outcome of each check, what was found, and what to do. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, NamedTuple

from ptb_s3.errors import PersistenceError, StorageError

TEMPLATES = "infra/bucket has templates of a bucket"
"""Pointer at the end of a remedy about settings of the bucket."""


class Check(StrEnum):
    """Check of an examination, in the order in which they are shown."""

    SETTINGS = "settings"
    KEY_SERVICE = "key service"
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
    RANGES = "ranges"
    LIFECYCLE = "lifecycle"
    LATENCY = "latency"
    CLEAN_UP = "clean-up"


class Status(StrEnum):
    """Outcome of a check."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    UNKNOWN = "unknown"


class Finding(NamedTuple):
    """Finding of one check.

    Attributes:
        check: The check.
        status: Its outcome.
        found: Description of what was found, without a full stop.
        remedy: What to do about it, as sentences; empty where all is well.
        data: The same for programs.
        exit_code: Exit code of the command line, where the check failed; else 0.
    """

    check: Check
    status: Status
    found: str
    remedy: str = ""
    data: Mapping[str, Any] = {}
    exit_code: int = 0


def ok(check: Check, found: str, **data: object) -> Finding:
    """Return a finding that all is well."""
    return Finding(check, Status.OK, found, data=data)


def warning(check: Check, found: str, remedy: str, **data: object) -> Finding:
    """Return a finding that a bot works with, but should not have to."""
    return Finding(check, Status.WARNING, found, remedy, data)


def failed(check: Check, found: str, remedy: str, **data: object) -> Finding:
    """Return a finding that no state is to be kept in the storage as it is."""
    return Finding(check, Status.FAILED, found, remedy, data, StorageError.exit_code)


def unknown(check: Check, found: str, remedy: str, **data: object) -> Finding:
    """Return a finding that a check could not be decided."""
    return Finding(check, Status.UNKNOWN, found, remedy, data)


def broken(check: Check, error: PersistenceError) -> Finding:
    """Return the finding of an error: its first sentence, and the rest of it as the remedy."""
    lines = [line.partition(". ") for line in str(error).splitlines()]
    found = "; ".join(first.removesuffix(".") for first, _, _ in lines)
    remedy = " ".join(rest for _, _, rest in lines if rest) or "Mend that, and look again."
    return Finding(check, Status.FAILED, found, remedy, {}, error.exit_code)


def completed(findings: Mapping[Check, Finding]) -> tuple[Finding, ...]:
    """Return a finding for each check, in their order, also for those that were not run.

    There is none about a key service where none keeps a key.
    """
    first = next((c for c in Check if c in findings and findings[c].status is Status.FAILED), None)
    found = "not looked into" + (f", because of: {first}" if first else "")
    return tuple(
        findings.get(check) or unknown(check, found, "Mend that first, and look again.")
        for check in Check
        if check in findings or check is not Check.KEY_SERVICE
    )
