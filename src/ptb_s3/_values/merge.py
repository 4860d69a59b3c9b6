"""Merge two values that one entity was given by two writers, against the one both started from.

Dictionaries are merged key by key, in depth; so are the attributes of an object that is a whole
entity, as with a context type of one's own. Of sets, what each side added and removed counts; of
lists to which both sides only appended, theirs comes first, then ours. What else both changed is
for `merge=` to settle, or ours wins: it is the later commit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from types import MemberDescriptorType
from typing import Any, Final, TypeAlias

from ptb_s3._format.entities import EntityKey, Kind, Resolution
from ptb_s3._values import serializer as _codec
from ptb_s3._values.attributes import attributes, is_of_python, set_attributes
from ptb_s3._values.sameness import Essence, alike, essence, essence_by, mark, marks
from ptb_s3._values.serializer import Serializer
from ptb_s3.errors import ConflictError, PersistenceError

# (kind, key, base, ours, theirs) -> value, as the user gives it; None: there is no such entity.
Merge: TypeAlias = Callable[[str, Any, Any, Any, Any], Any]


# By kind, what makes an entity of it as it is before anything was changed.
Born: TypeAlias = Mapping[Kind, Callable[[], object]]


class _Missing(Enum):
    MISSING = "stands for a key, or an entity, that is not there"


_MISSING: Final = _Missing.MISSING


def merge_values(base: Any, ours: Any, theirs: Any) -> Any:  # noqa: ANN401 - values are anybody's
    """Merge two values as it is done without ``merge=``, for such a function to build on.

    Dictionaries key by key, in depth, sets by their elements, lists that both appended to one after
    the other; what else both changed, as we did. Changes `ours`.

    Args:
        base: The value that both started from; None: there was none.
        ours: What it is here; None: it was deleted.
        theirs: What another writer has committed; None: they deleted it.

    Returns:
        The merged value.
    """
    merging = _Merging(essence)
    merged = merging.combine(*map(_present, (base, ours, theirs)), whole=True)
    return None if merged is _MISSING else merged


class Merger:
    """Resolves what two writers changed; see `ptb_s3._engine.rebase.Resolve`.

    Args:
        serializer: Values to bytes and back.
        function: The user's, for entities in which both changed the same thing.
        born: By kind, makes what entities are born as: what two sides that both met a new one have
            in common.
    """

    def __init__(
        self, serializer: Serializer, function: Merge | None = None, born: Born | None = None
    ) -> None:
        self._serializer = serializer
        self._function = function
        self._born = born
        self._essence = essence_by(serializer)

    def __call__(
        self,
        kind: Kind,
        key: EntityKey,
        base: bytes | None,
        ours: bytes | None,
        theirs: bytes | None,
    ) -> Resolution:
        """Merge the bytes of an entity.

        Raises:
            ConflictError: It cannot be done.
        """
        try:
            return self._resolve(kind, key, base, ours, theirs)
        except ConflictError:
            raise
        except PersistenceError as error:
            # Its text may tell more than a log should hold; its class says what to look for.
            reason = f"its values cannot be read or written ({type(error).__name__})"
        except Exception as error:  # noqa: BLE001 - objects' own code may raise anything
            reason = f"to compare its values raised {type(error).__name__}"
        if ours is None and self._function is None:
            return Resolution(None, 1, contested=True)  # whatever they are: it was deleted
        raise _unmergeable(kind, reason)

    def _resolve(
        self,
        kind: Kind,
        key: EntityKey,
        base: bytes | None,
        ours: bytes | None,
        theirs: bytes | None,
    ) -> Resolution:
        if base == theirs:
            return Resolution(ours)
        if base == ours:
            return Resolution(theirs)
        merging = _Merging(self._essence)
        common = self._load(kind, base)
        if common is _MISSING and self._born is not None and kind in self._born:
            common = self._born[kind]()  # or what it is born with would be taken for a change
        merged = merging.combine(
            common, self._load(kind, ours), self._load(kind, theirs), whole=True
        )
        if merging.clashes and self._function is not None:
            again = (self._load(kind, data) for data in (base, ours, theirs))
            merged = self._ask(kind, key, *(None if v is _MISSING else v for v in again))
            return Resolution(self._dump(merged, ours, theirs))
        data = self._dump(merged, ours, theirs)
        return Resolution(data, merging.overridden, contested=merging.clashes > 0)

    def _ask(
        self, kind: Kind, key: EntityKey, base: object, ours: object, theirs: object
    ) -> object:
        assert self._function is not None  # noqa: S101 - for mypy; the only caller has looked
        try:
            return _present(self._function(kind.value, key, base, ours, theirs))
        except Exception as error:  # noqa: BLE001 - somebody else's function may raise anything
            reason = type(error).__name__
        raise _unmergeable(kind, f"merge= raised {reason}")

    def _load(self, kind: Kind, data: bytes | None) -> object:
        if data is None:
            return _MISSING
        return _codec.load_all(self._serializer, kind, [(None, data)])[None]

    def _dump(self, merged: object, ours: bytes | None, theirs: bytes | None) -> bytes | None:
        """Return the merged value's bytes: the very ones of a side that it is the same as."""
        if merged is _MISSING:
            return None
        data = _codec.dump(self._serializer, merged)
        for side in (theirs, ours):
            if side is not None and side != data:
                value = self._serializer.loads(side)
                data = side if alike(merged, value, self._essence) else data
        return data


class _Merging:
    """One merge of two values, and what came up in it.

    Args:
        essence: Gives the bytes by which values are compared.

    Attributes:
        clashes: How many things both changed.
        overridden: In how many of them theirs was another value than ours.
    """

    def __init__(self, essence: Essence) -> None:
        self.clashes = 0
        self.overridden = 0
        self._essence = essence
        # What has become of parts, by the ids of the three, and these: they may stand in several
        # places, and in themselves.
        self._met: dict[tuple[int, int, int], tuple[object, ...]] = {}

    def combine(self, base: object, ours: object, theirs: object, *, whole: bool) -> object:
        """Merge; may change `ours`.

        Args:
            base: What both started from.
            ours: What we made of it.
            theirs: What they did.
            whole: Whether these are entities, rather than parts of one.
        """
        met = (id(base), id(ours), id(theirs))
        if met in self._met:
            return self._met[met][0]
        if self._alike(ours, base):
            return theirs
        if self._alike(theirs, base):
            return ours
        if theirs is not _MISSING and type(theirs) is not type(ours):
            return self._clash(ours, theirs)
        if isinstance(ours, dict) or (whole and _is_plain(type(ours))):
            self._met[met] = (ours, base, theirs)
            return self._combine_fields(base, ours, theirs)
        merged = self._combine_elements(base, ours, theirs)
        if isinstance(ours, (list, set)):
            self._met[met] = (merged, base, ours, theirs)
        return merged

    def _combine_fields(self, base: object, ours: object, theirs: object) -> object:
        was = base if type(base) is type(ours) else None
        other = None if theirs is _MISSING else theirs
        if isinstance(ours, dict):
            self._merge(_entries(was), ours, _entries(other))
        fields = attributes(ours)
        self._merge(attributes(was), fields, attributes(other))
        set_attributes(ours, fields)
        return ours

    def _merge(self, was: dict[Any, Any], ours: dict[Any, Any], theirs: dict[Any, Any]) -> None:
        """Merge dictionaries key by key, into ours; keys that are equal need not be the same."""
        sides = [self._by_mark(side) for side in (was, ours, theirs)]
        for each in {**sides[1], **sides[2], **sides[0]}:
            parts = [
                values[keys[each]] if each in keys else _MISSING
                for keys, values in zip(sides, (was, ours, theirs), strict=True)
            ]
            merged = self.combine(*parts, whole=False)
            key = sides[1].get(each, sides[2].get(each))
            if merged is not _MISSING and each not in sides[1] and key in ours:
                self._clash(ours[key], merged)  # equal and not the same, as 1 and True are
            elif merged is not _MISSING:
                ours[key] = merged
            elif each in sides[1]:
                del ours[sides[1][each]]

    def _combine_elements(self, base: object, ours: object, theirs: object) -> object:
        new = base is _MISSING or base is None
        if type(ours) is list and type(theirs) is list and (new or type(base) is list):
            was = base if isinstance(base, list) else []
            if self._have_added(was, ours, theirs):
                return ours
        as_set = type(ours) in {set, frozenset} and type(theirs) is type(ours)
        if as_set and (new or type(base) is type(ours)):
            return self._unite(() if new else base, ours, theirs)
        return self._clash(ours, theirs)

    def _have_added(self, was: list[Any], ours: list[Any], theirs: list[Any]) -> bool:
        """Merge lists of which one side only appended, and the other only added; tell if they are.

        To add is to append, too, and to have others' elements merged in before one's own.
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
        left = map(self._mark, elements)
        return all(mark in left for mark in marks)  # each looks on from where the last one was

    def _unite(self, base: Any, ours: Any, theirs: Any) -> object:  # noqa: ANN401 - these are sets
        """Return a set of what is in both, and of what one side has added."""
        was, own, other = (self._by_mark(side) for side in (base, ours, theirs))
        united = {one for each, one in own.items() if each in other or each not in was}
        for each, one in other.items():
            if each not in own and each not in was:
                if one in united:  # equal and not the same, as two users of one id are
                    self._clash(_MISSING, one)
                united.add(one)
        if type(ours) is frozenset:
            return frozenset(united)
        ours.clear()
        ours.update(united)
        return ours

    def _by_mark(self, values: Iterable[Any]) -> dict[object, Any]:
        values = list(values)
        return dict(zip(marks(values, self._mark), values, strict=True))

    def _mark(self, one: object) -> object:
        # A slot is a descriptor here, and that is always the same.
        return one if type(one) is MemberDescriptorType else mark(one, self._essence)

    def _alike(self, one: object, other: object) -> bool:
        return alike(one, other, self._essence)

    def _clash(self, ours: object, theirs: object) -> object:
        self.clashes += 1
        self.overridden += not self._alike(ours, theirs)
        return ours


def _present(value: object) -> object:
    return _MISSING if value is None else value


def _entries(value: object) -> dict[Any, Any]:
    return value if isinstance(value, dict) else {}


def _is_plain(cls: type) -> bool:
    """Tell whether the objects of a class are what their attributes say, and no more."""
    ways = ("__reduce__", "__reduce_ex__", "__getstate__")
    own = any(getattr(cls, way) is not getattr(object, way) for way in ways)
    own = own or hasattr(cls, "__setstate__")
    return not own and cls is not object and all(map(is_of_python, cls.__mro__[:-1]))


def _unmergeable(kind: Kind, reason: str) -> ConflictError:
    return ConflictError(
        f"Another writer has changed an entity of {kind.value} that was changed here as well, and "
        f"the two cannot be merged: {reason}. Nothing was overwritten; what changed here is kept "
        "in memory, and the next commit tries again. Mend merge= or trusted=, or restart the bot."
    )
