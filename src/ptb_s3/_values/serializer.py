"""Values to bytes and back: the serializers, and all the values of a kind at once.

What may stand in a pickle is `pickling`'s; in which order sets do, `sets`'s; which form it has,
`shared_strings`'s.
"""

from __future__ import annotations

import contextlib
import copy
import gc
import io
import pickle
import warnings
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Final, Protocol, Self, TypeVar

from telegram import Bot
from telegram.warnings import PTBUserWarning

from ptb_s3._format.words import is_bare
from ptb_s3._values.allow_list import AllowList, is_value_name, is_within
from ptb_s3._values.first_party import MAIN, own_modules, what_main_is
from ptb_s3._values.pickling import sets
from ptb_s3._values.pickling.main_names import respell, respell_all
from ptb_s3._values.pickling.pickler import (
    BUILT_IN,
    PROTOCOL,
    NumberingPickler,
    Pickler,
    SlowPickler,
    explain,
)
from ptb_s3._values.pickling.uninterned import Apart
from ptb_s3._values.pickling.unpickler import (
    CarefulUnpickler,
    HoldsBotError,
    NamingUnpickler,
    UnknownClassError,
    Unpickler,
)
from ptb_s3._values.remedies import remedies
from ptb_s3._values.shared_strings import Memo, Words, has_bare_form, strip
from ptb_s3.errors import (
    DamagedObjectError,
    SerializationError,
    UnfitTypeError,
    UnknownTypeError,
)

K = TypeVar("K", bound=Hashable)

_FOREIGN_BOT: Final = (
    "The data holds another bot, or objects that belong to one. Once loaded they belong to none, "
    "so shortcuts such as message.reply_text will fail."
)
# Values at a time from which on their objects are better put past the collector. To do that starts
# its count anew, and so a bot that reads one value after another would never collect anything.
_MANY: Final = 1_000
# Values that are loaded in one go.
_AT_ONCE: Final = 250


class Serializer(Protocol):
    """Turns one value into bytes and back: what `serializer=` takes.

    Attributes:
        id: Stands in the header of every object, and so tells who can read it.
    """

    @property
    def id(self) -> str: ...

    def dumps(self, value: object) -> bytes:
        """Return the value as bytes; an unchanged value must give the same bytes."""
        ...

    def loads(self, data: bytes) -> object:
        """Return the value that these bytes were made from, as a fresh object."""
        ...


def _no_words() -> tuple[str, ...]:
    return ()


class PickleSerializer:
    """Pickle, fenced: the serializer that is used unless `serializer=` names another.

    Besides plain containers and scalars it takes value types of the standard library such as
    `datetime`, `Decimal`, `UUID` or `Path`, telegram's objects and enums, and classes defined in
    trusted modules. Objects of telegram belong to the bot again once they are loaded; those of
    another bot belong to none.

    Args:
        trusted: Modules whose classes may be saved and loaded, with their submodules. None: what is
            the own of whoever makes this; see `S3Persistence`.
        aliases: Classes that have moved or got another name, by their old full name, such as
            ``{"shop.Basket": shop.cart.Cart}``. They are thereby trusted.
        bot: Returns the bot, or None as long as there is none.

    Raises:
        SettingsError: `trusted` is a single text, or an alias is no class.
    """

    id: Final = "pickle5"

    def __init__(
        self,
        *,
        trusted: Sequence[str] | None = None,
        aliases: Mapping[str, type] | None = None,
        bot: Callable[[], Bot | None] = lambda: None,
    ) -> None:
        main, is_it = what_main_is()
        trusted = own_modules() if trusted is None else trusted
        self._allow_list = AllowList(trusted, aliases or {}, main=main, main_is_it=is_it)
        self._bound = {"allow_list": self._allow_list, "bot": staticmethod(bot)}
        self._share = _no_words
        self._bind(Words(()))
        self._warned = False

    @property
    def allow_list(self) -> AllowList:
        """:class:`AllowList`: The allow-list."""
        return self._allow_list

    def sharing(self, words: Callable[[], tuple[str, ...]]) -> Self:
        """Return a serializer for one store, of values that share its words.

        Args:
            words: Returns the words that the store's head names. There may be more of them each
                time, and those that were there stay as they are.
        """
        serializer = copy.copy(self)
        serializer._share = words  # noqa: SLF001 - of this class
        serializer._bind(Words(()))  # noqa: SLF001 - as above
        return serializer

    def _bind(self, words: Words) -> None:
        # To classes: to set all that on each of a hundred thousand unpicklers takes a while.
        self._bound_words = words
        writing = {**self._bound, "reductions": {}, "apart": Apart({})}
        self._pickler: type[Pickler] = type("_Pickler", (Pickler,), writing)
        slowly = {**writing, "reductions": dict.fromkeys(BUILT_IN)}
        self._slow_pickler: type[SlowPickler] = type("_SlowPickler", (SlowPickler,), slowly)
        self._of_words = Apart(words.own)
        numbering = {**writing, "numbers": words.numbers}
        self._numbering = type("_NumberingPickler", (NumberingPickler,), numbering)
        bound = {**self._bound, "words": words}
        self._unpickler = type("_Unpickler", (Unpickler,), bound)
        self._naming = type("_NamingUnpickler", (NamingUnpickler,), bound)
        self._careful = type("_CarefulUnpickler", (CarefulUnpickler,), bound)

    @property
    def _words(self) -> Words:
        spelled = self._share()
        if spelled != self._bound_words.spelled:
            self._bind(Words(spelled))
        return self._bound_words

    def dumps(self, value: object) -> bytes:
        """Return a value as bytes.

        Raises:
            UntrustedTypeError: It holds an object of a class that is not on the list.
            SerializationError: It holds something else that cannot be saved.
        """
        words = self._words
        bare = self._dump_bare(value, words) if words.spelled else None
        return self._dump(value) if bare is None else bare

    def _dump_bare(self, value: object, words: Words) -> bytes | None:
        noted = self._dump(value, memo=words.noting)
        if words.in_full.search(noted):
            value = self._with_words(value)
            noted = self._dump(value, memo=words.noting)
        if not has_bare_form(noted):
            return None
        if sets.may_hold_sets(noted) and sets.holds_sets(value, self._pickler.to):
            return None
        of_main: list[type] = []
        bare = strip(noted, self._dump(value, memo=words.memo, fast=True, of_main=of_main))
        if bare is None or not of_main:
            return bare
        if MAIN in words.own:  # or that is not spelled where it names a module
            return None
        return respell_all(bare, of_main, str(self._allow_list.main))

    def _with_words(self, value: object) -> object:
        """Return a copy that has the words themselves where the value has strings of its own.

        As it does if it was saved before its store had words, or if they come from elsewhere.
        """
        file = io.BytesIO()
        with contextlib.suppress(Exception):  # what cannot be copied that way can yet be saved
            self._numbering(file, PROTOCOL).dump(value)
            return self._load_pickle(file.getvalue())
        return value

    def _dump(
        self,
        value: object,
        *,
        memo: Memo | None = None,
        fast: bool = False,
        of_main: list[type] | None = None,
    ) -> bytes:
        file = io.BytesIO()
        pickler = self._pickler(file, PROTOCOL)
        if memo is not None:
            pickler.memo, pickler.fast, pickler.apart = memo, fast, self._of_words
        try:
            pickler.dump(value)
            data = file.getvalue()
            if memo is None:
                data = self._finish(value, data, pickler)
            elif of_main is not None:
                of_main += pickler.of_main or ()
        except Exception as error:  # noqa: BLE001 - objects' own code may raise anything
            failure = explain(error, pickler, value)
        else:
            if pickler.foreign and not self._warned:
                self._warned = True
                warnings.warn(_FOREIGN_BOT, PTBUserWarning, stacklevel=3)
            return data
        # Here, where no exception is being handled: a chained one would show values in a log.
        raise failure

    def draft(self, value: object) -> bytes | None:
        """Return about the bytes of a value; None: it cannot be saved, and nobody looks for why."""
        file = io.BytesIO()
        with contextlib.suppress(Exception):  # objects' own code may raise anything
            self._pickler(file, PROTOCOL).dump(value)
            return file.getvalue()
        return None

    def _finish(self, value: object, data: bytes, pickler: Pickler) -> bytes:
        """Return a pickle with its sets in order, and classes of ``__main__`` by another name."""
        may_hold_sets = sets.may_hold_sets(data)
        if not pickler.of_main:
            return sets.write(value, data, pickler, pickler.to) if may_hold_sets else data
        module = str(self._allow_list.main)
        respelled = None if may_hold_sets else respell(data, pickler.of_main, module, pickler.memo)
        if respelled is not None:
            return respelled
        file = io.BytesIO()
        slow = self._slow_pickler(file, PROTOCOL)
        slow.dump(value)
        data = file.getvalue()
        return sets.write(value, data, slow, slow.to) if may_hold_sets else data

    def loads(self, data: bytes) -> object:
        """Return the value that these bytes were made from.

        Raises:
            UnknownClassError: Classes are gone, or not trusted.
            Exception: The bytes are damaged, or a class does not take its own old state. See
                `load_all`, which tells these from one another.
        """
        if is_bare(data):
            (value,) = self._load_bare([data])
            return value
        return self._load_pickle(data)

    def loads_many(self, data: Sequence[bytes]) -> list[object]:
        """Return the values of many, in one go.

        Raises:
            Exception: One does not load. See `loads`, which tells why if it is asked for each.
        """
        bare = iter(self._load_bare([one for one in data if is_bare(one)]))
        return [next(bare) if is_bare(one) else self._load_pickle(one) for one in data]

    def classes_in(self, data: bytes) -> frozenset[str]:
        """Return the classes whose own code these bytes run, by full name, if they are intact.

        Of bytes that are damaged, none.
        """
        whole = self._words.complete([data]) if is_bare(data) else data
        reader = self._naming(io.BytesIO(whole))
        with contextlib.suppress(Exception):
            reader.load()
            return frozenset(name for name in reader.unknown if not is_value_name(name))
        return frozenset()

    def _load_bare(self, data: Sequence[bytes]) -> list[object]:
        values = self._load_pickle(self._words.complete(data)) if data else []
        if not isinstance(values, list) or len(values) != len(data):
            raise pickle.UnpicklingError("not as many values as there should be")
        return values

    def _load_pickle(self, data: bytes) -> object:
        try:
            return self._load(self._unpickler, data)
        except HoldsBotError:
            return self._load(self._careful, data)

    def _load(self, unpickler: type[Unpickler | CarefulUnpickler], data: bytes) -> object:
        file = io.BytesIO(data)
        reader = unpickler(file)
        try:
            value = reader.load()
        except HoldsBotError:
            raise
        except Exception:
            if reader.unknown:  # and whatever a stand-in led to is of no interest
                raise UnknownClassError(reader.unknown) from None
            raise
        if reader.unknown:
            raise UnknownClassError(reader.unknown)
        if file.read(1):
            raise pickle.UnpicklingError("bytes after the end of the pickle")
        return value


def dump(serializer: Serializer, value: object) -> bytes:
    """Return a value as bytes, made by any serializer.

    Raises:
        SerializationError: The value cannot be saved, whatever the serializer raised.
    """
    try:
        data: object = serializer.dumps(value)
    except SerializationError:
        raise
    except Exception as error:  # noqa: BLE001 - somebody else's serializer may raise anything
        reason = f"serializer {serializer.id!r} raised {type(error).__name__}"
    else:
        if isinstance(data, bytes):
            return data
        reason = f"serializer {serializer.id!r} returned {type(data).__name__}, not bytes"
    raise SerializationError(reason)


def _classes_in(serializer: Serializer, data: bytes) -> frozenset[str]:
    return serializer.classes_in(data) if isinstance(serializer, PickleSerializer) else frozenset()


def _advice(names: Sequence[str]) -> str:
    """Return what helps against classes that are gone or not trusted."""
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


def _load_together(serializer: Serializer, data: Sequence[bytes]) -> list[object]:
    """Return the values of many; nothing where one does not load, or that is not known to work."""
    if type(serializer) is PickleSerializer:  # a class made from it may do things its own way
        with contextlib.suppress(Exception):
            return serializer.loads_many(data)
    return []


@contextlib.contextmanager
def no_collection() -> Iterator[None]:
    """Pause Python's cyclic collector while much is built; `load_all` says why."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def put_past_collector(values: int) -> None:
    """Have the collector not look at what there is now, if so many values were just built.

    PTB's deep copies bring about a full pass every few intervals, and that would walk through all
    of them for 3 s at a million users, on the loop, and find nothing.
    """
    if values >= _MANY:
        gc.freeze()


def load_all(
    serializer: Serializer, kind: str, items: Iterable[tuple[K, bytes]], *, lasting: bool = False
) -> dict[K, object]:
    """Return the values of a kind, by key, made from their bytes by any serializer.

    Python's cyclic garbage collector is paused meanwhile. With it, this takes two to four times as
    long, since it walks through all that is there again and again and finds nothing.

    Args:
        serializer: What made the bytes.
        kind: Name of the kind, for errors.
        items: Keys and bytes.
        lasting: Whether they are kept for as long as the process runs. Then, at many values, the
            collector does not look later, either: they go when nobody refers to them any more.

    Raises:
        DamagedObjectError: Some bytes do not give a value.
        UnknownTypeError: Else, classes are gone, or not trusted. Names all of them.
        UnfitTypeError: Else, a class does not take what it once gave.
    """
    values: dict[K, object] = {}
    unknown: dict[K, frozenset[str]] = {}
    unfit: dict[K, frozenset[str]] = {}
    damaged: dict[K, frozenset[str]] = {}
    damage: set[str] = set()
    misfits: set[str] = set()
    entries = iter(items)
    with no_collection():
        while part := list(islice(entries, _AT_ONCE)):
            loaded = _load_together(serializer, [data for _, data in part])
            values.update(zip((key for key, _ in part), loaded, strict=False))
            for key, data in part if not loaded else ():
                try:
                    values[key] = serializer.loads(data)
                except UnknownClassError as error:
                    unknown[key] = error.names
                except Exception as error:  # noqa: BLE001 - bad bytes may raise anything
                    refused = isinstance(error, pickle.UnpicklingError)  # by the reader itself
                    classes = frozenset() if refused else _classes_in(serializer, data)
                    (misfits if classes else damage).add(type(error).__name__)
                    (unfit if classes else damaged)[key] = classes
        if lasting:
            put_past_collector(len(values))
    if damaged:
        what = f"{len(damaged)} of its values do not load ({', '.join(sorted(damage))})"
        raise DamagedObjectError(kind, what)
    if unknown:
        names = sorted(frozenset().union(*unknown.values()))
        raise UnknownTypeError(kind, names, list(unknown), advice=_advice(names))
    if unfit:
        names = sorted(frozenset().union(*unfit.values()))
        raise UnfitTypeError(kind, names, list(unfit), sorted(misfits))
    return values
