"""Two values of one entity, and the one that both started from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptb_s3 import PickleSerializer, merge_values
from ptb_s3._merge import Merger
from ptb_s3._rebase import Resolution
from ptb_s3._state import Kind
from ptb_s3.errors import ConflictError

USER = Kind.USER_DATA
SERIALIZER = PickleSerializer(trusted=(__name__,))
FIELDS = st.dictionaries(st.sampled_from("abcd"), st.integers(0, 3), max_size=4)


@dataclass
class Basket:
    items: list[str] = field(default_factory=list)
    note: str = ""


@dataclass
class Shopper:
    name: str = ""
    basket: Basket = field(default_factory=Basket)


class Opaque:
    """A class that does not know when two of its objects are the same."""

    def __init__(self, value: int) -> None:
        self.value = value


class Recorder:
    """A `merge=` that adds up counters, and notes what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []

    def __call__(self, kind: str, key: Any, base: Any, ours: Any, theirs: Any) -> Any:
        self.asked.append((kind, key, base, ours, theirs))
        merged = merge_values(base, dict(ours), theirs)
        merged["n"] = ours["n"] + theirs["n"] - (base or {}).get("n", 0)
        return merged


def data(value: object) -> bytes | None:
    return None if value is None else SERIALIZER.dumps(value)


def resolved(merger: Merger, base: object, ours: object, theirs: object) -> Any:
    value, *_ = merger(USER, 7, data(base), data(ours), data(theirs))
    return None if value is None else SERIALIZER.loads(value)


@pytest.mark.parametrize(
    ("base", "ours", "theirs", "merged", "overridden"),
    [
        ({"a": 1}, {"a": 1, "b": 2}, {"a": 1, "c": 3}, {"a": 1, "b": 2, "c": 3}, 0),
        ({"a": 1, "b": 1}, {"b": 1}, {"a": 1, "b": 2}, {"b": 2}, 0),
        ({"a": 1, "b": 1}, {"a": 2, "b": 1}, {"a": 1}, {"a": 2}, 0),
        ({"a": 1}, {"a": 2}, {"a": 3}, {"a": 2}, 1),
        ({"a": 1}, {"a": 2}, {"a": 2}, {"a": 2}, 0),
        ({"a": 1}, {}, {"a": 3}, {}, 1),
        ({"a": {"x": 1, "y": 1}}, {"a": {"x": 2, "y": 1}}, {"a": {"x": 1}}, {"a": {"x": 2}}, 0),
        ({}, {"a": {"x": 1}}, {"a": {"y": 2}}, {"a": {"x": 1, "y": 2}}, 0),
        ({"a": [1]}, {"a": [1, 2]}, {"a": [1, 3]}, {"a": [1, 2]}, 1),
        (None, {}, {"a": 1}, {"a": 1}, 0),
        (None, {"b": 1}, {"a": 1}, {"a": 1, "b": 1}, 0),
        ({"a": 1, "b": 1}, {"a": 1, "b": 2}, None, {"b": 2}, 1),
        ({"a": 1}, None, {"a": 2, "b": 1}, None, 1),
        ("NAME", "CITY", "STREET", "CITY", 1),
        ({"a": 1}, {"a": True}, {"a": 1, "b": 1}, {"a": True, "b": 1}, 0),
        (
            Shopper("A", Basket(["x"])),
            Shopper("B", Basket(["x"])),
            Shopper("A", Basket(["x", "y"])),
            Shopper("B", Basket(["x", "y"])),
            0,
        ),
        (
            Shopper("A", Basket(["x"])),
            Shopper("A", Basket(["z"])),
            Shopper("A", Basket(["x"], "fragile")),
            Shopper("A", Basket(["z"])),
            1,
        ),
    ],
)
def test_fields_are_merged_one_by_one(
    base: Any, ours: Any, theirs: Any, merged: Any, overridden: int
) -> None:
    """Theirs where we changed nothing, ours else; attributes of a whole entity like keys."""
    resolution = Merger(SERIALIZER)(USER, 7, data(base), data(ours), data(theirs))
    assert (None if resolution.value is None else SERIALIZER.loads(resolution.value)) == merged
    assert resolution.overridden == overridden
    assert merge_values(base, ours, theirs) == merged


@given(FIELDS, FIELDS, FIELDS)
def test_no_change_is_lost_but_to_another_one(
    base: dict[str, int], ours: dict[str, int], theirs: dict[str, int]
) -> None:
    """Each field is as whoever changed it has it; as we have it, if both did."""
    merged = resolved(Merger(SERIALIZER), base, ours, theirs)
    for name in "abcd":
        winner = theirs if ours.get(name) == base.get(name) else ours
        assert merged.get(name) == winner.get(name)


@given(FIELDS, FIELDS)
def test_what_one_side_left_alone_is_the_others(base: dict[str, int], one: dict[str, int]) -> None:
    """With one side unchanged, the very bytes of the other come out."""
    merger = Merger(SERIALIZER)
    assert merger(USER, 7, data(base), data(one), data(base)) == Resolution(data(one))
    assert merger(USER, 7, data(base), data(base), data(one)) == Resolution(data(one))


def test_objects_that_cannot_compare_themselves_are_compared() -> None:
    """A field that nobody changed is nobody's, though its class has no `__eq__`."""
    merged = resolved(
        Merger(SERIALIZER), {"o": Opaque(1)}, {"o": Opaque(1), "a": 1}, {"o": Opaque(2)}
    )
    assert merged["o"].value == 2
    assert merged["a"] == 1
    same = merge_values({"o": Opaque(1)}, {"o": Opaque(1), "a": 1}, {"o": Opaque(2)})
    assert same["o"].value == 2


def test_a_function_is_asked_where_both_changed_the_same() -> None:
    """It gets what it is about, and three whole values; what it returns is the entity."""
    function = Recorder()
    merged = resolved(Merger(SERIALIZER, function), {"n": 1}, {"n": 3, "a": 1}, {"n": 5, "b": 1})
    assert merged == {"n": 7, "a": 1, "b": 1}
    assert function.asked == [("user_data", 7, {"n": 1}, {"n": 3, "a": 1}, {"n": 5, "b": 1})]


def test_a_function_is_asked_where_both_changed_to_the_same() -> None:
    """Two that each count one up from 1 both have 2: that is 3."""
    assert resolved(Merger(SERIALIZER, Recorder()), {"n": 1}, {"n": 2}, {"n": 2}) == {"n": 3}


def test_a_function_is_not_asked_where_fields_settle_it() -> None:
    """There is nothing to decide where one side alone changed a field."""
    function = Recorder()
    merged = resolved(Merger(SERIALIZER, function), {}, {"a": 1}, {"b": 1})
    assert merged == {"a": 1, "b": 1}
    assert not function.asked


def test_a_function_may_delete() -> None:
    """None is: there is no such entity."""
    merger = Merger(SERIALIZER, lambda *_: None)
    assert merger(USER, 7, data({"n": 1}), data({"n": 2}), data({"n": 3})).value is None


def test_a_function_that_fails_is_a_conflict() -> None:
    """The error names the function's error by its class, and no value."""

    def fail(*_: Any) -> None:
        raise KeyError("secret")

    with pytest.raises(ConflictError, match=r"merge= raised KeyError") as caught:
        Merger(SERIALIZER, fail)(USER, 7, data({"n": 1}), data({"n": 2}), data({"n": 3}))
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is caught.value.__context__ is None


def test_values_that_cannot_be_loaded_are_a_conflict() -> None:
    """A newer version of the bot has saved a class that this one does not know."""
    newer = SERIALIZER.dumps({"n": Opaque(1)})
    with pytest.raises(ConflictError, match="UnknownTypeError"):
        Merger(PickleSerializer(trusted=("nothing",)))(USER, 7, None, data({"n": 1}), newer)


def test_a_result_that_cannot_be_saved_is_a_conflict() -> None:
    """What `merge=` returns passes the same fence as everything else."""
    merger = Merger(SERIALIZER, lambda *_: {"n": print})
    with pytest.raises(ConflictError, match="SerializationError"):
        merger(USER, 7, data({"n": 1}), data({"n": 2}), data({"n": 3}))
