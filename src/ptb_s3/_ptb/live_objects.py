"""The objects that PTB holds and handlers change: brought up to date in place.

Handlers may hold on to these objects, so they are not replaced by others. And one that differs from
what was last seen of it holds changes that nobody has saved yet: it is left alone until they are.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from ptb_s3._engine.staging import Staged
from ptb_s3._format.entities import EntityKey, Kind
from ptb_s3._ptb import refresh as _refresh
from ptb_s3._values import serializer as _codec
from ptb_s3._values.allow_list import full_name
from ptb_s3._values.sameness import alike, essence_by, mark
from ptb_s3._values.saved_forms import DIVISIBLE, Forms, Unsaved, fill
from ptb_s3._values.serializer import Serializer
from ptb_s3.errors import PersistenceError

_LOGGER = logging.getLogger("ptb_s3")


class LiveObjects:
    """Compares live objects with what was last seen of them, and changes them.

    Args:
        staged: What there is, and what of it has not been seen.
        serializer: Values to bytes and back.
        unsaved: Top-level keys that are never saved.

    Attributes:
        held: Whether copies of live objects are on their way to be staged. What is brought in
            meanwhile would count as seen by those who made the copies, and be overwritten by them.
    """

    def __init__(
        self, staged: Staged, serializer: Serializer, unsaved: Unsaved | None = None
    ) -> None:
        self.held: Callable[[], bool] = lambda: False
        self._staged = staged
        self._serializer = serializer
        self._forms = Forms(serializer, staged.seen, unsaved)
        self._essence = essence_by(serializer)
        self._told: set[Kind] = set()

    def overtaken(self, kind: Kind) -> list[EntityKey]:
        """Return the entities of a kind that live objects are behind of."""
        return list(self._staged.overtaken[kind])

    def exists(self, kind: Kind, key: EntityKey) -> bool:
        """Tell whether there is such an entity now."""
        return self._staged.get(kind, key) is not None

    def seen(self, kind: Kind, key: EntityKey) -> bytes | None:
        """Return the bytes of an entity as it was last looked at; None: there was none."""
        return self._staged.seen(kind, key)

    def unseen(self, kind: Kind, key: EntityKey) -> bool:
        """Tell whether there was no such entity when it was last looked at."""
        return self._staged.seen(kind, key) is None

    def skip(self, kind: Kind, key: EntityKey) -> None:
        """Count an entity as seen."""
        self._staged.catch_up(kind, [key])

    def untouched(self, kind: Kind, key: EntityKey, live: object, pristine: object) -> bool:
        """Tell whether a live object is what was last seen of it.

        Args:
            kind: The entity's kind.
            key: Its key.
            live: The object.
            pristine: What it was born as where there was no such entity.
        """
        return self._same(kind, key, live, pristine) is True

    def changed(self, kind: Kind, key: EntityKey, live: object, pristine: object) -> bool:
        """Tell whether a live object holds changes that can be saved; as `untouched`."""
        return self._same(kind, key, live, pristine) is False

    def _same(self, kind: Kind, key: EntityKey, live: object, pristine: object) -> bool | None:
        """Compare a live object with what was last seen of it; None: it cannot be saved.

        Without what of it cannot be saved, or never is.
        """
        seen, form = self._staged.seen(kind, key), self._forms.of(kind, key, live)
        if form.data is None:
            return None
        if form.data == seen:
            return True
        try:
            # Other bytes may be the same value: written before there were words, for one.
            value = pristine if seen is None else self._load(kind, key, seen)
        except PersistenceError:
            return False  # what was seen of it does not load any more
        return alike(form.value, value, self._essence)

    def kept(self, kind: Kind, key: EntityKey, live: object) -> list[tuple[Any, Any]]:
        """Return the items of a live object that stay in it, whatever the entity becomes.

        These are those that cannot be saved, or never are: nobody else has them.
        """
        if kind not in DIVISIBLE or not isinstance(live, dict):
            return []
        form = self._forms.of(kind, key, live)
        return [
            item for item in dict.items(live) if item[0] in form.unsaved or item[0] in form.refusals
        ]

    def fetch(self, kind: Kind, key: EntityKey) -> object | None:
        """Return what an entity is now, as a fresh object, and count it as seen; None: it is gone.

        Raises:
            PersistenceError: It cannot be loaded; it stays unseen.
        """
        value = self._load(kind, key, self._staged.get(kind, key))
        self._staged.catch_up(kind, [key])
        return value

    def fetch_all(self, kind: Kind) -> dict[EntityKey, object]:
        """Return what all entities of a kind are now; as `fetch`."""
        values = _codec.load_all(self._serializer, kind, self._staged.entities(kind).items())
        self._staged.catch_up(kind)
        return values

    def go_back(self, kind: Kind, key: EntityKey, seen: bytes | None) -> object | None:
        """Return what an entity was when its bytes were these, for the live object to be again.

        For one that cannot be loaded as it is now: `fetch` has failed. What is made from it is
        merged against these bytes.

        Raises:
            PersistenceError: That cannot be loaded either.
        """
        value = self._load(kind, key, seen)
        self._staged.overtaken[kind][key] = seen
        return value

    def _load(self, kind: Kind, key: EntityKey, data: bytes | None) -> object | None:
        if data is None:
            return None
        return _codec.load_all(self._serializer, kind, [(key, data)])[key]

    def refresh(
        self, kind: Kind, key: EntityKey, live: object, pristine: Callable[[], object]
    ) -> None:
        """Make a live object what the entity is now, unless it holds changes of its own.

        What the object cannot become is not counted as seen. When the object is saved, it is merged
        with that, rather than written over it.

        Args:
            kind: The entity's kind.
            key: Its key.
            live: The object.
            pristine: Makes what PTB gives to a user or chat that has no data.
        """
        if key not in self._staged.overtaken[kind] or self.held():
            return
        if not self.untouched(kind, key, live, pristine()):
            return
        seen, now = self._staged.seen(kind, key), self._staged.get(kind, key)

        def made_from(data: bytes | None) -> object:
            return pristine() if data is None else self._load(kind, key, data)

        try:
            way = _refresh.way(lambda: made_from(seen), lambda: made_from(now), self._essence)
            if isinstance(way, _refresh.Refusal):
                self._tell(kind, live, way)
                return
            fresh, kept = made_from(now), self.kept(kind, key, live)
            if not self._can_be_found(kept):
                return
            fill(fresh, kept)
            way(live, fresh)
        except PersistenceError as error:
            _LOGGER.warning("Left a live object of %s as it was. %s", kind.value, error)
        else:
            self._staged.catch_up(kind, [key])

    def _can_be_found(self, items: list[tuple[Any, Any]]) -> bool:
        try:
            return all(mark(key, self._essence) for key, _ in items)
        except Exception:  # noqa: BLE001 - objects' own code may raise anything
            return False

    def _tell(self, kind: Kind, live: object, refusal: _refresh.Refusal) -> None:
        if kind not in self._told:  # once: it would be said with every update
            self._told.add(kind)
            _LOGGER.warning(
                "Left live objects of %s as they were: class %s cannot be brought up to date with "
                "what another writer has committed, since %s. Nothing is lost, for it is merged "
                "with what is saved here; handlers see it after a restart, or at once with another "
                "context type.",
                kind.value,
                full_name(type(live)),
                refusal.reason,
            )
