"""Time zones of pytz, replaced by those of the standard library that mean the same.

To load a zone of pytz takes functions of pytz, and no function is ever loaded here. PTB up to 21.9
put `pytz.utc` into every date, and bots keep zones of pytz in data of their own.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import Any, Final
from zoneinfo import ZoneInfo

# Types of zones that stay as they are. Most dates have one, so these are looked for first.
STANDARD: Final = frozenset({type(None), timezone, ZoneInfo})


class ZoneOfPytz(tzinfo):
    """Placeholder for a zone as pytz puts it into a pickle, for readers without pytz.

    Args:
        zone: Its name, such as ``"Europe/Berlin"``.
        offset: Seconds east of UTC, since pytz has a zone object for each offset that a place ever
            had. None: what the name says.
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
        """Return None: a pickle of pytz does not say it."""

    def tzname(self, _when: datetime | None, /) -> str:
        """Return the name."""
        return self.zone


def is_of_pytz(zone: object) -> bool:
    """Return whether an object is a time zone of pytz. Does not import pytz."""
    pytz: Any = sys.modules.get("pytz")
    if isinstance(zone, ZoneOfPytz) or pytz is None:
        return isinstance(zone, ZoneOfPytz)
    return isinstance(zone, (pytz.tzinfo.BaseTzInfo, pytz._FixedOffset))  # noqa: SLF001 - what FixedOffset() gives


def standard_zone(zone: Any) -> tzinfo | None:  # noqa: ANN401 - types of pytz's are none of ours
    """Return the zone of the standard library that means the same as one of pytz.

    Returns:
        The zone, or None: zoneinfo does not know the name on this machine.
    """
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
    """Return the same instant with the standard library's zone in place of pytz's.

    Args:
        when: A time whose zone is of pytz, and known to `standard_zone`.
    """
    zone, offset = standard_zone(when.tzinfo), when.utcoffset()
    for fold in (when.fold, 1 - when.fold):
        moved = when.replace(tzinfo=zone, fold=fold)
        if moved.utcoffset() == offset:
            return moved
    try:
        # The offset is none that the place had then: a zone of pytz that was given to datetime()
        # itself has its oldest one, such as local mean time.
        return when.astimezone(zone)
    except OverflowError:  # at either end of the calendar
        return when.replace(tzinfo=timezone(offset or timedelta()))
