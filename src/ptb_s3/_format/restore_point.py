"""Restore points: the three ways to name a commit to go back to. Pure.

The text comes from outside (``restore=``, PTB_S3_RESTORE, a command line) and is parsed once, here:

| text                                   | names                                                |
|----------------------------------------|------------------------------------------------------|
| ``41``, decimal, at most 15 digits     | a revision                                           |
| ``2026-11-23T14:00``, ISO 8601         | a time: the newest commit up to then; UTC by default |
| anything else                          | the version id of a head                             |

A bot's restore request is carried out once: head records its text. So the text of such a request
must be one that head's format takes, see `recording_fault`; that of a command is not recorded.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Self

from ptb_s3._format.head import MAX_REQUEST
from ptb_s3._storage.place import UNPRINTABLE
from ptb_s3.errors import RestorePointError

# A revision has fewer digits than this; a version id of digits alone has more.
_REVISION_DIGITS = 16


@dataclass(frozen=True, slots=True)
class RestorePoint:
    """Parsed name of a commit: a revision, a time with zone, or a version id, exactly one of them.

    Attributes:
        text: The name as it was given: what head records and what errors quote.
        revision: The revision, if the text is one.
        moment: The time, with a zone, if the text is one.
    """

    text: str
    revision: int | None = None
    moment: datetime | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse any text, taking a time without a zone for one in UTC.

        Nothing is refused: text that is neither a revision nor a time may be a version id, of
        which only the storage can tell whether there is one.
        """
        if text.isdecimal() and len(text) < _REVISION_DIGITS:
            return cls(text, revision=int(text))
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            return cls(text)
        return cls(text, moment=moment if moment.tzinfo else moment.replace(tzinfo=UTC))

    @property
    def version_id(self) -> str | None:
        """Return the version id of a head, or None if this is a revision or a time."""
        return self.text if self.revision is None and self.moment is None else None

    def refused(self, reason: str) -> RestorePointError:
        """Return the error to raise where no commit answers to this point.

        Args:
            reason: Why not, as the end of a sentence.
        """
        return RestorePointError(
            f"Cannot go back to {self.text!r}: {reason.removesuffix('.')}. Give a revision, a "
            "time, or the version id of a head that the bucket still holds. Nothing was changed."
        )


def recording_fault(text: str) -> str | None:
    """Return why head cannot record a restore request, as the end of a sentence, or None.

    A request that cannot be recorded would be carried out again at every start, or the head that
    records it could not be read. The fault does not quote the text, which may be a secret that was
    put into the wrong variable.
    """
    if len(text) > MAX_REQUEST:
        return (
            f"has {len(text)} characters, and at most {MAX_REQUEST} are taken. Give a revision, "
            "a time, or the version id of a head."
        )
    if UNPRINTABLE.search(text):
        return "holds a character that cannot be seen. Give it again without."
    return None
