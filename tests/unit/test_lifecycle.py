"""What lifecycle rules do to an object: read as S3 writes them, and reckoned as S3 reckons."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import pytest

from ptb_s3._storage.lifecycle import NewestStay, Rule, expiry, read_rules, sweepers

KEY = "bot/head"
SINCE = datetime(2026, 1, 1, 10, 30, tzinfo=UTC)


def removing(days: int, prefix: str = "bot/", newest_kept: int = 0, **others: Any) -> Rule:
    return Rule("r", prefix, noncurrent_days=days, newest_kept=newest_kept, **others)


# Amazon S3 User Guide, "Lifecycle configuration elements": replaced on 1/1/2014 at 10:30 AM UTC,
# with three days, a version goes on 1/5/2014 at 00:00 UTC.
@pytest.mark.parametrize(
    ("since", "days", "on"),
    [
        (datetime(2014, 1, 1, 10, 30, tzinfo=UTC), 3, date(2014, 1, 5)),
        (datetime(2026, 1, 1, 23, 59, 59, tzinfo=UTC), 1, date(2026, 1, 3)),
        (datetime(2026, 1, 1, tzinfo=UTC), 1, date(2026, 1, 3)),
        (datetime(2026, 1, 1, 23, tzinfo=timezone(-timedelta(hours=3))), 1, date(2026, 1, 4)),
        (datetime(2028, 2, 28, 1, tzinfo=UTC), 1, date(2028, 3, 1)),
    ],
)
def test_a_version_goes_at_the_next_midnight(since: datetime, days: int, on: date) -> None:
    """Days are added to the moment, which is taken in UTC, and the day is never too early."""
    assert expiry([removing(days)], KEY, since) == on


def test_the_earliest_rule_counts() -> None:
    """Of several rules that take the object, the shortest decides."""
    assert expiry([removing(30), removing(2), removing(7)], KEY, SINCE) == date(2026, 1, 4)


@pytest.mark.parametrize(
    "rule",
    [
        removing(1, "other/"),
        removing(1, "bot/head/"),
        removing(1, sure=False),
        removing(1, sure=False, tagged=True),
        Rule("r", "", expires=True),
    ],
    ids=["elsewhere", "longer", "by size", "by tag", "of current versions"],
)
def test_a_rule_that_may_not_take_the_object_does_not_count(rule: Rule) -> None:
    """A promise to forget somebody must not rest on it."""
    assert expiry([rule], KEY, SINCE) is None
    assert expiry([rule, removing(5)], KEY, SINCE) == date(2026, 1, 7)


def test_no_rule_is_never() -> None:
    """Then a version stays for ever."""
    assert expiry([], KEY, SINCE) is None


def test_the_newest_versions_may_stay_for_ever() -> None:
    """No day can be told then, unless another rule removes those, too."""
    assert expiry([removing(3, newest_kept=9), removing(5, newest_kept=4)], KEY, SINCE) == (
        NewestStay(4)
    )
    assert expiry([removing(3, newest_kept=9), removing(30)], KEY, SINCE) == date(2026, 2, 1)


@pytest.mark.parametrize(
    ("filter_", "prefix", "sure", "tagged"),
    [
        ({"Filter": {}}, "", True, False),
        ({"Filter": {"Prefix": "bot/"}}, "bot/", True, False),
        ({"Prefix": "bot/"}, "bot/", True, False),
        ({"Filter": {"And": {"Prefix": "bot/"}}}, "bot/", True, False),
        ({"Filter": {"Tag": {"Key": "a", "Value": "b"}}}, "", False, True),
        ({"Filter": {"And": {"Prefix": "bot/", "Tags": []}}}, "bot/", False, True),
        ({"Filter": {"ObjectSizeGreaterThan": 1}}, "", False, False),
        ({"Filter": {"And": {"Prefix": "bot/", "ObjectSizeLessThan": 1}}}, "bot/", False, False),
        ({"Filter": {"SomethingNew": 1}}, "", False, False),
    ],
)
def test_filters(filter_: dict[str, Any], prefix: str, sure: bool, tagged: bool) -> None:  # noqa: FBT001 - parameters of a table
    """Nothing but a prefix makes it sure which objects a rule takes."""
    (rule,) = read_rules({"Rules": [{"Status": "Enabled", **filter_}]})
    assert (rule.prefix, rule.sure, rule.tagged) == (prefix, sure, tagged)
    assert rule.surely_takes(KEY) == sure
    assert rule.may_take(KEY) != tagged


def test_a_rule_is_read_whole() -> None:
    """Everything that it does to objects and versions."""
    rule = {
        "ID": "all",
        "Status": "Enabled",
        "Filter": {"Prefix": ""},
        "Expiration": {"Days": 9},
        "Transitions": [{"Days": 3, "StorageClass": "GLACIER"}],
        "NoncurrentVersionExpiration": {"NoncurrentDays": 30, "NewerNoncurrentVersions": 5},
        "NoncurrentVersionTransitions": [{"NoncurrentDays": 3, "StorageClass": "DEEP_ARCHIVE"}],
        "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 3},
    }
    markers = {"Status": "Enabled", "Expiration": {"ExpiredObjectDeleteMarker": True}}
    assert read_rules({"Rules": [{"ID": "off", "Status": "Disabled"}, rule, markers]}) == (
        Rule(
            "all",
            "",
            expires=True,
            moves_to=("GLACIER",),
            noncurrent_days=30,
            newest_kept=5,
            noncurrent_moves_to=("DEEP_ARCHIVE",),
        ),
        Rule("3", "", clears_markers=True),
    )
    assert read_rules({}) == ()


HISTORY = Rule("history", "bot/", noncurrent_days=30, clears_markers=True)
SCRATCH = Rule("doctor", "bot/doctor/", expires=True)


@pytest.mark.parametrize(
    ("rules", "versioned", "current", "swept_by"),
    [
        ([HISTORY, SCRATCH], True, True, ("doctor", "history")),
        ([HISTORY], True, True, ()),
        ([HISTORY], True, False, ("history",)),
        ([SCRATCH], True, True, ()),
        ([SCRATCH], False, True, ("doctor",)),
        ([HISTORY], False, True, ()),
        ([HISTORY._replace(clears_markers=False), SCRATCH], True, True, ("doctor", "history")),
        ([HISTORY._replace(clears_markers=False)], True, False, ()),
        ([HISTORY._replace(newest_kept=1), SCRATCH], True, True, ()),
        ([HISTORY, SCRATCH._replace(sure=False)], True, True, ()),
        ([], True, True, ()),
    ],
)
def test_what_goes_altogether(
    rules: list[Rule],
    versioned: bool,  # noqa: FBT001 - parameters of a table
    current: bool,  # noqa: FBT001 - as above
    swept_by: tuple[str, ...],
) -> None:
    """The current version, those it replaced, and the marker that stays: each takes its rule."""
    swept = sweepers(rules, "bot/doctor/x", versioned=versioned, current=current)
    assert swept == swept_by
