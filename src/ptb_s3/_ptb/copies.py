"""Copy live data for a save, leaving out the parts that cannot be copied.

PTB hands copies to its persistence, since handlers go on changing the live objects. A value that
cannot be copied ends PTB's own updates of the persistence for good. Here, one bad part costs as
little as it can: of a dictionary, only its own top-level key is left out; the persistence keeps the
last good value there, and the part goes with the first save that can copy it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from typing import Any, NamedTuple, TypeAlias, cast

from ptb_s3._format.entities import EntityKey, Kind
from ptb_s3._ptb.commit_report import CommitReport
from ptb_s3._ptb.internals import Marks
from ptb_s3._values.callback_data import CallbackData
from ptb_s3._values.copies import Uncopied, rebuilt, rest_of, unsaved_in
from ptb_s3._values.partial_saves import DIVISIBLE, Unsaved
from ptb_s3._values.plain_copies import deep_copy
from ptb_s3.errors import SerializationError


class CopyFailure(NamedTuple):
    """Parts of an entity that could not be copied.

    Attributes:
        why: Name of the error's class, if nothing of the entity could be copied.
        keys: Else, the keys whose values could not be copied.
    """

    why: str = ""
    keys: frozenset[Any] = frozenset()


CopyFailures: TypeAlias = Mapping[tuple[Kind, EntityKey], CopyFailure]


class Copies:
    """Copier of one save's values, which marks for the next save those that it cannot copy.

    Args:
        failed_before: Failures of the last save, which were reported then.
        failures: List that new failures are added to.
        unsaved: Top-level keys that are never saved, and so not copied, by kind. None for a
            persistence that is not ours: it knows no placeholders, and so gets no copy of an
            entity that has a part which cannot be copied.
        report: Report of the group commit that the values are for, if there is one.

    Attributes:
        failed: Failures of this save.
        failures: As above.
    """

    def __init__(
        self,
        failed_before: CopyFailures,
        failures: list[Exception],
        unsaved: Unsaved | None,
        report: CommitReport | None,
    ) -> None:
        self._failed_before = failed_before
        self.failed: dict[tuple[Kind, EntityKey], CopyFailure] = {}
        self.failures = failures
        self._unsaved = unsaved
        self._report = report

    def of(self, kind: Kind, items: Iterable[tuple[Any, Any]]) -> dict[Any, Any]:
        """Return copies, by key, of the values that can be copied at least in part.

        Args:
            kind: Kind of the values.
            items: Keys and live values.
        """
        copies: dict[Any, Any] = {}
        unsaved = (self._unsaved or {}).get(kind, frozenset())
        at_once = not (unsaved or self._failed_before)
        for key, value in items:
            if at_once:  # as nearly always, and there may be thousands
                try:
                    copies[key] = deep_copy(value)
                except Exception:  # noqa: BLE001, S110 - objects' own code may raise anything
                    pass
                else:
                    continue
            try:
                copies[key] = self._copy(kind, key, value, unsaved)
            except Exception as error:  # noqa: BLE001 - as above
                self._note(kind, key, type(error).__name__)
        return copies

    @property
    def marks(self) -> Marks:
        """Return the marks of what has to go with the next save, since it failed in this one."""
        marks = Marks(
            {Kind.USER_DATA: set(), Kind.CHAT_DATA: set()},
            {Kind.USER_DATA: set(), Kind.CHAT_DATA: set()},
            {},
        )
        for kind, key in self.failed:
            if kind is Kind.CONVERSATIONS:
                name, own = cast("Any", key)
                marks.conversations.setdefault(name, set()).add(own)
            elif kind in marks.changed:  # PTB hands over the other kinds with each save
                marks.changed[kind].add(cast("int", key))
        return marks

    def _copy(self, kind: Kind, key: Any, value: Any, unsaved: Collection[Any]) -> object:  # noqa: ANN401 - an entity's
        """Copy a value as far as it can be copied, and note the rest.

        Raises:
            Exception: Nothing of it can be copied.
        """
        copy: object
        if self._unsaved is not None and kind is Kind.CALLBACK_DATA:
            copy, keys = _buttons(value)
        elif self._unsaved is not None and kind in DIVISIBLE and isinstance(value, dict):
            before = self._failed_before.get((kind, key), CopyFailure()).keys
            copy, keys = _parts(rest_of(value, unsaved_in(unsaved, value)), before)
        else:
            return deep_copy(value)
        if keys:
            self.failed[kind, key] = CopyFailure(keys=keys)
        return copy

    def _note(self, kind: Kind, key: Any, why: str) -> None:  # noqa: ANN401 - an entity's
        self.failed[kind, key] = CopyFailure(why)
        # Without the error itself, whose text may quote the value.
        fault = SerializationError(f"it cannot be copied ({why})").locate(kind.value, key)
        if self._failed_before.get((kind, key)) != self.failed[kind, key]:
            self.failures.append(fault)
        if self._report is not None:
            self._report.tell([fault])


def _buttons(data: CallbackData) -> tuple[CallbackData, frozenset[Any]]:
    """Copy callback data keyboard by keyboard.

    Returns:
        The copy, and the ids of the keyboards that have placeholders.
    """
    keyboards, queries = data
    copied, failed = [], set()
    for uuid, time, buttons in keyboards:
        copy, keys = _parts(buttons)
        copied.append((uuid, time, copy))
        if keys:
            failed.add(uuid)
    return (copied, deep_copy(queries)), frozenset(failed)


def _parts(
    value: dict[Any, Any], suspects: Collection[Any] = ()
) -> tuple[dict[Any, Any], frozenset[Any]]:
    """Copy a dictionary with placeholders for values that cannot be copied.

    Args:
        value: Dictionary to copy.
        suspects: Keys that are tried first: if these alone are bad, the rest is copied at once.

    Returns:
        The copy, and the keys that have placeholders.

    Raises:
        Exception: Not its values, but the dictionary itself cannot be copied.
    """
    with suppress(Exception):
        return _copied_but(value, suspects)
    return _copied_but(value, dict.keys(value))


def _copied_but(
    value: dict[Any, Any], tried: Collection[Any]
) -> tuple[dict[Any, Any], frozenset[Any]]:
    """Copy a dictionary, trying some of its keys one by one for values that cannot be copied."""
    bad = {key: mark for key in tried if (mark := _placeholder(value, key)) is not None}
    if bad:
        value = rebuilt(value, [(key, bad.get(key, one)) for key, one in dict.items(value)])
    return deep_copy(value), frozenset(bad)


def _placeholder(value: dict[Any, Any], key: Any) -> Uncopied | None:  # noqa: ANN401 - a dictionary's
    """Return a placeholder for a value that cannot be copied, or None."""
    try:
        deep_copy(dict.get(value, key))
    except Exception as error:  # noqa: BLE001 - objects' own code may raise anything
        return Uncopied(type(error).__name__)
    return None
