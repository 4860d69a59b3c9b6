"""Check what a user gives before anything is made of it: prefix, restore request, serializer. Pure.

Each would be written, or asked for, without a word; and the next start, or the next listing, would
find out. A fault is returned as the end of a sentence, since the name in front of it differs: an
argument in code, a variable in the settings. It shows no value.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Hashable, Mapping
from typing import Protocol

from ptb_s3.errors import SettingsError

# Of a whole name, in UTF-8 (Amazon S3 User Guide, "Naming Amazon S3 objects").
MAX_NAME_BYTES = 1024
# What may follow the prefix: kinds take 13 bytes, and the doctor's scratch objects some 40.
MAX_OBJECT_BYTES = 64
MAX_PREFIX_BYTES = MAX_NAME_BYTES - MAX_OBJECT_BYTES
# Characters. Version ids of AWS have 32, and may have up to 1,024 bytes.
MAX_REQUEST = 1024

_SERIALIZER_ID = re.compile(r"[a-z0-9._-]{1,32}")  # FORMAT.md, section 2
# Of categories Cc and Cs. A half of a surrogate pair has no UTF-8.
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")

_ANOTHER_NAME = (
    "Some servers list such objects under another name than they keep them by, and history, prune "
    "and forget would not see them."
)
_PREFIX_FAULTS = (
    (_UNPRINTABLE, "holds a character that cannot be seen. Leave it out."),
    (
        re.compile(r"^/"),
        "begins with a slash: everything would lie in a folder without a name. Leave it out.",
    ),
    (re.compile(r"//"), f"holds two slashes in a row. {_ANOTHER_NAME} Give one."),
    (re.compile(r"\\"), f"holds a backslash. {_ANOTHER_NAME} Part folders with '/'."),
    (
        re.compile(r"(^|/)\.\.?(/|$)"),
        f"has a part '.' or '..', which means no folder here. {_ANOTHER_NAME} Leave it out.",
    ),
)


class Identified(Protocol):
    """As much of a serializer as is looked at here."""

    @property
    def id(self) -> str: ...


def prefix_fault(prefix: str) -> str | None:
    """Return what is wrong with a prefix, as the end of a sentence, or None."""
    for pattern, fault in _PREFIX_FAULTS:
        if pattern.search(prefix):
            return fault
    size = len(prefix.encode())
    if size > MAX_PREFIX_BYTES:
        return (
            f"takes {size} bytes, and {MAX_PREFIX_BYTES} fit: names of objects have at most "
            f"{MAX_NAME_BYTES}. Give a shorter one."
        )
    return None


def check_prefix(prefix: str) -> None:
    """Refuse a prefix that is given in code.

    Raises:
        SettingsError: Objects under it would not be found again everywhere.
    """
    _check("prefix=", prefix_fault(prefix))


def restore_fault(request: str) -> str | None:
    """Return what keeps a text from being a restore request, likewise."""
    if len(request) > MAX_REQUEST:
        return (
            f"has {len(request)} characters, and at most {MAX_REQUEST} are taken. Give a revision, "
            "a time, or the version id of a head."
        )
    if _UNPRINTABLE.search(request):
        return "holds a character that cannot be seen. Give it again without."
    return None


def check_restore(request: str | None) -> None:
    """Refuse a restore request that is given in code, and that no head could record.

    Raises:
        SettingsError: It is one.
    """
    _check("restore=", None if request is None else restore_fault(request))


def check_serializer(serializer: Identified) -> None:
    """Refuse a serializer whose id fits no header, so that nobody could read what it wrote.

    Raises:
        SettingsError: It is one.
    """
    serializer_id: object = serializer.id  # anybody's, so perhaps no text
    if not (isinstance(serializer_id, str) and _SERIALIZER_ID.fullmatch(serializer_id)):
        fault = (
            "has an id that does not fit into the objects. Its id must be text of 1 to 32 "
            "characters out of a-z, 0-9, '.', '_' and '-'."
        )
        _check("serializer=", fault)


def check_unsaved(unsaved: Mapping[str, Collection[Hashable]], types: Mapping[str, object]) -> None:
    """Refuse top-level keys not to be saved that no saved form could be without.

    Args:
        unsaved: The keys, by kind.
        types: By kind, what makes the data of those that may have such keys.

    Raises:
        SettingsError: A kind has no such keys, or they are no collection.
    """
    for kind, keys in unsaved.items():
        if kind not in types:
            _check("unsaved=", f"has a name that is none of {', '.join(types)}.")
        if isinstance(keys, (str, bytes)) or not isinstance(keys, Collection):
            _check(f"unsaved= of {kind}", 'takes a collection of keys, such as ["client"].')
        made = types[kind]
        if isinstance(made, type) and not issubclass(made, dict):
            fault = (
                f"names keys, and the context type {made.__qualname__} is no dictionary. Have its "
                "__getstate__ leave out what is not to be saved."
            )
            _check(f"unsaved= of {kind}", fault)


def _check(argument: str, fault: str | None) -> None:
    if fault is not None:
        raise SettingsError(f"{argument} {fault}")
