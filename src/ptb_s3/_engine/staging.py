"""What is committed, what is staged to follow, and what the caller has not seen of it yet. Pure.

The caller keeps objects of its own, made from the bytes that it got here, and hands in what they
have become. Where another writer has changed an entity since, those objects are *overtaken*: a
value made from one is no successor of what is committed, and is merged with it first.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from ptb_s3._engine import rebase as _rebase
from ptb_s3._engine.rebase import Rebased, resolved
from ptb_s3._format import entities as _state
from ptb_s3._format.committed import Base
from ptb_s3._format.entities import Changes, Entities, EntityKey, Kind, Resolution, Resolve
from ptb_s3._format.words import spell_out, spell_out_all
from ptb_s3.errors import ConflictError, OvertakenError


class UnmergedChange(NamedTuple):
    """A change of ours that could not be merged with one of theirs, which stays.

    Attributes:
        common: What both were made from.
        ours: What we made of it.
    """

    common: bytes | None
    ours: bytes | None


def _nothing() -> Changes:
    return {kind: {} for kind in Kind}


@dataclass(slots=True)
class Staged:
    """The state as the next commit will have it.

    Attributes:
        base: What is committed, as far as this process knows.
        dirty: What is staged, and not known to be committed.
        overtaken: The bytes, as the caller last saw them, of entities that are others by now.
        updates: Ids of the updates whose effects are staged.
        words: Words to go with the next commit, if there is one.
        unmerged: Changes that cannot be merged with what others have committed; see `retry`.
        discarded: How often what was staged has been taken back.
    """

    base: Base
    dirty: Changes = field(default_factory=_nothing)
    overtaken: Changes = field(default_factory=_nothing)
    updates: list[int] = field(default_factory=list)
    words: tuple[str, ...] = ()
    unmerged: dict[tuple[Kind, EntityKey], UnmergedChange] = field(default_factory=dict)
    discarded: int = 0

    @property
    def clean(self) -> bool:
        """Whether there is nothing to commit."""
        return not any(self.dirty.values()) and not self.updates

    def get(self, kind: Kind, key: EntityKey) -> bytes | None:
        """Return one entity; None where there is none."""
        dirty = self.dirty[kind]
        return dirty[key] if key in dirty else self.base.entities[kind].get(key)

    def entities(self, kind: Kind) -> Entities:
        """Return a kind's entities."""
        entities = dict(self.base.entities[kind])
        _state.apply(entities, self.dirty[kind])
        return entities

    def seen(self, kind: Kind, key: EntityKey) -> bytes | None:
        """Return the bytes of an entity as the caller last saw it; None: it saw none."""
        overtaken = self.overtaken[kind]
        return overtaken[key] if key in overtaken else self.get(kind, key)

    def catch_up(self, kind: Kind, keys: Iterable[EntityKey] | None = None) -> None:
        """Note that the caller has seen entities of a kind as they are now, or are not there now.

        Args:
            kind: The kind.
            keys: Which of them; None: all.
        """
        overtaken = self.overtaken[kind]
        for key in list(overtaken if keys is None else keys):
            overtaken.pop(key, None)

    def stage(
        self,
        kind: Kind,
        key: EntityKey,
        value: bytes | None,
        resolve: Resolve | None,
        *,
        transactional: bool = False,
    ) -> Resolution | None:
        """Note what an entity has become (None: deleted), to go with the next commit.

        Args:
            kind: The entity's kind.
            key: Its key.
            value: Its bytes, as the caller has made them from what it saw.
            resolve: Merges them with what the caller did not see.
            transactional: Whether the caller would rather make them again from what is there now.

        Returns:
            What has become of it where both have changed it, to be counted.

        Raises:
            OvertakenError: It is transactional, and the two changed the same thing.
            ConflictError: They cannot be merged. The same ones are refused once.
        """
        overtaken, now, given = self.overtaken[kind], self.get(kind, key), value
        merged: Resolution | None = None
        if key in overtaken and resolve is not None:
            change = self._change(kind, key, given, resolve)
            try:
                resolution = resolved(resolve, kind, key, (*change, now))
            except ConflictError:
                overtaken[key] = given
                if self.unmerged.get((kind, key)) == change:
                    return None
                self.unmerged[kind, key] = change
                raise
            if transactional and resolution.contested:
                raise overtaken_error()
            value = resolution.value
            self.unmerged.pop((kind, key), None)
            merged = resolution if change.ours != change.common else None
        if value == given:
            overtaken.pop(key, None)
        else:
            overtaken[key] = given
        if value != now:
            self.dirty[kind][key] = value
        return merged

    def _change(
        self, kind: Kind, key: EntityKey, given: bytes | None, resolve: Resolve
    ) -> UnmergedChange:
        """Return what the caller has changed, with what was unmerged before on the same entity.

        Raises:
            ConflictError: The two cannot be merged.
        """
        seen, before = self.overtaken[kind][key], self.unmerged.get((kind, key))
        if before is None:
            return UnmergedChange(seen, given)
        return UnmergedChange(
            before.common, resolved(resolve, kind, key, (seen, given, before.ours)).value
        )

    def retry(self, resolve: Resolve) -> None:
        """Stage what is unmerged where it can be merged with what is there by now."""
        for (kind, key), change in list(self.unmerged.items()):
            try:
                value = resolved(resolve, kind, key, (*change, self.get(kind, key))).value
            except ConflictError:
                continue  # it was told
            del self.unmerged[kind, key]
            self._move({}, {**self.dirty, kind: {**self.dirty[kind], key: value}})

    def drop(self, kind: Kind, key: EntityKey) -> None:
        """Note that an entity is deleted, whatever others have made of it."""
        self.overtaken[kind].pop(key, None)
        self.unmerged.pop((kind, key), None)
        if self.get(kind, key) is not None:
            if not _state.is_key(kind, key):  # 5.0 and True find 5 and 1, and no reader takes them
                key = next(known for known in self.entities(kind) if known == key)
            self.dirty[kind][key] = None

    def discard(self) -> None:
        """Take back all that is staged: from now on, the caller's objects are overtaken."""
        self.discarded += 1
        self.updates = []
        self.unmerged = {}
        self._move({}, _nothing())

    def changes(self, sent: Mapping[Kind, Collection[EntityKey]]) -> Changes:
        """Return what is staged and differs from the base, or from what may yet arrive there.

        Args:
            sent: Keys of what attempts of unknown outcome have changed.
        """
        changes: Changes = {}
        for kind, dirty in self.dirty.items():
            base, in_flight = self.base.entities[kind], sent.get(kind, ())
            changed = {k: v for k, v in dirty.items() if v != base.get(k) or k in in_flight}
            if changed:
                changes[kind] = changed
        return changes

    def forget(self) -> None:
        """Forget what is staged, where all of it is what is committed: it was changed back."""
        self.dirty = _nothing()

    def advance(self, changes: Changes) -> None:
        """Take over what is committed now, by ourselves.

        What is still staged looks the same to the caller as before. What is not is moved with care.
        """
        gone: Changes = {
            kind: {key: entities[key] for key in entities.keys() - self.dirty[kind].keys()}
            for kind, entities in changes.items()
        }
        if any(gone.values()):  # not as a rule, and to look at all that is staged takes a while
            self._move(gone, self.dirty)
        for kind, entities in changes.items():
            base, dirty = self.base.entities[kind], self.dirty[kind]
            _state.apply(base, entities)
            self.dirty[kind] = {k: v for k, v in dirty.items() if v != base.get(k)}

    def rebase(self, theirs: Changes, resolve: Resolve) -> Rebased:
        """Work out what is staged on top of what another writer has committed; change nothing."""
        return _rebase.rebase(self.base.entities, self.dirty, theirs, resolve)

    def take_over(self, theirs: Changes, rebased: Rebased) -> None:
        """Take over what another writer has committed, and what is staged on top of it."""
        for kind, key, ours, _ in rebased.unmerged:
            self.unmerged[kind, key] = UnmergedChange(self.base.entities[kind].get(key), ours)
        self._move(theirs, rebased.changes)

    def spell_out(self, words: Sequence[str]) -> None:
        """Have no value refer to words: those that follow are others."""
        for kind, entities in self.base.entities.items():
            spelled = spell_out_all({kind: {**entities}}, words)
            _state.apply(entities, spelled[kind])
        self.dirty = spell_out_all(self.dirty, words)
        self.overtaken = spell_out_all(self.overtaken, words)
        self.words = ()
        self.unmerged = {
            entity: UnmergedChange(*(v if v is None else spell_out(v, words) for v in change))
            for entity, change in self.unmerged.items()
        }

    def _move(self, changes: Changes, dirty: Changes) -> None:
        """Change what is committed, and what is staged; note what the caller has not seen of it."""
        touched = {
            (kind, key)
            for part in (changes, self.dirty, dirty)
            for kind, entities in part.items()
            for key in entities
        }
        before = {entity: self.get(*entity) for entity in touched}
        for kind, entities in changes.items():
            _state.apply(self.base.entities[kind], entities)
        self.dirty = dirty
        for (kind, key), value in before.items():
            now, overtaken = self.get(kind, key), self.overtaken[kind]
            if now != value:
                overtaken.setdefault(key, value)
            if key in overtaken and overtaken[key] == now:
                del overtaken[key]


def overtaken_error() -> OvertakenError:
    """Return the error for what was made from what others have changed since."""
    return OvertakenError(
        "Another instance has changed what an update changed here as well, since it was read. All "
        "that the update changed was taken back; process it again, on what is there now."
    )
