"""PTB's five maps, as its own persistences keep them: to entities and back.

{"user_data": {7: {...}}, "conversations": {"order": {(7, 7): 2}}, "bot_data": {...}, ...}
    | split                                            ^ join
    v                                                  |
{Kind.USER_DATA: {7: {...}}, Kind.CONVERSATIONS: {("order", (7, 7)): 2}, ...}      values
    | serialise                                        ^ load
    v                                                  |
the same by kind and key, as bytes                                                 entities
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, cast

import msgspec

from ptb_s3._format.entities import (
    BOT_DATA_KEY,
    MANY_ALIKE,
    MAX_ENTITY,
    PTB_KINDS,
    Entities,
    EntityKey,
    Kind,
    is_key,
)
from ptb_s3._format.words import MAX_WORDS
from ptb_s3._values import callback_data
from ptb_s3._values.callback_data import CallbackData
from ptb_s3._values.loading import load_all
from ptb_s3._values.pickling.markers import RESERVED
from ptb_s3._values.serializer import PickleSerializer, Serializer
from ptb_s3._values.shared_strings import common_words, sample
from ptb_s3.errors import DamagedFileError, SerializationError

_T = TypeVar("_T")

Progress = Callable[[int, int], None]
"""Told how many entities are done, and how many there are."""

Values = dict[Kind, dict[EntityKey, object]]
"""The values of all entities, by kind and key."""


class Skipped(NamedTuple):
    """Record of a part that is left out of an import.

    Attributes:
        kind: Name of its kind; None: it is of none that PTB has.
        key: The entity's key; None: all of the kind.
        reason: Why it is left out, as the end of a sentence.
    """

    kind: str | None
    key: object
    reason: str


Skip = Callable[[Skipped], None]
"""Told each part that is left out."""


def split(file: Path, maps: Mapping[Any, Any], skip: Skip | None = None) -> Values:
    """Return the values of all entities, by kind and key.

    Args:
        file: The file that they come from, for errors.
        maps: PTB's maps, by the names of the kinds. A map of None has nothing in it.
        skip: Told each part that is left out, as it is not of the shape that PTB keeps. None: that
            is an error.

    Raises:
        DamagedFileError: A map is not of the shape that PTB keeps.
    """
    values: Values = {kind: {} for kind in PTB_KINDS}
    for kind in PTB_KINDS:
        try:
            values[kind] = _split_kind(file, kind, maps.get(kind))
        except DamagedFileError as fault:
            if skip is None:
                raise
            skip(Skipped(kind, None, fault.reason))
    for kind, entities in values.items():
        wrong = [key for key in entities if not is_key(kind, key)]
        reason = f"{len(wrong)} key(s) of its {kind} are none that PTB has"
        if wrong and skip is None:
            raise DamagedFileError(file, reason)
        for key in wrong:
            entities.pop(key)
        if wrong and skip is not None:
            skip(Skipped(kind, None, reason))
    return values


def _split_kind(file: Path, kind: Kind, data: Any) -> dict[EntityKey, object]:  # noqa: ANN401 - anything
    if kind is Kind.BOT_DATA:
        return {} if data is None else {BOT_DATA_KEY: data}
    if kind is Kind.CALLBACK_DATA:
        return _split_callbacks(file, data)
    if kind is Kind.CONVERSATIONS:
        return _split_conversations(file, data)
    return dict(_dict(file, kind, data))


def join(values: Values) -> dict[str, Any]:
    """Return PTB's maps made of the values of entities, which undoes `split`.

    The bot's data is left out if there is none, so that PTB makes it anew.

    Args:
        values: The values, by kind and key.
    """
    conversations: defaultdict[str, dict[object, object]] = defaultdict(dict)
    for key, state in values[Kind.CONVERSATIONS].items():
        name, parts = cast("tuple[str, tuple[int | str, ...]]", key)
        conversations[name][parts] = state
    callbacks = cast("dict[tuple[str, str], Any]", values[Kind.CALLBACK_DATA])
    maps: dict[str, Any] = {
        "user_data": values[Kind.USER_DATA],
        "chat_data": values[Kind.CHAT_DATA],
        "callback_data": callback_data.join(callbacks) if callbacks else None,
        "conversations": dict(conversations),
    }
    if BOT_DATA_KEY in values[Kind.BOT_DATA]:
        maps["bot_data"] = values[Kind.BOT_DATA][BOT_DATA_KEY]
    return maps


def serialise(
    file: Path,
    values: Values,
    serializer: Serializer,
    progress: Progress | None,
    *,
    vet: Callable[[], str | None] = lambda: None,
    skip: Skip | None = None,
) -> dict[Kind, Entities]:
    """Return entities as bytes, by kind and key.

    Args:
        file: The file that they come from, for errors.
        values: Their values.
        serializer: Makes bytes of them.
        progress: Told how many are done, and how many there are.
        vet: Asked after each value for the reason to leave it out; None: there is none.
        skip: Told each entity that is left out. None: one that cannot be saved is an error.

    Raises:
        DamagedFileError: One of them cannot be saved, or is too large.
    """
    counted = _counter(values, progress)
    entities: dict[Kind, Entities] = {kind: {} for kind in PTB_KINDS}
    for kind in PTB_KINDS:
        for key, value in counted(values[kind].items()):
            try:
                data, reason = serializer.dumps(value), vet()
                if len(data) > MAX_ENTITY:
                    reason = "it is too large to be saved"
            except SerializationError as error:
                data, reason = b"", vet() or f"it cannot be saved: {error.reason}"
            if reason is None:
                entities[kind][key] = data
            elif skip is None:
                raise DamagedFileError(file, f"a value of its {kind}: {reason}")
            else:
                skip(Skipped(kind, key, reason))
    return entities


def share_words(
    state: Mapping[Kind, Entities], progress: Progress | None
) -> tuple[dict[Kind, Entities], tuple[str, ...]]:
    """Return the first entities of a store in a form that shares words, and the words.

    `_values.shared_strings` explains words. Values with the bot in them, or with classes of one's
    own, stay as they are, since nobody's code runs here.

    Args:
        state: Entities by kind, as bytes without words.
        progress: Told how many entities are done, and how many there are.
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


def _loaded(
    serializer: PickleSerializer, items: Iterable[tuple[EntityKey, bytes]]
) -> dict[EntityKey, object]:
    values: dict[EntityKey, object] = {}
    for key, data in items:
        if RESERVED.encode() not in data:
            with suppress(Exception):  # a class of one's own
                values[key] = serializer.loads(data)
    return values


def load(
    state: Mapping[Kind, Entities], serializer: Serializer, progress: Progress | None
) -> Values:
    """Return the values of entities, by kind and key.

    Args:
        state: The entities, as bytes.
        serializer: The serializer that made them.
        progress: Told how many are done, and how many there are.

    Raises:
        DamagedObjectError: Some bytes do not give a value.
    """
    counted = _counter(state, progress)
    return {
        kind: load_all(serializer, kind, counted(state.get(kind, {}).items())) for kind in PTB_KINDS
    }


def _counter(
    kinds: Mapping[Kind, Mapping[EntityKey, Any]], progress: Progress | None
) -> Callable[[Iterable[_T]], Iterator[_T]]:
    """Return a generator function that reports progress over the entities of all kinds.

    Args:
        kinds: All entities, to know how many there are.
        progress: Told how many are done, and how many there are; None: nobody is.
    """
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


def _split_callbacks(file: Path, data: object) -> dict[EntityKey, object]:
    if data in (None, {}):  # the latter is what PicklePersistence makes of an older file
        return {}
    try:
        return callback_data.split(msgspec.convert(data, CallbackData))
    except msgspec.ValidationError:
        reason = f"its {Kind.CALLBACK_DATA} is not keyboards and callback queries"
        raise DamagedFileError(file, reason) from None


def _split_conversations(file: Path, names: object) -> dict[EntityKey, object]:
    conversations = _dict(file, Kind.CONVERSATIONS, names).items()
    return {
        (name, key): state
        for name, states in conversations
        for key, state in _dict(file, Kind.CONVERSATIONS, states).items()
        if state is not None  # that one has ended
    }
