"""Staged state: the base, what is to follow it, and what the caller has not seen of it. Pure.

A bot's values exist up to four times, and each may differ from the next::

    caller's object       made from the bytes that it last saw      `Staged.seen`
         |  stage()
         v
    staged                the state as the next commit has it       `Staged.get`
         |  commit (one conditional PUT of head)
         v
    undecided             sent, and the outcome is unknown          `_engine.attempts`
         |  settle
         v
    base                  committed, as far as this process knows   `Staged.base`

========== ======================================================================================
term       meaning
========== ======================================================================================
dirty      Staged, and not known to be committed. May equal the base: changed and changed back.
overtaken  The caller's object is made from other bytes than `get` gives: another writer has changed
           the entity since, or what was staged was taken back. A value made from it is no
           successor of what is there. So `stage` merges it first, with the bytes last seen as the
           common base.
undecided  Sent. It stays dirty until head shows the outcome; if it turns out to be committed,
           `advance` moves it to the base.
unmerged   It could not be merged with another writer's change, which stays; see `unmerged`.
========== ======================================================================================

Rule: all of it is changed by the methods of `Staged`, since each change of the base or of what is
dirty may make the caller's objects overtaken. The properties are views to look at.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from types import MappingProxyType

from ptb_s3._engine import rebase as _rebase
from ptb_s3._engine.overtaken import Overtaken
from ptb_s3._engine.rebase import Rebased, resolved
from ptb_s3._engine.unmerged import UnmergedChange, UnmergedChanges
from ptb_s3._engine.vocabulary import Vocabulary
from ptb_s3._format import entities as _state
from ptb_s3._format.blobs import UnknownEntityError
from ptb_s3._format.committed import Base
from ptb_s3._format.entities import Changes, Entities, EntityKey, Kind, Resolution, Resolve
from ptb_s3._format.words import spell_out_all
from ptb_s3.errors import ConflictError, OvertakenError

ReadOnlyChanges = Mapping[Kind, Mapping[EntityKey, bytes | None]]
"""Changes to look at; see `_format.entities.Changes`."""


def _nothing() -> Changes:
    return {kind: {} for kind in Kind}


class Staged:
    """Working copy on top of a base: the state as the next commit will have it.

    Args:
        base: The committed state, as far as this process knows.

    Attributes:
        base: The same.
        vocabulary: The words that values refer to.
        unmerged: Changes that cannot be merged with what others have committed.
        discarded: How often what was staged has been taken back.
    """

    def __init__(self, base: Base) -> None:
        self.base = base
        self.vocabulary = Vocabulary(base.head.words)
        self.unmerged = UnmergedChanges()
        self.discarded = 0
        self._dirty: Changes = _nothing()
        self._overtaken = Overtaken()
        self._updates: list[int] = []

    # Looking ------------------------------------------------------------------------------------

    @property
    def dirty(self) -> ReadOnlyChanges:
        """Return what is staged, and not known to be committed."""
        return {kind: MappingProxyType(entities) for kind, entities in self._dirty.items()}

    @property
    def overtaken(self) -> ReadOnlyChanges:
        """Return the overtaken entities, with the bytes that the caller's objects are made from."""
        return self._overtaken.view()

    @property
    def updates(self) -> tuple[int, ...]:
        """Return the ids of the updates whose effects are staged."""
        return tuple(self._updates)

    @property
    def clean(self) -> bool:
        """Return whether there is nothing to commit."""
        return not any(self._dirty.values()) and not self._updates

    def get(self, kind: Kind, key: EntityKey) -> bytes | None:
        """Return one entity as it is staged, or None where there is none."""
        dirty = self._dirty[kind]
        return dirty[key] if key in dirty else self.base.get(kind, key)

    def knows(self, kind: Kind, key: EntityKey) -> bool:
        """Tell whether it is known what an entity is: it was read, or staged."""
        return key in self._dirty[kind] or self.base.knows(kind, key)

    def known(self, kind: Kind) -> list[EntityKey]:
        """Return the keys of the entities that are known, as they are staged."""
        dirty = self._dirty[kind]
        gone = {key for key, value in dirty.items() if value is None}
        return list((self.base.entities[kind].keys() | dirty.keys()) - gone)

    def count(self, kind: Kind) -> int:
        """Return how many entities of a kind there are, as they are staged."""
        return self.base.count_after(kind, self._dirty[kind])

    def entities(self, kind: Kind) -> Entities:
        """Return a kind's entities as they are staged, in a dict of the caller's own.

        Raises:
            UnknownEntityError: It is a kind of which not all are known.
        """
        if kind in self.base.partial:
            raise UnknownEntityError(kind.value)
        entities = dict(self.base.entities[kind])
        _state.apply(entities, self._dirty[kind])
        return entities

    def changes(self, sent: Mapping[Kind, Collection[EntityKey]]) -> Changes:
        """Return what is staged and differs from the base, or from what may yet arrive there.

        Args:
            sent: Keys of what undecided attempts have changed. Of these, what equals the base goes
                as well: if the attempt takes effect, it is a change.
        """
        changes: Changes = {}
        for kind, dirty in self._dirty.items():
            base, in_flight = self.base.entities[kind], sent.get(kind, ())
            changed = {k: v for k, v in dirty.items() if v != base.get(k) or k in in_flight}
            if changed:
                changes[kind] = changed
        return changes

    # What the caller has seen -------------------------------------------------------------------

    def seen(self, kind: Kind, key: EntityKey) -> bytes | None:
        """Return the bytes of an entity as the caller last saw it, or None if it saw none."""
        overtaken = self._overtaken[kind]
        return overtaken[key] if key in overtaken else self.get(kind, key)

    def catch_up(self, kind: Kind, keys: Iterable[EntityKey] | None = None) -> None:
        """Note that the caller has seen entities of a kind as they are now, or that there are none.

        Args:
            kind: The kind.
            keys: Keys of the entities; None: all of the kind.
        """
        self._overtaken.catch_up(kind, keys)

    def note_seen(self, kind: Kind, key: EntityKey, seen: bytes | None) -> None:
        """Note that the caller's object of an entity was made from these bytes.

        What is staged of it next is merged against them.

        Args:
            kind: The entity's kind.
            key: Its key.
            seen: The bytes; None: there was no entity.
        """
        self._overtaken.note(kind, key, seen)

    # Staging ------------------------------------------------------------------------------------

    def stage(
        self,
        kind: Kind,
        key: EntityKey,
        value: bytes | None,
        resolve: Resolve | None,
        *,
        transactional: bool = False,
    ) -> Resolution | None:
        """Stage an entity, merged where it was overtaken, to go with the next commit.

        Args:
            kind: The entity's kind.
            key: Its key.
            value: Its bytes, as the caller has made them from what it saw; None: deleted.
            resolve: Merges them with what the caller did not see; None: nothing is merged.
            transactional: Whether the caller would rather make them again from what is there now.

        Returns:
            The outcome where both sides have changed it, to be counted; None elsewhere.

        Raises:
            OvertakenError: It is transactional, and both sides changed the same thing.
            ConflictError: They cannot be merged. The same change is refused once.
        """
        given, now = value, self.get(kind, key)
        merged: Resolution | None = None
        if key in self._overtaken[kind] and resolve is not None:
            seen = UnmergedChange(self._overtaken[kind][key], given)
            change = self.unmerged.joined(kind, key, seen, resolve)
            resolution = self._resolution(kind, key, change, given, resolve)
            if resolution is None:
                return None
            if transactional and resolution.contested:
                raise overtaken_error()
            value = resolution.value
            self.unmerged.forget(kind, key)
            merged = resolution if change.ours != change.common else None
        if value == given:
            self._overtaken.forget(kind, key)
        else:
            self._overtaken.note(kind, key, given)
        if value != now:
            self._dirty[kind][key] = value
        return merged

    def _resolution(
        self,
        kind: Kind,
        key: EntityKey,
        change: UnmergedChange,
        given: bytes | None,
        resolve: Resolve,
    ) -> Resolution | None:
        """Merge a change with what is there, or return None if the caller knows that it cannot be.

        Raises:
            ConflictError: They cannot be merged. The change is kept.
        """
        try:
            return resolved(resolve, kind, key, (*change, self.get(kind, key)))
        except ConflictError:
            self._overtaken.note(kind, key, given)
            if self.unmerged.note(kind, key, change):
                raise
            return None

    def stage_only(self, changes: Changes) -> None:
        """Stage these changes and nothing else, for a caller that holds no objects.

        Nothing counts as overtaken by it: commands make no values, and a start makes them after.
        """
        self._dirty = {kind: dict(changes.get(kind, {})) for kind in Kind}

    def drop(self, kind: Kind, key: EntityKey) -> None:
        """Stage the deletion of an entity, whatever others have made of it."""
        self._overtaken.forget(kind, key)
        self.unmerged.forget(kind, key)
        if self.get(kind, key) is not None:
            if not _state.is_key(kind, key):  # 5.0 and True find 5 and 1, and no reader takes them
                key = next(known for known in self.known(kind) if known == key)
            self._dirty[kind][key] = None

    def unstage(self, kind: Kind, key: EntityKey) -> None:
        """Take back what is staged of one entity, whose caller has made its object as it was."""
        self._dirty[kind].pop(key, None)

    def restage(self, kind: Kind, key: EntityKey, value: bytes | None) -> None:
        """Stage again what was staged before a drop that is taken back (see `unstage`)."""
        self._dirty[kind][key] = value

    def note_update(self, update: int) -> None:
        """Stage the id of an update, whose effects go with the next commit."""
        self._updates.append(update)

    def discard(self) -> None:
        """Take back all that is staged: from now on, the caller's objects are overtaken."""
        self.discarded += 1
        self._updates = []
        self.unmerged.clear()
        self._move({}, _nothing())

    def forget(self) -> None:
        """Forget what is staged, where all of it equals the base: it was changed back."""
        self._dirty = _nothing()

    def retry(self, resolve: Resolve) -> None:
        """Stage what is unmerged where it can be merged with what is there by now."""
        for (kind, key), change in self.unmerged.items():
            try:
                value = resolved(resolve, kind, key, (*change, self.get(kind, key))).value
            except ConflictError:
                continue  # `stage` or the commit that left it out has raised it
            self.unmerged.forget(kind, key)
            self._move({}, {**self._dirty, kind: {**self._dirty[kind], key: value}})

    # Following what is committed ----------------------------------------------------------------

    def advance(self, changes: Changes, updates: Collection[int] = ()) -> None:
        """Move to the base what this process has committed.

        What is still staged looks the same to the caller as before. The rest is `_move`d.

        Args:
            changes: The changes of the attempt that took effect.
            updates: Ids of the updates that it delivered.
        """
        self._updates = [one for one in self._updates if one not in updates]
        gone: Changes = {
            kind: {key: entities[key] for key in entities.keys() - self._dirty[kind].keys()}
            for kind, entities in changes.items()
        }
        if any(gone.values()):  # rarely, and to go through all that is staged takes a while
            self._move(gone, self._dirty)
        for kind, entities in changes.items():
            self.base.apply(kind, entities)
            base, dirty = self.base.entities[kind], self._dirty[kind]
            self._dirty[kind] = {k: v for k, v in dirty.items() if v != base.get(k)}

    def rebase(self, theirs: Changes, resolve: Resolve) -> Rebased:
        """Return what is staged on top of what another writer has committed.

        It changes nothing: the merge of a value may raise whatever it likes.

        Args:
            theirs: Their changes since the base.
            resolve: Merges entities that both sides changed.
        """
        return _rebase.rebase(self.base.entities, self._dirty, theirs, resolve)

    def take_over(self, theirs: Changes, rebased: Rebased) -> None:
        """Move to the base what another writer has committed, and stage ours on top of it.

        Args:
            theirs: Their changes.
            rebased: Ours, as `rebase` gave them.
        """
        for kind, key, ours, _ in rebased.unmerged:
            common = self.base.entities[kind].get(key)
            self.unmerged.note(kind, key, UnmergedChange(common, ours))
        self._move(theirs, rebased.changes)

    def spell_out(self, words: Sequence[str]) -> None:
        """Have no value refer to these words, since the heads that follow have others."""
        for kind, entities in self.base.entities.items():
            self.base.apply(kind, spell_out_all({kind: {**entities}}, words)[kind])
        self._dirty = spell_out_all(self._dirty, words)
        self._overtaken.spell_out(words)
        self.unmerged.spell_out(words)
        self.vocabulary.forget_suggested()

    def _move(self, changes: Changes, dirty: Changes) -> None:
        """Change the base and what is dirty, and note the entities that are overtaken by it.

        Args:
            changes: What has been committed.
            dirty: What is staged from now on.
        """
        touched = {
            (kind, key)
            for part in (changes, self._dirty, dirty)
            for kind, entities in part.items()
            for key in entities
        }
        # Nobody holds an object of an entity that is not known.
        before = {entity: self.get(*entity) for entity in touched if self.knows(*entity)}
        for kind, entities in changes.items():
            self.base.apply(kind, entities)
        self._dirty = dirty
        for (kind, key), value in before.items():
            self._overtaken.note_change(kind, key, value, self.get(kind, key))


def overtaken_error() -> OvertakenError:
    """Return the error for values that were made from what others have changed since."""
    return OvertakenError(
        "Another instance has changed what an update changed here as well, since it was read. All "
        "that the update changed was taken back; process it again, on what is there now."
    )
