"""Unpickler of values and of PicklePersistence's files, with placeholders for classes.

A file of PicklePersistence's calls functions. Here it gets methods in their place, and calls none:

| a file names | for | here |
|---|---|---|
| `getattr`, `or_` | members of enums, on Python 3.11.0 to 3.11.3 | `_get_attribute`, `_unite` |
| `getattr` | time zones, on every Python | `_get_attribute` |
| PTB's `_reconstruct_to` | objects of telegram's | `_reconstruct` |
| pytz's `_UTC`, `_p`, `FixedOffset` | zones, whose classes each Python makes anew | `_make_...` |
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from datetime import UTC, timedelta, timezone, tzinfo
from enum import Enum
from typing import Any, BinaryIO, Final, cast
from zoneinfo import ZoneInfo

from telegram import Bot, TelegramObject
from telegram.ext._picklepersistence import _reconstruct_to

from ptb_s3._values.allow_list import AllowList
from ptb_s3._values.pickling.time_zones import ZoneOfPytz
from ptb_s3._values.pickling.unpickler import Reading
from ptb_s3._values.placeholders import OWN_BOT, Placeholder, Placeholders, PlaceholderType

# What PicklePersistence writes in a bot's place. From telegram/ext/_picklepersistence.py.
KNOWN_BOT: Final = "a known bot replaced by PTB's PicklePersistence"
_UNKNOWN_BOT: Final = "an unknown bot replaced by PTB's PicklePersistence"
_CALLS: Final = {
    ("builtins", "getattr"): "_get_attribute",
    ("_operator", "or_"): "_unite",
    ("telegram.ext._picklepersistence", "_reconstruct_to"): "_reconstruct",
    ("pytz", "_UTC"): "_make_utc_of_pytz",
    ("pytz", "_p"): "_make_zone_of_pytz",
    ("pytz", "FixedOffset"): "_make_offset_of_pytz",
}


class PlaceholderUnpickler(Reading, pickle.Unpickler):
    """Unpickler that makes a placeholder for each class but those of the allow-list's fixed list.

    Args:
        file: What to read.
        family: The placeholders by name; those that are missing are made.
    """

    allow_list = AllowList((), {})
    bot = staticmethod(lambda: OWN_BOT)
    careful = True  # the bot here takes no state

    def __init__(self, file: BinaryIO, family: Placeholders) -> None:
        super().__init__(file)
        self._family = family

    def find_class(self, module: str, name: str, /) -> Callable[..., Any]:
        """Return the class, placeholder or method that a pickle gets for a name."""
        call = _CALLS.get((module, name))
        found: Callable[..., Any] = (
            getattr(self, call) if call else super().find_class(module, name)
        )
        return found

    def persistent_load(self, pid: object) -> Bot | None:
        """Return the bot that PicklePersistence wrote a mark for, or None: an unknown one."""
        if pid not in {KNOWN_BOT, _UNKNOWN_BOT}:
            raise pickle.UnpicklingError("not a mark of PicklePersistence")
        return OWN_BOT if pid == KNOWN_BOT else None

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
        """Return what `getattr` would: of enums a member, of time zones their constructor.

        Of anything else a placeholder, as for a function.
        """
        if isinstance(obj, PlaceholderType) or (isinstance(obj, type) and issubclass(obj, Enum)):
            return self._get_member(obj, name)
        if obj is ZoneInfo and name == "_unpickle":
            return _make_zone
        return self._family["builtins", "getattr"](obj, name)

    def _unite(self, one: object, other: object) -> object:
        """Return a placeholder for the union of two members of an enum of flags."""
        members = isinstance(one, Placeholder) and one.how == "member" and type(one) is type(other)
        if isinstance(one, Placeholder) and isinstance(other, Placeholder) and members:
            return type(one).remember("member", *one.args, *other.args)
        return self._family["_operator", "or_"](one, other)

    def _make_utc_of_pytz(self) -> tzinfo:
        return UTC

    def _make_zone_of_pytz(self, zone: str, offset: int | None = None, *_: object) -> tzinfo:
        # With the offset, since a zone of pytz has an object for each offset that it ever had.
        return ZoneOfPytz(zone, offset)

    def _make_offset_of_pytz(self, minutes: int) -> tzinfo:
        return timezone(timedelta(minutes=minutes))

    def _reconstruct(self, cls: object, state: dict[str, object]) -> object:
        """Return an object of telegram's, or a placeholder if its class does not take the state."""
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
