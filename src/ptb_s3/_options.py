"""Options of a persistence: each is listed, has its default and is checked here. Pure.

`S3Persistence` takes them as arguments, `Settings` as ``PTB_S3_*`` variables. A fault is the end of
a sentence, since the name in front of it differs: an argument in code, a variable in the settings.
It shows no value, since that may be a secret that was put into the wrong place.

Each is checked when it is given: otherwise it would be written, or asked for, without a word, and
the next start, or the next listing, would find out. What the storage alone can judge, such as a
prefix or an endpoint, `ptb_s3._storage` checks.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, get_args

from ptb_s3._format.entities import MANY_ALIKE, Kind
from ptb_s3._format.key_source import KeySource
from ptb_s3._format.restore_point import RestorePoint, recording_fault
from ptb_s3.errors import SettingsError

if TYPE_CHECKING:
    import aioboto3
    from telegram.ext import ContextTypes, PersistenceInput

    from ptb_s3._values.merge import Merge
    from ptb_s3._values.serializer import Serializer

Sync: TypeAlias = Literal["auto"] | float | None
"""How often to poll for commits of other writers: "auto", seconds between two polls, or never."""

AddressingStyle: TypeAlias = Literal["auto", "path", "virtual"]
"""Where requests have the bucket's name: in the path, in front of the host, or found out."""

OnLoss: TypeAlias = Literal["wait", "rewrite"]
"""What a running bot does whose state was deleted or damaged."""

Load: TypeAlias = Literal["all", "on_demand"]
"""What is read at a start: all, or of users and chats only those that are asked for."""

# Levels of zstd that need no extra memory; 20 to 22 are its "ultra" levels.
LEVELS: Final = range(1, 20)

_SERIALIZER_ID = re.compile(r"[a-z0-9._-]{1,32}")  # FORMAT.md, section 2

WANTED: Final = {
    "update_interval": (
        "is not a number of seconds above 0. Give one, such as 60; at 0, "
        "python-telegram-bot would save without a pause, at full load."
    ),
    "compression_level": "is not a whole number from 1 to 19. Give one, such as 3.",
    "addressing_style": "is neither `auto`, nor `path`, nor `virtual`. Give one of them.",
    "on_loss": "is neither `wait` nor `rewrite`. Give one of them.",
    "load": "is neither `all` nor `on_demand`. Give one of them.",
    "single_writer": "is neither `true` nor `false`. Give one of them.",
    "flush_timeout": "is not a number of seconds above 0. Give one, such as 8.",
    "sync": 'is not understood. Give "auto", a number of seconds, or "none" (in code: None).',
}
"""Faults of options that take one kind of value, by the option's name."""


@dataclass(frozen=True, kw_only=True, repr=False)
class Options:
    """Checked options of an `S3Persistence`, whose docstring explains each.

    Without a repr: it would show what a user has given, in an error tracker for one.

    Raises:
        SettingsError: One of them cannot be used as it is.
    """

    bucket: str
    prefix: str = ""
    keyring: KeySource
    endpoint_url: str | None = None
    region_name: str | None = None
    addressing_style: AddressingStyle = "auto"
    session: aioboto3.Session | None = None
    store_data: PersistenceInput | None = None
    update_interval: float = 60
    context_types: ContextTypes[Any, Any, Any, Any] | None = None
    trusted: Sequence[str] | None = None
    aliases: Mapping[str, Callable[..., Any]] | None = None
    serializer: Serializer | None = None
    unsaved: Mapping[str, Collection[Hashable]] | None = None
    merge: Merge | None = None
    sync: Sync = "auto"
    single_writer: bool = False
    compression_level: int = 3
    flush_timeout: float = 8.0
    restore: str | None = None
    begin_anew: str | None = None
    on_loss: OnLoss = "wait"
    load: Load = "all"
    expected_bucket_owner: str | None = None

    def __post_init__(self) -> None:
        for name in _FAULTS:
            fault = option_fault(name, getattr(self, name))
            if fault is not None:
                raise SettingsError(f"{name}= {fault}")
        self._check_unsaved()
        if self.load == "on_demand" and self.on_loss == "rewrite":
            raise SettingsError(
                'on_loss="rewrite" writes a lost state anew from memory, and with '
                'load="on_demand" memory has only a part of it. Leave one of them out.'
            )

    @property
    def on_demand(self) -> frozenset[Kind]:
        """Return the kinds of which single entities are read when they are asked for."""
        stored = self.store_data
        return frozenset(
            kind
            for kind in MANY_ALIKE
            if self.load == "on_demand" and (stored is None or getattr(stored, kind))
        )

    @property
    def renamed_classes(self) -> dict[str, type]:
        """Return the aliases that are classes. Others are callbacks of jobs."""
        return {name: cls for name, cls in (self.aliases or {}).items() if isinstance(cls, type)}

    @property
    def born(self) -> dict[Kind, Callable[[], Any]]:
        """Return what makes the data of a new user, chat and bot, by kind."""
        types = self.context_types
        if types is None:
            return dict.fromkeys((Kind.USER_DATA, Kind.CHAT_DATA, Kind.BOT_DATA), dict)
        return {
            Kind.USER_DATA: types.user_data,
            Kind.CHAT_DATA: types.chat_data,
            Kind.BOT_DATA: types.bot_data,
        }

    @property
    def restore_point(self) -> RestorePoint | None:
        """Return the commit to go back to, or None."""
        return None if self.restore is None else RestorePoint.parse(self.restore)

    @property
    def unsaved_keys(self) -> dict[Kind, frozenset[Any]]:
        """Return the top-level keys that are never saved, by kind."""
        return {Kind(kind): frozenset(keys) for kind, keys in (self.unsaved or {}).items()}

    def _check_unsaved(self) -> None:
        """Refuse unsaved keys of kinds that have no such keys, and what is no collection."""
        types: Mapping[str, object] = {kind.value: made for kind, made in self.born.items()}
        for kind, keys in (self.unsaved or {}).items():
            if kind not in types:
                raise SettingsError(f"unsaved= has a name that is none of {', '.join(types)}.")
            if fault := _keys_fault(keys, types[kind]):
                raise SettingsError(f"unsaved= of {kind} {fault}")


def option_fault(name: str, value: Any) -> str | None:  # noqa: ANN401 - anybody's
    """Return the fault of an option's value as the end of a sentence, or None.

    Args:
        name: Name of the option, as `Options` has it.
        value: Value that a user has given.
    """
    fault_of = _FAULTS.get(name)
    return None if fault_of is None else fault_of(value)


def _restore_fault(request: str | None) -> str | None:
    """Refuse a restore request that no head could record: it would be carried out at each start."""
    return None if request is None else recording_fault(request)


def _serializer_fault(serializer: Serializer | None) -> str | None:
    """Refuse a serializer whose id fits no header: nobody could read what it wrote."""
    serializer_id: object = serializer and serializer.id  # anybody's, so perhaps no text
    if serializer is None or (
        isinstance(serializer_id, str) and _SERIALIZER_ID.fullmatch(serializer_id)
    ):
        return None
    return (
        "has an id that does not fit into the objects. Its id must be text of 1 to 32 "
        "characters out of a-z, 0-9, '.', '_' and '-'."
    )


def _keys_fault(keys: object, made: object) -> str | None:
    """Refuse unsaved keys of data that has none.

    Args:
        keys: Keys that a user has given.
        made: Type, or function, that makes the data.
    """
    if isinstance(keys, (str, bytes)) or not isinstance(keys, Collection):
        return 'takes a collection of keys, such as ["client"].'
    if isinstance(made, type) and not issubclass(made, dict):
        return (
            f"names keys, and the context type {made.__qualname__} is no dictionary. Have its "
            "__getstate__ leave out what is not to be saved."
        )
    return None


def _unless(name: str, is_good: Callable[[Any], bool]) -> Callable[[Any], str | None]:
    return lambda value: None if is_good(value) else WANTED[name]


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_positive(value: Any) -> bool:  # noqa: ANN401 - anybody's
    return _is_number(value) and value > 0


def _is_level(value: Any) -> bool:  # noqa: ANN401 - anybody's
    return isinstance(value, int) and value in LEVELS


def _is_sync(value: Any) -> bool:  # noqa: ANN401 - anybody's
    return value is None or value == "auto" or (_is_number(value) and 0 <= value < float("inf"))


# By option, what says what is wrong with a value of it.
_FAULTS: Final[Mapping[str, Callable[[Any], str | None]]] = {
    "update_interval": _unless("update_interval", _is_positive),
    "compression_level": _unless("compression_level", _is_level),
    "flush_timeout": _unless("flush_timeout", _is_positive),
    "sync": _unless("sync", _is_sync),
    "on_loss": _unless("on_loss", get_args(OnLoss).__contains__),
    "load": _unless("load", get_args(Load).__contains__),
    "restore": _restore_fault,
    "serializer": _serializer_fault,
}
