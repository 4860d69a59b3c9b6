"""Values to bytes and back: what is kept, what is refused, and what errors say and do not say."""

from __future__ import annotations

import collections
import copy
import copyreg
import dataclasses
import datetime as dt
import decimal
import enum
import fractions
import ipaddress
import pathlib
import sys
import threading
import time
import traceback
import types
import uuid
import warnings
import zoneinfo
from collections.abc import Iterator
from typing import Any, NamedTuple, NoReturn

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from telegram import (
    Bot,
    CallbackQuery,
    Chat,
    InlineKeyboardButton,
    InlineKeyboardMarkup,
    LinkPreviewOptions,
    Message,
    PhotoSize,
    TelegramObject,
    User,
)
from telegram.constants import AccentColor, ChatAction, ChatType, MessageLimit
from telegram.ext import ExtBot, InvalidCallbackData
from telegram.warnings import PTBUserWarning

from ptb_s3._values.pickling.unpickler import UnknownClassError
from ptb_s3._values.serializer import PickleSerializer, Serializer, dump
from ptb_s3.errors import (
    SerializationError,
    SettingsError,
    UntrustedTypeError,
)

OWN_BOT: ExtBot[None] = ExtBot("123:ABC")
OTHER_BOT: ExtBot[None] = ExtBot("456:DEF")
NOW = dt.datetime(2025, 5, 4, 3, 2, 1, tzinfo=dt.UTC)


@dataclasses.dataclass
class Cart:
    items: list[object]
    owner: object = None


@dataclasses.dataclass(frozen=True, slots=True)
class Item:
    name: str
    price: object


class Colour(enum.Enum):
    RED = 1
    STRIPED = ("red", "white")


class Rights(enum.Flag):
    READ = 1
    WRITE = 2


class Step(enum.IntEnum):
    FIRST = 0


class Point(NamedTuple):
    x: int
    y: int


class Data(dict[str, object]):
    """As of a custom context type."""


class Shop:
    class Shelf:
        pass


class Liar:
    __class__ = int  # type: ignore[assignment]


class OwnObject(TelegramObject):
    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size
        self._freeze()


class Raises:
    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __getstate__(self) -> NoReturn:
        raise self.error


class Reduces:
    def __init__(self, reduction: Any) -> None:
        self.reduction = reduction

    def __reduce__(self) -> Any:
        return self.reduction


class Makes:
    def __getstate__(self) -> dict[str, object]:
        return {"made": object()}


class Unprintable:
    __hash__ = object.__hash__

    def __repr__(self) -> str:
        raise ValueError


class Json:
    """Somebody's own serializer, which takes anything that bytes() takes."""

    id = "bytes"

    def dumps(self, value: Any) -> bytes:
        return bytes(value)

    def loads(self, data: bytes) -> object:
        return list(data)


@pytest.fixture(params=[(), ("items", "name", "price", "a", "Ada")], ids=["alone", "with words"])
def codec(request: pytest.FixtureRequest) -> PickleSerializer:
    codec = PickleSerializer(trusted=(__name__,), bot=lambda: OWN_BOT)
    return codec.sharing(lambda: request.param) if request.param else codec


@pytest.fixture(scope="module")
def message() -> Message:
    user, chat = User(7, "Ada", is_bot=False), Chat(5, ChatType.PRIVATE)
    earlier = Message(1, NOW, chat, from_user=user, photo=[PhotoSize("a", "b", 1, 2)])
    button = InlineKeyboardButton("go", callback_data=InvalidCallbackData("gone"))
    made = Message(
        2,
        NOW,
        chat,
        from_user=user,
        text="hello",
        reply_to_message=earlier,
        link_preview_options=LinkPreviewOptions(url="https://example.org"),
        reply_markup=InlineKeyboardMarkup([[button]]),
        api_kwargs={"brand_new": [1, {"a": 2}]},
    )
    for part in (user, chat, earlier, made):
        part.set_bot(OWN_BOT)
    return made


VALUES: list[object] = [
    None,
    10**100,
    -0.0,
    "\ud800 lone surrogate",
    b"x" * 100_000,
    bytearray(b"ab"),
    1 + 2j,
    range(1, 9, 2),
    slice(1, 2),
    frozenset({1, (2, 3)}),
    NOW,
    NOW.astimezone(zoneinfo.ZoneInfo("Europe/Berlin")),
    NOW.date(),
    NOW.timetz(),
    dt.timedelta(days=1, microseconds=2),
    dt.timezone(dt.timedelta(hours=2), "somewhere"),
    time.gmtime(0),
    decimal.Decimal("1.10"),
    fractions.Fraction(1, 3),
    uuid.UUID(int=5),
    uuid.uuid1(),
    collections.OrderedDict(b=1, a=2),
    collections.defaultdict(list, {1: [2]}),
    collections.deque([1, 2], maxlen=3),
    collections.Counter("abca"),
    collections.ChainMap({"a": 1}, {"b": 2}),
    pathlib.Path("/a/b"),
    pathlib.PurePosixPath("a"),
    pathlib.PureWindowsPath("c:\\a"),
    ipaddress.ip_address("127.0.0.1"),
    ipaddress.ip_network("10.0.0.0/8"),
    ipaddress.ip_interface("::1/64"),
    types.SimpleNamespace(a=[1]),
    int,
    Cart,
    Shop.Shelf,
    Cart([1]),
    Item("tea", decimal.Decimal(3)),
    Colour.RED,
    Colour.STRIPED,
    Rights.READ | Rights.WRITE,
    Step.FIRST,
    Point(1, 2),
    Data(a=1),
    ChatType.GROUP,
    ChatAction.TYPING,
    MessageLimit.MAX_TEXT_LENGTH,
    AccentColor.COLOR_007,
]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_round_trip(codec: PickleSerializer, value: object) -> None:
    """What is on the list comes back equal and of the same class, and twice as one object."""
    loaded: Any = codec.loads(codec.dumps([value, value]))
    assert loaded == [value, value]
    assert type(loaded[0]) is type(value)
    assert loaded[0] is loaded[1] or isinstance(value, (int, float))


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
        st.sampled_from(Colour),
    )
    return st.recursive(
        atoms,
        lambda parts: st.one_of(
            st.lists(parts, max_size=3),
            st.tuples(parts, parts),
            st.dictionaries(atoms, parts, max_size=3),
            st.sets(atoms, max_size=3),
            st.builds(Cart, st.lists(parts, max_size=3), parts),
        ),
        max_leaves=10,
    )


@pytest.mark.parametrize("words", [(), ("items", "owner", "a", "0", "00")])
@given(value=plain_data())
@settings(max_examples=60, deadline=None, database=None)
def test_any_plain_data(words: tuple[str, ...], value: object) -> None:
    """Any plain data comes back equal, and unchanged data gives the same bytes each time."""
    codec = PickleSerializer(trusted=(__name__,)).sharing(lambda: words)
    data = codec.dumps(copy.deepcopy(value))
    assert codec.loads(data) == value
    assert codec.dumps(copy.deepcopy(value)) == data


def test_cycles_and_sharing(codec: PickleSerializer) -> None:
    """An object that holds itself, or that two others hold, does so after a load."""
    cart = Cart([])
    cart.items += [cart, {"back": cart}]
    loaded = codec.loads(codec.dumps(cart))
    assert isinstance(loaded, Cart)
    assert loaded.items[0] is loaded
    assert loaded.items[1] == {"back": loaded}


def test_is_a_serializer(codec: PickleSerializer) -> None:
    """The built-in serializer is one by the protocol's own terms, and its id is in the format."""
    serializer: Serializer = codec
    assert serializer.id == "pickle5"


class TestTelegram:
    """Objects of telegram keep their bot, which makes their shortcuts work after a restart."""

    def test_message(self, codec: PickleSerializer, message: Message) -> None:
        """A message comes back whole: parts, extra fields, bot, and closed to changes."""
        query = CallbackQuery("1", message.from_user or User(1, "", is_bot=False), "c", message)
        query.set_bot(OWN_BOT)
        loaded: Any = codec.loads(codec.dumps({"query": query, "message": message}))
        again = loaded["message"]
        assert loaded["query"].message is again
        assert again == message
        assert repr(again) == repr(message)
        assert again.link_preview_options.url == "https://example.org"
        assert again.api_kwargs == message.api_kwargs
        assert isinstance(again.api_kwargs, types.MappingProxyType)
        assert again.reply_to_message.photo == message.reply_to_message.photo  # type: ignore[union-attr]
        for part in (loaded["query"], again, again.chat, again.from_user, again.reply_to_message):
            assert part.get_bot() is OWN_BOT
        with pytest.raises(AttributeError, match="can't be set"):
            again.text = "other"
        data = again.reply_markup.inline_keyboard[0][0].callback_data
        assert data.callback_data == "gone"

    def test_same_bytes(self, codec: PickleSerializer, message: Message) -> None:
        """A message is unchanged for us if nothing in it has changed: copied, or loaded."""
        data = codec.dumps(message)
        assert codec.dumps(copy.deepcopy(message)) == data
        assert codec.dumps(codec.loads(data)) == data

    def test_the_bot_of_the_day(self, codec: PickleSerializer) -> None:
        """What is loaded belongs to the bot that is there now, or to none as long as none is."""
        chat = Chat(1, "private")
        chat.set_bot(OWN_BOT)
        data = codec.dumps([chat, OWN_BOT])
        loaded: Any = PickleSerializer(bot=lambda: OTHER_BOT).loads(data)
        assert loaded[0].get_bot() is OTHER_BOT
        assert loaded[1] is OTHER_BOT
        assert PickleSerializer().loads(data) == [chat, None]

    def test_bot_by_itself(self, codec: PickleSerializer, message: Message) -> None:
        """A bot that is a value by itself is replaced by the bot, everywhere."""
        value = {"bot": OWN_BOT, "cart": Cart([OWN_BOT], owner=message), "key": {OWN_BOT: 1}}
        loaded: Any = codec.loads(codec.dumps(value))
        assert loaded["bot"] is OWN_BOT
        assert loaded["cart"].items == [OWN_BOT]
        assert loaded["cart"].owner.get_bot() is OWN_BOT
        assert loaded["key"] == {OWN_BOT: 1}

    def test_foreign_bot(self, codec: PickleSerializer) -> None:
        """Another bot becomes None, with a single warning that does not show its token."""
        chat = Chat(1, "private")
        chat.set_bot(OTHER_BOT)
        with pytest.warns(PTBUserWarning, match="another bot") as caught:
            data = codec.dumps({"chat": chat, "bot": OTHER_BOT})
        assert codec.dumps({"chat": chat, "bot": OTHER_BOT}) == data
        assert len(caught) == 1
        assert OTHER_BOT.token not in str(caught[0].message)
        loaded: Any = codec.loads(data)
        assert loaded == {"chat": chat, "bot": None}
        with pytest.raises(RuntimeError, match="no bot"):
            loaded["chat"].get_bot()

    def test_no_bot(self, codec: PickleSerializer) -> None:
        """An object without a bot has none after a load, and nobody is warned."""
        with warnings.catch_warnings(record=True) as caught:
            loaded: Any = codec.loads(codec.dumps(Chat(1, "private")))
        assert loaded == Chat(1, "private")
        with pytest.raises(RuntimeError):
            loaded.get_bot()
        assert not caught

    def test_from_an_older_version(self, codec: PickleSerializer) -> None:
        """An object that lacks what newer versions of PTB have given its class can be saved."""
        chat = Chat(1, "private", title="here")
        chat.set_bot(OWN_BOT)
        chat._unfreeze()
        del chat.is_forum
        loaded: Any = codec.loads(codec.dumps(chat))
        assert loaded.title == "here"
        assert loaded.is_forum is None
        assert loaded.get_bot() is OWN_BOT

    def test_own_subclass(self, codec: PickleSerializer) -> None:
        """A class derived from telegram's needs trust like any other, and keeps its bot too."""
        thing = OwnObject(3)
        thing.set_bot(OWN_BOT)
        loaded: Any = codec.loads(codec.dumps(thing))
        assert loaded.size == 3
        assert loaded.get_bot() is OWN_BOT
        with pytest.raises(UntrustedTypeError):
            PickleSerializer(trusted=()).dumps(thing)


class TestTrust:
    """What is on the list, and how to add to it."""

    @pytest.mark.parametrize("value", [Cart([]), Cart, Colour.RED, Point(1, 2), Data(), Shop.Shelf])
    def test_only_if_trusted(self, value: object) -> None:
        """A class in a module that nobody has named is refused, whatever it derives from."""
        cls = value if isinstance(value, type) else type(value)
        with pytest.raises(UntrustedTypeError, match=f"{__name__}.{cls.__qualname__} is not trust"):
            PickleSerializer(trusted=("test", f"{__name__}.sub")).dumps(value)

    def test_submodules(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """To trust a package is to trust its submodules, but not what merely starts like it."""
        for name in ("shop", "shop.data", "shopping"):
            module = types.ModuleType(name)
            vars(module)["Thing"] = type("Thing", (), {"__module__": name})
            monkeypatch.setitem(sys.modules, name, module)
        codec = PickleSerializer(trusted=("shop",))
        for name in ("shop", "shop.data"):
            thing = vars(sys.modules[name])["Thing"]
            assert codec.loads(codec.dumps(thing)) is thing
        with pytest.raises(UntrustedTypeError, match=r"shopping\.Thing"):
            codec.dumps(vars(sys.modules["shopping"])["Thing"])

    def test_alias(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A class that has moved is found under its old name, and is trusted by its new one."""
        module = types.ModuleType("old_shop")
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, "old_shop", module)
            exec("class Thing: pass", vars(module))  # noqa: S102 - a class of that module
            old = vars(module)["Thing"]()
            old.items, old.owner = ["tea"], "Ada"
            data = PickleSerializer(trusted=("old_shop",)).dumps([old])
        with pytest.raises(UnknownClassError, match=r"old_shop\.Thing"):
            PickleSerializer(trusted=("old_shop",)).loads(data)
        codec = PickleSerializer(trusted=(), aliases={"old_shop.Thing": Cart})
        assert codec.loads(data) == [Cart(["tea"], "Ada")]
        assert codec.loads(codec.dumps(Cart([]))) == Cart([])
        with pytest.raises(UntrustedTypeError):
            codec.dumps(Colour.RED)

    @pytest.mark.parametrize(
        "arguments",
        [
            {"trusted": "__main__"},
            {"trusted": ["a", ""]},
            {"aliases": {"a.b": print}},
            {"aliases": {"a.b": Bot}},
        ],
    )
    def test_arguments(self, arguments: dict[str, Any]) -> None:
        """A text for a sequence, an empty name, a function or a bot's class is a wrong setting."""
        with pytest.raises(SettingsError):
            PickleSerializer(**arguments)


def looped() -> dict[str, object]:
    value: dict[str, object] = {}
    value["self"] = {"up": value}
    value["bad"] = threading.Lock()
    return value


def a_function() -> None: ...


def generator() -> Iterator[int]:
    yield 1


def local_class() -> type:
    class Local: ...

    return Local


CANNOT: list[tuple[str, object]] = [
    ("", threading.Lock()),
    ("['cart'][2].price", {"cart": [1, 2, Item("tea", threading.Lock())]}),
    ("['bad']", looped()),
    ("[0]", [lambda: 1]),
    ("[1]", (0, a_function)),
    ("[0]", [print]),
    ("[0]", [[].append]),
    ("[0]", [OWN_BOT.send_message]),
    ("[0]", [generator()]),
    ("[0]", [sys]),
    ("[0]", [memoryview(b"")]),
    ("[0]", [local_class()()]),
    ("[0]", [local_class()]),
    (".default_factory", collections.defaultdict(lambda: 1)),
    ("[5].items[0]", {5: Cart([Raises(KeyError("a"))])}),
    ("[0]", [Reduces("a_function")]),
    ("[0]", [Reduces((a_function, ()))]),
    ("[0]", [Reduces(None)]),
]
UNTRUSTED: list[tuple[str, object]] = [
    ("[0]", [object()]),
    ("[0]", [...]),
    ("[0]", [ValueError("a")]),
    ("[0]", [type(None)]),
    ("[0]", [ExtBot]),
    ("[element]", {threading.Thread}),
    ("[key 1].name", {1: 1, Item(ExtBot, 1): 1}),  # type: ignore[arg-type]
    ("['a']", collections.ChainMap({}, {"a": object()})),
    ("", [Makes()]),
]


class TestRefusals:
    """What cannot be saved is refused at once, and the error says where it is."""

    @pytest.mark.parametrize(("path", "value"), CANNOT)
    def test_cannot_be_pickled(self, codec: PickleSerializer, path: str, value: object) -> None:
        """What no pickle can hold is an error of ours, with the path, and drags no other along."""
        with pytest.raises(SerializationError) as caught:
            codec.dumps(value)
        assert type(caught.value) is SerializationError
        assert caught.value.path == path
        assert caught.value.__context__ is None

    @pytest.mark.parametrize(("path", "value"), UNTRUSTED)
    def test_is_not_trusted(self, codec: PickleSerializer, path: str, value: object) -> None:
        """What could be saved if its class were on the list is told apart."""
        with pytest.raises(UntrustedTypeError, match="is not trusted; ") as caught:
            codec.dumps(value)
        assert caught.value.path == path
        assert caught.value.__context__ is None

    def test_says_nothing_of_the_data(self, codec: PickleSerializer) -> None:
        """Neither keys nor values get into the message or the traceback; they end in logs."""
        secret = uuid.uuid4().hex
        for culprit in (object(), threading.Lock(), Raises(KeyError(secret)), lambda: secret):
            with pytest.raises(SerializationError) as caught:
                codec.dumps({secret: {secret: [secret, culprit]}})
            assert secret in caught.value.path
            assert secret not in "".join(traceback.format_exception(caught.value))

    def test_key_that_does_not_print(self, codec: PickleSerializer) -> None:
        """A key whose repr fails does not hide the error that is being told."""
        with pytest.raises(SerializationError, match="lock cannot be pickled") as caught:
            codec.dumps({Unprintable(): threading.Lock()})
        assert "Unprintable" in caught.value.path

    def test_nested_too_deeply(self, codec: PickleSerializer) -> None:
        """What is too deep for the recursion limit is an error, with the beginning of the path."""
        deep: list[object] = []
        for _ in range(100_000):
            deep = [deep]
        with pytest.raises(SerializationError, match="nested too deeply") as caught:
            codec.dumps({"fine": 1, "tree": deep})
        assert caught.value.path.startswith("['tree'][0][0]")
        assert len(caught.value.path) <= 200

    def test_search_is_bounded(self, codec: PickleSerializer) -> None:
        """The way to a culprit is not looked for without end."""
        value: list[object] = [*range(110_000), [object()]]
        with pytest.raises(UntrustedTypeError) as caught:
            codec.dumps(value)
        assert not caught.value.path

    @pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit()])
    def test_interrupts_pass(self, codec: PickleSerializer, error: BaseException) -> None:
        """What ends the program is not an error of a value."""
        with pytest.raises(type(error)):
            codec.dumps([Raises(error)])

    def test_zone_without_a_key(self, codec: PickleSerializer) -> None:
        """A time zone read from a file has no name to be found by again."""
        path = next(pathlib.Path(folder) / "Europe/Berlin" for folder in zoneinfo.TZPATH)
        if not path.exists():
            pytest.skip("this system has no time zone files")
        with path.open("rb") as file, pytest.raises(SerializationError, match="time zone"):
            codec.dumps(zoneinfo.ZoneInfo.from_file(file))

    def test_reduction_from_outside(
        self, codec: PickleSerializer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A reduction registered for a class is held to the same rules as its own."""
        monkeypatch.setitem(copyreg.dispatch_table, Cart, lambda _cart: "a_function")
        with pytest.raises(SerializationError, match="takes a function"):
            codec.dumps(Cart([]))

    def test_proxy(self) -> None:
        """An object that lies about its class is judged by its real one."""
        assert isinstance(Liar(), int)
        with pytest.raises(SerializationError):
            PickleSerializer(trusted=()).dumps([Liar()])

    def test_refused_every_time(self, codec: PickleSerializer) -> None:
        """A refusal is not forgotten, nor does it spoil the next value."""
        for _ in range(2):
            with pytest.raises(UntrustedTypeError):
                codec.dumps([Cart([object()])])
            assert codec.loads(codec.dumps([Cart([1])])) == [Cart([1])]


class TestAnySerializer:
    """Whatever another serializer raises becomes an error of ours."""

    def test_round_trip(self, codec: PickleSerializer) -> None:
        """Both kinds of serializer write through the same function."""
        assert dump(Json(), [1, 2]) == b"\x01\x02"
        assert dump(codec, [1, 2]) == codec.dumps([1, 2])

    def test_errors(self, codec: PickleSerializer) -> None:
        """An error of another serializer is named by its class only; ours pass as they are."""
        with pytest.raises(
            SerializationError, match="serializer 'bytes' raised TypeError"
        ) as caught:
            dump(Json(), {"a": "b"})
        assert caught.value.__context__ is None
        with pytest.raises(UntrustedTypeError):
            dump(codec, object())

    def test_wrong_type(self) -> None:
        """A serializer that returns no bytes is told so when it does, not by the next layer."""

        class Text(Json):
            def dumps(self, value: object) -> Any:
                return str(value)

        with pytest.raises(SerializationError, match="returned str, not bytes"):
            dump(Text(), 1)


def test_the_names_of_markers_are_those_of_the_format() -> None:
    """What another writer writes is read, and what is written names nothing of our layout."""
    by_hand = b"\x80\x02cptb-s3/1\nTheBot\n\x88\x85R."  # TheBot(True)
    codec = PickleSerializer(bot=lambda: OWN_BOT)
    assert codec.loads(by_hand) is OWN_BOT
    chat = Chat(1, "private")
    chat.set_bot(OWN_BOT)
    written = codec.dumps(chat) + codec.dumps(OWN_BOT)
    assert b"ptb_s3" not in written
    assert written.count(b"ptb-s3/1") == 2
