"""Partial saves: one bad part of a dictionary keeps only its own top-level key from being saved.

bot_data is one dictionary, and so is the data of each user and chat. Where one of its top-level
values cannot be written, as a client or a function cannot, the others are, and the bad key keeps
its last good value. What is written in place of the value is its *saved form*:

    last saved    {"stats": 1, "positions": {}}
    live          {"stats": <function>, "positions": {"BTC": 1.5}, "client": <client>}
    saved form    {"stats": 1, "positions": {"BTC": 1.5}}

The bad keys are found by halves: of 64 items with one bad one, about a dozen dictionaries are tried
instead of 64. And a refused part is known again by its `fingerprint`, so that the search is not
repeated at each interval while nothing has changed.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from enum import Enum
from typing import Any, Final, NamedTuple, TypeAlias

from ptb_s3._format.entities import EntityKey, Kind, fault_of
from ptb_s3._values.allow_list import AllowList
from ptb_s3._values.copies import Uncopied, rebuilt, rest_of, some_of, unsaved_in
from ptb_s3._values.fingerprint import fingerprint
from ptb_s3._values.serializer import PickleSerializer, Serializer, dump
from ptb_s3.errors import SerializationError, UntrustedTypeError

# Kinds whose entities are dictionaries, unless the bot has context types of its own. Others are
# saved as a whole or not at all.
DIVISIBLE: Final = (Kind.USER_DATA, Kind.CHAT_DATA, Kind.BOT_DATA)
_NO_KEYS: Final = frozenset[Any]()

Unsaved: TypeAlias = Mapping[Kind, frozenset[Any]]
"""By kind, the top-level keys that are never saved."""
Items: TypeAlias = Sequence[tuple[Any, Any]]


class Part(Enum):
    """Part of an entity that is refused, where that is no single key."""

    WHOLE = "the entity as a whole"


class Refusal(NamedTuple):
    """Record of why a part cannot be saved: it holds no object of the data.

    The error itself would keep alive the frames that it was raised in, with all their values.

    Attributes:
        mark: Fingerprint of what was refused.
        error: The error's class.
        reason: The error's reason.
        path: The error's path to the culprit.
    """

    mark: bytes
    error: type[SerializationError]
    reason: str
    path: str

    def fault(self, kind: Kind, key: EntityKey) -> SerializationError:
        """Return the error to raise, with the entity that it is about."""
        return self.error(self.reason, path=self.path).locate(kind.value, key)


class Form(NamedTuple):
    """Saved form of a value.

    Attributes:
        value: The value that is written.
        data: Its bytes; None: nothing of it can be saved.
        refusals: Why parts cannot be saved, by top-level key or `Part.WHOLE`.
        unsaved: Top-level keys that are there and are never saved.
    """

    value: object
    data: bytes | None
    refusals: Mapping[Any, Refusal]
    unsaved: frozenset[Any]


class _Good(NamedTuple):
    """Last good values of refused keys, and the entity's bytes that they stand in."""

    data: bytes
    keys: frozenset[Any]
    values: dict[Any, Any]


class Forms:
    """Cache of refusals around a serializer: a refused part is not tried again until it changes.

    Args:
        serializer: Turns values into bytes.
        seen: Returns the bytes that an entity was last saved as, or loaded from.
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
        """Return the saved form of an entity's value.

        Args:
            kind: The entity's kind.
            key: Its key.
            value: Its value. It is not changed.
        """
        # Thousands of values have neither refusals nor unsaved keys, and are to take no time here.
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
        """Drop the refusals and last good values of an entity, as it is gone or good again."""
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
        """Return the form of a value that was refused before, or has just been (`fault`)."""
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
        """Return the form of a dictionary in which bad keys have their last good values.

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
        good = some_of(form.value, refusals)
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
        """Return the dictionary with last good values for refused keys, or without the keys."""
        good = self._last_good(kind, key, refusals.keys())
        kept = [(p, good.get(p, one)) for p, one in items if p not in refusals or p in good]
        shell = rebuilt(value, kept)
        return _Composed(shell, self._attempt(kind, key, shell))

    def _last_good(self, kind: Kind, key: EntityKey, parts: Collection[Any]) -> Mapping[Any, Any]:
        """Return the last good values of top-level keys, where they have any.

        Raises:
            SerializationError: The bytes that they stand in do not load.
        """
        seen, found = self._seen(kind, key), self._good.get((kind, key))
        if seen is None or not parts:
            return {}
        if found is not None and found.data == seen and found.keys.issuperset(parts):
            return found.values
        try:
            value = self._serializer.loads(seen)
        except Exception:  # noqa: BLE001 - any serializer may raise anything
            reason = (
                "it holds what cannot be saved, and its last good value does not load: mend what "
                "cannot be saved, or trusted= and aliases= for what does not load"
            )
            raise SerializationError(reason) from None
        return some_of(value, parts) if isinstance(value, dict) else {}

    def _search(
        self, kind: Kind, key: EntityKey, value: object, items: Items
    ) -> dict[Any, Refusal]:
        """Find the bad ones among items, by halves: one that can be saved is searched no further.

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
        """Return whether a value can be saved."""
        if type(self._serializer) is not PickleSerializer:
            return isinstance(self._attempt(kind, key, value), bytes)
        data = self._serializer.draft(value)
        return data is not None and fault_of(kind, key, data) is None

    def _attempt(self, kind: Kind, key: EntityKey, value: object) -> bytes | SerializationError:
        """Return a value as bytes, or the error that says why it cannot be saved."""
        try:
            return self._dump(kind, key, value)
        except SerializationError as fault:
            return fault

    def _dump(self, kind: Kind, key: EntityKey, value: object) -> bytes:
        """Return a value as bytes that head and blob can hold, with its key.

        Raises:
            SerializationError: It cannot be saved, or is too large.
        """
        if type(self._serializer) is not PickleSerializer:
            _refuse_uncopied(value)
        data = dump(self._serializer, value)
        fault = fault_of(kind, key, data)
        if fault is not None:
            raise SerializationError(fault)
        return data

    def _mark(self, value: object) -> bytes:
        return fingerprint(value, self._allow_list)

    def _refusal(self, fault: SerializationError, refused: object) -> Refusal:
        error = UntrustedTypeError if isinstance(fault, UntrustedTypeError) else SerializationError
        return Refusal(self._mark(refused), error, fault.reason, fault.path)


class _Composed(NamedTuple):
    """Dictionary without bad keys, and its bytes, or the error that says why there are none."""

    value: Any
    data: bytes | SerializationError


def _refuse_uncopied(value: object) -> None:
    """Refuse a placeholder that a serializer of the user's might write.

    Args:
        value: A dictionary, or a keyboard's time and buttons.

    Raises:
        SerializationError: One of its values is a placeholder.
    """
    parts = value[1] if isinstance(value, tuple) and value[1:] else value
    for one in dict.values(parts) if isinstance(parts, dict) else ():
        if type(one) is Uncopied:
            raise SerializationError(one.reason)
