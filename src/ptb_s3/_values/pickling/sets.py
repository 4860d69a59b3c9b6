"""Write the sets of a value in an order of their own.

A set iterates as its hashes and its history have it, so a copy, a load and another process would
each give other bytes for the same set. Here elements that are all whole numbers, or all strings,
stand in their natural order, and others in the order of the bytes that each has by itself.

The pickler that is written in C asks nobody about a set. So the sets come first, each of them
finished before another refers to it, and the value after them takes them out of the memo:

    PROTO 5
    EMPTY_SET MEMOIZE MARK <elements> ADDITEMS POP      of plain elements, which nothing is noted of
    EMPTY_SET MARK <elements> ADDITEMS MEMOIZE POP      of any others
    <the value> STOP

A set that leads back to itself has no such place, nor has one that an object makes anew each time.
A value with one of these is written as it comes.
"""

from __future__ import annotations

import io
import itertools
import pickle
from collections.abc import Callable, Iterator
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final, NamedTuple, TypeAlias
from uuid import UUID

Sets: TypeAlias = set[Any] | frozenset[Any]
# Makes a pickler of protocol 5 that writes to a file. Types of neither kind, in C and in Python,
# tell enough.
MakePickler: TypeAlias = Callable[[io.BytesIO], Any]

TYPES: Final = (set, frozenset)
# How a set begins, and a frozen one ends, in a pickle that notes what it holds. What has neither
# has no sets; other bytes may look like that, as a text does that ends with a Cyrillic letter.
_SET: Final = pickle.EMPTY_SET + pickle.MEMOIZE
_FROZENSET: Final = pickle.FROZENSET + pickle.MEMOIZE
# Elements that are the same wherever they stand: they are spelled out, and nothing refers to them.
_PLAIN: Final = frozenset({int, str, bytes, float, bool, type(None)})
# What holds no set, besides these.
LEAVES: Final = _PLAIN | {
    *(bytearray, complex, date, datetime, time, timedelta, Decimal, Fraction, UUID),
}
# These are put in their natural order, which is found without a pickle of each.
_NATURAL: Final = ({int}, {str})
# The last protocol without frames, which would cut through what is taken out of a pickle.
_UNFRAMED: Final = 3
# Elements that a pickler adds to a set at once; from pickle.py.
_BATCH: Final = 1_000
# Elements up to which a tuple has an operation code that takes no mark.
_NO_MARK: Final = 3
# Bytes that the elements may take by themselves: so many times what the whole value takes, and
# some. Each of a thousand may lead to the same large thing.
_TIMES: Final = 8
_ROOM: Final = 1024 * 1024
_OPENING: Final = pickle.PROTO + b"\x05"


class _NoOrderError(Exception):
    """A set leads back to itself, or to too much."""


class _Ordered(NamedTuple):
    """A set's elements, in order.

    Attributes:
        of: The set, so that its id stays its own.
        elements: These.
        inner: Whether there are sets in them.
    """

    of: Sets
    elements: tuple[Any, ...]
    inner: bool


def room_for(size: int) -> int:
    """Return how many bytes elements may take by themselves, in a value of that many bytes."""
    return _TIMES * size + _ROOM


def may_hold_sets(pickled: bytes) -> bool:
    """Tell of a pickle that notes what it holds whether to look for sets."""
    # One byte is found in a tenth of the time that two take.
    return (pickle.EMPTY_SET in pickled and _SET in pickled) or (
        pickle.FROZENSET in pickled and _FROZENSET in pickled
    )


def may_make_sets(pickled: bytes) -> bool:
    """Tell of any pickle, with its sets in order or not, whether it may make some."""
    return pickle.EMPTY_SET in pickled or pickle.FROZENSET in pickled


def holds_sets(value: object, make: MakePickler) -> bool:
    """Tell whether there are sets in a value whose pickle says that there may be."""
    sets = _sets_in_containers(value)
    if sets is None:
        pickler = make(io.BytesIO())
        pickler.dump(value)
        sets = sets_in(pickler)
    return bool(sets)


def sets_in(pickler: Any) -> list[Sets]:  # noqa: ANN401 - see `MakePickler`
    """Return the sets that a pickler has met, in the order in which it noted them."""
    noted = [entry for entry in pickler.memo.copy().values() if type(entry[1]) in TYPES]
    return [one for _, one in sorted(noted, key=lambda entry: entry[0])]


def write(value: object, plain: bytes, pickler: Any, make: MakePickler) -> bytes:  # noqa: ANN401 - see `MakePickler`
    """Return the pickle of a value with its sets in order.

    Args:
        value: The value.
        plain: Its pickle, with the sets as they come; `may_hold_sets` says that it may.
        pickler: What wrote that.
        make: Makes more of them.
    """
    sets = _sets_in_containers(value)
    if sets is None:
        sets = sets_in(pickler)
    if not sets:
        return plain
    try:
        return _Writer(make, len(plain)).write(value, sets)
    except _NoOrderError:
        return plain


def _sets_in_containers(value: object) -> list[Sets] | None:
    """Return the sets in a value, in the order in which they are met; None: it may hold others.

    What a pickler has noted takes a multiple of the time to look through.
    """
    sets: list[Sets] = []
    seen: set[int] = set()
    left = [value]
    while left:
        part = left.pop()
        kind = type(part)
        if kind in LEAVES or id(part) in seen:
            continue
        seen.add(id(part))
        if isinstance(part, dict) and kind is dict:
            left += [one for pair in reversed(part.items()) for one in reversed(pair)]
        elif isinstance(part, (list, tuple)) and kind in {list, tuple}:
            left += reversed(part)
        elif isinstance(part, TYPES) and kind in TYPES and _are_leaves(part):
            sets.append(part)
        else:
            return None
    return sets


def _are_leaves(elements: Sets) -> bool:
    """Tell whether elements are leaves, or tuples of leaves, so that no set is in them."""
    others = set(map(type, elements)) - LEAVES
    if others != {tuple}:
        return not others
    parts = (one for one in elements if type(one) is tuple)
    return LEAVES.issuperset(map(type, itertools.chain.from_iterable(parts)))


def in_order(elements: Sets, make: MakePickler) -> list[Any]:
    """Return the elements of a set in order, for one that is written as something else."""
    plain = _plain_order(elements)
    if plain is not None:
        return plain
    writer = _Writer(make, 0)
    try:
        return sorted(elements, key=writer.key)
    except _NoOrderError:
        return list(elements)


class _Writer:
    """Writes one value.

    Args:
        make: Makes picklers.
        size: Bytes that the value has.
    """

    def __init__(self, make: MakePickler, size: int) -> None:
        self._make = make
        self._left = room_for(size)
        self._ordered: dict[int, _Ordered] = {}
        self._under_way: set[int] = set()

    def write(self, value: object, sets: list[Sets]) -> bytes:
        """Return the pickle of a value, or of a part of it, that holds these sets."""
        spelled = {id(one): spell(one) for one in sets}
        others = [one for one in sets if spelled[id(one)] is None]
        if any(self._order(one).inner for one in others):
            sets = self._placed(value, {})
            others = [one for one in sets if spelled[id(one)] is None]
        plain = [one for one in sets if spelled[id(one)] is not None]
        body = _Body(self._make, {id(one): (n, one) for n, one in enumerate(plain)})
        pieces = [spelled[id(one)] or b"" for one in plain]
        pieces += [body.set(self._order(one)) for one in others]
        return b"".join([_OPENING, *pieces, body.value(value)])

    def key(self, element: object) -> bytes:
        """Return the bytes of an element by itself."""
        return self._alone(element)[0]

    def _alone(self, part: object) -> tuple[bytes, bool]:
        file = io.BytesIO()
        pickler = self._make(file)
        pickler.dump(part)
        data = file.getvalue()
        self._left -= len(data)
        if self._left < 0:
            raise _NoOrderError
        sets = sets_in(pickler) if may_hold_sets(data) else []
        return (self.write(part, sets), True) if sets else (data, False)

    def _order(self, one: Sets) -> _Ordered:
        known = self._ordered.get(id(one))
        if known is None:
            if id(one) in self._under_way:
                raise _NoOrderError
            self._under_way.add(id(one))
            alone = [(self._alone(element), element) for element in one]
            alone.sort(key=lambda item: item[0][0])
            inner = any(inner for (_, inner), _ in alone)
            known = _Ordered(one, tuple(element for _, element in alone), inner)
            self._ordered[id(one)] = known
            self._under_way.remove(id(one))
        return known

    def _placed(self, part: object, before: dict[int, Sets]) -> list[Sets]:
        """Return the sets in a part, each after those that stand in it."""
        for one in self._outermost(part):
            if id(one) in before:
                continue
            order = None if is_plain(one) else self._order(one)
            if order is not None and order.inner:
                self._placed(order.elements, before)
            before[id(one)] = one
        return list(before.values())

    def _outermost(self, part: object) -> list[Sets]:
        """Return the sets in a part that stand in no other, in the order in which they are met."""
        pickler = self._make(io.BytesIO())
        pickler.dump(part)
        sets = {id(one): (number, one) for number, one in enumerate(sets_in(pickler))}
        met: list[object] = []
        pickler = _meeting(type(pickler), met)
        pickler.memo = sets  # it does not look into what it has noted
        pickler.dump(part)
        return [one for one in met if type(one) in TYPES and id(one) in sets]  # type: ignore[misc]


def _meeting(kind: Any, met: list[object]) -> Any:  # noqa: ANN401 - see `MakePickler`
    """Return a pickler that adds to a list all that it meets, in order, and writes nowhere."""

    def persistent_id(_: object, met_now: object) -> None:
        met.append(met_now)

    made: Any = type("_Meeting", (kind,), {"persistent_id": persistent_id})
    meeting = made.to(io.BytesIO())
    made.to = kind.to  # those that it makes itself, to put elements in order, add nothing
    return meeting


class _Body:
    """One pickle, written in pieces that share what they note.

    Args:
        make: Makes the pickler.
        noted: What is noted before it, by id: number and object.
    """

    def __init__(self, make: MakePickler, noted: dict[int, tuple[int, Sets]]) -> None:
        self._file = io.BytesIO()
        self._pickler = make(self._file)
        self._pickler.memo = noted
        self._tuples: list[_Ordered] = []

    def set(self, order: _Ordered) -> bytes:
        """Return what makes a set and notes it.

        It is written as a tuple of its elements, which has the same number of bytes behind them.
        """
        if order.inner:
            self._know_sets()
        few = len(order.elements) <= _NO_MARK
        elements = self._dump(order.elements)[:-3]
        self._tuples.append(order)
        mutable = type(order.of) is set
        begin = (pickle.EMPTY_SET if mutable else b"") + (pickle.MARK if few else b"")
        end = pickle.ADDITEMS if mutable else pickle.FROZENSET
        return begin + elements + end + pickle.MEMOIZE + pickle.POP

    def value(self, value: object) -> bytes:
        """Return what makes the value, to the end of the pickle."""
        self._know_sets()
        known = self._pickler.memo.copy()
        data = self._dump(value)
        if may_hold_sets(data) and any(id(one) not in known for one in sets_in(self._pickler)):
            raise _NoOrderError  # an object gives another set each time
        return data

    def _know_sets(self) -> None:
        """Have the pickler know the sets by the numbers of the tuples that they were written as."""
        if not self._tuples:
            return
        memo = self._pickler.memo.copy()
        for order in self._tuples:
            number, _ = memo.pop(id(order.elements))
            memo[id(order.of)] = (number, order.of)
        self._pickler.memo = memo
        self._tuples.clear()

    def _dump(self, part: object) -> bytes:
        self._pickler.dump(part)
        data = self._file.getvalue()
        self._file.seek(0)
        self._file.truncate()
        return data[len(_OPENING) :]


def is_plain(elements: Sets) -> bool:
    """Tell whether a set can be spelled out."""
    return _PLAIN.issuperset(map(type, elements))


def _plain_order(elements: Sets) -> list[Any] | None:
    """Return plain elements in order; None: there are others."""
    types = set(map(type, elements))
    if not types <= _PLAIN:
        return None
    return sorted(elements, key=None if types in _NATURAL else lambda one: _elements([one]))


def spell(one: Sets) -> bytes | None:
    """Return what makes a set of plain elements and notes it; None: it has others."""
    order = _plain_order(one)
    if order is None:
        return None
    batches = map(_elements, _batched(order))
    if type(one) is frozenset:
        made = pickle.MARK + b"".join(batches) + pickle.FROZENSET + pickle.MEMOIZE
    else:
        added = [pickle.MARK + batch + pickle.ADDITEMS for batch in batches]
        made = pickle.EMPTY_SET + pickle.MEMOIZE + b"".join(added)
    return made + pickle.POP


def _batched(elements: list[Any]) -> Iterator[list[Any]]:
    left = iter(elements)
    while batch := list(itertools.islice(left, _BATCH)):
        yield batch


def _elements(elements: list[Any]) -> bytes:
    """Return plain elements, up to a batch of them, as they stand in a pickle: noted nowhere."""
    file = io.BytesIO()
    pickler = pickle.Pickler(file, _UNFRAMED)
    pickler.fast = True
    pickler.dump(elements)
    # Between protocol, list and mark, of which one has none, and what adds them before the end.
    return file.getvalue()[3 if len(elements) == 1 else 4 : -2]
