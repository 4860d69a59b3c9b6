"""Values as JSON that keeps their types readable, and what differs between two of them.

Plain data is written as it is. Everything else is an object with a member that starts with a
dollar sign and names the type, such as `{"$tuple": [1, 2]}`; a dict of the user's that could be
taken for one is written as `{"$dict": [[key, value], ...]}`.
"""

from __future__ import annotations

import base64
import collections
import datetime as dt
import decimal
import fractions
import ipaddress
import json
import math
import pathlib
import uuid
import zoneinfo
from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from typing import Any, Final, cast

from telegram import Bot, TelegramObject

from ptb_s3._values.allow_list import full_name
from ptb_s3._values.placeholders import Placeholder

# Steps from the top: what is nested more deeply could not be written as JSON either.
_MAX_DEPTH: Final = 100
# Parts of one value: what is shared again and again would fill any memory once it is written out.
_MAX_PARTS: Final = 10_000_000
# Bits of an integer; Python does not write one of more than 4300 decimal digits.
_MAX_BITS: Final = 14_000
# Beyond it, a number is not sorted by its size: it may not be a float's.
_HUGE: Final = 2**1000

Readable = Any  # None, bool, int, float, str, or a list or dict of these
Render = Callable[[object], Readable]
_Parts = tuple[Any, Any, Any, Any, Any]  # a stand-in's args, kwargs, state, items and entries

_TEXTS: Final[Mapping[type, str]] = {
    decimal.Decimal: "$decimal",
    fractions.Fraction: "$fraction",
    uuid.UUID: "$uuid",
    dt.timedelta: "$timedelta",
    zoneinfo.ZoneInfo: "$zone",
    pathlib.PosixPath: "$path",
    pathlib.WindowsPath: "$path",
    pathlib.PurePosixPath: "$purepath",
    pathlib.PureWindowsPath: "$windowspath",
    ipaddress.IPv4Address: "$ip",
    ipaddress.IPv6Address: "$ip",
    ipaddress.IPv4Interface: "$ip",
    ipaddress.IPv6Interface: "$ip",
    ipaddress.IPv4Network: "$network",
    ipaddress.IPv6Network: "$network",
}
_BYTES: Final[Mapping[type, str]] = {bytes: "$bytes", bytearray: "$bytearray"}
_TIMES: Final[Mapping[type, str]] = {
    dt.datetime: "$datetime",
    dt.date: "$date",
    dt.time: "$time",
}
_SEQUENCES: Final[Mapping[type, str]] = {tuple: "$tuple", collections.deque: "$deque"}
_SETS: Final[Mapping[type, str]] = {set: "$set", frozenset: "$frozenset"}
_MAPPINGS: Final[Mapping[type, str]] = {
    collections.OrderedDict: "$ordereddict",
    collections.Counter: "$counter",
    collections.defaultdict: "$defaultdict",
}
# The members that tell types. An object with one of them is not plain data.
TAGS: Final = frozenset(
    {"$dict", "$float", "$int", "$type", "$enum", "$telegram", "$class", "$cycle", "$cut"}
).union(*(tags.values() for tags in (_TEXTS, _BYTES, _TIMES, _SEQUENCES, _SETS, _MAPPINGS)))


def readable(value: object) -> Readable:
    """Return a value as something that `json.dumps` writes; the same each time.

    What a value holds of itself is `{"$cycle": steps up}`, and what lies too deep or is too much
    `{"$cut": type}`.

    Args:
        value: What `Transcoder.loads` gave.
    """
    return _Rendering().render(value)


class _Rendering:
    """One value on its way.

    Attributes:
        above: What the part that is being written is a part of, by id, outermost first.
        left: How many parts may still be written.
    """

    def __init__(self) -> None:
        self.above: list[int] = []
        self.left = _MAX_PARTS

    def render(self, value: object) -> Readable:
        """Return one part as something readable."""
        self.left -= 1
        if value is None or type(value) in {bool, str}:
            return value
        if type(value) is int or type(value) is float:
            return _number(value)
        if id(value) in self.above:
            return {"$cycle": len(self.above) - self.above.index(id(value))}
        if len(self.above) == _MAX_DEPTH or self.left < 0:
            return {"$cut": full_name(type(value))}
        self.above.append(id(value))
        try:
            return _FORMS.get(type(value), _object)(value, self.render)
        except Exception as error:  # noqa: BLE001 - an object in a state that it is not made for
            return {"$class": full_name(type(value)), "$error": type(error).__name__}
        finally:
            self.above.pop()


def _number(value: float) -> Readable:
    if isinstance(value, int):
        return value if value.bit_length() < _MAX_BITS else {"$int": hex(value)}
    return value if math.isfinite(value) else {"$float": str(value)}


def _list(value: Iterable[object], render: Render) -> Readable:
    return [render(item) for item in value]


def _dict(value: Mapping[object, object], render: Render) -> Readable:
    return _entries(value.items(), render)


def _text(value: object, _render: Render) -> Readable:
    return {_TEXTS[type(value)]: str(value)}


def _bytes(value: bytes | bytearray, _render: Render) -> Readable:
    return {_BYTES[type(value)]: base64.b64encode(value).decode()}


def _time(value: dt.datetime | dt.date | dt.time, render: Render) -> Readable:
    form: dict[str, Readable] = {_TIMES[type(value)]: value.isoformat()}
    zone = getattr(value, "tzinfo", None)
    if zone is not None and type(zone) is not dt.timezone:
        form["zone"] = render(zone)
    return form | ({"fold": 1} if getattr(value, "fold", 0) else {})


def _sequence(value: tuple[object, ...] | collections.deque[object], render: Render) -> Readable:
    form: dict[str, Readable] = {_SEQUENCES[type(value)]: _list(value, render)}
    length = getattr(value, "maxlen", None)
    return form | ({} if length is None else {"maxlen": length})


def _set(value: set[object] | frozenset[object], render: Render) -> Readable:
    return {_SETS[type(value)]: sorted(_list(value, render), key=_order)}


def _order(item: Readable) -> tuple[float, str]:
    """Sort numbers first, by size, and all else by what it looks like."""
    number = type(item) in {int, float} and abs(item) < _HUGE
    return (float(item) if number else math.inf, json.dumps(item))


def _mapping(value: dict[object, object], render: Render) -> Readable:
    form: dict[str, Readable] = {_MAPPINGS[type(value)]: _dict(value, render)}
    factory = getattr(value, "default_factory", None)
    return form | ({"factory": full_name(factory)} if factory else {})


def _object(value: object, render: Render) -> Readable:
    if isinstance(value, type):
        return {"$type": full_name(value)}
    if isinstance(value, Placeholder):
        return _stand_in(value, render)
    if isinstance(value, Enum):
        return {"$enum": f"{full_name(type(value))}.{value.name}", "value": render(value.value)}
    if isinstance(value, Bot):
        return {"$telegram": "Bot"}
    if isinstance(value, TelegramObject):
        fields = {name: render(field) for name, field in value.to_dict().items()}
        return {"$telegram": type(value).__name__, **_named(fields)}
    return _reduced(value, render)


def _entries(entries: Iterable[tuple[object, object]], render: Render) -> Readable:
    pairs = list(entries)
    if all(type(key) is str and not key.startswith("$") for key, _ in pairs):
        return {key: render(value) for key, value in pairs}
    return {"$dict": [[render(key), render(value)] for key, value in pairs]}


def _stand_in(obj: Placeholder, render: Render) -> Readable:
    name = full_name(type(obj))
    if obj.how == "member":
        return {"$enum": f"{name}.{'|'.join(obj.args)}"}
    return _instance(name, (obj.args, obj.kwargs, obj.state, obj.items, obj.entries), render)


def _reduced(value: object, render: Render) -> Readable:
    """Write an object of a class on the fixed list as what pickle would make it of again."""
    make, args, *rest = _reduce(value)
    state, items, entries = (*rest, None, None, None)[:3]
    made = args[1:] if make.__name__ == "__newobj__" else args
    parts: _Parts = (made, {}, state, list(items or ()), list(entries or ()))
    return _instance(full_name(type(value)), parts, render)


def _reduce(value: object) -> tuple[Any, ...]:
    reduction = value.__reduce_ex__(4)
    return reduction if isinstance(reduction, tuple) else (type(value), ())


def _instance(name: str, parts: _Parts, render: Render) -> Readable:
    args, kwargs, state, items, entries = parts
    form: dict[str, Readable] = {"$class": name}
    if args:
        form["$args"] = [render(arg) for arg in args]
    if kwargs:
        form["$kwargs"] = _entries(kwargs.items(), render)
    if items:
        form["$items"] = [render(item) for item in items]
    if entries:
        form["$entries"] = _entries(entries, render)
    fields = _attributes(state)
    if fields is None:
        return form | {"$state": render(state)}
    return form | {name: render(field) for name, field in fields.items()}


def _attributes(state: object) -> dict[str, object] | None:
    """Return the attributes that a state sets, or None if it is of another sort."""
    # With slots it is a pair: the other attributes, if there are any, and the slots.
    pair = isinstance(state, tuple) and len(state) == len(("attributes", "slots"))
    parts: Iterable[object] = cast("Any", state) if pair else (state,)
    fields: dict[Any, object] = {}
    for part in parts:
        if not isinstance(part, dict | None):
            return None
        fields |= part or {}
    return fields if len(_named(fields)) == len(fields) else None


def _named(fields: dict[Any, Any]) -> dict[str, Any]:
    return {k: v for k, v in fields.items() if type(k) is str and not k.startswith("$")}


_FORMS: Final[Mapping[type, Callable[..., Readable]]] = {
    list: _list,
    dict: _dict,
    **dict.fromkeys(_TEXTS, _text),
    **dict.fromkeys(_BYTES, _bytes),
    **dict.fromkeys(_TIMES, _time),
    **dict.fromkeys(_SEQUENCES, _sequence),
    **dict.fromkeys(_SETS, _set),
    **dict.fromkeys(_MAPPINGS, _mapping),
}
