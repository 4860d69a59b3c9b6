"""Triggers as neutral records, and when jobs run where the clock is put forward or back."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import pytz
from apscheduler.triggers.base import BaseTrigger
from apscheduler.triggers.combining import AndTrigger, OrTrigger
from apscheduler.triggers.cron import CronTrigger
from apscheduler.triggers.date import DateTrigger
from apscheduler.triggers.interval import IntervalTrigger
from hypothesis import given
from hypothesis import strategies as st

from ptb_s3._jobs.triggers import (
    OnceADay,
    TriggerError,
    alike,
    by_calendar,
    following,
    interval_of,
    latest,
    record_of,
    trigger_of,
    zone_name,
    zone_of,
)
from ptb_s3._jobs.wall_clock import at, wall_time
from ptb_s3._values.serializer import PickleSerializer

BERLIN = ZoneInfo("Europe/Berlin")
NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)
TRIGGERS: list[Any] = [
    DateTrigger(NOW + timedelta(hours=1)),
    DateTrigger(datetime(2027, 1, 1, 8), timezone=BERLIN),  # noqa: DTZ001 - APScheduler's own form
    IntervalTrigger(seconds=90, start_date=NOW, timezone=UTC),
    IntervalTrigger(days=1, start_date=NOW, end_date=NOW + timedelta(days=30), timezone=BERLIN),
    IntervalTrigger(seconds=0.5, start_date=NOW, timezone=UTC, jitter=3),
    CronTrigger(hour=8, minute=30, second=0, day_of_week="mon,fri", timezone=BERLIN),
    CronTrigger(day="last", hour=0, minute=0, second=0, timezone=UTC),
    CronTrigger(minute="*/5", timezone=timezone(-timedelta(hours=3, minutes=30))),
    OrTrigger([CronTrigger(hour=8, timezone=UTC), CronTrigger(hour="9-17", timezone=BERLIN)]),
    AndTrigger(
        [
            CronTrigger(hour=8, timezone=UTC),
            CronTrigger(hour=8, day_of_week="sun", timezone=UTC),
        ]
    ),
]


def times(trigger: BaseTrigger, count: int = 5) -> list[datetime]:
    found: list[datetime] = []
    due, now = None, NOW
    while len(found) < count and (due := trigger.get_next_fire_time(due, now)):
        found.append(due)
        now = max(now, due)
    return found


@pytest.mark.parametrize("trigger", TRIGGERS, ids=lambda one: type(one).__name__)
def test_a_trigger_comes_back_and_fires_at_the_same_times(trigger: Any) -> None:
    """Through a record of plain values, which the serializer takes without trusting anybody."""
    plain = PickleSerializer(trusted=())
    record: Any = plain.loads(plain.dumps(record_of(trigger)))
    again = trigger_of(record)
    assert record_of(again) == record
    if isinstance(trigger, AndTrigger):  # APScheduler's own never finds the second time
        assert times(again, 1) == times(trigger, 1)
        assert [time - NOW.replace(hour=8) for time in times(again, 3)] == [
            timedelta(weeks=n) for n in (1, 2, 3)
        ]
    elif getattr(trigger, "jitter", None) is None:
        assert times(again) == times(trigger)


def test_zones_are_written_by_their_names() -> None:
    """Those of zoneinfo and of pytz, UTC, and offsets of whole minutes; no others."""
    assert zone_name(BERLIN) == zone_name(pytz.timezone("Europe/Berlin")) == "Europe/Berlin"
    assert zone_name(UTC) == zone_name(None) == "UTC"
    odd = timezone(-timedelta(hours=3, minutes=30))
    assert zone_name(odd) == "-03:30"
    for zone in (BERLIN, UTC, odd):
        assert (
            NOW.astimezone(zone_of(zone_name(zone))).utcoffset() == NOW.astimezone(zone).utcoffset()
        )
    with pytest.raises(TriggerError, match="whole number of minutes"):
        zone_name(timezone(timedelta(seconds=7)))
    with pytest.raises(TriggerError, match="tzdata"):
        zone_of("Mars/Olympus")


@pytest.mark.parametrize(
    ("record", "fault"),
    [
        (("moon", {}), "does not know"),
        (("cron", {"fields": {"hour": "25"}, "zone": "UTC"}), "cannot be made"),
        (("object", "no trigger"), "no trigger"),
    ],
)
def test_a_record_that_is_none_is_refused(record: Any, fault: str) -> None:
    """With what is wrong with it, and no error of APScheduler's."""
    with pytest.raises(TriggerError, match=fault):
        trigger_of(record)


def daily(hour: int, minute: int = 0) -> BaseTrigger:
    made = trigger_of(record_of(CronTrigger(hour=hour, minute=minute, second=0, timezone=BERLIN)))
    assert type(made) is OnceADay
    return made


def test_a_daily_job_runs_once_on_each_day() -> None:
    """Also at 02:30 in Berlin, on the night without it and on the one that has it twice."""
    for first, runs in (
        (datetime(2026, 3, 28, 12, tzinfo=BERLIN), ["03:00+0200", "02:30+0200"]),
        (datetime(2026, 10, 24, 12, tzinfo=BERLIN), ["02:30+0200", "02:30+0100"]),
    ):
        now, due, found = first, None, []
        for _ in runs:
            due = daily(2, 30).get_next_fire_time(due, now)
            found.append(due.strftime("%H:%M%z"))
            now = due
        assert found == runs


@given(
    start=st.datetimes(min_value=datetime(2026, 1, 1), max_value=datetime(2027, 12, 31)),  # noqa: DTZ001
    hour=st.integers(0, 23),
    minute=st.integers(0, 59),
)
def test_a_daily_job_leaves_out_no_day(start: datetime, hour: int, minute: int) -> None:
    """Of forty days in a row, each has one run, in order, and none is before its time."""
    now = start.replace(tzinfo=UTC)
    due, days = None, []
    for _ in range(40):
        due = daily(hour, minute).get_next_fire_time(due, now)
        assert due >= now
        days.append(due.astimezone(BERLIN).date())
        now = due
    assert [day - days[0] for day in days] == [timedelta(days=n) for n in range(40)]


def test_other_rules_of_the_calendar_are_apschedulers() -> None:
    """A job every five minutes goes on through the hour that comes twice."""
    assert type(trigger_of(record_of(CronTrigger(minute="*/5", timezone=BERLIN)))) is CronTrigger
    assert type(trigger_of(record_of(CronTrigger(hour="8,20", timezone=BERLIN)))) is CronTrigger


def test_the_end_of_a_gap_is_found_to_the_second() -> None:
    """02:30 and 02:00:01 are both passed at 03:00, and a time that is there is itself."""
    end = datetime(2026, 3, 29, 3, tzinfo=BERLIN)
    for wall in (datetime(2026, 3, 29, 2, 30), datetime(2026, 3, 29, 2, 0, 1)):  # noqa: DTZ001
        assert at(wall, BERLIN) == end
    wall = datetime(2026, 7, 1, 2, 30)  # noqa: DTZ001
    assert wall_time(at(wall, BERLIN), BERLIN) == wall


def test_an_interval_keeps_its_rhythm() -> None:
    """Of a job each hour that was due at 10:07 and runs at 13:40, the next run is at 14:07."""
    trigger = IntervalTrigger(hours=1, start_date=NOW, timezone=UTC)
    due = NOW.replace(hour=10, minute=7)
    now = NOW.replace(hour=13, minute=40)
    assert latest(trigger, due, now) == now.replace(minute=7)
    assert following(trigger, due, now) == now.replace(hour=14, minute=7)
    assert latest(trigger, now, due) == now


def test_what_was_missed_is_not_counted_one_by_one() -> None:
    """A job each half second that was due a year ago is scheduled at once."""
    trigger = IntervalTrigger(seconds=0.5, start_date=NOW, timezone=UTC)
    found = following(trigger, NOW - timedelta(days=365), NOW)
    assert found is not None
    assert timedelta() < found - NOW <= timedelta(seconds=0.5)
    each_second = CronTrigger(second="*", timezone=UTC)
    assert following(each_second, NOW - timedelta(days=365), NOW) == NOW + timedelta(seconds=1)
    assert following(DateTrigger(NOW), NOW, NOW) is None


def test_triggers_are_compared_but_for_an_intervals_start() -> None:
    """A bot that makes its job at each start makes it with another start each time."""
    one, other = (
        record_of(IntervalTrigger(seconds=60, start_date=NOW + timedelta(seconds=n), timezone=UTC))
        for n in (0, 7)
    )
    assert one != other
    assert alike(one, other)
    assert not alike(one, record_of(IntervalTrigger(seconds=61, start_date=NOW, timezone=UTC)))
    assert not alike(record_of(TRIGGERS[0]), record_of(TRIGGERS[1]))
    assert interval_of(one) == 60
    assert interval_of(record_of(TRIGGERS[0])) is None
    assert by_calendar(record_of(TRIGGERS[5]))
    assert not by_calendar(one)
