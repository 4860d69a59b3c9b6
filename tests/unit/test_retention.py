"""A retention policy: what it keeps, and that it never is empty."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptb_s3._history.retention import Policy
from ptb_s3.errors import SettingsError

NOON = datetime(2026, 11, 23, 12, 30, tzinfo=UTC)
MOMENTS = st.lists(st.datetimes(datetime(2024, 1, 1), datetime(2026, 12, 31)), max_size=60).map(  # noqa: DTZ001 - the zone comes next
    lambda moments: sorted((m.replace(tzinfo=UTC) for m in moments), reverse=True)
)
NUMBERS = st.integers(0, 6)


def every(step: timedelta, number: int) -> list[datetime]:
    return [NOON - step * position for position in range(number)]


def kept(policy: Policy, moments: list[datetime]) -> list[int]:
    return [position for position, keep in enumerate(policy.keeps(moments)) if keep]


def test_the_newest_are_kept() -> None:
    """--keep-last keeps so many of the newest, or all there are."""
    assert kept(Policy(last=2), every(timedelta(minutes=1), 5)) == [0, 1]
    assert kept(Policy(last=9), every(timedelta(minutes=1), 5)) == [0, 1, 2, 3, 4]


def test_the_last_of_each_hour_is_kept() -> None:
    """--keep-hourly keeps the newest commit of each hour, as many hours as were asked for."""
    assert kept(Policy(hourly=2), every(timedelta(minutes=20), 7)) == [0, 2]
    assert kept(Policy(hourly=3), every(timedelta(minutes=20), 7)) == [0, 2, 5]


def test_hours_without_commits_do_not_count() -> None:
    """Two hours kept are two that had any, however far apart."""
    assert kept(Policy(hourly=2), [NOON, NOON - timedelta(days=40)]) == [0, 1]


def test_days_and_months_are_those_of_the_zone() -> None:
    """A day ends at midnight where the operator is, not where UTC is."""
    late = datetime(2026, 11, 30, 23, 30, tzinfo=UTC)
    pair = [late, late - timedelta(hours=1)]
    berlin = [moment.astimezone(ZoneInfo("Europe/Berlin")) for moment in pair]
    assert kept(Policy(daily=5), pair) == kept(Policy(monthly=5), pair) == [0]
    assert kept(Policy(daily=5), berlin) == kept(Policy(monthly=5), berlin) == [0, 1]


def test_an_hour_that_a_clock_shows_twice_is_two() -> None:
    """When the clock is put back, the hour before and the one after are each kept."""
    first = datetime(2026, 10, 25, 0, 30, tzinfo=UTC)
    moments = [first + timedelta(hours=1), first]
    berlin = [moment.astimezone(ZoneInfo("Europe/Berlin")) for moment in moments]
    assert [moment.hour for moment in berlin] == [2, 2]
    assert kept(Policy(hourly=5), berlin) == [0, 1]


@given(MOMENTS, NUMBERS, NUMBERS, NUMBERS, NUMBERS)
def test_rules_add_up(
    moments: list[datetime], last: int, hourly: int, daily: int, monthly: int
) -> None:
    """What any rule keeps is kept, nothing else is, and each rule keeps as many as it may."""
    if not last + hourly + daily + monthly:
        return
    rules: list[tuple[int, dict[str, int], Callable[[datetime], Any]]] = [
        (last, {"last": last}, lambda m: m),
        (hourly, {"hourly": hourly}, lambda m: (m.date(), m.hour)),
        (daily, {"daily": daily}, lambda m: m.date()),
        (monthly, {"monthly": monthly}, lambda m: (m.year, m.month)),
    ]
    union: set[int] = set()
    for number, rule, period in rules:
        if number:
            found = kept(Policy(**rule), moments)
            union |= set(found)
            if "last" not in rule:
                periods = [period(moments[position]) for position in found]
                assert periods == sorted(set(map(period, moments)), reverse=True)[:number]
    assert kept(Policy(last, hourly, daily, monthly), moments) == sorted(union)


def test_an_empty_policy_is_refused() -> None:
    """A policy that keeps nothing is a usage error that shows what one looks like."""
    with pytest.raises(SettingsError, match="--keep-last 100") as caught:
        Policy()
    assert caught.value.exit_code == 2
    with pytest.raises(SettingsError, match="below 0"):
        Policy(last=-1, daily=3)
