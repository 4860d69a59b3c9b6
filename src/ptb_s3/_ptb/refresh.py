"""Change an object in place to a new value, and leave alone each part that is the same already.

A handler may hold a part of an object, such as a cart, across an `await`, and go on to change that
part. So a part that nobody else has changed stays the very same object, however deep it lies, and
one that others have changed is changed in place where it can be:

    live     {"cart": <list A>["tea"], "seen": <set B>{1}}        A, B: objects a handler may hold
    fresh    {"cart": ["tea", "milk"], "seen": {1}}
    result   {"cart": <list A>["tea", "milk"], "seen": <set B>{1}}
"""

from __future__ import annotations

import collections
import types
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from enum import Enum
from functools import cache
from typing import Any, Final, NamedTuple, TypeAlias

from telegram import TelegramObject

from ptb_s3._values.allow_list import is_value_type
from ptb_s3._values.attributes import attributes, is_of_python, set_attributes
from ptb_s3._values.canonical_form import essence
from ptb_s3._values.equality import SCALARS, Essence, alike, mark
from ptb_s3.errors import PersistenceError

Way: TypeAlias = Callable[[Any, Any], None]
"""Changes a live object to the value of a fresh one of its class, which may lose parts to it."""

_ABSENT: Final = object()
_CONTAINERS: Final = (
    *(dict, list, set, bytearray, types.SimpleNamespace),
    *(collections.OrderedDict, collections.defaultdict, collections.Counter),
    *(collections.deque, collections.ChainMap),
)
# Containers whose objects have no attributes.
_BARE: Final = frozenset({dict, list, set, bytearray, collections.deque})
# Never changed in place: values by themselves, or objects that everybody shares.
_NEVER: Final = (Enum, TelegramObject, type, tuple, frozenset, types.ModuleType, types.FunctionType)


class _Depth(Enum):
    """Depth to which the parts of an object are compared."""

    DIFFERENT = "parts that are not the same"
    ALL = "all parts, as what is one thing may stand in parts that are the same"
    NONE = "no part: all are replaced by new ones"


class Refusal(NamedTuple):
    """Reason why an object cannot be changed in place.

    Attributes:
        reason: Clause for a log, with no value in it.
    """

    reason: str


def become(live: Any, fresh: Any, essence: Essence = essence) -> None:  # noqa: ANN401 - objects are anybody's
    """Change an object in place to the value of a fresh one, keeping parts that are the same.

    Args:
        live: Object to change.
        fresh: Object of the wanted value. Parts of it go over to the live one.
        essence: Gives the bytes by which parts are compared.

    Raises:
        TypeError: The two are of different classes, or of one that cannot be changed in place.
    """
    _Refresh(essence, _Depth.ALL).start(live, fresh)


def way(old: Callable[[], object], new: Callable[[], object], essence: Essence) -> Way | Refusal:
    """Return how to change an object to a new value, as tried out on scratch objects.

    Three depths are tried, one after another until one succeeds: a part may stand in several
    places, and a class may keep state where no code gets at it.

    Args:
        old: Makes an object of the live one's value.
        new: Makes an object of the wanted value.
        essence: Gives the bytes by which values are compared.

    Returns:
        A function that changes a live object; a `Refusal` if no depth succeeds.

    Raises:
        PersistenceError: One of the two values cannot be made.
    """
    reason = "something is left of what it was"
    for depth in _Depth:
        scratch, fresh = old(), new()
        try:
            _Refresh(essence, depth).start(scratch, fresh)
            if alike(scratch, new(), essence):
                return _Refresh(essence, depth).start
        except _RefusedError as error:
            return Refusal(str(error))
        except PersistenceError:
            raise
        except Exception as error:  # noqa: BLE001 - objects' own code may raise anything
            reason = f"that raises {type(error).__name__}"
    return Refusal(reason)


class _RefusedError(TypeError):
    """Refusal of an object that cannot be changed in place."""


class _Refresh:
    """Visitor of two objects in step: changes the live one, part by part, to the fresh one.

    What was one object in two places stays one: each fresh part is placed once, and each live part
    taken once.

    Args:
        essence: Gives the bytes by which parts are compared.
        depth: Depth to which parts are compared.
    """

    def __init__(self, essence: Essence, depth: _Depth) -> None:
        self._essence = essence
        self._deep = depth is not _Depth.NONE
        self._all = depth is _Depth.ALL
        # Objects that stand for fresh parts, by the ids of these.
        self._placed: dict[int, object] = {}
        # Live parts that stand for a fresh one already, by their ids.
        self._taken: dict[int, object] = {}

    def start(self, live: object, fresh: object) -> None:
        """Change the live object.

        Raises:
            TypeError: It cannot be changed in place.
        """
        if type(live) is not type(fresh):
            raise _RefusedError("it is an object of another class now")
        cls: Any = type(live)
        if not _changes(cls) or not _same_bound(live, fresh):
            raise _RefusedError("objects of that class cannot be changed in place")
        self._become(live, fresh)

    def _place(self, live: object, fresh: object) -> object:
        """Return the object that is to stand where a live part is and a fresh one is wanted."""
        if live is fresh or not self._deep:
            return fresh
        if type(fresh) in SCALARS:
            return live if type(live) is type(fresh) and live == fresh else fresh
        if id(fresh) not in self._placed:
            self._placed[id(fresh)] = fresh
            if type(live) is type(fresh) and id(live) not in self._taken:
                same = not self._all and alike(live, fresh, self._essence)
                self._placed[id(fresh)] = live if same else self._match(live, fresh)
                if same:
                    self._taken[id(live)] = live
        return self._placed[id(fresh)]

    def _match(self, live: object, fresh: object) -> object:
        if type(live) is tuple and isinstance(fresh, tuple):
            pairs = zip(live, fresh, strict=False) if len(live) == len(fresh) else ()
            parts = tuple(self._place(*pair) for pair in pairs)
            same = len(parts) == len(live) and all(map(_is, parts, live))
            return live if same else (parts or fresh)
        cls: Any = type(live)
        if _changes(cls) and _is_mutable(cls) and _same_bound(live, fresh):
            self._become(live, fresh)
            return live
        return live if alike(live, fresh, self._essence) else fresh

    def _become(self, live: Any, fresh: Any) -> None:  # noqa: ANN401 - objects are anybody's
        self._placed[id(fresh)] = self._taken[id(live)] = live
        if isinstance(live, dict):
            self._fill(live, self._entries(live, fresh))
        elif isinstance(live, (list, collections.deque)):
            parts = self._elements(list(live), list(fresh))
            if len(parts) != len(live) or not all(map(_is, parts, live)):
                cls: Any = list if isinstance(live, list) else collections.deque
                cls.clear(live)
                cls.extend(live, parts)
        elif isinstance(live, set):
            self._exchange(live, fresh)
        elif isinstance(live, bytearray):
            live[:] = fresh
        if type(live) in _BARE:
            return
        own, wanted = attributes(live), attributes(fresh)
        new = {name: self._place(own.get(name, _ABSENT), part) for name, part in wanted.items()}
        set_attributes(live, new)

    def _entries(self, live: dict[Any, Any], fresh: dict[Any, Any]) -> list[tuple[Any, Any]]:
        entries = []
        for own, (key, part) in zip(self._matched(live, fresh), fresh.items(), strict=True):
            known = own is not _ABSENT
            entries.append(
                (own if known else key, self._place(live[own] if known else _ABSENT, part))
            )
        return entries

    def _fill(self, live: dict[Any, Any], entries: list[tuple[Any, Any]]) -> None:
        """Give a dictionary these entries, in this order, without running code of its own class."""
        ordered = isinstance(live, collections.OrderedDict)
        cls: Any = collections.OrderedDict if ordered else dict
        kept = list(live)
        if len(kept) > len(entries) or not all(map(_is, kept, (key for key, _ in entries))):
            cls.clear(live)
        for key, part in entries:
            if dict.get(live, key, _ABSENT) is not part:
                cls.__setitem__(live, key, part)

    def _elements(self, live: list[Any], fresh: list[Any]) -> list[Any]:
        """Return the parts of a list, reusing live ones that are the same wherever they were."""
        if not self._deep:
            return fresh
        marks, wanted = self._marks(live), self._marks(fresh)
        where: dict[object, list[int]] = {}
        for index in reversed(range(len(live))):
            where.setdefault(marks[index], []).append(index)
        matched = [
            index if index < len(live) and marks[index] == each else None
            for index, each in enumerate(wanted)
        ]
        used = {index for index in matched if index is not None}
        for place, each in enumerate(wanted):
            left = where.get(each, [])
            while matched[place] is None and left:
                index = left.pop()
                if index not in used:
                    used.add(index)
                    matched[place] = index
        return [
            self._place(self._old(live, used, index, place, len(fresh)), part)
            for place, (index, part) in enumerate(zip(matched, fresh, strict=True))
        ]

    @staticmethod
    def _old(live: list[Any], used: set[int], index: int | None, place: int, size: int) -> object:
        if index is not None:
            return live[index]
        # Taken for changed where it stands, if the list is as long as before.
        return live[place] if size == len(live) and place not in used else _ABSENT

    def _exchange(self, live: set[Any], fresh: set[Any]) -> None:
        matched = self._matched(live, fresh)
        kept = set(map(id, matched))
        set.difference_update(live, [one for one in live if id(one) not in kept])
        for own, one in zip(matched, fresh, strict=True):
            set.add(live, self._place(own, one))

    def _matched(self, live: Collection[Any], fresh: Collection[Any]) -> list[Any]:
        """Return for each fresh element the live one that is the same, `_ABSENT` if there is none.

        None is matched where several are alike: to tell which is which would be a guess, and other
        objects may refer to them.
        """
        if not self._deep:
            return [_ABSENT] * len(fresh)
        marks, wanted = self._marks(live), self._marks(fresh)
        own, doubtful = dict(zip(marks, live, strict=True)), set[object]()
        if len(own) < len(marks) or len(set(wanted)) < len(wanted):
            counts = Counter(marks), Counter(wanted)
            doubtful = {each for count in counts for each in count if count[each] > 1}
        return [_ABSENT if each in doubtful else own.get(each, _ABSENT) for each in wanted]

    def _marks(self, parts: Iterable[object]) -> list[object]:
        return [mark(part, self._essence) for part in parts]


def _is(one: object, other: object) -> bool:
    return one is other


def _same_bound(live: object, fresh: object) -> bool:
    """Tell whether two deques have the same bound, which cannot be changed."""
    both = isinstance(live, collections.deque) and isinstance(fresh, collections.deque)
    return not both or getattr(live, "maxlen", None) == getattr(fresh, "maxlen", None)


@cache
def _changes(cls: type[Any]) -> bool:
    """Tell whether everything that an object of a class consists of can be set."""
    if cls in _CONTAINERS:
        return True
    if issubclass(cls, _NEVER) or is_value_type(cls):
        return False
    known = (object, *_CONTAINERS)
    return all(
        base in known or (is_of_python(base) and not is_value_type(base)) for base in cls.__mro__
    )


@cache
def _is_mutable(cls: type[Any]) -> bool:
    """Tell whether a part of this class may be changed: not if others may know it by its hash."""
    parameters = getattr(cls, "__dataclass_params__", None)
    by_identity = getattr(cls, "__hash__", None) in {None, object.__hash__}
    return by_identity and not getattr(parameters, "frozen", False)
