"""Record of one job: what is saved of it, as plain values.

The value of an entity of kind ``jobs`` is a dictionary with these members, so that two writers'
changes of one job merge member by member, and `ptb-s3 show` needs nobody's code:

=========== =======================================================================================
member      meaning
=========== =======================================================================================
name        the job's name, which many jobs may have
callback    its function, as ``module:qualname``
trigger     when it runs, as `triggers` writes it
next        moment of its next run, in UTC; None while it is paused
chat, user  ids of whom it is for, each None where there is none
data        the user's own
fixed       number among the jobs of its name, callback, chat and user that were made before the
            application started; None: it was made by a handler or another job
options     what differs from the defaults of ``job_kwargs``
claim       who runs it now, as `claims` writes it; None: nobody
=========== =======================================================================================
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Final, Self

from ptb_s3._format.entities import EntityKey

MEMBERS: Final = (
    *("name", "callback", "trigger", "next", "chat", "user", "data", "fixed", "options", "claim"),
)
"""Members of a job's value, in this order."""


class JobRecordError(Exception):
    """Raised for a value that is no job's. Its text is the end of a sentence, without the value."""


@dataclass(slots=True)
class JobRecord:
    """Job as it is saved.

    Attributes:
        id: Random hexadecimal id, or the one that ``job_kwargs`` gave it.
        name: See the table of the module, as for all that follow.
        callback: As above.
        trigger: As above.
        next: As above.
        chat: As above.
        user: As above.
        data: As above.
        fixed: As above.
        options: As above.
        claim: As above.
    """

    id: str
    name: str
    callback: str
    trigger: tuple[str, Any]
    next: datetime | None
    chat: int | None = None
    user: int | None = None
    data: Any = None
    fixed: int | None = None
    options: dict[str, Any] = field(default_factory=dict)
    claim: dict[str, Any] | None = None
    key: EntityKey = field(default="", init=False, compare=False)  # type: ignore[assignment]

    def __post_init__(self) -> None:
        """Set the key, which names whom the job is for, so that to forget them finds it."""
        self.key = (self.id, tuple(one for one in (self.chat, self.user) if one is not None))

    @property
    def label(self) -> str:
        """Return what a log calls the job. Its name may be that of a person, or of a chat."""
        return self.callback

    def value(self) -> dict[str, Any]:
        """Return the value of the job's entity."""
        return {name: getattr(self, name) for name in MEMBERS}

    def copy(self) -> Self:
        """Return a record of the same job that can be changed by itself, but for its data."""
        return replace(self, options=dict(self.options), claim=self.claim and dict(self.claim))

    @classmethod
    def of(cls, key: EntityKey, value: object) -> Self:
        """Return the record of an entity.

        Args:
            key: The entity's key.
            value: Its value.

        Raises:
            JobRecordError: It is not the value of a job.
        """
        if not isinstance(key, tuple) or not isinstance(value, Mapping):
            raise JobRecordError("is not a job's")
        if missing := [name for name in MEMBERS if name not in value]:
            raise JobRecordError(f"lacks {missing[0]!r}")
        members = {name: value[name] for name in MEMBERS}
        _check(members)
        record = cls(id=key[0], **members)
        record.key = key  # a job may have been given to another chat since
        return record


def moment(time: datetime) -> datetime:
    """Return a time with a time zone in UTC, as records hold it."""
    return time.astimezone(UTC)


def _check(members: Mapping[str, Any]) -> None:
    """Refuse members of other types, which would fail far from here.

    Raises:
        JobRecordError: One is of another type.
    """
    for name, types in _TYPES.items():
        if not isinstance(members[name], types):
            raise JobRecordError(f"has {name!r} of another type")
    due = members["next"]
    if due is not None and due.tzinfo is None:
        raise JobRecordError("has 'next' without a time zone")


_TYPES: Final[Mapping[str, Any]] = {
    "name": str,
    "callback": str,
    "trigger": tuple,
    "next": (datetime, type(None)),
    "chat": (int, type(None)),
    "user": (int, type(None)),
    "fixed": (int, type(None)),
    "options": dict,
    "claim": (dict, type(None)),
}
