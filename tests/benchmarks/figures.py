"""One row of the table, and what it is made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from tests.benchmarks.contestants import ALTERNATIVES, OURS
from tests.benchmarks.setting import Setting

_LARGE = 100_000
"""Users from which on bounds hold that are ratios: below, a few round trips blur them."""
MULTIPLIED = (
    "PicklePersistence writes its file once for each changed user: worked out from one such write"
)
_T = TypeVar("_T")


@dataclass(frozen=True)
class Figure:
    """What was measured of each contestant, in one unit.

    Attributes:
        row: The row of the issue that it belongs to, as ``--only`` takes it.
        name: What it is.
        unit: ``s``, ``B``, ``x`` (a share), ``$`` or empty (a count).
        users: Users of the bot; None where they do not matter.
        data: The kind of data; empty where it does not matter.
        values: By contestant; None where it has no such thing.
        bound: What ours may be; None where the issue says nothing.
        note: What has to be known to read it.
    """

    row: str
    name: str
    unit: str
    users: int | None
    data: str
    values: Mapping[str, float | None]
    bound: float | None = None
    note: str = ""

    @property
    def ours(self) -> float | None:
        """Of ptb-s3."""
        return self.values.get(OURS)

    @property
    def met(self) -> bool | None:
        """Whether ours is within its bound; None where there is none, or nothing was measured."""
        return None if self.bound is None or self.ours is None else self.ours <= self.bound

    @property
    def ratios(self) -> dict[str, float | None]:
        """How many times as much as ours each alternative's is; None where that says nothing."""
        return {name: self._ratio(self.values.get(name)) for name in ALTERNATIVES}

    def _ratio(self, theirs: float | None) -> float | None:
        return theirs / self.ours if theirs and self.ours else None


def each(
    results: Mapping[str, _T], figure: Callable[[_T], float | None]
) -> dict[str, float | None]:
    """Return a figure of each contestant's result, by their names."""
    return {name: figure(result) for name, result in results.items()}


def is_large(setting: Setting) -> bool:
    """Tell whether all bounds hold at this size."""
    return setting.users >= _LARGE
