"""What differs between two readable values, field by field."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from ptb_s3._values.readable import Readable


class _Absent:
    def __repr__(self) -> str:
        return "absent"


# One side of a change, where the field is not there.
ABSENT: Final = _Absent()

# What these hold is at a number, by a key, or just there. `_values.readable` has their names.
_BY_NUMBER: Final = {"$tuple", "$deque", "$items"}
_BY_KEY: Final = {"$dict", "$ordereddict", "$counter", "$defaultdict", "$entries"}
_UNORDERED: Final = {"$set", "$frozenset"}
_OBJECTS: Final = {"$class", "$telegram"}


class Change(NamedTuple):
    """One field that differs.

    Attributes:
        path: Where it is, as Python would write it, such as ``"['cart'][2].price"``; empty for the
            value itself. What is in a set stands in braces.
        before: What it was, readable; `ABSENT` if it has been added.
        after: What it is; `ABSENT` if it has been removed.
    """

    path: str
    before: Readable
    after: Readable


def changed_fields(before: Readable, after: Readable) -> list[Change]:
    """Return what differs between two values, by path: in order of numbers, else of names.

    Args:
        before: What `readable` gave for the older value.
        after: What it gave for the newer one.
    """
    return list(_changes("", before, after))


def _changes(path: str, before: Readable, after: Readable) -> Iterator[Change]:
    # Not compared as they are: 1, 1.0 and true are equal in Python, and are not the same here.
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
    number = step[1:-1]
    return (int(number) if number.isdecimal() else -1, step)


def _parts(form: Readable) -> tuple[str | None, dict[str, Readable]]:
    """Return what sort of thing it is and its parts by their paths; None for what has none."""
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
    """Tell apart keys that look alike, as objects may that are equal to nothing but themselves."""
    seen: Counter[str] = Counter()
    numbered: dict[str, Readable] = {}
    for step, part in parts:
        seen[step] += 1
        numbered[step if seen[step] == 1 else f"{step}#{seen[step]}"] = part
    return numbered


def _key(key: Readable) -> str:
    return f"[{_python(key)}]"


def _python(value: Readable) -> str:
    """Write something readable as short as Python does, where that leaves no doubt."""
    if isinstance(value, dict) and value.keys() == {"$tuple"}:
        items = [_python(item) for item in value["$tuple"]]
        return f"({', '.join(items)}{',' if len(items) == 1 else ''})"
    return repr(value) if not isinstance(value, (dict, list)) else json.dumps(value)
