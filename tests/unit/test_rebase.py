"""Our changes on top of another writer's, for every combination of what the two did.

======== ======== ==================== =======================================
ours     theirs   outcome of the merge what is left to commit
======== ======== ==================== =======================================
none     any      not merged           nothing: theirs is the base by now
any      none     not merged           ours
any      any      equal to theirs      nothing
any      any      another value, or    that
                  deleted
any      any      cannot be merged     nothing; ours is given back beside it
======== ======== ==================== =======================================
"""

from __future__ import annotations

import copy
import itertools
from typing import NamedTuple

import pytest

from ptb_s3._engine.rebase import rebase, resolved
from ptb_s3._format.entities import MAX_ENTITY, Changes, Entities, EntityKey, Kind, Resolution
from ptb_s3.errors import ConflictError

USER = Kind.USER_DATA
NONE = "none"  # a side that has not touched the entity; None is a deletion
BASES = (None, b"base")
OURS = (NONE, b"base", b"ours", None)
THEIRS = (NONE, b"base", b"theirs", b"ours", None)
OUTCOMES = (b"ours", b"theirs", b"both", None, ConflictError("they cannot be merged"))
Side = bytes | str | None
Sides = tuple[bytes | None, bytes | None, bytes | None]


class Scripted(NamedTuple):
    """A merge whose outcome is known; notes what it was asked for."""

    outcome: bytes | ConflictError | None
    asked: list[tuple[Kind, EntityKey, Sides]]

    def __call__(
        self,
        kind: Kind,
        key: EntityKey,
        base: bytes | None,
        ours: bytes | None,
        theirs: bytes | None,
    ) -> Resolution:
        self.asked.append((kind, key, (base, ours, theirs)))
        if isinstance(self.outcome, ConflictError):
            raise self.outcome
        return Resolution(self.outcome, overridden=3, contested=True)


def changed(side: Side) -> dict[EntityKey, bytes | None]:
    return {} if isinstance(side, str) else {1: side}


@pytest.mark.parametrize(
    ("base", "ours", "theirs", "outcome"),
    list(itertools.product(BASES, OURS, THEIRS, OUTCOMES)),
)
def test_every_combination(
    base: bytes | None, ours: Side, theirs: Side, outcome: bytes | ConflictError | None
) -> None:
    """As the table above says; what it is given stays as it is."""
    entities: dict[Kind, Entities] = {kind: {} for kind in Kind}
    if base is not None:
        entities[USER][1] = base
    ours_changed: Changes = {USER: changed(ours)}
    theirs_changed: Changes = {USER: changed(theirs)}
    given = copy.deepcopy((entities, ours_changed, theirs_changed))
    resolve = Scripted(outcome, [])
    changes, merged, overridden, contested, unmerged = rebase(
        entities, ours_changed, theirs_changed, resolve
    )
    assert (entities, ours_changed, theirs_changed) == given

    if isinstance(ours, str) or isinstance(theirs, str):
        assert resolve.asked == []
        assert changes == {USER: changed(ours)}
        assert (merged, overridden, contested, unmerged) == (0, 0, 0, ())
        return
    assert resolve.asked == [(USER, 1, (base, ours, theirs))]
    if isinstance(outcome, ConflictError):
        assert changes == {USER: {}}
        assert unmerged == ((USER, 1, ours, outcome),)
        assert (merged, overridden, contested) == (0, 0, 0)
    else:
        assert changes == {USER: {} if outcome == theirs else {1: outcome}}
        assert (merged, overridden, contested, unmerged) == (1, 3, 1, ())


def test_entities_are_merged_one_by_one() -> None:
    """One that cannot be merged keeps out itself alone, and counts are of the others."""

    def resolve(
        kind: Kind,
        key: EntityKey,
        base: bytes | None,  # noqa: ARG001 - what a merge is given
        ours: bytes | None,
        theirs: bytes | None,  # noqa: ARG001 - as above
    ) -> Resolution:
        if (kind, key) == (USER, 2):
            raise ConflictError("not this one")
        return Resolution(ours, overridden=1, contested=key == 1)

    ours: Changes = {USER: {1: b"a", 2: b"b", 3: b"c", 4: b"d"}, Kind.CHAT_DATA: {1: b"e"}}
    theirs: Changes = {USER: {1: b"x", 2: b"x", 3: b"x", 5: b"x"}, Kind.CHAT_DATA: {1: b"x"}}
    changes, merged, overridden, contested, unmerged = rebase(
        {kind: {} for kind in Kind}, ours, theirs, resolve
    )
    assert changes == {USER: {1: b"a", 3: b"c", 4: b"d"}, Kind.CHAT_DATA: {1: b"e"}}
    assert (merged, overridden, contested) == (3, 3, 2)
    assert [entity[:3] for entity in unmerged] == [(USER, 2, b"b")]


def test_a_conflict_names_its_entity() -> None:
    """Whoever merges knows values; kind and key are set where they are known."""
    with pytest.raises(ConflictError) as caught:
        resolved(Scripted(ConflictError("no"), []), USER, 7, (None, b"ours", b"theirs"))
    assert (caught.value.kind, caught.value.key) == (USER.value, 7)


@pytest.mark.parametrize("size", [MAX_ENTITY, MAX_ENTITY + 1])
def test_what_is_too_large_once_merged_is_a_conflict(size: int) -> None:
    """Each side fits, and both together may not: no reader would take it."""
    resolve = Scripted(bytes(size), [])
    if size == MAX_ENTITY:
        assert resolved(resolve, USER, 7, (None, b"ours", b"theirs")).value == bytes(size)
        return
    with pytest.raises(ConflictError, match="cannot be saved") as caught:
        resolved(resolve, USER, 7, (None, b"ours", b"theirs"))
    assert (caught.value.kind, caught.value.key) == (USER.value, 7)
