"""Canonical form: bytes that are the same for two values if and only if the values are.

These bytes, called a value's *essence*, are compared and never read. They differ from saved bytes:

* a value of any class has an essence, trusted or not,
* it does not matter which of its equal strings are one object,
* sets are described in an order that follows from the rest of the value, even where elements are
  alike by themselves or lead back to the set.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from itertools import pairwise
from typing import Any, Final

from ptb_s3._values.allow_list import AllowList
from ptb_s3._values.pickling import canonical_sets, sets
from ptb_s3._values.pickling.pickler import Pickler
from ptb_s3._values.pickling.reductions import PROTOCOL
from ptb_s3._values.pickling.uninterned import UninternedNames


class _AnyClass(AllowList):
    """Allow-list of everything: nothing of these bytes is ever loaded."""

    def allows(self, cls: type) -> bool:  # noqa: ARG002 - as what it overrides
        """Return True for any class."""
        return True


class AnyPickler(Pickler):
    """Pickler that writes values of any class, to be compared and for nobody to read."""

    allow_list = _AnyClass((), {})
    bot = staticmethod(lambda: None)
    names = UninternedNames({})

    def __init__(self, file: io.BytesIO, protocol: int) -> None:
        super().__init__(file, protocol)
        self.reductions = _REDUCTIONS

    def _reduce_custom(self, _: object) -> Any:  # noqa: ANN401 - as what it overrides
        return NotImplemented


class _Spelling(AnyPickler):
    """Pickler that ignores the identity of strings: each is spelled out wherever it stands."""

    def persistent_id(self, obj: object) -> bytes | None:
        """Return the bytes to write in place of a string, or None: the object is none."""
        return obj.encode(errors="surrogatepass") if type(obj) is str else None


_REDUCTIONS: Final[dict[type, str | None]] = {}


def essence(value: object) -> bytes:
    """Return the bytes by which any value is compared.

    Most values have no sets, and their essence is their pickle without identities of strings.
    Values with sets get a description, which looks into sets within elements if there is room; the
    pickle with its sets in canonical order is the last resort.

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
            return _Description(canonical_sets.room_for(len(data)), deep=deep).of(value)
    return canonical_sets.write(value, data, pickler, pickler.to)


class _TooLargeError(Exception):
    """Raised for elements of sets that lead to more than there is room to look at."""


class _Meeting(_Spelling):
    """Pickler that writes a set as its number in `_Met`, and numbers all other objects."""

    met: _Met
    to: Any = staticmethod(_Spelling.to)  # plain ones, to order elements of subclasses of set

    def persistent_id(self, obj: object) -> Any:  # noqa: ANN401 - text as bytes, a set as a number
        """Return the number or text to write in place of an object, or None: itself."""
        if type(obj) in sets.TYPES:
            return self.met.number(obj)
        if type(obj) not in sets.LEAVES:
            self.met.note(obj)
        return super().persistent_id(obj)


class _Looking(_Spelling):
    """Pickler that writes a number for each object met before, and gives no new numbers."""

    met: _Met
    look_into: Callable[[Any], bytes | int]
    to: Any = staticmethod(_Spelling.to)

    def persistent_id(self, obj: object) -> Any:  # noqa: ANN401 - as in `_Meeting`
        """Return the number or text to write in place of an object, or None: itself."""
        if type(obj) in sets.TYPES:
            number = self.met.sets.get(id(obj))
            return self.look_into(obj) if number is None else number
        rank = self.met.others.get(id(obj))
        return super().persistent_id(obj) if rank is None else -2 - rank


class _Met:
    """Registry of the objects met so far, by id: each keeps the number that it got first.

    Attributes:
        sets: Numbers of sets.
        others: Numbers of other objects.
        waiting: Sets whose elements are not written yet.
    """

    def __init__(self) -> None:
        self.sets: dict[int, int] = {}
        self.others: dict[int, int] = {}
        self.waiting: list[Any] = []
        self._kept: list[object] = []  # alive, or another object might get the same id

    def number(self, one: object) -> int:
        """Return the number of a set, which waits from now on if it was never met."""
        if id(one) not in self.sets:
            self.sets[id(one)] = len(self.sets)
            self.waiting.append(one)
            self._kept.append(one)
        return self.sets[id(one)]

    def note(self, obj: object) -> None:
        """Give an object a number, unless it has one."""
        if id(obj) not in self.others:
            self.others[id(obj)] = len(self.others)
            self._kept.append(obj)


class _Description:
    """Builder for the essence of a value with sets: each set follows all that it may be met in.

    Elements may be alike by themselves, as players are who have no points yet, and may lead back to
    the set, as those do that know their game. So the elements of a set are sorted by how each looks
    in terms of what was met before, and the set that leaves no doubt about the order comes next:

        value            "game", set 0                      sets that are met get a number and wait
        set 0, sorted    Player("Ann", game=object 0), ...  what was met before is its number

    Args:
        room: Bytes that looks may take together.
        deep: Whether to look into sets within elements. Where all lead to all others, there is no
            end to that, and `_TooLargeError` says so.
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
        """Return the essence of a value.

        Raises:
            _TooLargeError: There is not enough room.
        """
        self._meeting.dump(value)
        while self._met.waiting:
            index, elements = self._next()
            one = self._met.waiting.pop(index)
            begin = f"{type(one).__name__} {self._met.sets[id(one)]} {len(one)}"
            self._file.write(begin.encode() + (canonical_sets.spell(one) or b""))
            for element in elements:
                self._meeting.dump(element)
        return self._file.getvalue()

    def _next(self) -> tuple[int, list[Any]]:
        """Return which of the waiting sets comes next, and its elements in order.

        At best a set whose elements all look different; else the smallest, as it tells most about
        the elements that it holds.
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
        """Return how an element looks in terms of the objects met before."""
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
        """Return how a set within an element looks, or -1: it is not looked into."""
        if id(one) in self._looked_into or not self._deep:
            return -1
        self._looked_into.add(id(one))
        looks = canonical_sets.spell(one) or b"".join(sorted(map(self._look, one)))
        self._looked_into.remove(id(one))
        return b"\xff" + type(one).__name__.encode() + looks  # no text has that byte in UTF-8


def _first(pair: tuple[bytes, object]) -> bytes:
    return pair[0]
