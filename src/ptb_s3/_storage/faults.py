"""Faults to inject into a store, before or after a call took effect."""

from __future__ import annotations

import random
from collections.abc import Callable
from enum import Enum, auto
from typing import NamedTuple


class Call(NamedTuple):
    """One call of a store, as a fault is chosen by it.

    Attributes:
        number: Number of the call, counted from 1 over all operations.
        operation: ``get``, ``get_range``, ``put``, ``versions``, ``remains`` or ``delete``.
        name: Name of the object.
    """

    number: int
    operation: str
    name: str


class Fault(Enum):
    """Fault to inject into a call: an error or a kill, before or after the call took effect.

    A failure *after* the effect is a lost reply: the write happened, and the caller cannot know.
    After a kill, treat the process as dead: only what the store holds goes on.
    """

    FAIL_BEFORE = auto()
    FAIL_AFTER = auto()
    KILL_BEFORE = auto()
    KILL_AFTER = auto()


class ProcessKilled(BaseException):
    """Death of the process in the middle of a call, which no handler of ordinary errors sees."""


def seeded_faults(seed: int, rate: float) -> Callable[[Call], Fault | None]:
    """Return a chooser of faults that fails calls at random, before or after they took effect.

    Args:
        seed: Seed of the random generator; the same seed gives the same faults.
        rate: Share of calls that fail, from 0 to 1.
    """
    rng = random.Random(seed)  # noqa: S311 - to be repeatable is the point
    choices = (Fault.FAIL_BEFORE, Fault.FAIL_AFTER)

    def fault(_: Call) -> Fault | None:
        return rng.choice(choices) if rng.random() < rate else None

    return fault
