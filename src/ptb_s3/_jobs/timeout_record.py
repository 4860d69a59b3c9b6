"""Record of one conversation's timeout: what is saved of it, as plain values. Pure.

It is an entity of kind ``jobs``, under a key that no job has: its id is ``timeout:`` and the name
of the conversation handler, and the rest is the conversation's own key, with the ids of chat and
user in it, so that to forget them finds it. Its value is a dictionary:

======= ===========================================================================================
member  meaning
======= ===========================================================================================
update  the update that began the wait, as Telegram sends it
next    the moment at which the conversation times out, in UTC
claim   who ends the conversation now, as `claims` writes it; None: nobody
======= ===========================================================================================

``next`` and ``claim`` mean what they mean in a job, so that two writers' changes merge as a job's.
The update is no object of PTB's: what is saved needs nobody's classes to be read, and none of PTB's
versions has to understand another one's pickles.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Self, TypeAlias

from ptb_s3._format.entities import EntityKey
from ptb_s3._jobs.record import JobRecordError

PREFIX: Final = "timeout:"
"""What the first part of a timeout's key begins with, and no id of a job."""

ConversationKey: TypeAlias = tuple[int | str, ...]

_TYPES: Final[Mapping[str, Any]] = {
    "update": dict,
    "next": datetime,
    "claim": (dict, type(None)),
}


def is_timeout(key: EntityKey) -> bool:
    """Tell whether an entity of kind ``jobs`` is a timeout, and no job."""
    return isinstance(key, tuple) and key[0].startswith(PREFIX)


def key_of(handler: str, conversation: ConversationKey) -> EntityKey:
    """Return the key of a timeout's entity.

    Args:
        handler: Name of the conversation handler.
        conversation: Key of the conversation.
    """
    return (PREFIX + handler, conversation)


@dataclass(slots=True)
class TimeoutRecord:
    """Timeout of a conversation as it is saved.

    Attributes:
        handler: Name of the conversation handler.
        conversation: Key of the conversation.
        update: See the table of the module, as for all that follow.
        next: As above.
        claim: As above.
        trigger: As a job's that runs once.
        options: As a job's that runs however late it is.
    """

    handler: str
    conversation: ConversationKey
    update: dict[str, Any]
    next: datetime | None
    claim: dict[str, Any] | None = None
    options: Mapping[str, Any] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        """Set the options that a job would have."""
        self.options = {"misfire_grace_time": None}

    @property
    def key(self) -> EntityKey:
        """Return the key of the timeout's entity."""
        return key_of(self.handler, self.conversation)

    @property
    def label(self) -> str:
        """Return what a log calls the timeout, with no id in it."""
        return PREFIX + self.handler

    @property
    def trigger(self) -> tuple[str, Any]:
        """Return the trigger that a job would have."""
        return ("date", {"at": self.next})

    def value(self) -> dict[str, Any]:
        """Return the value of the timeout's entity."""
        return {"update": self.update, "next": self.next, "claim": self.claim}

    @classmethod
    def of(cls, key: EntityKey, value: object) -> Self:
        """Return the record of an entity.

        Args:
            key: The entity's key.
            value: Its value.

        Raises:
            JobRecordError: It is not the value of a timeout.
        """
        if not isinstance(key, tuple) or not isinstance(value, Mapping):
            raise JobRecordError("is not a timeout's")
        for name, types in _TYPES.items():
            if not isinstance(value.get(name), types):
                raise JobRecordError(f"has no {name!r}, or one of another type")
        if value["next"].tzinfo is None:
            raise JobRecordError("has 'next' without a time zone")
        conversation: Any = key[1]
        members = (value["update"], value["next"], value["claim"])
        return cls(key[0].removeprefix(PREFIX), conversation, *members)
