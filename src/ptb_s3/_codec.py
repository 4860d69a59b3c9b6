"""Values to bytes and back, and what every pickler and unpickler of the project has in common.

A pickle is a program: whoever writes it chooses what its reader calls. So both directions pass one
fence, an allow-list of classes; functions are on no list. What may not be read may not be written,
so that a value which could not come back is refused when it is first saved, not when it is needed.

What the fence cannot do is bound what allowed classes are told to do. A hostile pickle can ask for
a petabyte, reserve a gigabyte by the number of a memo, nest tuples until hashing them ends the
process, or set attributes of trusted classes to values that are themselves allowed. That no hostile
bytes get here is the business of the container, which authenticates them; the fence is there for
the day when a key has leaked.
"""

from __future__ import annotations

import collections
import contextlib
import copy
import copyreg
import functools
import gc
import io
import operator
import pickle
import reprlib
import types
import warnings
import weakref
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from enum import Enum
from itertools import islice
from typing import Any, Final, NoReturn, Protocol, Self, TypeVar
from zoneinfo import ZoneInfo

from telegram import Bot, TelegramObject
from telegram.warnings import PTBUserWarning

from ptb_s3._fence import Fence, Member, SetBot, TheBot, full_name, is_value_type
from ptb_s3._words import Memo, Words, has_bare_form, is_bare, strip
from ptb_s3.errors import (
    DamagedObjectError,
    SerializationError,
    UnknownTypeError,
    UntrustedTypeError,
)

K = TypeVar("K", bound=Hashable)

_PROTOCOL: Final = 5

# Values looked at in search of a culprit before giving up: about 0.2 s.
_MAX_VISITED: Final = 100_000
# Steps from the top; a value this far down is taken for what made the recursion too deep.
_TOO_DEEP: Final = 100
# Characters of a path: enough to find the place, not enough to quote all that lies on the way.
_MAX_PATH: Final = 200

_FOREIGN_BOT: Final = (
    "The data holds another bot, or objects that belong to one. Once loaded they belong to none, "
    "so shortcuts such as message.reply_text will fail."
)

# Sets the state of an object, in the unpickler that is written in Python.
_BUILD: Final = pickle._Unpickler.dispatch[pickle.BUILD[0]]  # noqa: SLF001 - no other way in
_FUNCTIONS: Final = (types.FunctionType, types.BuiltinFunctionType, types.MethodType)
# Values at a time from which on their objects are better put past the collector. To do that starts
# its count anew, and so a bot that reads one value after another would never collect anything.
_MANY: Final = 1_000
# Values that are loaded in one go.
_AT_ONCE: Final = 250
# Keys in a path: whole, if they are of a usual length.
_REPR: Final = reprlib.Repr()
_REPR.maxstring = _REPR.maxother = 100
# Stands for whatever lies too deep, where a culprit is asked for.
_DEEP: Final = object()
# Objects whose attributes are not part of the data.
_NO_PARTS: Final = (*_FUNCTIONS, type, types.ModuleType, Bot)
# What a reader does where a pickle names one of the format's own marks.
_MARKS: Final[Mapping[type, str]] = {SetBot: "_set_bot", TheBot: "_get_bot", Member: "_get_member"}


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


class UnknownClassError(Exception):
    """A pickle names classes that are gone or not trusted. `load_all` gathers these.

    Attributes:
        names: Full names of the classes.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self.names = frozenset(names)
        super().__init__(", ".join(sorted(self.names)))


def _class_name(obj: object) -> str:
    return full_name(obj if isinstance(obj, type) else type(obj))


class Writing:
    """What all picklers do: write what the fence allows.

    Pickle asks `reducer_override` about each class, function and instance of other than plain
    built-in types, so plain data costs no call. (`persistent_id` would be called for every object.)

    Attributes:
        fence: The allow-list.
        bot: Returns the bot that the data belongs to.
        reductions: Name of the method that reduces the instances of each class met so far; None:
            it is done as usual.
        last: What pickle asked about last: the culprit, should it fail.
        refusal: Why we refused, if it was us.
        foreign: Whether another bot was seen.
    """

    fence: Fence
    bot: Callable[[], Bot | None]
    reductions: dict[type, str | None]
    last: object = None
    refusal: SerializationError | None = None
    foreign = False

    def reducer_override(self, obj: object) -> Any:  # noqa: ANN401 - a dozen shapes
        """Return how to rebuild an object, or NotImplemented to let pickle decide."""
        self.last = obj
        try:
            reduce = self.reductions[type(obj)]
        except KeyError:
            reduce = self.reductions[type(obj)] = self._choose(obj)
        return NotImplemented if reduce is None else getattr(self, reduce)(obj)

    def _choose(self, obj: object) -> str | None:
        cls = type(obj)  # not isinstance: a proxy lies about its class
        if issubclass(cls, (type, Bot)):
            return "_reduce_class" if issubclass(cls, type) else "_reduce_bot"
        if not self.fence.allows(cls):
            self._refuse(obj)
        if issubclass(cls, (Enum, ZoneInfo)):
            return "_reduce_enum" if issubclass(cls, Enum) else "_reduce_zone"
        default = cls.__reduce_ex__ is object.__reduce_ex__ and cls.__reduce__ is object.__reduce__
        if not is_value_type(cls):  # what these reduce to is known
            if not default or cls in copyreg.dispatch_table:
                return "_reduce_custom"
            if issubclass(cls, TelegramObject):
                return "_reduce_telegram"
        return None

    def _reduce_class(self, cls: type) -> object:
        if not self.fence.allows(cls):
            self._refuse(cls)
        return NotImplemented

    def _reduce_bot(self, bot: Bot) -> object:
        own = bot is self.bot()
        self.foreign = self.foreign or not own
        return TheBot, (own,)

    def _reduce_enum(self, member: Enum) -> object:
        # By value, on every Python: some have a call of getattr in its place.
        return type(member), (member._value_,)

    def _reduce_zone(self, zone: ZoneInfo) -> object:
        # Its own reduction is a class method, which takes getattr to load.
        if zone.key is None:
            self._stop(SerializationError("a time zone that has no key cannot be pickled"))
        return type(zone), (zone.key,)

    def _reduce_telegram(self, obj: TelegramObject) -> object:
        # The state that it gives leaves out the bot, and without one message.reply_text fails after
        # a restart. SetBot, called by the reader with object and state, adds it again.
        bot = getattr(obj, "_bot", None)
        if bot is not None and bot is self.bot():
            return (*obj.__reduce_ex__(_PROTOCOL)[:3], None, None, SetBot)
        self.foreign = self.foreign or bot is not None
        return NotImplemented

    def _reduce_custom(self, obj: object) -> object:
        reduce = copyreg.dispatch_table.get(type(obj))
        reduction = reduce(obj) if reduce else obj.__reduce_ex__(_PROTOCOL)
        # A text is the name of a global that is not a class, or pickle would know how to write it.
        # These two functions are not written: they have operation codes.
        function = isinstance(reduction, str) or (
            isinstance(reduction[0], _FUNCTIONS)
            and reduction[0].__name__ not in {"__newobj__", "__newobj_ex__"}
        )
        if function:
            name = _class_name(obj)
            self._stop(SerializationError(f"to load class {name} takes a function, never called"))
        return reduction

    def _refuse(self, obj: object) -> NoReturn:
        """Refuse a class, or an object of a class, that the fence keeps out."""
        name = _class_name(obj)
        if isinstance(obj, _FUNCTIONS):
            self._stop(SerializationError("functions are never loaded, and so never saved"))
        if "<locals>" in name:
            self._stop(SerializationError(f"class {name} must be defined at the top of a module"))
        if not isinstance(obj, type) and not _is_picklable(obj):
            self._stop(SerializationError(f"an object of class {name} cannot be pickled"))
        remedy = "if its module is yours, name it in trusted=(...)"
        self._stop(UntrustedTypeError(f"class {name} is not trusted; {remedy}"))

    def _stop(self, refusal: SerializationError) -> NoReturn:
        # Not raised itself: pickle adds notes to what passes through it, and these quote keys.
        self.refusal = refusal
        raise pickle.PicklingError


class _Pickler(Writing, pickle.Pickler):
    """Writes what the fence allows, fast."""


def explain(error: Exception, pickler: Writing, value: object) -> SerializationError:
    """Return what to raise instead of what came out of the pickler."""
    culprit = pickler.last
    if pickler.refusal is not None:
        failure = pickler.refusal
    elif isinstance(error, RecursionError):
        failure, culprit = SerializationError("it is nested too deeply"), _DEEP
    else:
        what = "it" if culprit is None else f"{_class_name(culprit)} in it"
        failure = SerializationError(f"{what} cannot be pickled ({type(error).__name__})")
    with contextlib.suppress(Exception):  # objects' own code again: repr of a key, for one
        failure.path = "" if culprit is None else _path_to(culprit, value)
    return failure


def _is_picklable(obj: object) -> bool:
    try:
        obj.__reduce_ex__(_PROTOCOL)
    except Exception:  # noqa: BLE001 - the object's own code may raise anything
        return False
    return True


def _path_to(culprit: object, value: object) -> str:
    """Return where in a value the culprit is; for `_DEEP`, where something lies too deep."""
    queue: collections.deque[tuple[object, tuple[str, ...]]] = collections.deque([(value, ())])
    seen = {id(value)}
    while queue and len(seen) < _MAX_VISITED:
        part, path = queue.popleft()
        if part is culprit or (culprit is _DEEP and len(path) == _TOO_DEEP):
            return "".join(path)[:_MAX_PATH]
        for step, child in _parts(part) if len(path) < _TOO_DEEP else ():
            if id(child) not in seen:
                seen.add(id(child))
                queue.append((child, (*path, step)))
    return ""


def _parts(value: object) -> Iterator[tuple[str, object]]:
    """Yield what a value consists of, each part with the step that leads to it."""
    if isinstance(value, Mapping):
        for number, (key, part) in enumerate(value.items()):
            yield f"[{_REPR.repr(key)}]", part
            yield f"[key {number}]", key
        yield ".default_factory", getattr(value, "default_factory", None)
    elif isinstance(value, (list, tuple, collections.deque)):
        yield from ((f"[{number}]", part) for number, part in enumerate(value))
    elif isinstance(value, (set, frozenset)):
        yield from (("[element]", part) for part in value)
    if not isinstance(value, _NO_PARTS):
        # The plain one: attributes and slots, whatever the object's own would say.
        state = object.__getstate__(value)
        for attributes in state if isinstance(state, tuple) else (state,):
            yield from ((f".{name}", part) for name, part in (attributes or {}).items())


class _HoldsBotError(Exception):
    """The pickle has a bot as a value by itself, which takes `_CarefulUnpickler`."""


class _Missing:
    """Takes the place of a class that is not there, so that the rest gets read and named too."""

    def __init__(self, *_args: object, **_kwargs: object) -> None: ...

    def __setstate__(self, _state: object) -> None: ...


class Reading:
    """What all unpicklers do: look up classes on the list, and hand out the bot.

    Attributes:
        fence: The allow-list.
        bot: Returns the bot that loaded objects are to belong to.
        unknown: Full names of the classes that were asked for and not found.
        careful: Whether it is safe to put a bot where the pickle can reach it.
        words: What bare values refer to.
    """

    fence: Fence
    bot: Callable[[], Bot | None]
    unknown: tuple[str, ...] = ()
    careful = False
    words: Words

    def persistent_load(self, number: Any) -> object:  # noqa: ANN401 - whatever a pickle says
        """Return a word of the store by its number."""
        return self.words.objects[number]

    def find_class(self, module: str, name: str, /) -> Callable[..., object]:
        """Return what the pickle gets for the name of a class."""
        plain = self.fence.plain.get((module, name))  # asked three times for each user
        if plain is not None:
            return plain
        found = self.fence.find(module, name)
        if found is None:
            return self._missing(module, name)
        mark = _MARKS.get(found)
        if mark is None:
            self.fence.plain[module, name] = found
            return found
        # The pickle's stack holds what it is to call, and the collector does not look into that of
        # a reader in C: one that fails, and so never empties it, must not be held by it for good.
        return types.MethodType(getattr(type(self), mark), weakref.proxy(self))

    def _missing(self, module: str, name: str) -> type:
        self.unknown += (f"{module}.{name}",)
        return _Missing

    def _set_bot(self, obj: object, state: dict[str, object]) -> None:
        if not isinstance(obj, TelegramObject) or isinstance(obj, Bot):
            raise pickle.UnpicklingError("not an object that has a bot")
        obj.__setstate__(state)
        obj.set_bot(self.bot())

    def _get_bot(self, own: object) -> Bot | None:
        if not self.careful:
            raise _HoldsBotError
        return self.bot() if own is True else None

    def _get_member(self, cls: object, *names: str) -> object:
        if not isinstance(cls, type) or not issubclass(cls, Enum):
            raise pickle.UnpicklingError("not an enum")
        # Not getattr, which gives what is no member as well.
        return functools.reduce(operator.or_, [cls.__members__[name] for name in names])


class _Unpickler(Reading, pickle.Unpickler):
    """Reads what the fence allows, fast."""


def _build(reader: pickle.Unpickler) -> None:
    if isinstance(vars(reader)["stack"][-2], Bot):
        raise pickle.UnpicklingError("a bot's state is not for a pickle to set")
    _BUILD(reader)


def _bytearray(reader: pickle.Unpickler) -> None:
    # The inherited one makes, and fills with zeros, as many bytes as the pickle says there are.
    read, append = vars(reader)["read"], vars(reader)["append"]
    append(bytearray(read(int.from_bytes(read(8), "little"))))


class _CarefulUnpickler(Reading, pickle._Unpickler):  # noqa: SLF001 - the C one cannot do this
    """Reads pickles that hold a bot, without letting them change it.

    A pickle can set any attribute of what it gets hold of, and it is a bot's attributes that say
    where its messages go.
    """

    careful = True
    dispatch = pickle._Unpickler.dispatch | {  # noqa: SLF001 - as above
        pickle.BUILD[0]: _build,
        pickle.BYTEARRAY8[0]: _bytearray,
    }


def _no_words() -> tuple[str, ...]:
    return ()


class PickleSerializer:
    """Pickle, fenced: the serializer that is used unless `serializer=` names another.

    Besides plain containers and scalars it takes value types of the standard library such as
    `datetime`, `Decimal`, `UUID` or `Path`, telegram's objects and enums, and classes defined in
    trusted modules. Objects of telegram belong to the bot again once they are loaded; those of
    another bot belong to none.

    Args:
        trusted: Modules whose classes may be saved and loaded, with their submodules.
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
        trusted: Sequence[str] = ("__main__",),
        aliases: Mapping[str, type] | None = None,
        bot: Callable[[], Bot | None] = lambda: None,
    ) -> None:
        self._bound = {"fence": Fence(trusted, aliases or {}), "bot": staticmethod(bot)}
        self._share = _no_words
        self._bind(Words(()))
        self._warned = False

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
        self._pickler = type("_Pickler", (_Pickler,), {**self._bound, "reductions": {}})
        bound = {**self._bound, "words": words}
        self._unpickler = type("_Unpickler", (_Unpickler,), bound)
        self._careful = type("_CarefulUnpickler", (_CarefulUnpickler,), bound)

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
        if words.spelled:
            noted = self._dump(value, memo=words.noting)
            if has_bare_form(noted):
                bare = strip(noted, self._dump(value, memo=words.memo, fast=True))
                if bare is not None:
                    return bare
        return self._dump(value)

    def _dump(self, value: object, *, memo: Memo | None = None, fast: bool = False) -> bytes:
        file = io.BytesIO()
        pickler = self._pickler(file, _PROTOCOL)
        if memo is not None:
            pickler.memo, pickler.fast = memo, fast
        try:
            pickler.dump(value)
        except Exception as error:  # noqa: BLE001 - objects' own code may raise anything
            failure = explain(error, pickler, value)
        else:
            if pickler.foreign and not self._warned:
                self._warned = True
                warnings.warn(_FOREIGN_BOT, PTBUserWarning, stacklevel=3)
            return file.getvalue()
        # Here, where no exception is being handled: a chained one would show values in a log.
        raise failure

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

    def _load_bare(self, data: Sequence[bytes]) -> list[object]:
        values = self._load_pickle(self._words.complete(data)) if data else []
        if not isinstance(values, list) or len(values) != len(data):
            raise pickle.UnpicklingError("not as many values as there should be")
        return values

    def _load_pickle(self, data: bytes) -> object:
        try:
            return self._load(self._unpickler, data)
        except _HoldsBotError:
            return self._load(self._careful, data)

    def _load(self, unpickler: type[_Unpickler | _CarefulUnpickler], data: bytes) -> object:
        file = io.BytesIO(data)
        reader = unpickler(file)
        try:
            value = reader.load()
        except _HoldsBotError:
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


def load_all(
    serializer: Serializer, kind: str, items: Iterable[tuple[K, bytes]]
) -> dict[K, object]:
    """Return the values of a kind, by key, made from their bytes by any serializer.

    Python's cyclic garbage collector is paused meanwhile. With it, this takes two to four times as
    long, since it walks through all that is there again and again and finds nothing. At many values
    it does not look later, either (`gc.freeze`): they go when nobody refers to them any more.

    Args:
        serializer: What made the bytes.
        kind: Name of the kind, for errors.
        items: Keys and bytes.

    Raises:
        DamagedObjectError: Some bytes do not give a value.
        UnknownTypeError: All do, but classes are gone, or not trusted. Names all of them.
    """
    values: dict[K, object] = {}
    unknown: dict[K, frozenset[str]] = {}
    damage: list[str] = []
    entries = iter(items)
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        while part := list(islice(entries, _AT_ONCE)):
            if isinstance(serializer, PickleSerializer):
                with contextlib.suppress(Exception):  # then each is asked for its reason
                    loaded = serializer.loads_many([data for _, data in part])
                    values.update(zip((key for key, _ in part), loaded, strict=True))
                    continue
            for key, data in part:
                try:
                    values[key] = serializer.loads(data)
                except UnknownClassError as error:
                    unknown[key] = error.names
                except Exception as error:  # noqa: BLE001 - bad bytes may raise anything
                    damage.append(type(error).__name__)
    finally:
        if was_enabled:
            if len(values) >= _MANY:
                # PTB's deep copies bring about a full pass every few intervals, and that would walk
                # through all of this for 3 s at a million users, on the loop, and find nothing.
                gc.freeze()
            gc.enable()
    if damage:
        what = f"{len(damage)} of its values do not load ({', '.join(sorted(set(damage)))})"
        raise DamagedObjectError(kind, f"{what}, or a class no longer takes what it once gave")
    if unknown:
        raise UnknownTypeError(kind, sorted(frozenset().union(*unknown.values())), list(unknown))
    return values
