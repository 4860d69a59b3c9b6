"""Merge two values that one entity was given by two writers, against the one both started from.

Dictionaries are merged key by key, in depth; so are the attributes of an object that is a whole
entity, as with a context type of one's own. What else both changed is for `merge=` to settle, or
ours wins: it is the later commit.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Any, Final, TypeAlias

from ptb_s3 import _codec
from ptb_s3._codec import Serializer
from ptb_s3._rebase import Resolution
from ptb_s3._state import Key, Kind
from ptb_s3.errors import ConflictError, PersistenceError

# (kind, key, base, ours, theirs) -> value, as the user gives it; None: there is no such entity.
Merge: TypeAlias = Callable[[str, Any, Any, Any, Any], Any]


class _Missing(Enum):
    MISSING = "stands for a key, or an entity, that is not there"


_MISSING: Final = _Missing.MISSING


def merge_values(base: Any, ours: Any, theirs: Any) -> Any:  # noqa: ANN401 - values are anybody's
    """Merge two values as it is done without ``merge=``, for such a function to build on.

    Dictionaries key by key, in depth; what both changed, as we did. Changes `ours`.

    Args:
        base: The value that both started from; None: there was none.
        ours: What it is here; None: it was deleted.
        theirs: What another writer has committed; None: they deleted it.

    Returns:
        The merged value.
    """
    merging = _Merging(vars)
    merged = merging.combine(*map(_present, (base, ours, theirs)), whole=True)
    return None if merged is _MISSING else merged


class Merger:
    """Resolves what two writers changed; see `ptb_s3._rebase.Resolve`.

    Args:
        serializer: Values to bytes and back.
        function: The user's, for entities in which both changed the same thing.
    """

    def __init__(self, serializer: Serializer, function: Merge | None = None) -> None:
        self._serializer = serializer
        self._function = function

    def __call__(
        self, kind: Kind, key: Key, base: bytes | None, ours: bytes | None, theirs: bytes | None
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
            reason = type(error).__name__
        raise _unmergeable(kind, f"its values cannot be read or written ({reason})")

    def _resolve(
        self, kind: Kind, key: Key, base: bytes | None, ours: bytes | None, theirs: bytes | None
    ) -> Resolution:
        if base == theirs:
            return Resolution(ours)
        if base == ours:
            return Resolution(theirs)
        merging = _Merging(lambda value: _codec.dump(self._serializer, value))
        values = (self._load(kind, base), self._load(kind, ours), self._load(kind, theirs))
        merged = merging.combine(*values, whole=True)
        if merging.clashes and self._function is not None:
            again = (self._load(kind, data) for data in (base, ours, theirs))
            merged = self._ask(kind, key, *(None if v is _MISSING else v for v in again))
            return Resolution(self._dump(merging, merged, ours, theirs))
        data = self._dump(merging, merged, ours, theirs)
        return Resolution(data, merging.overridden, contested=merging.clashes > 0)

    def _ask(self, kind: Kind, key: Key, base: object, ours: object, theirs: object) -> object:
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

    def _dump(
        self, merging: _Merging, merged: object, ours: bytes | None, theirs: bytes | None
    ) -> bytes | None:
        """Return the merged value's bytes: the very ones of a side that it is equal to."""
        if merged is _MISSING:
            return None
        data = _codec.dump(self._serializer, merged)
        for side in (theirs, ours):
            if side is not None and merging.alike(merged, self._serializer.loads(side)):
                return side
        return data


class _Merging:
    """One merge of two values, and what came up in it.

    Args:
        essence: Gives what two values of one class have in common if they are the same, where `==`
            says that they are not.

    Attributes:
        clashes: How many things both changed.
        overridden: In how many of them theirs was another value than ours.
    """

    def __init__(self, essence: Callable[[object], object]) -> None:
        self.clashes = 0
        self.overridden = 0
        self._essence = essence

    def combine(self, base: object, ours: object, theirs: object, *, whole: bool) -> object:
        """Merge; may change `ours`.

        Args:
            base: What both started from.
            ours: What we made of it.
            theirs: What they did.
            whole: Whether these are entities, rather than parts of one.
        """
        if self.alike(ours, base):
            return theirs
        if self.alike(theirs, base):
            return ours
        fields = _fields(ours, whole=whole)
        if fields is None or not (theirs is _MISSING or type(theirs) is type(ours)):
            return self._clash(ours, theirs)
        was = (_fields(base, whole=whole) or {}) if type(base) is type(ours) else {}
        other = _fields(theirs, whole=whole) or {}
        for name in {**fields, **other, **was}:
            sides = (side.get(name, _MISSING) for side in (was, fields, other))
            merged = self.combine(*sides, whole=False)
            if merged is _MISSING:
                fields.pop(name, None)
            else:
                fields[name] = merged
        return ours

    def alike(self, one: object, other: object) -> bool:
        """Tell whether two values are the same, where their classes may not know."""
        if one is other:
            return True
        if type(one) is not type(other):
            return False
        try:
            return bool(one == other or self._essence(one) == self._essence(other))
        except Exception:  # noqa: BLE001 - objects' own code; what cannot be compared may differ
            return False

    def _clash(self, ours: object, theirs: object) -> object:
        self.clashes += 1
        self.overridden += not self.alike(ours, theirs)
        return ours


def _present(value: object) -> object:
    return _MISSING if value is None else value


def _fields(value: object, *, whole: bool) -> dict[Any, Any] | None:
    """Return what a value is merged by, to be changed in place; None: it is one thing."""
    if isinstance(value, dict):
        return value
    return vars(value) if whole and _is_plain(type(value)) else None


def _is_plain(cls: type) -> bool:
    """Tell whether the objects of a class are what their attributes say, and no more."""
    ways = ("__reduce__", "__reduce_ex__", "__getstate__")
    own = any(getattr(cls, way) is not getattr(object, way) for way in ways)
    slots = any("__slots__" in base.__dict__ for base in cls.__mro__)
    return not (own or slots or hasattr(cls, "__setstate__")) and cls.__dictoffset__ != 0


def _unmergeable(kind: Kind, reason: str) -> ConflictError:
    return ConflictError(
        f"Another writer has changed an entity of {kind.value} that was changed here as well, and "
        f"the two cannot be merged: {reason}. Nothing was overwritten; what changed here is kept "
        "in memory, and the next commit tries again. Mend merge= or trusted=, or restart the bot."
    )
