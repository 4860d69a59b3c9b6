"""Values that refer to the words of their store: when they do, and that nothing else changes."""

from __future__ import annotations

import datetime as dt
import itertools
import pickle
import pickletools
import time
from typing import Any, NoReturn

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from telegram import Chat
from telegram.constants import ChatType
from telegram.ext import ExtBot
from tests.support import KEY, Persistence, make_persistence, settled, state_of, update

from ptb_s3 import Keyring, PickleSerializer
from ptb_s3._format.container import HEAD
from ptb_s3._format.entities import Kind
from ptb_s3._format.head import Head, follow
from ptb_s3._format.reader import Reader
from ptb_s3._format.restore_point import RestorePoint
from ptb_s3._format.words import MAX_WORDS, is_bare, spell_out
from ptb_s3._storage.memory import MemoryStore
from ptb_s3._values.loading import load_all
from ptb_s3._values.shared_strings import MIN_VALUES, common_words
from ptb_s3.errors import ConflictError, DamagedObjectError, RestorePointError, UnknownTypeError

BOT: ExtBot[None] = ExtBot("123:ABC")
WORDS = ("cart", "name", "seen", "product")
NOW = dt.datetime(2026, 5, 4, 3, 2, 1, tzinfo=dt.UTC)
CODEC = PickleSerializer(trusted=(__name__,), bot=lambda: BOT).sharing(lambda: WORDS)


class Own:
    """A user's class."""

    def __init__(self, part: object = None) -> None:
        self.part = part


class Stubborn:
    """Takes no state."""

    def __setstate__(self, _: object) -> NoReturn:
        raise ValueError


class Moody:
    """Gives another state each time."""

    states = itertools.count()

    def __getstate__(self) -> dict[str, int]:
        return {"state": next(self.states)}


def user(number: int) -> dict[str, Any]:
    return {"name": f"user {number}", "seen": NOW, "cart": [{"product": f"tea {number}"}]}


def twice() -> list[object]:
    part: list[object] = []
    return [part, part]


def within_itself() -> dict[str, object]:
    value: dict[str, object] = {"name": "loop"}
    value["cart"] = value
    return value


def doubled(times: int) -> list[object]:
    value: list[object] = ["end"]
    for _ in range(times):
        value = [value, value]
    return value


# The bare form --------------------------------------------------------------------------------


def test_what_a_bare_value_looks_like() -> None:
    """As FORMAT.md has it, to the byte: numbers of words, and nothing noted."""
    data = CODEC.dumps({"name": "Ada", "seen": NOW, "note": ""})
    moment = b"h\x00C\x0a" + bytes.fromhex("07ea0504030201000000") + b"h\x01\x86R"
    assert data == b"}(h\x04\x8c\x03Adah\x05" + moment + b"\x8c\x04noteh\x02u"
    assert CODEC.loads(data) == {"name": "Ada", "seen": NOW, "note": ""}


def test_a_store_without_words_holds_plain_pickles() -> None:
    """A store that has none yet holds plain pickles."""
    data = PickleSerializer().dumps(user(1))
    assert not is_bare(data)
    assert pickle.loads(data) == user(1)  # noqa: S301 - from the line before


def test_strings_are_shared_after_a_load() -> None:
    """What is loaded has the words themselves: in memory once, and known again by the pickler."""
    first, second = CODEC.loads_many([CODEC.dumps(user(1)), CODEC.dumps(user(2))])
    assert isinstance(first, dict)
    assert isinstance(second, dict)
    for one, other in zip(first, second, strict=True):
        assert one is other
    assert CODEC.dumps(first) == CODEC.dumps(user(1))


def test_words_that_were_read_are_those_of_a_program() -> None:
    """A pickler knows a word by its identity: it must be the one that stands in the bot's code."""
    read = tuple("".join(list(word)) for word in WORDS)
    codec = PickleSerializer().sharing(lambda: read)
    assert codec.dumps(user(1)) == CODEC.dumps(user(1))


def test_words_are_known_in_what_was_saved_before_there_were_any() -> None:
    """Such a value has strings of its own, one for several places; they are words all the same."""
    many = {**user(1), "cart": [{"product": f"tea {number}"} for number in range(3)]}
    loaded = pickle.loads(pickle.dumps(many))  # noqa: S301 - as a value from before is loaded
    (key, *_) = loaded["cart"][0]
    assert key is not many["cart"][0]
    assert CODEC.dumps(loaded) == CODEC.dumps(many)
    assert is_bare(CODEC.dumps(many))
    assert next(iter(loaded["cart"][0])) is key, "the bot's own object was changed"


def test_what_does_not_load_again_is_saved_all_the_same() -> None:
    """To find words in it, a value is copied; if that fails, they are spelled out."""
    stubborn = Stubborn()
    stubborn.__dict__["state"] = 1
    assert b"\x8c\x04cart" in CODEC.dumps([stubborn, "".join(list("cart"))])


@pytest.mark.parametrize(
    "value",
    [
        twice(),
        within_itself(),
        {"name": (shared := Own()), "cart": [shared]},
        doubled(5),
        ["x" * 70_000],
        {"name": b"x" * 70_000},
        {},
        None,
        7,
        [1, [user(1)] * 2],
    ],
    ids=str,
)
def test_what_has_no_bare_form_is_a_pickle(value: object) -> None:
    """What stands in a value twice stays one thing; large ones and tiny ones are pickles too."""
    data = CODEC.dumps(value)
    assert not is_bare(data)
    assert data == PickleSerializer(trusted=(__name__,)).dumps(value)


@pytest.mark.parametrize(
    ("make", "same"),
    [
        (twice, lambda value: value[0] is value[1]),
        (within_itself, lambda value: value["cart"] is value),
        (lambda: [[], *twice(), ["abc"] * 3], lambda value: value[1] is value[2]),
    ],
)
def test_shared_parts_stay_one_object(make: Any, same: Any) -> None:
    """Sharing and cycles come back as they were."""
    assert same(CODEC.loads(CODEC.dumps(make())))


def test_a_value_that_doubles_with_each_level_takes_no_time() -> None:
    """Written without notes, this would be a billion lists."""
    begun = time.perf_counter()
    assert not is_bare(CODEC.dumps(doubled(30)))
    assert time.perf_counter() - begun < 1


@st.composite
def graphs(draw: st.DrawFn) -> list[Any]:
    """Draw values of which any part may stand in others several times."""
    parts: list[Any] = ["name", "other", "", "\x94", b"\x94h\x00j", 0x94, NOW, None, 1.5]
    for _ in range(draw(st.integers(0, 8))):
        picked = draw(st.lists(st.sampled_from(range(len(parts))), max_size=4))
        held = [parts[index] for index in picked]
        kind = draw(st.sampled_from(["list", "tuple", "dict", "own"]))
        if kind == "dict":
            parts.append({f"k{number}": part for number, part in enumerate(held)})
        else:
            parts.append({"list": list, "tuple": tuple, "own": Own}[kind](held))
    return parts[draw(st.integers(0, 3)) :: draw(st.integers(1, 3))]


def shape(value: object, seen: dict[int, int]) -> object:
    """Describe a value with what in it is one and the same mutable thing."""
    if isinstance(value, Own):
        return ("own", shape(value.part, seen))
    if isinstance(value, (list, dict)):
        if id(value) in seen:
            return ("again", seen[id(value)])
        seen[id(value)] = len(seen)
        parts = value.values() if isinstance(value, dict) else value
        return (type(value).__name__, [shape(part, seen) for part in parts])
    if isinstance(value, tuple):
        return tuple(shape(part, seen) for part in value)
    return value


@given(value=graphs())
@settings(max_examples=300, deadline=None, database=None)
def test_any_graph_comes_back_as_it_was(value: list[Any]) -> None:
    """Equal, with the same parts shared, from either form; and a bare value notes nothing."""
    data = CODEC.dumps(value)
    assert shape(CODEC.loads(data), {}) == shape(value, {})
    if is_bare(data):
        names = {operation.name for operation, _, _ in pickletools.genops(data + b".")}
        assert not names & {"MEMOIZE", "PUT", "BINPUT", "LONG_BINPUT", "LONG_BINGET", "PROTO"}


def test_objects_of_telegram_get_the_bot_from_a_bare_value() -> None:
    """The marks for the bot work in both forms."""
    chat = Chat(1, ChatType.PRIVATE)
    without = CODEC.dumps({"name": chat})
    chat.set_bot(BOT)
    data = [without, CODEC.dumps({"name": BOT, "cart": 1}), CODEC.dumps({"name": chat})]
    assert [is_bare(one) for one in data] == [
        True,
        True,
        False,
    ]  # to get its bot, it is named twice
    values: list[Any] = CODEC.loads_many(data)
    assert values == [{"name": chat}, {"name": BOT, "cart": 1}, {"name": chat}]
    assert values[2]["name"].get_bot() is BOT


def test_what_looks_as_if_it_referred_to_itself_is_saved_all_the_same() -> None:
    """Bytes that are none of the pickle's operations may look like one: it is a pickle then."""
    value = {"name": b"j\x07\x01\x00\x00"}
    assert not is_bare(CODEC.dumps(value))
    assert CODEC.loads(CODEC.dumps(value)) == value


def test_an_object_that_is_another_each_time_is_a_pickle() -> None:
    """Of two pickles that say different things, neither proves anything of the other."""
    moody = Moody()
    data = CODEC.dumps([moody])
    assert not is_bare(data)
    assert isinstance(CODEC.loads(data), list)


def test_values_load_with_more_words_than_they_knew() -> None:
    """Words are only ever added, after those that were there."""
    data = CODEC.dumps(user(1))
    longer = PickleSerializer().sharing(lambda: (*WORDS, "note", "zone"))
    assert longer.loads(data) == user(1)


def test_a_value_spelled_out_is_a_pickle_for_any_reader() -> None:
    """For readers that know no words, and places that have none."""
    data = CODEC.dumps(user(1) | {"straße": "cart"})
    assert is_bare(data)
    spelled = spell_out(data, WORDS)
    assert pickle.loads(spelled) == user(1) | {"straße": "cart"}  # noqa: S301 - from the line before
    assert spell_out(spelled, WORDS) == spelled


# Many at once -----------------------------------------------------------------------------------


def test_of_many_values_those_that_do_not_load_are_named() -> None:
    """One bad value in a thousand does not hide behind the others, nor they behind it."""
    strange = PickleSerializer(trusted=(__name__,)).sharing(lambda: WORDS)
    items = [(number, CODEC.dumps(user(number))) for number in range(1000)]
    items[300] = (300, strange.dumps({"name": Own()}))
    with pytest.raises(UnknownTypeError) as caught:
        load_all(PickleSerializer(trusted=()).sharing(lambda: WORDS), "user_data", items)
    assert caught.value.keys == (300,)
    items[300] = (300, b"}(h")
    with pytest.raises(DamagedObjectError, match="1 of its values"):
        load_all(CODEC, "user_data", items)
    del items[300]
    loaded = load_all(CODEC, "user_data", items)
    assert loaded == {number: user(number) for number, _ in items}


@pytest.mark.parametrize(
    "data",
    [b"h\xff", b"h\x07", b"K\xffQ", b"NQ", b"", b"NN", b"0N", b"N.", b"(", b"\x94"],
)
def test_a_bare_value_that_is_none_is_damage(data: bytes) -> None:
    """Words that are not there, two values in one, none, an end too early."""
    with pytest.raises(DamagedObjectError):
        load_all(CODEC, "user_data", [(1, data)])


# Which words ------------------------------------------------------------------------------------


def test_words_are_the_names_that_many_values_have() -> None:
    """An eighth of them; not what somebody has alone, however often; not what they stand for."""
    values: list[object] = [user(number) for number in range(100)]
    values += [{"solo": [{f"solo {number}": "same"}] * 1000} for number in range(12)]
    values += [Own({"name": "same"}) for _ in range(20)]
    assert sorted(common_words(values)) == ["cart", "name", "part", "product", "seen"]


def test_words_are_found_in_what_holds_itself() -> None:
    """Each part is looked at once."""
    assert sorted(common_words([within_itself(), twice()] * 32)) == ["cart", "name"]


def test_few_values_give_no_words() -> None:
    """What a handful of users have in common may be theirs alone."""
    assert common_words([user(1)] * 7) == []
    assert common_words([user(1)] * 8) != []


def test_words_are_short_and_printable_and_not_too_many() -> None:
    """Text is no word; and a value that is read alone has to look up each."""
    strange: list[object] = [{"x" * 33: 1, "": 1, "\ud800": 1, "a\0": 1, b"b": 1, 5: 1}] * 100
    assert common_words(strange) == []
    many: list[object] = [dict.fromkeys(map(str, range(100)), 0)] * 100
    assert len(common_words(many)) == MAX_WORDS


# In a store -------------------------------------------------------------------------------------


def current(store: MemoryStore) -> Head:
    head = Reader(Keyring(KEY)).open(HEAD, store.current()[HEAD])[1]
    assert isinstance(head, Head)
    return head


async def grown(store: MemoryStore, **options: Any) -> Persistence:
    """A persistence whose store has got its words."""
    persistence = make_persistence(store, **options)
    await state_of(persistence)
    await update(persistence, {"user_data": {n: user(n) for n in range(MIN_VALUES)}})
    await settled(persistence)
    await update(persistence, {"user_data": {1: {"name": "new", "cart": []}}})
    return persistence


def forms(persistence: Persistence) -> dict[Any, bool]:
    commits = persistence._commits
    assert commits is not None
    entities = commits.repository.base.entities[Kind.USER_DATA]
    return {key: is_bare(data) for key, data in entities.items()}


async def test_words_are_used_once_they_are_committed() -> None:
    """They go with a commit whose values do not need them; the next one's do."""
    store = MemoryStore()
    persistence = await grown(store)
    assert set(WORDS) == set(current(store).words)
    assert not any(forms(persistence).values())
    await update(persistence, {"user_data": {2: {"name": "newer", "cart": []}}})
    assert [key for key, bare in forms(persistence).items() if bare] == [2]
    again = await make_persistence(store).get_user_data()
    assert again[1]["name"] == "new"
    assert again[2] == {"name": "newer", "cart": []}
    assert len(again) == MIN_VALUES


async def test_two_writers_with_words_of_their_own() -> None:
    """Whoever commits first has the first numbers; the other's come after, or not at all."""
    store = MemoryStore()
    first = await grown(store)
    second = make_persistence(store)
    users = await second.get_user_data()
    await update(second, {"user_data": {3: {"name": "by the second", "cart": []}}})
    one, two = first._commits, second._commits
    assert one is not None
    assert two is not None
    one.repository.suggest(["alpha", "beta"])
    two.repository.suggest(["beta", "gamma"])
    await update(first, {"user_data": {4: {"name": "beta", "cart": ["alpha"]}}})
    await update(second, {"user_data": {5: {"name": "beta", "cart": ["gamma"]}}})
    assert current(store).words[len(WORDS) :] == ("alpha", "beta", "gamma")
    await update(first, {"user_data": {6: {"name": "gamma", "cart": ["beta", "x"]}}})
    await update(second, {"user_data": {7: {"name": "gamma", "cart": ["alpha", "x"]}}})
    third = await make_persistence(store).get_user_data()
    assert third[3] == {"name": "by the second", "cart": []}
    assert [third[n]["name"] for n in (4, 5, 6, 7)] == ["beta", "beta", "gamma", "gamma"]
    assert [third[n]["cart"] for n in (4, 5, 6, 7)] == [
        ["alpha"],
        ["gamma"],
        ["beta", "x"],
        ["alpha", "x"],
    ]
    assert len(users) == MIN_VALUES


async def test_both_change_a_user_who_was_saved_before_there_were_words() -> None:
    """Fields are merged, whatever form their values are in."""
    store = MemoryStore()
    first = await grown(store)
    second = make_persistence(store)
    theirs = await second.get_user_data()
    await update(first, {"user_data": {9: user(9) | {"name": "mine"}}})
    theirs[9]["cart"] = ["theirs"]
    await update(second, {"user_data": {9: theirs[9]}})
    merged = await make_persistence(store).get_user_data()
    assert merged[9] == {"name": "mine", "seen": NOW, "cart": ["theirs"]}


async def test_what_another_writer_has_changed_may_have_words_that_are_new_here() -> None:
    """They are known before anything is merged."""
    store = MemoryStore()
    first = await grown(store)
    second = make_persistence(store)
    theirs = await second.get_user_data()
    commits = first._commits
    assert commits is not None
    commits.repository.suggest(["fresh"])
    await update(first, {"user_data": {1: user(1)}})
    await update(first, {"user_data": {9: user(9) | {"name": "fresh"}}})
    theirs[9]["cart"] = ["theirs"]
    await update(second, {"user_data": {9: theirs[9]}})
    merged = await make_persistence(store).get_user_data()
    assert merged[9] == {"name": "fresh", "seen": NOW, "cart": ["theirs"]}


async def test_refresh_knows_an_old_value_again() -> None:
    """A live object that was loaded from the other form, and not touched, is brought up to date."""
    store = MemoryStore()
    first = await grown(store)
    second = make_persistence(store, sync=0.0)
    live = (await second.get_user_data())[9]
    await update(first, {"user_data": {9: user(9) | {"name": "changed"}}})
    await second.refresh_user_data(9, live)
    assert live["name"] == "changed"


async def test_an_older_state_comes_back_with_words() -> None:
    """A restore is a commit like any other: words stay, and old values load."""
    store = MemoryStore()
    persistence = await grown(store)
    await update(persistence, {"user_data": {2: {"name": "newer", "cart": []}}})
    words = current(store).words
    restored = make_persistence(store, restore="1")
    assert await restored.get_user_data() == {n: user(n) for n in range(MIN_VALUES)}
    assert current(store).words == words
    back = make_persistence(store, restore="3")
    assert (await back.get_user_data())[2] == {"name": "newer", "cart": []}


async def test_an_older_state_with_other_words_is_not_restored() -> None:
    """An older head was put back, and other words came: the numbers of the old ones mean others."""
    store = MemoryStore()
    persistence = await grown(store)
    await update(persistence, {"user_data": {2: {"name": "cut off", "cart": []}}})
    cut_off = current(store).revision
    versions = [version async for version in store.versions(HEAD)]
    first = await store.get(HEAD, version_id=versions[-1].version_id)
    assert first is not None
    await store.overwrite(HEAD, first.body)
    other = make_persistence(store)
    await other.get_user_data()
    commits = other._commits
    assert commits is not None
    commits.repository.suggest(["quite", "different"])
    await update(other, {"user_data": {3: {"name": "new branch"}}})
    with pytest.raises(RestorePointError, match="export"):
        await commits.repository.restore(RestorePoint.parse(versions[0].version_id or ""))
    assert (await make_persistence(store).get_user_data())[3] == {"name": "new branch"}
    assert cut_off == 3


def test_a_head_with_other_words_follows_from_nothing_here() -> None:
    """Words never change: one that says otherwise is of another branch."""
    base = follow(Head(0, "", 1), {}, commit="a", writer="w", refs={}, words=["cart", "name"])
    grown = follow(base, {}, commit="b", writer="w", refs={}, words=["name", "seen"])
    assert grown.words == ("cart", "name", "seen")
    assert grown.follows(base)
    other = follow(Head(0, "", 1), {}, commit="a", writer="w", refs={}, words=["name", "cart"])
    assert not follow(other, {}, commit="b", writer="w", refs={}).follows(base)


async def test_a_serializer_of_the_users_own_has_its_words_from_the_store() -> None:
    """An explicit PickleSerializer reads what the default one wrote; two stores do not mix."""
    store, elsewhere = MemoryStore(), MemoryStore()
    first = await grown(store)
    await update(first, {"user_data": {2: {"name": "newer", "cart": []}}})
    serializer = PickleSerializer()
    own = make_persistence(store, serializer=serializer)
    other = make_persistence(elsewhere, serializer=serializer)
    assert (await own.get_user_data())[2] == {"name": "newer", "cart": []}
    assert await other.get_user_data() == {}
    await update(own, {"user_data": {4: {"name": "own", "cart": []}}})
    await update(other, {"user_data": {4: {"name": "other", "cart": []}}})
    assert forms(own)[4]
    assert not forms(other)[4]


async def test_words_are_no_secret_of_one_user() -> None:
    """What stands in head for all is what an eighth of the users have, and no more."""
    store = MemoryStore()
    persistence = await grown(store)
    assert not [word for word in current(store).words if "user" in word or "tea" in word]
    await persistence.flush()


async def test_an_older_head_without_the_words_is_noticed() -> None:
    """Put back behind the bot's back, it is no head to commit on: our values need more words."""
    store = MemoryStore()
    persistence = await grown(store)
    versions = [version async for version in store.versions(HEAD)]
    first = await store.get(HEAD, version_id=versions[-1].version_id)
    assert first is not None
    await store.overwrite(HEAD, first.body)
    with pytest.raises(ExceptionGroup) as caught:
        await update(persistence, {"user_data": {2: {"name": "newer", "cart": []}}})
    assert isinstance(caught.value.exceptions[0], ConflictError)
