"""PTB's five maps, as its own persistences keep them: to entities and back."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar, cast

import msgspec

from ptb_s3 import _callback_data
from ptb_s3._callback_data import CallbackData
from ptb_s3._codec import PickleSerializer, Serializer, load_all
from ptb_s3._fence import SetBot
from ptb_s3._state import BOT_DATA_KEY, MANY_ALIKE, MAX_ENTITY, Entities, Key, Kind, is_key
from ptb_s3._words import MAX_WORDS, common_words, sample
from ptb_s3.errors import DamagedFileError, SerializationError

_T = TypeVar("_T")

# Told how many entities are done, and how many there are.
Progress = Callable[[int, int], None]
# The values of all entities.
Values = dict[Kind, dict[Key, object]]


def split(file: Path, maps: Mapping[Any, Any]) -> Values:
    """Return the values of all entities, by kind and key.

    Args:
        file: Where they come from, for errors.
        maps: What PTB keeps, by the names of the kinds. None: nothing.

    Raises:
        DamagedFileError: It is not what PTB keeps.
    """
    values: Values = {
        Kind.USER_DATA: _dict(file, Kind.USER_DATA, maps.get(Kind.USER_DATA)),
        Kind.CHAT_DATA: _dict(file, Kind.CHAT_DATA, maps.get(Kind.CHAT_DATA)),
        Kind.BOT_DATA: {},
        Kind.CALLBACK_DATA: _split_callbacks(file, maps.get(Kind.CALLBACK_DATA)),
        Kind.CONVERSATIONS: _split_conversations(file, maps.get(Kind.CONVERSATIONS)),
    }
    if maps.get(Kind.BOT_DATA) is not None:
        values[Kind.BOT_DATA][BOT_DATA_KEY] = maps[Kind.BOT_DATA]
    for kind, entities in values.items():
        wrong = sum(not is_key(kind, key) for key in entities)
        if wrong:
            raise DamagedFileError(file, f"{wrong} key(s) of its {kind} are none that PTB has")
    return values


def join(values: Values) -> dict[str, Any]:
    """Undo `split`. The bot's data is left out if there is none, so that PTB makes it anew."""
    conversations: defaultdict[str, dict[object, object]] = defaultdict(dict)
    for key, state in values[Kind.CONVERSATIONS].items():
        name, parts = cast("tuple[str, tuple[int | str, ...]]", key)
        conversations[name][parts] = state
    callbacks = cast("dict[tuple[str, str], Any]", values[Kind.CALLBACK_DATA])
    maps: dict[str, Any] = {
        "user_data": values[Kind.USER_DATA],
        "chat_data": values[Kind.CHAT_DATA],
        "callback_data": _callback_data.join(callbacks) if callbacks else None,
        "conversations": dict(conversations),
    }
    if BOT_DATA_KEY in values[Kind.BOT_DATA]:
        maps["bot_data"] = values[Kind.BOT_DATA][BOT_DATA_KEY]
    return maps


def serialise(
    file: Path, values: Values, serializer: Serializer, progress: Progress | None
) -> dict[Kind, Entities]:
    """Return entities as bytes.

    Raises:
        DamagedFileError: One of them cannot be saved.
    """
    counted = _counter(values, progress)
    entities: dict[Kind, Entities] = {kind: {} for kind in Kind}
    for kind in Kind:
        for key, value in counted(values[kind].items()):
            try:
                data = serializer.dumps(value)
            except SerializationError as error:
                reason = f"a value of its {kind} cannot be saved: {error.reason}"
                raise DamagedFileError(file, reason) from None
            if len(data) > MAX_ENTITY:
                raise DamagedFileError(file, f"a value of its {kind} is too large to be saved")
            entities[kind][key] = data
    return entities


def share_words(
    state: Mapping[Kind, Entities], progress: Progress | None
) -> tuple[dict[Kind, Entities], tuple[str, ...]]:
    """Return the first entities of a store so that they share words, and these words.

    Values with the bot in them, or with classes of one's own, stay as they are: nobody's code runs.
    """
    counted = _counter({kind: state[kind] for kind in MANY_ALIKE}, progress)
    plain, shared = PickleSerializer(trusted=()), dict(state)
    found = [common_words([*_loaded(plain, sample(state[kind])).values()]) for kind in MANY_ALIKE]
    words = tuple(dict.fromkeys(chain(*found)))[:MAX_WORDS]
    sharing = plain.sharing(lambda: words)
    for kind in MANY_ALIKE if words else ():
        values = _loaded(plain, counted(state[kind].items()))
        shared[kind] = state[kind] | {key: sharing.dumps(value) for key, value in values.items()}
    return shared, words


def _loaded(serializer: PickleSerializer, items: Iterable[tuple[Key, bytes]]) -> dict[Key, object]:
    values: dict[Key, object] = {}
    for key, data in items:
        if SetBot.__module__.encode() not in data:
            with suppress(Exception):  # a class of one's own
                values[key] = serializer.loads(data)
    return values


def load(
    state: Mapping[Kind, Entities], serializer: Serializer, progress: Progress | None
) -> Values:
    """Return the values of entities.

    Raises:
        DamagedObjectError: Some bytes do not give a value.
    """
    counted = _counter(state, progress)
    return {kind: load_all(serializer, kind, counted(state.get(kind, {}).items())) for kind in Kind}


def _counter(
    kinds: Mapping[Kind, Mapping[Key, Any]], progress: Progress | None
) -> Callable[[Iterable[_T]], Iterator[_T]]:
    """Return what counts entities of all kinds while they are gone through."""
    total, done = sum(map(len, kinds.values())), 0

    def counted(items: Iterable[_T]) -> Iterator[_T]:
        nonlocal done
        for item in items:
            yield item
            done += 1
            if progress is not None:
                progress(done, total)

    return counted


def _dict(file: Path, name: str, value: object) -> dict[Any, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise DamagedFileError(file, f"its {name} is no dict")
    return value


def _split_callbacks(file: Path, data: object) -> dict[Key, object]:
    if data in (None, {}):  # the latter is what PicklePersistence makes of an older file
        return {}
    try:
        return _callback_data.split(msgspec.convert(data, CallbackData))
    except msgspec.ValidationError:
        reason = f"its {Kind.CALLBACK_DATA} is not keyboards and callback queries"
        raise DamagedFileError(file, reason) from None


def _split_conversations(file: Path, names: object) -> dict[Key, object]:
    conversations = _dict(file, Kind.CONVERSATIONS, names).items()
    return {
        (name, key): state
        for name, states in conversations
        for key, state in _dict(file, Kind.CONVERSATIONS, states).items()
        if state is not None  # that one has ended
    }
