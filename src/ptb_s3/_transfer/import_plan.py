"""Plan of an import: which entities of another state go into a store, and in which form.

An import adds what a store has not, and replaces what it has only where it is told to. Values of
another store may refer to words by number (`ptb_s3._format.words`): they are taken over as they are
where the two stores have the same words, and spelled out otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from ptb_s3._engine.repository import Repository
from ptb_s3._format.entities import Changes, Entities, Kind
from ptb_s3._format.words import spell_out
from ptb_s3.errors import ConflictError, SettingsError

SERIALIZER = "pickle5"
"""Id of the built-in serializer. Values of others can be read by the bot alone."""

State = Mapping[Kind, Entities]


class Counts(NamedTuple):
    """Counts of the entities of one kind: in the source, to be imported, and there already."""

    found: int
    imported: int
    kept: int


class ImportPlan(NamedTuple):
    """Plan of an import.

    Attributes:
        changes: The entities to commit.
        counts: How many of each kind there are.
    """

    changes: Changes
    counts: dict[Kind, Counts]


def plan_import(repository: Repository, state: State, *, merge: bool, replace: bool) -> ImportPlan:
    """Plan to add a state's entities to a store.

    Args:
        repository: The store's state, loaded.
        state: The entities, in the form that `adopt_words` gives them.
        merge: Whether the store may hold a state already.
        replace: Whether to replace entities that it has.

    Raises:
        ConflictError: The store is not empty, and nobody has said to merge.
    """
    present = repository.base.entities
    if repository.revision and not merge:
        raise ConflictError(
            f"The store is not empty: it is at revision {repository.revision}. Nothing was "
            "changed. Import into another prefix, or pass --merge to add what it has not."
        )
    changes: Changes = {
        kind: {
            key: value
            for key, value in entities.items()
            if key not in present[kind] or (replace and present[kind][key] != value)
        }
        for kind, entities in state.items()
    }
    return ImportPlan(changes, {kind: _count(kind, state, changes) for kind in Kind})


def _count(kind: Kind, state: State, changes: Changes) -> Counts:
    found, imported = len(state.get(kind, {})), len(changes.get(kind, {}))
    return Counts(found, imported, found - imported)


def adopt_words(
    repository: Repository,
    state: State,
    words: tuple[str, ...] | None,
    share: Callable[[State], tuple[State, tuple[str, ...]]],
) -> State:
    """Return values in a form that fits the words of a store.

    Args:
        repository: Where they go. An empty one is given words of its own, with the first commit.
        state: The values.
        words: The words that they refer to; None: they come from a file, and refer to none.
        share: Finds the words that values from a file share, and puts references in their place.
    """
    if repository.revision == 0:
        if words is None:
            state, words = share(state)
        repository.suggest(words)
    elif words is not None and repository.words[: len(words)] != words:
        state = spelled_out(state, words)
    return state


def spelled_out(state: State, words: tuple[str, ...]) -> State:
    """Return values with the words themselves in place of references to them."""
    return {
        kind: {key: spell_out(value, words) for key, value in entities.items()}
        for kind, entities in state.items()
    }


def require_built_in(serializer: str) -> None:
    """Refuse the values of a serializer that only the bot has.

    Raises:
        SettingsError: It is one.
    """
    if serializer != SERIALIZER:
        raise SettingsError(
            f"The values were made by serializer {serializer!r}, which only the bot has. "
            "Copy the objects by the bucket's own means instead."
        )
