"""Arguments of commands, parsed: restore points, times, kinds, keys of entities, URLs.

Times without a zone are local, as the times that are shown are. Relative ones, such as ``2 hours
ago``, are taken as well.
"""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any

from ptb_s3._format.entities import EntityKey, Kind, is_key
from ptb_s3._format.restore_point import RestorePoint
from ptb_s3.errors import SettingsError

S3_URL = "s3://"
"""The beginning of a URL that names a bucket and a prefix."""


def split_url(url: str) -> tuple[str, str]:
    """Return the bucket and the prefix that a URL names.

    Raises:
        SettingsError: It names none.
    """
    bucket, _, prefix = url.removeprefix(S3_URL).partition("/")
    if not bucket or not url.startswith(S3_URL):
        raise SettingsError("That names no bucket. Give one, and the prefix: s3://bucket/prefix.")
    return bucket, prefix


def point(text: str) -> RestorePoint:
    """Parse a restore point, taking a time without a zone for a local one.

    Relative times become exact, so that the answer does not depend on when it is looked for.
    """
    moment = None if text.isdecimal() else _moment(text)
    return RestorePoint.parse(text if moment is None else moment.isoformat())


def moment(text: str) -> datetime:
    """Return the time that a text names.

    Raises:
        SettingsError: It names none.
    """
    found = _moment(text)
    if found is None:
        raise SettingsError(
            f"{text!r} is no time. Give one like 2026-11-23T14:00, or like '2 hours ago'."
        )
    return found


def duration(text: str) -> timedelta:
    """Return the span of time that a text names, such as ``90s``, ``10m``, ``2h`` or ``1d``.

    Raises:
        SettingsError: It names none.
    """
    number, unit = text[:-1], _UNITS.get(text[-1:])
    if unit is None or not number.isdecimal():
        raise SettingsError(f"{text!r} is no span of time. Give one like 90s, 10m, 2h or 1d.")
    return timedelta(**{unit: int(number)})


_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def _moment(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text).astimezone()
    except ValueError:
        import dateparser  # noqa: PLC0415 - takes a while, and few give a time like that

        # Relative times alone: a version id must not be taken for one of the many absolute forms.
        how = {"PARSERS": ["relative-time"], "RETURN_AS_TIMEZONE_AWARE": True}
        found: datetime | None = dateparser.parse(text, languages=["en"], settings=how)
        return found


def kind_of(text: str) -> Kind:
    """Return the kind of that name.

    Raises:
        SettingsError: There is none.
    """
    try:
        return Kind(text)
    except ValueError:
        raise SettingsError(f"{text!r} is no kind. There are: {', '.join(Kind)}.") from None


def key_of(kind: Kind, text: str) -> EntityKey:
    """Return the key of an entity: a number, or JSON as `key_text` writes it.

    Raises:
        SettingsError: It is no key of that kind.
    """
    try:
        key = _tuples(json.loads(text))
    except ValueError:
        key = None
    if not is_key(kind, key):
        raise SettingsError(f"That is no key of {kind.value}. It looks like {_EXAMPLES[kind]}.")
    return key  # type: ignore[no-any-return] # is_key has just said so


def key_text(key: EntityKey) -> str:
    """Write the key of an entity as `key_of` reads it."""
    return json.dumps(key, separators=(",", ":"), ensure_ascii=False)


def _tuples(value: Any) -> Any:  # noqa: ANN401 - JSON
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


_EXAMPLES = {
    Kind.USER_DATA: "123456789",
    Kind.CHAT_DATA: "-1001234567890",
    Kind.BOT_DATA: "0",
    Kind.CALLBACK_DATA: '["k","<uuid of a keyboard>"] or ["q","<id of a callback query>"]',
    Kind.CONVERSATIONS: '["order",[123456789,123456789]]: its name, and the parts of its key',
    Kind.JOBS: '["<id>",[123456789,123456789]]: its id, and those of the chat and user it is for',
}
