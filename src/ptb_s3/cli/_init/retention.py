"""Lifecycle rules of a bot's bucket, as ``infra/bucket`` has them, and their merge. Pure.

A bucket has one list of rules, and a PUT replaces all of it. So ours are added to those that are
there, and only as far as none of those does the same already.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ptb_s3._format.container import HEAD
from ptb_s3._storage.lifecycle import Rule, read_rules

_SCRATCH = "doctor/scratch"
"""Name that stands for all objects that the doctor writes."""


def rules(prefix: str, history_days: int, *, overlapping: bool = True) -> list[dict[str, Any]]:
    """Return the rules: how long the history goes back, and what the doctor leaves behind.

    Args:
        prefix: Prefix of the bot's objects.
        history_days: Days that a version is kept once it has been replaced.
        overlapping: Whether the storage takes several rules for the same objects; if not, there is
            the first one, which does no more than its name says.
    """
    history = {
        "ID": "history",
        "Status": "Enabled",
        "Filter": {"Prefix": prefix},
        "NoncurrentVersionExpiration": {"NoncurrentDays": history_days},
    }
    if not overlapping:
        return [history]
    return [
        {
            **history,
            "Expiration": {"ExpiredObjectDeleteMarker": True},
            "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 3},
        },
        {
            "ID": "doctor",
            "Status": "Enabled",
            "Filter": {"Prefix": f"{prefix}doctor/"},
            "Expiration": {"Days": 1},
        },
    ]


def keeping(there: Mapping[str, Any], prefix: str) -> Rule | None:
    """Return the rule that lets the history of a prefix expire, or None.

    Args:
        there: Reply to GetBucketLifecycleConfiguration.
        prefix: Prefix of the bot's objects.
    """
    ours = (rule for rule in read_rules(there) if rule.surely_takes(prefix + HEAD))
    return next((rule for rule in ours if rule.noncurrent_days is not None), None)


def merged(
    there: Mapping[str, Any], prefix: str, wanted: Sequence[Mapping[str, Any]]
) -> dict[str, Any] | None:
    """Return the request that adds what is missing, or None where nothing is.

    Args:
        there: Reply to GetBucketLifecycleConfiguration.
        prefix: Prefix of the bot's objects.
        wanted: Our rules.

    Returns:
        Arguments of PutBucketLifecycleConfiguration: all rules that are there, as they are, and
        ours after them.
    """
    rest = [dict(rule) for rule in wanted if not _is_met(rule, there, prefix)]
    if not rest:
        return None
    old: list[dict[str, Any]] = list(there.get("Rules", []))
    taken = {str(rule.get("ID", "")) for rule in old}
    for rule in rest:
        if rule["ID"] in taken:  # another bot's, of a prefix of its own
            rule["ID"] = f"{rule['ID']} of {prefix}"
        if any("Prefix" in it and "Filter" not in it for it in old):
            # S3 does not take rules of its older form and of the newer one together.
            rule["Prefix"] = rule.pop("Filter")["Prefix"]
    request: dict[str, Any] = {"LifecycleConfiguration": {"Rules": [*old, *rest]}}
    if size := there.get("TransitionDefaultMinimumObjectSize"):
        request["TransitionDefaultMinimumObjectSize"] = size  # left out, it would be changed
    return request


def _is_met(rule: Mapping[str, Any], there: Mapping[str, Any], prefix: str) -> bool:
    """Tell whether a rule that is there does what one of ours is to do."""
    if "NoncurrentVersionExpiration" in rule:
        return keeping(there, prefix) is not None
    return any(it.expires and it.surely_takes(prefix + _SCRATCH) for it in read_rules(there))
