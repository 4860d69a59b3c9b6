"""Shallow copies of dictionaries, by no code of their class, and placeholders for what has no copy.

bot_data and the data of users and chats may be of a class of the user's, whose methods keep or send
what they are given. A copy that is only made to be written must not trigger them: it is made by
`__new__` and `dict`'s own methods alone.
"""

from __future__ import annotations

import collections
from collections.abc import Collection, Iterable
from typing import Any, NoReturn, Self

from ptb_s3._values.attributes import attributes, set_attributes
from ptb_s3.errors import SerializationError


class Uncopied:
    """Placeholder for a part that could not be copied: no serializer takes it.

    So the part is refused where it is to be saved, and its last good value stays.

    Args:
        error: Name of the class of the error that copying raised. Its text may quote a value.

    Attributes:
        reason: Why the part is refused, as a clause.
    """

    def __init__(self, error: str) -> None:
        self.reason = f"it cannot be copied ({error})"

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, _: object) -> Self:
        return self

    def __reduce_ex__(self, _: object) -> NoReturn:
        raise SerializationError(self.reason)


def unsaved_in(unsaved: Collection[Any], value: object) -> frozenset[Any]:
    """Return those of the keys that are never saved which a value has.

    Args:
        unsaved: Top-level keys that are never saved.
        value: A value of any type; only a dictionary has such keys.
    """
    if not unsaved or not isinstance(value, dict):
        return frozenset()
    return frozenset(key for key in unsaved if dict.__contains__(value, key))


def rest_of(value: Any, unsaved: Collection[Any]) -> Any:  # noqa: ANN401 - a dictionary of any class
    """Return a dictionary without some of its keys, and with the same objects for the others.

    Args:
        value: A dictionary. It is returned itself where there is nothing to leave out.
        unsaved: Keys to leave out.

    Raises:
        SerializationError: Its class does not let it be copied.
    """
    if not unsaved:
        return value
    return rebuilt(value, [item for item in dict.items(value) if item[0] not in unsaved])


def rebuilt(value: object, items: Iterable[tuple[Any, Any]]) -> Any:  # noqa: ANN401 - a dictionary of any class
    """Return a dictionary of another one's class and attributes, with these items.

    Args:
        value: The other dictionary.
        items: Keys and values.

    Raises:
        SerializationError: The class makes no other object by `__new__`.
    """
    cls: Any = type(value)
    if cls is dict:
        return dict(items)
    try:
        shell = cls.__new__(cls)
        if isinstance(value, collections.defaultdict):
            shell.default_factory = value.default_factory
        set_attributes(shell, attributes(value))
    except Exception as error:  # noqa: BLE001 - objects' own code may raise anything
        raise SerializationError(f"it cannot be copied ({type(error).__name__})") from None
    fill(shell, items)
    return shell


def fill(value: object, items: Iterable[tuple[Any, Any]]) -> None:
    """Set items of a dictionary, by no code of its own class.

    Args:
        value: The dictionary.
        items: Keys and values.
    """
    base: Any = collections.OrderedDict if isinstance(value, collections.OrderedDict) else dict
    for key, one in items:
        base.__setitem__(value, key, one)


def some_of(value: dict[Any, Any], keys: Iterable[Any]) -> dict[Any, Any]:
    """Return the items of a dictionary under some keys, by no code of its own class.

    Args:
        value: The dictionary.
        keys: Keys, of which it may lack some.
    """
    return {key: dict.__getitem__(value, key) for key in keys if dict.__contains__(value, key)}
