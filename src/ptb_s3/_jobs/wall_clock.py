"""Times of day on the clock on the wall, where the clock is put forward or back. Pure.

A daily job runs once a day. In Berlin, 02:30 does not exist on the night in spring, and comes twice
on the one in autumn:

======== ======================= ===========================================
night    the clock               a job at 02:30 runs
======== ======================= ===========================================
spring   01:59 is before 03:00   at 03:00, the first moment after the gap
autumn   02:59 is before 02:00   at the first 02:30, and not at the second
======== ======================= ===========================================

That is what cron does with jobs at a time of day (cron(8) of Debian). APScheduler 3.11 runs it at
03:30 in spring, and twice in autumn.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo

_RESOLUTION = timedelta(seconds=1)


def at(wall: datetime, zone: tzinfo) -> datetime:
    """Return the moment at which a clock on the wall shows a time, or passes it.

    Args:
        wall: Time on the wall, without a time zone.
        zone: Time zone of the wall.

    Returns:
        The moment, in that zone: the first of two, and the end of the gap where there is none.
    """
    first = wall.replace(tzinfo=zone, fold=0)
    if wall_time(first, zone) == wall:
        return first
    late, early = (wall.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))
    return _jump(early, late, zone).astimezone(zone)


def wall_time(moment: datetime, zone: tzinfo) -> datetime:
    """Return what a clock on the wall shows at a moment, without a time zone."""
    return moment.astimezone(UTC).astimezone(zone).replace(tzinfo=None, fold=0)


def _jump(early: datetime, late: datetime, zone: tzinfo) -> datetime:
    """Return the moment, in UTC, at which the clock is put forward between two others.

    Args:
        early: Moment before the jump, in UTC.
        late: Moment at the jump, or after it.
        zone: Time zone.
    """
    before = early.astimezone(zone).utcoffset()
    while late - early > _RESOLUTION:
        middle = early + (late - early) // 2
        if middle.astimezone(zone).utcoffset() == before:
            early = middle
        else:
            late = middle
    return late.replace(microsecond=0)
