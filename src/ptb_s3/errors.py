"""What can go wrong, what to do about it, and the exit code it means on the command line.

Every message says what happened, to which object, and what to do. Attributes carry the evidence
(kind, key, object, version); messages and reprs never hold a secret, a value or a user's id, since
they end up in logs.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from os import PathLike
from typing import ClassVar, Self

__all__ = [
    "AccessDeniedError",
    "BucketNotFoundError",
    "ConflictError",
    "DamagedFileError",
    "DamagedObjectError",
    "DeletedStateError",
    "ForeignStoreError",
    "HeadLostError",
    "KeyFormatError",
    "MissingObjectError",
    "NoConditionalPutError",
    "NoHistoryError",
    "NothingThereError",
    "OvertakenError",
    "PersistenceError",
    "RestorePointError",
    "SerializationError",
    "SettingsError",
    "StorageError",
    "StorageUnavailableError",
    "UnfitTypeError",
    "UnknownKeyError",
    "UnknownTypeError",
    "UnreadableError",
    "UntrustedFileError",
    "UntrustedTypeError",
    "UpdateFormatError",
]


class PersistenceError(Exception):
    """Base of every error that ptb-s3 raises.

    Attributes:
        exit_code: What the command line exits with: 1 failed, 2 usage, 3 nothing there,
            4 wrong key, 5 damaged data, 6 conflict, 7 storage out of reach.
        others: What else went wrong in the same call, which can raise but one: further values that
            cannot be saved.
    """

    exit_code: ClassVar[int] = 1
    others: tuple[PersistenceError, ...] = ()

    def while_saving(self, waiting: str) -> Self:
        """Say that it was a save that failed; return self.

        Args:
            waiting: What is kept in memory for the next one; empty where nothing is.
        """
        kept = f" ({waiting}, kept in memory for the next save)" if waiting else ""
        self.args = (f"Could not save what has changed{kept}. {self}",)
        return self


class SettingsError(PersistenceError, ValueError):
    """A setting, an argument or an environment variable cannot be used as it is."""

    exit_code = 2


class KeyFormatError(SettingsError):
    """A text that should be a key is not one. Says what is wrong with it without showing it."""


class StorageError(PersistenceError):
    """The storage refused or could not answer; nothing is known to have changed."""

    exit_code = 7


class StorageUnavailableError(StorageError):
    """No answer, or an answer that says "later". A write may or may not have taken effect."""


class AccessDeniedError(StorageError):
    """The credentials do not allow what is needed."""


class NoConditionalPutError(StorageError):
    """The storage has no conditional PUT, or does not keep to it: two writers would collide."""


class NoHistoryError(StorageError):
    """The storage keeps no versions, or lists none: there is no history."""


class NothingThereError(PersistenceError):
    """What was asked for is not there.

    Attributes:
        unread: How many versions of head are there and do not open, where that was looked at.
    """

    exit_code = 3
    unread: int = 0


_NOTHING = "No version of it is left."


class DeletedStateError(NothingThereError):
    """The state was deleted: there is no head, and versions of one are left.

    Attributes:
        version_id: Id of the deleted head's newest version or, where none is left, of the delete
            marker.
        deleted: When that was, by the storage's clock; None where it is not known.
        commits: How many commits are left to go back to; None where they may not be listed.
    """

    def __init__(
        self,
        version_id: str,
        deleted: datetime | None = None,
        commits: int | None = None,
        *,
        more: bool = False,
    ) -> None:
        self.version_id = version_id
        self.deleted = deleted
        self.commits = commits
        when = f" at {deleted.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC" if deleted else ""
        remedy = "ptb-s3 repair brings it back."
        if commits is not None:
            number = f"{'more than ' if more else ''}{commits:,}"
            remedy = f"Commits that can be brought back: {number}. {remedy}"
        super().__init__(
            f"The state in this place was deleted{when}. {remedy if commits != 0 else _NOTHING} To "
            f"begin a new, empty state there: ptb-s3 begin-anew {version_id}, or "
            f"PTB_S3_BEGIN_ANEW={version_id} at the next start. Nothing was changed."
        )


class BucketNotFoundError(NothingThereError):
    """The bucket does not exist."""


class RestorePointError(NothingThereError):
    """No commit that history still holds answers to the revision, time or version id asked for."""


_GIVE_IT = (
    "Put that key into PTB_S3_RETIRED_KEYS (for an older version, PTB_S3_HISTORY_KEYS will do), or "
    "into PTB_S3_KEY if it is the current one. Nothing was changed."
)
_SUSPECT_IT = (
    "If that key has leaked, whoever has it may have written this: bring back the version before, "
    "by the bucket's own means. If a rotation was not finished: put the key into "
    "PTB_S3_RETIRED_KEYS, run ptb-s3 rotate, and move it back. Nothing was changed."
)
# A process has no way to be given a key but by a restart.
_ROTATED_MEANWHILE = (
    "Everything that this bot has not saved is kept in its memory, and would be lost with a "
    "restart. To lose nothing, let it save first: stop whatever else seals with key {needed}, and "
    "run ptb-s3 rotate --while-running with the key that this bot seals with in PTB_S3_KEY and key "
    "{needed} in PTB_S3_RETIRED_KEYS. It saves with its next commit then, and can be restarted "
    "with key {needed} among its keys. Nothing was overwritten."
)
_UNSAVED = "Everything that this bot has not saved is kept in its memory. "


class UnknownKeyError(PersistenceError):
    """An object is sealed with a key that is not at hand, or opens nothing current.

    Attributes:
        object_name: The object that cannot be opened, without the prefix.
        needed: Id of the key that it is sealed with.
        at_hand: Ids of the keys that were there to try.
        in_history: Whether the key is at hand, but for older versions alone.
    """

    exit_code = 4

    def __init__(
        self,
        object_name: str,
        needed: str,
        at_hand: Sequence[str],
        *,
        in_history: bool = False,
        running: bool = False,
    ) -> None:
        self.object_name = str(object_name)  # a kind, for one, is shown as a text
        self.needed = needed
        self.at_hand = tuple(at_hand)
        self.in_history = in_history
        if in_history:
            why = "which is in PTB_S3_HISTORY_KEYS, and so opens nothing current"
            remedy = (_UNSAVED if running else "") + _SUSPECT_IT
        else:
            why = f"which is not at hand (there is: {', '.join(self.at_hand) or 'none'})"
            remedy = _ROTATED_MEANWHILE.format(needed=needed) if running else _GIVE_IT
        super().__init__(
            f"Object {self.object_name!r} is sealed with key {needed}, {why}. {remedy}"
        )

    def while_running(self) -> UnknownKeyError:
        """Return the same, as a bot says it that was running when the key was exchanged."""
        return UnknownKeyError(
            self.object_name,
            self.needed,
            self.at_hand,
            in_history=self.in_history,
            running=True,
        )


class DamagedObjectError(PersistenceError):
    """An object is not what was written: a flipped bit, truncation, another object in its place.

    Attributes:
        object_name: The damaged object, without the prefix.
        reason: What does not fit.
    """

    exit_code = 5

    def __init__(self, object_name: str, reason: str) -> None:
        self.object_name = str(object_name)
        self.reason = reason
        super().__init__(
            f"Object {self.object_name!r} is damaged: {reason}. Nothing was changed. ptb-s3 repair "
            "says what can be brought back, and does it."
        )


class UnreadableError(PersistenceError):
    """An object that was about to be sent could not be read again; it was not sent.

    Attributes:
        object_name: The object, without the prefix.
        reason: What a reader would refuse.
    """

    def __init__(self, object_name: str, reason: str) -> None:
        self.object_name = str(object_name)
        self.reason = reason
        super().__init__(
            f"Object {self.object_name!r} was not sent, since no start could read it: {reason}. "
            "What changed is kept in memory. If neither the key source nor the serializer is your "
            "own, this is a fault of ptb-s3: please report it."
        )


class MissingObjectError(DamagedObjectError):
    """An object that the state needs is gone, though others of the same store are there."""


class DamagedFileError(PersistenceError):
    """A file is not what it should be: truncated, or something else altogether.

    Attributes:
        file: The file.
        reason: What does not fit.
    """

    exit_code = 5

    def __init__(self, file: str | PathLike[str], reason: str) -> None:
        self.file = str(file)
        self.reason = reason
        super().__init__(
            f"File {self.file!r} cannot be taken over: {reason}. Nothing was changed. Give an "
            "intact file of the kind that is asked for."
        )


class ForeignStoreError(PersistenceError):
    """The store belongs to another bot, or objects of two stores lie in one place."""

    exit_code = 5


class ConflictError(PersistenceError):
    """Another writer has committed; nothing was overwritten, and our changes are kept.

    Attributes:
        kind: Name of the kind of an entity that could not be merged; None if it is about no one
            entity.
        key: The entity's key.
    """

    exit_code = 6
    kind: str | None = None
    key: object = None


class HeadLostError(ConflictError):
    """Head is gone, damaged or an older one while a bot runs; all that is unsaved is kept."""


class OvertakenError(ConflictError):
    """Others changed what an update changed since it was read; all of the update is taken back."""


class SerializationError(PersistenceError):
    """A value cannot be saved. Its last good value stays; everything else is saved.

    The message leaves out what may be personal; the attributes tell all.

    Attributes:
        kind: Name of the kind, such as ``"user_data"``.
        key: The entity's key: a user's or chat's id, a conversation's name and key.
        path: Where in the value the culprit is, as Python would write it, such as
            ``"['cart'][2].price"``.
    """

    def __init__(self, reason: str, *, path: str = "") -> None:
        self.reason = reason
        self.path = path
        self.kind: str | None = None
        self.key: object = None
        super().__init__(reason)

    def locate(self, kind: str, key: object) -> SerializationError:
        """Add which entity it was, as the layer that knows it; return self."""
        self.kind, self.key = kind, key
        return self

    def __str__(self) -> str:
        where = (
            f"A value of {self.kind} cannot be saved" if self.kind else "A value cannot be saved"
        )
        more = f" There are {len(self.others)} more: see .others." if self.others else ""
        return (
            f"{where}: {self.reason}. Its last good value is kept; everything else is saved. "
            f"This error's .key and .path say where it is.{more}"
        )


class UntrustedTypeError(SerializationError):
    """A value holds an object of a class that is not on the allow-list."""


class UnknownTypeError(PersistenceError):
    """Saved values need classes that are gone or not trusted.

    Attributes:
        kind: Name of the kind.
        types: Full names of the classes, sorted.
        keys: Keys of the entities that cannot be loaded.
    """

    exit_code = 5

    def __init__(
        self, kind: str, types: Sequence[str], keys: Sequence[object], *, advice: str = ""
    ) -> None:
        self.kind = kind
        self.types = tuple(types)
        self.keys = tuple(keys)
        super().__init__(
            f"{len(self.keys)} saved value(s) of {kind} need classes that are gone or not trusted: "
            f"{', '.join(self.types)}. If a class was renamed, or is of a script that runs as "
            "__main__ elsewhere, pass aliases={'old.path.Name': NewClass}. "
            f"{advice}{' ' if advice else ''}Nothing was changed. This error's .keys names the "
            "entities."
        )


class UnfitTypeError(PersistenceError):
    """Saved values are intact, and their classes no longer take what they once gave.

    Attributes:
        kind: Name of the kind.
        types: Full names of the classes in these values, sorted; one of them is to blame.
        keys: Keys of the entities that cannot be loaded.
    """

    exit_code = 5

    def __init__(
        self, kind: str, types: Sequence[str], keys: Sequence[object], raised: Sequence[str]
    ) -> None:
        self.kind = kind
        self.types = tuple(types)
        self.keys = tuple(keys)
        super().__init__(
            f"{len(self.keys)} saved value(s) of {kind} do not load, though their bytes are "
            f"intact: a class no longer takes what it once gave ({', '.join(raised)}). It is one "
            f"of {', '.join(self.types)}. Have its __setstate__ take the older state, or put back "
            "the version of its module that saved them. Nothing was changed. This error's .keys "
            "names the entities."
        )


class UntrustedFileError(PersistenceError):
    """A file needs, or would need, classes that cannot be used, or functions.

    Attributes:
        file: The file.
        action: What was not done with it: "read" or "written".
        types: Full names of the classes and functions of modules that are not trusted, sorted.
        functions: Full names of what must be functions of trusted modules, sorted.
        unfit: Full names of classes of python-telegram-bot that its installed version does not
            have, or that do not take there what they once gave, sorted.
    """

    exit_code = 5

    def __init__(
        self,
        file: str | PathLike[str],
        action: str,
        types: Sequence[str],
        functions: Sequence[str] = (),
        *,
        unfit: Sequence[str] = (),
        advice: str = "",
    ) -> None:
        self.file = str(file)
        self.action = action
        self.types = tuple(types)
        self.functions = tuple(functions)
        self.unfit = tuple(unfit)
        parts = [f"File {self.file!r} was not {action}."]
        if types:
            parts += [f"It needs what is not trusted: {', '.join(types)}.", advice]
        if functions:
            parts.append(
                "To load it takes functions, which the bot never calls: "
                f"{', '.join(functions)}. Change the classes that are saved by means of them."
            )
        if unfit:
            parts.append(
                "The installed python-telegram-bot does not have these classes, or they no longer "
                f"take what was saved of them: {', '.join(unfit)}. No bot could start with them."
            )
        if action == "read":
            parts.append("To leave out what needs them: --skip-unreadable.")
        super().__init__(" ".join(filter(None, (*parts, "Nothing was changed."))))


class UpdateFormatError(PersistenceError, ValueError):
    """What was delivered as an update is none."""

    exit_code = 2
