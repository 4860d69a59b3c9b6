"""What PTB hands over, on its way to bytes: what of it is a change, and what can be written."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import TypeAlias

from ptb_s3._engine.repository import Repository
from ptb_s3._format.entities import EntityKey, Kind
from ptb_s3._ptb.commit_group import Update
from ptb_s3._values import serializer as _codec
from ptb_s3._values.sameness import alike
from ptb_s3._values.saved_forms import DIVISIBLE, Forms, Refusal, Unsaved
from ptb_s3._values.serializer import PickleSerializer, Serializer
from ptb_s3._values.sets import may_make_sets
from ptb_s3.errors import OvertakenError, PersistenceError, SerializationError

# Marks of what was refused and said, by entity and part.
Said: TypeAlias = Mapping[tuple[Kind, EntityKey], dict[object, bytes]]


class Staging:
    """Serialises entities and stages those that have changed.

    What cannot be saved is said once, and again only when the value is another.

    Args:
        repository: Where they are staged.
        serializer: Turns values into bytes.
        unsaved: Top-level keys that are never saved.
    """

    def __init__(
        self, repository: Repository, serializer: Serializer, unsaved: Unsaved | None = None
    ) -> None:
        self._repository = repository
        self._serializer = serializer
        self._forms = Forms(serializer, repository.staged.seen, unsaved)
        # What was said of entities: marks of what was refused, by top-level key or part.
        self._said: dict[tuple[Kind, EntityKey], dict[object, bytes]] = {}
        # What fresh objects are written as, where those are not the bytes they were made from.
        self._alike: dict[tuple[Kind, EntityKey], tuple[bytes | None, bytes]] = {}

    @property
    def said(self) -> Said:
        """What was said of entities so far, to be set again where it is to be said once more."""
        return self._said.copy()

    @said.setter
    def said(self, said: Said) -> None:
        self._said = dict(said)

    def note_unchanged(
        self, kind: Kind, values: Mapping[EntityKey, object], *, loaded: bool = False
    ) -> None:
        """Note what PTB's copies of objects are written as while nobody has changed them.

        Those may be other bytes than the ones they were made from: which strings are one and the
        same object, for one, is part of a pickle. So an idle bot, whose bot_data PTB sends in every
        interval, would make a commit after each start.

        Args:
            kind: Whose entities they are.
            values: The objects as they were just made, or as a type makes them for what never was.
            loaded: Whether they were made from what was saved. What it holds of keys that are never
                saved is to go, and so is a change.
        """
        for key, value in values.items():
            seen = self._repository.staged.seen(kind, key)
            try:
                form = self._forms.of(kind, key, value) if kind in DIVISIBLE else None
                if form is not None and loaded and form.unsaved:
                    continue
                shell = value if form is None else form.value
                data = _codec.dump(self._serializer, deepcopy(shell))
            except Exception:  # noqa: BLE001, S112 - said by PTB's own copy, or when it is saved
                continue
            if data != seen:
                self._alike[kind, key] = seen, data

    def stage(self, update: Update) -> None:
        """Serialise and stage what a call hands over; a fault is that of its entity alone."""
        kind, values = update.kind, update.values
        for key in self._gone(kind, values) if update.whole else update.dropped:
            try:
                self._repository.staged.drop(kind, key)
                self.forget(kind, key)
            except Exception as error:  # noqa: BLE001 - a key's own code may raise anything
                update.faults.append(_fault(kind, key, error))
        for key, value in values.items():
            try:
                self._stage_value(update, key, value)
            except OvertakenError:
                pass  # all is taken back, as the commit says
            except Exception as error:  # noqa: BLE001 - see `_fault`
                update.faults.append(_fault(kind, key, error))

    def forget(self, kind: Kind, key: EntityKey) -> None:
        """Forget what was said of an entity that is gone."""
        self._said.pop((kind, key), None)
        self._forms.forget(kind, key)

    def _stage_value(self, update: Update, key: EntityKey, value: object) -> None:
        kind, form = update.kind, self._forms.of(update.kind, key, value)
        if form.refusals or self._said:
            update.faults.extend(self._unsaid(kind, key, form.refusals))
        data = form.data
        if data is None:
            return
        if self._alike:
            alike = self._alike.get((kind, key))
            if alike is not None and alike == (self._repository.staged.seen(kind, key), data):
                return
        if not self._is_seen(kind, key, form.value, data):
            self._repository.stage(kind, key, data)

    def _unsaid(
        self, kind: Kind, key: EntityKey, refusals: Mapping[object, Refusal]
    ) -> list[SerializationError]:
        """Return what is to be said of what cannot be saved, and note that it is."""
        said = self._said.pop((kind, key), {})
        if refusals:
            self._said[kind, key] = {part: refusal.mark for part, refusal in refusals.items()}
        return [
            refusal.fault(kind, key)
            for part, refusal in refusals.items()
            if said.get(part) != refusal.mark
        ]

    def _is_seen(self, kind: Kind, key: EntityKey, value: object, data: bytes) -> bool:
        """Tell whether these are but other bytes of what was seen: of sets that have no order.

        As where elements lead back to the set. To write them again is no change, and each copy has
        bytes of its own. Those of a change have another length as a rule, which costs no look.
        """
        seen = self._repository.staged.seen(kind, key)
        if seen is None or data == seen or len(data) != len(seen):
            return False
        if type(self._serializer) is not PickleSerializer or not may_make_sets(data):
            return False
        try:
            return alike(value, self._serializer.loads(seen))
        except Exception:  # noqa: BLE001 - objects' own code may raise anything
            return False

    def _gone(self, kind: Kind, values: Mapping[EntityKey, object]) -> list[EntityKey]:
        """Return what is not among all values any more, and was, as far as PTB has seen."""
        staged = self._repository.staged
        # What others have deleted as well: if it comes back, PTB is not to be taken to have it.
        known = staged.entities(kind).keys() | staged.overtaken[kind].keys()
        return [key for key in known - values.keys() if staged.seen(kind, key) is not None]


def _fault(kind: Kind, key: EntityKey, error: Exception) -> PersistenceError:
    """Return what to say of an entity that could not be staged, for whatever reason."""
    if isinstance(error, SerializationError):
        return error.locate(kind.value, key)
    if isinstance(error, PersistenceError):
        return error
    # Without the error itself: its text may quote what is in the value.
    return SerializationError(f"to stage it raised {type(error).__name__}").locate(kind.value, key)
