"""Strings for names in a pickle, apart from equal ones in the data.

A pickler knows by its identity what it has written. Python has but one string for a name in a
program, and a key of the data may be that very string, but is another one once it is loaded. So
names are written as strings of their own, or the same data would have other bytes then.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

# Names that are kept for the next pickle: more than any program has.
_MAX_NAMES: Final = 10_000


def anew(text: str) -> str:
    """Return an equal string that is another object."""
    return text[:1] + text[1:]


class _Own(dict[str, str]):
    """Strings that are no part of any value, by their text.

    Args:
        words: Those that are, all the same.
    """

    def __init__(self, words: Mapping[str, str]) -> None:
        super().__init__()
        self._words = words

    def __missing__(self, text: str) -> str:
        if type(text) is not str:
            return text
        own = self._words.get(text) or anew(text)
        if len(self) < _MAX_NAMES:
            self[text] = own
        return own


class Apart:
    """The strings that names are written by, apart from equal ones in the data.

    Args:
        words: The words of a store, each by itself: they are written by a number wherever they are.

    Attributes:
        attributes: Names of attributes.
        values: What enums and time zones are made of.
        classes: Names of classes that are allowed, by class.
    """

    def __init__(self, words: Mapping[str, str]) -> None:
        self.attributes = _Own(words)
        self.values = _Own(words)
        self.classes: dict[type, str] = {}
