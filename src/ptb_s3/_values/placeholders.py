"""Placeholders for classes that must not be loaded, so that nobody's code runs.

A placeholder knows the name of its class, and records what a pickle would have done to an object of
it. So the object can be shown, and be written out again under the name of its class:

    the pickle does                  the placeholder has
    shop.Cart.__new__(shop.Cart)     a class named "shop.Cart"; how="new", args=()
    set state {"items": [1]}         state={"items": [1]}
    append(2), as to a list          items=[2]
    cart["a"] = 3, as in a dict      entries=[("a", 3)]
"""

from __future__ import annotations

import sys
from datetime import datetime, timedelta, tzinfo
from typing import Any, ClassVar, Final, Literal, NoReturn, Self, cast

from telegram import Bot

# Ways in which pickles make objects: class.__new__(...), class(...), the member of an enum by name.
How = Literal["new", "call", "member"]


class PlaceholderType(type):
    """Metaclass of all placeholders: it records calls where a class would run them."""

    def __call__(cls, /, *args: object, **kwargs: object) -> Any:  # noqa: ANN401 - not of type's
        """Record a call of the class or function that this stands for."""
        stands_for = cast("type[Placeholder]", cls)
        stands_for.called = True
        return stands_for.remember("call", *args, **kwargs)


class Placeholder(tzinfo, metaclass=PlaceholderType):
    """Placeholder for an object: each class that is not there gets a subclass of this one.

    It claims to be a time zone, since a datetime takes nothing else for one, and a zone may be of a
    class of the user's.

    Attributes:
        family: The placeholders that this one's class belongs to.
        made: Whether objects were made by its `__new__`, which only classes have.
        called: Whether it was called, as a function is.
        how: Way in which the object was made.
        args: Arguments that it was made with.
        kwargs: Arguments by name.
        state: State that its attributes were set from; None: they were not.
        own_bot: Whether it belongs to the bot whose data it lies in, as telegram's objects do.
        items: Items that were appended to it, as to a list.
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
        """Record the arguments that the object would have been made with."""
        cls.made = True
        return cls.remember("new", *args, **kwargs)

    @classmethod
    def remember(cls, how: How, /, *args: object, **kwargs: object) -> Self:
        """Return a placeholder for the object that the class would have made.

        Args:
            how: Way in which it is made.
            *args: Arguments that it is made with.
            **kwargs: Arguments by name.
        """
        obj = tzinfo.__new__(cls)
        obj.how, obj.args = how, args
        obj.kwargs = {sys.intern(name): arg for name, arg in kwargs.items()}
        obj.state, obj.own_bot = None, False
        obj.items, obj.entries = [], []
        return obj

    def __call__(self, *args: object) -> Placeholder:
        """Record the call of a class method, which at first looks like an enum's member."""
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
        """Record an item, as a list would take it."""
        self.items.append(item)

    def extend(self, items: list[object]) -> None:
        """Record items, as a list would take them."""
        self.items.extend(items)

    def utcoffset(self, _when: datetime | None, /) -> timedelta | None:
        """Return None: nobody's code is asked."""
        return None

    dst = utcoffset

    def tzname(self, _when: datetime | None, /) -> None:
        """Return None: nobody's code is asked."""


class Placeholders(dict[tuple[str, str], type[Placeholder]]):
    """Registry of placeholders by module and name, each made when it is first asked for.

    Attributes:
        named: Names of those that were written, until somebody empties it.
        unfit: Names of those whose class is there, and did not take what the pickle gave it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.named: set[tuple[str, str]] = set()
        self.unfit: set[tuple[str, str]] = set()

    def __missing__(self, key: tuple[str, str]) -> type[Placeholder]:
        # Interned, as the names of real classes are, so that both are written as the same bytes.
        module, name = map(sys.intern, key)
        members = {"__module__": module, "__qualname__": name, "__slots__": (), "family": self}
        made: Any = PlaceholderType("Placeholder", (Placeholder,), members)
        self[module, name] = made
        return cast("type[Placeholder]", made)

    def functions(self) -> list[str]:
        """Return the full names that are taken for functions, sorted.

        Nothing is loaded, so all there is to go by is that they are called and named as functions
        are.
        """
        return sorted(
            f"{module}.{name}"
            for (module, name), cls in self.items()
            if (cls.called or not cls.made) and _is_lower(name)
        )


def _is_lower(name: str) -> bool:
    return any(part.lstrip("_")[:1].islower() for part in name.split("."))


def _interned(state: object) -> object:
    """Return a state with its names interned as Python has them, so that its bytes are equal."""
    if type(state) is not dict:
        return state
    return {sys.intern(k) if type(k) is str else k: v for k, v in state.items()}


class _OwnBot(Bot):
    """Placeholder for the bot whose data it is: nothing can be done with it, nor to it."""

    __slots__ = ()

    def __init__(self) -> None:
        """Prepare for no connections, as a bot does."""

    def __setstate__(self, state: dict[str, object]) -> NoReturn:
        raise TypeError("a bot's state is not for a pickle to set")

    def __repr__(self) -> str:
        return "the bot"


OWN_BOT: Final[Bot] = _OwnBot()
