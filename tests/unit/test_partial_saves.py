"""One bad part keeps its own top-level key out; the same refusal is said, and looked for, once."""

from __future__ import annotations

import collections
import json
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from telegram.ext import ContextTypes, MessageHandler, filters
from tests.support import Persistence, deliveries, make_persistence, state_of, update
from tests.support.bots import App, gather_errors, remembering, say
from tests.support.deliveries import message
from tests.unit.test_persistent_application import Stubborn, application, sent_a_button

from ptb_s3._format import entities
from ptb_s3._format.entities import BOT_DATA_KEY, Kind
from ptb_s3._storage.faults import Fault
from ptb_s3._storage.memory import MemoryStore
from ptb_s3._values.allow_list import AllowList
from ptb_s3._values.copies import Uncopied
from ptb_s3._values.fingerprint import fingerprint
from ptb_s3._values.partial_saves import Form, Forms, Part
from ptb_s3._values.pickling import failures
from ptb_s3._values.serializer import PickleSerializer
from ptb_s3.errors import (
    SerializationError,
    SettingsError,
    StorageUnavailableError,
    UntrustedTypeError,
)
from ptb_s3.serverless import deliver

BOTH = pytest.mark.parametrize("plain", [False, True])


class Client:
    """Of a module that nobody trusts; what it counts is its own."""

    def __init__(self, calls: int = 0) -> None:
        self.calls = calls


class Data(dict[Any, Any]):
    """A dictionary with an attribute, whose own code is not to be run."""

    note: object = None

    def __setitem__(self, key: object, value: object) -> None:
        raise AssertionError(key)


class Shout:
    """A serializer of somebody's own, which takes anything."""

    id = "shout"

    def dumps(self, value: object) -> bytes:
        return json.dumps(value, default=str).encode()

    def loads(self, data: bytes) -> object:
        return json.loads(data)


def get_stats() -> dict[str, int]:
    """Stand in the data, as in two public bots."""
    return {}


SERIALIZER = PickleSerializer(trusted=(), aliases={"Data": Data})


def forms(seen: bytes | None = None, **options: Any) -> Forms:
    return Forms(options.get("serializer", SERIALIZER), lambda *_: seen)


def form(value: object, made: Forms | None = None, kind: Kind = Kind.BOT_DATA) -> Form:
    return (made or forms()).of(kind, BOT_DATA_KEY, value)


async def bot_data(store: MemoryStore) -> Any:
    return await make_persistence(store).get_bot_data()


# The form -----------------------------------------------------------------------------------------

goods = st.one_of(st.integers(), st.text(max_size=3), st.lists(st.integers(), max_size=3))
BADS: list[object] = [threading.Lock(), get_stats, Client, [1, {"deep": lambda: None}]]
CLASSES: list[Callable[[Any], Any]] = [
    dict,
    collections.OrderedDict,
    lambda items: collections.defaultdict(list, items),
]


@settings(deadline=None)
@given(
    st.dictionaries(st.integers(0, 9) | st.text(max_size=1), goods | st.sampled_from(BADS)),
    st.dictionaries(st.integers(0, 9), goods),
    st.sampled_from(CLASSES),
)
def test_each_key_that_can_be_saved_is_and_others_keep_their_last(
    live: dict[Any, Any], last: dict[Any, Any], make: Callable[[Any], Any]
) -> None:
    """Whatever the dictionary is, in the order in which it has its keys, and again the same."""
    bad = {key for key, value in live.items() if any(value is each for each in BADS)}
    tested = forms(SERIALIZER.dumps(make(last)))
    found, again = (form(make(live), tested) for _ in range(2))
    expected = {k: last[k] if k in bad else v for k, v in live.items() if k not in bad or k in last}
    assert found.data is not None
    assert SERIALIZER.loads(found.data) == make(expected)
    assert list(dict(found.value)) == list(expected)  # type: ignore[call-overload]
    assert found.refusals.keys() == again.refusals.keys() == bad
    assert found.data == again.data


def test_a_dictionary_of_ones_own_keeps_its_class_and_attributes() -> None:
    """None of its code is run for that; an attribute that is bad keeps all of it out."""
    data = Data({"good": 1, "bad": print})
    data.note = "mine"
    found = form(data)
    assert isinstance(found.value, Data)
    assert (dict(found.value), found.value.note) == ({"good": 1}, "mine")
    data.note = print
    found = form(data)
    assert found.data is None
    assert [*found.refusals] == [Part.WHOLE]
    assert found.refusals[Part.WHOLE].path == ".note"


def test_only_dictionaries_are_divided() -> None:
    """A conversation's state, a button's data or an object is what all of it is."""
    for value, kind in (([print], Kind.BOT_DATA), ({"a": print}, Kind.CONVERSATIONS)):
        found = form(value, kind=kind)
        assert (found.data, [*found.refusals]) == (None, [Part.WHOLE])


def test_a_key_that_cannot_be_saved_is_left_out_as_a_bad_value_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And what is too large for an entity, by itself."""
    monkeypatch.setattr(entities, "MAX_ENTITY", 200)
    key, huge = Client(), b"x" * 300
    found = form({key: 1, "huge": huge, "good": 2})
    assert found.value == {"good": 2}
    assert found.refusals.keys() == {key, "huge"}
    assert "at most" in found.refusals["huge"].reason


def test_a_last_good_value_that_does_not_load_keeps_all_of_it_out() -> None:
    """Rather than to be lost."""
    gone = SERIALIZER.dumps({"bad": Data()})
    found = form({"bad": print, "good": 1}, forms(gone, serializer=PickleSerializer(trusted=())))
    assert found.data is None
    assert "its last good value does not load" in found.refusals[Part.WHOLE].reason


class Counting(PickleSerializer):
    """Counts what it is to write."""

    tries = 0

    def dumps(self, value: object) -> bytes:
        self.tries += 1
        return super().dumps(value)


@pytest.mark.parametrize("note", ["good", print])
def test_bad_keys_of_a_large_dictionary_are_found_by_halves(note: object) -> None:
    """Not by a try of each of ten thousand keys, and where no key is bad, by none."""
    value = Data(dict.fromkeys(range(10_000), 1) | {5_000: print})
    value.note = note
    serializer = Counting(trusted=(), aliases={"Data": Data})
    found = form(value, forms(serializer=serializer))
    assert [*found.refusals] == ([5_000] if note == "good" else [Part.WHOLE])
    assert serializer.tries < (50 if note == "good" else 3)


def test_a_partial_save_in_a_store_with_words_is_no_change() -> None:
    """Where the last good value was written with words, or before there were any."""
    words = ("name", "stats", "positions")
    serializer = SERIALIZER.sharing(lambda: words)
    value = {"name": "a", "stats": {"name": "stats"}, "positions": ["name"] * 2}
    for seen in (SERIALIZER.dumps(value), serializer.dumps(value)):
        data = seen
        found = []
        tested = Forms(serializer, lambda *_: data)  # noqa: B023 - the one of this turn
        for _ in range(4):
            live = {**value, "stats": get_stats}
            found.append(tested.of(Kind.USER_DATA, 1, live).data)
            data = found[-1] or b""
        assert serializer.loads(data) == value
        assert len({*found}) == 1


def test_a_fingerprint_tells_of_data_and_not_of_what_a_client_does() -> None:
    """It is what the refusal of a value is known again by, in each copy."""

    def of(value: object) -> bytes:
        return fingerprint(value, AllowList((), {}))

    assert of([1, Client(1)]) == of([1, Client(2)]) != of([2, Client(1)])
    assert of([get_stats]) == of([get_stats]) != of([print])
    assert of(Client) != of(Client())
    assert of(Uncopied("TypeError")) != of(Uncopied("ValueError"))
    assert of({"a": threading.Lock()}) == of({"a": threading.Lock()}) != of({"b": 1})
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    assert of(deep) == of(deep) != of([])
    while deep:  # or to let go of it takes a frame for each
        deep = deep.pop()


# One bad key --------------------------------------------------------------------------------------


@BOTH
async def test_one_bad_key_of_bot_data_keeps_out_itself_alone(plain: bool) -> None:  # noqa: FBT001 - a case
    """The others are saved, the last good value stays, and the error names kind, key and path."""
    store = MemoryStore()
    app = application(store, plain=plain)
    errors = gather_errors(app)
    async with app:
        app.bot_data.update(stats={"n": 1}, gone=1)
        await app.update_persistence()
        app.bot_data.update(stats=get_stats, positions={"BTC": 1.5})
        del app.bot_data["gone"]
        await app.update_persistence()
        assert await bot_data(store) == {"stats": {"n": 1}, "positions": {"BTC": 1.5}}
        (error,) = errors
        assert isinstance(error, SerializationError)
        assert (error.kind, error.key, error.path) == ("bot_data", 0, "['stats']")
        assert error.__context__ is error.__cause__ is None
        app.bot_data["stats"] = {"n": 2}
    assert await bot_data(store) == {"stats": {"n": 2}, "positions": {"BTC": 1.5}}


async def test_one_bad_key_of_a_user_or_chat_keeps_out_itself_alone() -> None:
    """Each bad key of a user's or chat's data is named."""
    store = MemoryStore()
    app = application(store, remembering())
    errors: list[Any] = gather_errors(app)
    async with app:
        await say(app, "tea")
        app.user_data[1].update(one=print, two=Client())
        app.chat_data[1]["lock"] = threading.Lock()
    found = await state_of(make_persistence(store))
    assert (found["user_data"], found["chat_data"]) == ({1: {"said": "tea"}}, {1: {"heard": "tea"}})
    named = {(error.kind, error.path) for error in errors}
    assert named == {
        ("user_data", "['one']"),
        ("user_data", "['two']"),
        ("chat_data", "['lock']"),
    }


@BOTH
async def test_an_idle_bot_with_a_bad_key_writes_nothing(plain: bool) -> None:  # noqa: FBT001 - a case
    """The last good value is not made anew from its bytes in each interval, either."""
    store = MemoryStore()
    async with application(store) as app:
        app.bot_data.update(stats={"n": [1, "text", "text"]}, positions={"text": "text"})
    app = application(store, plain=plain)
    gather_errors(app)
    async with app:
        app.bot_data["stats"] = get_stats
        await app.update_persistence()
        since, loads = len(store.calls), 0
        serializer: Any = app.persistence._serializer  # type: ignore[union-attr]

        def counted(data: bytes, *, load: Any = serializer.loads) -> object:
            nonlocal loads
            loads += 1
            return load(data)

        serializer.loads = counted
        for _ in range(3):
            await app.update_persistence()
        assert not store.calls[since:]
        assert loads == 0


# Never saved --------------------------------------------------------------------------------------


async def test_keys_that_are_never_saved_are_neither_saved_nor_copied_nor_told() -> None:
    """They stay in the live objects; what was saved of them before goes."""
    store = MemoryStore()
    async with application(store, remembering()) as app:
        await say(app, "tea")
        app.user_data[1]["session"] = app.bot_data["client"] = "an old one"
    unsaved = {"bot_data": ["client", "absent"], "user_data": {"session"}}
    app = application(store, remembering(), unsaved=unsaved)
    errors = gather_errors(app)
    async with app:
        assert app.bot_data["client"] == "an old one"
        await app.update_persistence()
        assert await bot_data(store) == {"count": 1}
        client = app.bot_data["client"] = app.user_data[1]["session"] = Stubborn(TypeError)
        await say(app, "milk")
        await app.update_persistence()
        assert app.bot_data["client"] is app.user_data[1]["session"] is client
    assert client.times == 1_000_000
    assert errors == []
    found = await state_of(make_persistence(store))
    assert (found["user_data"], found["bot_data"]) == ({1: {"said": "milk"}}, {"count": 2})


async def test_a_plain_application_does_not_save_unsaved_keys() -> None:
    """As long as PTB can copy them."""
    store = MemoryStore()
    app = application(store, plain=True, unsaved={"bot_data": ["client"]})
    errors = gather_errors(app)
    async with app:
        app.bot_data.update(client=Client(), n=1)
    assert await bot_data(store) == {"n": 1}
    assert errors == []


@dataclass
class Shop:
    open: bool = True


@pytest.mark.parametrize(
    ("unsaved", "text"),
    [
        ({"user": ["a"]}, "none of user_data, chat_data, bot_data"),
        ({"conversations": ["a"]}, "none of user_data, chat_data, bot_data"),
        ({"bot_data": "client"}, "unsaved= of bot_data takes a collection of keys"),
        ({"bot_data": None}, "unsaved= of bot_data takes a collection of keys"),
        ({"chat_data": ["a"]}, "context type Shop is no dictionary"),
    ],
)
def test_unsaved_keys_of_a_kind_without_keys_are_refused(unsaved: Any, text: str) -> None:
    """At the start, rather than be saved for ever."""
    types: Any = ContextTypes(chat_data=Shop)
    with pytest.raises(SettingsError, match=text):
        make_persistence(MemoryStore(), context_types=types, unsaved=unsaved, trusted=(__name__,))


# What stays in live objects -----------------------------------------------------------------------


def with_clients(app: App) -> list[Any]:
    """Put into the bot's and a user's data what cannot be saved, and what never is."""
    live = [app.bot_data, app.user_data[1]]
    for each in live:
        each.update(bad=threading.Lock(), client=Client())
    return [*live, *(each[key] for each in live for key in ("bad", "client"))]


def clients_of(app: App) -> list[Any]:
    live = [app.bot_data, app.user_data[1]]
    return [*live, *(each[key] for each in live for key in ("bad", "client"))]


def same(some: list[Any], others: list[Any]) -> bool:
    return all(one is other for one, other in zip(some, others, strict=True))


UNSAVED = {"bot_data": ["client"], "user_data": ["client"]}


async def test_unsaved_keys_stay_through_a_refresh_and_a_takeover() -> None:
    """What others have changed is brought in beside them, and nothing is written for that."""
    store = MemoryStore()
    one, other = (application(store, remembering(), sync=0, unsaved=UNSAVED) for _ in range(2))
    for app in (one, other):
        gather_errors(app)
        await app.initialize()
        await say(app, "tea")
        await app.update_persistence()
    kept = with_clients(one)
    await one.update_persistence()
    other.user_data[1]["more"] = other.bot_data["more"] = {"from": "another"}
    await say(other, "tea")
    await other.update_persistence()
    await say(one, "nothing new", user=2)
    assert one.user_data[1]["more"] == one.bot_data["more"] == {"from": "another"}
    assert same(clients_of(one), kept)
    await one.update_persistence()
    revision = one.persistence.stats.revision  # type: ignore[union-attr]
    for _ in range(2):
        for app in (other, one):
            await app.persistence.catch_up()  # type: ignore[union-attr]
            await app.persistence.refresh_bot_data(app.bot_data)  # type: ignore[union-attr]
            await app.update_persistence()
    assert one.persistence.stats.revision == revision  # type: ignore[union-attr]
    assert same(clients_of(one), kept)
    found = await state_of(make_persistence(store))
    assert found["user_data"][1] == {"said": "tea", "more": {"from": "another"}}


class Unwritable:
    """A key that has no bytes, so that it is not found among others."""

    def __reduce_ex__(self, _: object) -> Any:
        raise TypeError

    def __deepcopy__(self, _: object) -> Any:
        return self


async def test_a_key_that_cannot_be_compared_has_the_object_left_alone() -> None:
    """It is merged when it is saved, as any object that cannot be brought up to date."""
    store = MemoryStore()
    one, other = (application(store, remembering(), sync=0) for _ in range(2))
    for app in (one, other):
        gather_errors(app)
        await app.initialize()
        await say(app, "tea")
        await app.update_persistence()
    one.bot_data[Unwritable()] = 1
    await one.update_persistence()
    other.bot_data["more"] = 1
    await other.update_persistence()
    await say(one, "tea")
    assert "more" not in one.bot_data
    one.bot_data["mine"] = 2
    await one.update_persistence()
    saved = await bot_data(store)
    assert (saved["more"], saved["mine"]) == (1, 2)


async def test_unsaved_keys_stay_where_an_update_is_taken_back() -> None:
    """All else that it has changed is what it was."""
    store = MemoryStore()
    app = deliveries.application(store, unsaved=UNSAVED)
    gather_errors(app)
    await deliver(app, message())
    kept = with_clients(app)
    with pytest.raises(SerializationError):
        await deliver(app, message())
    store.faults = lambda call: Fault.FAIL_BEFORE if call.operation == "put" else None
    with pytest.raises(StorageUnavailableError):
        await deliver(app, message())
    store.faults = lambda _: None
    assert (app.user_data[1]["n"], app.bot_data["n"]) == (2, 2)
    assert same(clients_of(app), kept)
    assert await deliver(app, message())
    assert await bot_data(store) == {"n": 3}


# Said once ----------------------------------------------------------------------------------------


def searches(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Note each search for a culprit, which looks at up to 100,000 objects."""
    found: list[object] = []
    search = failures._path_to

    def noted(culprit: object, value: object) -> str:
        found.append(culprit)
        return search(culprit, value)

    monkeypatch.setattr(failures, "_path_to", noted)
    return found


@BOTH
async def test_the_same_refusal_is_said_and_looked_for_once(
    monkeypatch: pytest.MonkeyPatch,
    plain: bool,  # noqa: FBT001 - a case
) -> None:
    """In the bot's data and in a button, which PTB sends each time; whatever else changes."""
    store, looked = MemoryStore(), searches(monkeypatch)
    app = application(store, remembering(), plain=plain)
    errors = gather_errors(app)
    async with app:
        await sent_a_button(app)
        (keyboard,) = app.bot.callback_data_cache.persistence_data[0]  # type: ignore[union-attr]
        button = next(iter(keyboard[2]))
        keyboard[2][button] = Client()
        app.bot_data["client"] = Client()
        for number in range(5):
            app.bot_data["n"] = number
            app.bot_data["client"].calls += 1
            await app.update_persistence()
        assert len(errors) == 2
        searched = len(looked)
        await app.update_persistence()
        assert len(looked) == searched <= 4
    assert await bot_data(store) == {"n": 4}


@BOTH
async def test_another_value_is_another_refusal(plain: bool) -> None:  # noqa: FBT001 - a case
    """As is one that comes back after it was well, and one that holds other data."""
    app = application(MemoryStore(), plain=plain)
    errors = gather_errors(app)
    told = []
    async with app:
        for value in (
            *({"conf": 1, "client": Client()}, {"conf": 1, "client": Client(2)}),
            *({"conf": 2, "client": Client()}, get_stats, get_stats, "well", get_stats),
        ):
            app.bot_data["client"] = value
            await app.update_persistence()
            told.append(len(errors))
        del app.bot_data["client"]
        await app.update_persistence()
        app.bot_data["client"] = get_stats
        await app.update_persistence()
    assert told == [1, 1, 2, 3, 3, 3, 4]
    assert len(errors) == 5


async def test_a_user_who_was_dropped_is_another_one() -> None:
    """What was said of the one before says nothing of the one after."""
    app = application(MemoryStore(), remembering())
    errors = gather_errors(app)
    async with app:
        for _ in range(2):
            await say(app, "tea")
            app.user_data[1]["client"] = get_stats
            await app.update_persistence()
            app.drop_user_data(1)
            await app.update_persistence()
    assert len(errors) == 2


async def test_one_call_tells_of_all_that_it_could_not_save() -> None:
    """It can raise but one error, and the others are not said again."""
    persistence = make_persistence(MemoryStore())
    await state_of(persistence)
    keyboards: list[Any] = [(uuid, 1.0, {"x": print}) for uuid in ("a", "b", "c")]
    with pytest.raises(SerializationError, match=r"There are 2 more: see \.others") as caught:
        await persistence.update_callback_data((keyboards, {}))
    errors: Any = (caught.value, *caught.value.others)
    assert {error.key for error in errors} == {("k", "a"), ("k", "b"), ("k", "c")}
    await persistence.update_callback_data((keyboards, {}))


async def test_a_refusal_is_told_beside_a_failed_commit() -> None:
    """It is not said again with the commit that makes up for that."""
    store = MemoryStore()
    app = application(store, remembering())
    errors = gather_errors(app)
    async with app:
        await say(app, "tea")
        app.user_data[1]["client"] = Client()
        store.faults = lambda call: Fault.FAIL_BEFORE if call.operation == "put" else None
        await app.update_persistence()
        store.faults = lambda _: None
    assert {type(error) for error in errors} == {UntrustedTypeError, StorageUnavailableError}


@pytest.mark.parametrize("heard", [[], None])
async def test_a_refusal_in_a_call_that_tells_of_a_failed_commit_is_told(heard: Any) -> None:
    """To whoever hears of it besides, or with the next commit."""
    store = MemoryStore()
    persistence = make_persistence(store)
    await state_of(persistence)
    commits = await persistence._opened()
    store.faults = lambda call: Fault.FAIL_BEFORE if call.operation == "put" else None
    with pytest.raises(StorageUnavailableError):
        await commits.record_many(Kind.USER_DATA, {1: {"bad": print, "good": 1}}, heard)
    store.faults = lambda _: None
    told: list[Any] = heard or await commits.record_many(Kind.USER_DATA, {2: {}}, heard)
    assert [(error.kind, error.key) for error in told] == [("user_data", 1)]


async def test_an_update_that_is_processed_again_tells_again() -> None:
    """Whoever is told of the first try gets another outcome."""
    store = MemoryStore()

    async def spoil(update: Any, context: Any) -> None:
        await deliveries.count(update, context)
        context.bot_data["bad"] = get_stats

    app = deliveries.application(store, MessageHandler(filters.TEXT, spoil))
    gather_errors(app)
    store.faults = lambda call: Fault.FAIL_BEFORE if call.operation == "put" else None
    update_ = message()
    with pytest.raises(StorageUnavailableError):
        await deliver(app, update_)
    store.faults = lambda _: None
    with pytest.raises(SerializationError):
        await deliver(app, update_)
    assert await deliver(app, message())
    assert await bot_data(store) == {"n": 2}


# Copies -------------------------------------------------------------------------------------------


async def test_a_button_that_cannot_be_copied_keeps_out_its_keyboard_alone() -> None:
    """Others are saved, and its own last good value stays."""
    store = MemoryStore()
    app = application(store)
    errors: list[Any] = gather_errors(app)
    async with app:
        await sent_a_button(app)
        await app.update_persistence()
        (keyboard,) = app.bot.callback_data_cache.persistence_data[0]  # type: ignore[union-attr]
        keyboard[2]["bad"] = threading.Lock()
        await sent_a_button(app)
        await app.update_persistence()
        found = await make_persistence(store).get_callback_data()
    assert found is not None
    assert sorted(list(buttons.values()) for _, _, buttons in found[0]) == [["data"], ["data"]]
    assert {(error.kind, error.key) for error in errors} == {("callback_data", ("k", keyboard[0]))}
    assert "it cannot be copied (TypeError)" in str(errors[0])


async def test_parts_that_two_keys_share_are_one_in_the_copy() -> None:
    """A list that is cut short by one key's failure is whole where the other has it."""
    store = MemoryStore()
    app = application(store)
    gather_errors(app)
    shared: list[Any] = [1, 2]
    async with app:
        app.bot_data.update(a=shared, b=[shared, threading.Lock()], c={"also": shared})
    found = await bot_data(store)
    assert found == {"a": [1, 2], "c": {"also": [1, 2]}}
    assert found["a"] is found["c"]["also"]


async def test_a_serializer_of_ones_own_is_given_no_placeholder() -> None:
    """It might save it as it does any object."""
    store = MemoryStore()
    app = application(store, serializer=Shout())
    errors: list[Any] = gather_errors(app)
    async with app:
        app.bot_data.update(good=1, bad=threading.Lock())
        await sent_a_button(app)
        (keyboard,) = app.bot.callback_data_cache.persistence_data[0]  # type: ignore[union-attr]
        keyboard[2]["bad"] = threading.Lock()
    persistence = make_persistence(store, serializer=Shout())
    assert await persistence.get_bot_data() == {"good": 1}
    assert await persistence.get_callback_data() is None
    assert {(error.kind, error.reason) for error in errors} == {
        (kind, "it cannot be copied (TypeError)") for kind in ("bot_data", "callback_data")
    }


async def test_a_persistence_called_by_hand_tells_refusals_and_saves_the_rest() -> None:
    """Whoever calls the persistence by itself is told, and the rest is saved."""
    store = MemoryStore()
    persistence: Persistence = make_persistence(store)
    await state_of(persistence)
    with pytest.raises(ExceptionGroup) as caught:
        await update(persistence, {"user_data": {1: {"bad": print, "good": 1}}})
    assert [type(error) for error in caught.value.exceptions] == [SerializationError]
    assert await make_persistence(store).get_user_data() == {1: {"good": 1}}
