"""Snapshot of a kind's entities that copies no value, to write a blob of it. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from heapq import merge
from itertools import chain, pairwise

from ptb_s3._format.entities import Entities, EntityKey, order

SORTED_AT_ONCE = 20_000
"""Keys that are sorted in one call, which holds the GIL: for 5 ms."""


class FrozenEntities:
    """Snapshot of one kind's entities, made by noting what changes afterwards.

    Invariant: a value is noted before it is replaced. So a thread that reads the live entity first
    and the notes after it never takes a later value for the frozen one.

    Args:
        live: The entities, which may change from now on, but only after `note` was told.
    """

    def __init__(self, live: Entities) -> None:
        self._live = live
        self._keys = list(live)
        self._before: dict[EntityKey, bytes | None] = {}

    def note(self, changes: Mapping[EntityKey, bytes | None]) -> None:
        """Note the values of entities that are about to change."""
        for key in changes:
            self._before.setdefault(key, self._live.get(key))

    def in_order(self) -> Iterator[tuple[EntityKey, bytes]]:
        """Iterate over the frozen entities in the order of their keys. Once, in any thread."""
        for key in _sorted(self._keys):
            value = self._live.get(key)
            value = self._before.get(key, value)
            assert value is not None  # noqa: S101 - for mypy: it was there, and nobody has noted less
            yield key, value


def _sorted(keys: list[EntityKey]) -> Iterator[EntityKey]:
    """Iterate over keys in order, and use the list up.

    A million keys that come from a blob are in order already, but for new ones.
    """
    runs = []
    while keys:
        runs.append(sorted(keys[-SORTED_AT_ONCE:], key=order))
        del keys[-SORTED_AT_ONCE:]
    runs.reverse()
    if all(order(before[-1]) < order(after[0]) for before, after in pairwise(runs)):
        return chain.from_iterable(runs)
    return iter(merge(*runs, key=order))
