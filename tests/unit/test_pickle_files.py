"""Files of PicklePersistence: taken over without their classes, and written so that PTB loads them.

The files are written and read by PTB's own PicklePersistence.
"""

from __future__ import annotations

import collections
import copy
import dataclasses
import datetime as dt
import enum
import operator
import os
import pickle
import stat
import sys
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple, cast
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from telegram import Bot, Chat, InlineKeyboardButton, LinkPreviewOptions, Message, User
from telegram import TelegramObject as Base
from telegram.constants import ChatType
from telegram.ext import ContextTypes, ExtBot, PicklePersistence
from telegram.warnings import PTBUserWarning

from ptb_s3._format.entities import PTB_KINDS, Entities, Kind
from ptb_s3._transfer.maps import Skipped, join
from ptb_s3._transfer.pickle_files import read_pickle_persistence, write_pickle_persistence
from ptb_s3._values.loading import load_all
from ptb_s3._values.pickling.markers import Member
from ptb_s3._values.serializer import PickleSerializer
from ptb_s3.errors import (
    DamagedFileError,
    DamagedObjectError,
    NothingThereError,
    PersistenceError,
    SettingsError,
    UnfitTypeError,
    UntrustedFileError,
)

BOT: ExtBot[None] = ExtBot("123:ABC", arbitrary_callback_data=True)
OTHER_BOT: ExtBot[None] = ExtBot("456:DEF")
CODEC = PickleSerializer(trusted=(__name__,), bot=lambda: BOT)
NOW = dt.datetime(2025, 5, 4, 3, 2, 1, tzinfo=dt.UTC)


@dataclasses.dataclass
class Order:
    name: str
    parts: list[object] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True, slots=True)
class Frozen:
    name: str


@dataclasses.dataclass(eq=True)
class Custom:
    """As of a custom context type."""

    seen: int = 0


class Slotted:
    __slots__ = ("__dict__", "name")

    def __init__(self, name: str) -> None:
        self.name, self.extra = name, [name]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Slotted) and (self.name, self.extra) == (other.name, other.extra)

    __hash__ = None  # type: ignore[assignment]  # as of any class with an __eq__


class Keyed:
    def __new__(cls, *, how: int) -> Any:
        made = super().__new__(cls)
        made.how = how
        return made

    how: int

    def __getnewargs_ex__(self) -> tuple[tuple[()], dict[str, int]]:
        return (), {"how": self.how}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Keyed) and self.how == other.how

    __hash__ = None  # type: ignore[assignment]  # as above


class Point(NamedTuple):
    x: int
    y: int


class Basket(list[object]):
    pass


class Prices(dict[object, object]):
    pass


class OddName(str):
    __slots__ = ()


class Colour(enum.Enum):
    RED = 1
    BLUE = "blue"


class Step(enum.IntEnum):
    FIRST = 0


class Rights(enum.Flag):
    READ = 1
    WRITE = 2
    SHARE = 4


class ByName(enum.Enum):
    """As Python 3.11.0 to 3.11.3 pickles each enum."""

    ONE = 1
    TWO = 2

    def __reduce_ex__(self, _protocol: object) -> tuple[Any, ...]:
        return getattr, (type(self), self.name)


class RightsByName(enum.Flag):
    READ = 1
    WRITE = 2
    SHARE = 4

    def __reduce_ex__(self, _protocol: object) -> tuple[Any, ...]:
        first, *others = self
        if others:
            return operator.or_, (RightsByName(self.value & ~first.value), first)
        return getattr, (type(self), self.name)


class Zone(dt.tzinfo):
    def utcoffset(self, _when: dt.datetime | None, /) -> dt.timedelta:
        return dt.timedelta(hours=1)

    def tzname(self, _when: dt.datetime | None, /) -> str:
        return "Zone"

    def dst(self, _when: dt.datetime | None, /) -> None:
        return None


class Receipt(Base):
    def __init__(self, total: int) -> None:
        super().__init__()
        self.total = total
        self._id_attrs = (total,)
        self._freeze()


class Shop:
    class Shelf(Order):
        pass


class lower(Order):  # noqa: N801 - that is the test
    pass


def make_order(name: str) -> Order:
    return Order(name)


class Made(Order):
    def __reduce__(self) -> tuple[Any, ...]:
        return make_order, (self.name,)


class MadeByClass(Order):
    @classmethod
    def make(cls, name: str) -> Order:
        return cls(name)

    def __reduce__(self) -> tuple[Any, ...]:
        return MadeByClass.make, (self.name,)


def owned(obj: Any, bot: Bot = BOT) -> Any:
    obj.set_bot(bot)
    return obj


def message() -> Message:
    user, chat = owned(User(7, "Ada", is_bot=False)), owned(Chat(5, ChatType.PRIVATE))
    options = LinkPreviewOptions(url="https://example.org")
    made = Message(2, NOW, chat, from_user=user, text="hello", link_preview_options=options)
    return cast("Message", owned(made))


USERS: list[object] = [
    Order("tea", [Order("leaf"), (1, 2)]),
    Frozen("tea"),
    Slotted("tea"),
    Keyed(how=3),
    Point(1, 2),
    Basket([1, [2]]),
    Prices({1: "a", "b": 2}),
    OddName("Ada"),
    Colour.RED,
    Colour.BLUE,
    Step.FIRST,
    Rights.READ | Rights.SHARE,
    Rights(0),
    owned(Receipt(7)),
    Receipt(8),
    Shop.Shelf("top"),
    lower("case"),
    NOW.replace(tzinfo=Zone()),
    collections.defaultdict(Basket, {"a": Basket([1])}),
    {Frozen("a"): {Colour.RED: 1}},
    Order,
    [Order("one"), Order("two"), {"third": Order("three")}],
]


async def write_ptb(path: Path, *, single: bool = True, **maps: Any) -> Path:
    """Let PTB write a file, or five."""
    persistence = PicklePersistence(path, single_file=single, on_flush=True)
    persistence.set_bot(BOT)
    for name, data in maps.items():
        setattr(persistence, name, data)
    await persistence.flush()
    return path


async def read_ptb(path: Path, *conversations: str, **options: Any) -> dict[str, Any]:
    """Let PTB read a file."""
    persistence = PicklePersistence(path, **options)
    persistence.set_bot(BOT)
    return {
        "user_data": await persistence.get_user_data(),
        "chat_data": await persistence.get_chat_data(),
        "bot_data": await persistence.get_bot_data(),
        "callback_data": await persistence.get_callback_data(),
        "conversations": {
            name: await persistence.get_conversations(name) for name in conversations
        },
    }


def taken(path: Path, **options: Any) -> dict[Kind, Entities]:
    return read_pickle_persistence(path, trusted=(__name__,), **options)


def export(path: Path, state: Mapping[Kind, Entities], **options: Any) -> None:
    write_pickle_persistence(path, state, **{"trusted": (__name__,), **options})


def maps_of(state: Mapping[Kind, Entities]) -> dict[str, Any]:
    """Return what the bot gets from entities, in the form of PTB's maps."""
    return join({kind: load_all(CODEC, kind, state[kind].items()) for kind in PTB_KINDS})


def of_user(value: object) -> dict[Kind, Entities]:
    """Return a state with the data of one user."""
    return {kind: {} for kind in PTB_KINDS} | {Kind.USER_DATA: {1: CODEC.dumps(value)}}


STATE: dict[str, Any] = {
    "user_data": {1: {"name": "Ada", "cart": [Order("tea")]}, 2: {}},
    "chat_data": {-5: {"at": NOW.astimezone(ZoneInfo("Europe/Berlin")), 1: {2: (3, {4})}}},
    "bot_data": {"price": Decimal("1.10"), "kind": ChatType.GROUP},
    "callback_data": (
        [("u1", 5.0, {"b1": Order("old")}), ("u2", 7.5, {"b2": "x", "b3": None})],
        {"q1": "u1"},
    ),
    "conversations": {"order": {(5, 7): Step.FIRST, ("m", 1): "typing"}, "other": {(1,): 0}},
}


@pytest.mark.parametrize("single", [True, False])
async def test_import(tmp_path: Path, single: bool) -> None:  # noqa: FBT001 - one file or five
    """What PTB wrote, in one file or five, is what the bot loads."""
    path = await write_ptb(tmp_path / "bot", single=single, **STATE)
    assert maps_of(taken(path)) == STATE


async def test_import_then_export(tmp_path: Path) -> None:
    """What was taken over comes back from PTB as it was, and is taken over again as the same."""
    state = taken(await write_ptb(tmp_path / "bot", **STATE))
    export(tmp_path / "new", state)
    assert await read_ptb(tmp_path / "new", "order", "other") == STATE
    assert taken(tmp_path / "new") == state


@pytest.mark.parametrize("value", USERS, ids=lambda value: type(value).__name__)
async def test_classes_of_the_users(tmp_path: Path, value: object) -> None:
    """Objects of the user's are written as the bot will write them, and load; and so for PTB."""
    path = await write_ptb(tmp_path / "bot", user_data={1: {"a": value}})
    state = taken(path)
    assert maps_of(state)["user_data"] == {1: {"a": value}}
    data = state[Kind.USER_DATA][1]
    assert CODEC.dumps(copy.deepcopy(CODEC.loads(data))) == data
    export(tmp_path / "new", of_user({"a": value}))
    assert (await read_ptb(tmp_path / "new"))["user_data"] == {1: {"a": value}}
    assert taken(tmp_path / "new")[Kind.USER_DATA][1] == CODEC.dumps({"a": value})


@pytest.mark.parametrize("value", [Order("tea"), Slotted("tea"), {"Order": Order("tea")}])
async def test_keys_named_as_attributes(tmp_path: Path, value: object) -> None:
    """A key that reads as the name of an attribute or class is written as the bot will write it."""
    state = taken(await write_ptb(tmp_path / "bot", user_data={1: {"name": value}}))
    data = state[Kind.USER_DATA][1]
    assert CODEC.dumps(copy.deepcopy(CODEC.loads(data))) == data


async def test_what_holds_itself(tmp_path: Path) -> None:
    """Objects that hold themselves, or that two others hold, do so afterwards, for both readers."""
    order = Order("tea")
    order.parts += [order, {"back": order}]
    state = taken(await write_ptb(tmp_path / "bot", user_data={1: {"a": order}}))
    export(tmp_path / "new", state)
    for maps in (maps_of(state), await read_ptb(tmp_path / "new")):
        loaded = maps["user_data"][1]["a"]
        assert loaded.parts[0] is loaded
        assert loaded.parts[1] == {"back": loaded}


async def test_telegrams_objects_belong_to_the_bot(tmp_path: Path) -> None:
    """What belonged to the bot does so after an import, and again after an export."""
    value = {"message": message(), "receipt": owned(Receipt(1)), "none": Receipt(2)}
    state = taken(await write_ptb(tmp_path / "bot", user_data={1: value}))
    export(tmp_path / "new", state)
    for maps in (maps_of(state), await read_ptb(tmp_path / "new")):
        loaded = maps["user_data"][1]
        assert loaded["message"] == value["message"]
        assert loaded["message"].text == "hello"
        assert loaded["message"].get_bot() is BOT
        assert loaded["message"].chat.get_bot() is BOT
        assert loaded["receipt"].get_bot() is BOT
        assert loaded["receipt"].total == 1
        assert loaded["none"]._bot is None
    assert taken(tmp_path / "new") == state


async def test_the_bot_itself(tmp_path: Path) -> None:
    """The bot, where it is a value, is the one that runs; PTB finds its own mark for it."""
    state = taken(await write_ptb(tmp_path / "bot", user_data={1: {"bot": BOT}}))
    assert maps_of(state)["user_data"] == {1: {"bot": BOT}}
    export(tmp_path / "new", of_user({"bot": BOT}))
    persistence = PicklePersistence(tmp_path / "new")
    persistence.set_bot(BOT)
    persistence._load_singlefile()  # what it has loaded it cannot copy
    assert persistence.user_data == {1: {"bot": BOT}}


async def test_export_keeps_what_ptb_loses(tmp_path: Path) -> None:
    """A default that an object of telegram holds is one still, so that the bytes stay the same."""
    state = of_user(message())
    export(tmp_path / "new", state)
    assert taken(tmp_path / "new") == state


async def test_another_bots_objects(tmp_path: Path) -> None:
    """What belonged to another bot belongs to none."""
    value = {"bot": OTHER_BOT, "chat": owned(Chat(1, "private"), OTHER_BOT)}
    with pytest.warns(PTBUserWarning, match="Unknown bot"):
        path = await write_ptb(tmp_path / "bot", user_data={1: value})
    state = taken(path)
    loaded = maps_of(state)["user_data"][1]
    assert loaded == {"bot": None, "chat": value["chat"]}
    assert loaded["chat"]._bot is None
    assert state[Kind.USER_DATA][1] == CODEC.dumps(loaded)


@pytest.mark.parametrize("value", [{"a": InlineKeyboardButton("a", callback_data="b")}, Custom(3)])
async def test_data_of_other_types(tmp_path: Path, value: Any) -> None:
    """The data of a user, a chat and the bot may be of a type of one's own."""
    state = taken(await write_ptb(tmp_path / "bot", user_data={1: value}, bot_data=value))
    assert maps_of(state)["user_data"] == {1: value}
    assert maps_of(state)["bot_data"] == value
    export(tmp_path / "new", state)
    assert (await read_ptb(tmp_path / "new"))["bot_data"] == value


async def test_members_by_name(tmp_path: Path) -> None:
    """Enums that are pickled by name, as some Pythons do, load; PTB reads them after an export."""
    values = [ByName.TWO, RightsByName.WRITE, RightsByName.READ | RightsByName.SHARE, *RightsByName]
    values += [RightsByName(7), {"a": ByName.ONE}]
    state = taken(await write_ptb(tmp_path / "bot", user_data={1: {"a": values}}))
    assert maps_of(state)["user_data"] == {1: {"a": values}}
    export(tmp_path / "new", state)
    assert (await read_ptb(tmp_path / "new"))["user_data"] == {1: {"a": values}}
    assert taken(tmp_path / "new") == state


def test_telegrams_members_by_name(tmp_path: Path) -> None:
    """Telegram's own enums, pickled by name, are what the bot would have saved."""
    text = b"\x80\x04cbuiltins\ngetattr\nctelegram.constants\nChatType\nVPRIVATE\n\x86R."
    maps = b"\x80\x04}Vuser_data\n}K\x01" + text[2:-1] + b"ss."
    (tmp_path / "bot").write_bytes(maps)
    assert taken(tmp_path / "bot")[Kind.USER_DATA] == {1: CODEC.dumps(ChatType.PRIVATE)}


class FakeEnum:
    __members__ = {"ONE": make_order}  # noqa: RUF012 - as an enum's


class Marked:
    def __init__(self, *args: object) -> None:
        self.args = args

    def __reduce__(self) -> tuple[Any, ...]:
        return Member, self.args


@pytest.mark.parametrize(
    "args",
    [
        (ByName, "__class__"),
        (ByName, "mro"),
        (ByName, "THREE"),
        (ByName,),
        (ByName, "ONE", "TWO"),
        (Order, "__init__"),
        (Order("a"), "name"),
        (FakeEnum, "ONE"),
        (),
    ],
)
def test_the_marker_for_members_gives_nothing_else(args: tuple[object, ...]) -> None:
    """The mark gives members of enums, and no other attribute of anything."""
    with pytest.raises((DamagedObjectError, UnfitTypeError)):
        load_all(CODEC, "user_data", [(1, pickle.dumps(Marked(*args)))])


# The same bytes ---------------------------------------------------------------------------------


def plain_data() -> st.SearchStrategy[Any]:
    atoms = st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(allow_nan=False),
        st.text(max_size=5),
        st.binary(max_size=5),
        st.datetimes(),
        st.decimals(allow_nan=False),
        st.uuids(),
        st.sampled_from([ChatType.GROUP, ZoneInfo("Europe/Berlin"), Path("/a"), int]),
    )
    return st.recursive(
        atoms,
        lambda parts: st.one_of(
            st.lists(parts, max_size=3),
            st.tuples(parts, parts),
            st.dictionaries(atoms, parts, max_size=3),
            st.builds(Order, st.text(max_size=3), st.lists(parts, max_size=3)),
            st.builds(Frozen, st.text(max_size=3)),
            st.builds(Prices, st.dictionaries(atoms, parts, max_size=3)),
        ),
        max_leaves=10,
    )


@given(values=st.dictionaries(st.integers(1, 9), plain_data(), min_size=1, max_size=3))
@settings(
    max_examples=40,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
async def test_any_data(tmp_path: Path, values: dict[int, object]) -> None:
    """Any data comes over as the bot would save it: its first update is no change."""
    state = taken(await write_ptb(tmp_path / "bot", user_data=values))
    assert state[Kind.USER_DATA] == {key: CODEC.dumps(value) for key, value in values.items()}
    loaded = maps_of(state)["user_data"]
    again = {key: CODEC.dumps(copy.deepcopy(value)) for key, value in loaded.items()}
    assert again == state[Kind.USER_DATA]
    export(tmp_path / "bot", state, overwrite=True)
    assert (await read_ptb(tmp_path / "bot"))["user_data"] == values
    assert taken(tmp_path / "bot") == state


async def test_long_data(tmp_path: Path) -> None:
    """Data of many parts, nested as deeply as the bot can save it, is written as the bot does."""
    value: object = [Order(str(n), [*range(n % 900)]) for n in range(1200)]
    for _ in range(350):
        value = [value]
    values = {1: {"a": value, "b": b"x" * 100_000}, 2: {"plain": [*range(1001)]}}
    state = taken(await write_ptb(tmp_path / "bot", user_data=values))
    assert state[Kind.USER_DATA] == {key: CODEC.dumps(value) for key, value in values.items()}


def test_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A value that the bot could not save is an error that names the file."""
    monkeypatch.setattr("ptb_s3._transfer.maps.MAX_ENTITY", 99)
    (tmp_path / "bot").write_bytes(pickled({"user_data": {1: {"a": "x" * 99}}}))
    with pytest.raises(DamagedFileError, match="too large"):
        taken(tmp_path / "bot")


def test_nested_too_deeply(tmp_path: Path) -> None:
    """What is nested too deeply to be saved is an error that names the file."""
    (tmp_path / "bot").write_bytes(b"}Vuser_data\n}K\x01" + b"]" * 9999 + b"a" * 9998 + b"ss.")
    with pytest.raises(DamagedFileError, match="nested too deeply"):
        taken(tmp_path / "bot")


# What is not taken over -------------------------------------------------------------------------


async def test_untrusted_classes(tmp_path: Path) -> None:
    """All classes that are not trusted are named, with what to do."""
    path = await write_ptb(tmp_path / "bot", user_data={1: [Order("a"), Colour.RED, Frozen("b")]})
    with pytest.raises(UntrustedFileError) as caught:
        read_pickle_persistence(path, trusted=("__main__", "shop", "test_pickle"))
    assert caught.value.types == tuple(
        f"{__name__}.{name}" for name in ("Colour", "Frozen", "Order")
    )
    assert caught.value.exit_code == 5
    text = str(caught.value)
    assert str(path) in text
    assert f"{__name__}.Colour" in text
    assert "--trusted" in text


def test_untrusted_classes_that_keep_it_from_loading(tmp_path: Path) -> None:
    """Classes that are not trusted are named even if nothing loads without them."""
    zone = b"cshop\nmake_zone\n(tR"
    text = b"}Vuser_data\n}K\x01c" + b"builtins\nrange\n(" + zone + b"tRss."
    (tmp_path / "bot").write_bytes(text)
    with pytest.raises(UntrustedFileError) as caught:
        taken(tmp_path / "bot")
    assert caught.value.types == ("shop.make_zone",)


async def test_time_zones_of_others(tmp_path: Path) -> None:
    """A time zone of a class that is not trusted is named, as any other object is."""
    value = [NOW.replace(tzinfo=Zone()), Order("a")]
    path = await write_ptb(tmp_path / "bot", user_data={1: value})
    with pytest.raises(UntrustedFileError) as caught:
        read_pickle_persistence(path)
    assert caught.value.types == (f"{__name__}.Order", f"{__name__}.Zone")


def test_nothing_is_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even a module that is trusted is imported."""
    (tmp_path / "loud_module.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    text = b"}Vuser_data\n}K\x01cloud_module\nThing\n)\x81ss."
    (tmp_path / "bot").write_bytes(text)
    for trusted in (("loud_module",), ()):
        try:
            state = read_pickle_persistence(tmp_path / "bot", trusted=trusted)
            export(tmp_path / "new", state, trusted=trusted)
        except UntrustedFileError:
            assert not trusted
    assert b"loud_module" in (tmp_path / "new").read_bytes()
    assert "loud_module" not in sys.modules


@pytest.mark.parametrize(
    ("value", "function"), [(Made("a"), "make_order"), (MadeByClass("a"), "MadeByClass.make")]
)
async def test_objects_that_take_functions_to_load_are_refused(
    tmp_path: Path, value: object, function: str
) -> None:
    """An object that takes a function to load is refused, and the function named."""
    path = await write_ptb(tmp_path / "bot", user_data={1: value})
    with pytest.raises(UntrustedFileError, match="never calls") as caught:
        taken(path)
    assert caught.value.functions == (f"{__name__}.{function}",)
    assert not caught.value.types


LOCATION = b"ctelegram.files.location\nLocation\n"


@pytest.mark.parametrize("trusted", [(), ("telegram",)])
def test_a_class_that_this_ptb_does_not_have(tmp_path: Path, trusted: tuple[str, ...]) -> None:
    """No bot could start with it, whatever is trusted; nobody is told that it is theirs."""
    (tmp_path / "bot").write_bytes(b"}Vuser_data\n}(K\x01" + LOCATION + b")\x81K\x02}us.")
    with pytest.raises(UntrustedFileError) as caught:
        read_pickle_persistence(tmp_path / "bot", trusted=trusted)
    assert caught.value.unfit == ("telegram.files.location.Location",)
    assert not caught.value.types
    assert "does not have these classes" in str(caught.value)
    assert "yours" not in str(caught.value)
    left: list[Skipped] = []
    state = skipping(tmp_path / "bot", left)
    assert [(one.kind, one.key) for one in left] == [("user_data", 1)]
    assert "has no such telegram.files.location.Location" in left[0].reason
    assert maps_of(state)["user_data"] == {2: {}}


async def test_a_class_of_ptb_that_takes_another_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is named; the file is not called damaged."""
    values = {1: {"user": User(5, "Ada", is_bot=False)}, 2: {"n": 1}}
    path = await write_ptb(tmp_path / "bot", user_data=values)

    def refuse(_self: object, _state: object) -> None:
        raise TypeError

    monkeypatch.setattr(User, "__setstate__", refuse)
    with pytest.raises(UntrustedFileError, match="no longer take") as caught:
        taken(path)
    assert caught.value.unfit == ("telegram._user.User",)
    assert "damaged" not in str(caught.value)
    assert maps_of(skipping(path, []))["user_data"] == {2: {"n": 1}}


def skipping(path: Path, left: list[Skipped]) -> Mapping[Kind, Entities]:
    return read_pickle_persistence(
        path, trusted=(__name__,), skip_unreadable=True, note=left.append
    )


WHOLE = {"user_data": {7: {"n": 1}}, "chat_data": {}, "bot_data": {}, "conversations": {}}


def test_a_key_beside_the_five(tmp_path: Path) -> None:
    """PTB does not load it, and so neither do we, whatever classes it takes; it is named."""
    extra = {"monitors": [Order("a"), Made("b")], "callback_data": None}
    (tmp_path / "bot").write_bytes(pickled(WHOLE | extra))
    left: list[Skipped] = []
    state = read_pickle_persistence(tmp_path / "bot", trusted=(), note=left.append)
    assert maps_of(state)["user_data"] == {7: {"n": 1}}
    assert left == [Skipped(None, "monitors", "PTB does not load it either")]


def test_a_single_file_that_is_named_like_one_of_five(tmp_path: Path) -> None:
    """What it holds says what it is."""
    (tmp_path / "telegram_bot_data").write_bytes(pickled(WHOLE))
    assert maps_of(taken(tmp_path / "telegram_bot_data"))["user_data"] == {7: {"n": 1}}
    (tmp_path / "telegram_bot_data").write_bytes(pickled({"user_data": {}}))
    with pytest.raises(SettingsError, match="one of five"):
        taken(tmp_path / "telegram_bot_data")


async def test_what_cannot_be_taken_is_left_out(tmp_path: Path) -> None:
    """If that is asked for: each by name and with the reason, and everything else arrives."""
    users: dict[Any, Any] = {
        1: {"n": 1},
        2: Made("b"),
        3: [Zone()],
        "4": {},
        5: {"own": Order("a")},
    }
    maps = {**WHOLE, "user_data": users, "chat_data": [1], "callback_data": {"a": 1}}
    maps["conversations"] = {"name": {(1,): 2}}
    (tmp_path / "bot").write_bytes(pickled(maps))
    left: list[Skipped] = []
    state = read_pickle_persistence(
        tmp_path / "bot", trusted=(__name__,), skip_unreadable=True, note=left.append
    )
    assert set(state[Kind.USER_DATA]) == {1, 3, 5}
    assert state[Kind.CONVERSATIONS].keys() == {("name", (1,))}
    assert [(one.kind, one.key) for one in left] == [
        ("chat_data", None),
        ("callback_data", None),
        ("user_data", None),
        ("user_data", 2),
    ]
    assert left[3].reason == f"to load it takes functions: {__name__}.make_order"
    left.clear()
    read_pickle_persistence(tmp_path / "bot", trusted=(), skip_unreadable=True, note=left.append)
    assert f"not trusted: {__name__}.Zone" in [one.reason for one in left]
    assert not {one.kind for one in left} - {*Kind}


def pickled(value: object) -> bytes:
    return pickle.dumps(value)


DAMAGED = {
    "empty": b"",
    "garbage": b"no pickle",
    "json": b'{"user_data": {}}',
    "not a dict": pickled([1]),
    "empty dict": pickled({}),
    "another dict": pickled({"users": {}}),
    "one more member": pickled({"user_data": {}, "users": {}}),
    "two pickles": pickled({"user_data": {}}) * 2,
    "users no dict": pickled({"user_data": [1]}),
    "key no number": pickled({"user_data": {"1": {}}}),
    "key too large": pickled({"chat_data": {2**70: {}}}),
    "conversations no dict": pickled({"conversations": [1]}),
    "states no dict": pickled({"conversations": {"name": [1]}}),
    "conversation's key": pickled({"conversations": {"name": {1: 2}}}),
    "conversation's name": pickled({"conversations": {1: {(1,): 2}}}),
    "callbacks": pickled({"callback_data": {"a": 1}}),
    "keyboard": pickled({"callback_data": ([("u", 1.0)], {})}),
    "query": pickled({"callback_data": ([], {1: "u"})}),
    "mark": b"}Vuser_data\nPsome bot\ns.",
}


@pytest.mark.parametrize("data", DAMAGED.values(), ids=DAMAGED)
def test_damaged(tmp_path: Path, data: bytes) -> None:
    """What is no file of PicklePersistence's is an error that names it, and shows nothing of it."""
    (tmp_path / "bot").write_bytes(data)
    with pytest.raises(DamagedFileError) as caught:
        taken(tmp_path / "bot")
    assert caught.value.exit_code == 5
    assert str(tmp_path / "bot") in str(caught.value)
    assert caught.value.__cause__ is None
    assert "Nothing was changed" in str(caught.value)


async def test_truncated(tmp_path: Path) -> None:
    """A file that ends early is an error, wherever it ends."""
    path = await write_ptb(tmp_path / "bot", **STATE)
    whole = path.read_bytes()
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        with pytest.raises(DamagedFileError):
            taken(path)


async def test_older_files(tmp_path: Path) -> None:
    """A file that lacks some data, or has nothing for it, is taken over as it is."""
    (tmp_path / "bot").write_bytes(
        pickled({"user_data": collections.defaultdict(dict, {1: {}}), "chat_data": None})
    )
    assert maps_of(taken(tmp_path / "bot")) == {
        "user_data": {1: {}},
        "chat_data": {},
        "callback_data": None,
        "conversations": {},
    }
    (tmp_path / "bot").write_bytes(
        pickled({"conversations": {"a": {(1,): None}}, "callback_data": {}})
    )
    assert not any(taken(tmp_path / "bot").values())


async def test_a_path_that_may_mean_two_files_is_refused(tmp_path: Path) -> None:
    """A file that is not there, is one of five, or may be two things, is an error that says so."""
    with pytest.raises(NothingThereError, match="bot"):
        taken(tmp_path / "bot")
    with pytest.raises(SettingsError, match="cannot be read"):
        taken(tmp_path)
    await write_ptb(tmp_path / "bot", single=False, user_data={1: {}}, chat_data={2: {}})
    assert maps_of(taken(tmp_path / "bot"))["chat_data"] == {2: {}}
    with pytest.raises(SettingsError, match="one of five"):
        taken(tmp_path / "bot_user_data")
    await write_ptb(tmp_path / "bot", **STATE)
    with pytest.raises(SettingsError, match="one file or five"):
        taken(tmp_path / "bot")


@pytest.mark.parametrize("trusted", ["shop", ("shop", "")])
def test_trusted_is_a_sequence(tmp_path: Path, trusted: Any) -> None:
    """A text is no sequence of names, and an empty name would trust everything."""
    with pytest.raises(SettingsError):
        read_pickle_persistence(tmp_path / "bot", trusted=trusted)
    with pytest.raises(SettingsError):
        export(tmp_path / "new", {}, trusted=trusted)


async def test_progress(tmp_path: Path) -> None:
    """Whoever asks is told of each entity, in both directions."""
    told: list[tuple[int, int]] = []
    state = taken(await write_ptb(tmp_path / "bot", **STATE), progress=lambda *n: told.append(n))
    assert told == [(n, 10) for n in range(1, 11)]
    told.clear()
    export(tmp_path / "new", state, progress=lambda *n: told.append(n))
    assert told == [(n, 10) for n in range(1, 11)]


# Writing ----------------------------------------------------------------------------------------


async def test_export_of_nothing(tmp_path: Path) -> None:
    """A state without the bot's data leaves it to PTB to make it."""
    export(tmp_path / "new", {})
    types = ContextTypes(bot_data=Custom)
    assert await read_ptb(tmp_path / "new", "any", context_types=types) == {
        "user_data": {},
        "chat_data": {},
        "bot_data": Custom(),
        "callback_data": None,
        "conversations": {"any": {}},
    }


def test_export_is_for_its_owner_only(tmp_path: Path) -> None:
    """Nobody else may read the file, which holds everything in the clear."""
    before = os.umask(0)
    try:
        export(tmp_path / "new", {})
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o600


def test_export_overwrites_only_if_told(tmp_path: Path) -> None:
    """A file that is there stays, unless it is to be overwritten; then nothing of it is left."""
    path = tmp_path / "new"
    path.write_bytes(b"precious")
    path.chmod(0o644)
    with pytest.raises(SettingsError, match="already"):
        export(path, {})
    assert path.read_bytes() == b"precious"
    export(path, {}, overwrite=True)
    assert not any(taken(path).values())
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(SettingsError, match="already"):  # before anything else is done
        export(path, {Kind.USER_DATA: {1: b"damage"}})
    (tmp_path / "link").symlink_to("nowhere")
    with pytest.raises(SettingsError, match="already"):
        export(tmp_path / "link", {})


def test_export_overwrites_nothing_that_came_meanwhile(tmp_path: Path) -> None:
    """A file that was made while values were read stays as it is."""
    path = tmp_path / "new"
    with pytest.raises(SettingsError, match="already"):
        export(path, of_user({}), progress=lambda *_: path.touch())
    assert [*tmp_path.iterdir()] == [path]
    assert path.read_bytes() == b""


def test_export_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be finished is not there, nor is a part of it; what was there before still is."""
    path = tmp_path / "new"
    path.write_bytes(b"precious")
    failures: list[BaseException] = [KeyboardInterrupt(), OSError(28, "No space left")]

    def fsync(_: int) -> None:
        assert len([*tmp_path.iterdir()]) == 2  # beside the file, so that to rename it is one step
        raise failures.pop()

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(PersistenceError, match="No space") as caught:
        export(path, {}, overwrite=True)
    assert caught.value.exit_code == 1
    with pytest.raises(KeyboardInterrupt):
        export(path, {}, overwrite=True)
    assert [*tmp_path.iterdir()] == [path]
    assert path.read_bytes() == b"precious"


def test_export_to_nowhere(tmp_path: Path) -> None:
    """A folder that is not there, or is in the place of the file, is an error that says so."""
    with pytest.raises(SettingsError, match="No such file"):
        export(tmp_path / "no" / "new", {})
    with pytest.raises(SettingsError, match="directory"):
        export(tmp_path, {}, overwrite=True)


def test_export_of_damage(tmp_path: Path) -> None:
    """A value that does not load is an error, and no file is made."""
    state: dict[Kind, Entities] = {Kind.USER_DATA: {1: b"damage", 2: CODEC.dumps({})}}
    with pytest.raises(DamagedObjectError, match="user_data"):
        export(tmp_path / "new", state)
    deep = b"]" * 9999 + b"a" * 9998 + b"."
    with pytest.raises(PersistenceError, match="nested too deeply"):
        export(tmp_path / "new", {Kind.USER_DATA: {1: deep}})
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize(
    ("call", "types", "functions"),
    [
        (b"cos\nsystem\n(VX\ntR.", ("os.system",), ()),
        (b"ctest_pickle_files\nmake_order\n(VX\ntR.", (), ("test_pickle_files.make_order",)),
        (b"cbuiltins\ngetattr\n(cshop\nOrder\nVmake\ntR.", ("shop.Order",), ()),
        (
            b"(ctest_pickle_files\nos.Popen\n(VX\ntRctest_pickle_files\nos.Popen\n)\x81t.",
            (),
            ("test_pickle_files.os.Popen",),
        ),
        (b"cshop\nOrder\n)\x81.", ("shop.Order",), ()),
    ],
)
def test_export_names_nothing_else(
    tmp_path: Path, call: bytes, types: tuple[str, ...], functions: tuple[str, ...]
) -> None:
    """What the bot would never load is not put into a file for PTB, which would call it."""
    with pytest.raises(UntrustedFileError, match="not written") as caught:
        export(tmp_path / "new", {Kind.USER_DATA: {1: call}})
    assert (caught.value.types, caught.value.functions) == (types, functions)
    assert not [*tmp_path.iterdir()]
