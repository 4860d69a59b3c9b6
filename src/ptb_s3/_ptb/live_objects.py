"""Compare the objects that PTB holds with what was last seen of them, and update them in place.

A *live object* is one that PTB holds and handlers change, such as ``application.user_data[1]``. A
handler may keep a reference to it across an `await`, so it is changed in place and not replaced.
Its entity has up to three states of bytes:

==========  =======================================================================
seen        what the live object was made from, or was last saved as
now         what is committed or staged; differs from *seen* if *overtaken*, that is,
            if another writer has committed the entity since it was last seen
live        what the object would be serialised as at this moment
==========  =======================================================================

An object whose *live* differs from *seen* holds changes that nobody has saved yet. It is left
alone, and merged with *now* when it is saved. Any other is changed to the value of *now*.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from ptb_s3._engine.staging import Staged
from ptb_s3._format.entities import EntityKey, Kind
from ptb_s3._ptb import refresh as _refresh
from ptb_s3._values.allow_list import full_name
from ptb_s3._values.copies import fill
from ptb_s3._values.equality import alike, essence_by, mark
from ptb_s3._values.loading import load_all
from ptb_s3._values.partial_saves import DIVISIBLE, Forms, Refusal, Unsaved
from ptb_s3._values.serializer import Serializer
from ptb_s3.errors import PersistenceError

_LOGGER = logging.getLogger("ptb_s3")


class LiveObjects:
    """View of PTB's live objects against the staged state, in the terms of the module.

    Args:
        staged: Staged state: what there is *now*, and what of it has been *seen*.
        serializer: Serializer of the values.
        unsaved: Top-level keys that are never saved, by kind.
        held: Tells whether copies of live objects are on their way to be staged. An update brought
            in meanwhile would count as seen by the copies, which would then overwrite it.

    Attributes:
        held: As above.
    """

    def __init__(
        self,
        staged: Staged,
        serializer: Serializer,
        unsaved: Unsaved | None = None,
        held: Callable[[], bool] = lambda: False,
    ) -> None:
        self.held = held
        self._staged = staged
        self._serializer = serializer
        self._forms = Forms(serializer, staged.seen, unsaved)
        self._essence = essence_by(serializer)
        self._told: set[Kind] = set()

    def overtaken(self, kind: Kind) -> list[EntityKey]:
        """Return the keys of the entities of a kind that were overtaken."""
        return list(self._staged.overtaken[kind])

    def exists(self, kind: Kind, key: EntityKey) -> bool:
        """Tell whether an entity exists now."""
        return self._staged.get(kind, key) is not None

    def seen(self, kind: Kind, key: EntityKey) -> bytes | None:
        """Return the bytes of an entity as it was last seen, or None if it did not exist."""
        return self._staged.seen(kind, key)

    def unseen(self, kind: Kind, key: EntityKey) -> bool:
        """Tell whether an entity did not exist when it was last seen."""
        return self._staged.seen(kind, key) is None

    def skip(self, kind: Kind, key: EntityKey) -> None:
        """Count an entity as seen, without loading it."""
        self._staged.catch_up(kind, [key])

    def untouched(self, kind: Kind, key: EntityKey, live: object, pristine: object) -> bool:
        """Tell whether a live object is the same value as its entity when last seen.

        Args:
            kind: Kind of the entity.
            key: Its key.
            live: Its live object.
            pristine: Value that PTB makes of an entity that does not exist.
        """
        return self._same(kind, key, live, pristine) is True

    def changed(self, kind: Kind, key: EntityKey, live: object, pristine: object) -> bool:
        """Tell whether a live object holds changes that can be saved.

        Takes the arguments of `untouched`, and is no opposite of it: both are false for an object
        of which nothing can be saved.
        """
        return self._same(kind, key, live, pristine) is False

    def _same(self, kind: Kind, key: EntityKey, live: object, pristine: object) -> bool | None:
        """Compare the saved form of a live object with its entity when last seen.

        Returns:
            Whether they are the same value. None if nothing of the object can be saved.
        """
        seen, form = self._staged.seen(kind, key), self._forms.of(kind, key, live)
        if form.data is None:
            return None
        if form.data == seen:
            return True
        try:
            # Other bytes may be the same value, as of one written before the store had words.
            value = pristine if seen is None else self._load(kind, key, seen)
        except PersistenceError:
            return False  # the bytes last seen do not load any more
        return alike(form.value, value, self._essence)

    def kept(self, kind: Kind, key: EntityKey, live: object) -> list[tuple[Any, Any]]:
        """Return the items of a live object that no update from outside may remove.

        These are those that cannot be saved, or never are: no other writer has them.
        """
        if kind not in DIVISIBLE or not isinstance(live, dict):
            return []
        form = self._forms.of(kind, key, live)
        return [
            item for item in dict.items(live) if item[0] in form.unsaved or item[0] in form.refusals
        ]

    def refusals(self, kind: Kind, key: EntityKey, live: object) -> Mapping[Any, Refusal]:
        """Return why parts of a live object cannot be saved, by top-level key."""
        return self._forms.of(kind, key, live).refusals

    def fetch(self, kind: Kind, key: EntityKey) -> object | None:
        """Load an entity as it is now, and count it as seen.

        Returns:
            A fresh object; None if the entity does not exist.

        Raises:
            PersistenceError: It cannot be loaded. It is not counted as seen.
        """
        value = self._load(kind, key, self._staged.get(kind, key))
        self._staged.catch_up(kind, [key])
        return value

    def fetch_all(self, kind: Kind) -> dict[EntityKey, object]:
        """Load all entities of a kind as they are now, by key, otherwise as `fetch`."""
        values = load_all(self._serializer, kind, self._staged.entities(kind).items())
        self._staged.catch_up(kind)
        return values

    def go_back(self, kind: Kind, key: EntityKey, seen: bytes | None) -> object | None:
        """Load an entity from older bytes, since `fetch` has failed, and count these as seen.

        A value that is made from the returned object is merged against these bytes.

        Args:
            kind: Kind of the entity.
            key: Its key.
            seen: Bytes to load; None: the entity did not exist.

        Returns:
            A fresh object; None for no bytes.

        Raises:
            PersistenceError: These cannot be loaded either.
        """
        value = self._load(kind, key, seen)
        self._staged.note_seen(kind, key, seen)
        return value

    def _load(self, kind: Kind, key: EntityKey, data: bytes | None) -> object | None:
        if data is None:
            return None
        return load_all(self._serializer, kind, [(key, data)])[key]

    def refresh(
        self, kind: Kind, key: EntityKey, live: object, pristine: Callable[[], object]
    ) -> None:
        """Make a live object the value that its entity has now, unless it holds unsaved changes.

        If the object cannot become that value, the entity stays overtaken: what is saved of the
        object is merged with it, rather than written over it. Raises nothing.

        Args:
            kind: Kind of the entity.
            key: Its key.
            live: Its live object.
            pristine: Makes the value that PTB gives to a user or chat without data.
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
        if kind not in self._told:  # once: a line with every update would fill the log
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
