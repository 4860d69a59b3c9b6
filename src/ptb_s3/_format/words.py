"""Words: strings that the values of a store share, written once in its head. Pure.

A dictionary for many small pickles: field names such as ``"language"`` stand in every user's value.
A *bare* value refers to words by their number in pickle's memo (FORMAT.md, section 6.1), and so
means nothing without the words of its store. `spell_out` turns it into a pickle that stands alone,
for a store with other words::

    pickle      PROTO FRAME            "language" ...  STOP
    bare value                         BINGET 3   ...             3 is "language" in the head
    spelled out PROTO FRAME words...   BINGET 3   ...  STOP       the words are put into the memo
"""

from __future__ import annotations

import pickle
from collections.abc import Hashable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

from ptb_s3._format.entities import Changes

MAX_WORDS: Final = 61
"""Words of a store, at most (section 8): loading one bare value has to look up all of them."""
MAX_LENGTH: Final = 32
"""Characters of a word, at most (section 8): longer strings are text, and rarely shared."""
FIXED: Final[Mapping[Hashable, bytes]] = {
    datetime: b"cdatetime\ndatetime\n",
    UTC: b"cdatetime\ntimezone\ncdatetime\ntimedelta\nK\x00\x85R\x85R",
    "": b"\x8c\x00",
}
"""First three words of every store, with the opcodes that push them.

Making this time zone takes three calls, and most times that a bot keeps have it. There is but one
empty string, so that it often stands in a value twice.
"""
OPENING: Final = pickle.PROTO + b"\x05" + pickle.FRAME
"""First bytes of a small pickle: protocol 5, and one frame whose length follows."""
LENGTH_BYTES: Final = 8
"""Bytes of a frame's length, little-endian (PEP 3154)."""
PREAMBLE: Final = len(OPENING) + LENGTH_BYTES
"""Bytes in front of the first opcode of such a pickle."""


def is_bare(data: bytes) -> bool:
    """Tell whether a value is bare: it does not begin with PROTO, as every pickle does."""
    return not data.startswith(pickle.PROTO)


def spell_out(data: bytes, words: Sequence[str]) -> bytes:
    """Return a value as a pickle that needs no words. One that needs none is returned as it is."""
    if not is_bare(data):
        return data
    spelled = [*FIXED.values(), *map(spell, words)]
    noted = [word + note(number) for number, word in enumerate(spelled)]
    return framed(b"".join(noted) + data)


def spell_out_all(changes: Changes, words: Sequence[str]) -> Changes:
    """Return changes whose values need no words, so that readers of any head can load them."""
    return {
        kind: {key: v if v is None else spell_out(v, words) for key, v in changed.items()}
        for kind, changed in changes.items()
    }


def note(number: int) -> bytes:
    """Return the opcodes that memoize the top of the stack under a number, and drop it."""
    return pickle.BINPUT + bytes([number]) + pickle.POP


def spell(word: str) -> bytes:
    """Return the opcode that pushes a word."""
    text = word.encode()
    return pickle.SHORT_BINUNICODE + bytes([len(text)]) + text


def framed(body: bytes) -> bytes:
    """Return opcodes as a complete pickle in one frame, with STOP at its end."""
    body += pickle.STOP
    return OPENING + len(body).to_bytes(LENGTH_BYTES, "little") + body
