"""Check what a user gives before anything is made of it: restore request, serializer. Pure.

Each would be written, or asked for, without a word; and the next start, or the next listing, would
find out. A fault is returned as the end of a sentence, since the name in front of it differs: an
argument in code, a variable in the settings. It shows no value.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Hashable, Mapping
from typing import Protocol

from ptb_s3._format.restore_point import RestorePoint, recording_fault
from ptb_s3.errors import SettingsError

_SERIALIZER_ID = re.compile(r"[a-z0-9._-]{1,32}")  # FORMAT.md, section 2


class Identified(Protocol):
    """As much of a serializer as is looked at here."""

    @property
    def id(self) -> str: ...


def check_restore(request: str | None) -> RestorePoint | None:
    """Parse a restore request that is given in code; None if there is none.

    Raises:
        SettingsError: No head could record it.
    """
    if request is None:
        return None
    _check("restore=", recording_fault(request))
    return RestorePoint.parse(request)


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
