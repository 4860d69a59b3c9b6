"""Ids of updates as ranges."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ptb_s3._format.delivered import MAX_RANGES, Delivered, Range

IDS = st.lists(st.integers(0, 60))


@given(IDS)
def test_what_was_added_is_held_and_nothing_else(ids: list[int]) -> None:
    """Ranges hold the very ids that were added, in whichever order they came."""
    delivered = Delivered().adding(ids)
    assert {number for number in range(61) if delivered.holds(number)} == {*ids}
    assert delivered.distinct


def test_a_busy_day_is_one_range() -> None:
    """Updates that come nearly in order take one range, once the gaps are filled."""
    ids = [number ^ 7 for number in range(100_000)]
    assert Delivered().adding(ids) == (Range(0, 99_999),)


def test_the_range_that_was_not_extended_for_longest_goes_first() -> None:
    """A gap that is never filled costs a range, and the oldest of these are given up."""
    delivered = Delivered().adding([1_000_000])
    for number in range(0, 4 * MAX_RANGES, 2):
        delivered = delivered.adding([number, 1_000_001 + number // 2])
    assert len(delivered) == MAX_RANGES
    assert delivered[-1] == Range(1_000_000, 1_000_000 + 2 * MAX_RANGES)
    assert delivered.holds(4 * MAX_RANGES - 2)
    assert not delivered.holds(0)
