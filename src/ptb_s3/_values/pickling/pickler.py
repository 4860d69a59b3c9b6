"""Picklers: values to bytes, by the rules of `reductions`.

| pickler | written in | for |
|---|---|---|
| `Pickler` | C, fast | nearly all values |
| `SlowPickler` | Python | values where it is not sure which ``__main__`` is a module's name |
| `NumberingPickler` | C | copies of values in which equal strings become the store's words |
"""

from __future__ import annotations

import pickle
import sys
from collections.abc import Mapping
from typing import Any, Final

from ptb_s3._values.pickling.reductions import Reductions

# Frames of Python's stack for values that are nested as deeply as the pickler in C can write them.
_FRAMES: Final = 20_000


class Pickler(Reductions, pickle.Pickler):
    """Fast pickler, written in C, which names each class as this process does."""


class SlowPickler(Reductions, pickle._Pickler):  # noqa: SLF001 - the C one looks up what it names
    """Pickler written in Python, which names classes of ``__main__`` by their importable name."""

    def dump(self, value: object) -> None:
        """Write a value.

        The recursion limit is raised meanwhile: Python's pickler calls itself several times for
        each level of nesting, and what the fast one can write is not to fail here.
        """
        limit = sys.getrecursionlimit()
        sys.setrecursionlimit(max(limit, _FRAMES))
        try:
            super().dump(value)
        finally:
            sys.setrecursionlimit(limit)

    def save_global(self, obj: Any, name: str | None = None) -> None:  # noqa: ANN401 - as pickle has it
        """Write the name of a class, as `AllowList.module_of` has it."""
        writer: Any = self  # its type tells too little
        module = self.allow_list.module_of(obj)
        if module == obj.__module__:
            writer_of_python: Any = super()
            writer_of_python.save_global(obj, name)
            return
        writer.save(module)
        writer.save(name or obj.__qualname__)
        writer.write(pickle.STACK_GLOBAL)
        writer.memoize(obj)


class NumberingPickler(Pickler):
    """Pickler that writes the number of each word, even of a string that is only equal to one.

    Attributes:
        numbers: Number of each word.
    """

    numbers: Mapping[str, int]

    def persistent_id(self, obj: object) -> int | None:
        """Return the number of a word, by which an unpickler that has the words looks it up."""
        return self.numbers.get(obj) if type(obj) is str else None
