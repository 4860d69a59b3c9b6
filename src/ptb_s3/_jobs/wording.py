"""Triggers in words, as `ptb-s3 jobs` shows them. Pure, and without APScheduler.

=================================================  ===============================
record                                             words
=================================================  ===============================
``("date", ...)``                                  once
``("interval", {"seconds": 7200, ...})``           every 2 h
cron, at one time of each day                      daily at 08:00 Europe/Berlin
cron, at one time of some weekdays                 mon,fri at 08:00 Europe/Berlin
cron, at one time of a day of the month            monthly on day 1 at 08:00 UTC
any other cron                                     cron minute=*/5 UTC
``("object", ...)``                                the name of its class
=================================================  ===============================
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from ptb_s3._values.allow_list import full_name

_UNITS: Final = (("d", 86_400), ("h", 3600), ("min", 60))
_TIME_OF_DAY: Final = ("hour", "minute", "second")
_WEEK: Final = 7
UNKNOWN: Final = "unknown"
"""Words for a trigger that another version has written, or that is damaged."""


def trigger_words(record: Any) -> str:  # noqa: ANN401 - whatever was saved
    """Return a trigger's record in words."""
    try:
        form, parts = record
        return _WORDS[form](parts)
    except Exception:  # noqa: BLE001 - whatever was saved, all other jobs are listed
        return UNKNOWN


def _date(_parts: Mapping[str, Any]) -> str:
    return "once"


def _interval(parts: Mapping[str, Any]) -> str:
    return f"every {span_words(float(parts['seconds']))}"


def span_words(seconds: float) -> str:
    """Return a span of time in the largest unit of which it is a multiple: ``90 s``, ``2 h``."""
    for unit, size in _UNITS:
        if seconds >= 2 * size and seconds % size == 0:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:g} s"


def _cron(parts: Mapping[str, Any]) -> str:
    fields, zone = dict(parts["fields"]), str(parts["zone"])
    time = [str(fields.pop(name, "0")) for name in _TIME_OF_DAY]
    days = _days(fields) if "hour" in parts["fields"] and all(map(str.isdigit, time)) else None
    if days is None:
        return " ".join(["cron", *(f"{k}={v}" for k, v in parts["fields"].items()), zone])
    hour, minute, second = map(int, time)
    clock = f"{hour:02}:{minute:02}" + (f":{second:02}" if second else "")
    return f"{days} at {clock} {zone}"


def _days(fields: Mapping[str, Any]) -> str | None:
    """Return the days that a cron trigger's fields name, or None: there is no word for them."""
    named = {name: str(value) for name, value in fields.items() if str(value) != "*"}
    if not named:
        return "daily"
    if set(named) == {"day_of_week"}:
        week = named["day_of_week"]
        return "daily" if len(set(week.split(","))) == _WEEK else week
    if set(named) == {"day"}:
        day = named["day"]
        return "monthly on the last day" if day == "last" else f"monthly on day {day}"
    return None


def _all_of(parts: Mapping[str, Any]) -> str:
    return f"when all agree: {'; '.join(map(trigger_words, parts['of']))}"


def _any_of(parts: Mapping[str, Any]) -> str:
    return "; ".join(map(trigger_words, parts["of"]))


def _object(trigger: object) -> str:
    return full_name(type(trigger))


_WORDS: Final[Mapping[str, Callable[[Any], str]]] = {
    "date": _date,
    "interval": _interval,
    "cron": _cron,
    "and": _all_of,
    "or": _any_of,
    "object": _object,
}
