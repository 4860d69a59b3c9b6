"""What hostile bytes may not do. Here pickles are forged by hand, past the side that writes."""

from __future__ import annotations

import functools
import logging
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from telegram import Bot, Chat, Message
from telegram.constants import ChatType
from telegram.ext import ExtBot
from tests.support import make_persistence, state_of
from tests.vectors import reference

from ptb_s3 import Key, Keyring
from ptb_s3._format.entities import PTB_KINDS, Kind
from ptb_s3._storage.memory import MemoryStore
from ptb_s3._values.loading import load_all
from ptb_s3._values.pickling.markers import SetBot, TheBot
from ptb_s3._values.serializer import PickleSerializer
from ptb_s3.errors import DamagedObjectError, PersistenceError, UnfitTypeError, UnknownTypeError

BOT: ExtBot[None] = ExtBot("123:ABC")
CODEC = PickleSerializer(trusted=("__main__", __name__), bot=lambda: BOT)

tripped: list[str] = []


def trip(*_args: object) -> None:
    """Do what a gadget would: something that can be seen."""
    tripped.append("trip")


class Meta(type):
    """A metaclass that runs code when asked for an attribute, as some libraries' do."""

    def __getattr__(cls, name: str) -> type:
        if name == "anything":
            trip()
            return int
        raise AttributeError


class Lazy(metaclass=Meta):
    class Inner:
        def method(self) -> None:
            """Do nothing."""


class Data:
    function = trip


class Derived(Lazy):
    pass


class MyBot(ExtBot[None]):
    pass


class Forged:
    """Pickles as the call of `function`, and whatever `rest` says happens to the result."""

    def __init__(self, function: Callable[..., object], *arguments: object, rest: Any = ()) -> None:
        self.reduction = (function, arguments, *rest)

    def __reduce__(self) -> tuple[Any, ...]:
        return self.reduction


def load(data: bytes) -> object:
    """Load one value, as a start of the bot does."""
    return load_all(CODEC, "user_data", [(1, data)])[1]


def by_global(module: str, name: str) -> bytes:
    """Call a global with the text "true": protocol 0's way to name it."""
    return f"c{module}\n{name}\n(S'true'\ntR.".encode()


def by_stack(module: str, name: str) -> bytes:
    """Do so in protocol 4's way."""
    texts = b"".join(
        pickle.BINUNICODE + len(text).to_bytes(4, "little") + text
        for text in (module.encode(), name.encode())
    )
    return b"\x80\x05" + texts + pickle.STACK_GLOBAL + b"(S'true'\ntR."


def by_bare_value(module: str, name: str) -> bytes:
    """Do so in a value that refers to the words of its store."""
    return by_stack(module, name)[2:-1]


def by_instance(module: str, name: str) -> bytes:
    """Do so with the operation that old-style classes had."""
    return f"(S'true'\ni{module}\n{name}\n.".encode()


GADGETS = [
    ("os", "system"),
    ("posix", "system"),
    ("nt", "system"),
    ("subprocess", "Popen"),
    ("subprocess", "run"),
    ("builtins", "eval"),
    ("builtins", "exec"),
    ("builtins", "getattr"),
    ("builtins", "setattr"),
    ("builtins", "__import__"),
    ("builtins", "open"),
    ("builtins", "type"),
    ("builtins", "object"),
    ("builtins", "property"),
    ("builtins", "map"),
    ("builtins", "NoneType"),
    ("builtins", "int.from_bytes"),
    ("builtins", "str.format"),
    ("__builtin__", "eval"),
    ("functools", "partial"),
    ("functools", "reduce"),
    ("operator", "attrgetter"),
    ("operator", "methodcaller"),
    ("copyreg", "_reconstructor"),
    ("copyreg", "__newobj__"),
    ("copyreg", "add_extension"),
    ("copy_reg", "_reconstructor"),
    ("pickle", "loads"),
    ("importlib", "import_module"),
    ("types", "FunctionType"),
    ("types", "CodeType"),
    ("enum", "Enum"),
    ("collections", "namedtuple"),
    ("collections", "_sys.modules"),
    ("collections", "deque.__init__"),
    ("pathlib", "Path.unlink"),
    ("pathlib", "os.system"),
    ("zoneinfo", "ZoneInfo._unpickle"),
    ("telegram", "Bot"),
    ("telegram._bot", "Bot"),
    ("telegram.ext", "ExtBot"),
    ("telegram.ext._extbot", "ExtBot"),
    ("telegram.ext", "Application"),
    ("telegram.ext._application", "Application"),
    ("telegram.ext._application", "sys.exit"),
    ("telegram.ext._picklepersistence", "PicklePersistence"),
    ("telegram.ext._picklepersistence", "_reconstruct_to"),
    ("telegram.request._httpxrequest", "HTTPXRequest"),
    ("telegram._utils.enum", "StringEnum"),
    ("telegram._files.inputfile", "subprocess.Popen"),
    ("telegram", "Message"),
    ("telegram._message", "Message.reply_text"),
    ("telegram._message", "Message.__init__.__globals__"),
    ("telegram._message", "Message.__class__"),
    ("telegram._message", "TelegramObject"),
    ("telegram.no_such_module", "Thing"),
    ("telegram.", "Message"),
    ("telegramm", "Message"),
    ("ptb_s3._values.serializer", "PickleSerializer"),
    ("ptb_s3._values.serializer", "pickle.loads"),
    ("__main__", "popen"),
    ("__main__", "Popen"),
    ("__main__", "pickle"),
    ("__main__", "no_such_thing"),
    (__name__, "trip"),
    (__name__, "tripped.append"),
    (__name__, "Forged.__reduce__"),
    (__name__, "Data.function"),
    (__name__, "Lazy.anything"),
    (__name__, "Lazy.Inner.method"),
    (__name__, "Derived.Inner"),
    (__name__, "MyBot"),
    (__name__, "CODEC.loads"),
]


@pytest.mark.parametrize(("module", "name"), GADGETS)
def test_gadgets_are_not_found(monkeypatch: pytest.MonkeyPatch, module: str, name: str) -> None:
    """Nothing but classes on the list has a name here; what is refused is named, and not run."""
    main = sys.modules["__main__"]
    monkeypatch.setattr(main, "popen", trip, raising=False)
    monkeypatch.setattr(main, "Popen", subprocess.Popen, raising=False)
    monkeypatch.setattr(main, "pickle", pickle, raising=False)
    for forge in (by_global, by_stack, by_bare_value, by_instance):
        with pytest.raises(UnknownTypeError) as caught:
            load(forge(module, name))
        assert caught.value.types == (f"{module}.{name}",)
    assert not tripped


def test_module_that_answers_for_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """A module's own `__getattr__` is not asked."""
    main = sys.modules["__main__"]
    monkeypatch.setattr(main, "__getattr__", trip, raising=False)
    with pytest.raises(UnknownTypeError):
        load(by_stack("__main__", "Thing"))
    assert not tripped


def test_trusted_modules_are_all_that_is_imported() -> None:
    """To name a module that is not on the list does not import it."""
    sys.modules.pop("antigravity", None)
    with pytest.raises(UnknownTypeError):
        load(by_stack("antigravity", "Thing"))
    assert "antigravity" not in sys.modules


@pytest.mark.parametrize(
    "gadget",
    [
        Forged(functools.partial, trip),
        Forged(functools.partial(trip, 1)),
        Forged(getattr, Chat(1, "private"), "get_bot"),
        Forged(map, trip, [1]),
        [Forged(Chat, Forged(trip))],
        Forged(Data, rest=({"a": Forged(trip)},)),
        Forged(list, rest=(None, iter([Forged(trip)]))),
        Forged(dict, rest=(None, None, iter([(1, Forged(trip))]))),
        Forged(Data, rest=({}, None, None, trip)),
    ],
)
def test_calls_are_not_made(gadget: object) -> None:
    """A call is refused wherever in a pickle it stands: in arguments, state, items, setter."""
    before = len(tripped)
    data = pickle.dumps(gadget)
    assert len(tripped) == before
    with pytest.raises(UnknownTypeError):
        load(data)
    assert len(tripped) == before


@pytest.mark.parametrize(
    "gadget",
    [
        Forged(TheBot, True, rest=({"_base_url": "http://127.0.0.1/"},)),  # noqa: FBT003 - the mark
        Forged(TheBot, True, rest=((None, {"_base_url": "http://127.0.0.1/"}),)),  # noqa: FBT003 - as above
        [Forged(TheBot, True), Forged(SetBot, Forged(TheBot, True), {"_base_url": "a"})],  # noqa: FBT003 - as above
        Forged(SetBot, Data(), {"a": 1}),
        Forged(SetBot, Chat(1, "private"), 5),
        Forged(SetBot),
        Forged(TheBot),
        Forged(TheBot, True, rest=(None, iter([1]))),  # noqa: FBT003 - as above
        Forged(TheBot, True, rest=(None, None, iter([(1, 1)]))),  # noqa: FBT003 - as above
    ],
)
def test_the_bot_is_not_for_pickles_to_change(gadget: object) -> None:
    """The marks that stand for the bot give no way to set its attributes: where it connects to."""
    before = {name: getattr(BOT, name) for name in Bot.__slots__}
    with pytest.raises((DamagedObjectError, UnfitTypeError)):
        load(pickle.dumps(gadget))
    assert {name: getattr(BOT, name) for name in Bot.__slots__} == before


def test_the_marker_of_the_bot_gives_our_bot_or_none() -> None:
    """The mark that stands for a bot gives our bot or none, whatever its argument."""
    assert load(pickle.dumps([Forged(TheBot, 1), Forged(TheBot, "a")])) == [None, None]


def test_telegram_classes_stay_as_they_are() -> None:
    """A pickle cannot set attributes of telegram's classes, only of objects."""
    state = (None, {"reply_text": "gone"})
    before = Message.reply_text
    text = by_stack("telegram._message", "Message").removesuffix(b"(S'true'\ntR.")
    with pytest.raises(DamagedObjectError):
        load(text + pickle.dumps(state, 2)[2:-1] + pickle.BUILD + b".")
    assert Message.reply_text is before


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b".",
        b"\x80",
        b"\x80\x06N.",
        b"\x80\x05\x95\xff\xff\xff\xff\xff\xff\xff\x7fN.",
        pickle.BYTEARRAY8 + b"\xff\xff\xff\xff\xff\xff\xff\x7f.",
        pickle.BINBYTES8 + b"\x00\x00\x00\x00\x00\x00\x00\x10.",
        pickle.NEXT_BUFFER + b".",
        pickle.EXT1 + b"\x01.",
        pickle.BINPERSID + b".",
        pickle.PERSID + b"1\n.",
        b"Pbot\n.",
        pickle.MEMOIZE + b".",
        pickle.BINGET + b"\x05.",
        pickle.EMPTY_DICT + pickle.EMPTY_LIST + b"Ns.",
        b"N" + pickle.BUILD + b".",
        b"N)" + pickle.REDUCE + b".",
        b"N)" + pickle.NEWOBJ + b".",
        b"I" + b"9" * 5000 + b"\n.",
        pickle.dumps(1) + pickle.dumps(2),
        pickle.dumps(1) + b"\x00",
    ],
)
def test_broken_pickles(data: bytes) -> None:
    """What is no whole pickle, or needs something from outside, is damage and nothing else."""
    with pytest.raises(DamagedObjectError):
        load(data)


class Sample(NamedTuple):
    name: str
    place: object


SAMPLES = [
    CODEC.dumps(value)
    for value in (
        {"name": "Ada", "cart": [1, 2.5, None, True, 10**30], "text": "ä" * 300},
        [Sample("a", ChatType.GROUP), {1, 2}, frozenset({3}), b"bytes", bytearray(b"b")],
        Chat(1, "private", title="here"),
        {"bot": BOT, "shared": [[]] * 3},
    )
]


@pytest.mark.parametrize("sample", SAMPLES)
def test_truncated_pickles(sample: bytes) -> None:
    """A pickle that ends early is never a value."""
    for size in range(len(sample)):
        with pytest.raises(PersistenceError):
            load(sample[:size])


# From here on the gadgets are live, and their bytes lie in a store, sealed by one who has the key.


def plain(value: object) -> bytes:
    """Return the operations that make a plain value, to be part of a pickle."""
    return pickle.dumps(value, 2)[2:-1]


def named(module: str, name: str) -> bytes:
    """Return those that look up a name, dotted or not."""
    return plain(module) + plain(name) + pickle.STACK_GLOBAL


def call(function: bytes, *arguments: bytes) -> bytes:
    """Return those that call what others make."""
    return function + pickle.MARK + b"".join(arguments) + pickle.TUPLE + pickle.REDUCE


def touch(path: str) -> None:
    """Leave a mark that can be seen."""
    Path(path).touch()


def live(marker: Path) -> dict[str, tuple[bytes, list[str]]]:
    """Return gadgets that make a file, by what they do it with, and the names that they need."""
    path, shell = plain(str(marker)), plain(f"echo > {marker}")
    module = call(named("importlib", "import_module"), plain("os"))
    handler = named("logging", "FileHandler")
    made: dict[str, tuple[bytes, list[str]]] = {
        "os.system": (call(named("os", "system"), shell), []),
        "builtins.eval": (
            call(named("builtins", "eval"), plain(f"open({str(marker)!r}, 'w').close()")),
            [],
        ),
        "subprocess.Popen": (
            call(
                named("subprocess", "Popen"),
                *(shell, *map(plain, (-1, None, None, None, None, None, True, True))),
            ),
            [],
        ),
        "functools.partial": (
            call(call(named("functools", "partial"), named("os", "system"), shell)),
            ["os.system"],
        ),
        "operator.attrgetter": (
            call(
                call(call(named("operator", "attrgetter"), plain("path.os.system")), module), shell
            ),
            ["importlib.import_module"],
        ),
        "copyreg._reconstructor": (
            call(named("copyreg", "_reconstructor"), handler, handler, path),
            ["logging.FileHandler"],
        ),
        "uuid.os.system": (call(named("uuid", "os.system"), shell), []),
        "__main__.touch": (call(named("__main__", "touch"), path), []),
    }
    return {
        name: (b"\x80\x05" + operations + b".", sorted([name, *others]))
        for name, (operations, others) in made.items()
    }


LIVE = tuple(live(Path()))
ENTITY: dict[Kind, Any] = {
    Kind.USER_DATA: 1,
    Kind.CHAT_DATA: -5,
    Kind.BOT_DATA: 0,
    Kind.CALLBACK_DATA: ("q", "5"),
    Kind.CONVERSATIONS: ("order", (1, 2)),
}


def holding(place: str, kind: Kind, entities: dict[Any, bytes]) -> MemoryStore:
    """Return a store that has entities, correctly sealed, in a blob or in head's differential."""
    store, record = MemoryStore(), reference.record()
    if place == "blob":
        count = len(entities)
        record["kinds"][kind.value] = {"ref": reference.REF, "cost": 0, "entities": count}
        store.replace(kind, reference.blob(kind.value, [*map(list, entities.items())]))
        store.replace("head", reference.head(record))
    else:
        entries = [(key, 7, data) for key, data in entities.items()]
        record["kinds"][kind.value]["entities"] = len(entities)
        store.replace("head", reference.head(record, [kind.value, entries]))
    return store


async def start(store: MemoryStore) -> dict[str, Any]:
    """Load all that a store holds as a bot does when it starts, and stop."""
    keyring = Keyring(Key(reference.SECRET))
    persistence = make_persistence(store, keyring=keyring, bot=reference.BOT)
    try:
        return await state_of(persistence, "order")
    finally:
        await persistence.flush()


@pytest.fixture
def main_touch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a function of the main module, as a bot's own are."""
    monkeypatch.setattr(touch, "__module__", "__main__")
    monkeypatch.setattr(sys.modules["__main__"], "touch", touch, raising=False)


@pytest.mark.usefixtures("main_touch")
@pytest.mark.parametrize("name", LIVE)
def test_gadgets_are_live(tmp_path: Path, name: str) -> None:
    """Where no allow-list stands, each of them leaves its mark: that it does not is no accident."""
    marker = tmp_path / "marker"
    loaded = pickle.loads(live(marker)[name][0])  # noqa: S301 - that is the test
    if isinstance(loaded, subprocess.Popen):
        loaded.wait()
    if isinstance(loaded, logging.FileHandler):
        loaded.close()
    assert marker.exists()


@pytest.mark.usefixtures("main_touch")
@pytest.mark.parametrize("kind", PTB_KINDS)
@pytest.mark.parametrize("place", ["blob", "head"])
@pytest.mark.parametrize("name", LIVE)
async def test_sealed_gadgets_are_refused(
    tmp_path: Path, name: str, place: str, kind: Kind
) -> None:
    """A gadget in an intact object stops the start with an error that names it, and does nothing.

    It is not run, what it names is not called, and nothing in the store changes.
    """
    marker = tmp_path / "marker"
    data, types = live(marker)[name]
    store = holding(place, kind, {ENTITY[kind]: data})
    before = store.current()
    with pytest.raises(UnknownTypeError) as caught:
        await start(store)
    assert caught.value.kind == kind
    assert caught.value.types == tuple(types)
    assert not marker.exists()
    assert store.current() == before
    assert {made.operation for made in store.calls} == {"get"}


@pytest.mark.parametrize("place", ["blob", "head"])
async def test_all_sealed_gadgets_are_named_at_once(place: str) -> None:
    """All names that are no classes on the list are in one error, beside data that is fine."""
    entities = dict(enumerate((by_stack(*gadget) for gadget in GADGETS), start=1))
    store = holding(place, Kind.USER_DATA, entities | {0: CODEC.dumps({"fine": 1})})
    before = store.current()
    with pytest.raises(UnknownTypeError) as caught:
        await start(store)
    assert caught.value.types == tuple(sorted(".".join(gadget) for gadget in GADGETS))
    assert list(caught.value.keys) == list(entities)
    assert not tripped
    assert store.current() == before


@pytest.mark.parametrize("kind", PTB_KINDS)
@pytest.mark.parametrize("place", ["blob", "head"])
async def test_a_harmless_value_sealed_in_the_same_way_is_read(place: str, kind: Kind) -> None:
    """It is the gadget that is refused: another value, sealed in the same way, comes back."""
    data = CODEC.dumps("fine")
    assert "fine" in str((await start(holding(place, kind, {ENTITY[kind]: data})))[kind])
