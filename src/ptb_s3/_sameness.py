"""Sameness of values, which is that of their bytes.

As `==` is not: it takes 1 for True, and two users for one if they have the same id, whatever their
names; and it leaves out what a dataclass does not compare by.
"""

from __future__ import annotations

import functools
import io
from collections.abc import Callable
from datetime import date, timedelta
from typing import Any, Final, TypeAlias

from ptb_s3 import _sets
from ptb_s3._apart import Apart
from ptb_s3._codec import PickleSerializer, Serializer, dump
from ptb_s3._fence import Fence
from ptb_s3._pickling import PROTOCOL, Pickler

# Bytes that are the same for two values if these are, and only then. May raise anything.
Essence: TypeAlias = Callable[[object], bytes]

# Two of these are the same if they are equal, which does not hold for floats.
SCALARS: Final = frozenset({int, str, bytes, bool, date, timedelta})


class _Anything(Fence):
    def allows(self, cls: type) -> bool:  # noqa: ARG002 - as what it overrides
        """Return True: what is never loaded may be of any class."""
        return True


class _Pickler(Pickler):
    """Writes any value to be compared, and for nobody to read."""

    fence = _Anything((), {})
    bot = staticmethod(lambda: None)
    apart = Apart({})

    def __init__(self, file: io.BytesIO, protocol: int) -> None:
        super().__init__(file, protocol)
        self.reductions = _REDUCTIONS

    def _reduce_custom(self, _: object) -> Any:  # noqa: ANN401 - as what it overrides
        return NotImplemented


class _Spelling(_Pickler):
    """Knows no identity of strings: two that are equal are the same, wherever they stand."""

    def persistent_id(self, obj: object) -> bytes | None:
        """Spell out a string each time."""
        return obj.encode(errors="surrogatepass") if type(obj) is str else None


_REDUCTIONS: Final[dict[type, str | None]] = {}


def essence(value: object) -> bytes:
    """Return the bytes by which any value is compared.

    Raises:
        Exception: There are none, for whatever reason an object's own code has.
    """
    file = io.BytesIO()
    pickler = _Spelling(file, PROTOCOL)
    pickler.dump(value)
    data = file.getvalue()
    return _sets.write(value, data, pickler, pickler.to) if _sets.may_hold_sets(data) else data


def quick(value: object) -> bytes:
    """Return bytes in a third of the time: values for which they are the same are, too.

    They may be other ones for the same value: of a set with another history, for one.
    """
    file = io.BytesIO()
    _Pickler(file, PROTOCOL).dump(value)
    return file.getvalue()


def essence_by(serializer: Serializer) -> Essence:
    """Return what gives the bytes by which values of a serializer are compared."""
    if type(serializer) is PickleSerializer:
        return essence
    return functools.partial(dump, serializer)


def alike(one: object, other: object, essence: Essence = essence) -> bool:
    """Tell whether two values are the same; what cannot be compared may differ."""
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


def mark(value: object, essence: Essence = essence) -> object:
    """Return what a value is known by, among others in a dictionary of these."""
    return (type(value), value) if type(value) in SCALARS else essence(value)
