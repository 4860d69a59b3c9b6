"""Faults to inject into a store, before or after a call took effect."""

from __future__ import annotations

import random
from collections.abc import Callable
from enum import Enum, auto
from typing import NamedTuple


class Call(NamedTuple):
    """One call of a store, as a fault sees it.

    Attributes:
        number: Counted from 1, over all operations.
        operation: ``get``, ``put``, ``versions`` or ``delete``.
        name: The object.
    """

    number: int
    operation: str
    name: str


class Fault(Enum):
    """What may befall a call. After a kill, the process is to be treated as dead."""

    FAIL_BEFORE = auto()
    FAIL_AFTER = auto()
    KILL_BEFORE = auto()
    KILL_AFTER = auto()


class ProcessKilled(BaseException):
    """The process died in the middle of a call: no handler of ordinary errors sees it."""


def seeded_faults(seed: int, rate: float) -> Callable[[Call], Fault | None]:
    """Return faults that fail calls at random, before or after they took effect.

    Args:
        seed: The same seed gives the same faults.
        rate: Share of calls that fail, from 0 to 1.
    """
    rng = random.Random(seed)  # noqa: S311 - to be repeatable is the point
    choices = (Fault.FAIL_BEFORE, Fault.FAIL_AFTER)

    def fault(_: Call) -> Fault | None:
        return rng.choice(choices) if rng.random() < rate else None

    return fault
