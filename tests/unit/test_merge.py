"""Two values of one entity, and the one that both started from."""

from __future__ import annotations

import collections
import datetime as dt
import zoneinfo
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from telegram import User

from ptb_s3 import PickleSerializer, merge_values
from ptb_s3._format.entities import Kind, Resolution
from ptb_s3._values.merge import Merger
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


@dataclass
class Note:
    id: int
    text: str = field(compare=False, default="")


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
        ({"a": [1]}, {"a": [1, 2]}, {"a": [1, 3]}, {"a": [1, 3, 2]}, 0),
        ({"a": [1]}, {"a": [2]}, {"a": [1, 3]}, {"a": [2]}, 1),
        ({"a": [1, 1]}, {"a": [1]}, {"a": [1, 1, 3]}, {"a": [1]}, 1),
        ({"a": [[1]]}, {"a": [[1], [2]]}, {"a": [[1], [3]]}, {"a": [[1], [3], [2]]}, 0),
        ({}, {"a": [1]}, {"a": [2]}, {"a": [2, 1]}, 0),
        ({"a": None}, {"a": [1]}, {"a": [1]}, {"a": [1, 1]}, 0),
        ({"a": "b"}, {"a": [1]}, {"a": [2]}, {"a": [1]}, 1),
        ({"a": (1,)}, {"a": (1, 2)}, {"a": (1, 3)}, {"a": (1, 2)}, 1),
        ([1], [1, 2], [1, 3], [1, 3, 2], 0),
        ({"a": {1, 2}}, {"a": {1, 3}}, {"a": {2, 4}}, {"a": {3, 4}}, 0),
        ({"a": {1, 2}}, {"a": {1, 2, 3}}, {"a": {1, 2, 3}}, {"a": {1, 2, 3}}, 0),
        ({"a": {1, 2}}, {"a": {1}}, {"a": {1}}, {"a": {1}}, 0),
        ({}, {"a": {1}}, {"a": {2}}, {"a": {1, 2}}, 0),
        (
            {"a": frozenset("bc")},
            {"a": frozenset("b")},
            {"a": frozenset("bcd")},
            {"a": frozenset("bd")},
            0,
        ),
        ({1, 2}, {2}, {1, 2, 3}, {2, 3}, 0),
        ({"a": {1}}, {"a": [1]}, {"a": {1, 2}}, {"a": [1]}, 1),
        (
            {"a": {1: 1, 2: 2}},
            {"a": {True: 1, 2: 2}},
            {"a": {1: 1, 2: 3}},
            {"a": {True: 1, 2: 3}},
            0,
        ),
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


def old_and_new() -> list[Any]:
    def user(name: str) -> User:
        return User(id=7, is_bot=False, first_name=name)

    noon = dt.datetime(2026, 1, 1, 12, tzinfo=dt.UTC)
    return [
        (user("Old"), user("New")),
        ([1], [True]),
        (1, 1.0),
        (0.0, -0.0),
        (Note(1, "old"), Note(1, "new")),
        (noon, noon.astimezone(zoneinfo.ZoneInfo("Europe/Berlin"))),
        ({"k": (1, 2)}, {"k": (1, True)}),
        ({user("Old")}, {user("New")}),
        ({user("Old"): 1}, {user("New"): 1}),
        (Opaque(1), Opaque(2)),
        (collections.OrderedDict(a=1, b=2), collections.OrderedDict(b=2, a=1)),
        ({"b": 1, "c": 2}, {"c": 2, "b": 1}),
    ]


@pytest.mark.parametrize(("old", "new"), old_and_new(), ids=str)
def test_what_is_equal_is_not_the_same(old: Any, new: Any) -> None:
    """A change that `==` does not see is one: it is kept beside another's, on either side."""
    base = {"x": old, "n": 0}
    for ours, theirs in (
        ({"x": new, "n": 0}, {"x": old, "n": 1}),
        ({"x": old, "n": 1}, {"x": new, "n": 0}),
    ):
        merged = {"x": new, "n": 1}
        before = [data(side) for side in (base, ours, theirs)]
        assert Merger(SERIALIZER)(USER, 7, *before) == Resolution(data(merged))
        found = merge_values(*(SERIALIZER.loads(side or b"") for side in before))
        assert data(found) == data(merged)


@pytest.mark.parametrize(
    ("base", "ours", "theirs", "contested"),
    [
        ({"n": 1}, {"n": 2}, {"n": 2}, True),
        ({"n": 1}, {"n": 2}, {"n": 3}, True),
        ({"n": 1}, {"n": 1}, {"n": 3}, False),
        ({"n": 1}, {"n": 2, "m": 1}, {"n": 1, "l": 1}, False),
        ({"n": 1}, {}, {}, True),
        ({"n": 1}, None, {"n": 2}, True),
        ({"s": {1}}, {"s": {1, 2}}, {"s": {1, 2, 3}}, False),
        ({"s": {1, 2}}, {"s": {1}}, {"s": {1}}, False),
        ({"l": []}, {"l": [1]}, {"l": [2]}, False),
        ({"l": [1]}, {"l": [2]}, {"l": [2]}, True),
        (None, {}, {"n": 1}, False),
        (None, {"n": 1}, {"n": 1}, True),
    ],
)
def test_contested_is_what_nothing_has_settled(
    base: Any,
    ours: Any,
    theirs: Any,
    contested: bool,  # noqa: FBT001 - a column of the table
) -> None:
    """Both changed one thing, be it to the same; not where fields settle it, or `merge=` does."""
    sides = data(base), data(ours), data(theirs)
    assert Merger(SERIALIZER)(USER, 7, *sides).contested is contested
    assert not Merger(SERIALIZER, lambda *_: {"n": 5})(USER, 7, *sides).contested


def test_elements_are_known_by_what_they_are() -> None:
    """Those that are equal to themselves alone are not there twice; of two with one id ours is."""
    sides = [{"s": {Opaque(n) for n in numbers}} for numbers in ((1,), (1, 2), (1, 3))]
    merged = resolved(Merger(SERIALIZER), *sides)
    assert sorted(one.value for one in merged["s"]) == [1, 2, 3]
    users = [{"s": {User(7, name, is_bot=False)}} for name in ("Old", "Our", "Their")]
    resolution = Merger(SERIALIZER)(USER, 7, *map(data, users))
    loaded: Any = SERIALIZER.loads(resolution.value or b"")
    assert [one.first_name for one in loaded["s"]] == ["Our"]
    assert (resolution.overridden, resolution.contested) == (1, True)


class Shop(dict[str, Any]):
    """A dictionary that has attributes besides."""

    note = ""


class Slots:
    __slots__ = ("__secret", "n")

    def __init__(self, secret: Any, n: int) -> None:
        self.__secret, self.n = secret, n

    @property
    def secret(self) -> Any:
        return self.__secret


class Items(list[Any]):
    """A list that has attributes besides."""


def shop(note: str, **entries: Any) -> Shop:
    made = Shop(entries)
    made.note = note
    return made


def test_attributes_of_dictionaries_and_slots_are_fields_too() -> None:
    """They are merged like keys, private names included, and so no change is lost unseen."""
    merged = resolved(Merger(SERIALIZER), shop("a", n=1), shop("a", n=2), shop("b", n=1))
    assert (merged, merged.note) == ({"n": 2}, "b")
    slots = resolved(Merger(SERIALIZER), Slots({1}, 1), Slots({1, 2}, 1), Slots({1, 3}, 5))
    assert (slots.secret, slots.n) == ({1, 2, 3}, 5)


def test_a_list_of_ones_own_class_is_one_thing() -> None:
    """Ours wins, and that is counted: nobody knows what else such a class keeps."""
    resolution = Merger(SERIALIZER)(USER, 7, *map(data, (Items([1]), Items([1, 2]), Items([1, 3]))))
    assert SERIALIZER.loads(resolution.value or b"") == [1, 2]
    assert (resolution.overridden, resolution.contested) == (1, True)


def cyclic(n: int, log: list[int], m: int = 0) -> dict[str, Any]:
    root: dict[str, Any] = {"n": n, "m": m, "log": log, "again": log}
    root["up"] = [root]
    root["self"] = root
    return {"tree": root, "below": {"root": root}}


def test_what_holds_itself_is_merged_once() -> None:
    """A part that stands in several places, or in itself, is one thing before and after."""
    sides = cyclic(0, [1]), cyclic(9, [1, 2]), cyclic(0, [1, 3], m=5)
    del sides[0]["tree"]["up"], sides[1]["tree"]["up"], sides[2]["tree"]["up"]
    resolution = Merger(SERIALIZER)(USER, 7, *map(data, sides))
    merged: Any = SERIALIZER.loads(resolution.value or b"")
    root = merged["tree"]
    assert (root["n"], root["m"], root["log"]) == (9, 5, [1, 3, 2])
    assert root["self"] is root is merged["below"]["root"]
    assert root["log"] is root["again"]
    assert not resolution.contested


def test_what_is_nested_too_deeply_to_be_merged_is_a_conflict() -> None:
    """It is no other error, which would keep the instance from saving anybody."""

    def deep(**entries: int) -> Any:
        value: dict[str, Any] = dict(entries)
        for _ in range(420):
            value = {"d": value}
        return value

    sides = [SERIALIZER.dumps(deep(**entries)) for entries in ({}, {"a": 1}, {"b": 1})]
    with pytest.raises(ConflictError, match="RecursionError"):
        Merger(SERIALIZER)(USER, 7, *sides)


class Unequal:
    """Has code of its own that fails where it is compared, or hashed, or asked for its state."""

    def __init__(self, n: int) -> None:
        self.n = n

    def __eq__(self, _: object) -> bool:
        raise RuntimeError("secret")

    def __hash__(self) -> int:
        raise RuntimeError("secret")


def test_comparisons_that_raise_are_not_asked() -> None:
    """Objects' own `==` says nothing here, and so cannot fail."""
    sides = ({"u": Unequal(1)}, {"u": Unequal(1), "a": 1}, {"u": Unequal(2)})
    merged = resolved(Merger(SERIALIZER), *sides)
    assert (merged["u"].n, merged["a"]) == (2, 1)


class Whimsical:
    """Can be loaded once, and says no more afterwards."""

    loaded = 0

    def __setstate__(self, state: dict[str, Any]) -> None:
        type(self).loaded += 1
        if type(self).loaded > 3:
            raise KeyError("secret")
        vars(self).update(state)

    def __init__(self) -> None:
        self.n = 1


def test_anything_else_that_fails_is_a_conflict_that_tells_no_value() -> None:
    """Whatever code of whose class it is."""
    Whimsical.loaded = 0
    sides = [{"w": Whimsical(), **more} for more in ({}, {"a": 1}, {"b": 1})]
    with pytest.raises(ConflictError) as caught:
        Merger(SERIALIZER)(USER, 7, *map(data, sides))
    assert "secret" not in str(caught.value)
    assert caught.value.__context__ is None


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
    """What `merge=` returns passes the same allow-list as everything else."""
    merger = Merger(SERIALIZER, lambda *_: {"n": print})
    with pytest.raises(ConflictError, match="SerializationError"):
        merger(USER, 7, data({"n": 1}), data({"n": 2}), data({"n": 3}))


class Account:
    """A context type that is born with defaults."""

    def __init__(self) -> None:
        self.balance = 0
        self.name: str | None = None


def test_what_an_entity_is_born_with_is_no_change() -> None:
    """Two instances have both met a user for the first time: a default is no match for a value."""
    ours, theirs = Account(), Account()
    ours.balance, theirs.name = 5, "Ada"
    merger = Merger(SERIALIZER, born={USER: Account})
    resolution = merger(USER, 7, None, data(ours), data(theirs))
    assert resolution.value is not None
    merged: Any = SERIALIZER.loads(resolution.value)
    assert (merged.balance, merged.name) == (5, "Ada")
    assert resolution[1:] == (0, False)


@pytest.mark.parametrize(
    ("base", "ours", "theirs", "merged"),
    [
        (["c"], ["c", "d"], ["a", "b", "c"], ["a", "b", "c", "d"]),
        (["c"], ["a", "b", "c"], ["c", "d"], ["a", "b", "c", "d"]),
        (["c", "c"], ["c", "c", "d"], ["c", "a", "c", "b"], ["c", "a", "c", "b", "d"]),
        ([1], [1, 2], [True, 1], [True, 1, 2]),
    ],
)
def test_a_list_that_was_merged_before_is_merged_again(
    base: Any, ours: Any, theirs: Any, merged: Any
) -> None:
    """What is appended to an object that has not seen the merge goes after what is there."""
    sides = (data({"l": base}), data({"l": ours}), data({"l": theirs}))
    resolution = Merger(SERIALIZER)(USER, 7, *sides)
    assert resolution == (data({"l": merged}), 0, False)


def test_a_list_from_which_one_side_has_removed_is_not_appended_to() -> None:
    """What both changed is ours then, and counted."""
    resolution = Merger(SERIALIZER)(
        USER, 7, data({"l": [1, 2]}), data({"l": [1, 2, 3]}), data({"l": [2, 1]})
    )
    assert resolution == (data({"l": [1, 2, 3]}), 1, True)
