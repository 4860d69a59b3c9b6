"""Merge of entities that two writers changed: the `merge=` of users, and what is done without one.

How two values are merged is `three_way_merge`'s. Here is what becomes of an entity: which sides are
asked, when the user's function decides, and how a failure keeps both sides as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeAlias

from ptb_s3._format.entities import EntityKey, Kind, Resolution
from ptb_s3._values.canonical_form import essence
from ptb_s3._values.equality import alike, essence_by
from ptb_s3._values.loading import load_all
from ptb_s3._values.serializer import Serializer, dump
from ptb_s3._values.three_way_merge import MISSING, ThreeWayMerge
from ptb_s3.errors import ConflictError, PersistenceError

Merge: TypeAlias = Callable[[str, Any, Any, Any, Any], Any]
"""A function for ``merge=``, called as ``merge(kind, key, base, ours, theirs)``.

It is asked about an entity in which two writers changed the same thing, and returns the entity's
value. `base` is what both started from, `ours` the value here, `theirs` what the other writer has
committed; each is None where there is no such entity. To return None deletes the entity.
"""


class OwnMerge(NamedTuple):
    """Outcome of a merge that a kind has of its own.

    Attributes:
        value: The entity's value; None: it is deleted.
        overridden: Number of changes of theirs that ours has won over.
    """

    value: object
    overridden: int = 0


OwnMerges: TypeAlias = Mapping[Kind, Callable[[Any, Any, Any], OwnMerge]]
"""By kind, merges two values of an entity against their base, each None where there is none."""

Born: TypeAlias = Mapping[Kind, Callable[[], object]]
"""By kind, makes an entity's value as it is before anything was changed."""


def merge_values(base: Any, ours: Any, theirs: Any) -> Any:  # noqa: ANN401 - values are anybody's
    """Merge two values as it is done without ``merge=``, for such a function to build on.

    Dictionaries are merged key by key, in depth; so are the attributes of an object that is a whole
    entity, as of a context type. Of sets, what each side added and removed counts. Of lists to
    which both only appended, theirs comes first, then ours. Of anything else that both changed,
    ours is taken.

    Args:
        base: The value that both started from; None: there was none.
        ours: The value here; None: it was deleted. It may be changed.
        theirs: The value that another writer has committed; None: they deleted it.

    Returns:
        The merged value; None: the entity is deleted.

    Example:
        Add up what both have counted; the rest as usual::

            def merge(kind, key, base, ours, theirs):
                if kind == "bot_data" and ours and theirs:
                    counted = ours.get("n", 0) + theirs.get("n", 0) - (base or {}).get("n", 0)
                    return merge_values(base, ours, theirs) | {"n": counted}
                return merge_values(base, ours, theirs)

            persistence = S3Persistence.from_env(merge=merge)
    """
    merging = ThreeWayMerge(essence)
    merged = merging.combine(*map(_present, (base, ours, theirs)), whole=True)
    return None if merged is MISSING else merged


class Merger:
    """Resolver of entities that two writers changed, as `_engine.rebase.Resolve` has it.

    Nothing of either side is lost in silence: what cannot be merged is a conflict, and where ours
    wins over another value of theirs, it is counted.

    Args:
        serializer: Turns values into bytes and back.
        function: The user's function, for entities in which both changed the same thing.
        born: By kind, makes the value that entities are born with. It is the base for two writers
            who both met a new entity, or its first keys would count as changed by both.
        own: Merges of the kinds that have one of their own. The user's function is not asked there.
    """

    def __init__(
        self,
        serializer: Serializer,
        function: Merge | None = None,
        born: Born | None = None,
        own: OwnMerges | None = None,
    ) -> None:
        self._serializer = serializer
        self._function = function
        self._born = born
        self._own = own or {}
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

        Args:
            kind: The entity's kind.
            key: Its key.
            base: Its bytes that both started from; None here and below: there was no such entity.
            ours: Its bytes here.
            theirs: Its bytes that another writer has committed.

        Raises:
            ConflictError: They cannot be merged.
        """
        try:
            return self._resolve(kind, key, base, ours, theirs)
        except ConflictError:
            raise
        except PersistenceError as error:
            # Its text may tell more than a log should hold; its class says what to look for.
            reason = f"its values cannot be read or written ({type(error).__name__})"
        except Exception as error:  # noqa: BLE001 - objects' own code may raise anything
            reason = f"comparing its values raised {type(error).__name__}"
        if ours is None and self._function is None:
            return Resolution(None, 1, contested=True)  # deleted here, whatever theirs is
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
        if kind in self._own:
            return self._merged(kind, base, ours, theirs)
        merging = ThreeWayMerge(self._essence)
        common = self._load(kind, base)
        if common is MISSING and self._born is not None and kind in self._born:
            common = self._born[kind]()
        merged = merging.combine(
            common, self._load(kind, ours), self._load(kind, theirs), whole=True
        )
        if merging.clashes and self._function is not None:
            again = (self._load(kind, data) for data in (base, ours, theirs))
            merged = self._ask(kind, key, *(None if v is MISSING else v for v in again))
            return Resolution(self._dump(merged, ours, theirs))
        data = self._dump(merged, ours, theirs)
        return Resolution(data, merging.overridden, contested=merging.clashes > 0)

    def _merged(
        self, kind: Kind, base: bytes | None, ours: bytes | None, theirs: bytes | None
    ) -> Resolution:
        """Merge an entity of a kind that has a merge of its own."""
        sides = (self._load(kind, data) for data in (base, ours, theirs))
        merged = self._own[kind](*(None if side is MISSING else side for side in sides))
        data = self._dump(_present(merged.value), ours, theirs)
        return Resolution(data, merged.overridden, contested=merged.overridden > 0)

    def _ask(
        self, kind: Kind, key: EntityKey, base: object, ours: object, theirs: object
    ) -> object:
        assert self._function is not None  # noqa: S101 - for mypy: the only caller has looked
        try:
            return _present(self._function(kind.value, key, base, ours, theirs))
        except Exception as error:  # noqa: BLE001 - somebody else's function may raise anything
            reason = type(error).__name__
        raise _unmergeable(kind, f"merge= raised {reason}")

    def _load(self, kind: Kind, data: bytes | None) -> object:
        if data is None:
            return MISSING
        return load_all(self._serializer, kind, [(None, data)])[None]

    def _dump(self, merged: object, ours: bytes | None, theirs: bytes | None) -> bytes | None:
        """Return the merged value's bytes: the very bytes of a side, if it is the same value."""
        if merged is MISSING:
            return None
        data = dump(self._serializer, merged)
        for side in (theirs, ours):
            if side is not None and side != data:
                value = self._serializer.loads(side)
                data = side if alike(merged, value, self._essence) else data
        return data


def _present(value: object) -> object:
    """Return a value as `ThreeWayMerge` takes it: `MISSING` for None."""
    return MISSING if value is None else value


def _unmergeable(kind: Kind, reason: str) -> ConflictError:
    return ConflictError(
        f"Another writer has changed an entity of {kind.value} that was changed here as well, and "
        f"the two cannot be merged: {reason}. Nothing was overwritten; what changed here is kept "
        "in memory, and the next commit tries again. Mend merge= or trusted=, or restart the bot."
    )
