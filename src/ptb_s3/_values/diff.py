"""Diff of two readable values, field by field.

before   {"cart": ["tea"], "seen": {"$set": [1]}}
after    {"cart": ["tea", "milk"], "seen": {"$set": [1, 2]}}

['cart'][1]    absent -> "milk"
['seen']{2}    absent -> 2
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from ptb_s3._values.readable import Readable


class _Absent:
    def __repr__(self) -> str:
        return "absent"


ABSENT: Final = _Absent()
"""One side of a change, where the field is not there."""

# Tags whose parts are at a number, by a key, or in no order. `readable` defines them.
_BY_NUMBER: Final = {"$tuple", "$deque", "$items"}
_BY_KEY: Final = {"$dict", "$ordereddict", "$counter", "$defaultdict", "$entries"}
_UNORDERED: Final = {"$set", "$frozenset"}
_OBJECTS: Final = {"$class", "$telegram"}


class Change(NamedTuple):
    """Record of one field that differs.

    Attributes:
        path: Path to it as Python would write it, such as ``"['cart'][2].price"``; empty for the
            value itself. An element of a set stands in braces.
        before: Its readable form before; `ABSENT` if it was added.
        after: Its readable form after; `ABSENT` if it was removed.
    """

    path: str
    before: Readable
    after: Readable


def changed_fields(before: Readable, after: Readable) -> list[Change]:
    """Return the fields that differ between two values, in order of numbers, else of names.

    Args:
        before: The older value, as `readable` gives it.
        after: The newer one, likewise.
    """
    return list(_changes("", before, after))


def _changes(path: str, before: Readable, after: Readable) -> Iterator[Change]:
    """Yield the changes below a path: of the whole, where the two are of different shapes."""
    # As JSON, not by `==`, for which 1, 1.0 and true are equal. Here they are not the same.
    (shape, old), (other_shape, new) = _parts(before), _parts(after)
    if shape != other_shape or (shape is None and json.dumps(before) != json.dumps(after)):
        yield Change(path, before, after)
        return
    for step in sorted({**old, **new}, key=_by_number):
        if step not in old or step not in new:
            yield Change(path + step, old.get(step, ABSENT), new.get(step, ABSENT))
        else:
            yield from _changes(path + step, old[step], new[step])


def _by_number(step: str) -> tuple[int, str]:
    """Return a key that sorts steps by number, so that [10] follows [9]."""
    number = step[1:-1]
    return (int(number) if number.isdecimal() else -1, step)


def _parts(form: Readable) -> tuple[str | None, dict[str, Readable]]:
    """Return the shape of a form, or None if it has no parts, and its parts by their steps."""
    if isinstance(form, list):
        return "list", _by_index(form)
    if not isinstance(form, dict):
        return None, {}
    tag = next(iter(form), "")
    if not tag.startswith("$"):
        return "dict", {_key(key): part for key, part in form.items()}
    if tag in _OBJECTS:
        fields = [(name, part) for name, part in form.items() if name != tag]
        return f"{tag} {form[tag]}", _members(fields)
    if tag in _BY_NUMBER | _BY_KEY | _UNORDERED:
        return tag, _members(form.items())
    return None, {}


def _members(members: Iterable[tuple[str, Readable]]) -> dict[str, Readable]:
    """Return the parts of a form with a tag, by their steps."""
    parts: dict[str, Readable] = {}
    for name, part in members:
        if name in _BY_NUMBER:
            parts |= _by_index(part)
        elif name in _UNORDERED:
            parts |= _numbered((f"{{{_python(item)}}}", item) for item in part)
        elif name in _BY_KEY:
            parts |= _by_key(part)
        else:
            parts[f".{name}"] = part
    return parts


def _by_index(items: list[Readable]) -> dict[str, Readable]:
    return {f"[{number}]": item for number, item in enumerate(items)}


def _by_key(entries: Readable) -> dict[str, Readable]:
    if isinstance(entries, dict):
        entries = entries["$dict"] if "$dict" in entries else entries.items()
    return _numbered((_key(key), part) for key, part in entries)


def _numbered(parts: Iterable[tuple[str, Readable]]) -> dict[str, Readable]:
    """Number keys that look alike, as objects do that are equal to nothing but themselves."""
    seen: Counter[str] = Counter()
    numbered: dict[str, Readable] = {}
    for step, part in parts:
        seen[step] += 1
        numbered[step if seen[step] == 1 else f"{step}#{seen[step]}"] = part
    return numbered


def _key(key: Readable) -> str:
    return f"[{_python(key)}]"


def _python(value: Readable) -> str:
    """Return a readable form as Python would write the value, where that leaves no doubt."""
    if isinstance(value, dict) and value.keys() == {"$tuple"}:
        items = [_python(item) for item in value["$tuple"]]
        return f"({', '.join(items)}{',' if len(items) == 1 else ''})"
    return repr(value) if not isinstance(value, (dict, list)) else json.dumps(value)
