"""Three-way merge of two values against the one that both started from, as git does with lines.

| what both sides made of it | merged |
|---|---|
| one is as the base was | the other |
| dictionaries | key by key, in depth |
| an object that is a whole entity, as of a context type | attribute by attribute, in depth |
| sets | without what either removed, and with what either added |
| lists to which both only appended | the base's elements, then theirs, then ours |
| anything else, changed on both sides | a clash: ours, as it is the later commit |

Values are compared by their bytes (see `equality`), not by `==`. Two keys that are equal and not
the same, as 1 and True are, clash, since a dictionary can have but one of them.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from types import MemberDescriptorType
from typing import Any, Final

from ptb_s3._values.attributes import attributes, is_of_python, set_attributes
from ptb_s3._values.equality import Essence, alike, mark, marks


class _Missing(Enum):
    MISSING = "stands for a key, or an entity, that is not there"


MISSING: Final = _Missing.MISSING


class ThreeWayMerge:
    """Merge of one value, and the count of clashes in it.

    Args:
        essence: Gives the bytes by which values are compared.

    Attributes:
        clashes: How many parts both changed.
        overridden: In how many of them theirs was another value than ours.
    """

    def __init__(self, essence: Essence) -> None:
        self.clashes = 0
        self.overridden = 0
        self._essence = essence
        # By the ids of base, ours and theirs: what has become of a part, and the three, which keeps
        # their ids their own. A part may stand in several places, and in itself.
        self._met: dict[tuple[int, int, int], tuple[object, ...]] = {}

    def combine(self, base: object, ours: object, theirs: object, *, whole: bool) -> object:
        """Return the merged value. May change `ours`, and return it.

        Args:
            base: The value that both started from; `MISSING` here and below: there is none.
            ours: The value that we made of it.
            theirs: The value that they made of it.
            whole: Whether these are entities, rather than parts of one. Objects are merged
                attribute by attribute only then: within data they are values of their own.
        """
        met = (id(base), id(ours), id(theirs))
        if met in self._met:
            return self._met[met][0]
        if self._alike(ours, base):
            return theirs
        if self._alike(theirs, base):
            return ours
        if theirs is not MISSING and type(theirs) is not type(ours):
            return self._clash(ours, theirs)
        if isinstance(ours, dict) or (whole and _is_plain(type(ours))):
            self._met[met] = (ours, base, theirs)
            return self._combine_fields(base, ours, theirs)
        merged = self._combine_elements(base, ours, theirs)
        if isinstance(ours, (list, set)):
            self._met[met] = (merged, base, ours, theirs)
        return merged

    def _combine_fields(self, base: object, ours: object, theirs: object) -> object:
        """Merge entries and attributes into ours, and return it."""
        was = base if type(base) is type(ours) else None
        other = None if theirs is MISSING else theirs
        if isinstance(ours, dict):
            self._merge(_entries(was), ours, _entries(other))
        fields = attributes(ours)
        self._merge(attributes(was), fields, attributes(other))
        set_attributes(ours, fields)
        return ours

    def _merge(self, was: dict[Any, Any], ours: dict[Any, Any], theirs: dict[Any, Any]) -> None:
        """Merge dictionaries key by key, into ours. Keys that are equal need not be the same."""
        sides = [self._by_mark(side) for side in (was, ours, theirs)]
        for each in {**sides[1], **sides[2], **sides[0]}:
            parts = [
                values[keys[each]] if each in keys else MISSING
                for keys, values in zip(sides, (was, ours, theirs), strict=True)
            ]
            merged = self.combine(*parts, whole=False)
            key = sides[1].get(each, sides[2].get(each))
            if merged is not MISSING and each not in sides[1] and key in ours:
                self._clash(ours[key], merged)  # another key that is equal, as 1 and True are
            elif merged is not MISSING:
                ours[key] = merged
            elif each in sides[1]:
                del ours[sides[1][each]]

    def _combine_elements(self, base: object, ours: object, theirs: object) -> object:
        """Return lists or sets merged by their elements. Values of any other type clash."""
        new = base is MISSING or base is None
        if type(ours) is list and type(theirs) is list and (new or type(base) is list):
            was = base if isinstance(base, list) else []
            if self._have_added(was, ours, theirs):
                return ours
        as_set = type(ours) in {set, frozenset} and type(theirs) is type(ours)
        if as_set and (new or type(base) is type(ours)):
            return self._unite(() if new else base, ours, theirs)
        return self._clash(ours, theirs)

    def _have_added(self, was: list[Any], ours: list[Any], theirs: list[Any]) -> bool:
        """Merge lists into ours, if one side only appended to the base and the other only added.

        To add is to append, and also to have had the elements of others merged in before one's own:

            base [1]    ours [1, 2]    theirs [1, 5, 3]    merged [1, 5, 3, 2]

        Returns:
            Whether they are such lists. Nothing was changed if not.
        """
        marks = [self._mark(one) for one in was]
        if self._alike(ours[: len(was)], was) and self._are_among(marks, theirs):
            ours[: len(was)] = theirs
            return True
        if self._alike(theirs[: len(was)], was) and self._are_among(marks, ours):
            ours += theirs[len(was) :]
            return True
        return False

    def _are_among(self, marks: list[object], elements: list[Any]) -> bool:
        """Return whether there are elements of all these marks, in the same order."""
        left = map(self._mark, elements)
        return all(mark in left for mark in marks)  # an iterator: each search goes on from the last

    def _unite(self, base: Any, ours: Any, theirs: Any) -> object:  # noqa: ANN401 - these are sets
        """Return a set of the elements that both have, or that one side has added."""
        was, own, other = (self._by_mark(side) for side in (base, ours, theirs))
        united = {one for each, one in own.items() if each in other or each not in was}
        for each, one in other.items():
            if each not in own and each not in was:
                if one in united:  # another element that is equal, as two users of one id are
                    self._clash(MISSING, one)
                united.add(one)
        if type(ours) is frozenset:
            return frozenset(united)
        ours.clear()
        ours.update(united)
        return ours

    def _by_mark(self, values: Iterable[Any]) -> dict[object, Any]:
        """Return values by their marks, which are equal only for the same value."""
        values = list(values)
        return dict(zip(marks(values, self._mark), values, strict=True))

    def _mark(self, one: object) -> object:
        # A slot is a descriptor here, and that is always the same.
        return one if type(one) is MemberDescriptorType else mark(one, self._essence)

    def _alike(self, one: object, other: object) -> bool:
        return alike(one, other, self._essence)

    def _clash(self, ours: object, theirs: object) -> object:
        """Count a part that both changed, and return ours."""
        self.clashes += 1
        self.overridden += not self._alike(ours, theirs)
        return ours


def _entries(value: object) -> dict[Any, Any]:
    return value if isinstance(value, dict) else {}


def _is_plain(cls: type) -> bool:
    """Return whether the objects of a class consist of their attributes alone."""
    ways = ("__reduce__", "__reduce_ex__", "__getstate__")
    own = any(getattr(cls, way) is not getattr(object, way) for way in ways)
    own = own or hasattr(cls, "__setstate__")
    return not own and cls is not object and all(map(is_of_python, cls.__mro__[:-1]))
