"""Loading: all values of a kind from their bytes, with every failure in one error.

Values are read in groups, since one pickle of many bare values loads faster than many pickles. And
Python's cyclic collector is paused meanwhile, as it walks through all that is there again and again
and finds nothing.

What does not load is told at once and in full, so that one restart can mend it all:

| error | the bytes | remedy |
|---|---|---|
| `DamagedObjectError` | are no value | restore an older version |
| `UnknownTypeError` | name classes that are gone or not trusted | `trusted=`, `aliases=` |
| `UnfitTypeError` | are whole, and a class refuses its own old state | mend its `__setstate__` |
"""

from __future__ import annotations

import contextlib
import gc
import pickle
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Final, TypeVar

from ptb_s3._values.allow_list import is_within
from ptb_s3._values.first_party import MAIN
from ptb_s3._values.pickling.unpickler import UnknownClassError
from ptb_s3._values.remedies import remedies
from ptb_s3._values.serializer import PickleSerializer, Serializer
from ptb_s3.errors import DamagedObjectError, UnfitTypeError, UnknownTypeError

K = TypeVar("K", bound=Hashable)

# Values at a time from which on their objects are put past the collector. To do that starts its
# count anew, so a bot that reads one value after another would never collect anything.
_MANY: Final = 1_000
# Values that are loaded as one group.
_GROUP: Final = 250


@contextlib.contextmanager
def no_collection() -> Iterator[None]:
    """Pause Python's cyclic collector while much is built."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def put_past_collector(values: int) -> None:
    """Exempt all present objects from the cyclic collector, if many values were just built.

    PTB's deep copies bring about a full pass every few intervals, and that would walk through all
    of them for 3 s at a million users, on the loop, and find nothing. Objects still go when nobody
    refers to them any more.

    Args:
        values: How many were built.
    """
    if values >= _MANY:
        gc.freeze()


def load_all(
    serializer: Serializer, kind: str, items: Iterable[tuple[K, bytes]], *, lasting: bool = False
) -> dict[K, object]:
    """Return the values of a kind, by key, made from their bytes by any serializer.

    Python's cyclic collector is paused meanwhile: with it, this takes two to four times as long.

    Args:
        serializer: The serializer that made the bytes.
        kind: Name of the kind, for errors.
        items: Keys and bytes.
        lasting: Whether they are kept for as long as the process runs, so that the collector need
            not look at them later, either.

    Raises:
        DamagedObjectError: Some bytes do not give a value.
        UnknownTypeError: Else, classes are gone, or not trusted. Names all of them.
        UnfitTypeError: Else, a class does not take what it once gave.
    """
    values: dict[K, object] = {}
    failures = _Failures(serializer)
    entries = iter(items)
    with no_collection():
        while group := list(islice(entries, _GROUP)):
            loaded = _load_together(serializer, [data for _, data in group])
            values.update(zip((key for key, _ in group), loaded, strict=False))
            for key, data in group if not loaded else ():
                try:
                    values[key] = serializer.loads(data)
                except Exception as error:  # noqa: BLE001 - bad bytes may raise anything
                    failures.note(key, data, error)
        if lasting:
            put_past_collector(len(values))
    failures.report(kind)
    return values


def _load_together(serializer: Serializer, data: Sequence[bytes]) -> list[object]:
    """Return the values of a group.

    Returns:
        The values, or nothing: one does not load, or the serializer is not known to take groups.
    """
    if type(serializer) is PickleSerializer:  # a class made from it may do things its own way
        with contextlib.suppress(Exception):
            return serializer.loads_many(data)
    return []


class _Failures:
    """Collector of values that do not load, sorted by the remedy.

    Args:
        serializer: The serializer that refused them.
    """

    def __init__(self, serializer: Serializer) -> None:
        self._serializer = serializer
        # By key, the classes that it is about.
        self._unknown: dict[object, frozenset[str]] = {}
        self._unfit: dict[object, frozenset[str]] = {}
        # Names of errors. Their texts may quote values.
        self._misfits: set[str] = set()
        self._damage: list[str] = []

    def note(self, key: object, data: bytes, error: Exception) -> None:
        """Note that a value does not load.

        Bytes that are whole and name a class of somebody's are not damaged: it is the class that
        does not take its own old state.

        Args:
            key: The entity's key.
            data: The value's bytes.
            error: What they raised.
        """
        if isinstance(error, UnknownClassError):
            self._unknown[key] = error.names
            return
        refused = isinstance(error, pickle.UnpicklingError)  # by the reader itself
        classes = frozenset() if refused else _classes_in(self._serializer, data)
        if classes:
            self._unfit[key] = classes
            self._misfits.add(type(error).__name__)
        else:
            self._damage.append(type(error).__name__)

    def report(self, kind: str) -> None:
        """Raise the gravest failure, if there is one, with all keys and classes that it is about.

        Raises:
            PersistenceError: As `load_all` has it.
        """
        if self._damage:
            errors = ", ".join(sorted(set(self._damage)))
            reason = f"{len(self._damage)} of its values do not load ({errors})"
            raise DamagedObjectError(kind, reason)
        if self._unknown:
            names = _all_of(self._unknown)
            raise UnknownTypeError(kind, names, list(self._unknown), advice=_advice(names))
        if self._unfit:
            names, keys = _all_of(self._unfit), list(self._unfit)
            raise UnfitTypeError(kind, names, keys, sorted(self._misfits))


def _all_of(named: Mapping[object, frozenset[str]]) -> list[str]:
    return sorted(frozenset().union(*named.values()))


def _classes_in(serializer: Serializer, data: bytes) -> frozenset[str]:
    return serializer.classes_in(data) if isinstance(serializer, PickleSerializer) else frozenset()


def _advice(names: Sequence[str]) -> str:
    """Return advice against classes that are gone or not trusted, in sentences."""
    parted = [(module, name) for module, _, name in (full.rpartition(".") for full in names)]
    of_ptb = [".".join(pair) for pair in parted if is_within(pair[0], ["telegram"])]
    others = [pair for pair in parted if not is_within(pair[0], ["telegram", MAIN])]
    advice = remedies(others, "trusted=(...)")
    if of_ptb:
        advice += (
            f" {', '.join(of_ptb)}: install a version of python-telegram-bot that has it, such as "
            "the one that saved it."
        )
    return advice.strip()
