"""Reductions: how each object is written into a pickle, and which objects never are.

A pickle is a program: whoever writes it chooses what its reader calls. So both directions pass one
allow-list of classes, and functions are on no list. What may not be read may not be written, so a
value that could not come back is refused when it is first saved, not when it is needed.

The allow-list cannot bound what allowed classes are told to do. A hostile pickle can

* ask for a petabyte, or reserve a gigabyte by the number of a memo entry,
* nest tuples until hashing them ends the process,
* set attributes of trusted classes to values that are themselves allowed,
* put another word in a word's place for the values that are loaded together with it.

That no hostile bytes get here is the business of the container, which authenticates them. The
allow-list is there for the day when a key has leaked.
"""

from __future__ import annotations

import collections
import copyreg
import io
import pickle
import types
import uuid
from collections.abc import Callable
from datetime import datetime, tzinfo
from enum import Enum
from pathlib import PurePath
from typing import Any, Final, NoReturn, Self
from zoneinfo import ZoneInfo

from telegram import Bot, TelegramObject

from ptb_s3._values.allow_list import AllowList, full_name, is_value_type
from ptb_s3._values.copies import Uncopied
from ptb_s3._values.first_party import MAIN
from ptb_s3._values.pickling import canonical_sets
from ptb_s3._values.pickling.markers import SetBot, TheBot
from ptb_s3._values.pickling.time_zones import STANDARD, in_standard_zone, is_of_pytz, standard_zone
from ptb_s3._values.pickling.uninterned import UninternedNames, uninterned
from ptb_s3._values.remedies import FUNCTION, remedy
from ptb_s3.errors import SerializationError, UntrustedTypeError

PROTOCOL: Final = 5

# Types that pickle asks about only where it is written in Python.
BUILT_IN: Final = (
    *(types.NoneType, bool, int, float, str, bytes, bytearray),
    *(tuple, list, dict, set, frozenset),
)
FUNCTIONS: Final = (types.FunctionType, types.BuiltinFunctionType, types.MethodType)
_NO_KEY: Final = "a time zone that has no key cannot be pickled: make it by ZoneInfo(key)"
# Makes an object without a call of its class: pickle has an opcode for it.
_NEW: Final[Callable[..., object]] = copyreg.__newobj__  # type: ignore[attr-defined]
# Value types whose objects are written with names of attributes.
_WITH_NAMES: Final = {types.SimpleNamespace, collections.ChainMap, uuid.UUID}


def class_name(obj: object) -> str:
    """Return the full name of a class, or of an object's class."""
    return full_name(obj if isinstance(obj, type) else type(obj))


def _is_all_attributes(cls: Any) -> bool:  # noqa: ANN401 - a class, which mypy knows better
    """Return whether the objects of a class consist of the attributes in their dictionary."""
    made = cls.__new__ is object.__new__ and not hasattr(cls, "__getnewargs__")
    slots = any("__slots__" in base.__dict__ for base in cls.__mro__)
    parts = issubclass(cls, (list, dict)) or hasattr(cls, "__getnewargs_ex__")
    return made and not slots and not parts and bool(cls.__dictoffset__)


class Reductions:
    """Mixin for picklers: writes objects of allowed classes, and refuses all others.

    Pickle asks `reducer_override` about each class, function and instance of other than plain
    built-in types, so plain data costs no call. (`persistent_id` would be called for every object.)

    How objects of a class are reduced is chosen once, when the first one is met:

    | object | written as |
    |---|---|
    | class | its name, if the allow-list has it |
    | the bot, or another one | the marker `TheBot`, called with whether it is ours |
    | enum member | class and value |
    | zone, path, date with a zone of pytz | class and text, as the standard library's own |
    | object of telegram's | as it reduces itself; `SetBot` adds the bot again, if it is ours |
    | object with attributes | class and attributes |
    | object with a reduction of its own | as that says, unless it takes a function to load it |

    Attributes:
        allow_list: The allow-list.
        bot: Returns the bot that the data belongs to.
        reductions: Name of the method that reduces the objects of each class met so far. None:
            pickle does it its own way.
        last: The object that pickle asked about last: the culprit, should it fail.
        refusal: The error to raise, if the allow-list was the reason.
        foreign: Whether another bot was seen.
        of_main: Classes of ``__main__`` that are to be written by another name, as they were met;
            None: there were none.
        names: The strings that names are written by.
    """

    allow_list: AllowList
    bot: Callable[[], Bot | None]
    reductions: dict[type, str | None]
    names: UninternedNames
    last: object = None
    refusal: SerializationError | None = None
    foreign = False
    of_main: list[type] | None = None

    def reducer_override(self, obj: object) -> Any:  # noqa: ANN401 - a dozen shapes
        """Return how to rebuild an object, or NotImplemented to let pickle decide.

        Raises:
            PicklingError: The object may not be saved; `refusal` says why.
        """
        self.last = obj
        try:
            reduce = self.reductions[type(obj)]
        except KeyError:
            reduce = self.reductions[type(obj)] = self._choose(obj)
        return NotImplemented if reduce is None else getattr(self, reduce)(obj)

    @classmethod
    def to(cls, file: io.BytesIO) -> Self:
        """Return a pickler of this class that writes to a file."""
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
        name = self.names.classes.get(cls)
        if name is None:
            if not self.allow_list.allows(cls):
                self._refuse(cls)
            name = self.names.classes[cls] = uninterned(cls.__qualname__)
        if self.allow_list.main is not None and cls.__module__ == MAIN:
            if self.of_main is None:  # a list of the class would be shared by all picklers
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
            self._stop(SerializationError(_NO_KEY))
        return type(zone), (self.names.values[zone.key],)

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
        """Return the value of an enum member without the interned strings of the program."""
        if type(value) is tuple:
            return tuple(map(self._own, value))
        return self.names.values[value] if type(value) is str else value

    def _reduce_path(self, path: PurePath) -> object:
        # Its own reduction has its parts, which Python interns as it does names.
        return type(path), (uninterned(str(path)),)

    def _reduce_set(self, obj: set[object] | frozenset[object]) -> object:
        reduction: Any = obj.__reduce_ex__(PROTOCOL)
        make, (elements,), state = reduction
        ordered = canonical_sets.in_order(frozenset(elements), self.to)
        return make, (ordered,), self._named(state)

    def _reduce_plain(self, obj: object) -> object:
        own = self.names.attributes
        # The same that object's own __reduce_ex__ gives, which takes twice the time.
        return _NEW, (type(obj),), {own[name]: part for name, part in obj.__dict__.items()}

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
        """Return a state in which the names of attributes are uninterned."""
        if type(state) is tuple:
            return tuple(map(self._named, state))
        if type(state) is not dict:
            return state
        own = self.names.attributes
        return {own[name]: part for name, part in state.items()}

    def _reduce_custom(self, obj: object) -> Any:  # noqa: ANN401 - a dozen shapes
        reduce = copyreg.dispatch_table.get(type(obj))
        reduction = reduce(obj) if reduce else obj.__reduce_ex__(PROTOCOL)
        # A text is the name of a global that is not a class, or pickle would know how to write it.
        # The two functions below are not written by name: they have opcodes.
        function = isinstance(reduction, str) or (
            isinstance(reduction[0], FUNCTIONS)
            and reduction[0].__name__ not in {"__newobj__", "__newobj_ex__"}
        )
        if function:
            reason = (
                f"to load class {class_name(obj)} takes a function, and none is ever called: keep "
                "plain data in its place, or let pickle save its attributes"
            )
            self._stop(SerializationError(reason))
        return reduction

    def _refuse(self, obj: object) -> NoReturn:
        """Refuse a class, or an object of a class, that the allow-list keeps out.

        Raises:
            PicklingError: Always; `refusal` has what is to be raised in its place.
        """
        name, cls = class_name(obj), obj if isinstance(obj, type) else type(obj)
        if isinstance(obj, FUNCTIONS):
            reason = f"functions are never loaded, and so never saved: {FUNCTION}"
            self._stop(SerializationError(reason))
        if "<locals>" in name:
            reason = f"class {name} must be defined at the top of a module, or no load finds it"
            self._stop(SerializationError(reason))
        if not isinstance(obj, type) and not _is_picklable(obj):
            reason = f"an object of class {name} cannot be pickled: keep it out of the data"
            self._stop(SerializationError(reason))
        what_helps = remedy(cls.__module__, cls.__qualname__)
        self._stop(UntrustedTypeError(f"class {name} is not trusted; {what_helps}"))

    def _stop(self, refusal: SerializationError) -> NoReturn:
        # Not raised itself: pickle adds notes to an error that passes through, and they quote keys.
        self.refusal = refusal
        raise pickle.PicklingError


def _is_picklable(obj: object) -> bool:
    if type(obj) in copyreg.dispatch_table:
        return True
    try:
        obj.__reduce_ex__(PROTOCOL)
    except Exception:  # noqa: BLE001 - the object's own code may raise anything
        return False
    return True
