"""Importable name of `__main__`, written into pickles where they name classes of it.

A class of the script that runs is `__main__.Basket` here and `bot.Basket` for whoever imports the
script: another process, `ptb-s3`, a Lambda. Its bytes must be the same in each, so they name `bot`.

The pickler in C writes the name that a class has in this process, so its bytes are edited after:

    ... SHORT_BINUNICODE "__main__" MEMOIZE SHORT_BINUNICODE "Basket" MEMOIZE STACK_GLOBAL ...
    ... SHORT_BINUNICODE "bot"      MEMOIZE SHORT_BINUNICODE "Basket" MEMOIZE STACK_GLOBAL ...

That is only done where each `__main__` in the bytes is sure to be such a name. A text of a user's
may say `__main__` as well; the functions here return None then, and the slower pickler in Python
writes the value (`SlowPickler`), which knows each name as it writes it.
"""

from __future__ import annotations

import pickle
import struct
from collections.abc import Sequence
from typing import Final

from ptb_s3._values.first_party import MAIN
from ptb_s3._values.shared_strings import Memo

_MAIN: Final = MAIN.encode()
_PREAMBLE: Final = 2  # bytes: opcode and number of the protocol
# Opcodes of the parts that stand side by side in a pickle, with the bytes that their length takes:
# frames, and strings too large for one. From pickle.py.
_LENGTHS: Final = {
    pickle.FRAME: 8,
    pickle.BINBYTES: 4,
    pickle.BINUNICODE: 4,
    pickle.BINBYTES8: 8,
    pickle.BINUNICODE8: 8,
    pickle.BYTEARRAY8: 8,
}
_SHORT: Final = 255  # the largest number, or length of a text in bytes, that takes one byte
_FRAME: Final = struct.Struct("<cQ")


def respell(pickled: bytes, classes: Sequence[type], module: str, memo: Memo) -> bytes | None:
    """Replace ``__main__`` in a pickle by another name.

    Args:
        pickled: The pickle, by a pickler that memoizes what it writes.
        classes: The classes of ``__main__`` that it names, in order. The first one spells out the
            name of its module, and the others refer to that.
        module: The name to write.
        memo: The pickler's memo.

    Returns:
        The pickle, or None: it is not sure which ``__main__`` is a module's name.
    """
    part = _part_with(pickled, pickled.find(_MAIN))
    if part is None or pickled.count(_MAIN) != 1:
        return None
    # A text in the data may be the very string that the classes have, and then refers to it, too.
    number, _ = memo.copy()[id(classes[0].__module__)]
    if pickled.count(_reference(number)) != len(classes) - 1:
        return None
    start, end = part
    frame = respell_all(pickled[start:end], classes[:1], module)
    if frame is None:
        return None
    header = _FRAME.pack(pickle.FRAME, len(frame) - _FRAME.size)
    return b"".join([pickled[:start], header, frame[_FRAME.size :], pickled[end:]])


def respell_all(body: bytes, classes: Sequence[type], module: str) -> bytes | None:
    """Replace ``__main__`` in opcodes where each class spells it out.

    Args:
        body: Opcodes of one frame or none, by a pickler that memoizes nothing.
        classes: The classes of ``__main__`` in it, once for each time that one is named.
        module: The name to write.

    Returns:
        The opcodes, or None: it is not sure which ``__main__`` is a module's name.
    """
    first, *others = body.split(_spelled(MAIN))
    if body.count(_MAIN) != len(classes) or len(others) != len(classes):
        return None
    for after, cls in zip(others, classes, strict=True):
        named = after.removeprefix(pickle.MEMOIZE).removeprefix(_spelled(cls.__qualname__))
        if not named.removeprefix(pickle.MEMOIZE).startswith(pickle.STACK_GLOBAL):
            return None
    return _spelled(module).join([first, *others])


def _part_with(pickled: bytes, position: int) -> tuple[int, int] | None:
    """Return start and end of the frame or large string that holds a position, or None: unknown."""
    start = end = _PREAMBLE
    while end <= position:
        start, width = end, _LENGTHS.get(pickled[end : end + 1])
        if width is None:
            return None
        length = int.from_bytes(pickled[start + 1 : start + 1 + width], "little")
        end = start + 1 + width + length
    return start, end


def _reference(number: int) -> bytes:
    """Return the opcode that pushes the object with a number in the memo."""
    if number <= _SHORT:
        return pickle.BINGET + bytes([number])
    return pickle.LONG_BINGET + number.to_bytes(4, "little")


def _spelled(name: str) -> bytes:
    """Return the opcode that pushes a name."""
    text = name.encode()
    short = len(text) <= _SHORT
    code = pickle.SHORT_BINUNICODE if short else pickle.BINUNICODE
    return code + len(text).to_bytes(1 if short else 4, "little") + text
