"""Callbacks of jobs: functions by their names, under the allow-list of classes.

A function is written as ``module:qualname``, and found again by an import. So only functions at the
top of a module or in a class can be kept, and only of modules that are trusted: what is written
here is called after the next start.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from types import FunctionType
from typing import Any, TypeAlias, cast

from ptb_s3._values.allow_list import AllowList
from ptb_s3._values.first_party import MAIN
from ptb_s3._values.serializer import PickleSerializer, Serializer
from ptb_s3.errors import JobError

Callback: TypeAlias = Callable[..., Any]

_KEPT = "Give a function at the top of a module, or persistent=False for a job that may be lost."


def callbacks_for(
    serializer: Serializer, trusted: Sequence[str] | None, aliases: Mapping[str, Any]
) -> Callbacks:
    """Return the callbacks that jobs of a persistence may have.

    Args:
        serializer: Its serializer, whose allow-list counts where it has one.
        trusted: Modules that it trusts; None: those of the bot.
        aliases: Classes and functions by their old full names.
    """
    if not isinstance(serializer, PickleSerializer):
        serializer = PickleSerializer(trusted=trusted)
    functions = {name: made for name, made in aliases.items() if not isinstance(made, type)}
    return Callbacks(serializer.allow_list, functions)


class Callbacks:
    """Registry of functions that jobs may call.

    Args:
        allow_list: The allow-list of the bot's classes, which says what modules are trusted.
        aliases: Functions that have moved or got another name, by their old full name.
    """

    def __init__(self, allow_list: AllowList, aliases: Mapping[str, Callback]) -> None:
        self._allow_list = allow_list
        self._aliases = {name.replace(":", "."): function for name, function in aliases.items()}
        self._names: dict[Callback, str] = {}
        self._found: dict[str, Callback] = {}

    def name_of(self, callback: Callback) -> str:
        """Return the name that a function is written by.

        Raises:
            JobError: It could not be found again by a name, or is of a module that is not trusted.
        """
        if not isinstance(callback, FunctionType):  # refused, and perhaps not hashable
            return self._name(callback)
        known = self._names.get(callback)
        if known is None:
            known = self._names[callback] = self._name(callback)
        return known

    def find(self, name: str) -> Callback | None:
        """Return the function of a name, or None: it is gone, or not trusted."""
        known = self._found.get(name) or self._find(name)
        if known is not None:
            self._found[name] = known
        return known

    def _find(self, name: str) -> Callback | None:
        module, _, qualname = name.partition(":")
        alias = self._aliases.get(f"{module}.{qualname}")
        if alias is not None:
            return alias
        if not self._allow_list.trusts(module):
            return None
        return _lookup(self._allow_list.imported_name(module), qualname)

    def _name(self, callback: Callback) -> str:
        module = getattr(callback, "__module__", None)
        qualname = getattr(callback, "__qualname__", None)
        if not isinstance(module, str) or not isinstance(qualname, str):
            raise JobError(f"is a {type(callback).__name__}, which has no name. {_KEPT}")
        if getattr(callback, "__self__", None) is not None:
            raise JobError(
                f"is a method of an object ({qualname}), which no restart brings back. {_KEPT}"
            )
        if "<" in qualname:
            raise JobError(f"is made inside of a function ({module}.{qualname}). {_KEPT}")
        written = self._written(module)
        if not self._allow_list.trusts(written):
            raise JobError(
                f"is of a module that is not trusted ({module}.{qualname}). Add the module to "
                "trusted=, or give persistent=False for a job that may be lost."
            )
        if _lookup(module, qualname) is not callback:
            raise JobError(f"is not what its name stands for ({module}.{qualname}). {_KEPT}")
        return f"{written}:{qualname}"

    def _written(self, module: str) -> str:
        return (self._allow_list.main or MAIN) if module == MAIN else module


def _lookup(module: str, qualname: str) -> Callback | None:
    """Return the function that a module holds under a name, or None.

    No code runs but the module's import.
    """
    try:
        found: object = (home := importlib.import_module(module))
        for part in qualname.split("."):
            if found is not home and not _is_class_of(found, module):
                return None  # what a module imports is another's, which nobody has trusted
            found = vars(found)[part]  # not getattr, which may run code of the module's
    except Exception:  # noqa: BLE001 - whatever keeps a module from loading, its functions are gone
        return None
    found = found.__func__ if isinstance(found, staticmethod) else found
    own = isinstance(found, FunctionType) and found.__module__ == module
    return cast("Callback", found) if own else None


def _is_class_of(found: object, module: str) -> bool:
    return isinstance(found, type) and found.__module__ == module
