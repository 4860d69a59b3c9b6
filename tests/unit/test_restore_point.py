"""The three ways to name a commit to go back to."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from ptb_s3._format.head import MAX_REQUEST
from ptb_s3._format.restore_point import RestorePoint, recording_fault

_MOMENT = datetime(2026, 11, 23, 14, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "revision", "moment", "version_id"),
    [
        ("41", 41, None, None),
        ("9" * 15, 10**15 - 1, None, None),
        ("9" * 16, None, None, "9" * 16),
        ("2026-11-23T14:00", None, _MOMENT, None),
        (
            "2026-11-23T16:00+02:00",
            None,
            _MOMENT.astimezone(timezone(timedelta(hours=2))),
            None,
        ),
        ("2 hours ago", None, None, "2 hours ago"),
        ("", None, None, ""),
    ],
)
def test_text_names_one_thing(
    text: str, revision: int | None, moment: datetime | None, version_id: str | None
) -> None:
    """A revision, a time (in UTC unless it says otherwise) or a version id, and keeps its text."""
    point = RestorePoint.parse(text)
    assert (point.revision, point.moment, point.version_id) == (revision, moment, version_id)
    assert point.text == text
    assert moment is None or (point.moment is not None and point.moment.tzinfo is not None)


@pytest.mark.parametrize("text", ["1" * (MAX_REQUEST + 1), "41\n", "\x00", "\udc80"])
def test_a_fault_quotes_nothing(text: str) -> None:
    """A key that was put into the wrong variable stays out of the log."""
    fault = recording_fault(text)
    assert fault is not None
    assert text not in fault


def test_a_refusal_says_what_to_give() -> None:
    """It names the point, the reason, and what would be taken."""
    error = RestorePoint.parse("99").refused("history does not reach back so far.")
    assert str(error).startswith("Cannot go back to '99': history does not reach back so far. Give")
