"""Triggers: APScheduler's to neutral records and back.

A record is a pair of a form and its parts, plain values that need no class of APScheduler's, which
it may rename:

========== ================================================================================
form       parts
========== ================================================================================
date       ``at``
interval   ``seconds``, ``start``, ``end``, ``jitter``, ``zone``
cron       ``fields`` (name to expression), ``start``, ``end``, ``jitter``, ``zone``
and, or    list of records; ``and`` with its ``interval`` and ``jitter``
object     a trigger of the user's own class, by the serializer
========== ================================================================================

Moments are in UTC. A zone is its IANA name, or an offset such as ``+02:00``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import Any, Final, TypeAlias
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from apscheduler.triggers.base import BaseTrigger
from apscheduler.triggers.combining import AndTrigger, OrTrigger
from apscheduler.triggers.cron import CronTrigger
from apscheduler.triggers.date import DateTrigger
from apscheduler.triggers.interval import IntervalTrigger

from ptb_s3._jobs import wall_clock

TriggerRecord: TypeAlias = tuple[str, Any]

_OFFSET = re.compile(r"([+-])(\d\d):(\d\d)")
_TIME_OF_DAY: Final = ("hour", "minute", "second")
# A day before the moment from which a daily run is looked for: the clock may have been put back.
_EARLIER: Final = timedelta(days=1)


class TriggerError(ValueError):
    """Raised for a trigger that cannot be kept. Its text is the end of a sentence."""


class OnceADay(CronTrigger):  # type: ignore[misc]  # APScheduler ships no types
    """Cron trigger that names one time of day: it fires once on each day that it names.

    `wall_clock` says when, on days of 23 and of 25 hours.
    """

    def get_next_fire_time(
        self, previous_fire_time: datetime | None, now: datetime
    ) -> datetime | None:
        """Return the next moment that is not before `now`, and after the previous one."""
        earliest = self._earliest(previous_fire_time, now)
        plain = CronTrigger(**_fields(self), timezone=UTC)
        wall = wall_clock.wall_time(earliest - _EARLIER, self.timezone)
        while True:
            shown = plain.get_next_fire_time(None, wall.replace(tzinfo=UTC))
            if shown is None:
                return None
            found = wall_clock.at(shown.replace(tzinfo=None), self.timezone)
            if found >= earliest:
                break
            wall = shown.replace(tzinfo=None) + timedelta(microseconds=1)
        if self.end_date and found > self.end_date:
            return None
        jittered: datetime | None = self._apply_jitter(found, self.jitter, now)
        return jittered

    def _earliest(self, previous: datetime | None, now: datetime) -> datetime:
        bounds = [now.astimezone(UTC)]
        if previous is not None:
            bounds.append(previous.astimezone(UTC) + timedelta(microseconds=1))
        if self.start_date is not None:
            bounds.append(self.start_date.astimezone(UTC))
        return max(bounds)


class AllOf(AndTrigger):  # type: ignore[misc]  # as above
    """Trigger that fires where several do, and looks for that from the last time on.

    APScheduler's own asks each of its triggers for the first time after the last one, again and
    again: triggers of the calendar then never agree.
    """

    def get_next_fire_time(
        self, previous_fire_time: datetime | None, now: datetime
    ) -> datetime | None:
        """Return the next moment that is not before `now`, and after the previous one."""
        if previous_fire_time is not None:
            now = max(now, previous_fire_time + timedelta(microseconds=1))
        found: datetime | None = super().get_next_fire_time(None, now)
        return found


def record_of(trigger: BaseTrigger) -> TriggerRecord:
    """Return the record of a trigger.

    Raises:
        TriggerError: Its time zone has no name by which another process finds it.
    """
    for cls, write in _WRITERS.items():
        if type(trigger) is cls or type(trigger) is _OURS.get(cls):
            return write(trigger)
    return ("object", trigger)


def trigger_of(record: TriggerRecord) -> BaseTrigger:
    """Return a new trigger made of a record.

    Raises:
        TriggerError: There is no such form, or a part is not what belongs there.
    """
    form, parts = record
    read = _READERS.get(form)
    if read is None:
        raise TriggerError(f"is of a form that this version does not know: {form!r}")
    try:
        return read(parts)
    except TriggerError:
        raise
    except Exception as error:  # noqa: BLE001 - APScheduler's own checks
        raise TriggerError(f"cannot be made of what is saved ({type(error).__name__})") from None


def alike(one: TriggerRecord, other: TriggerRecord) -> bool:
    """Tell whether two triggers say the same, but for the moment from which an interval counts."""
    return _without_start(one) == _without_start(other)


def following(trigger: BaseTrigger, due: datetime, now: datetime) -> datetime | None:
    """Return the next moment after now, for a run that was due, or None: there is none.

    Without a step for each time that has passed meanwhile: there may be millions.

    Args:
        trigger: The trigger.
        due: Moment at which the run was due.
        now: The present.
    """
    if isinstance(trigger, DateTrigger):
        return None
    found: datetime | None = trigger.get_next_fire_time(latest(trigger, due, now), now)
    return found


def latest(trigger: BaseTrigger, due: datetime, now: datetime) -> datetime:
    """Return a moment from which a trigger counts on, as if it had fired at each until now.

    An interval keeps its rhythm: of a job each hour that was due at 10:07 and runs at 13:40, that
    is 13:07. The calendar needs none.

    Args:
        trigger: The trigger.
        due: Moment at which it was due.
        now: The present.
    """
    if due >= now:
        return due
    if isinstance(trigger, IntervalTrigger):
        interval: timedelta = trigger.interval
        return due + (now - due) // interval * interval
    return now if isinstance(trigger, CronTrigger) else due


def interval_of(record: TriggerRecord) -> float | None:
    """Return the seconds between two runs of a job that repeats by an interval, else None."""
    form, parts = record
    return float(parts["seconds"]) if form == "interval" else None


def by_calendar(record: TriggerRecord) -> bool:
    """Tell whether a trigger names times of the calendar, such as each day at eight."""
    return record[0] == "cron"


def zone_name(zone: tzinfo | None) -> str:
    """Return the name of a time zone by which another process finds it.

    Raises:
        TriggerError: It has none.
    """
    if zone is None or zone is UTC:
        return "UTC"
    name = getattr(zone, "key", None) or getattr(zone, "zone", None)  # of zoneinfo, of pytz
    if isinstance(name, str):
        return name
    if isinstance(zone, timezone):
        return _offset_name(zone)
    raise TriggerError(
        "has a time zone without a name. Give it one of zoneinfo's, such as "
        'ZoneInfo("Europe/Berlin")'
    )


def zone_of(name: str) -> tzinfo:
    """Return the time zone of a name.

    Raises:
        TriggerError: This machine knows none of that name.
    """
    if name == "UTC":
        return UTC
    if offset := _OFFSET.fullmatch(name):
        sign, hours, minutes = offset.groups()
        distance = timedelta(hours=int(hours), minutes=int(minutes))
        return timezone(-distance if sign == "-" else distance)
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        raise TriggerError(
            "has a time zone that this machine does not know. Install the package tzdata"
        ) from None


def _offset_name(zone: timezone) -> str:
    seconds = int(zone.utcoffset(None).total_seconds())
    minutes, rest = divmod(abs(seconds), 60)
    if rest:
        raise TriggerError("has a time zone whose offset is no whole number of minutes")
    return f"{'-' if seconds < 0 else '+'}{minutes // 60:02}:{minutes % 60:02}"


def _utc(time: datetime | None) -> datetime | None:
    return None if time is None else time.astimezone(UTC)


def _fields(trigger: CronTrigger) -> dict[str, str]:
    return {field.name: str(field) for field in trigger.fields if not field.is_default}


def _write_date(trigger: DateTrigger) -> TriggerRecord:
    return ("date", {"at": _utc(trigger.run_date)})


def _write_interval(trigger: IntervalTrigger) -> TriggerRecord:
    seconds = {"seconds": trigger.interval.total_seconds()}
    return ("interval", seconds | _bounds(trigger))


def _write_cron(trigger: CronTrigger) -> TriggerRecord:
    return ("cron", {"fields": _fields(trigger)} | _bounds(trigger))


def _bounds(trigger: IntervalTrigger | CronTrigger) -> dict[str, Any]:
    return {
        "start": _utc(trigger.start_date),
        "end": _utc(trigger.end_date),
        "jitter": trigger.jitter,
        "zone": zone_name(trigger.timezone),
    }


def _write_and(trigger: AndTrigger) -> TriggerRecord:
    parts = [record_of(part) for part in trigger.triggers]
    return ("and", {"of": parts, "jitter": trigger.jitter})


def _write_or(trigger: OrTrigger) -> TriggerRecord:
    return ("or", {"of": [record_of(part) for part in trigger.triggers], "jitter": trigger.jitter})


def _read_date(parts: Mapping[str, Any]) -> BaseTrigger:
    return DateTrigger(parts["at"], timezone=UTC)


def _read_interval(parts: Mapping[str, Any]) -> BaseTrigger:
    return IntervalTrigger(seconds=parts["seconds"], **_read_bounds(parts))


def _read_cron(parts: Mapping[str, Any]) -> BaseTrigger:
    fields = parts["fields"]
    once = all(str(fields.get(name, "0")).isdigit() for name in _TIME_OF_DAY) and "hour" in fields
    return (OnceADay if once else CronTrigger)(**fields, **_read_bounds(parts))


def _read_bounds(parts: Mapping[str, Any]) -> dict[str, Any]:
    zone = zone_of(parts["zone"])
    return {
        "start_date": parts["start"],
        "end_date": parts["end"],
        "jitter": parts["jitter"],
        "timezone": zone,
    }


def _read_and(parts: Mapping[str, Any]) -> BaseTrigger:
    return AllOf([trigger_of(part) for part in parts["of"]], jitter=parts["jitter"])


def _read_or(parts: Mapping[str, Any]) -> BaseTrigger:
    return OrTrigger([trigger_of(part) for part in parts["of"]], jitter=parts["jitter"])


def _read_object(trigger: object) -> BaseTrigger:
    if not isinstance(trigger, BaseTrigger):
        raise TriggerError("is no trigger of APScheduler's")
    return trigger


def _without_start(record: TriggerRecord) -> TriggerRecord:
    form, parts = record
    return (form, {**parts, "start": None}) if form == "interval" else record


# Classes of ours, by the class whose place they take.
_OURS: Final[Mapping[type, type]] = {CronTrigger: OnceADay, AndTrigger: AllOf}
_WRITERS: Final[Mapping[type, Callable[[Any], TriggerRecord]]] = {
    DateTrigger: _write_date,
    IntervalTrigger: _write_interval,
    CronTrigger: _write_cron,
    AndTrigger: _write_and,
    OrTrigger: _write_or,
}
_READERS: Final[Mapping[str, Callable[[Any], BaseTrigger]]] = {
    "date": _read_date,
    "interval": _read_interval,
    "cron": _read_cron,
    "and": _read_and,
    "or": _read_or,
    "object": _read_object,
}
