"""The same data has the same bytes: copied, loaded, made in another order or by another process."""

from __future__ import annotations

import collections
import copy
import datetime as dt
import decimal
import enum
import os
import pathlib
import pickle
import random
import subprocess
import sys
import time
import types
import uuid
import zoneinfo
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from telegram import Chat, Message, User
from telegram.constants import ChatType
from tests.servers import PROJECT
from tests.support import make_persistence, settled, state_of, update

from ptb_s3 import PickleSerializer
from ptb_s3._format.words import is_bare
from ptb_s3._storage.memory import MemoryStore
from ptb_s3._values.transcoder import Transcoder

CODEC = PickleSerializer(trusted=(__name__,))
NOW = dt.datetime(2026, 5, 4, 3, 2, 1, tzinfo=dt.UTC)


class Colour(enum.Enum):
    RED = "red"
    GREEN = "green"
    STRIPED = ("red", "white")


class Rights(enum.Flag):
    READ = enum.auto()
    WRITE = enum.auto()


class Plain:
    def __init__(self, **parts: object) -> None:
        vars(self).update(parts)


@dataclass(frozen=True)
class Item:
    name: str
    price: object = None


@dataclass(slots=True)
class Slotted:
    name: object
    tags: object


class Data(dict[Any, Any]):
    note: object


class Tags(set[Any]):
    pass


class Frozen(frozenset[Any]):
    pass


class Node:
    def __init__(self, name: str) -> None:
        self.name = name
        self.near: set[Node] = set()


class Fickle:
    """Gives another set each time."""

    def __init__(self, parts: list[object]) -> None:
        self.parts = parts

    def __getstate__(self) -> dict[str, object]:
        return {"parts": set(self.parts)}


def user(name: str) -> User:
    return User(id=7, is_bot=False, first_name=name)


NAMES = ["name", "price", "tags", "first_name", "id", "red", "", "Item", "near", "длинноё"]
ATOMS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 300),
    st.floats(allow_nan=False),
    st.sampled_from(NAMES),
    st.text(max_size=3),
    st.binary(max_size=3),
)
VALUES = st.one_of(
    ATOMS,
    st.sampled_from(
        [
            *(*Colour, Rights.READ | Rights.WRITE, ChatType.GROUP, Colour, Item),
            *(pathlib.PurePosixPath("/name/red"), pathlib.PurePosixPath("name")),
            *(pathlib.PureWindowsPath("c:\\name\\red"), uuid.UUID(int=5), decimal.Decimal("1.10")),
            *(NOW, NOW.date(), NOW.astimezone(zoneinfo.ZoneInfo("Europe/Berlin"))),
            *(dt.timezone(dt.timedelta(hours=1), "red"), dt.timedelta(1)),
        ]
    ),
    st.builds(user, st.sampled_from(NAMES)),
)
HASHABLE = st.recursive(
    VALUES,
    lambda parts: st.one_of(
        st.tuples(parts, parts),
        st.frozensets(parts, max_size=4),
        st.builds(Item, st.sampled_from(NAMES), parts),
        st.builds(Frozen, st.lists(parts, max_size=3)),
    ),
    max_leaves=5,
)
GRAPHS = st.recursive(
    HASHABLE | st.sets(HASHABLE, max_size=6) | st.sets(st.text(max_size=9), max_size=20),
    lambda parts: st.one_of(
        st.lists(parts, max_size=3),
        st.dictionaries(HASHABLE, parts, max_size=3),
        st.dictionaries(st.sampled_from(NAMES), parts, max_size=3).map(Data),
        st.dictionaries(st.sampled_from(NAMES), parts, max_size=3).map(collections.OrderedDict),
        st.lists(parts, max_size=3).map(collections.deque),
        st.lists(HASHABLE, max_size=5).map(collections.Counter),
        st.builds(lambda part: collections.ChainMap({"maps": part}), parts),
        st.builds(lambda part: types.SimpleNamespace(name=part, id=1), parts),
        st.builds(lambda part, other: Plain(name=part, tags=other), parts, parts),
        st.builds(Slotted, parts, parts),
        st.builds(lambda part: [part, {"again": part}], parts),
        st.lists(HASHABLE, max_size=4).map(Tags),
        st.builds(
            lambda name: Message(5, NOW, Chat(1, "private"), text=name, api_kwargs={"new": name}),
            st.sampled_from(NAMES),
        ),
    ),
    max_leaves=12,
)


@given(value=GRAPHS)
@settings(max_examples=120, deadline=None, database=None)
def test_a_value_copied_and_loaded_has_the_same_bytes(value: object) -> None:
    """Sets, paths, zones, enums, names of attributes: what is the same is written the same."""
    data = CODEC.dumps(value)
    assert CODEC.dumps(copy.deepcopy(value)) == data
    loaded = CODEC.loads(data)
    assert CODEC.dumps(loaded) == data
    assert CODEC.dumps(copy.deepcopy(loaded)) == data
    plain = Transcoder()
    assert plain.dumps(plain.loads(data)) == data


@given(value=GRAPHS)
@settings(max_examples=50, deadline=None, database=None)
def test_a_value_has_the_same_bytes_in_a_store_with_words(value: object) -> None:
    """It does not matter whether a store has words, and which."""
    codec = PickleSerializer(trusted=(__name__,)).sharing(lambda: ("name", "red", "maps", "Item"))
    data = codec.dumps(value)
    assert codec.dumps(copy.deepcopy(value)) == data
    assert codec.dumps(codec.loads(data)) == data


@given(elements=st.lists(HASHABLE, max_size=30), seed=st.integers(0, 9))
@settings(max_examples=50, deadline=None, database=None)
def test_the_history_of_a_set_does_not_show(elements: list[Any], seed: int) -> None:
    """Put in another order, with others that were removed again, it has the same bytes."""
    straight, devious = set(elements), set(range(10**6, 10**6 + 50))
    for element in random.Random(seed).sample(list(straight), len(straight)):  # noqa: S311 - to be repeated
        devious.add(element)
    devious -= set(range(10**6, 10**6 + 50))
    assert CODEC.dumps({"s": devious}) == CODEC.dumps({"s": straight})


MANY = """
import sys
from tests.unit.test_stable_bytes import *
value = {
    "ids": {5, 10**10, -1, 300},
    "names": {f"user {n}" for n in range(3000)},
    "mixed": {1, "one", None, b"1", 1.5},
    "pairs": {(n, f"pair {n}") for n in range(50)},
    "colours": set(Colour),
    "items": {Item(f"tea {n}", n) for n in range(50)},
    "nested": {frozenset({f"a{n}", frozenset({f"c{n}", f"d{n}"})}) for n in range(9)},
    frozenset({"ab", "cd", "ef"}): [Tags({"ab", "gh"}), Frozen({"ij", "kl"})],
    "users": {user("Bob")},
    "held": Plain(tags={"xx"}, name={Item(n, frozenset({"qq", "rr"})) for n in ("mn", "op")}),
}
value["again"] = value["nested"]
codec = PickleSerializer(trusted=("tests.unit.test_stable_bytes",))
data = codec.dumps(value)
plain = Transcoder()
assert plain.dumps(plain.loads(data)) == data
assert codec.loads(data)["items"] == value["items"]
sys.stdout.buffer.write(data)
"""


def test_processes_with_other_hashes_write_the_same_bytes() -> None:
    """Strings hash as the process has it, and so sets of them iterate."""
    written = set()
    for seed in ("0", "1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(PROJECT)}
        ran = subprocess.run(  # noqa: S603 - our own interpreter and text
            [sys.executable, "-c", MANY], capture_output=True, check=True, env=environment
        )
        written.add(ran.stdout)
    assert len(written) == 1
    assert len(written.pop()) > 10_000


def test_sets_come_first_in_a_pickle() -> None:
    """As FORMAT.md allows any pickle: sets come first, and the value refers to them."""
    data = CODEC.dumps([{3, 1, 2}, "b", {"b", "a"}, frozenset()])

    assert data == (
        b"\x80\x05\x8f\x94(K\x01K\x02K\x03\x900\x8f\x94(X\x01\0\0\0aX\x01\0\0\0b\x900(\x91\x940"
        b"\x95\x0f\0\0\0\0\0\0\0]\x94(h\x00\x8c\x01b\x94h\x01h\x02e."
    )
    assert pickle.loads(data) == [{1, 2, 3}, "b", {"a", "b"}, frozenset()]  # noqa: S301 - from above


def test_a_shared_set_stays_one_object() -> None:
    """Elements and sets that stand elsewhere too are the same objects after a load."""
    item, tags = Item("tea", frozenset({"a", "b"})), {"x", "y"}
    value = [tags, {"i": item, "t": tags}, {item, Item("milk")}, item.price, {Item("x", item)}]
    loaded: Any = CODEC.loads(CODEC.dumps(value))
    assert loaded == value
    assert loaded[0] is loaded[1]["t"]
    assert loaded[1]["i"] in loaded[2]
    assert any(element is loaded[1]["i"] for element in loaded[2])
    assert loaded[3] is loaded[1]["i"].price
    assert next(iter(loaded[4])).price is loaded[1]["i"]


def graph() -> list[Node]:
    nodes = [Node(f"node {number}") for number in range(20)]
    for number, node in enumerate(nodes):
        node.near |= {nodes[number - 1], nodes[number - 7], node}
    return nodes


@pytest.mark.parametrize("value", [graph(), {"f": Fickle([1, 2, 3])}, [set(graph())]], ids=str)
def test_sets_that_have_no_place_are_written_as_they_come(value: Any) -> None:
    """Those that lead back to themselves, or are others each time, come back as they were."""
    loaded: Any = CODEC.loads(CODEC.dumps(value))
    if isinstance(value, dict):
        assert loaded["f"].parts == {1, 2, 3}
    elif isinstance(value[0], Node):
        assert [{n.name for n in node.near} for node in loaded] == [
            {n.name for n in node.near} for node in value
        ]
        assert loaded[0] in loaded[0].near
    else:
        assert {node.name for node in loaded[0]} == {node.name for node in value[0]}


def test_elements_that_lead_to_all_the_rest_take_no_time() -> None:
    """Each of thousands holds the same large thing: that is not written thousands of times."""
    large = list(range(100_000, 300_000))
    value = [large, {Plain(number=number, large=large) for number in range(5000)}]
    begun = time.process_time()
    loaded: Any = CODEC.loads(CODEC.dumps(value))
    assert time.process_time() - begun < 5
    assert len(loaded[1]) == 5000
    assert all(one.large is loaded[0] for one in loaded[1])


@pytest.mark.parametrize(
    "value",
    [
        {"all": "её"},
        {"tie": "👔"},
        {"n": 0x948F},
        {"b": b"\x8f\x94 \x91\x94"},
        [Plain(name="моё")],
    ],
    ids=str,
)
def test_what_only_looks_like_a_set_is_written_as_ever(value: object) -> None:
    """Text and numbers may have the bytes of one; it is a bare value all the same."""
    plain = pickle.dumps(value, 5)
    if type(value) is dict:
        assert CODEC.dumps(value) == plain
    codec = PickleSerializer(trusted=(__name__,)).sharing(lambda: ("all", "tie", "n", "b", "name"))
    assert is_bare(codec.dumps(value))
    assert not is_bare(codec.dumps([value, {1, 2}]))


async def test_an_idle_bot_with_sets_and_paths_commits_nothing_after_a_start() -> None:
    """PTB hands over bot_data every interval, and it is the same as was loaded."""
    store = MemoryStore()
    options: dict[str, Any] = {"trusted": (__name__,)}
    bot_data = {
        "group_ids": {random.randrange(10**12) for _ in range(500)},  # noqa: S311 - any will do
        "path": pathlib.Path("/red/name"),
        "red": Colour.RED,
        "name": Item("name", zoneinfo.ZoneInfo("Europe/Berlin")),
        "zone": "Europe/Berlin",
        "names": {"red", "name"},
        "pairs": {("red", 1), ("name", 2)},
    }
    first = make_persistence(store, **options)
    await state_of(first)
    await update(first, {"bot_data": bot_data})
    await settled(first)
    for _ in range(2):
        again = make_persistence(store, **options)
        live = await again.get_bot_data()
        assert live == bot_data
        before = store.current()
        await update(again, {"bot_data": copy.deepcopy(live)})
        await again.flush()
        assert store.current() == before
