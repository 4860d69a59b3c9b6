"""Lifecycle rules of a bucket: their effect on an object, and the day of it. Pure.

Source: Amazon S3 User Guide, "Lifecycle configuration elements" (filters, `NoncurrentDays`,
`NewerNoncurrentVersions`, delete markers) and "Examples of S3 Lifecycle configurations".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any, NamedTuple

UNREADABLE = frozenset({"GLACIER", "DEEP_ARCHIVE"})
"""Storage classes whose objects have to be restored before they can be read."""


class Rule(NamedTuple):
    """Enabled lifecycle rule, as far as it is about whole objects (not about multipart uploads).

    Attributes:
        id: Its id, or its place in the list where it has none.
        prefix: Prefix of the keys that it applies to.
        sure: Whether it applies to every object of that prefix, whatever its size and tags.
        tagged: Whether it applies to objects with tags only, and so to none that ptb-s3 writes.
        expires: Whether it removes current versions.
        clears_markers: Whether it removes a delete marker that has no versions beneath it.
        moves_to: Storage classes that it moves current versions to.
        noncurrent_days: Days after which it removes a noncurrent version; None: never.
        newest_kept: Number of the newest noncurrent versions that stay, however old.
        noncurrent_moves_to: Storage classes that it moves noncurrent versions to.
    """

    id: str
    prefix: str
    sure: bool = True
    tagged: bool = False
    expires: bool = False
    clears_markers: bool = False
    moves_to: tuple[str, ...] = ()
    noncurrent_days: int | None = None
    newest_kept: int = 0
    noncurrent_moves_to: tuple[str, ...] = ()

    def surely_takes(self, key: str) -> bool:
        """Tell whether it surely applies to an object."""
        return self.sure and key.startswith(self.prefix)

    def may_take(self, key: str) -> bool:
        """Tell whether it may apply to an object without tags, as ptb-s3 writes them."""
        return not self.tagged and key.startswith(self.prefix)


class NewestStay(NamedTuple):
    """Answer in place of a day: this many of the newest noncurrent versions stay, however old."""

    number: int


def read_rules(configuration: Mapping[str, Any]) -> tuple[Rule, ...]:
    """Return the enabled rules of a reply to GetBucketLifecycleConfiguration."""
    rules = enumerate(configuration.get("Rules", []), start=1)
    return tuple(_rule(rule, number) for number, rule in rules if rule.get("Status") == "Enabled")


def expiry(rules: Iterable[Rule], key: str, noncurrent_since: datetime) -> date | NewestStay | None:
    """Return the day (UTC) on which the lifecycle removes a noncurrent version.

    S3 adds the days to the moment at which the version became noncurrent, and rounds up to the
    next midnight, UTC. It queues the version on that day; the removal may take longer.

    Args:
        rules: Rules of the bucket.
        key: Full key of the object.
        noncurrent_since: When the version became noncurrent: when the one after it was written.

    Returns:
        None: never, by any rule that surely takes the object. The earliest day, where several do.
    """
    ours = [rule for rule in rules if rule.surely_takes(key) and rule.noncurrent_days is not None]
    days = [rule.noncurrent_days or 0 for rule in ours if not rule.newest_kept]
    if days:
        due = noncurrent_since.astimezone(UTC) + timedelta(days=min(days))
        return due.date() + timedelta(days=1)
    return NewestStay(min(rule.newest_kept for rule in ours)) if ours else None


def sweepers(
    rules: Sequence[Rule], key: str, *, versioned: bool = True, current: bool = True
) -> tuple[str, ...]:
    """Return the ids of the rules that together remove an object, or none if they leave anything.

    Args:
        rules: Rules of the bucket.
        key: Full key of the object.
        versioned: Whether the bucket keeps noncurrent versions.
        current: Whether there is a current version, rather than a delete marker on top.
    """
    ours = [rule for rule in rules if rule.surely_takes(key)]
    expiring = [rule.id for rule in ours if rule.expires]
    if not versioned:
        return tuple(expiring)
    noncurrent = [r.id for r in ours if r.noncurrent_days is not None and not r.newest_kept]
    # A rule that expires current versions by age removes markers by age as well.
    markers = [rule.id for rule in ours if rule.clears_markers or rule.expires]
    if not noncurrent or not markers or (current and not expiring):
        return ()
    return tuple(dict.fromkeys([*(expiring if current else []), *noncurrent, *markers]))


def _rule(rule: Mapping[str, Any], number: int) -> Rule:
    # Rules made by the older API have a prefix in the place of a filter.
    stated: Mapping[str, Any] = rule.get("Filter") or {"Prefix": rule.get("Prefix", "")}
    filter_: Mapping[str, Any] = stated.get("And", stated)
    expiration = rule.get("Expiration", {})
    noncurrent = rule.get("NoncurrentVersionExpiration", {})
    return Rule(
        id=str(rule.get("ID") or number),
        prefix=str(filter_.get("Prefix") or ""),
        sure=filter_.keys() <= {"Prefix"},
        tagged=not filter_.keys().isdisjoint({"Tag", "Tags"}),
        expires=bool(expiration.get("Days") or expiration.get("Date")),
        clears_markers=bool(expiration.get("ExpiredObjectDeleteMarker")),
        moves_to=_classes(rule.get("Transitions")),
        noncurrent_days=int(noncurrent.get("NoncurrentDays") or 0) if noncurrent else None,
        newest_kept=int(noncurrent.get("NewerNoncurrentVersions") or 0),
        noncurrent_moves_to=_classes(rule.get("NoncurrentVersionTransitions")),
    )


def _classes(transitions: Iterable[Mapping[str, Any]] | None) -> tuple[str, ...]:
    return tuple(str(transition.get("StorageClass", "")) for transition in transitions or ())
