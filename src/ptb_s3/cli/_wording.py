"""Wording of times, sizes and numbers: in the local zone for people, in UTC for programs."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

_SECONDS = re.compile(r"(\d\d:\d\d):\d\d")


def when(moment: datetime) -> str:
    """Write a time in the local zone, to the second."""
    return f"{moment.astimezone():%Y-%m-%d %H:%M:%S}"


def without_seconds(text: str) -> str:
    """Shorten the times in a text to the minute."""
    return _SECONDS.sub(r"\1", text)


def when_json(moment: datetime) -> str:
    """Write a time in UTC, for programs."""
    return moment.astimezone(UTC).isoformat()


def ago(moment: datetime, now: datetime | None = None) -> str:
    """Write how long ago a time was, now or as of another time."""
    import humanize  # noqa: PLC0415 - not every command shows an age

    return humanize.naturaltime((now or datetime.now(UTC)) - moment)


def span(time: timedelta) -> str:
    """Write a span of time, such as ``5 minutes``."""
    import humanize  # noqa: PLC0415 - not every command shows an age

    return humanize.naturaldelta(time)


def in_time(time: timedelta) -> str:
    """Write a span of time until something happens, such as ``in 5 minutes``."""
    return f"in {span(time)}"


def size(number: int) -> str:
    """Write a number of bytes."""
    import humanize  # noqa: PLC0415 - not every command shows a size

    return humanize.naturalsize(number)


def count(number: int, what: str, plural: str = "") -> str:
    """Write a number of things, such as ``1 version`` and ``2,000 versions``."""
    return f"{number:,} {what if number == 1 else plural or f'{what}s'}"


def runs(revisions: Iterable[int]) -> str:
    """Write revisions in ascending order, consecutive ones by their ends: ``1 to 3, 7``."""
    found: list[list[int]] = []
    for number in sorted(set(revisions)):
        if found and found[-1][-1] == number - 1:
            found[-1][1:] = [number]
        else:
            found.append([number])
    return ", ".join(" to ".join(map(str, run)) for run in found) or "none"
