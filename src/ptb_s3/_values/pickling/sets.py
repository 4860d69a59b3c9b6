"""Sets in values and in pickles: how to find them, cheaply.

Sets need an order of their own (`canonical_sets`), which costs time, and few values have any. So
the bytes are asked first, then plain containers, and a pickler's memo only where neither can tell.
"""

from __future__ import annotations

import io
import itertools
import pickle
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final, TypeAlias
from uuid import UUID

Sets: TypeAlias = set[Any] | frozenset[Any]
MakePickler: TypeAlias = Callable[[io.BytesIO], Any]
"""Makes a pickler of protocol 5 that writes to a file. No type covers those in C and in Python."""

TYPES: Final = (set, frozenset)
# How a set begins, and a frozen one ends, in a pickle that memoizes what it holds. A pickle with
# neither has no sets. Other bytes may look like that, as a text that ends with a Cyrillic letter.
_SET: Final = pickle.EMPTY_SET + pickle.MEMOIZE
_FROZENSET: Final = pickle.FROZENSET + pickle.MEMOIZE
# Types whose objects have the same bytes wherever they stand: nothing refers to such an element.
PLAIN: Final = frozenset({int, str, bytes, float, bool, type(None)})
# Types whose objects hold no set.
LEAVES: Final = PLAIN | {
    *(bytearray, complex, date, datetime, time, timedelta, Decimal, Fraction, UUID),
}


def may_hold_sets(pickled: bytes) -> bool:
    """Return whether a pickle may hold sets. False is certain.

    Args:
        pickled: A pickle by a pickler that memoizes what it writes.
    """
    # One byte is found in a tenth of the time that two take.
    return (pickle.EMPTY_SET in pickled and _SET in pickled) or (
        pickle.FROZENSET in pickled and _FROZENSET in pickled
    )


def may_make_sets(pickled: bytes) -> bool:
    """Return whether any pickle, with its sets in order or not, may make sets. False is certain."""
    return pickle.EMPTY_SET in pickled or pickle.FROZENSET in pickled


def holds_sets(value: object, make: MakePickler) -> bool:
    """Return whether there are sets in a value of whose pickle `may_hold_sets`."""
    sets = sets_in_containers(value)
    if sets is None:
        pickler = make(io.BytesIO())
        pickler.dump(value)
        sets = sets_in(pickler)
    return bool(sets)


def sets_in(pickler: Any) -> list[Sets]:  # noqa: ANN401 - see `MakePickler`
    """Return the sets in a pickler's memo, in the order in which it met them."""
    memoized = [entry for entry in pickler.memo.copy().values() if type(entry[1]) in TYPES]
    return [one for _, one in sorted(memoized, key=lambda entry: entry[0])]


def sets_in_containers(value: object) -> list[Sets] | None:
    """Find the sets in a value of plain containers.

    A pickler's memo, which tells it of any value, takes a multiple of the time to look through.

    Returns:
        The sets in the order in which they are met, or None: other objects may hold more.
    """
    sets: list[Sets] = []
    seen: set[int] = set()
    left = [value]
    while left:
        part = left.pop()
        kind = type(part)
        if kind in LEAVES or id(part) in seen:
            continue
        seen.add(id(part))
        if isinstance(part, dict) and kind is dict:
            left += [one for pair in reversed(part.items()) for one in reversed(pair)]
        elif isinstance(part, (list, tuple)) and kind in {list, tuple}:
            left += reversed(part)
        elif isinstance(part, TYPES) and kind in TYPES and _are_leaves(part):
            sets.append(part)
        else:
            return None
    return sets


def _are_leaves(elements: Sets) -> bool:
    """Return whether elements are leaves, or tuples of leaves, so that no set is in them."""
    others = set(map(type, elements)) - LEAVES
    if others != {tuple}:
        return not others
    parts = (one for one in elements if type(one) is tuple)
    return LEAVES.issuperset(map(type, itertools.chain.from_iterable(parts)))


def is_plain(elements: Sets) -> bool:
    """Return whether all elements of a set are plain, so that it can be spelled out."""
    return PLAIN.issuperset(map(type, elements))
