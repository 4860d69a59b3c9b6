"""What every pickler of the project has in common; `unpickler` has the other direction.

A pickle is a program: whoever writes it chooses what its reader calls. So both directions pass one
allow-list of classes; functions are on no list. What may not be read may not be written, so that a
value which could not come back is refused when it is first saved, not when it is needed.

What the allow-list cannot do is bound what allowed classes are told to do. A hostile pickle can ask
for a petabyte, reserve a gigabyte by the number of a memo, nest tuples until hashing them ends the
process, set attributes of trusted classes to values that are themselves allowed, or put another
word in a word's place for the values that are loaded together with it. That no hostile bytes get
here is the business of the container, which authenticates them; the allow-list is there for the day
when a key has leaked.
"""

from __future__ import annotations

import collections
import contextlib
import copyreg
import io
import pickle
import reprlib
import sys
import types
import uuid
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, tzinfo
from enum import Enum
from pathlib import PurePath
from typing import Any, Final, NoReturn, Self
from zoneinfo import ZoneInfo

from telegram import Bot, TelegramObject

from ptb_s3._values.allow_list import AllowList, full_name, is_value_type
from ptb_s3._values.copies import Uncopied
from ptb_s3._values.first_party import MAIN
from ptb_s3._values.pickling import sets
from ptb_s3._values.pickling.markers import SetBot, TheBot
from ptb_s3._values.pickling.time_zones import STANDARD, in_standard_zone, is_of_pytz, standard_zone
from ptb_s3._values.pickling.uninterned import Apart, anew
from ptb_s3._values.remedies import FUNCTION, remedy
from ptb_s3.errors import SerializationError, UntrustedTypeError

PROTOCOL: Final = 5

# Values looked at in search of a culprit before giving up: about 0.2 s.
_MAX_VISITED: Final = 100_000
# Steps from the top; a value this far down is taken for what made the recursion too deep.
_TOO_DEEP: Final = 100
# Characters of a path: enough to find the place, not enough to quote all that lies on the way.
_MAX_PATH: Final = 200

# What pickle asks about only where it is written in Python.
BUILT_IN: Final = (
    *(types.NoneType, bool, int, float, str, bytes, bytearray),
    *(tuple, list, dict, set, frozenset),
)
_FUNCTIONS: Final = (types.FunctionType, types.BuiltinFunctionType, types.MethodType)
# Keys in a path: whole, if they are of a usual length.
_REPR: Final = reprlib.Repr()
_REPR.maxstring = _REPR.maxother = 100
# Frames for values that are nested as deeply as the pickler in C can write them.
_FRAMES: Final = 20_000
# Stands for whatever lies too deep, where a culprit is asked for.
_DEEP: Final = object()
# Objects whose attributes are not part of the data.
_NO_PARTS: Final = (*_FUNCTIONS, type, types.ModuleType, Bot)
# Makes an object without a call of its class: pickle has an operation code for it.
_NEW: Final[Callable[..., object]] = copyreg.__newobj__  # type: ignore[attr-defined]
# Value types whose objects are written with names of attributes.
_WITH_NAMES: Final = {types.SimpleNamespace, collections.ChainMap, uuid.UUID}


def _class_name(obj: object) -> str:
    return full_name(obj if isinstance(obj, type) else type(obj))


def _is_all_attributes(cls: Any) -> bool:  # noqa: ANN401 - a class, which mypy knows better
    """Tell whether the objects of a class are what their attributes say, and no more."""
    made = cls.__new__ is object.__new__ and not hasattr(cls, "__getnewargs__")
    slots = any("__slots__" in base.__dict__ for base in cls.__mro__)
    parts = issubclass(cls, (list, dict)) or hasattr(cls, "__getnewargs_ex__")
    return made and not slots and not parts and bool(cls.__dictoffset__)


class Writing:
    """What all picklers do: write what the allow-list allows.

    Pickle asks `reducer_override` about each class, function and instance of other than plain
    built-in types, so plain data costs no call. (`persistent_id` would be called for every object.)

    Attributes:
        allow_list: The allow-list.
        bot: Returns the bot that the data belongs to.
        reductions: Name of the method that reduces the instances of each class met so far; None:
            it is done as usual.
        last: What pickle asked about last: the culprit, should it fail.
        refusal: Why we refused, if it was us.
        foreign: Whether another bot was seen.
        of_main: Classes of ``__main__`` that are to be written by another name, as they were met.
        apart: The strings that names are written by.
    """

    allow_list: AllowList
    bot: Callable[[], Bot | None]
    reductions: dict[type, str | None]
    apart: Apart
    last: object = None
    refusal: SerializationError | None = None
    foreign = False
    of_main: list[type] | None = None

    def reducer_override(self, obj: object) -> Any:  # noqa: ANN401 - a dozen shapes
        """Return how to rebuild an object, or NotImplemented to let pickle decide."""
        self.last = obj
        try:
            reduce = self.reductions[type(obj)]
        except KeyError:
            reduce = self.reductions[type(obj)] = self._choose(obj)
        return NotImplemented if reduce is None else getattr(self, reduce)(obj)

    @classmethod
    def to(cls, file: io.BytesIO) -> Self:
        """Return a pickler that writes to a file."""
        made: Any = cls
        pickler: Self = made(file, PROTOCOL)
        return pickler

    def _choose(self, obj: object) -> str | None:
        cls = type(obj)  # not isinstance: a proxy lies about its class
        if issubclass(cls, (type, Bot)):
            return "_reduce_class" if issubclass(cls, type) else "_reduce_bot"
        if cls is Uncopied:
            self._stop(SerializationError(obj.reason))  # type: ignore[attr-defined]
        if is_of_pytz(obj):
            return "_reduce_zone_of_pytz"
        if not self.allow_list.allows(cls):
            self._refuse(obj)
        if cls is datetime:
            return "_reduce_datetime"
        if issubclass(cls, (Enum, ZoneInfo)):
            return "_reduce_enum" if issubclass(cls, Enum) else "_reduce_zone"
        if is_value_type(cls):  # what these reduce to is known
            path = "_reduce_path" if issubclass(cls, PurePath) else None
            return "_reduce_instance" if cls in _WITH_NAMES else path
        return self._choose_own(cls)

    def _choose_own(self, cls: Any) -> str | None:  # noqa: ANN401 - a class, which mypy knows better
        if cls.__reduce_ex__ is not object.__reduce_ex__ or cls in copyreg.dispatch_table:
            return "_reduce_custom"
        if cls.__reduce__ is not object.__reduce__:
            as_set = cls.__reduce__ in {set.__reduce__, frozenset.__reduce__}
            return "_reduce_set" if as_set else "_reduce_custom"
        if issubclass(cls, TelegramObject):
            return "_reduce_telegram"
        if cls.__getstate__ is not object.__getstate__:
            return None
        return "_reduce_plain" if _is_all_attributes(cls) else "_reduce_instance"

    def _reduce_class(self, cls: type) -> object:
        name = self.apart.classes.get(cls)
        if name is None:
            if not self.allow_list.allows(cls):
                self._refuse(cls)
            name = self.apart.classes[cls] = anew(cls.__qualname__)
        if self.allow_list.main is not None and cls.__module__ == MAIN:
            if self.of_main is None:  # not shared by all
                self.of_main = []
            self.of_main.append(cls)
        return name

    def _reduce_bot(self, bot: Bot) -> object:
        own = bot is self.bot()
        self.foreign = self.foreign or not own
        return TheBot, (own,)

    def _reduce_enum(self, member: Enum) -> object:
        # By value, on every Python: some have a call of getattr in its place.
        return type(member), (self._own(member._value_),)

    def _reduce_zone(self, zone: ZoneInfo) -> object:
        # Its own reduction is a class method, which takes getattr to load.
        if zone.key is None:
            self._stop(SerializationError("a time zone that has no key cannot be pickled"))
        return type(zone), (self.apart.values[zone.key],)

    def _reduce_datetime(self, when: datetime) -> object:
        zone = when.tzinfo
        if type(zone) in STANDARD or not is_of_pytz(zone):
            return NotImplemented
        self._standard_zone(zone)  # refuses one that is not known
        return in_standard_zone(when).__reduce_ex__(PROTOCOL)

    def _reduce_zone_of_pytz(self, zone: tzinfo) -> object:
        standard = self._standard_zone(zone)
        return (
            self._reduce_zone(standard)
            if isinstance(standard, ZoneInfo)
            else (standard.__reduce_ex__(PROTOCOL))
        )

    def _standard_zone(self, zone: object) -> tzinfo:
        standard = standard_zone(zone)
        if standard is None:
            reason = "it has a time zone of pytz that zoneinfo does not know here: install tzdata"
            self._stop(SerializationError(reason))
        return standard

    def _own(self, value: object) -> object:
        """Return what a program has made an enum of, without the strings of that program."""
        if type(value) is tuple:
            return tuple(map(self._own, value))
        return self.apart.values[value] if type(value) is str else value

    def _reduce_path(self, path: PurePath) -> object:
        # Its own reduction has its parts, which are names to Python.
        return type(path), (anew(str(path)),)

    def _reduce_set(self, obj: set[object] | frozenset[object]) -> object:
        reduction: Any = obj.__reduce_ex__(PROTOCOL)
        make, (elements,), state = reduction
        ordered = sets.in_order(frozenset(elements), self.to)
        return make, (ordered,), self._named(state)

    def _reduce_plain(self, obj: object) -> object:
        names = self.apart.attributes
        # As object's own __reduce_ex__ has it, which takes twice the time.
        return _NEW, (type(obj),), {names[name]: part for name, part in obj.__dict__.items()}

    def _reduce_instance(self, obj: object) -> object:
        reduction: Any = obj.__reduce_ex__(PROTOCOL)
        make, args, *rest = reduction
        return (make, args, self._named(rest[0]), *rest[1:]) if rest else (make, args)

    def _reduce_telegram(self, obj: TelegramObject) -> object:
        # The state that it gives leaves out the bot, and without one message.reply_text fails after
        # a restart. SetBot, called by the reader with object and state, adds it again.
        reduction: Any = obj.__reduce_ex__(PROTOCOL)
        make, args, state, *_ = reduction
        bot = getattr(obj, "_bot", None)
        if bot is not None and bot is self.bot():
            return make, args, self._named(state), None, None, SetBot
        self.foreign = self.foreign or bot is not None
        return make, args, self._named(state)

    def _named(self, state: Any) -> Any:  # noqa: ANN401 - None, or attributes, or a pair of those
        """Return a state with strings of its own for the names of attributes."""
        if type(state) is tuple:
            return tuple(map(self._named, state))
        if type(state) is not dict:
            return state
        names = self.apart.attributes
        return {names[name]: part for name, part in state.items()}

    def _reduce_custom(self, obj: object) -> Any:  # noqa: ANN401 - a dozen shapes
        reduce = copyreg.dispatch_table.get(type(obj))
        reduction = reduce(obj) if reduce else obj.__reduce_ex__(PROTOCOL)
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
        """Refuse a class, or an object of a class, that the allow-list keeps out."""
        name, cls = _class_name(obj), obj if isinstance(obj, type) else type(obj)
        if isinstance(obj, _FUNCTIONS):
            reason = f"functions are never loaded, and so never saved: {FUNCTION}"
            self._stop(SerializationError(reason))
        if "<locals>" in name:
            self._stop(SerializationError(f"class {name} must be defined at the top of a module"))
        if not isinstance(obj, type) and not _is_picklable(obj):
            reason = f"an object of class {name} cannot be pickled: keep it out of the data"
            self._stop(SerializationError(reason))
        what_helps = remedy(cls.__module__, cls.__qualname__)
        self._stop(UntrustedTypeError(f"class {name} is not trusted; {what_helps}"))

    def _stop(self, refusal: SerializationError) -> NoReturn:
        # Not raised itself: pickle adds notes to what passes through it, and these quote keys.
        self.refusal = refusal
        raise pickle.PicklingError


class Pickler(Writing, pickle.Pickler):
    """Writes what the allow-list allows, fast."""


class SlowPickler(Writing, pickle._Pickler):  # noqa: SLF001 - the C one looks up what it names
    """Writes what the allow-list allows, and each class by the name that stands there."""

    def dump(self, value: object) -> None:
        """Write a value. Python's pickler calls itself several times for each level of nesting."""
        limit = sys.getrecursionlimit()
        sys.setrecursionlimit(max(limit, _FRAMES))
        try:
            super().dump(value)
        finally:
            sys.setrecursionlimit(limit)

    def save_global(self, obj: Any, name: str | None = None) -> None:  # noqa: ANN401 - as pickle has it
        """Write the name of a class."""
        writer: Any = self  # its type tells too little
        module = self.allow_list.module_of(obj)
        if module == obj.__module__:
            writer_of_python: Any = super()
            writer_of_python.save_global(obj, name)
            return
        writer.save(module)
        writer.save(name or obj.__qualname__)
        writer.write(pickle.STACK_GLOBAL)
        writer.memoize(obj)


class NumberingPickler(Pickler):
    """Writes the number of each word, even of a string that is only equal to one.

    Attributes:
        numbers: These, by word.
    """

    numbers: Mapping[str, int]

    def persistent_id(self, obj: object) -> int | None:
        """Return what an unpickler that has the words is to look up."""
        return self.numbers.get(obj) if type(obj) is str else None


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
    if type(obj) in copyreg.dispatch_table:
        return True
    try:
        obj.__reduce_ex__(PROTOCOL)
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
