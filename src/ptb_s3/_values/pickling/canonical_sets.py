"""Canonical order of sets: equal sets have equal bytes, whatever their hashes and history.

A set iterates as its hashes and its history have it, so a copy, a load and another process would
each give other bytes for the same set, and each would be taken for a change:

    >>> list({8, 0}), list({0, 8})
    ([8, 0], [0, 8])

Elements that are all whole numbers, or all strings, are put in their natural order; others in the
order of the bytes that each has by itself.

The pickler that is written in C asks nobody how to write a set. So the sets come first, each of
them finished before another refers to it, and the value after them takes them out of the memo:

    PROTO 5
    EMPTY_SET MEMOIZE MARK <elements> ADDITEMS POP      plain elements, which are not memoized
    EMPTY_SET MARK <elements> ADDITEMS MEMOIZE POP      any others
    <the value> STOP

A set that leads back to itself has no such place, nor has one that an object makes anew each time.
A value with one of these is written as it comes.
"""

from __future__ import annotations

import io
import itertools
import pickle
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from ptb_s3._values.pickling.sets import (
    PLAIN,
    TYPES,
    MakePickler,
    Sets,
    is_plain,
    may_hold_sets,
    sets_in,
    sets_in_containers,
)

# Types whose natural order is the canonical one, if all elements are of it: it is found without a
# pickle of each.
_NATURAL: Final = ({int}, {str})
# The last protocol without frames, which would cut through what is taken out of a pickle.
_UNFRAMED: Final = 3
# Elements that a pickler adds to a set at once. From pickle.py (`_BATCHSIZE`).
_BATCH: Final = 1_000
# Elements up to which a tuple has an opcode that takes no mark. From pickle.py (`TUPLE3`).
_NO_MARK: Final = 3
# Bytes that the pickles of single elements may take: so many times the bytes of the whole value,
# and one MiB. Without a bound, a thousand elements that lead to one large object would each write
# all of it.
_TIMES: Final = 8
_ROOM: Final = 1024 * 1024  # bytes
_OPENING: Final = pickle.PROTO + b"\x05"


class _NoOrderError(Exception):
    """Raised for a set that leads back to itself, or to too much."""


class _Ordered(NamedTuple):
    """Snapshot of a set: its elements in canonical order.

    Attributes:
        of: The set, which is kept alive so that its id stays its own.
        elements: The elements.
        inner: Whether there are sets in them.
    """

    of: Sets
    elements: tuple[Any, ...]
    inner: bool


def room_for(size: int) -> int:
    """Return how many bytes the pickles of single elements may take together.

    Args:
        size: Bytes of the whole value.
    """
    return _TIMES * size + _ROOM


def write(value: object, plain: bytes, pickler: Any, make: MakePickler) -> bytes:  # noqa: ANN401 - see `MakePickler`
    """Return the pickle of a value with its sets in canonical order.

    Args:
        value: The value.
        plain: Its pickle with the sets as they come, which `may_hold_sets`.
        pickler: The pickler that wrote it.
        make: Makes more picklers of that kind.

    Returns:
        The pickle. It is `plain` where the value has no sets, or one that has no canonical order.
    """
    sets = sets_in_containers(value)
    if sets is None:
        sets = sets_in(pickler)
    if not sets:
        return plain
    try:
        return _Writer(make, len(plain)).write(value, sets)
    except _NoOrderError:
        return plain


def in_order(elements: Sets, make: MakePickler) -> list[Any]:
    """Return the elements of a set in canonical order, for one that is written as a list.

    Args:
        elements: The set.
        make: Makes picklers.
    """
    plain = _plain_order(elements)
    if plain is not None:
        return plain
    writer = _Writer(make, 0)
    try:
        return sorted(elements, key=writer.key)
    except _NoOrderError:
        return list(elements)


class _Writer:
    """Writer of one value with sets: orders each set once, inner ones before those that hold them.

    Args:
        make: Makes picklers.
        size: Bytes that the value has as it comes.
    """

    def __init__(self, make: MakePickler, size: int) -> None:
        self._make = make
        self._left = room_for(size)
        self._ordered: dict[int, _Ordered] = {}
        self._under_way: set[int] = set()

    def write(self, value: object, sets: list[Sets]) -> bytes:
        """Return the pickle of a value, or of a part of it, that holds these sets.

        Raises:
            _NoOrderError: A set leads back to itself, or to too much.
        """
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
        """Return the bytes of an element by itself, by which elements are sorted."""
        return self._alone(element)[0]

    def _alone(self, part: object) -> tuple[bytes, bool]:
        """Return a part's own bytes, and whether there are sets in it."""
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
        """Return the sets in a part, each after the sets that stand in it."""
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
        pickler.memo = sets  # a pickler does not look into what its memo has
        pickler.dump(part)
        return [one for one in met if type(one) in TYPES and id(one) in sets]  # type: ignore[misc]


def _meeting(kind: Any, met: list[object]) -> Any:  # noqa: ANN401 - see `MakePickler`
    """Return a pickler that writes nowhere and lists the objects that it meets, in order."""

    def persistent_id(_: object, met_now: object) -> None:
        met.append(met_now)

    made: Any = type("_Meeting", (kind,), {"persistent_id": persistent_id})
    meeting = made.to(io.BytesIO())
    made.to = kind.to  # picklers that it makes itself, to order elements, are not to list anything
    return meeting


class _Body:
    """Builder for one pickle, in pieces that share a memo.

    Args:
        make: Makes the pickler.
        memoized: The memo to begin with, by id: number and object.
    """

    def __init__(self, make: MakePickler, memoized: dict[int, tuple[int, Sets]]) -> None:
        self._file = io.BytesIO()
        self._pickler = make(self._file)
        self._pickler.memo = memoized
        self._tuples: list[_Ordered] = []

    def set(self, order: _Ordered) -> bytes:
        """Return the opcodes that make a set, memoize it and drop it from the stack.

        It is written as a tuple of its elements, and the three opcodes behind them (TUPLE, MEMOIZE
        and STOP) are replaced by a set's. A tuple, too, is memoized after its elements, so the
        numbers in the memo stay as they are.
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
        """Return the opcodes that make the value, to the end of the pickle."""
        self._know_sets()
        known = self._pickler.memo.copy()
        data = self._dump(value)
        if may_hold_sets(data) and any(id(one) not in known for one in sets_in(self._pickler)):
            raise _NoOrderError  # an object gives another set each time
        return data

    def _know_sets(self) -> None:
        """Put the sets into the memo, by the numbers of the tuples that they were written as."""
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


def _plain_order(elements: Sets) -> list[Any] | None:
    """Return the elements in canonical order if all are plain, else None."""
    types = set(map(type, elements))
    if not types <= PLAIN:
        return None
    return sorted(elements, key=None if types in _NATURAL else lambda one: _elements([one]))


def spell(one: Sets) -> bytes | None:
    """Return the opcodes that make and memoize a set of plain elements.

    Returns:
        The opcodes, which leave nothing on the stack, or None: not all elements are plain.
    """
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
    """Return the opcodes that push plain elements, up to a batch of them, without memoizing any."""
    file = io.BytesIO()
    pickler = pickle.Pickler(file, _UNFRAMED)
    pickler.fast = True
    pickler.dump(elements)
    # What stands between the opcodes that begin a list (a single element takes no mark) and those
    # that append to it.
    return file.getvalue()[3 if len(elements) == 1 else 4 : -2]
