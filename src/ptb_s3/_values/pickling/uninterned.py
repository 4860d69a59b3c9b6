"""Uninterned names: the strings by which a pickle's own names are written.

A pickler knows by identity what it has written: it spells a string out the first time, and refers
to it by number when it meets the same object again. Python interns the names in a program, so a key
of the data may be the very object that names an attribute, and is another one once it was loaded:

    {"size": Box(size=1)}      the key           the attribute's name
    made by the program        spelled out       a reference to the key
    loaded from its bytes      spelled out       spelled out

Equal values would then have different bytes. So names are written by strings that are in no data.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

# Strings kept for the next pickle, in each pool: more than any program has names.
_MAX_NAMES: Final = 10_000


def uninterned(text: str) -> str:
    """Return an equal string that is another object."""
    return text[:1] + text[1:]


class _StringPool(dict[str, str]):
    """Pool of strings that are part of no value, by their text.

    Args:
        words: A store's words, which are used as they are: each is a number wherever it stands.
    """

    def __init__(self, words: Mapping[str, str]) -> None:
        super().__init__()
        self._words = words

    def __missing__(self, text: str) -> str:
        if type(text) is not str:
            return text
        own = self._words.get(text) or uninterned(text)
        if len(self) < _MAX_NAMES:
            self[text] = own
        return own


class UninternedNames:
    """Pools of strings for the names in pickles: none of them is an object of the data.

    Args:
        words: The words of a store, each by itself: they are written by a number wherever they are.

    Attributes:
        attributes: Names of attributes.
        values: Strings in the values of enum members, and keys of time zones.
        classes: Qualified names of classes that the allow-list has let pass, by class.
    """

    def __init__(self, words: Mapping[str, str]) -> None:
        self.attributes = _StringPool(words)
        self.values = _StringPool(words)
        self.classes: dict[type, str] = {}
