"""Put the importable name of ``__main__`` into pickles, where classes of it are named.

The pickler in C writes the name that a class has in this process. What is found here is replaced;
where anything else says ``__main__`` as well, such as a text of a user's, that is not for sure, and
the pickler that is written in Python has to do it.
"""

from __future__ import annotations

import pickle
import struct
from collections.abc import Sequence
from typing import Final

from ptb_s3._own_modules import MAIN

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
_SHORT: Final = 255  # bytes of a text whose length takes one
_FRAME: Final = struct.Struct("<cQ")


def respell(pickled: bytes, cls: type, module: str) -> bytes | None:
    """Return a pickle with another name for ``__main__``; None: it is not for sure where that is.

    Args:
        pickled: The pickle; its pickler has noted what it wrote.
        cls: The first class of ``__main__`` that it names.
        module: The name.
    """
    start = _start_of_frame(pickled, pickled.find(_MAIN))
    respelled = None if start is None else respell_all(pickled[start:], [cls], module)
    if start is None or respelled is None:
        return None
    return (
        pickled[:start]
        + _FRAME.pack(pickle.FRAME, len(respelled) - _FRAME.size)
        + respelled[_FRAME.size :]
    )


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


def _start_of_frame(pickled: bytes, position: int) -> int | None:
    start = end = _PREAMBLE
    while end <= position:
        start, width = end, _LENGTHS.get(pickled[end : end + 1])
        if width is None:
            return None
        length = int.from_bytes(pickled[start + 1 : start + 1 + width], "little")
        end = start + 1 + width + length
    return start


def _spelled(name: str) -> bytes:
    text = name.encode()
    short = len(text) <= _SHORT
    code = pickle.SHORT_BINUNICODE if short else pickle.BINUNICODE
    return code + len(text).to_bytes(1 if short else 4, "little") + text
