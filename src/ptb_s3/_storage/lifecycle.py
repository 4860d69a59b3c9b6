"""What a bucket's lifecycle rules do to an object, and on which day. Pure.

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
    """An enabled rule. What it does to other than whole objects is left out.

    Attributes:
        id: Its id, or its place in the list where it has none.
        prefix: What the keys of its objects begin with.
        sure: Whether it takes every object of that prefix, whatever its size and tags.
        tagged: Whether it takes none without tags, such as those that ptb-s3 writes.
        expires: Whether it removes current versions.
        clears_markers: Whether it removes a delete marker that nothing lies under any more.
        moves_to: Storage classes that it moves current versions to.
        noncurrent_days: Days for which it leaves a version that was replaced; None: for ever.
        newest_kept: So many of the versions that were replaced stay, however old.
        noncurrent_moves_to: Storage classes that it moves versions to that were replaced.
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
        """Tell whether the object is one of its objects, whatever else is true of it."""
        return self.sure and key.startswith(self.prefix)

    def may_take(self, key: str) -> bool:
        """Tell whether the object, without tags as ptb-s3 writes it, may be one of its objects."""
        return not self.tagged and key.startswith(self.prefix)


class NewestStay(NamedTuple):
    """No day can be told: so many of the versions that were replaced stay, however old."""

    number: int


def read_rules(configuration: Mapping[str, Any]) -> tuple[Rule, ...]:
    """Return the enabled rules of a GetBucketLifecycleConfiguration, as botocore words it."""
    rules = enumerate(configuration.get("Rules", []), start=1)
    return tuple(_rule(rule, number) for number, rule in rules if rule.get("Status") == "Enabled")


def expiry(rules: Iterable[Rule], key: str, noncurrent_since: datetime) -> date | NewestStay | None:
    """Return the day (UTC) on which the lifecycle removes a version that was replaced.

    S3 adds the days to the moment at which the version became noncurrent, and rounds up to the
    next midnight, UTC. It queues the version on that day; the removal may take longer.

    Args:
        rules: The bucket's.
        key: The object's full key, prefix included.
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
    """Return the ids of the rules by which an object goes altogether; none if it does not.

    Args:
        rules: The bucket's.
        key: The object's full key, prefix included.
        versioned: Whether the bucket keeps what was replaced.
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
