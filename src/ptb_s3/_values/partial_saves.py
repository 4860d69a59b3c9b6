"""Saved forms of values: one bad part of a dictionary keeps only its own top-level key out.

bot_data is one dictionary, and so is the data of each user and chat. Where one of its top-level
values cannot be written, as a client or a function cannot, the rest is, and the bad key keeps its
last good value:

    last saved    {"stats": 1, "positions": {}}
    live          {"stats": <function>, "positions": {"BTC": 1.5}, "client": <client>}
    saved form    {"stats": 1, "positions": {"BTC": 1.5}}

To look for the culprit takes long, so a part that was refused is known again by its outline.
"""

from __future__ import annotations

import collections
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from enum import Enum
from typing import Any, Final, NamedTuple, TypeAlias

from ptb_s3._format.entities import EntityKey, Kind, fault_of
from ptb_s3._values import serializer as _codec
from ptb_s3._values.allow_list import AllowList
from ptb_s3._values.attributes import attributes, set_attributes
from ptb_s3._values.copies import Uncopied
from ptb_s3._values.equality import outline
from ptb_s3._values.serializer import PickleSerializer, Serializer
from ptb_s3.errors import SerializationError, UntrustedTypeError

# Kinds whose entities are dictionaries, unless the bot has context types of its own.
DIVISIBLE: Final = (Kind.USER_DATA, Kind.CHAT_DATA, Kind.BOT_DATA)
_NO_KEYS: Final = frozenset[Any]()

# By kind, the top-level keys that are never saved.
Unsaved: TypeAlias = Mapping[Kind, frozenset[Any]]
Items: TypeAlias = Sequence[tuple[Any, Any]]


class Part(Enum):
    """Stands for what is refused, besides single keys."""

    WHOLE = "the entity as a whole"


class Refusal(NamedTuple):
    """Why something cannot be saved. The error itself would keep alive what it was raised in.

    Attributes:
        mark: The outline of what was refused.
        error: The error's class.
        reason: As in the error.
        path: Likewise.
    """

    mark: bytes
    error: type[SerializationError]
    reason: str
    path: str

    def fault(self, kind: Kind, key: EntityKey) -> SerializationError:
        """Return the error to raise of an entity."""
        return self.error(self.reason, path=self.path).locate(kind.value, key)


class Form(NamedTuple):
    """A value as it can be saved.

    Attributes:
        value: What is written.
        data: Its bytes; None: nothing of it can be saved.
        refusals: What cannot be, by top-level key or `Part.WHOLE`.
        unsaved: Top-level keys that are there and are never saved.
    """

    value: object
    data: bytes | None
    refusals: Mapping[Any, Refusal]
    unsaved: frozenset[Any]


class _Good(NamedTuple):
    """Last good values of refused keys, and the bytes that they stand in."""

    data: bytes
    keys: frozenset[Any]
    values: dict[Any, Any]


class Forms:
    """Cache of refusals around a serializer: what was refused is not tried again while it is as is.

    Args:
        serializer: Turns values into bytes.
        seen: Returns the bytes that an entity was made from.
        unsaved: Top-level keys that are never saved.
    """

    def __init__(
        self,
        serializer: Serializer,
        seen: Callable[[Kind, EntityKey], bytes | None],
        unsaved: Unsaved | None = None,
    ) -> None:
        self._serializer = serializer
        self._seen = seen
        self._unsaved = unsaved or {}
        self._known: dict[tuple[Kind, EntityKey], Mapping[Any, Refusal]] = {}
        self._good: dict[tuple[Kind, EntityKey], _Good] = {}
        self._allow_list = AllowList((), {})
        if isinstance(serializer, PickleSerializer):
            self._allow_list = serializer.allow_list

    def of(self, kind: Kind, key: EntityKey, value: object) -> Form:
        """Return the saved form of an entity's value."""
        # For thousands of values that have neither, so it is to take no time.
        known = self._known.get((kind, key)) if self._known else None
        keys = self._unsaved.get(kind)
        unsaved = unsaved_in(keys, value) if keys else _NO_KEYS
        fault = None
        if not known:
            try:
                shell = rest_of(value, unsaved) if unsaved else value
                return Form(shell, self._dump(kind, key, shell), {}, unsaved)
            except SerializationError as error:
                fault = error
        form = self._partial(kind, key, value, unsaved, known=known or {}, fault=fault)
        if form.refusals:
            self._known[kind, key] = form.refusals
        else:
            self.forget(kind, key)
        return form

    def forget(self, kind: Kind, key: EntityKey) -> None:
        """Forget an entity that is gone, with the values that were kept of it."""
        self._known.pop((kind, key), None)
        self._good.pop((kind, key), None)

    def _partial(
        self,
        kind: Kind,
        key: EntityKey,
        value: object,
        unsaved: frozenset[Any],
        *,
        known: Mapping[Any, Refusal],
        fault: SerializationError | None,
    ) -> Form:
        """Return the form of what was refused before, or has just been (`fault`)."""
        whole = known.get(Part.WHOLE)
        if whole is not None and whole.mark == self._mark(value):
            return Form(value, None, known, unsaved)
        try:
            divisible = kind in DIVISIBLE and isinstance(value, dict)
            form = self._divided(kind, key, value, unsaved, known) if divisible else None
        except SerializationError as error:
            form, fault = None, error
        if form is not None:
            return form
        outcome = fault or self._attempt(kind, key, value)
        if isinstance(outcome, bytes):
            return Form(value, outcome, {}, unsaved)
        return Form(value, None, {Part.WHOLE: self._refusal(outcome, value)}, unsaved)

    def _divided(
        self,
        kind: Kind,
        key: EntityKey,
        value: Any,  # noqa: ANN401 - a dictionary, of any class
        unsaved: frozenset[Any],
        known: Mapping[Any, Refusal],
    ) -> Form:
        """Return the form of a dictionary without its bad keys.

        Raises:
            SerializationError: It is not its keys that are bad, or not each by itself.
        """
        items = [item for item in dict.items(value) if item[0] not in unsaved]
        refusals = {
            part: known[part]
            for part, one in items
            if part in known and known[part].mark == self._mark((part, one))
        }
        form = self._composed(kind, key, value, items, refusals) if refusals else None
        if form is None or isinstance(form.data, SerializationError):
            left = [item for item in items if item[0] not in refusals]
            refusals |= self._search(kind, key, value, left)
            form = self._composed(kind, key, value, items, refusals)
        if isinstance(form.data, SerializationError):
            raise form.data
        good = _some_of(form.value, refusals)
        self._good[kind, key] = _Good(form.data, frozenset(refusals), good)
        return Form(form.value, form.data, refusals, unsaved)

    def _composed(
        self,
        kind: Kind,
        key: EntityKey,
        value: object,
        items: Items,
        refusals: Mapping[Any, Refusal],
    ) -> _Composed:
        good = self._last_good(kind, key, refusals.keys())
        kept = [(p, good.get(p, one)) for p, one in items if p not in refusals or p in good]
        shell = rebuilt(value, kept)
        return _Composed(shell, self._attempt(kind, key, shell))

    def _last_good(self, kind: Kind, key: EntityKey, parts: Collection[Any]) -> Mapping[Any, Any]:
        """Return the last good values of top-level keys, where they have any."""
        seen, found = self._seen(kind, key), self._good.get((kind, key))
        if seen is None or not parts:
            return {}
        if found is not None and found.data == seen and found.keys.issuperset(parts):
            return found.values
        try:
            value = self._serializer.loads(seen)
        except Exception:  # noqa: BLE001 - whatever is wrong with them
            reason = "it holds what cannot be saved, and its last good value does not load"
            raise SerializationError(reason) from None
        return _some_of(value, parts) if isinstance(value, dict) else {}

    def _search(
        self, kind: Kind, key: EntityKey, value: object, items: Items
    ) -> dict[Any, Refusal]:
        """Find the bad ones among these items, by halves.

        Raises:
            SerializationError: Attributes of the dictionary's own are bad.
        """
        self._dump(kind, key, rebuilt(value, ()))
        refusals: dict[Any, Refusal] = {}
        left = [items]
        while left:
            some = left.pop()
            if not some or self._takes(kind, key, rebuilt(value, some)):
                continue
            if len(some) > 1:
                middle = len(some) // 2
                left += [some[middle:], some[:middle]]
                continue
            outcome = self._attempt(kind, key, rebuilt(value, some))
            if not isinstance(outcome, bytes):
                refusals[some[0][0]] = self._refusal(outcome, some[0])
        return refusals

    def _takes(self, kind: Kind, key: EntityKey, value: object) -> bool:
        if type(self._serializer) is not PickleSerializer:
            return isinstance(self._attempt(kind, key, value), bytes)
        data = self._serializer.draft(value)
        return data is not None and fault_of(kind, key, data) is None

    def _attempt(self, kind: Kind, key: EntityKey, value: object) -> bytes | SerializationError:
        """Return a value as bytes, or why it cannot be."""
        try:
            return self._dump(kind, key, value)
        except SerializationError as fault:
            return fault

    def _dump(self, kind: Kind, key: EntityKey, value: object) -> bytes:
        """Return a value as bytes that head and blob can hold, with its key.

        Raises:
            SerializationError: They cannot.
        """
        if type(self._serializer) is not PickleSerializer:
            _refuse_uncopied(value)
        data = _codec.dump(self._serializer, value)
        fault = fault_of(kind, key, data)
        if fault is not None:
            raise SerializationError(fault)
        return data

    def _mark(self, value: object) -> bytes:
        return outline(value, self._allow_list)

    def _refusal(self, fault: SerializationError, refused: object) -> Refusal:
        error = UntrustedTypeError if isinstance(fault, UntrustedTypeError) else SerializationError
        return Refusal(self._mark(refused), error, fault.reason, fault.path)


class _Composed(NamedTuple):
    """A dictionary without bad keys, and its bytes, or why there are none."""

    value: Any
    data: bytes | SerializationError


def unsaved_in(unsaved: Collection[Any], value: object) -> frozenset[Any]:
    """Return the top-level keys of a value that are never saved."""
    if not unsaved or not isinstance(value, dict):
        return frozenset()
    return frozenset(key for key in unsaved if dict.__contains__(value, key))


def rest_of(value: Any, unsaved: Collection[Any]) -> Any:  # noqa: ANN401 - a dictionary of any class
    """Return a dictionary without some of its keys; its parts are the same objects.

    Raises:
        SerializationError: Its class makes none such.
    """
    if not unsaved:
        return value
    return rebuilt(value, [item for item in dict.items(value) if item[0] not in unsaved])


def rebuilt(value: object, items: Iterable[tuple[Any, Any]]) -> Any:  # noqa: ANN401 - a dictionary of any class
    """Return a dictionary of another one's class and attributes, with these items.

    By no code of the class but `__new__`, which might keep or send what it is given.

    Raises:
        SerializationError: The class makes no other object that way.
    """
    cls: Any = type(value)
    if cls is dict:
        return dict(items)
    try:
        shell = cls.__new__(cls)
        if isinstance(value, collections.defaultdict):
            shell.default_factory = value.default_factory
        set_attributes(shell, attributes(value))
    except Exception as error:  # noqa: BLE001 - objects' own code may raise anything
        raise SerializationError(f"it cannot be copied ({type(error).__name__})") from None
    fill(shell, items)
    return shell


def fill(value: object, items: Iterable[tuple[Any, Any]]) -> None:
    """Set items of a dictionary, by no code of its own class."""
    base: Any = collections.OrderedDict if isinstance(value, collections.OrderedDict) else dict
    for key, one in items:
        base.__setitem__(value, key, one)


def _some_of(value: dict[Any, Any], keys: Iterable[Any]) -> dict[Any, Any]:
    """Return what a dictionary has under some keys, by no code of its own class."""
    return {key: dict.__getitem__(value, key) for key in keys if dict.__contains__(value, key)}


def _refuse_uncopied(value: object) -> None:
    """Refuse a placeholder where a serializer of the user's might write one.

    Args:
        value: A dictionary, or a keyboard's time and buttons.
    """
    parts = value[1] if isinstance(value, tuple) and value[1:] else value
    for one in dict.values(parts) if isinstance(parts, dict) else ():
        if type(one) is Uncopied:
            raise SerializationError(one.reason)
