"""Unpicklers: bytes to values, with every class looked up on the allow-list.

`ptb_s3._values.pickling` says why pickles are fenced, and `reductions` how they are written. Three
readers share the rules of `Reading`:

| unpickler | written in | reads |
|---|---|---|
| `Unpickler` | C, fast | everything but a bot that is itself part of the data |
| `CarefulUnpickler` | Python | what holds a bot, which the pickle must not change |
| `NamingUnpickler` | Python | any pickle, without its classes: which does it name? |
"""

from __future__ import annotations

import functools
import operator
import pickle
import types
import weakref
from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from typing import Any, Final

from telegram import Bot, TelegramObject

from ptb_s3._values.allow_list import AllowList
from ptb_s3._values.pickling.markers import Member, SetBot, TheBot
from ptb_s3._values.shared_strings import Words

# Sets the state of an object, in the unpickler that is written in Python.
_BUILD: Final = pickle._Unpickler.dispatch[pickle.BUILD[0]]  # noqa: SLF001 - no other way in
# Method that a reader calls in place of each marker.
_MARKERS: Final[Mapping[type, str]] = {
    SetBot: "_set_bot",
    TheBot: "_get_bot",
    Member: "_get_member",
}


class UnknownClassError(Exception):
    """Raised for a pickle that names classes which are gone or not trusted.

    `load_all` gathers these over all values and reports them at once.

    Attributes:
        names: Full names of the classes.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self.names = frozenset(names)
        super().__init__(", ".join(sorted(self.names)))


class HoldsBotError(Exception):
    """Raised for a pickle with a bot as a value by itself, which takes `CarefulUnpickler`."""


class _Missing:
    """Placeholder for a class that is not there, so that the rest gets read and named too."""

    def __init__(self, *_args: object, **_kwargs: object) -> None: ...

    def __setstate__(self, _state: object) -> None: ...

    def __setitem__(self, _key: object, _value: object) -> None: ...

    def append(self, _item: object) -> None:
        """Take an item, as a list does."""

    def extend(self, _items: object) -> None:
        """Take items, as a list does."""


class Reading:
    """Mixin for unpicklers: looks up classes on the allow-list, and hands out the bot.

    Nothing that a pickle names is called unless the allow-list has it. A class that is not there is
    noted and replaced, so that one pass over a pickle names all that are missing.

    Attributes:
        allow_list: The allow-list.
        bot: Returns the bot that loaded objects are to belong to.
        unknown: Full names of the classes that were asked for and not found.
        careful: Whether it is safe to put a bot where the pickle can reach it.
        words: The words of the store, which bare values refer to.
    """

    allow_list: AllowList
    bot: Callable[[], Bot | None]
    unknown: tuple[str, ...] = ()
    careful = False
    words: Words

    def persistent_load(self, number: Any) -> object:  # noqa: ANN401 - whatever a pickle says
        """Return a word of the store by its number."""
        return self.words.objects[number]

    def find_class(self, module: str, name: str, /) -> Callable[..., object]:
        """Return the class that a pickle names, or a placeholder.

        Args:
            module: Name of the class's module, as the pickle has it.
            name: Its qualified name in there.
        """
        plain = self.allow_list.plain.get((module, name))  # asked three times for each user
        if plain is not None:
            return plain
        found = self.allow_list.find(module, name)
        if found is None:
            return self._missing(module, name)
        method = _MARKERS.get(found)
        if method is None:
            self.allow_list.plain[module, name] = found
            return found
        # The pickle's stack holds what it is to call, and the collector does not look into that of
        # a reader in C: one that fails, and so never empties it, must not be held by it for good.
        return types.MethodType(getattr(type(self), method), weakref.proxy(self))

    def _missing(self, module: str, name: str) -> type:
        self.unknown += (f"{module}.{name}",)
        return _Missing

    def _set_bot(self, obj: object, state: dict[str, object]) -> None:
        if not isinstance(obj, TelegramObject) or isinstance(obj, Bot):
            raise pickle.UnpicklingError("not an object that has a bot")
        obj.__setstate__(state)
        obj.set_bot(self.bot())

    def _get_bot(self, own: object) -> Bot | None:
        if not self.careful:
            raise HoldsBotError
        return self.bot() if own is True else None

    def _get_member(self, cls: object, *names: str) -> object:
        if not isinstance(cls, type) or not issubclass(cls, Enum):
            raise pickle.UnpicklingError("not an enum")
        # Not getattr, which gives what is no member as well.
        return functools.reduce(operator.or_, [cls.__members__[name] for name in names])


class Unpickler(Reading, pickle.Unpickler):
    """Fast unpickler, written in C, which refuses a bot that is a value by itself."""


def _build(reader: pickle.Unpickler) -> None:
    if isinstance(vars(reader)["stack"][-2], Bot):
        raise pickle.UnpicklingError("a bot's state is not for a pickle to set")
    _BUILD(reader)


def _bytearray(reader: pickle.Unpickler) -> None:
    # The inherited one makes, and fills with zeros, as many bytes as the pickle says there are.
    read, append = vars(reader)["read"], vars(reader)["append"]
    append(bytearray(read(int.from_bytes(read(8), "little"))))


class CarefulUnpickler(Reading, pickle._Unpickler):  # noqa: SLF001 - the C one cannot do this
    """Unpickler for values that hold a bot, without letting them change it.

    A pickle can set any attribute of what it gets hold of, and it is a bot's attributes that say
    where its messages go, with its token. The reader in C has no place to refuse that.
    """

    careful = True
    dispatch = pickle._Unpickler.dispatch | {  # noqa: SLF001 - as for the base class
        pickle.BUILD[0]: _build,
        pickle.BYTEARRAY8[0]: _bytearray,
    }


class NamingUnpickler(CarefulUnpickler):
    """Unpickler that loads no class: it tells whether a pickle is whole, and which it names.

    Attributes:
        unknown: Full names of all classes in the pickle.
    """

    def find_class(self, module: str, name: str, /) -> Callable[..., object]:
        """Return the placeholder that takes the place of any class."""
        return self._missing(module, name)
