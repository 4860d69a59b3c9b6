"""What another writer has committed, and how our changes go on top of it. Pure.

As git does: take their changes to what we did not touch, keep ours where they touched nothing, and
have the rest resolved, one entity at a time, against the state that both had in common.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from ptb_s3._format import entities as _state
from ptb_s3._format.committed import Base, Blob
from ptb_s3._format.entities import Changes, Entities, EntityKey, Kind, Resolution, Resolve
from ptb_s3._format.head import Head, Part
from ptb_s3.errors import ConflictError


class Unmerged(NamedTuple):
    """An entity whose changes on two sides cannot be merged: theirs stays.

    Attributes:
        kind: Its kind.
        key: Its key.
        ours: What we had made of it.
        fault: Why they cannot be merged.
    """

    kind: Kind
    key: EntityKey
    ours: bytes | None
    fault: ConflictError


class Rebased(NamedTuple):
    """Our changes, on top of theirs.

    Attributes:
        changes: What is left to commit.
        merged: How many entities had changed on both sides.
        overridden: How many changes of theirs ours have won over.
        contested: How many of the entities both sides changed in the same place, unsettled.
        unmerged: What cannot be merged.
    """

    changes: Changes
    merged: int = 0
    overridden: int = 0
    contested: int = 0
    unmerged: tuple[Unmerged, ...] = ()


def compacted(base: Base, head: Head) -> list[Kind]:
    """Return the kinds whose blobs were written anew past our base: of these, head lacks a part."""
    return [
        kind
        for kind, part in head.parts.items()
        if part.ref is not None and part.ref.revision > base.head.revision
    ]


def changes_since(base: Base, theirs: Base, whole: list[Kind]) -> Changes:
    """Return what became of the committed entities since a base.

    Args:
        base: What we know of.
        theirs: Their head and, of some kinds, all entities.
        whole: These kinds.
    """
    return {
        kind: _state.difference(base.entities[kind], theirs.entities[kind])
        if kind in whole
        else _newer(base.entities[kind], part, base.head.revision)
        for kind, part in theirs.head.parts.items()
    }


def rebase(
    entities: Mapping[Kind, Entities], ours: Changes, theirs: Changes, resolve: Resolve
) -> Rebased:
    """Put our changes on top of theirs.

    Args:
        entities: The state that both had in common.
        ours: What we changed in it.
        theirs: What they did.
        resolve: Decides about entities that both changed.
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
    """Have an entity merged, and see that the outcome can be written.

    Args:
        resolve: Merges it.
        kind: Its kind.
        key: Its key.
        sides: What both had in common, ours, and theirs.

    Raises:
        ConflictError: It cannot be merged, or not be written then.
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
    """Return the newest blobs that are known of: those that we read, wrote, or that head names.

    One of ours that their head does not refer to yet is waiting for the next head. Whoever has
    written another one since, has written a newer one; and any that is newer will do.
    """
    blobs = dict(base.blobs)
    for kind, part in theirs.head.parts.items():
        known = blobs.get(kind)
        if part.ref is not None and (known is None or known.ref.revision < part.ref.revision):
            blobs[kind] = Blob(None, part.ref)
    return blobs | theirs.blobs


def _newer(entities: Entities, part: Part, revision: int) -> dict[EntityKey, bytes | None]:
    return {
        key: entry.value
        for key, entry in part.differential.items()
        if entry.revision > revision and entry.value != entities.get(key)
    }
