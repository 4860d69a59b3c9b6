"""Values as bots have them, taken apart into the fields that merge by themselves.

A field is named by its kind, its entity's key and a path into the value. Dictionaries are taken
apart by key, in depth; lists and sets by element; attributes of context types by name. All else is
one field, whose value is told by all that it holds, rather than by ``==``.
"""

from __future__ import annotations

import dataclasses
import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple, TypeAlias

import telegram

from ptb_s3._values.serializer import PickleSerializer

Path: TypeAlias = tuple[Any, ...]
# (kind, entity's key, path); the path is empty where an entity is one value.
Field: TypeAlias = tuple[str, Any, Path]
# The value of each field that is there.
Fields: TypeAlias = dict[Field, object]

ABSENT = None
TEXTS = ("a", "b", "c")


@dataclasses.dataclass
class Note:
    """A note, which is the same note whatever is written on it."""

    number: int
    text: str = dataclasses.field(compare=False)


@dataclasses.dataclass(frozen=True)
class Plan:
    """A class that only the newer version of the bot knows."""

    name: str


Plan.__module__ = "tests.simulation.newer"


class Shop(dict[Any, Any]):
    """A user's data: a dictionary with an attribute."""

    d: Any


class Desk:
    """The bot's data: attributes."""


class Slots:
    """A chat's data: attributes in slots, one with a mangled name."""

    __slots__ = ("__c", "a", "b")

    @property
    def c(self) -> Any:
        return self.__c

    @c.setter
    def c(self, value: Any) -> None:
        self.__c = value

    @c.deleter
    def c(self) -> None:
        del self.__c


_ATTRIBUTES: dict[type, tuple[str, ...]] = {
    Shop: ("d",),
    Desk: (*TEXTS, "cart", "log", "tags", "who", "note", "flag"),
    Slots: TEXTS,
}


# Taking apart ---------------------------------------------------------------------------------


def fields_of(kind: str, entities: Mapping[Any, object]) -> Iterator[tuple[Field, object]]:
    """Take values apart into fields."""
    for key, value in entities.items():
        for path, part in parts_of(value):
            yield (kind, key, path), part


def parts_of(
    value: object, path: Path = (), *, whole: bool = True
) -> Iterator[tuple[Path, object]]:
    """Take one value apart."""
    for name in _ATTRIBUTES.get(type(value), ()):
        part = getattr(value, name, ABSENT)
        if part is not ABSENT:
            yield from parts_of(part, (*path, f".{name}"), whole=False)
    if isinstance(value, dict):
        for name, part in value.items():
            yield from parts_of(part, (*path, name), whole=False)
    elif isinstance(value, list) and not whole:
        for element, count in Counter(map(content, value)).items():
            yield (*path, "+", element), count
    elif isinstance(value, set):
        yield from (((*path, "in", element), True) for element in value)
    elif type(value) not in _ATTRIBUTES:
        yield path, content(value)


def content(value: object) -> object:
    """Return all that a value holds, so that `==` tells whether two are the same."""
    if isinstance(value, str | int | bytes) and type(value) is not bool:
        return value
    if isinstance(value, telegram.TelegramObject):
        return type(value).__name__, value.to_json()
    if dataclasses.is_dataclass(value):
        held = (getattr(value, field.name) for field in dataclasses.fields(value))
        return type(value).__name__, *map(content, held)
    if isinstance(value, list | tuple):
        return type(value).__name__, *map(content, value)
    if isinstance(value, dict):
        return "dict", *((name, content(part)) for name, part in value.items())
    return type(value).__name__, value


# Changing -------------------------------------------------------------------------------------


class Change(NamedTuple):
    """What a handler did to one field.

    Attributes:
        path: Which.
        value: What it is now.
        unique: Whether it was never that before.
        was: Whether it was there before.
    """

    path: Path
    value: object
    unique: bool = True
    was: bool = True


Token: TypeAlias = Callable[[], str]
# What a handler holds on to across an await.
CONTAINERS = ("cart", "log", "tags")


def names_of(features: Iterable[str], data: object, kind: str) -> list[str]:
    """Return the names of the fields that a handler may change."""
    if type(data) is Slots:
        return [*TEXTS]
    chosen = {
        "nested": ["cart", "log"],
        "sets": ["tags"],
        "objects": ["who", "note", "flag"],
        "huge": ["log", "log"],
    }
    names = [*TEXTS, *(name for f, names in chosen.items() if f in features for name in names)]
    return [*names, "d"] if type(data) is Shop and kind == "user_data" else names


class Editor:
    """Changes live objects as handlers do.

    Args:
        rng: Decides what becomes of them.
        token: Returns a text that was never used before.
    """

    def __init__(self, rng: random.Random, token: Token) -> None:
        self._rng = rng
        self._token = token

    def change(self, data: Any, name: str, held: Any = None) -> list[Change]:
        """Change one field of a live object; return what was done.

        Args:
            data: The object.
            name: Name of the field, which says what it holds.
            held: What was found there before an await, to be changed in its place.
        """
        path = (f".{name}",) if type(data) in _ATTRIBUTES and _is_own(data, name) else (name,)
        if name in CONTAINERS:
            inner = held if held is not None else _get(data, name)
            if inner is None:
                inner = {"cart": {}, "log": [], "tags": set()}[name]
                _set(data, name, inner)
            return self._change_within(inner, path)
        if name in TEXTS and self._rng.random() < 0.15:
            was = _get(data, name) is not None
            _pop(data, name)
            return [Change(path, ABSENT, unique=False, was=was)] if was else []
        return self._put(data, name, path)

    def _put(self, data: Any, name: str, path: Path) -> list[Change]:
        value: Any = self._token()
        if name == "who":
            value = telegram.User(7, value, is_bot=False)
        elif name == "note":
            note = _get(data, name)
            if note is not None and self._rng.random() < 0.7:
                note.text = value
                return [Change(path, content(note))]
            value = Note(7, value)
        elif name == "flag":
            value = self._rng.choice([True, 1, 1.0, [True], [1], (1.0, 1)])
            before = _get(data, name)
            if isinstance(value, list):  # a list is taken apart into its elements
                value = tuple(value)
            if before is not None and content(before) == content(value):
                return []
            _set(data, name, value)
            return [Change(path, content(value), unique=False)]
        _set(data, name, value)
        return [Change(path, content(value))]

    def _change_within(self, inner: Any, path: Path) -> list[Change]:
        if isinstance(inner, list):
            token = self._token()
            inner.append(token)
            return [Change((*path, "+", token), 1)]
        if isinstance(inner, set):
            element = 8 * self._rng.randrange(6)  # these fall on one place of a small table
            path = (*path, "in", element)
            if element in inner:
                inner.remove(element)
                return [Change(path, ABSENT, unique=False)]
            inner.add(element)
            return [Change(path, value=True, unique=False)]
        item = self._rng.choice(["x", "y", "deep"])
        if item == "deep":
            inner, path = inner.setdefault(item, {}), (*path, item)
            item = self._rng.choice(["z", "w"])
        if self._rng.random() < 0.2:
            was = inner.pop(item, ABSENT) is not ABSENT
            return [Change((*path, item), ABSENT, unique=False)] if was else []
        inner[item] = self._token()
        return [Change((*path, item), inner[item])]


def held_by(data: Any, name: str) -> Any:
    """Return what a handler holds on to, if there is something."""
    return _get(data, name) if name in CONTAINERS else None


def _is_own(data: Any, name: str) -> bool:
    return name in _ATTRIBUTES[type(data)]


def _get(data: Any, name: str) -> Any:
    if type(data) in _ATTRIBUTES and _is_own(data, name):
        return getattr(data, name, ABSENT)
    return data.get(name)


def _set(data: Any, name: str, value: object) -> None:
    if type(data) in _ATTRIBUTES and _is_own(data, name):
        setattr(data, name, value)
    else:
        data[name] = value


def _pop(data: Any, name: str) -> None:
    if type(data) in _ATTRIBUTES and _is_own(data, name):
        if getattr(data, name, ABSENT) is not ABSENT:
            delattr(data, name)
    else:
        data.pop(name, None)


def put_plan(data: Any, token: Token) -> Change:
    """Put something into a user's data that only newer instances can read."""
    data["plan"] = Plan(token())
    return Change(("plan",), content(data["plan"]))


# Modules that instances trust: older ones do not know the second.
TRUSTED = ("tests.simulation.values", "tests.simulation.newer")


def serializer(trusted: tuple[str, ...] = TRUSTED) -> PickleSerializer:
    """Return what turns values into bytes and back."""
    return PickleSerializer(trusted=trusted)
