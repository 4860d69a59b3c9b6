"""Sameness of values, which is that of their bytes.

As `==` is not: it takes 1 for True, and two users for one if they have the same id, whatever their
names; and it leaves out what a dataclass does not compare by.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import io
import types
from collections.abc import Callable, Iterable
from datetime import date, timedelta
from itertools import pairwise
from typing import Any, Final, TypeAlias, cast

from ptb_s3._values.allow_list import AllowList, full_name
from ptb_s3._values.copies import Uncopied
from ptb_s3._values.pickling import sets
from ptb_s3._values.pickling.pickler import PROTOCOL, Pickler
from ptb_s3._values.pickling.uninterned import Apart
from ptb_s3._values.serializer import PickleSerializer, Serializer, dump

# Bytes that are the same for two values if these are, and only then. May raise anything.
Essence: TypeAlias = Callable[[object], bytes]

# Two of these are the same if they are equal, which does not hold for floats.
SCALARS: Final = frozenset({int, str, bytes, bool, date, timedelta})

# Known by their names: the latter are never saved.
_NAMED: Final = (type, types.FunctionType, types.BuiltinFunctionType, types.MethodType)
# Bytes: enough that two values do not meet by chance.
_OUTLINE: Final = 16


class _Anything(AllowList):
    def allows(self, cls: type) -> bool:  # noqa: ARG002 - as what it overrides
        """Return True: what is never loaded may be of any class."""
        return True


class _Pickler(Pickler):
    """Writes any value to be compared, and for nobody to read."""

    allow_list = _Anything((), {})
    bot = staticmethod(lambda: None)
    apart = Apart({})

    def __init__(self, file: io.BytesIO, protocol: int) -> None:
        super().__init__(file, protocol)
        self.reductions = _REDUCTIONS

    def _reduce_custom(self, _: object) -> Any:  # noqa: ANN401 - as what it overrides
        return NotImplemented


class _Spelling(_Pickler):
    """Knows no identity of strings: two that are equal are the same, wherever they stand."""

    def persistent_id(self, obj: object) -> bytes | None:
        """Spell out a string each time."""
        return obj.encode(errors="surrogatepass") if type(obj) is str else None


_REDUCTIONS: Final[dict[type, str | None]] = {}


def essence(value: object) -> bytes:
    """Return the bytes by which any value is compared.

    Raises:
        Exception: There are none, for whatever reason an object's own code has.
    """
    file = io.BytesIO()
    pickler = _Spelling(file, PROTOCOL)
    pickler.dump(value)
    data = file.getvalue()
    if not sets.may_hold_sets(data):
        return data
    for deep in (True, False):
        with contextlib.suppress(_TooLargeError):
            return _Description(sets.room_for(len(data)), deep=deep).of(value)
    return sets.write(value, data, pickler, pickler.to)


class _TooLargeError(Exception):
    """Elements of sets lead to too much to be told apart by it."""


class _Meeting(_Spelling):
    """Writes sets by numbers, in the order in which they are met, and notes what else it meets."""

    met: _Met
    to: Any = staticmethod(_Spelling.to)  # these put elements of subclasses in order

    def persistent_id(self, obj: object) -> Any:  # noqa: ANN401 - text as bytes, a set as a number
        """Return what to write in place of an object; None: itself."""
        if type(obj) in sets.TYPES:
            return self.met.number(obj)
        if type(obj) not in sets.LEAVES:
            self.met.note(obj)
        return super().persistent_id(obj)


class _Looking(_Spelling):
    """Writes what was met before by its number, and notes nothing."""

    met: _Met
    look_into: Callable[[Any], bytes | int]
    to: Any = staticmethod(_Spelling.to)

    def persistent_id(self, obj: object) -> Any:  # noqa: ANN401 - as in `_Meeting`
        """Return what to write in place of an object; None: itself."""
        if type(obj) in sets.TYPES:
            number = self.met.sets.get(id(obj))
            return self.look_into(obj) if number is None else number
        rank = self.met.others.get(id(obj))
        return super().persistent_id(obj) if rank is None else -2 - rank


class _Met:
    """What was met so far, by id.

    Attributes:
        sets: Numbers of sets.
        others: Numbers of other objects.
        waiting: Sets whose elements are not written yet.
    """

    def __init__(self) -> None:
        self.sets: dict[int, int] = {}
        self.others: dict[int, int] = {}
        self.waiting: list[Any] = []
        self._kept: list[object] = []  # or another object might get an id

    def number(self, one: object) -> int:
        """Return a set's number; one that was never met waits from now on."""
        if id(one) not in self.sets:
            self.sets[id(one)] = len(self.sets)
            self.waiting.append(one)
            self._kept.append(one)
        return self.sets[id(one)]

    def note(self, obj: object) -> None:
        """Give an object a number."""
        if id(obj) not in self.others:
            self.others[id(obj)] = len(self.others)
            self._kept.append(obj)


class _Description:
    """Bytes of a value with sets, each of which follows all that it may be met in.

    Elements may be alike by themselves, as players are who have no points yet, and may lead back to
    the set, as those do that know their game. So each is looked at in terms of what was met before.

    Args:
        room: Bytes that looking may take.
        deep: Whether to look into sets in elements. Where all lead to all others, there is no end.
    """

    def __init__(self, room: int, *, deep: bool) -> None:
        self._left = room
        self._deep = deep
        self._file = io.BytesIO()
        self._met = _Met()
        self._looked_into: set[int] = set()
        self._meeting = _Meeting(self._file, PROTOCOL)
        self._meeting.met = self._met

    def of(self, value: object) -> bytes:
        """Return these bytes.

        Raises:
            _TooLargeError: There is no room.
        """
        self._meeting.dump(value)
        while self._met.waiting:
            index, elements = self._next()
            one = self._met.waiting.pop(index)
            begin = f"{type(one).__name__} {self._met.sets[id(one)]} {len(one)}"
            self._file.write(begin.encode() + (sets.spell(one) or b""))
            for element in elements:
                self._meeting.dump(element)
        return self._file.getvalue()

    def _next(self) -> tuple[int, list[Any]]:
        """Return which set comes next, and its elements in order.

        Best one that leaves no doubt; else the smallest, as it says most about those it holds.
        """
        least: tuple[int, list[Any]] | None = None
        for index, one in enumerate(self._met.waiting):
            if sets.is_plain(one):
                return index, []  # these are spelled out
            looked = sorted(((self._look(each), each) for each in one), key=_first)
            found = index, [each for _, each in looked]
            if all(a != b for (a, _), (b, _) in pairwise(looked)):
                return found
            least = found if least is None or len(one) < len(least[1]) else least
        assert least is not None  # noqa: S101 - for mypy; the only caller has seen that one waits
        return least

    def _look(self, element: object) -> bytes:
        file = io.BytesIO()
        looking = _Looking(file, PROTOCOL)
        looking.met, looking.look_into = self._met, self._look_into
        looking.dump(element)
        data = file.getvalue()
        self._left -= len(data)
        if self._left < 0:
            raise _TooLargeError
        return data

    def _look_into(self, one: Any) -> bytes | int:  # noqa: ANN401 - a set
        """Return what a set in an element looks like; -1: that does not count."""
        if id(one) in self._looked_into or not self._deep:
            return -1
        self._looked_into.add(id(one))
        looks = sets.spell(one) or b"".join(sorted(map(self._look, one)))
        self._looked_into.remove(id(one))
        return b"\xff" + type(one).__name__.encode() + looks  # no text has that byte in UTF-8


class _Outline(_Pickler):
    """Writes the class alone of what a allow-list keeps out, and of what cannot be written."""

    allowed: AllowList

    def reducer_override(self, obj: object) -> Any:  # noqa: ANN401 - as what it overrides
        """Return how an object is written: one that is refused, by its name."""
        cls: Any = type(obj)
        if obj is str:
            return NotImplemented  # what all these names are made by
        if cls is Uncopied:
            return str, (cast("Uncopied", obj).reason,)
        if issubclass(cls, _NAMED):
            return str, (full_name(cast("type", obj)),)
        with contextlib.suppress(Exception):  # objects' own code may raise anything
            if self.allowed.allows(cls):
                reduction = super().reducer_override(obj)
                return obj.__reduce_ex__(PROTOCOL) if reduction is NotImplemented else reduction
        return str, (f"{full_name(cls)} object",)


def outline(value: object, allow_list: AllowList) -> bytes:
    """Return bytes by which a value that cannot be saved is known again, in other copies as well.

    They cover what could be saved of it, and the classes of what could not. Of what a client does
    within itself they tell nothing.

    Args:
        value: The value.
        allow_list: What of it could be saved.

    Returns:
        16 bytes.
    """
    file = io.BytesIO()
    pickler = _Outline(file, PROTOCOL)
    pickler.allowed = allow_list
    try:
        pickler.dump(value)
        data = file.getvalue()
    except Exception as error:  # noqa: BLE001 - as above; nested too deeply, for one
        data = type(error).__name__.encode()
    return hashlib.blake2b(data, digest_size=_OUTLINE).digest()


def _first(pair: tuple[bytes, object]) -> bytes:
    return pair[0]


def quick(value: object) -> bytes:
    """Return bytes in a third of the time: values for which they are the same are, too.

    They may be other ones for the same value: of a set with another history, for one.
    """
    file = io.BytesIO()
    _Pickler(file, PROTOCOL).dump(value)
    return file.getvalue()


def essence_by(serializer: Serializer) -> Essence:
    """Return what gives the bytes by which values of a serializer are compared."""
    if type(serializer) is PickleSerializer:
        return essence
    return functools.partial(dump, serializer)


def alike(one: object, other: object, essence: Essence = essence) -> bool:
    """Tell whether two values are the same; what cannot be compared may differ."""
    if one is other:
        return True
    if type(one) is not type(other):
        return False
    if type(one) in SCALARS:
        return one == other
    try:
        return quick(one) == quick(other) or essence(one) == essence(other)
    except Exception:  # noqa: BLE001 - objects' own code may raise anything
        return False


def marks(values: Iterable[object], mark: Callable[[object], object]) -> list[object]:
    """Return what each of several values is known by; those that are alike are told apart."""
    found: list[object] = []
    met: dict[object, int] = {}
    for one in map(mark, values):
        met[one] = met.get(one, -1) + 1
        found.append((one, met[one]) if met[one] else one)
    return found


def mark(value: object, essence: Essence = essence) -> object:
    """Return what a value is known by, among others in a dictionary of these."""
    return (type(value), value) if type(value) in SCALARS else essence(value)
