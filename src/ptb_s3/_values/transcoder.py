"""Values without their classes: from bytes and back to bytes, ours or those of PicklePersistence.

What is on the allow-list's fixed list becomes what it is; every other class is a placeholder, and
nothing is imported for it. Plain data is written by the pickler that is written in C, as the bot
does it, so that the bytes are the same; only values with placeholders take the one that is written
in Python, since the other looks up each class that it names.
"""

from __future__ import annotations

import copyreg
import io
import operator
import pickle
import types
from collections.abc import Callable
from datetime import UTC, timedelta, timezone, tzinfo
from enum import Enum
from typing import Any, BinaryIO, ClassVar, Final, Self, cast
from zoneinfo import ZoneInfo

from telegram import Bot, TelegramObject
from telegram.ext._picklepersistence import _reconstruct_to

from ptb_s3._values.allow_list import AllowList
from ptb_s3._values.pickling import sets
from ptb_s3._values.pickling.markers import Member, SetBot
from ptb_s3._values.pickling.pickler import BUILT_IN, SlowPickler, Writing, explain
from ptb_s3._values.pickling.time_zones import ZoneOfPytz
from ptb_s3._values.pickling.uninterned import Apart
from ptb_s3._values.pickling.unpickler import Reading
from ptb_s3._values.placeholders import OWN_BOT, Placeholder, Placeholders, PlaceholderType
from ptb_s3._values.serializer import PickleSerializer
from ptb_s3.errors import SerializationError

_PROTOCOL: Final = 5
# What PicklePersistence writes in a bot's place; from telegram/ext/_picklepersistence.py.
_KNOWN_BOT: Final = "a known bot replaced by PTB's PicklePersistence"
_UNKNOWN_BOT: Final = "an unknown bot replaced by PTB's PicklePersistence"
# Functions that files of PicklePersistence call, and what is done instead. Python 3.11.0 to 3.11.3
# makes members of enums by the first two; every Python makes time zones by the first. Those of pytz
# are of classes that each Python makes anew.
_CALLS: Final = {
    ("builtins", "getattr"): "_get_attribute",
    ("_operator", "or_"): "_unite",
    ("telegram.ext._picklepersistence", "_reconstruct_to"): "_reconstruct",
    ("pytz", "_UTC"): "_make_utc_of_pytz",
    ("pytz", "_p"): "_make_zone_of_pytz",
    ("pytz", "FixedOffset"): "_make_offset_of_pytz",
}
_CALLABLE: Final = (getattr, operator.or_, _reconstruct_to)
_FUNCTIONS: Final = (types.FunctionType, types.BuiltinFunctionType)
# Has two functions that its types do not tell of: pickle has operation codes for them.
_COPYREG: Final[Any] = copyreg
_ALLOW_LIST: Final = AllowList((), {})
_APART: Final = Apart({})


class _StandInMetError(Exception):
    """A stand-in is in the value, which takes a pickler that can write its name."""


def _bot() -> Bot:
    return OWN_BOT


class _Reader(Reading, pickle.Unpickler):
    """Reads values of ours and files of PicklePersistence."""

    allow_list = _ALLOW_LIST
    bot = staticmethod(_bot)
    careful = True  # the bot takes no state

    def __init__(self, file: BinaryIO, family: Placeholders) -> None:
        super().__init__(file)
        self._family = family

    def find_class(self, module: str, name: str, /) -> Callable[..., Any]:
        """Return what the pickle gets for the name of a class."""
        call = _CALLS.get((module, name))
        found: Callable[..., Any] = (
            getattr(self, call) if call else super().find_class(module, name)
        )
        return found

    def persistent_load(self, pid: object) -> Bot | None:
        """Return what PicklePersistence wrote this in the place of."""
        if pid not in {_KNOWN_BOT, _UNKNOWN_BOT}:
            raise pickle.UnpicklingError("not a mark of PicklePersistence")
        return OWN_BOT if pid == _KNOWN_BOT else None

    def _missing(self, module: str, name: str) -> type[Placeholder]:
        return self._family[module, name]

    def _set_bot(self, obj: object, state: dict[str, object]) -> None:
        if isinstance(obj, Placeholder):
            obj.__setstate__(state)
            obj.own_bot = True
        else:
            super()._set_bot(obj, state)

    def _get_member(self, cls: object, *names: str) -> object:
        if isinstance(cls, type) and issubclass(cls, Placeholder):
            return cls.remember("member", *names)
        return super()._get_member(cls, *names)

    def _get_attribute(self, obj: object, name: str) -> object:
        if isinstance(obj, PlaceholderType) or (isinstance(obj, type) and issubclass(obj, Enum)):
            return self._get_member(obj, name)
        if obj is ZoneInfo and name == "_unpickle":
            return _make_zone
        return self._family["builtins", "getattr"](obj, name)

    def _unite(self, one: object, other: object) -> object:
        members = isinstance(one, Placeholder) and one.how == "member" and type(one) is type(other)
        if isinstance(one, Placeholder) and isinstance(other, Placeholder) and members:
            return type(one).remember("member", *one.args, *other.args)
        return self._family["_operator", "or_"](one, other)

    def _make_utc_of_pytz(self) -> tzinfo:
        return UTC

    def _make_zone_of_pytz(self, zone: str, offset: int | None = None, *_: object) -> tzinfo:
        # With the offset that those times have: a zone of pytz has an object for each.
        return ZoneOfPytz(zone, offset)

    def _make_offset_of_pytz(self, minutes: int) -> tzinfo:
        return timezone(timedelta(minutes=minutes))

    def _reconstruct(self, cls: object, state: dict[str, object]) -> object:
        if isinstance(cls, type) and issubclass(cls, Placeholder):
            obj = cls.__new__(cls)
            obj.own_bot = state.pop("_bot", None) is OWN_BOT
            obj.__setstate__(state)
            return obj
        known = cast("type[TelegramObject]", cls)
        try:
            return _reconstruct_to(known, state)
        except Exception:  # noqa: BLE001 - PTB's code, on what another version of it has written
            unfit = known.__module__, known.__qualname__
        self._family.unfit.add(unfit)
        return self._reconstruct(self._family[unfit], state)


def _make_zone(key: str, _cached: object) -> ZoneInfo:
    return ZoneInfo(key)


class _Plain(Writing, pickle.Pickler):
    """Writes values without stand-ins, as the bot does."""

    allow_list = _ALLOW_LIST
    bot = staticmethod(_bot)
    apart = _APART

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file, _PROTOCOL)
        self.reductions = {}

    @classmethod
    def to(cls, file: io.BytesIO) -> Self:
        """Return a pickler that writes to a file."""
        return cls(file)

    def _choose(self, obj: object) -> str | None:
        if isinstance(obj, PlaceholderType) or isinstance(type(obj), PlaceholderType):
            raise _StandInMetError
        return super()._choose(obj)


def _save_name(pickler: Any, cls: type[Placeholder]) -> None:  # noqa: ANN401 - its type tells too little
    cls.family.named.add((cls.__module__, cls.__qualname__))
    pickler.save(cls.__module__)
    pickler.save(pickler.apart.values[cls.__qualname__])
    pickler.write(pickle.STACK_GLOBAL)
    pickler.memoize(cls)


class _Named(SlowPickler):
    """Writes values with stand-ins, each under the name of what it stands for."""

    allow_list = _ALLOW_LIST
    bot = staticmethod(_bot)
    apart = _APART
    dispatch: ClassVar[dict[type, Any]] = {
        **pickle._Pickler.dispatch,  # noqa: SLF001 - as above
        PlaceholderType: _save_name,
    }

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file, _PROTOCOL)
        self.reductions = dict.fromkeys((*BUILT_IN, PlaceholderType))

    @classmethod
    def to(cls, file: io.BytesIO) -> Self:
        """Return a pickler that writes to a file."""
        return cls(file)

    def _choose(self, obj: object) -> str | None:
        is_stand_in = isinstance(type(obj), PlaceholderType)
        return "_reduce_stand_in" if is_stand_in else super()._choose(obj)

    def _reduce_stand_in(self, obj: Placeholder) -> object:
        if obj.how == "member":
            return self._reduce_member(obj)
        if obj.own_bot:
            return self._reduce_owned(obj)
        return *_how_made(obj), self._named(obj.state), iter(obj.items), iter(obj.entries)

    def _reduce_member(self, member: Placeholder) -> object:
        return Member, (type(member), *member.args)

    def _reduce_owned(self, obj: Placeholder) -> object:
        return *_how_made(obj), self._named(obj.state), None, None, SetBot


def _how_made(obj: Placeholder) -> tuple[object, tuple[object, ...]]:
    if obj.how == "call":
        return type(obj), obj.args
    if obj.kwargs:
        return _COPYREG.__newobj_ex__, (type(obj), obj.args, obj.kwargs)
    return _COPYREG.__newobj__, (type(obj), *obj.args)


class _ForPtb(Writing):
    """Writes as PicklePersistence does, which reads by functions and finds bots by marks."""

    def persistent_id(self, obj: object) -> str | None:
        """Return the mark that stands for the bot."""
        return _KNOWN_BOT if obj is OWN_BOT else None

    def _choose(self, obj: object) -> str | None:
        if isinstance(obj, _FUNCTIONS):
            return "_reduce_function"
        return super()._choose(obj)

    def _reduce_function(self, function: object) -> object:
        if function not in _CALLABLE:
            self._refuse(function)
        return NotImplemented

    def _reduce_telegram(self, obj: TelegramObject) -> object:
        state = {**obj.__getstate__(), "_bot": getattr(obj, "_bot", None)}
        return _reconstruct_to, (type(obj), state)

    def _reduce_member(self, member: Placeholder) -> object:
        cls, (name, *others) = type(member), member.args
        if others:
            return operator.or_, (cls.remember("member", name), cls.remember("member", *others))
        return getattr, (cls, name)

    def _reduce_owned(self, obj: Placeholder) -> object:
        return _reconstruct_to, (type(obj), {**obj.state, "_bot": OWN_BOT})


class _PlainForPtb(_ForPtb, _Plain):
    """Writes a state without stand-ins, fast."""


class _NamedForPtb(_ForPtb, _Named):
    """Writes a state with stand-ins."""


class Transcoder:
    """A serializer that runs nobody's code: where a class would be loaded it has a stand-in.

    What it has read it writes as `PickleSerializer` would have written the objects themselves.

    Attributes:
        family: The stand-ins for all that was named in what it has read.
    """

    id: Final = PickleSerializer.id

    def __init__(self) -> None:
        self.family = Placeholders()

    def loads(self, data: bytes) -> object:
        """Return a value of ours, or what a file of PicklePersistence holds.

        Raises:
            Exception: The bytes are damaged, whatever it is that does not fit.
        """
        file = io.BytesIO(data)
        value = _Reader(file, self.family).load()
        if file.read(1):
            raise pickle.UnpicklingError("bytes after the end of the pickle")
        return value

    def dumps(self, value: object) -> bytes:
        """Return a value that was loaded here as bytes that the bot will load.

        Raises:
            SerializationError: It cannot be saved.
        """
        try:
            return _dump(_Plain, value)
        except _StandInMetError:
            return _dump(_Named, value)

    def dumps_for_ptb(self, value: object) -> bytes:
        """Return values that were loaded here as PicklePersistence would have written them.

        Raises:
            SerializationError: They cannot be saved.
        """
        return _dump(_NamedForPtb if self.family else _PlainForPtb, value)


def _dump(pickler_class: type[_Plain | _Named], value: object) -> bytes:
    file = io.BytesIO()
    pickler = pickler_class(file)
    failure: SerializationError
    try:
        pickler.dump(value)
    except _StandInMetError:
        raise
    except Exception as error:  # noqa: BLE001 - as in `PickleSerializer.dumps`
        failure = explain(error, pickler, value)
    else:
        plain = file.getvalue()
        if not sets.may_hold_sets(plain):
            return plain
        return sets.write(value, plain, pickler, pickler_class.to)
    raise failure
