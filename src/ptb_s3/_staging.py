"""What PTB hands over, on its way to bytes: what of it is a change, and what can be written."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy

from ptb_s3 import _codec
from ptb_s3._codec import PickleSerializer, Serializer
from ptb_s3._group import Update
from ptb_s3._repository import Repository
from ptb_s3._sameness import alike
from ptb_s3._sets import may_make_sets
from ptb_s3._state import Key, Kind, fault_of
from ptb_s3.errors import OvertakenError, PersistenceError, SerializationError


class Staging:
    """Serialises entities and stages those that have changed.

    Args:
        repository: Where they are staged.
        serializer: Turns values into bytes.
    """

    def __init__(self, repository: Repository, serializer: Serializer) -> None:
        self._repository = repository
        self._serializer = serializer
        # What fresh objects are written as, where those are not the bytes they were made from.
        self._alike: dict[tuple[Kind, Key], tuple[bytes | None, bytes]] = {}

    def note_unchanged(self, kind: Kind, values: Mapping[Key, object]) -> None:
        """Note what PTB's copies of objects are written as while nobody has changed them.

        Those may be other bytes than the ones they were made from: which strings are one and the
        same object, for one, is part of a pickle. So an idle bot, whose bot_data PTB sends in every
        interval, would make a commit after each start.

        Args:
            kind: Whose entities they are.
            values: The objects as they were just made, or as a type makes them for what never was.
        """
        for key, value in values.items():
            seen = self._repository.staged.seen(kind, key)
            try:
                data = _codec.dump(self._serializer, deepcopy(value))
            except Exception:  # noqa: BLE001, S112 - said by PTB's own copy, or when it is saved
                continue
            if data != seen:
                self._alike[kind, key] = seen, data

    def stage(self, update: Update) -> None:
        """Serialise and stage what a call hands over; a fault is that of its entity alone."""
        kind, values = update.kind, update.values
        for key in self._gone(kind, values) if update.whole else update.dropped:
            try:
                self._repository.staged.drop(kind, key)
            except Exception as error:  # noqa: BLE001 - a key's own code may raise anything
                update.faults.append(_fault(kind, key, error))
        for key, value in values.items():
            try:
                self._stage_value(kind, key, value)
            except OvertakenError:
                pass  # all is taken back, as the commit says
            except Exception as error:  # noqa: BLE001 - see `_fault`
                update.faults.append(_fault(kind, key, error))

    def _stage_value(self, kind: Kind, key: Key, value: object) -> None:
        data = self._dump(kind, key, value)
        if self._alike:
            alike = self._alike.get((kind, key))
            if alike is not None and alike == (self._repository.staged.seen(kind, key), data):
                return
        if not self._is_seen(kind, key, value, data):
            self._repository.stage(kind, key, data)

    def _is_seen(self, kind: Kind, key: Key, value: object, data: bytes) -> bool:
        """Tell whether these are but other bytes of what was seen: of sets that have no order.

        As where elements lead back to the set. To write them again is no change, and each copy has
        bytes of its own. Those of a change have another length as a rule, which costs no look.
        """
        seen = self._repository.staged.seen(kind, key)
        if seen is None or data == seen or len(data) != len(seen):
            return False
        if type(self._serializer) is not PickleSerializer or not may_make_sets(data):
            return False
        try:
            return alike(value, self._serializer.loads(seen))
        except Exception:  # noqa: BLE001 - objects' own code may raise anything
            return False

    def _gone(self, kind: Kind, values: Mapping[Key, object]) -> list[Key]:
        """Return what is not among all values any more, and was, as far as PTB has seen."""
        staged = self._repository.staged
        # What others have deleted as well: if it comes back, PTB is not to be taken to have it.
        known = staged.entities(kind).keys() | staged.overtaken[kind].keys()
        return [key for key in known - values.keys() if staged.seen(kind, key) is not None]

    def _dump(self, kind: Kind, key: Key, value: object) -> bytes:
        """Return a value as bytes that head and blob can hold, with its key.

        Raises:
            SerializationError: They cannot.
        """
        data = _codec.dump(self._serializer, value)
        fault = fault_of(kind, key, data)
        if fault is not None:
            raise SerializationError(fault)
        return data


def _fault(kind: Kind, key: Key, error: Exception) -> PersistenceError:
    """Return what to say of an entity that could not be staged, for whatever reason."""
    if isinstance(error, SerializationError):
        return error.locate(kind.value, key)
    if isinstance(error, PersistenceError):
        return error
    # Without the error itself: its text may quote what is in the value.
    return SerializationError(f"to stage it raised {type(error).__name__}").locate(kind.value, key)
