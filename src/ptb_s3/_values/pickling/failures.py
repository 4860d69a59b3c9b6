"""Failures of picklers: which object in a value is the culprit, and where it is.

A pickler that fails says little, and what it says may quote values. So the error is made anew: the
class of the culprit, the reason, and the path to it, such as ``['cart'][2].client``. A path has
keys, which are data: it is an attribute of the error for the program, and in no log line.
"""

from __future__ import annotations

import collections
import contextlib
import reprlib
import types
from collections.abc import Iterator, Mapping
from typing import Final

from telegram import Bot

from ptb_s3._values.pickling.reductions import FUNCTIONS, Reductions, class_name
from ptb_s3.errors import SerializationError

# Objects looked at in search of a culprit before giving up: about 0.2 s.
_MAX_VISITED: Final = 100_000
# Steps from the top. An object this far down is taken for what made the recursion too deep.
_TOO_DEEP: Final = 100
# Characters of a path: enough to find the place, not enough to quote all that lies on the way.
_MAX_PATH: Final = 200
# Keys in a path are quoted whole if they have up to so many characters.
_REPR: Final = reprlib.Repr()
_REPR.maxstring = _REPR.maxother = 100
# Stands for whatever lies too deep, where a culprit is asked for.
_DEEP: Final = object()
_NESTED: Final = "it is nested too deeply: keep a long chain as a list of its links"
# Objects whose attributes are not part of the data.
_NO_PARTS: Final = (*FUNCTIONS, type, types.ModuleType, Bot)


def explain(error: Exception, pickler: Reductions, value: object) -> SerializationError:
    """Return the error to raise instead of one that came out of a pickler.

    Args:
        error: The pickler's error.
        pickler: The pickler, which remembers what it met last.
        value: The value that it was to write.

    Returns:
        The refusal, if it was the allow-list's; else an error with the class of the culprit. Both
        have the path to it.
    """
    culprit = pickler.last
    if pickler.refusal is not None:
        failure = pickler.refusal
    elif isinstance(error, RecursionError):
        failure, culprit = SerializationError(_NESTED), _DEEP
    else:
        what = "it" if culprit is None else f"{class_name(culprit)} in it"
        failure = SerializationError(
            f"{what} cannot be pickled ({type(error).__name__}): keep plain data in its place"
        )
    with contextlib.suppress(Exception):  # objects' own code again: repr of a key, for one
        failure.path = "" if culprit is None else _path_to(culprit, value)
    return failure


def _path_to(culprit: object, value: object) -> str:
    """Return the path to the culprit in a value, or an empty text if the search gives up.

    Breadth first, so that of several ways to it the shortest is named.

    Args:
        culprit: The object to find; `_DEEP` for the first one that lies too deep.
        value: The value.
    """
    queue: collections.deque[tuple[object, tuple[str, ...]]] = collections.deque([(value, ())])
    seen = {id(value)}
    while queue and len(seen) < _MAX_VISITED:
        part, path = queue.popleft()
        if part is culprit or (culprit is _DEEP and len(path) == _TOO_DEEP):
            return "".join(path)[:_MAX_PATH]
        for step, child in _parts(part) if len(path) < _TOO_DEEP else ():
            if id(child) not in seen:
                seen.add(id(child))
                queue.append((child, (*path, step)))
    return ""


def _parts(value: object) -> Iterator[tuple[str, object]]:
    """Yield the parts of a value, each with the step of a path that leads to it."""
    if isinstance(value, Mapping):
        for number, (key, part) in enumerate(value.items()):
            yield f"[{_REPR.repr(key)}]", part
            yield f"[key {number}]", key
        yield ".default_factory", getattr(value, "default_factory", None)
    elif isinstance(value, (list, tuple, collections.deque)):
        yield from ((f"[{number}]", part) for number, part in enumerate(value))
    elif isinstance(value, (set, frozenset)):
        yield from (("[element]", part) for part in value)
    if not isinstance(value, _NO_PARTS):
        # Not the object's own, which runs its code: object's gives attributes and slots.
        state = object.__getstate__(value)
        for attributes in state if isinstance(state, tuple) else (state,):
            yield from ((f".{name}", part) for name, part in (attributes or {}).items())
