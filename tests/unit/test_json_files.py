"""JSON as PTB's DictPersistence takes and gives it; whatever it has no form for is told apart."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from telegram.ext import DictPersistence

from ptb_s3._format.entities import PTB_KINDS, Entities, Kind
from ptb_s3._transfer.json_files import read_json, write_json
from ptb_s3._transfer.maps import join
from ptb_s3._values.loading import load_all
from ptb_s3._values.serializer import PickleSerializer
from ptb_s3.errors import DamagedFileError, DamagedObjectError, NothingThereError, SettingsError

CODEC = PickleSerializer(trusted=(__name__,))
NAMES = [kind.value for kind in PTB_KINDS]


class Custom:
    """As of a custom context type."""

    def __init__(self) -> None:
        self.seen = 1


STATE: dict[str, Any] = {
    "user_data": {1: {"name": "Äda", "cart": [1, 2.5, None, True, {"a": {"5": 1}}], 7: "seven"}},
    "chat_data": {-5: {}, 6: {"price$": 3}},
    "bot_data": {"5": 1, "a": [[]]},
    "callback_data": ([("u1", 5.0, {"b1": {"go": 1}}), ("u2", 7.5, {"b2": "x"})], {"q1": "u1"}),
    "conversations": {"order": {(5, 7): 1, ("m", 1): "typing"}, "other": {(1,): [0]}},
}


def entities(**maps: dict[Any, object]) -> dict[Kind, Entities]:
    """Return a state as the bot saves it."""
    return {
        Kind(name): {key: CODEC.dumps(value) for key, value in values.items()}
        for name, values in maps.items()
    }


def maps_of(state: dict[Kind, Entities]) -> dict[str, Any]:
    """Return what the bot gets from entities, in the form of PTB's maps."""
    return join({kind: load_all(CODEC, kind, state[kind].items()) for kind in PTB_KINDS})


def file_of(path: Path, content: object) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


async def persisted() -> DictPersistence:
    """Return DictPersistence with a state."""
    persistence = DictPersistence()
    for key, value in STATE["user_data"].items():
        await persistence.update_user_data(key, value)
    for key, value in STATE["chat_data"].items():
        await persistence.update_chat_data(key, value)
    for name, states in STATE["conversations"].items():
        for key, value in states.items():
            await persistence.update_conversation(name, key, value)
    await persistence.update_bot_data(STATE["bot_data"])
    await persistence.update_callback_data(STATE["callback_data"])
    return persistence


@pytest.mark.parametrize("texts", [True, False])
async def test_import(tmp_path: Path, texts: bool) -> None:  # noqa: FBT001 - texts or objects
    """What DictPersistence gives, as texts or as objects, is what the bot loads."""
    given_texts = {name: getattr(await persisted(), f"{name}_json") for name in NAMES}
    content = {f"{name}_json" if texts else name: text for name, text in given_texts.items()}
    if not texts:
        content = {name: json.loads(text) for name, text in content.items()}
    state = read_json(file_of(tmp_path / "bot.json", content))
    assert maps_of(state) == STATE
    assert state[Kind.USER_DATA] == entities(user_data=STATE["user_data"])[Kind.USER_DATA]


async def test_import_then_export(tmp_path: Path) -> None:
    """What was taken over is written so that DictPersistence takes it, and is read as the same."""
    content = {name: getattr(await persisted(), f"{name}_json") for name in NAMES}
    state = read_json(file_of(tmp_path / "bot.json", content))
    write_json(tmp_path / "new.json", state)
    assert read_json(tmp_path / "new.json") == state
    written = json.loads((tmp_path / "new.json").read_bytes())
    texts: dict[str, Any] = {f"{name}_json": json.dumps(written[name]) for name in NAMES}
    taken = DictPersistence(**texts)
    assert {name: getattr(taken, name) for name in NAMES} == STATE


def test_nothing_in_it(tmp_path: Path) -> None:
    """What is empty, null or left out is nothing; and so is the export of nothing."""
    write_json(tmp_path / "new.json", {})
    contents: list[object] = [
        {"user_data": {}},
        {"user_data_json": "", "bot_data": None, "callback_data": "null"},
        (tmp_path / "new.json").read_text(),
    ]
    for content in contents:
        assert not any(read_json(file_of(tmp_path / "bot.json", content)).values())


@pytest.mark.parametrize(
    "data",
    [
        {"a": (1,)},
        {"a": {1: 2}},
        {"5": 1},
        {"$a": 1},
        {"a": b"b"},
        {"a": float("nan")},
        {(1,): 2},
        {True: 1},
        {10**5000: 1},
        Custom(),
    ],
)
def test_user_data_without_a_json_form_is_readable_and_refused(
    tmp_path: Path, data: object
) -> None:
    """Data that would come back as another is written readable, and refused when it is read."""
    write_json(tmp_path / "new.json", entities(user_data={1: data}))
    assert "$" in (tmp_path / "new.json").read_text()
    with pytest.raises(DamagedFileError, match="Export as a pickle"):
        read_json(tmp_path / "new.json")


def test_bot_callback_and_conversation_data_without_a_json_form(tmp_path: Path) -> None:
    """The bot's data, callback data and conversations are readable then, and refused when read."""
    for state in (
        entities(bot_data={0: {1: 2}}),
        entities(callback_data={("k", "u"): (1.0, {"b": (1,)})}),
        entities(conversations={("name", (1,)): (1,)}),
    ):
        write_json(tmp_path / "new.json", state, overwrite=True)
        with pytest.raises(DamagedFileError, match="pickle"):
            read_json(tmp_path / "new.json")


def test_each_user_has_a_line(tmp_path: Path) -> None:
    """Each user has a line, whose text is as it is; half a character is written by its number."""
    write_json(tmp_path / "new.json", entities(user_data={1: {"name": "Äda"}, 2: {}}))
    assert '"1": {"name": "Äda"},\n' in (tmp_path / "new.json").read_text("utf-8")
    state = entities(user_data={1: {"name": "\ud800"}})
    write_json(tmp_path / "half.json", state)
    assert read_json(tmp_path / "half.json")[Kind.USER_DATA] == state[Kind.USER_DATA]
    assert stat.S_IMODE((tmp_path / "half.json").stat().st_mode) == 0o600


def plain_data() -> st.SearchStrategy[Any]:
    atoms = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5))
    return st.recursive(
        atoms | st.binary(max_size=2),
        lambda parts: st.one_of(
            st.lists(parts, max_size=3),
            st.tuples(parts),
            st.dictionaries(st.text(max_size=5) | atoms, parts, max_size=3),
        ),
        max_leaves=8,
    )


@given(data=st.dictionaries(st.one_of(st.text(), st.integers()), plain_data(), max_size=3))
@settings(
    max_examples=80,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_any_data(tmp_path: Path, data: object) -> None:
    """Any data comes back as what it was, or not at all."""
    state = entities(user_data={1: data}, bot_data={0: {"a": data}})
    write_json(tmp_path / "new.json", state, overwrite=True)
    try:
        loaded = maps_of(read_json(tmp_path / "new.json"))
    except DamagedFileError:
        return
    assert repr(loaded["user_data"][1]) == repr(data)
    assert repr(loaded["bot_data"]["a"]) == repr(data)


DAMAGED: dict[str, object] = {
    "empty": "",
    "no JSON": "no JSON",
    "cut": '{"user_data": {"1": {}',
    "no object": [],
    "empty object": {},
    "another object": {"users": {}},
    "one more member": {"user_data": {}, "more": {}},
    "twice": {"user_data": {}, "user_data_json": "{}"},
    "text no JSON": {"user_data": "no JSON"},
    "users no object": {"user_data": [1]},
    "user no number": {"user_data": {"Ada": {}}},
    "user's data no object": {"user_data": {"1": 5}},
    "user too large": {"user_data": {str(2**70): {}}},
    "bot's data no object": {"bot_data": [1]},
    "callback data": {"callback_data": {"a": 1}},
    "keyboard": {"callback_data": [[["u", 1.0]], {}]},
    "access time": {"callback_data": [[["u", "Ada", {}]], {}]},
    "query": {"callback_data": [[], {"q": 1}]},
    "conversations": {"conversations": [1]},
    "states": {"conversations": {"name": [1]}},
    "conversation's key": {"conversations": {"name": {"1": 1}}},
    "conversation's key no JSON": {"conversations": {"name": {"(1,)": 1}}},
    "conversation's key nested": {"conversations": {"name": {"[[1]]": 1}}},
    "too deep": '{"user_data": ' + "[" * 100_000 + "]" * 100_000 + "}",
}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
def test_damaged(tmp_path: Path, content: object) -> None:
    """What DictPersistence does not take is an error that names it and shows nothing of it."""
    path = file_of(tmp_path / "bot.json", content)
    with pytest.raises(DamagedFileError) as caught:
        read_json(path)
    assert str(path) in str(caught.value)
    assert "Ada" not in str(caught.value)
    assert caught.value.exit_code == 5


def test_no_such_file(tmp_path: Path) -> None:
    """A file that is not there is an error that names it."""
    with pytest.raises(NothingThereError, match=r"bot\.json"):
        read_json(tmp_path / "bot.json")


def test_export_overwrites_only_if_told(tmp_path: Path) -> None:
    """A file that is there stays, unless it is to be overwritten; a value must load, too."""
    path = file_of(tmp_path / "new.json", "precious")
    with pytest.raises(SettingsError, match="already"):
        write_json(path, {})
    with pytest.raises(DamagedObjectError):
        write_json(path, {Kind.BOT_DATA: {0: b"damage"}}, overwrite=True)
    assert path.read_text() == "precious"


def test_progress(tmp_path: Path) -> None:
    """Whoever asks is told of each entity, in both directions."""
    told: list[tuple[int, int]] = []
    state = entities(user_data={1: {}, 2: {}}, bot_data={0: {}})
    write_json(tmp_path / "new.json", state, progress=lambda *n: told.append(n))
    read_json(tmp_path / "new.json", progress=lambda *n: told.append(n))
    assert told == [(1, 3), (2, 3), (3, 3)] * 2
