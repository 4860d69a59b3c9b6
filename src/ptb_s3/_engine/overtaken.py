"""Overtaken entities: those of which the caller's objects are made from other bytes than are there.

What "overtaken" means, and how it comes about, stands in `staging`. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

from ptb_s3._format.entities import Changes, EntityKey, Kind
from ptb_s3._format.words import spell_out_all


class Overtaken:
    """Register of overtaken entities, with the bytes that the caller last saw of each.

    Invariant: an entity whose bytes are those that the caller saw is not in it, unless the caller
    has said so (`note`).
    """

    def __init__(self) -> None:
        self._seen: Changes = {kind: {} for kind in Kind}

    def __getitem__(self, kind: Kind) -> dict[EntityKey, bytes | None]:
        """Return the overtaken entities of a kind, and the bytes seen, or None for none."""
        return self._seen[kind]

    def view(self) -> Mapping[Kind, Mapping[EntityKey, bytes | None]]:
        """Return all of them, to be looked at."""
        return {kind: MappingProxyType(entities) for kind, entities in self._seen.items()}

    def note(self, kind: Kind, key: EntityKey, seen: bytes | None) -> None:
        """Note that the caller's object of an entity is made from these bytes."""
        self._seen[kind][key] = seen

    def forget(self, kind: Kind, key: EntityKey) -> None:
        """Note that the caller's object of an entity is made from what is there."""
        self._seen[kind].pop(key, None)

    def catch_up(self, kind: Kind, keys: Iterable[EntityKey] | None) -> None:
        """Note that the caller has seen entities of a kind as they are.

        Args:
            kind: The kind.
            keys: Keys of the entities; None: all of the kind.
        """
        seen = self._seen[kind]
        for key in list(seen if keys is None else keys):
            seen.pop(key, None)

    def note_change(
        self, kind: Kind, key: EntityKey, before: bytes | None, now: bytes | None
    ) -> None:
        """Note that an entity has changed without the caller.

        One that is again as the caller saw it is overtaken no more.

        Args:
            kind: The entity's kind.
            key: Its key.
            before: Its bytes before.
            now: Its bytes now.
        """
        seen = self._seen[kind]
        if now != before:
            seen.setdefault(key, before)
        if key in seen and seen[key] == now:
            del seen[key]

    def spell_out(self, words: Sequence[str]) -> None:
        """Have no value refer to these words, which later heads do not have."""
        self._seen = spell_out_all(self._seen, words)
