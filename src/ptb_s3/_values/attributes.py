"""Attributes of objects, in their dictionaries and in slots.

`vars()` leaves out slots, and names alone do not tell slots apart. So attributes are a dictionary
in which an entry of ``__dict__`` has its name as key, and a slot has its descriptor.
"""

from __future__ import annotations

import types
from collections.abc import Mapping
from functools import cache
from typing import Any, Final

# Slots that Python makes for itself.
_OWN: Final = {"__dict__", "__weakref__"}
_ABSENT: Final = object()
# Flag of a class that is not built in. From CPython's object.h (Py_TPFLAGS_HEAPTYPE).
_HEAP: Final = 1 << 9


def attributes(obj: object) -> dict[Any, Any]:
    """Return an object's attributes, including those in slots.

    A class may have a slot of the same name as a slot of its base, and private names differ in each
    class, so slots are read and keyed by their descriptors.

    Returns:
        Values by name, or by descriptor for a slot. Slots that were never set are left out.
    """
    found: dict[Any, Any] = dict(getattr(obj, "__dict__", {}))
    for slot in _slots(_class(obj)):
        value = _get(slot, obj)
        if value is not _ABSENT:
            found[slot] = value
    return found


def set_attributes(obj: object, wanted: Mapping[Any, Any]) -> None:
    """Give an object these attributes and no others, in their order.

    What is the same is not touched.

    Args:
        obj: The object.
        wanted: Attributes as `attributes` gives them, of this or another object of its class.
    """
    own = getattr(obj, "__dict__", None)
    if own is not None:
        named = {name: value for name, value in wanted.items() if not _is_slot(name)}
        same = len(own) == len(named) and all(
            name is other and own[name] is value
            for name, (other, value) in zip(own, named.items(), strict=True)
        )
        if not same:
            own.clear()
            own.update(named)
    for slot in _slots(_class(obj)):
        value, before = wanted.get(slot, _ABSENT), _get(slot, obj)
        if value is _ABSENT and before is not _ABSENT:
            slot.__delete__(obj)
        elif value is not before:
            slot.__set__(obj, value)


def is_of_python(cls: type) -> bool:
    """Return whether a class was defined in Python, so that its objects keep all in attributes."""
    return bool(cls.__flags__ & _HEAP)


def _is_slot(name: object) -> bool:
    return isinstance(name, types.MemberDescriptorType)


def _class(obj: object) -> Any:  # noqa: ANN401 - a class, which can be hashed
    return type(obj)


@cache
def _slots(cls: type[Any]) -> tuple[types.MemberDescriptorType, ...]:
    return tuple(
        member
        for base in cls.__mro__
        for name, member in vars(base).items()
        if isinstance(member, types.MemberDescriptorType) and name not in _OWN
    )


def _get(slot: types.MemberDescriptorType, obj: object) -> Any:  # noqa: ANN401 - objects are anybody's
    try:
        return slot.__get__(obj)
    except AttributeError:
        return _ABSENT
