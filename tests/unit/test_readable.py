"""Values as readable JSON, what differs between two of them, and that nobody's code runs for it."""

from __future__ import annotations

import collections
import dataclasses
import datetime as dt
import decimal
import enum
import fractions
import ipaddress
import json
import pathlib
import pickle
import sys
import types
import uuid
import zoneinfo
from collections.abc import Callable
from typing import Any, NamedTuple, Self

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from telegram import InlineKeyboardButton, TelegramObject, User
from telegram.constants import ChatType
from telegram.ext import ExtBot, InvalidCallbackData

from ptb_s3._values.diff import ABSENT, changed_fields
from ptb_s3._values.loading import load_all
from ptb_s3._values.readable import TAGS, readable
from ptb_s3._values.serializer import PickleSerializer
from ptb_s3._values.transcoder import Transcoder
from ptb_s3.errors import DamagedObjectError

BOT: ExtBot[None] = ExtBot("123:ABC")
CODEC = PickleSerializer(trusted=(__name__,), bot=lambda: BOT)
NOW = dt.datetime(2025, 5, 4, 3, 2, 1, tzinfo=dt.UTC)

tripped: list[str] = []


@dataclasses.dataclass
class Order:
    name: str
    parts: list[object] = dataclasses.field(default_factory=list)


class Slotted:
    __slots__ = ("name", "price")

    def __init__(self, name: str, price: int) -> None:
        self.name, self.price = name, price


@dataclasses.dataclass(frozen=True, slots=True)
class Frozen:
    name: str


class Colour(enum.Enum):
    RED = 1


class Point(NamedTuple):
    x: int
    y: int


class Basket(list[object]):
    pass


class Prices(dict[object, object]):
    pass


class Zone(dt.tzinfo):
    def utcoffset(self, _when: dt.datetime | None, /) -> dt.timedelta:
        tripped.append("utcoffset")
        return dt.timedelta(0)

    def tzname(self, _when: dt.datetime | None, /) -> str:
        tripped.append("tzname")
        return "Zone"

    def dst(self, _when: dt.datetime | None, /) -> None:
        return None


class OddName(str):
    __slots__ = ()


class Keyed:
    def __new__(cls, *, size: int) -> Self:
        made = super().__new__(cls)
        made.size = size
        return made

    size: int

    def __getnewargs_ex__(self) -> tuple[tuple[()], dict[str, int]]:
        return (), {"size": self.size}


class Receipt(TelegramObject):
    def __init__(self, total: int) -> None:
        super().__init__()
        self.total = total
        self._freeze()


class Vivid:
    """Does something that can be seen, whatever is done with it."""

    def __init__(self) -> None:
        self.a = 1

    def __setstate__(self, _state: object) -> None:
        tripped.append("setstate")

    def __repr__(self) -> str:
        tripped.append("repr")
        return "Vivid()"

    def __eq__(self, _other: object) -> bool:
        tripped.append("eq")
        return True

    def __hash__(self) -> int:
        tripped.append("hash")
        return 1


def shown(value: object) -> Any:
    """Return what is shown of a value that the bot has saved."""
    return readable(Transcoder().loads(CODEC.dumps(value)))


def named(name: str) -> str:
    return f"{__name__}.{name}"


def owned(obj: TelegramObject) -> TelegramObject:
    obj.set_bot(BOT)
    return obj


ADA = {"$telegram": "User", "first_name": "Ada", "id": 5, "is_bot": False}
SHOWN: list[tuple[object, object]] = [
    (None, None),
    (True, True),
    (2**53 + 1, 2**53 + 1),
    (1.0, 1.0),
    ("text", "text"),
    ([1, [2]], [1, [2]]),
    ({"a": {"b": 1}}, {"a": {"b": 1}}),
    ({1: "a", "b": 2}, {"$dict": [[1, "a"], ["b", 2]]}),
    ({"$tuple": [1]}, {"$dict": [["$tuple", [1]]]}),
    ((1, (2,)), {"$tuple": [1, {"$tuple": [2]}]}),
    ({3, 10, 1}, {"$set": [1, 3, 10]}),
    ({"b", 2.5, "a", (1,)}, {"$set": [2.5, "a", "b", {"$tuple": [1]}]}),
    (frozenset({"a"}), {"$frozenset": ["a"]}),
    (b"\x00\xff", {"$bytes": "AP8="}),
    (bytearray(b"a"), {"$bytearray": "YQ=="}),
    (float("nan"), {"$float": "nan"}),
    (float("-inf"), {"$float": "-inf"}),
    (NOW, {"$datetime": "2025-05-04T03:02:01+00:00"}),
    (NOW.replace(tzinfo=None, fold=1), {"$datetime": "2025-05-04T03:02:01", "fold": 1}),
    (
        NOW.astimezone(zoneinfo.ZoneInfo("Europe/Berlin")),
        {"$datetime": "2025-05-04T05:02:01+02:00", "zone": {"$zone": "Europe/Berlin"}},
    ),
    (
        NOW.replace(tzinfo=Zone()),
        {"$datetime": "2025-05-04T03:02:01", "zone": {"$class": named("Zone")}},
    ),
    (NOW.date(), {"$date": "2025-05-04"}),
    (NOW.time(), {"$time": "03:02:01"}),
    (dt.timedelta(days=1, seconds=5), {"$timedelta": "1 day, 0:00:05"}),
    (decimal.Decimal("1.10"), {"$decimal": "1.10"}),
    (fractions.Fraction(1, 3), {"$fraction": "1/3"}),
    (uuid.UUID(int=5), {"$uuid": "00000000-0000-0000-0000-000000000005"}),
    (pathlib.Path("/a/b"), {"$path": "/a/b"}),
    (ipaddress.ip_address("127.0.0.1"), {"$ip": "127.0.0.1"}),
    (collections.OrderedDict(b=1, a=2), {"$ordereddict": {"b": 1, "a": 2}}),
    (collections.Counter("aab"), {"$counter": {"a": 2, "b": 1}}),
    (
        collections.defaultdict(list, {1: [2]}),
        {"$defaultdict": {"$dict": [[1, [2]]]}, "factory": "builtins.list"},
    ),
    (
        collections.defaultdict[str, object](Prices, a=1),
        {"$defaultdict": {"a": 1}, "factory": named("Prices")},
    ),
    (collections.deque([1], maxlen=3), {"$deque": [1], "maxlen": 3}),
    (range(1, 9, 2), {"$class": "builtins.range", "$args": [1, 9, 2]}),
    (types.SimpleNamespace(a=(1,)), {"$class": "types.SimpleNamespace", "a": {"$tuple": [1]}}),
    (int, {"$type": "builtins.int"}),
    (Order, {"$type": named("Order")}),
    (ChatType.GROUP, {"$enum": "telegram.constants.ChatType.GROUP", "value": "group"}),
    (User(5, "Ada", is_bot=False), ADA),
    (owned(User(5, "Ada", is_bot=False)), ADA),
    (
        InlineKeyboardButton("go", callback_data=Order("tea")),
        {
            "$telegram": "InlineKeyboardButton",
            "callback_data": {"$class": named("Order"), "name": "tea", "parts": []},
            "text": "go",
        },
    ),
    (
        InvalidCallbackData("gone"),
        {"$class": "telegram.ext._callbackdatacache.InvalidCallbackData", "$args": ["gone"]},
    ),
    (BOT, {"$telegram": "Bot"}),
    (
        Order("tea", [(1,), Order("milk")]),
        {
            "$class": named("Order"),
            "name": "tea",
            "parts": [
                {"$tuple": [1]},
                {"$class": named("Order"), "name": "milk", "parts": []},
            ],
        },
    ),
    (Slotted("tea", 3), {"$class": named("Slotted"), "name": "tea", "price": 3}),
    (Frozen("tea"), {"$class": named("Frozen"), "$state": ["tea"]}),
    (Colour.RED, {"$class": named("Colour"), "$args": [1]}),
    (Point(1, 2), {"$class": named("Point"), "$args": [1, 2]}),
    (Basket([1, (2,)]), {"$class": named("Basket"), "$items": [1, {"$tuple": [2]}]}),
    (Prices(a=1), {"$class": named("Prices"), "$entries": {"a": 1}}),
    (Prices({1: 2}), {"$class": named("Prices"), "$entries": {"$dict": [[1, 2]]}}),
    (OddName("a"), {"$class": named("OddName"), "$args": ["a"]}),
    (Keyed(size=3), {"$class": named("Keyed"), "$kwargs": {"size": 3}, "size": 3}),
]


@pytest.mark.parametrize(("value", "form"), SHOWN, ids=lambda value: type(value).__name__)
def test_shown(value: object, form: object) -> None:
    """Each type is shown by its name, and what is plain as it is."""
    assert json.dumps(shown(value)) == json.dumps(form)


def test_objects_of_the_users_that_belong_to_the_bot() -> None:
    """A telegram object of a class of the user's is a placeholder with its attributes."""
    form = shown(owned(Receipt(7)))
    assert form["$class"] == named("Receipt")
    assert form["total"] == 7


def test_attributes_named_like_ours() -> None:
    """Attributes of odd names do not pass for what tells a type."""
    order = Order("tea")
    vars(order)["$class"] = "shop.Other"
    state = {"name": "tea", "parts": []}
    assert shown(order) == {
        "$class": named("Order"),
        "$state": {"$dict": [*map(list, state.items()), ["$class", "shop.Other"]]},
    }
    assert shown(User(5, "Ada", is_bot=False, api_kwargs={"$telegram": "Chat"})) == ADA


def test_enum_by_name() -> None:
    """A member that was taken over by its name is shown by it."""
    cls = Transcoder().family["shop", "Colour"]
    assert readable(cls.remember("member", "RED")) == {"$enum": "shop.Colour.RED"}


def test_numbers_too_long_to_print() -> None:
    """A number that Python refuses to print in decimal is shown in hexadecimal."""
    assert shown(-(16**5000)) == {"$int": hex(-(16**5000))}


def test_half_a_character() -> None:
    """A text that is no whole Unicode is shown as it is."""
    assert json.dumps(shown("\ud800")) == '"\\ud800"'


def test_cycles() -> None:
    """What holds itself is shown once, and then by the number of steps up to it."""
    cart: list[object] = []
    cart.append({"back": cart})
    order = Order("tea")
    order.parts.append(order)
    assert shown(cart) == [{"back": {"$cycle": 2}}]
    assert shown(order)["parts"] == [{"$cycle": 2}]


def test_what_two_hold_is_no_cycle() -> None:
    """What is held twice side by side is shown twice."""
    cart = [1]
    assert shown([cart, cart]) == [[1], [1]]


@pytest.mark.parametrize("wrap", [lambda v: [v], lambda v: {1: v}, lambda v: (v,), Order])
def test_depth(wrap: Callable[[object], object]) -> None:
    """What is nested too deeply for JSON is cut, and json.dumps writes the rest."""
    value: object = 1
    for _ in range(150):
        value = wrap(value)
    assert '"$cut"' in json.dumps(shown(value))


def test_sharing_that_explodes(monkeypatch: pytest.MonkeyPatch) -> None:
    """What would be endless once written out is cut."""
    monkeypatch.setattr("ptb_s3._values.readable._MAX_PARTS", 1000)
    value: object = []
    for _ in range(60):
        value = [value, value]
    assert '"$cut"' in json.dumps(shown(value))


def test_an_object_that_does_not_work() -> None:
    """An object that cannot be shown, since it was never given its state, is named at least."""
    form = readable(Transcoder().loads(b"]cuuid\nUUID\n)\x81a."))
    assert form == [{"$class": "uuid.UUID", "$error": "AttributeError"}]


def test_nobodys_code_runs() -> None:
    """No method of a class that is not telegram's or Python's is called to show a value."""
    data = CODEC.dumps({"a": Vivid(), "b": NOW.replace(tzinfo=Zone())})
    keys = pickle.dumps({Vivid(): 1, frozenset({Vivid()}): 2})
    tripped.clear()
    transcoder = Transcoder()
    json.dumps([readable(transcoder.loads(data)), readable(transcoder.loads(keys))])
    assert not tripped


def test_nothing_is_imported(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module that a value names is not imported, neither for a class nor for a function."""
    (tmp_path / "loud_module.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    text = b"cloud_module\nmake\n(I1\ntR."
    assert readable(Transcoder().loads(text)) == {"$class": "loud_module.make", "$args": [1]}
    assert "loud_module" not in sys.modules


@pytest.mark.parametrize(
    "gadget",
    [
        b"cos\nsystem\n(S'exit 1'\ntR.",
        b"cbuiltins\neval\n(S'tripped.append(1)'\ntR.",
        b"ctelegram.ext._application\nsys.exit\n(tR.",
    ],
)
def test_functions_are_not_called(gadget: bytes) -> None:
    """A function that a value calls is shown by its name, and not called."""
    tripped.clear()
    assert "$class" in readable(Transcoder().loads(gadget))
    assert not tripped


@pytest.mark.parametrize(
    "gadget",
    [
        b"cbuiltins\ngetattr\n(ctelegram._chat\nChat\nS'get_bot'\ntR(tR.",
        b"cptb-s3/1\nTheBot\n(I01\ntR}S'_base_url'\nS'a'\nsb.",
        b"cptb-s3/1\nSetBot\n(I1\n}tR.",
        b"Pno mark\n.",
        b"cshop\nOrder\n}b.",
        b"N.N.",
        b"",
    ],
)
def test_what_does_not_fit_is_damage(gadget: bytes) -> None:
    """What makes no sense gives no value; a pickle cannot change the placeholders of all others."""
    try:
        form = readable(load_all(Transcoder(), "user_data", [(1, gadget)])[1])
    except DamagedObjectError:
        return
    assert form["$class"].startswith("builtins.getattr")


def plain_data() -> st.SearchStrategy[Any]:
    atoms = st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.text(max_size=5),
        st.binary(max_size=5),
        st.datetimes(),
        st.decimals(allow_nan=False),
        st.uuids(),
        st.sampled_from([*TAGS]),
    )
    return st.recursive(
        atoms,
        lambda parts: st.one_of(
            st.lists(parts, max_size=3),
            st.tuples(parts, parts),
            st.dictionaries(atoms, parts, max_size=3),
            st.sets(atoms, max_size=4),
            st.builds(Order, st.text(max_size=3), st.lists(parts, max_size=3)),
        ),
        max_leaves=10,
    )


@given(value=plain_data())
@settings(max_examples=80, deadline=None, database=None)
def test_any_data(value: object) -> None:
    """Any data gives strict JSON, the same each time, in which nothing differs from itself."""
    data = CODEC.dumps(value)
    form, again = (readable(Transcoder().loads(data)) for _ in range(2))
    text = json.dumps(form, allow_nan=False)
    assert json.dumps(again) == text
    assert json.loads(text) == form
    assert not changed_fields(form, again)


@given(one=plain_data(), other=plain_data())
@settings(max_examples=80, deadline=None, database=None)
def test_any_two(one: object, other: object) -> None:
    """Two values have changed fields exactly if they differ when shown, but for a dict's order."""
    forms = shown(one), shown(other)
    changes = changed_fields(*forms)
    texts = [json.dumps(form, sort_keys=True) for form in forms]
    assert not changes or texts[0] != texts[1]
    assert changes or texts[0] == texts[1] or '"$dict"' in texts[0]
    assert [change.path for change in changed_fields(*reversed(forms))] == [
        change.path for change in changes
    ]


# What differs -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "after", "changes"),
    [
        ({"a": 1}, {"a": 1}, []),
        (1, 2, [("", 1, 2)]),
        (1, 1.0, [("", 1, 1.0)]),
        (1, True, [("", 1, True)]),
        ([1], (1,), [("", [1], {"$tuple": [1]})]),
        ({"b": 1, "a": 1}, {"a": 2, "b": 2}, [("['a']", 1, 2), ("['b']", 1, 2)]),
        ({"a": 1}, {"b": 1}, [("['a']", 1, ABSENT), ("['b']", ABSENT, 1)]),
        ({1: [5]}, {1: [6]}, [("[1][0]", 5, 6)]),
        ({(1, "a"): 0}, {(1, "a"): 1}, [("[(1, 'a')]", 0, 1)]),
        ({"$a": 1}, {"$a": 2}, [("['$a']", 1, 2)]),
        ([*range(12)], [*range(10)], [("[10]", 10, ABSENT), ("[11]", 11, ABSENT)]),
        ([0] * 11, [0, 0, 1, *[0] * 7, 1], [("[2]", 0, 1), ("[10]", 0, 1)]),
        ((1, 2), (1, 3), [("[1]", 2, 3)]),
        ({1, "a"}, {1, "b"}, [("{'a'}", "a", ABSENT), ("{'b'}", ABSENT, "b")]),
        (
            {"cart": [0, 1, Order("tea")]},
            {"cart": [0, 1, Order("milk")]},
            [("['cart'][2].name", "tea", "milk")],
        ),
        (Point(1, 2), Point(1, 3), [(".$args[1]", 2, 3)]),
        (Basket([1]), Basket([2]), [("[0]", 1, 2)]),
        (Prices({1: 1}), Prices({1: 2}), [("[1]", 1, 2)]),
        (
            User(1, "Ada", is_bot=False),
            User(1, "Eve", is_bot=False),
            [(".first_name", "Ada", "Eve")],
        ),
        (
            collections.defaultdict(int, a=1),
            collections.defaultdict[str, float](float, a=2),
            [(".factory", "builtins.int", "builtins.float"), ("['a']", 1, 2)],
        ),
        (
            {"at": NOW},
            {"at": NOW.date()},
            [("['at']", {"$datetime": NOW.isoformat()}, {"$date": "2025-05-04"})],
        ),
    ],
)
def test_changed_fields(before: object, after: object, changes: list[Any]) -> None:
    """What differs is told by its path, as Python would write it, in order."""
    found = changed_fields(shown(before), shown(after))
    assert json.dumps(found, default=repr) == json.dumps(changes, default=repr)


def test_another_class_is_another_value() -> None:
    """Objects of two classes are not compared field by field."""
    (change,) = changed_fields(shown(Slotted("a", 1)), shown(Order("a")))
    assert change.path == ""
    assert change.before["$class"] == named("Slotted")


def test_keys_that_look_alike() -> None:
    """Objects that are keys are told apart by their order where they look alike."""
    before = shown({Order: 0}) | {"$dict": [[{"$class": "A"}, 1], [{"$class": "A"}, 2]]}
    after = {"$dict": [[{"$class": "A"}, 1], [{"$class": "A"}, 3]]}
    (change,) = changed_fields(before, after)
    assert change == ('[{"$class": "A"}]#2', 2, 3)
