"""Frozen entities: the state at one moment, in order, while commits go on changing it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from itertools import count
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ptb_s3._format import frozen
from ptb_s3._format.committed import Base, Identity
from ptb_s3._format.entities import EntityKey, Kind, order
from ptb_s3._format.head import Head

Changes = dict[Any, bytes | None]
quickly = settings(max_examples=200, deadline=None)


def base_of(kind: Kind, entities: dict[EntityKey, bytes]) -> Base:
    head = Head(revision=1, commit="c", bot=1)
    return Base(Identity("store", "pickle5"), head, entities={kind: entities})


def in_order(entities: dict[EntityKey, bytes]) -> list[tuple[EntityKey, bytes]]:
    return sorted(entities.items(), key=lambda entry: order(entry[0]))


KEYS: dict[Kind, st.SearchStrategy[Any]] = {
    Kind.USER_DATA: st.integers(-9, 9),
    Kind.CONVERSATIONS: st.tuples(st.sampled_from("ab"), st.tuples(st.integers(-3, 3))),
}


@pytest.mark.parametrize("kind", KEYS)
@given(data=st.data())
@quickly
def test_what_is_committed_between_two_steps_is_not_seen(kind: Kind, data: st.DataObject) -> None:
    """Replaced, deleted, added, deleted and added again: all is as when it was frozen."""
    key, value = KEYS[kind], st.binary(max_size=2)
    entities = data.draw(st.dictionaries(key, value, max_size=12))
    changes = st.dictionaries(key, st.none() | value, max_size=4)
    expected = in_order(entities)
    base = base_of(kind, entities)
    with pytest.MonkeyPatch.context() as patch, base.frozen(kind) as snapshot:
        patch.setattr(frozen, "SORTED_AT_ONCE", data.draw(st.integers(1, 15)))
        seen = []
        base.apply(kind, data.draw(changes))
        for entry in snapshot.in_order():
            seen.append(entry)
            base.apply(kind, data.draw(changes))
    assert seen == expected


class Meddled(dict[EntityKey, bytes]):
    """Entities that another thread changes just before or just after one of them is read."""

    def __init__(self, entities: dict[EntityKey, bytes]) -> None:
        super().__init__(entities)
        self.meddle: Any = None

    def get(self, key: EntityKey, default: Any = None) -> Any:
        meddle, self.meddle = self.meddle, None  # not while it changes them itself
        if meddle is None:
            return super().get(key, default)
        meddle(key, "before")
        value = super().get(key, default)
        meddle(key, "after")
        self.meddle = meddle
        return value


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("value", [None, b"later"])
def test_what_is_committed_within_a_step_is_not_seen(moment: str, value: bytes | None) -> None:
    """Between the two looks that are taken at an entity, too, which no lock holds together."""
    entities = Meddled({number: b"%d" % number for number in range(50)})
    expected = in_order(entities)
    base = base_of(Kind.USER_DATA, entities)

    def meddle(key: EntityKey, now: str) -> None:
        if now == moment:
            base.apply(Kind.USER_DATA, {key: value})

    with base.frozen(Kind.USER_DATA) as snapshot:
        entities.meddle = meddle
        assert [*snapshot.in_order()] == expected
    assert [*entities.values()] == ([] if value is None else [value] * 50)


def many(kind: Kind, number: int) -> dict[EntityKey, bytes]:
    """Return entities that are in no order."""
    keys = [*range(number)]
    Random(1).shuffle(keys)  # noqa: S311 - an order to try
    if kind is Kind.USER_DATA:
        return {key: b"%d" % key for key in keys}
    return {(f"c{key % 3}" * (key % 5), (key,)): b"%d" % key for key in keys}


@pytest.mark.parametrize("kind", [Kind.USER_DATA, Kind.CONVERSATIONS])
def test_a_thread_sees_the_moment_of_freezing(kind: Kind) -> None:
    """A real one, over 200,000 entities that are in no order, while commits change them all."""
    entities = many(kind, 200_000)
    expected = in_order(entities)
    base = base_of(kind, entities)
    seen: list[tuple[EntityKey, bytes]] = []
    with base.frozen(kind) as snapshot:
        thread = threading.Thread(target=lambda: seen.extend(snapshot.in_order()))
        thread.start()
        commits = 0
        for changes in _changes([key for key, _ in expected]):
            if not thread.is_alive():
                break
            base.apply(kind, changes)
            commits += 1
        thread.join()
    assert commits > 10
    wrong = sum(one != other for one, other in zip(seen, expected, strict=True))
    assert wrong == 0  # and not the two lists, whose difference nobody could read


def _changes(keys: list[EntityKey]) -> Iterator[Changes]:
    """Yield commits that replace, delete and add, from both ends and anywhere."""
    random = Random(2)  # noqa: S311 - changes to try
    for number in count():
        some = random.sample(keys, 50) + keys[number * 50 : number * 50 + 50]
        yield {key: random.choice([None, b"later", b"%d" % number]) for key in some}


@pytest.mark.parametrize("shuffled", [False, True])
@pytest.mark.parametrize("size", [1, 2, 7, 100])
def test_runs_that_are_in_order_are_joined(
    monkeypatch: pytest.MonkeyPatch,
    size: int,
    shuffled: bool,  # noqa: FBT001 - a case
) -> None:
    """And others are merged: the order is the same, however many are sorted at once."""
    monkeypatch.setattr(frozen, "SORTED_AT_ONCE", size)
    entities = many(Kind.USER_DATA, 50)
    if not shuffled:
        entities = dict(sorted(entities.items()))
        entities[-1] = b"new"  # as a new user of a low id comes after those of a blob
    snapshot = frozen.FrozenEntities(entities)
    assert [*snapshot.in_order()] == in_order(entities)


def test_nothing_is_noted_once_it_is_thawed() -> None:
    """So that a million changes of a day are not kept for a blob that has long been written."""
    base = base_of(Kind.USER_DATA, {1: b"1"})
    with base.frozen(Kind.USER_DATA) as snapshot:
        base.apply(Kind.USER_DATA, {1: b"2"})
    base.apply(Kind.USER_DATA, {2: b"2"})
    assert snapshot._before == {1: b"1"}


def test_one_that_ends_leaves_another_as_it_was_frozen() -> None:
    """As where the event loop of a compaction is gone, and it ends when the next has begun."""
    base = base_of(Kind.USER_DATA, {1: b"a", 2: b"b"})
    left = base.frozen(Kind.USER_DATA)
    left.__enter__()
    with base.frozen(Kind.USER_DATA) as snapshot:
        left.__exit__(None, None, None)
        base.apply(Kind.USER_DATA, {1: b"later", 2: None})
        assert list(snapshot.in_order()) == [(1, b"a"), (2, b"b")]
