"""Rebase: our changes on top of another writer's commit, entity by entity. Pure.

As `git rebase` does, and against the same common base::

    common base        revision 7, which both had
      +-- theirs       revision 8, committed
      |     +-- ours   on top of theirs: to be revision 9
      +-- ours         as it was staged, on revision 7

=========  =========  =========================================================================
ours       theirs     on top of theirs
=========  =========  =========================================================================
unchanged  changed    theirs; the caller's object is overtaken
changed    unchanged  ours
changed    changed    `Resolve` merges the three; where that gives theirs, nothing is left to commit
changed    changed    it cannot be merged: theirs stays, ours is `Unmerged`; all others go on
=========  =========  =========================================================================

Their changes are read off the heads: each entry of the differential bears the revision of its last
change. A kind that they have compacted past our base lacks such entries: its blob is read, and the
two states are compared.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from ptb_s3._format import entities as _state
from ptb_s3._format.blobs import Blob
from ptb_s3._format.committed import Base
from ptb_s3._format.entities import Changes, Entities, EntityKey, Kind, Resolution, Resolve
from ptb_s3._format.head import Head, Part
from ptb_s3.errors import ConflictError


class Unmerged(NamedTuple):
    """Entity whose changes on two sides cannot be merged: theirs stays.

    Attributes:
        kind: Its kind.
        key: Its key.
        ours: Its bytes on our side; None: deleted.
        fault: The error that its merge raised, for whoever saves it.
    """

    kind: Kind
    key: EntityKey
    ours: bytes | None
    fault: ConflictError


class Rebased(NamedTuple):
    """Result of a rebase.

    Attributes:
        changes: Our changes that are left to commit.
        merged: Number of entities that had changed on both sides, and were merged.
        overridden: Number of changes of theirs that ours have won over.
        contested: Number of merged entities in which both sides changed the same thing; see
            `Resolution`.
        unmerged: Entities that cannot be merged.
    """

    changes: Changes
    merged: int = 0
    overridden: int = 0
    contested: int = 0
    unmerged: tuple[Unmerged, ...] = ()


def compacted(base: Base, head: Head) -> list[Kind]:
    """Return the kinds compacted past our base, whose blobs have to be read again.

    Their differential begins after our revision, so that some of the changes are in the blob alone.
    """
    return [
        kind
        for kind, part in head.parts.items()
        if part.ref is not None and part.ref.revision > base.head.revision
    ]


def changes_since(base: Base, theirs: Base, whole: list[Kind]) -> Changes:
    """Return the changes that others have committed since a base.

    Args:
        base: The base.
        theirs: Their head and, of some kinds, all entities.
        whole: The kinds of which `theirs` has all entities.
    """
    return {
        kind: _newer(base, kind, part)
        if kind not in whole
        else _different(base, theirs, kind)
        if kind in theirs.partial
        else _state.difference(base.entities[kind], theirs.entities[kind])
        for kind, part in theirs.head.parts.items()
    }


def rebase(
    entities: Mapping[Kind, Entities], ours: Changes, theirs: Changes, resolve: Resolve
) -> Rebased:
    """Return our changes on top of theirs.

    Args:
        entities: The state that both had in common.
        ours: Our changes to it.
        theirs: Their changes to it.
        resolve: Merges entities that both changed.
    """
    changes: Changes = {kind: dict(changed) for kind, changed in ours.items()}
    settled: list[Resolution] = []
    unmerged: list[Unmerged] = []
    for kind, changed in ours.items():
        for key in changed.keys() & theirs.get(kind, {}).keys():
            before, other = entities[kind].get(key), theirs[kind][key]
            try:
                resolution = resolved(resolve, kind, key, (before, changed[key], other))
            except ConflictError as fault:
                unmerged.append(Unmerged(kind, key, changed[key], fault))
                del changes[kind][key]
                continue
            settled.append(resolution)
            if resolution.value == other:
                del changes[kind][key]
            else:
                changes[kind][key] = resolution.value
    return Rebased(
        changes,
        len(settled),
        sum(resolution.overridden for resolution in settled),
        sum(resolution.contested for resolution in settled),
        tuple(unmerged),
    )


def resolved(
    resolve: Resolve,
    kind: Kind,
    key: EntityKey,
    sides: tuple[bytes | None, bytes | None, bytes | None],
) -> Resolution:
    """Merge an entity, and check that the outcome can be written.

    Args:
        resolve: Merges it.
        kind: Its kind.
        key: Its key.
        sides: Its bytes in the common base, ours, and theirs; None: there is no entity.

    Raises:
        ConflictError: It cannot be merged, or is too large to be written once merged. Its
            attributes name kind and key.
    """
    try:
        resolution = resolve(kind, key, *sides)
    except ConflictError as error:
        error.kind, error.key = kind.value, key
        raise
    fault = None if resolution.value is None else _state.fault_of(kind, key, resolution.value)
    if fault is not None:
        refusal = ConflictError(
            f"Another writer has changed an entity of {kind.value} that was changed here as well, "
            f"and merged it cannot be saved: {fault}. Theirs stays; ours is kept in memory as long "
            "as the bot runs. Make it smaller."
        )
        refusal.kind, refusal.key = kind.value, key
        raise refusal
    return resolution


def blobs_after(base: Base, theirs: Base) -> dict[Kind, Blob]:
    """Return the newest blob known of each kind: read, written here, or named by their head.

    A blob of ours that their head does not refer to yet waits for the next head. Any blob written
    since is newer, and a newer one is a base as well (the range rule; see `_format.reader`).

    Args:
        base: Our base.
        theirs: Theirs, with the blobs that were read for it.
    """
    blobs = dict(base.blobs)
    for kind, part in theirs.head.parts.items():
        known = blobs.get(kind)
        if part.ref is not None and (known is None or known.ref.revision < part.ref.revision):
            blobs[kind] = Blob(None, part.ref)
    return {**blobs, **theirs.blobs}


def _newer(base: Base, kind: Kind, part: Part) -> dict[EntityKey, bytes | None]:
    """Return the changes of a kind after a base, from their differential.

    Another thread reads entities meanwhile: whether one is known is asked before what it is. In the
    other order, a deletion of one that becomes known in between would be left out.
    """
    entities, revision = base.entities[kind], base.head.revision
    return {
        key: entry.value
        for key, entry in part.differential.items()
        if entry.revision > revision
        and (not base.knows(kind, key) or entry.value != entities.get(key))
    }


def _different(base: Base, theirs: Base, kind: Kind) -> dict[EntityKey, bytes | None]:
    """Return what is known of a kind there, and is another here or is not known."""
    found: dict[EntityKey, bytes | None] = dict.fromkeys(theirs.partial[kind].absent)
    found.update(theirs.entities[kind])
    entities = base.entities[kind]
    return {
        key: value
        for key, value in found.items()
        if not base.knows(kind, key) or value != entities.get(key)
    }
