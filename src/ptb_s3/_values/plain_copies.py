"""Deep copies of plain data: dictionaries and lists of texts, numbers and times.

`copy.deepcopy` calls itself for each key and each number, and pickling with a function for each
object takes as long. What bots keep is nearly always plain, and is copied here in a fifth of the
time. Whatever else is met is left to them:

| function | copies | anything that is not plain |
|---|---|---|
| `deep_copy` | as `copy.deepcopy` | is copied by that, with the same memo |
| `with_words` | with the store's words for texts equal to one | makes it return None |
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from datetime import UTC, date, datetime, timedelta
from types import NoneType
from typing import Any, Final

# Exactly these types: `deepcopy` returns their objects, or others that nothing tells from them.
_LEAVES: Final = frozenset({NoneType, bool, int, float, str, bytes, date, timedelta})

_OTHER_LEAVES: Final = _LEAVES - {str}


class _NotPlainError(Exception):
    """Raised where something is met that is not plain."""


def deep_copy(value: object) -> Any:  # noqa: ANN401 - as `deepcopy`
    """Return a deep copy: what stands in the value twice is one object in the copy, too.

    Raises:
        Exception: As `copy.deepcopy`: objects' own code may raise anything.
    """
    kept: list[object] = []
    # Where `deepcopy` looks for objects that it has copied, and keeps those whose ids it has noted.
    memo: dict[int, Any] = {}
    memo[id(memo)] = kept
    return _copy(value, memo, kept)


def _copy(value: Any, memo: dict[int, Any], kept: list[object]) -> Any:  # noqa: ANN401 - as above
    cls = type(value)
    if cls in _LEAVES:
        return value
    if cls is dict or cls is list:
        known = memo.get(id(value))
        return _copied_container(value, memo, kept) if known is None else known
    if cls is datetime and (value.tzinfo is None or value.tzinfo is UTC):
        return value
    return deepcopy(value, memo)


def _copied_container(value: Any, memo: dict[int, Any], kept: list[object]) -> Any:  # noqa: ANN401 - as above
    leaves = _LEAVES  # looked up for each item
    kept.append(value)
    if type(value) is list:
        items = memo[id(value)] = []
        items += [item if type(item) in leaves else _copy(item, memo, kept) for item in value]
        return items
    copy = memo[id(value)] = {}
    for key, item in value.items():
        own = key if type(key) in leaves else _copy(key, memo, kept)
        copy[own] = item if type(item) in leaves else _copy(item, memo, kept)
    return copy


def with_words(value: object, words: Mapping[str, str]) -> Any:  # noqa: ANN401 - as `deepcopy`
    """Return a deep copy that has the words themselves for texts equal to one.

    Args:
        value: Value to copy.
        words: The object that is the word, by each word.

    Returns:
        The copy, or None: something of it is not plain.
    """
    try:
        return _worded(value, words, {})
    except (_NotPlainError, RecursionError):
        return None


def _worded(value: Any, words: Mapping[str, str], memo: dict[int, Any]) -> Any:  # noqa: ANN401 - as above
    cls = type(value)
    if cls is str:
        return words.get(value, value)
    if cls in _LEAVES:
        return value
    if cls is dict or cls is list:
        known = memo.get(id(value))
        return _worded_container(value, words, memo) if known is None else known
    if cls is datetime and (value.tzinfo is None or value.tzinfo is UTC):
        return value
    raise _NotPlainError


def _worded_container(value: Any, words: Mapping[str, str], memo: dict[int, Any]) -> Any:  # noqa: ANN401 - as above
    get, leaves = words.get, _OTHER_LEAVES  # looked up for each item
    if type(value) is list:
        items = memo[id(value)] = []
        items += [_worded(item, words, memo) for item in value]
        return items
    copy = memo[id(value)] = {}
    for key, item in value.items():
        own = get(key, key) if type(key) is str else _worded(key, words, memo)
        if type(item) is str:
            copy[own] = get(item, item)
        else:
            copy[own] = item if type(item) in leaves else _worded(item, words, memo)
    return copy
