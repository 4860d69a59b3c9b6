"""Readable forms: values as JSON for people to read, which still tells their types.

Plain data is written as it is. Everything else is an object with a *tag*, a member that starts with
a dollar sign and names the type:

| value | readable form |
|---|---|
| `{"name": "Ann"}` | `{"name": "Ann"}` |
| `(1, 2)` | `{"$tuple": [1, 2]}` |
| `{3: "x"}`, and a dict with keys that look like tags | `{"$dict": [[3, "x"]]}` |
| `shop.Cart(total=5)` | `{"$class": "shop.Cart", "total": 5}` |
| a part that holds itself, one step up | `{"$cycle": 1}` |
| what lies too deep, or is too much | `{"$cut": "builtins.list"}` |
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

# Steps from the top. A value that is nested more deeply could not be written as JSON either.
_MAX_DEPTH: Final = 100
# Parts of one value. Objects that are shared again and again would fill any memory, written out.
_MAX_PARTS: Final = 10_000_000
# Bits of an integer. Python writes none of more than 4300 decimal digits
# (sys.set_int_max_str_digits).
_MAX_BITS: Final = 14_000
# A number beyond it is not sorted by its size, since a float may not hold it.
_HUGE: Final = 2**1000

Readable = Any
"""None, bool, int, float, str, or a list or dict of these."""

Render = Callable[[object], Readable]
"""Returns the readable form of a part."""

_Parts = tuple[Any, Any, Any, Any, Any]  # a placeholder's args, kwargs, state, items and entries

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
# Members that tell types. An object with one of them is not plain data.
TAGS: Final = frozenset(
    {"$dict", "$float", "$int", "$type", "$enum", "$telegram", "$class", "$cycle", "$cut"}
).union(*(tags.values() for tags in (_TEXTS, _BYTES, _TIMES, _SEQUENCES, _SETS, _MAPPINGS)))


def readable(value: object) -> Readable:
    """Return the readable form of a value, which `json.dumps` writes, and the same each time.

    Args:
        value: A value as `Transcoder.loads` gives it.
    """
    return _Rendering().render(value)


class _Rendering:
    """Builder for the readable form of one value.

    Attributes:
        above: Ids of the objects that the current part lies in, outermost first.
        left: How many parts may still be written.
    """

    def __init__(self) -> None:
        self.above: list[int] = []
        self.left = _MAX_PARTS

    def render(self, value: object) -> Readable:
        """Return the readable form of one part."""
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
    """Return a number as JSON has it, or infinity, NaN and huge integers as text."""
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
    """Return a time in ISO 8601, with the name of its zone, of which that has but the offset."""
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
    """Return a key that sorts numbers first, by size, and all else by its JSON."""
    number = type(item) in {int, float} and abs(item) < _HUGE
    return (float(item) if number else math.inf, json.dumps(item))


def _mapping(value: dict[object, object], render: Render) -> Readable:
    form: dict[str, Readable] = {_MAPPINGS[type(value)]: _dict(value, render)}
    factory = getattr(value, "default_factory", None)
    return form | ({"factory": full_name(factory)} if factory else {})


def _object(value: object, render: Render) -> Readable:
    """Return the form of an object that has no form by its very type."""
    if isinstance(value, type):
        return {"$type": full_name(value)}
    if isinstance(value, Placeholder):
        return _placeholder(value, render)
    if isinstance(value, Enum):
        return {"$enum": f"{full_name(type(value))}.{value.name}", "value": render(value.value)}
    if isinstance(value, Bot):
        return {"$telegram": "Bot"}
    if isinstance(value, TelegramObject):
        fields = {name: render(field) for name, field in value.to_dict().items()}
        return {"$telegram": type(value).__name__, **_named(fields)}
    return _reduced(value, render)


def _entries(entries: Iterable[tuple[object, object]], render: Render) -> Readable:
    """Return a dictionary as JSON, or as pairs where its keys are not plain names."""
    pairs = list(entries)
    if all(type(key) is str and not key.startswith("$") for key, _ in pairs):
        return {key: render(value) for key, value in pairs}
    return {"$dict": [[render(key), render(value)] for key, value in pairs]}


def _placeholder(obj: Placeholder, render: Render) -> Readable:
    """Return the form of an object whose class was not loaded, by what a pickle did to it."""
    name = full_name(type(obj))
    if obj.how == "member":
        return {"$enum": f"{name}.{'|'.join(obj.args)}"}
    return _instance(name, (obj.args, obj.kwargs, obj.state, obj.items, obj.entries), render)


def _reduced(value: object, render: Render) -> Readable:
    """Return the form of an object on the fixed list, by the parts that pickle makes it of."""
    make, args, *rest = _reduce(value)
    state, items, entries = (*rest, None, None, None)[:3]
    made = args[1:] if make.__name__ == "__newobj__" else args
    parts: _Parts = (made, {}, state, list(items or ()), list(entries or ()))
    return _instance(full_name(type(value)), parts, render)


def _reduce(value: object) -> tuple[Any, ...]:
    reduction = value.__reduce_ex__(4)
    return reduction if isinstance(reduction, tuple) else (type(value), ())


def _instance(name: str, parts: _Parts, render: Render) -> Readable:
    """Return the form of an object by the name of its class and the parts that pickle has."""
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
    """Return the attributes that a pickle's state sets, or None if it is of another sort."""
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
    """Return the fields whose names cannot be taken for tags."""
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
