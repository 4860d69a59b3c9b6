"""Copies of plain data are those that `copy.deepcopy` makes, and words take the place of texts."""

from __future__ import annotations

import collections
import datetime as dt
import pickle
import zoneinfo
from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptb_s3 import PickleSerializer
from ptb_s3._values.plain_copies import deep_copy, with_words

NOW = dt.datetime(2026, 5, 4, 3, 2, 1, tzinfo=dt.UTC)
WORDS = {word: word for word in ("name", "cart", "at")}
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    st.sampled_from(["name", "cart", "at", "Ann", ""]),
    st.binary(max_size=4),
    st.sampled_from([NOW, NOW.replace(tzinfo=None), NOW.date(), dt.timedelta(1)]),
    st.sampled_from([NOW.astimezone(zoneinfo.ZoneInfo("Asia/Tehran")), (1, [2]), {3}]),
)


class Own:
    """A user's class."""

    def __init__(self, part: object) -> None:
        self.part = part


class Shared:
    """Says itself what its copy is."""

    def __deepcopy__(self, _: object) -> Shared:
        return self


class Refusing:
    """Has no copy."""

    def __deepcopy__(self, _: object) -> Refusing:
        raise ZeroDivisionError


class Eraser:
    """Empties a list when it is copied, and then copies another, which may get the id of a part."""

    def __init__(self, victim: list[object]) -> None:
        self.victim = victim

    def __deepcopy__(self, memo: dict[int, Any]) -> object:
        self.victim.clear()
        other = [99]
        return deepcopy(other, memo)


class Zone(dt.tzinfo):
    """A zone of a user's own."""

    def utcoffset(self, _: dt.datetime | None) -> dt.timedelta:
        return dt.timedelta(0)

    def dst(self, _: dt.datetime | None) -> None:
        return None

    def tzname(self, _: dt.datetime | None) -> str:
        return "own"


@st.composite
def values(draw: st.DrawFn) -> Any:
    """Draw a nested value, in which parts may stand more than once."""
    parts: list[Any] = draw(st.lists(LEAVES, min_size=1, max_size=5))
    for _ in range(draw(st.integers(0, 6))):
        chosen = draw(st.lists(st.sampled_from(parts), max_size=4))
        names: list[Any] = draw(
            st.sampled_from([["name", "cart", "at", "x"], [1, None, "at", 2.5]])
        )
        made: Any = dict(zip(names, chosen, strict=False)) if draw(st.booleans()) else chosen
        parts.append(made)
    return parts


@given(values())
def test_a_copy_is_the_one_that_deepcopy_makes_down_to_what_is_one_object(value: Any) -> None:
    copy = deep_copy(value)
    assert copy == value
    assert pickle.dumps(copy) == pickle.dumps(deepcopy(value))


@given(values())
def test_nothing_that_can_be_changed_is_shared_with_the_copy(value: Any) -> None:
    before = pickle.dumps(value)
    _spoil(deep_copy(value))
    assert pickle.dumps(value) == before


def _spoil(value: object) -> None:
    if not isinstance(value, (dict, list, set)):
        return
    parts = [*value.values()] if isinstance(value, dict) else [*value]
    value.clear()
    for part in parts:
        _spoil(part)


def test_what_leads_back_to_itself_does_so_in_the_copy() -> None:
    value: dict[str, Any] = {"parts": []}
    value["parts"].append(value)
    copy = deep_copy(value)
    assert copy["parts"][0] is copy is not value


def test_an_object_and_the_plain_data_around_it_share_the_same_parts_in_the_copy() -> None:
    cart = [1]
    copy = deep_copy({"own": Own(cart), "cart": cart, "again": [cart]})
    assert copy["own"].part is copy["cart"] is copy["again"][0]
    assert copy["cart"] is not cart


def test_objects_are_copied_as_they_say() -> None:
    shared = Shared()
    assert deep_copy([shared])[0] is shared
    with pytest.raises(ZeroDivisionError):
        deep_copy({"a": [Refusing()]})


def test_an_id_that_is_used_anew_meanwhile_is_no_other_objects() -> None:
    victim: list[object] = [[1]]
    assert deep_copy({"a": victim, "b": Eraser(victim)})["b"] == [99]


@pytest.mark.parametrize(
    "value",
    [
        collections.OrderedDict(a=[1]),
        collections.defaultdict(list, a=[1]),
        collections.Counter(a=1),
        type("Users", (dict,), {})(a=[1]),
        ([1], {"a": [2]}),
    ],
)
def test_other_containers_keep_their_class(value: Any) -> None:
    copy = deep_copy({"it": value})["it"]
    assert type(copy) is type(value)
    assert copy == value
    assert copy is not value


def test_a_date_with_a_zone_of_ones_own_gets_a_copy_of_it() -> None:
    zone = Zone()
    assert deep_copy([NOW.replace(tzinfo=zone)])[0].tzinfo is not zone


def _cold(word: str) -> str:
    """Return a text equal to a word, as a state has it that was saved before there were words."""
    return "".join([*word])


def test_texts_equal_to_a_word_become_the_word_wherever_they_stand() -> None:
    value = {_cold("name"): _cold("cart"), "Ann": [_cold("at"), {_cold("cart"): NOW}], "n": 1}
    copy = with_words(value, WORDS)
    assert copy == value
    (name, _, _), (cart, parts, _) = copy, copy.values()
    assert name is WORDS["name"]
    assert cart is WORDS["cart"]
    assert parts[0] is WORDS["at"]
    assert next(iter(parts[1])) is WORDS["cart"]


def test_what_stands_twice_stands_twice_in_the_copy_with_words() -> None:
    part: list[Any] = [_cold("at")]
    part.append(part)
    copy = with_words({"a": part, "b": part}, WORDS)
    assert copy["a"] is copy["b"] is copy["a"][1]


def _deep() -> list[Any]:
    value: list[Any] = []
    for _ in range(100_000):
        value = [value]
    return value


@pytest.mark.parametrize("part", [Own(1), (1,), {1}, collections.Counter("a"), NOW.time(), _deep()])
def test_anything_that_is_not_plain_is_left_to_a_pickler(part: object) -> None:
    assert with_words({"a": [part]}, WORDS) is None


@pytest.mark.parametrize("extra", [None, (1, 2), Own([1])])
def test_bytes_do_not_depend_on_whether_texts_are_the_words(extra: object) -> None:
    """Also where the value holds what is not plain, and a pickler replaces them."""
    codec = PickleSerializer(trusted=(__name__,)).sharing(lambda: tuple(WORDS))
    words = {"name": "Ann", "cart": [{"at": NOW, "name": "tea"}], "extra": extra}
    cold = {
        _cold("name"): "Ann",
        "cart": [{_cold("at"): NOW, _cold("name"): "tea"}],
        "extra": extra,
    }
    assert codec.dumps(cold) == codec.dumps(words)
    assert _cold("name").encode() not in codec.dumps(cold)
