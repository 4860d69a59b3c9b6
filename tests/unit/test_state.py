"""Entities and changes, as bytes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from tests.support import changes

from ptb_s3._format.entities import (
    Changes,
    Entities,
    Kind,
    apply,
    difference,
    is_key,
    merge,
)

ENTITIES = st.dictionaries(st.integers(-(2**63), 2**63 - 1), st.binary(max_size=50))
CHANGES = st.dictionaries(st.integers(0, 9), st.none() | st.binary(max_size=3))


@given(ENTITIES, ENTITIES)
def test_a_difference_turns_one_into_the_other(before: Entities, after: Entities) -> None:
    """Changes laid over the old state give the new one."""
    changed = difference(before, after)
    apply(before, changed)
    assert before == after


def test_equal_states_have_no_difference() -> None:
    """Nothing changed is no change."""
    assert difference({1: b"a"}, {1: b"a"}) == {}


@given(CHANGES, CHANGES)
def test_a_merge_keeps_both_sides(
    ours: dict[int, bytes | None], theirs: dict[int, bytes | None]
) -> None:
    """What one side alone changed is taken; what both did is asked about, and only that."""
    asked: list[object] = []

    def resolve(_: Kind, key: object) -> bytes:
        asked.append(key)
        return b"resolved"

    one: Changes = changes(user_data={**ours})
    two: Changes = changes(user_data={**theirs}, chat_data={1: b"x"})
    merged = merge(one, two, resolve)
    both = {key for key in ours.keys() & theirs.keys() if ours[key] != theirs[key]}
    assert set(asked) == both
    assert merged[Kind.USER_DATA] == {**theirs, **ours, **dict.fromkeys(both, b"resolved")}
    assert merged[Kind.CHAT_DATA] == {1: b"x"}


def test_only_what_fits_is_a_key() -> None:
    """A key of another form is found out before it gets into a commit."""
    assert is_key(Kind.USER_DATA, -(2**62))
    assert is_key(Kind.CONVERSATIONS, ("name", (1, "inline")))
    assert not is_key(Kind.USER_DATA, "1")
    assert not is_key(Kind.USER_DATA, 2**70)
    assert not is_key(Kind.CONVERSATIONS, ("name", (1, None)))
    assert not is_key(Kind.CALLBACK_DATA, ("k", 1))
