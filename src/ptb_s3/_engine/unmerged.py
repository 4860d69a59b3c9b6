"""Unmerged changes: ours that could not be merged with another writer's, kept to be tried again.

Theirs stays committed. Ours is kept in memory as long as the bot runs, since the reason may go
away: the entity changes again, or ``merge=`` and ``trusted=`` are mended. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ptb_s3._engine.rebase import resolved
from ptb_s3._format.entities import EntityKey, Kind, Resolve
from ptb_s3._format.words import spell_out


class UnmergedChange(NamedTuple):
    """Change of ours that could not be merged with theirs, which stays.

    Attributes:
        common: Bytes that both sides were made from; None: there was no entity.
        ours: Bytes that we made of them; None: deleted.
    """

    common: bytes | None
    ours: bytes | None


class UnmergedChanges:
    """Register of the unmerged changes, at most one for each entity."""

    def __init__(self) -> None:
        self._changes: dict[tuple[Kind, EntityKey], UnmergedChange] = {}

    @property
    def kinds(self) -> list[Kind]:
        """Return the kinds of which a change is unmerged, in order."""
        return sorted({kind for kind, _ in self._changes})

    def __bool__(self) -> bool:
        """Tell whether there is any."""
        return bool(self._changes)

    def items(self) -> list[tuple[tuple[Kind, EntityKey], UnmergedChange]]:
        """Return all of them by entity, as a list that outlives changes of the register."""
        return list(self._changes.items())

    def note(self, kind: Kind, key: EntityKey, change: UnmergedChange) -> bool:
        """Keep a change, and tell whether it is another one than was kept already."""
        known = self._changes.get((kind, key))
        self._changes[kind, key] = change
        return known != change

    def forget(self, kind: Kind, key: EntityKey) -> None:
        """Forget what is unmerged of an entity, if anything."""
        self._changes.pop((kind, key), None)

    def clear(self) -> None:
        """Forget all of them."""
        self._changes.clear()

    def joined(
        self, kind: Kind, key: EntityKey, change: UnmergedChange, resolve: Resolve
    ) -> UnmergedChange:
        """Return a new change of an entity, joined with the one that is unmerged already.

        Args:
            kind: The entity's kind.
            key: Its key.
            change: The new one.
            resolve: Merges the two.

        Raises:
            ConflictError: The two cannot be merged.
        """
        before = self._changes.get((kind, key))
        if before is None:
            return change
        both = resolved(resolve, kind, key, (change.common, change.ours, before.ours))
        return UnmergedChange(before.common, both.value)

    def spell_out(self, words: Sequence[str]) -> None:
        """Have no value refer to these words, which later heads do not have."""
        self._changes = {
            entity: UnmergedChange(*(v if v is None else spell_out(v, words) for v in change))
            for entity, change in self._changes.items()
        }
