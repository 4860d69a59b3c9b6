"""Put the importable name of ``__main__`` into pickles, where classes of it are named.

The pickler in C writes the name that a class has in this process. What is found here is replaced;
where anything else says ``__main__`` as well, such as a text of a user's, that is not for sure, and
the pickler that is written in Python has to do it.
"""

from __future__ import annotations

import pickle
import struct
from collections.abc import Sequence
from typing import Any, Final, TypeAlias

from ptb_s3._values.first_party import MAIN

# What a pickler has noted, as its `memo` gives it.
Memo: TypeAlias = Any

_MAIN: Final = MAIN.encode()
_PREAMBLE: Final = 2  # bytes: the protocol
# What stands side by side in a pickle, with the bytes that its length takes: frames, and what is
# too large for one.
_LENGTHS: Final = {
    pickle.FRAME: 8,
    pickle.BINBYTES: 4,
    pickle.BINUNICODE: 4,
    pickle.BINBYTES8: 8,
    pickle.BINUNICODE8: 8,
    pickle.BYTEARRAY8: 8,
}
_SHORT: Final = 255  # the largest number, or length of a text, that takes one byte
_FRAME: Final = struct.Struct("<cQ")


def respell(pickled: bytes, classes: Sequence[type], module: str, memo: Memo) -> bytes | None:
    """Return a pickle with another name for ``__main__``; None: it is not for sure where that is.

    Args:
        pickled: The pickle; its pickler has noted what it wrote.
        classes: The classes of ``__main__`` that it names, as they come. The first one spells the
            name of its module, and the others refer to that.
        module: The name.
        memo: What the pickler has noted.
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
    """Likewise, in a pickle without frames whose pickler notes nothing.

    Args:
        body: The pickle.
        classes: The classes of ``__main__`` that it names, each time that it does.
        module: The name.
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
    """Return where the part begins and ends that a position is in; None: it cannot be told."""
    start = end = _PREAMBLE
    while end <= position:
        start, width = end, _LENGTHS.get(pickled[end : end + 1])
        if width is None:
            return None
        length = int.from_bytes(pickled[start + 1 : start + 1 + width], "little")
        end = start + 1 + width + length
    return start, end


def _reference(number: int) -> bytes:
    if number <= _SHORT:
        return pickle.BINGET + bytes([number])
    return pickle.LONG_BINGET + number.to_bytes(4, "little")


def _spelled(name: str) -> bytes:
    text = name.encode()
    short = len(text) <= _SHORT
    code = pickle.SHORT_BINUNICODE if short else pickle.BINUNICODE
    return code + len(text).to_bytes(1 if short else 4, "little") + text
