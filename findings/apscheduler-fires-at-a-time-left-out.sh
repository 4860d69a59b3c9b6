#!/bin/sh
# APScheduler: a cron trigger fires where clocks leave its time out, against its documentation.
#
# The user guide of 3.x (cron trigger, "Daylight saving time behavior") has an example: daily at
# 03:30 in Europe/Helsinki is not executed at all on the last Sunday of March, and twice on that of
# October. The second is so. The first is not: the trigger fires on that Sunday as well, at the
# instant that 03:30 would be without the change, which clocks call 04:30. Whoever relies on the
# guide, and makes up for the run that is left out, has it run twice.
#
# Prints what it sees. Ends with 0 while it is so, and with 1 once it is not.
set -eu

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 130' INT TERM

python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    apscheduler==3.11.3 tzdata==2025.2
cd "$folder"

cat >probe.py <<'PYTHON'
import datetime as dt
import sys
from zoneinfo import ZoneInfo

import apscheduler
from apscheduler.triggers.cron import CronTrigger

ZONE = ZoneInfo("Europe/Helsinki")  # clocks change on 2026-03-29 and 2026-10-25
trigger = CronTrigger(hour=3, minute=30, timezone=ZONE)


def instants(day):
    """Return when it fires from the noon before that day on, as the scheduler would ask."""
    now, last, found = dt.datetime(*day, 12, tzinfo=ZONE) - dt.timedelta(days=1), None, []
    for _ in range(3):
        last = trigger.get_next_fire_time(last, now)
        found.append(last.astimezone(dt.UTC))
        now = (found[-1] + dt.timedelta(milliseconds=5)).astimezone(ZONE)
    return [instant.astimezone(ZONE) for instant in found]


spring, autumn = instants((2026, 3, 29)), instants((2026, 10, 25))
print("APScheduler", apscheduler.__version__)
print("daily at 03:30, where clocks go from 03:00 to 04:00:")
print(" ", *(f"{each:%d %b %H:%M %z};" for each in spring))
print("and where they go from 04:00 to 03:00:")
print(" ", *(f"{each:%d %b %H:%M %z};" for each in autumn))
twice = autumn[0].date() == autumn[1].date()
as_found = (spring[0].day, spring[0].hour, spring[0].minute) == (29, 4, 30) and twice
print("It fires on both days." if as_found else "This has changed.")
sys.exit(not as_found)
PYTHON
"$folder/venv/bin/python" probe.py
