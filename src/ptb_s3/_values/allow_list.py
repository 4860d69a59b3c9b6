"""Allow-list: the classes that may stand in a pickle, one list for both directions.

| on the list | why that is safe |
|---|---|
| fixed value types of the standard library | to construct one has no effect outside of itself |
| telegram's objects, enums and named tuples | they hold what the Bot API said; never a bot |
| classes defined in trusted modules | whoever runs the bot vouches for them |
| aliases, by their old names | the same |
| markers of the format | `pickling.markers` |

Functions are on no list. A class is on it only under its own name: a class that a trusted module
merely imports belongs to another module, which nobody has trusted.

What runs as ``__main__`` here is a module of another name wherever it is imported. So its classes
are written by that name (`pickling.main_names`), and found by it again in ``__main__`` where that
very file runs.
"""

from __future__ import annotations

import importlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from enum import Enum
from typing import Final, cast

from telegram import Bot, TelegramObject
from telegram._utils.defaultvalue import DefaultValue
from telegram.ext import InvalidCallbackData

from ptb_s3._values.first_party import MAIN
from ptb_s3._values.pickling.markers import MARKERS
from ptb_s3.errors import SettingsError

_BUILTINS = "bool bytearray bytes complex dict float frozenset int list range set slice str tuple"
_PATHS = "Path PosixPath PurePath PurePosixPath PureWindowsPath WindowsPath"
_IP = "IPv4Address IPv4Interface IPv4Network IPv6Address IPv6Interface IPv6Network"
# Value types of the standard library, by module.
_VALUE_TYPES: Final = {
    "builtins": _BUILTINS,
    "collections": "ChainMap Counter OrderedDict defaultdict deque",
    "datetime": "date datetime time timedelta timezone",
    "decimal": "Decimal",
    "fractions": "Fraction",
    "ipaddress": _IP,
    "pathlib": _PATHS,
    "time": "struct_time",
    "types": "SimpleNamespace",
    "uuid": "UUID",
    "zoneinfo": "ZoneInfo",
}
# Base classes of what is on the list in telegram's own modules. Named tuples are the values of some
# of its enums. DefaultValue is in LinkPreviewOptions, for one. InvalidCallbackData takes the place
# of button data that PTB no longer has.
_TELEGRAM: Final = (TelegramObject, Enum, tuple, DefaultValue, InvalidCallbackData)


def full_name(cls: type) -> str:
    """Return the name by which a pickle knows a class, such as ``"shop.cart.Cart"``."""
    return f"{cls.__module__}.{cls.__qualname__}"


def is_within(module: str, packages: Iterable[str]) -> bool:
    """Return whether a module, by name, is one of these packages or lies in one."""
    return any(f"{module}.".startswith(f"{package}.") for package in packages)


def _value_types() -> dict[str, type]:
    named: dict[str, type] = {full_name(mark): mark for mark in MARKERS}
    for module, names in _VALUE_TYPES.items():
        for name in names.split():
            cls = getattr(importlib.import_module(module), name)
            # Also by its name in pickles, which may differ: Python 3.13 alone says pathlib._local.
            named[f"{module}.{name}"] = named[full_name(cls)] = cls
    named.update({f"pathlib._local.{name}": named[f"pathlib.{name}"] for name in _PATHS.split()})
    return named


_NAMED: Final = _value_types()


def is_value_type(cls: type) -> bool:
    """Return whether a class is one of the fixed value types of the standard library."""
    return _NAMED.get(full_name(cls)) is cls


def is_value_name(name: str) -> bool:
    """Return whether a full name is that of a fixed value type, or of a marker of the format."""
    return name in _NAMED


class AllowList:
    """Allow-list of classes: a class that may be written is found again, and no other is.

    Args:
        trusted: Modules whose classes may be used, and those of their submodules.
        aliases: Classes, each by the full name that older pickles know it by.
        main: Name by which other processes import what is ``__main__`` here; None: they cannot.
        main_owns_name: Whether classes of that name are looked for in ``__main__``.

    Attributes:
        plain: Cache for readers: classes that they have found, and that are no markers.
        main: As above.

    Raises:
        SettingsError: `trusted` is no sequence of names, or an alias is no class, or a bot's.
    """

    def __init__(
        self,
        trusted: Sequence[str],
        aliases: Mapping[str, type],
        *,
        main: str | None = None,
        main_owns_name: bool = True,
    ) -> None:
        check_trusted(trusted)
        classes: list[object] = list(aliases.values())
        if any(not isinstance(cls, type) or issubclass(cls, Bot) for cls in classes):
            raise SettingsError(
                "aliases= takes classes by their old full names, such as {'shop.Basket': Cart}, "
                "and never a bot's"
            )
        self.main = main
        self._in_main = main if main_owns_name else None
        self._trusted = tuple(trusted)
        own = {f"{self.module_of(cls)}.{cls.__qualname__}": cls for cls in aliases.values()}
        self._named = {**_NAMED, **own, **aliases}
        self.plain: dict[tuple[str, str], type] = {}
        self._known: dict[tuple[str, str], type] = {}
        self._allowed: set[type] = set()

    def module_of(self, cls: type) -> str:
        """Return the name by which the module of a class is written."""
        return self.main if self.main and cls.__module__ == MAIN else cls.__module__

    def find(self, module: str, name: str) -> type | None:
        """Return the class of a name if it may be used, else None.

        Args:
            module: Name of its module, which is imported if it is trusted or telegram's.
            name: Its qualified name in there.
        """
        found = self._known.get((module, name))
        if found is None:
            found = self._named.get(f"{module}.{name}") or self._search(module, name)
            if found is not None:
                self._known[module, name] = found
        return found

    def allows(self, cls: type) -> bool:
        """Return whether this very class may be used, by the name that it is written by."""
        if cls not in self._allowed:
            module, name = self.module_of(cls), cls.__qualname__
            if self.find(module, name) is not cls and not self._is_of_twin(cls):
                return False
            self._allowed.add(cls)
        return True

    def _is_of_twin(self, cls: type) -> bool:
        """Return whether a class is of a file that is there twice: run, and imported."""
        if self.main is None or self.module_of(cls) != self.main:
            return False
        trusted = self.trusts(self.main)
        return trusted and _lookup(cls.__module__, cls.__qualname__) is cls

    def trusts(self, module: str) -> bool:
        """Return whether classes of a module, by the name that is written, may be used."""
        names = {module, MAIN} if module == self._in_main else {module}
        return any(is_within(name, self._trusted) for name in names)

    def imported_name(self, module: str) -> str:
        """Return the name under which this process has the module that is written by a name."""
        return MAIN if module == self._in_main else module

    def _search(self, module: str, name: str) -> type | None:
        trusted = self.trusts(module)
        if not trusted and not is_within(module, ["telegram"]):
            return None
        found = _lookup(self.imported_name(module), name)
        if found is None or issubclass(found, Bot):
            return None
        # An enum without members is a factory: to call it makes a new class.
        factory = issubclass(found, Enum) and not found.__members__
        return found if trusted or (issubclass(found, _TELEGRAM) and not factory) else None


def check_trusted(trusted: object) -> None:
    """Refuse a value for `trusted=` that is no collection of names of modules.

    Raises:
        SettingsError: It is none.
    """
    several = isinstance(trusted, Collection) and not isinstance(trusted, str)
    if not several or not all(map(_is_module_name, cast("Collection[object]", trusted))):
        raise SettingsError("trusted= takes a sequence of module names, such as ('shop.data',)")


def _is_module_name(name: object) -> bool:
    # A path or the name of a file is none. Nor is "site-packages".
    return isinstance(name, str) and all(part.isidentifier() for part in name.split("."))


def _lookup(module: str, name: str) -> type | None:
    """Return the class that a module defines under a name, or None.

    No code runs but the module's import.
    """
    if not _is_module_name(module):  # such as one in a virtual environment below the bot's folder
        return None
    try:
        found: object = importlib.import_module(module)
        for part in name.split("."):
            # Not getattr, which would run a `__getattr__` of the module or a metaclass.
            found = vars(found).get(part)
            if not isinstance(found, type):
                return None
    except Exception:  # noqa: BLE001 - whatever keeps a module from loading, its classes are gone
        return None
    # A class that is only imported there belongs to another module, which nobody has trusted.
    if isinstance(found, type) and (found.__module__, found.__qualname__) == (module, name):
        return found
    return None
