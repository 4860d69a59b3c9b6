"""Words: what many values of a store have in common, and so stands once in its head.

A bot's dictionaries have the same keys for every user. A pickle by itself spells them out each
time, and each that is loaded has strings of its own. A *bare* value refers to the words of its
store instead, so that a hundred thousand of them load as fast as one large pickle, and share what
is the same. FORMAT.md, section 6.1, is the specification.
"""

from __future__ import annotations

import io
import pickle
import re
import sys
from collections import Counter
from collections.abc import Sequence
from itertools import islice
from typing import Any, Final, TypeAlias, TypeVar

from ptb_s3._format.words import (
    FIXED,
    LENGTH_BYTES,
    MAX_LENGTH,
    MAX_WORDS,
    OPENING,
    PREAMBLE,
    framed,
    note,
    spell,
)

K = TypeVar("K")

# Bytes from which on a value has no bare form: a pickler cuts into frames what is larger.
MAX_BARE: Final = 64 * 1024
# Values to judge by, at least and at most, and the share of them that a word is to stand in.
MIN_VALUES = 64
_SAMPLE: Final = 200
_SHARE: Final = 1 / 8

# Numbers of what a pickler has noted from which on it has another operation code to refer to it;
# and what that looks like, with its number in four bytes, in a pickle of less than `MAX_BARE`.
_OWN: Final = 256
_OWN_PART: Final = re.compile(rb"(?s)j.(?:[^\x00]\x00|.\x01)\x00")
# What a pickler has noted, as its `memo` gives it.
Memo: TypeAlias = Any


class Words:
    """The words of one store, as picklers and unpicklers take them.

    Args:
        spelled: The words that its head names.

    Attributes:
        spelled: The same.
        objects: What the numbers in a bare value stand for.
        memo: For a pickler: makes it refer to these.
        noting: The same, for one that notes what it writes, so that it refers to that by another
            operation code.
        numbers: Of each word that the head names.
        own: The object that is a word, by each word.
        in_full: Finds one of these in a pickle that spells it out.
    """

    def __init__(self, spelled: Sequence[str]) -> None:
        self.spelled = tuple(spelled)
        # Interned, as names in a program are: a pickler knows a word by its identity.
        self.objects = (*FIXED, *map(sys.intern, spelled))
        self.numbers = {word: number for number, word in enumerate(spelled, len(FIXED))}
        self.own = {word: word for word in self.objects if isinstance(word, str)}
        self.in_full = re.compile(b"|".join(re.escape(spell(word)) for word in spelled))
        self.memo = _memo(self.objects)
        self.noting = _memo((*self.objects, *(object() for _ in range(len(self.objects), _OWN))))
        self._looked_up = b"".join(map(_look_up, range(len(self.objects))))

    def complete(self, bare: Sequence[bytes]) -> bytes:
        """Make one pickle of bare values: a list of them, for an unpickler that has the words."""
        return framed(self._looked_up + pickle.MARK + b"".join(bare) + pickle.LIST)


def has_bare_form(noted: bytes) -> bool:
    """Tell of a pickle, made with `Words.noting`, whether its value can be written bare.

    It cannot if it is large, or if it refers to what it holds, as it does where a part of the value
    stands in it twice. Other bytes may look like that, too.
    """
    return len(noted) < MAX_BARE and _OWN_PART.search(noted) is None


def strip(noted: bytes, fast: bytes) -> bytes | None:
    """Return the bare form of a value that `has_bare_form`; None: it has none after all.

    Args:
        noted: The value, with `Words.noting`.
        fast: The same, with `Words.memo`, by a pickler that is `fast`, which notes nothing. There
            is no other difference, unless an object gives another state each time.
    """
    one, other = _single_frame(noted), _single_frame(fast)
    if one is None or other is None:
        return None
    memoize = pickle.MEMOIZE
    return other if one.replace(memoize, b"") == other.replace(memoize, b"") else None


def sample(entities: dict[K, bytes]) -> list[tuple[K, bytes]]:
    """Return the newest entities, to judge by; none of the large ones, which have no bare form."""
    newest = islice(reversed(entities.items()), _SAMPLE)
    return [(key, data) for key, data in newest if len(data) < MAX_BARE]


def common_words(values: Sequence[object]) -> list[str]:
    """Return the names that many of these values have for their parts, the most frequent first.

    Names only, keys of dictionaries and attributes: what they stand for comes from users, as new
    strings each time, and to find words among them takes longer than it would save.
    """
    counted = Counter(name for value in values for name in _names(value))
    least = max(len(values), MIN_VALUES) * _SHARE
    return [name for name, times in counted.most_common(MAX_WORDS) if times >= least]


def _memo(objects: Sequence[object]) -> Memo:
    pickler = pickle.Pickler(io.BytesIO())
    pickler.memo = {id(one): (number, one) for number, one in enumerate(objects)}
    return pickler.memo


def _names(value: object) -> set[str]:
    names: set[object] = set()
    seen: set[int] = set()
    left = [value]
    while left:
        part = left.pop()
        if id(part) in seen:
            continue
        seen.add(id(part))
        parts = part if type(part) is dict else getattr(part, "__dict__", None)
        if type(parts) is dict:
            names |= parts.keys()
            left += parts.values()
        elif type(part) in {list, tuple}:
            left += part  # type: ignore[arg-type]
    return {name for name in names if type(name) is str and _is_word(name)}


def _is_word(name: str) -> bool:
    return 0 < len(name) <= MAX_LENGTH and name.isprintable()


def _look_up(number: int) -> bytes:
    return pickle.BININT1 + bytes([number]) + pickle.BINPERSID + note(number)


def _single_frame(pickled: bytes) -> bytes | None:
    """Return what is between the preamble and the end of a pickle that has one frame."""
    length = (len(pickled) - PREAMBLE).to_bytes(LENGTH_BYTES, "little", signed=True)
    return pickled[PREAMBLE:-1] if pickled.startswith(OPENING + length) else None
