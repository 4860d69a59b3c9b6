"""Picklers of values with placeholders: as the bot writes them, and as PicklePersistence does.

| | plain data, by the pickler in C | with placeholders, by the one in Python |
|---|---|---|
| as the bot | `PlainPickler` | `PlaceholderPickler` |
| as PicklePersistence | `PlainPtbPickler` | `PlaceholderPtbPickler` |

The pickler in C looks up each class that it names, which a placeholder's is not there for. For
plain data it is used nevertheless: it is what the bot uses, so the bytes are the same.
"""

from __future__ import annotations

import copyreg
import io
import operator
import pickle
import types
from typing import Any, BinaryIO, ClassVar, Final, Self

from telegram import Bot, TelegramObject
from telegram.ext._picklepersistence import _reconstruct_to

from ptb_s3._values.allow_list import AllowList
from ptb_s3._values.pickling.markers import Member, SetBot
from ptb_s3._values.pickling.pickler import SlowPickler
from ptb_s3._values.pickling.reductions import BUILT_IN, PROTOCOL, Reductions
from ptb_s3._values.pickling.uninterned import UninternedNames
from ptb_s3._values.placeholder_unpickler import KNOWN_BOT
from ptb_s3._values.placeholders import OWN_BOT, Placeholder, PlaceholderType

# Functions that PicklePersistence's files call, and that may be named in one for that reason.
_CALLABLE: Final = (getattr, operator.or_, _reconstruct_to)
_FUNCTIONS: Final = (types.FunctionType, types.BuiltinFunctionType)
# Has two functions that its types do not tell of: pickle has opcodes for them.
_COPYREG: Final[Any] = copyreg
_ALLOW_LIST: Final = AllowList((), {})
_NAMES: Final = UninternedNames({})


class PlaceholderMetError(Exception):
    """Raised for a value with a placeholder, which takes a pickler that can write its name."""


def _bot() -> Bot:
    return OWN_BOT


class PlainPickler(Reductions, pickle.Pickler):
    """Pickler that writes as the bot does, and raises `PlaceholderMetError` at a placeholder."""

    allow_list = _ALLOW_LIST
    bot = staticmethod(_bot)
    names = _NAMES

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file, PROTOCOL)
        self.reductions = {}

    @classmethod
    def to(cls, file: io.BytesIO) -> Self:
        """Return a pickler of this class that writes to a file."""
        return cls(file)

    def _choose(self, obj: object) -> str | None:
        if isinstance(obj, PlaceholderType) or isinstance(type(obj), PlaceholderType):
            raise PlaceholderMetError
        return super()._choose(obj)


def _save_name(pickler: Any, cls: type[Placeholder]) -> None:  # noqa: ANN401 - its type tells too little
    """Write the name that a placeholder stands for, and record that it was written."""
    cls.family.named.add((cls.__module__, cls.__qualname__))
    pickler.save(cls.__module__)
    pickler.save(pickler.names.values[cls.__qualname__])
    pickler.write(pickle.STACK_GLOBAL)
    pickler.memoize(cls)


class PlaceholderPickler(SlowPickler):
    """Pickler of values with placeholders, each written under the name that it stands for."""

    allow_list = _ALLOW_LIST
    bot = staticmethod(_bot)
    names = _NAMES
    dispatch: ClassVar[dict[type, Any]] = {
        **pickle._Pickler.dispatch,  # noqa: SLF001 - no other way in
        PlaceholderType: _save_name,
    }

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file, PROTOCOL)
        self.reductions = dict.fromkeys((*BUILT_IN, PlaceholderType))

    @classmethod
    def to(cls, file: io.BytesIO) -> Self:
        """Return a pickler of this class that writes to a file."""
        return cls(file)

    def _choose(self, obj: object) -> str | None:
        is_placeholder = isinstance(type(obj), PlaceholderType)
        return "_reduce_placeholder" if is_placeholder else super()._choose(obj)

    def _reduce_placeholder(self, obj: Placeholder) -> object:
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
    """Return the first two members of a placeholder's reduction: what is called, and with what."""
    if obj.how == "call":
        return type(obj), obj.args
    if obj.kwargs:
        return _COPYREG.__newobj_ex__, (type(obj), obj.args, obj.kwargs)
    return _COPYREG.__newobj__, (type(obj), *obj.args)


class _PtbReductions(Reductions):
    """Mixin that writes as PicklePersistence does, which reads by functions and bots by marks."""

    def persistent_id(self, obj: object) -> str | None:
        """Return the mark that PicklePersistence writes in the bot's place."""
        return KNOWN_BOT if obj is OWN_BOT else None

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
        # As Python 3.11.0 to 3.11.3 have it, which every Python can read.
        cls, (name, *others) = type(member), member.args
        if others:
            return operator.or_, (cls.remember("member", name), cls.remember("member", *others))
        return getattr, (cls, name)

    def _reduce_owned(self, obj: Placeholder) -> object:
        return _reconstruct_to, (type(obj), {**obj.state, "_bot": OWN_BOT})


class PlainPtbPickler(_PtbReductions, PlainPickler):
    """Pickler of five maps without placeholders for PicklePersistence, fast."""


class PlaceholderPtbPickler(_PtbReductions, PlaceholderPickler):
    """Pickler of five maps with placeholders for PicklePersistence."""
