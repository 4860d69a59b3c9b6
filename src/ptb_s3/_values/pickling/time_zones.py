"""Time zones of pytz, as those of the standard library that mean the same.

To load a zone of pytz takes functions of pytz, which nothing calls here. PTB up to 21.9 put
`pytz.utc` into every date, and bots have zones of pytz in their own.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import Any, Final
from zoneinfo import ZoneInfo

# Zones that stay as they are, and so most of all.
STANDARD: Final = frozenset({type(None), timezone, ZoneInfo})


class ZoneOfPytz(tzinfo):
    """A zone as pytz puts it into a pickle, for readers without pytz.

    Args:
        zone: Its name.
        offset: Seconds east of UTC, as at the times that have it; None: what the name says.
    """

    def __init__(self, zone: str, offset: int | None = None) -> None:
        self.zone = zone
        self._offset = offset

    def utcoffset(self, when: datetime | None, /) -> timedelta | None:
        """Return the distance to UTC."""
        if self._offset is None:
            zone = standard_zone(self)
            return None if when is None or zone is None else when.replace(tzinfo=zone).utcoffset()
        return timedelta(seconds=self._offset)

    def dst(self, _when: datetime | None, /) -> timedelta | None:
        """Return None: it is not known."""

    def tzname(self, _when: datetime | None, /) -> str:
        """Return the name."""
        return self.zone


def is_of_pytz(zone: object) -> bool:
    """Tell whether an object is a time zone of pytz. Does not import it."""
    pytz: Any = sys.modules.get("pytz")
    if isinstance(zone, ZoneOfPytz) or pytz is None:
        return isinstance(zone, ZoneOfPytz)
    return isinstance(zone, (pytz.tzinfo.BaseTzInfo, pytz._FixedOffset))  # noqa: SLF001 - what FixedOffset() gives


def standard_zone(zone: Any) -> tzinfo | None:  # noqa: ANN401 - types of pytz's are none of ours
    """Return the zone of the standard library for one of pytz; None: it is not known here."""
    name: str | None = zone.zone
    if name is None:
        return timezone(zone.utcoffset(None))  # one that is no more than an offset
    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (LookupError, OSError, TypeError, ValueError):
        return None


def in_standard_zone(when: datetime) -> datetime:
    """Return the same instant, in the zone of the standard library for one of pytz."""
    zone, offset = standard_zone(when.tzinfo), when.utcoffset()
    for fold in (when.fold, 1 - when.fold):
        moved = when.replace(tzinfo=zone, fold=fold)
        if moved.utcoffset() == offset:
            return moved
    try:
        # As where a zone of pytz was given to datetime() itself, which takes its oldest offset.
        return when.astimezone(zone)
    except OverflowError:  # at either end of the calendar
        return when.replace(tzinfo=timezone(offset or timedelta()))
