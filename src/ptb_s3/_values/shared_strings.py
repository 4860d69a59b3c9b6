"""Shared strings: the words that many values of a store have in common, kept once in its head.

A bot's dictionaries have the same keys for every user. A pickle by itself spells them out each
time, and each value that is loaded has strings of its own. A *bare* value has no frame of a pickle
around it, memoizes nothing, and refers to the words of its store by number instead:

    words in head       3 "name"   4 "cart"           (0 to 2 are fixed by the format)

    pickle              PROTO FRAME  EMPTY_DICT MEMOIZE MARK "name" MEMOIZE "Ann" MEMOIZE
                        "cart" MEMOIZE EMPTY_LIST MEMOIZE SETITEMS  STOP
    bare value          EMPTY_DICT MARK BINGET 3 "Ann" BINGET 4 EMPTY_LIST SETITEMS

Bare values can be put one after another into one pickle, so a hundred thousand of them load as fast
as a single large value, and share what is the same. A value that refers to a part of itself needs
the memo, and stays a pickle. FORMAT.md, section 6.1, is the specification.
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

# Bytes from which on a value has no bare form: a pickler cuts larger ones into frames. From
# pickle.py (`_FRAME_SIZE_TARGET`).
MAX_BARE: Final = 64 * 1024
# Values that words are chosen by, at least and at most, and the share of them that have a word.
MIN_VALUES = 64
_SAMPLE: Final = 200
_SHARE: Final = 1 / 8

# Numbers in the memo from which on a pickler has another opcode to refer to them (LONG_BINGET), and
# how that looks, with a number of four bytes, in a pickle of less than `MAX_BARE`.
_OWN: Final = 256
_OWN_PART: Final = re.compile(rb"(?s)j.(?:[^\x00]\x00|.\x01)\x00")
Memo: TypeAlias = Any
"""The objects that a pickler has memoized, as its `memo` gives them: their numbers, by id."""


class Words:
    """Snapshot of one store's words, in the forms that picklers and unpicklers take.

    Args:
        spelled: The words that its head names.

    Attributes:
        spelled: As above.
        objects: The objects that the numbers in a bare value stand for.
        memo: Memo for a pickler, which then refers to the words.
        memoizing: The same for a pickler that memoizes what it writes: it refers to that by another
            opcode, so that a value which needs the memo is found out.
        numbers: Number of each word that the head names.
        own: The object that is the word, by each word.
        in_full: Finds a word in a pickle that spells it out.
    """

    def __init__(self, spelled: Sequence[str]) -> None:
        self.spelled = tuple(spelled)
        # Interned, as names in a program are: a pickler knows a word by its identity.
        self.objects = (*FIXED, *map(sys.intern, spelled))
        self.numbers = {word: number for number, word in enumerate(spelled, len(FIXED))}
        self.own = {word: word for word in self.objects if isinstance(word, str)}
        self.in_full = re.compile(b"|".join(re.escape(spell(word)) for word in spelled))
        self.memo = _memo(self.objects)
        self.memoizing = _memo((*self.objects, *(object() for _ in range(len(self.objects), _OWN))))
        self._looked_up = b"".join(map(_look_up, range(len(self.objects))))

    def complete(self, bare: Sequence[bytes]) -> bytes:
        """Return one pickle of bare values: a list of them, for an unpickler that has the words."""
        return framed(self._looked_up + pickle.MARK + b"".join(bare) + pickle.LIST)


def has_bare_form(memoized: bytes) -> bool:
    """Return whether a value can be written bare.

    It cannot if it is large, or if it refers to a part of itself, as where one object stands in it
    twice. Other bytes may look like that, too, and the value is then a pickle without need.

    Args:
        memoized: The value's pickle, made with `Words.memoizing`.
    """
    return len(memoized) < MAX_BARE and _OWN_PART.search(memoized) is None


def strip(memoized: bytes, fast: bytes) -> bytes | None:
    """Return the bare form of a value that `has_bare_form`.

    Args:
        memoized: The value's pickle, made with `Words.memoizing`.
        fast: The same, made with `Words.memo` by a pickler that is `fast`, which memoizes nothing.

    Returns:
        The bare form, or None: the two differ in more than that, as where an object gives another
        state each time, so neither can be trusted.
    """
    one, other = _single_frame(memoized), _single_frame(fast)
    if one is None or other is None:
        return None
    memoize = pickle.MEMOIZE
    return other if one.replace(memoize, b"") == other.replace(memoize, b"") else None


def sample(entities: dict[K, bytes]) -> list[tuple[K, bytes]]:
    """Return the newest entities, to choose words by.

    Args:
        entities: Keys and bytes, oldest first.

    Returns:
        Up to 200 of them, without the large ones, which have no bare form.
    """
    newest = islice(reversed(entities.items()), _SAMPLE)
    return [(key, data) for key, data in newest if len(data) < MAX_BARE]


def common_words(values: Sequence[object]) -> list[str]:
    """Return the names that many of these values have for their parts, the most frequent first.

    These are keys of dictionaries and names of attributes. The values that they stand for come from
    users, as new strings each time, and to find words among them takes longer than it would save.
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
    """Return the opcodes between preamble and end of a pickle of one frame, or None: of others."""
    length = (len(pickled) - PREAMBLE).to_bytes(LENGTH_BYTES, "little", signed=True)
    return pickled[PREAMBLE:-1] if pickled.startswith(OPENING + length) else None
