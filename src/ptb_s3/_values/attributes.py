"""The attributes of an object, in its dictionary and in slots."""

from __future__ import annotations

import types
from collections.abc import Mapping
from functools import cache
from typing import Any, Final

# Slots that are there for Python's sake.
_OWN: Final = {"__dict__", "__weakref__"}
_ABSENT: Final = object()
# Flag of a class that is not built in, as in C's Py_TPFLAGS_HEAPTYPE.
_HEAP: Final = 1 << 9


def attributes(obj: object) -> dict[Any, Any]:
    """Return an object's attributes, including those in slots.

    Those in slots are read by their descriptors: a class may have a slot of the name that its base
    has one of, and private names differ in each class, so a name alone does not say which.
    """
    found: dict[Any, Any] = dict(getattr(obj, "__dict__", {}))
    for slot in _slots(_class(obj)):
        value = _get(slot, obj)
        if value is not _ABSENT:
            found[slot] = value
    return found


def set_attributes(obj: object, wanted: Mapping[Any, Any]) -> None:
    """Make these an object's attributes, in their order; of those that are the same, none is set.

    Args:
        obj: The object.
        wanted: As `attributes` gives them, of it or of another object of its class.
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
    """Tell whether a class was defined by a program, and so keeps all it has in attributes."""
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
