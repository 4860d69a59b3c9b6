"""Words: strings that the values of a store share, spelled once in its head.

A *bare* value refers to words by number (FORMAT.md, section 6.1), and means nothing without its
store's. `spell_out` gives it as a pickle that stands alone, for a store with other words.
"""

from __future__ import annotations

import pickle
from collections.abc import Hashable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

from ptb_s3._format.entities import Changes

# Words of a store, at most: a bare value that is loaded alone has to look up each of them first.
MAX_WORDS: Final = 61
# Characters of a word, at most: longer ones are text, and that is not for many values the same.
MAX_LENGTH: Final = 32
# Every store's first three, and how a pickle spells them. To make this time zone takes three calls,
# and most times that a bot keeps have it. There is but one empty text, so that it often stands in a
# value twice.
FIXED: Final[Mapping[Hashable, bytes]] = {
    datetime: b"cdatetime\ndatetime\n",
    UTC: b"cdatetime\ntimezone\ncdatetime\ntimedelta\nK\x00\x85R\x85R",
    "": b"\x8c\x00",
}
# What a small pickle begins with: protocol 5, and one frame of so many bytes.
OPENING: Final = pickle.PROTO + b"\x05" + pickle.FRAME
LENGTH_BYTES: Final = 8
PREAMBLE: Final = len(OPENING) + LENGTH_BYTES


def is_bare(data: bytes) -> bool:
    """Tell whether a value refers to words: every pickle begins with its protocol."""
    return not data.startswith(pickle.PROTO)


def spell_out(data: bytes, words: Sequence[str]) -> bytes:
    """Make a pickle of a value that needs no words, for readers without them."""
    if not is_bare(data):
        return data
    spelled = [*FIXED.values(), *map(spell, words)]
    noted = [word + note(number) for number, word in enumerate(spelled)]
    return framed(b"".join(noted) + data)


def spell_out_all(changes: Changes, words: Sequence[str]) -> Changes:
    """Return changes whose values need no words: the same for readers of any head."""
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
    """Return opcodes as a complete pickle, in one frame."""
    body += pickle.STOP
    return OPENING + len(body).to_bytes(LENGTH_BYTES, "little") + body
