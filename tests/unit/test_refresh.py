"""Live objects are brought up to date in place: what differs and no more, or nothing at all."""

from __future__ import annotations

import collections
import dataclasses
import logging
import types
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from telegram import User
from telegram.ext import ContextTypes
from tests.support import Persistence, make_persistence, state_of, update

from ptb_s3 import PickleSerializer
from ptb_s3._ptb.refresh import Refusal, become, way
from ptb_s3._storage.memory import MemoryStore
from ptb_s3._values.canonical_form import essence
from ptb_s3._values.equality import alike

CODEC = PickleSerializer(trusted=(__name__,))


class Own:
    def __init__(self, **parts: Any) -> None:
        vars(self).update(parts)


class Base:
    __slots__ = ("__secret", "same")

    def __init__(self, secret: Any = None) -> None:
        self.__secret = secret
        self.same: Any = 0

    @property
    def secret(self) -> Any:
        return self.__secret


class Slots(Base):
    """Has a slot of a name that its base has, too, and private names that are other ones."""

    __slots__ = ("__secret", "same")

    def __init__(self, secret: Any = None, own: Any = None) -> None:
        super().__init__(secret)
        self.__secret = own
        self.same: Any = 1

    @property
    def own(self) -> Any:
        return self.__secret


class Data(dict[Any, Any]):
    """Does not like to be emptied."""

    note = ""

    def clear(self) -> None:
        raise AssertionError


class Items(list[Any]):
    note = ""


class Tags(set[Any]):
    note = ""


@dataclasses.dataclass(frozen=True)
class Item:
    name: str
    parts: Any = None


class Number(int):
    """Nothing that could be set."""


class Hidden:
    """Keeps something where nobody gets at it."""

    kept: dict[int, Any] = {}  # noqa: RUF012 - that is the fault

    def __init__(self, value: Any = None) -> None:
        self.kept[id(self)] = value

    def __getstate__(self) -> dict[str, Any]:
        return {"value": self.kept[id(self)]}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.kept[id(self)] = state["value"]


ATOMS = st.sampled_from([0, 1, True, 1.0, None, "ab", "cd", (1, "ab"), (1, [2]), Item("x")])
HASHABLE = st.sampled_from([0, 1, "ab", "cd", (1, "ab"), Item("x"), Item("y"), None])


def containers(parts: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    entries = st.dictionaries(HASHABLE, parts, max_size=4)
    return st.one_of(
        entries,
        entries.map(collections.OrderedDict),
        entries.map(lambda made: collections.defaultdict(list, made)),
        st.lists(parts, max_size=4),
        st.lists(parts, max_size=4).map(collections.deque),
        st.sets(HASHABLE, max_size=4),
        st.builds(lambda part: types.SimpleNamespace(ab=part), parts),
        st.builds(lambda one, other: Own(ab=one, cd=other), parts, parts),
        st.builds(Slots, parts, parts),
        st.builds(lambda part: [part, {"again": part}], parts),
        st.lists(parts, max_size=3).map(Items),
    )


GRAPHS = st.recursive(ATOMS, containers, max_leaves=10)


@given(data=st.data(), old=GRAPHS, new=GRAPHS)
@settings(max_examples=150, deadline=None, database=None)
def test_it_becomes_what_it_is_to_be(data: st.DataObject, old: Any, new: Any) -> None:
    """Of the same bytes as what was committed, order and sharing included, and the same object."""
    kept = data.draw(st.sampled_from([old, new]))
    before = CODEC.dumps({"old": old, "kept": kept, "both": [old]})
    after = CODEC.dumps({"kept": kept, "new": new, "both": [new, kept]})
    live = CODEC.loads(before)
    found = way(lambda: CODEC.loads(before), lambda: CODEC.loads(after), essence)
    assert not isinstance(found, Refusal)
    found(live, CODEC.loads(after))
    assert alike(live, CODEC.loads(after))


@given(value=GRAPHS, more=ATOMS)
@settings(max_examples=100, deadline=None, database=None)
def test_what_others_did_not_change_stays_the_very_same(value: Any, more: Any) -> None:
    """Parts of a part that was not changed are the same objects afterwards, with all in them."""
    live = {"kept": value, "other": 0}
    held = walked(live["kept"])
    become(live, CODEC.loads(CODEC.dumps({"other": [more], "kept": value, "new": 1})))
    assert [id(part) for part in walked(live["kept"])] == [id(part) for part in held]
    assert list(live) == ["other", "kept", "new"]


def walked(value: Any) -> list[Any]:
    parts: list[Any] = []
    left = [value]
    while left:
        part = left.pop()
        if any(part is known for known in parts):
            continue
        parts.append(part)
        if isinstance(part, dict):
            left += part.values()
        elif isinstance(part, (list, tuple, collections.deque)):
            left += part
        left += getattr(part, "__dict__", {}).values()
        left += [part.secret, part.own] if isinstance(part, Slots) else []
    return parts


def test_each_part_that_differs_is_changed_where_it_is() -> None:
    """Whoever holds it sees the change, and what is in it and has not changed is in it still."""
    live = {
        "user": Own(cart=["pen"], address={"city": "Ulm"}, tags={"a"}),
        "rows": [{"id": 1}, {"id": 2}, {"id": 3}],
        "secret": Slots([1], [2]),
    }
    own, rows, slots = live["user"], live["rows"], live["secret"]
    held = [own, own.cart, own.address, own.tags, rows, *rows, slots, slots.secret, slots.own]  # type: ignore[attr-defined, misc]
    fresh = {
        "user": Own(cart=["pen"], address={"city": "Bonn"}, tags={"a", "b"}),
        "rows": [{"id": 2}, {"id": 3}, {"id": 4}, {"id": 5}],
        "secret": Slots([1, 5], [2]),
    }
    wanted = essence(fresh)
    become(live, fresh)
    assert essence(live) == wanted
    now = [own, own.cart, own.address, own.tags, rows, *rows, slots, slots.secret, slots.own]  # type: ignore[attr-defined, misc]
    assert [id(one) for one in now[:5]] == [id(one) for one in held[:5]]
    assert [id(one) for one in now[5:7]] == [id(one) for one in held[6:8]]
    assert [id(one) for one in now[-3:]] == [id(one) for one in held[-3:]]


def test_what_holds_itself_can_be_brought_up_to_date() -> None:
    """It holds itself afterwards, too."""
    live: dict[str, Any] = {"n": 1, "cart": []}
    live["self"], cart = live, live["cart"]
    fresh = CODEC.loads(CODEC.dumps(live))
    assert isinstance(fresh, dict)
    fresh["n"] = 2
    become(live, fresh)
    assert live["self"] is live
    assert (live["n"], live["cart"]) == (2, cart)
    assert live["cart"] is cart


def test_values_are_replaced_and_never_changed() -> None:
    """Objects of telegram, frozen dataclasses, tuples: others may hold them, by their hash."""
    user, item = User(7, "Old", is_bot=False), Item("x", [1])
    live: dict[str, Any] = {"user": user, "item": item, "pair": (1, item)}
    fresh = {
        "user": User(7, "New", is_bot=False),
        "item": Item("x", [2]),
        "pair": (2, Item("x", [1])),
    }
    become(live, fresh)
    assert live["user"].first_name == "New"
    assert live["item"].parts == [2]
    assert live["pair"] == (2, item)
    assert live["pair"][1] is item
    assert (user.first_name, item.parts) == ("Old", [1])


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (Number(1), Number(2), "cannot be changed in place"),
        ({"a": 1}, Own(a=1), "of another class now"),
        (collections.deque([1], 2), collections.deque([1], 3), "cannot be changed in place"),
        (Hidden(1), Hidden(2), "something is left of what it was"),
        ({"h": [Hidden(1)]}, {"h": [Hidden(2)]}, None),
        ({"d": collections.deque([1], 2)}, {"d": collections.deque([1], 3)}, None),
    ],
    ids=str,
)
def test_what_cannot_become_it_is_told(old: Any, new: Any, reason: str | None) -> None:
    """It is tried on an object that nobody has; a part is replaced by another where that does."""
    before, after = CODEC.dumps(old), CODEC.dumps(new)
    found = way(lambda: CODEC.loads(before), lambda: CODEC.loads(after), essence)
    if reason is None:
        assert not isinstance(found, Refusal)
        found(old, CODEC.loads(after))
        assert CODEC.dumps(old) == after
    else:
        assert isinstance(found, Refusal)
        assert reason in found.reason
        if "left" not in reason:
            with pytest.raises(TypeError, match=reason):
                become(old, new)


# Context types ------------------------------------------------------------------------------------


def theirs_wins(*sides: Any) -> Any:
    return sides[-1]


async def opened(store: MemoryStore, cls: type[Any], **more: Any) -> Persistence:
    types: Any = ContextTypes(user_data=cls)
    options: dict[str, Any] = {"context_types": types, "sync": 0, "trusted": (__name__,), **more}
    persistence = make_persistence(store, **options)
    await state_of(persistence)
    return persistence


async def saved(store: MemoryStore, cls: type[Any]) -> Any:
    return (await (await opened(store, cls)).get_user_data())[1]


def filled(cls: Any, number: int) -> Any:
    made: Any
    if cls is Own:
        made = cls(n=number)
    elif issubclass(cls, dict):
        made = cls({number: number})
    elif issubclass(cls, (list, set, collections.deque)):
        made = cls([number])
    else:
        made = cls(number)
    if hasattr(cls, "note"):
        made.note = str(number)
    return made


REACHED: list[type[Any]] = [
    dict,
    Own,
    Base,
    Slots,
    Data,
    Items,
    Tags,
    list,
    set,
    collections.deque,
    collections.Counter,
]


@pytest.mark.parametrize("cls", REACHED)
async def test_every_context_type_is_reached(cls: type[Any]) -> None:
    """Content and attributes are the other's, and what is saved then overrides nobody."""
    store = MemoryStore()
    one, other = await opened(store, cls), await opened(store, cls)
    await update(one, {"user_data": {1: filled(cls, 1)}})
    live = cls()
    await other.refresh_user_data(1, live)
    assert alike(live, filled(cls, 1))
    await update(one, {"user_data": {1: filled(cls, 2)}})
    await other.refresh_user_data(1, live)
    assert alike(live, filled(cls, 2))
    before = other.stats.revision
    await update(other, {"user_data": {1: live}})
    assert (other.stats.revision, other.stats.overridden) == (before, 0)


@pytest.mark.parametrize("cls", [Number, Hidden])
async def test_a_context_type_that_is_not_reached_counts_as_not_seen(
    cls: type[Any], caplog: pytest.LogCaptureFixture
) -> None:
    """One warning names the class and no value; what is saved of it then overwrites nothing."""
    store = MemoryStore()
    one, other = await opened(store, cls), await opened(store, cls, merge=theirs_wins)
    await update(one, {"user_data": {1: filled(cls, 54321), 2: filled(cls, 54321)}})
    live = [cls(), cls()]
    with caplog.at_level(logging.WARNING, "ptb_s3"):
        for user, data in enumerate(live, 1):
            await other.refresh_user_data(user, data)
    assert all(alike(data, cls()) for data in live)
    (line,) = [r.getMessage() for r in caplog.records if "Left" in r.getMessage()]
    assert f"class {__name__}.{cls.__qualname__} cannot be brought up to date" in line
    assert "54321" not in line
    await update(other, {"user_data": {1: filled(cls, 7)}})
    assert alike(await saved(store, cls), filled(cls, 54321))


async def test_a_live_object_with_a_set_is_refreshed() -> None:
    """A set that something was removed from iterates in another order than when it was loaded."""
    store = MemoryStore()
    one, other = await opened(store, dict), await opened(store, dict)
    ids = {10**8 + 37 * number for number in range(50)}
    await update(one, {"user_data": {1: {"ids": set(ids), "n": 0}}})
    live: dict[str, Any] = {}
    await other.refresh_user_data(1, live)
    live["ids"] |= set(range(1000))
    live["ids"] -= set(range(1000))
    await update(one, {"user_data": {1: {"ids": set(ids), "n": 1}}})
    held = live["ids"]
    await other.refresh_user_data(1, live)
    assert live == {"ids": ids, "n": 1}
    assert live["ids"] is held


async def test_a_part_that_a_handler_holds_stays_its_own() -> None:
    """It appends to it after others have committed another field, and nothing is lost."""
    store = MemoryStore()
    one, other = await opened(store, dict), await opened(store, dict)
    await update(one, {"user_data": {1: {"cart": ["pen"], "deep": Own(rows=[{"n": 1}])}}})
    live: dict[str, Any] = {}
    await other.refresh_user_data(1, live)
    cart, row = live["cart"], live["deep"].rows[0]
    theirs = {"lang": "de", "cart": ["pen"], "deep": Own(rows=[{"n": 1}, {"n": 2}])}
    await update(one, {"user_data": {1: theirs}})
    await other.refresh_user_data(1, live)
    cart.append("book")
    row["n"] = 7
    await update(other, {"user_data": {1: live}})
    found = await saved(store, dict)
    assert (found["cart"], found["lang"]) == (["pen", "book"], "de")
    assert found["deep"].rows == [{"n": 7}, {"n": 2}]
