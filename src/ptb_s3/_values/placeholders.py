"""Stand-ins: what takes the place of classes that must not be loaded, so that nobody's code runs.

A stand-in knows the name of its class and what a pickle would have done to an object of it: how it
was made, of what, and which state and items it was given. So the object can be shown, and be
written out again under the name of its class.
"""

from __future__ import annotations

import sys
from datetime import datetime, timedelta, tzinfo
from typing import Any, ClassVar, Final, Literal, NoReturn, Self, cast

from telegram import Bot

# How pickles make objects: class.__new__(...); class(...); as the member of an enum, by name.
How = Literal["new", "call", "member"]


class PlaceholderType(type):
    """The class of all stand-ins for classes."""

    def __call__(cls, /, *args: object, **kwargs: object) -> Any:  # noqa: ANN401 - not of type's
        """Remember a call of what it stands for, be that a class or a function."""
        stands_for = cast("type[Placeholder]", cls)
        stands_for.called = True
        return stands_for.remember("call", *args, **kwargs)


class Placeholder(tzinfo, metaclass=PlaceholderType):
    """Stands for an object whose class is not there; any class's is derived from it.

    It claims to be a time zone, since a datetime takes nothing else for one, and that may be of a
    class of the user's.

    Attributes:
        family: The stand-ins that this one's class belongs to.
        made: Whether objects were made by its `__new__`, as only a class's are.
        called: Whether it was called, as a function is.
        how: How the object was made.
        args: What it was made of.
        kwargs: What it was made of, by name.
        state: What its attributes were set from; None: not at all.
        own_bot: Whether it belongs to the bot whose data it lies in, as telegram's objects do.
        items: What was appended to it, as to a list.
        entries: Keys and values that were set in it, as in a dict.
    """

    __slots__ = ("args", "entries", "how", "items", "kwargs", "own_bot", "state")

    family: ClassVar[Placeholders]
    made: ClassVar[bool] = False
    called: ClassVar[bool] = False
    how: How
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    state: Any
    own_bot: bool
    items: list[object]
    entries: list[tuple[object, object]]

    def __new__(cls, /, *args: object, **kwargs: object) -> Self:
        """Remember what the object would have been made of."""
        cls.made = True
        return cls.remember("new", *args, **kwargs)

    @classmethod
    def remember(cls, how: How, /, *args: object, **kwargs: object) -> Self:
        """Return a stand-in for the object that the class would have made."""
        obj = tzinfo.__new__(cls)
        obj.how, obj.args = how, args
        obj.kwargs = {sys.intern(name): arg for name, arg in kwargs.items()}
        obj.state, obj.own_bot = None, False
        obj.items, obj.entries = [], []
        return obj

    def __call__(self, *args: object) -> Placeholder:
        """Remember the call of a class method, which at first looks like an enum's member."""
        cls = type(self)
        method = self.args[0] if self.how == "member" else "__call__"
        called: Placeholder = cls.family[cls.__module__, f"{cls.__qualname__}.{method}"](*args)
        return called

    def __setstate__(self, state: object) -> None:
        # Of an object with slots it is a pair: its other attributes, if it has any, and the slots.
        pair = type(state) is tuple
        self.state = tuple(map(_interned, cast("Any", state))) if pair else _interned(state)

    def __setitem__(self, key: object, value: object) -> None:
        self.entries.append((key, value))

    def append(self, item: object) -> None:
        """Remember an item."""
        self.items.append(item)

    def extend(self, items: list[object]) -> None:
        """Remember items."""
        self.items.extend(items)

    def utcoffset(self, _when: datetime | None, /) -> timedelta | None:
        """Return None: nobody's code is asked."""
        return None

    dst = utcoffset

    def tzname(self, _when: datetime | None, /) -> None:
        """Return None: nobody's code is asked."""


class Placeholders(dict[tuple[str, str], type[Placeholder]]):
    """Stand-ins for classes, by module and name; made when they are first asked for.

    Attributes:
        named: Those that were written, until somebody empties it.
        unfit: Those of them whose class is there, and did not take what the pickle gave it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.named: set[tuple[str, str]] = set()
        self.unfit: set[tuple[str, str]] = set()

    def __missing__(self, key: tuple[str, str]) -> type[Placeholder]:
        # Interned, as the names of real classes are, so that they are written alike.
        module, name = map(sys.intern, key)
        members = {"__module__": module, "__qualname__": name, "__slots__": (), "family": self}
        made: Any = PlaceholderType("Placeholder", (Placeholder,), members)
        self[module, name] = made
        return cast("type[Placeholder]", made)

    def functions(self) -> list[str]:
        """Return the full names of what must be functions: used and named as functions are.

        Nothing is loaded, so there is no other way to know.
        """
        return sorted(
            f"{module}.{name}"
            for (module, name), cls in self.items()
            if (cls.called or not cls.made) and _is_lower(name)
        )


def _is_lower(name: str) -> bool:
    return any(part.lstrip("_")[:1].islower() for part in name.split("."))


def _interned(state: object) -> object:
    """Intern the names of attributes as Python does, so that they are written as the bot will."""
    if type(state) is not dict:
        return state
    return {sys.intern(k) if type(k) is str else k: v for k, v in state.items()}


class _OwnBot(Bot):
    """Stands for the bot whose data it is; nothing can be done with it."""

    __slots__ = ()

    def __init__(self) -> None:
        """Make no connection, which a bot's own would prepare for."""

    def __setstate__(self, state: dict[str, object]) -> NoReturn:
        raise TypeError("a bot's state is not for a pickle to set")

    def __repr__(self) -> str:
        return "the bot"


OWN_BOT: Final[Bot] = _OwnBot()
