"""The storage's clock, between two of its replies."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from ptb_s3._storage.reply_clock import ReplyClock

NOON = datetime(2026, 11, 25, 12, tzinfo=UTC)


class Machine:
    """A machine's clock, which somebody sets, and the time that passes."""

    def __init__(self) -> None:
        self.now = NOON
        self.elapsed = 0.0

    def wait(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)
        self.elapsed += seconds

    def clock(self) -> ReplyClock:
        return ReplyClock(lambda: self.now, lambda: self.elapsed)


def test_nothing_is_known_before_the_first_reply() -> None:
    """Until then, this machine's clock is the best that there is."""
    assert Machine().clock().ahead == timedelta()


def test_a_reply_says_how_far_the_storage_is_ahead() -> None:
    """And so it stays while both clocks go on."""
    machine = Machine()
    clock = machine.clock()
    clock.note(NOON + timedelta(hours=2))
    machine.wait(90)
    assert clock.ahead == timedelta(hours=2)


def test_to_set_this_machines_clock_does_not_set_the_storages() -> None:
    """What a storage's clock shows is the same right before and after."""
    for hours in (-5, 5):
        machine = Machine()
        clock = machine.clock()
        clock.note(NOON)
        machine.wait(30)
        machine.now += timedelta(hours=hours)
        assert machine.now + clock.ahead == NOON + timedelta(seconds=30)
        clock.note(NOON + timedelta(seconds=31))
        assert machine.now + clock.ahead == NOON + timedelta(seconds=31)


def test_a_real_one_goes_on() -> None:
    """By the clocks of this machine."""
    clock = ReplyClock()
    clock.note(datetime.now(UTC) + timedelta(hours=1))
    assert abs(clock.ahead - timedelta(hours=1)) < timedelta(seconds=10)
