"""Listing: what a job is to whoever looks at a store, without the code of its bot. Pure.

Beside the jobs of the job queue there are timeouts of conversations, which a bot has saved with the
state that they end. Their keys begin with `TIMEOUT`, and their values have other members.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, NamedTuple

from ptb_s3._format.entities import EntityKey, Kind, is_key
from ptb_s3._jobs import claims
from ptb_s3._jobs.record import JobRecord, JobRecordError
from ptb_s3._jobs.wording import trigger_words

TIMEOUT: Final = "timeout:"
"""Beginning of the first part of the key of a conversation's timeout; its name follows."""


class ListedJob(NamedTuple):
    """Job or conversation timeout, as it is listed.

    Attributes:
        id: Its id, the first part of its key.
        name: Name of the job, or of the conversation.
        callback: Its function, as ``module:qualname``; None: a conversation's timeout.
        trigger: When it runs, in words.
        next: When it runs next; None: it is paused.
        claim: Claim of whoever runs it; None: nobody does, or has died while it did.
        whom: Ids of the chat and user that it is for.
        chat: Id of its chat, where it is a job for one.
        user: Id of its user, where it is a job for one.
        data: The user's own.
    """

    id: str
    name: str
    callback: str | None
    trigger: str
    next: datetime | None
    claim: Mapping[str, Any] | None
    whom: tuple[int | str, ...]
    chat: int | None = None
    user: int | None = None
    data: object = None

    def is_overdue(self, now: datetime) -> bool:
        """Tell whether it is due, and nobody runs it."""
        return self.next is not None and self.next <= now and not claims.holds(self.claim, now)

    def is_for(self, *, chat: int | None, user: int | None) -> bool:
        """Tell whether it is for a chat and a user, each None: for any.

        The key of a conversation does not say which of its parts is which.
        """
        if self.callback is None:
            return all(one is None or one in self.whom for one in (chat, user))
        return chat in (None, self.chat) and user in (None, self.user)


def listed(key: EntityKey, value: object) -> ListedJob:
    """Return an entity of kind ``jobs`` as it is listed.

    Raises:
        JobRecordError: It is neither a job nor a timeout.
    """
    if not is_key(Kind.JOBS, key) or not isinstance(key, tuple):
        raise JobRecordError("has a key of another form")
    if key[0].startswith(TIMEOUT):
        return _timeout(key[0], key[1], value)
    record = JobRecord.of(key, value)
    return ListedJob(
        record.id,
        record.name,
        record.callback,
        trigger_words(record.trigger),
        record.next,
        record.claim,
        tuple(key[1]),
        record.chat,
        record.user,
        record.data,
    )


def fault_of_job(key: EntityKey, value: object) -> str | None:
    """Return why an entity is no job that a bot could start with, or None: it is one."""
    try:
        listed(key, value)
    except JobRecordError as fault:
        return f"it {fault}"
    return None


def _timeout(entity_id: str, whom: Any, value: object) -> ListedJob:  # noqa: ANN401 - parts of a key
    if not isinstance(value, Mapping) or not isinstance(value.get("next"), datetime):
        raise JobRecordError("is no timeout's")
    due, claim = value["next"], value.get("claim")
    if due.tzinfo is None:
        raise JobRecordError("has 'next' without a time zone")
    name = entity_id.removeprefix(TIMEOUT)
    return ListedJob(entity_id, name, None, "conversation timeout", due, claim, tuple(whom))
