"""Equality of values: two are the same if their bytes are.

`==` will not do: it takes 1 for True, and two users for one if they have the same id, whatever
their names, and it leaves out what a dataclass does not compare by.

| | `==` | here |
|---|---|---|
| `1`, `True` | equal | different |
| `User(1, "Ann")`, `User(1, "Bob")` | equal | different |
| `{1, 2}`, `{2, 1}` | equal | the same |
| `{"a": 1, "b": 2}`, `{"b": 2, "a": 1}` | equal | different: their order is data |
"""

from __future__ import annotations

import functools
import io
from collections.abc import Callable, Iterable
from datetime import date, timedelta
from typing import Final, TypeAlias

from ptb_s3._values.canonical_form import AnyPickler, essence
from ptb_s3._values.pickling.reductions import PROTOCOL
from ptb_s3._values.serializer import PickleSerializer, Serializer, dump

Essence: TypeAlias = Callable[[object], bytes]
"""Returns bytes that are the same for two values if and only if these are. May raise anything."""

# Types of which two objects are the same if they are equal, which does not hold for floats.
SCALARS: Final = frozenset({int, str, bytes, bool, date, timedelta})


def quick(value: object) -> bytes:
    """Return bytes that prove two values the same, in a third of the time of an essence.

    They prove no difference: the same value may have others, such as a set with another history.
    """
    file = io.BytesIO()
    AnyPickler(file, PROTOCOL).dump(value)
    return file.getvalue()


def essence_by(serializer: Serializer) -> Essence:
    """Return the function that gives the bytes by which values of a serializer are compared.

    Args:
        serializer: The serializer. Another than the default one decides by its own bytes.
    """
    if type(serializer) is PickleSerializer:
        return essence
    return functools.partial(dump, serializer)


def alike(one: object, other: object, essence: Essence = essence) -> bool:
    """Return whether two values are the same. Values that cannot be compared count as different.

    Args:
        one: A value.
        other: Another.
        essence: Gives the bytes by which they are compared.
    """
    if one is other:
        return True
    if type(one) is not type(other):
        return False
    if type(one) in SCALARS:
        return one == other
    try:
        return quick(one) == quick(other) or essence(one) == essence(other)
    except Exception:  # noqa: BLE001 - objects' own code may raise anything
        return False


def marks(values: Iterable[object], mark: Callable[[object], object]) -> list[object]:
    """Return a different mark for each of several values, even of those that are the same.

    Args:
        values: The values.
        mark: Gives the mark of a single value.
    """
    found: list[object] = []
    met: dict[object, int] = {}
    for one in map(mark, values):
        met[one] = met.get(one, -1) + 1
        found.append((one, met[one]) if met[one] else one)
    return found


def mark(value: object, essence: Essence = essence) -> object:
    """Return the mark of a value: a dictionary key, equal for two values if they are the same.

    Args:
        value: The value.
        essence: Gives the bytes by which values other than `SCALARS` are compared.
    """
    return (type(value), value) if type(value) in SCALARS else essence(value)
