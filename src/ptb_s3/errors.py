"""Errors of ptb-s3: when each is raised, what it carries, its exit code, and what to do.

Every message says what happened, to which object, and what to do. Attributes carry the evidence
(kind, key, object, version); messages and reprs never hold a secret, a value or a user's id, since
they end up in logs.

==== ===================== =====================================================================
code meaning               errors
==== ===================== =====================================================================
1    failed                `PersistenceError`, `SerializationError`, `UnreadableError`,
                           `HeadTooLargeError`
2    usage                 `SettingsError`, `KeyFormatError`, `UpdateFormatError`
3    nothing there         `NothingThereError`, `DeletedStateError`, `BucketNotFoundError`,
                           `RestorePointError`
4    wrong key             `UnknownKeyError`
5    damaged data          `DamagedObjectError`, `MissingObjectError`, `DamagedFileError`,
                           `ForeignStoreError`, `UnknownTypeError`, `UnfitTypeError`,
                           `UntrustedFileError`
6    conflict              `ConflictError`, `HeadLostError`, `OvertakenError`
7    storage out of reach  `StorageError`, `StorageUnavailableError`, `AccessDeniedError`,
                           `NoConditionalPutError`, `NoHistoryError`, `KeyServiceError`,
                           `KeyServiceUnavailableError`
==== ===================== =====================================================================

Which of them a bot may go on after: `StorageUnavailableError` and `ConflictError` of a save, since
what changed stays in memory for the next one. All others need somebody to mend something.
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
    "HeadTooLargeError",
    "JobError",
    "KeyFormatError",
    "KeyServiceError",
    "KeyServiceUnavailableError",
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
    """Base of every error that ptb-s3 raises. Exit code 1, where a subclass sets no other.

    Attributes:
        exit_code: Exit code of the command line; the table is in the module's docstring.
        others: Further errors of the same call, which can raise but one: other values that cannot
            be saved.
    """

    exit_code: ClassVar[int] = 1
    others: tuple[PersistenceError, ...] = ()

    def while_saving(self, waiting: str) -> Self:
        """Add to the message that a save failed, and return self.

        Args:
            waiting: Number and kinds of the changes that are kept in memory for the next save, as
                a text; empty where there are none.
        """
        kept = f" ({waiting}, kept in memory for the next save)" if waiting else ""
        self.args = (f"Could not save what has changed{kept}. {self}",)
        return self


class SettingsError(PersistenceError, ValueError):
    """Unusable setting, argument or environment variable. Exit code 2.

    Raised before anything is read or written. The message names the setting: mend it and start
    again. It is a `ValueError` as well.
    """

    exit_code = 2


class KeyFormatError(SettingsError):
    """Text that should be a key and is none. Exit code 2.

    Raised when a `Keyring` is made, or when a key source of your own returns something else than a
    key. The message says what is wrong with the text and shows no part of it: copy the key again,
    whole, or make one with ``ptb-s3 keys new``. A checksum that does not fit means a mistyped key.
    """


class StorageError(PersistenceError):
    """Refusal by the storage, or a failure of it. Exit code 7.

    Base of the errors that are about the storage rather than about what is stored there. Raised
    itself where no subclass fits; the message says what the storage answered and what to do.
    Nothing is known to have changed, but for `StorageUnavailableError`.
    """

    exit_code = 7


class StorageUnavailableError(StorageError):
    """No answer from the storage, or one that says "later". Exit code 7.

    Raised after all attempts: connection lost, time-out, 408, 429, 5xx, or a 409 that lasted. A
    write may or may not have taken effect; the next save finds out by reading the object. A bot
    keeps its changes in memory and saves them with the next interval: there is nothing to do unless
    this lasts.
    """


class AccessDeniedError(StorageError):
    """Missing permission, or credentials that are not accepted. Exit code 7.

    Raised for 401 and 403, an unknown or expired access key, a clock that is off by 15 minutes, or
    where no credentials are found. The message says which of these it is. ``ptb-s3 doctor`` lists
    the permissions that are missing.
    """


class KeyServiceError(AccessDeniedError):
    """Refusal by the key service (AWS KMS) of what a key is needed for. Exit code 7.

    Raised where a permission on the key is missing or was taken away, where the key is disabled, is
    to be deleted or is not there, and where AWS does not accept the credentials. The message says
    which of these it is. It is no wrong key: once that is mended, all opens again. ``ptb-s3
    doctor`` tries both permissions.

    Attributes:
        code: Code of KMS's answer, such as ``AccessDeniedException``; empty where it gave none.
    """

    def __init__(self, text: str, *, code: str = "") -> None:
        super().__init__(text)
        self.code = code


class KeyServiceUnavailableError(StorageUnavailableError):
    """No answer from the key service (AWS KMS), or one that says "later". Exit code 7.

    Raised after all attempts, at a start above all: a running bot has the keys of what it has read
    and written, and asks only for those of another writer. It tries again by itself.
    """


class NoConditionalPutError(StorageError):
    """Storage without conditional PUT, or one that does not keep to its conditions. Exit code 7.

    Raised when a write shows it: 501, a write accepted that had to be refused, or one refused whose
    condition holds. Two instances of a bot would overwrite each other's state there. Use another
    storage or, if there never is a second instance, set ``single_writer=True``
    (PTB_S3_SINGLE_WRITER=true).
    """


class NoHistoryError(StorageError):
    """Storage that keeps no versions, or lists none. Exit code 7.

    Raised by what needs a history: history, restore, prune. Enable versioning of the bucket, or use
    a storage that has it; saving and loading work without.
    """


class NothingThereError(PersistenceError):
    """Absence of a state, a version or an object that was asked for. Exit code 3.

    Raised only where the storage says for certain that there is none. Check bucket and prefix
    (PTB_S3_BUCKET, PTB_S3_PREFIX).

    Attributes:
        unread: Number of versions of head that exist and do not open, where they were tried.
    """

    exit_code = 3
    unread: int = 0


_NOTHING = "No version of it is left."


class DeletedStateError(NothingThereError):
    """State that was deleted: no head, but a delete marker or versions of one. Exit code 3.

    Raised at a start, so that a bot does not begin an empty state where one was deleted by mistake.
    ``ptb-s3 repair`` brings the state back; ``ptb-s3 begin-anew`` begins a new one.

    Attributes:
        version_id: Id of the deleted head's newest version or, where none is left, of the delete
            marker. Beginning anew asks for it, so that it is meant for this very deletion.
        deleted: When the state was deleted, by the storage's clock; None where it is not known.
        commits: Number of commits that can be brought back; None where they may not be listed.
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
    """Bucket that does not exist. Exit code 3.

    Raised by the first request. Create the bucket, with versioning, or mend PTB_S3_BUCKET, region
    or endpoint; ptb-s3 never creates a bucket.
    """


class RestorePointError(NothingThereError):
    """Restore point that no version in the history answers to. Exit code 3.

    Raised for a revision, a time or a version id. ``ptb-s3 history`` lists those that there are.
    """


_GIVE_IT = (
    "Put that key into PTB_S3_RETIRED_KEYS (for an older version, PTB_S3_HISTORY_KEYS will do), or "
    "into PTB_S3_KEY if it is the current one. Nothing was changed."
)
_NAME_IT = (
    "A key service, such as AWS KMS, keeps that key. Name it in PTB_S3_RETIRED_KMS_KEY_IDS, or in "
    "PTB_S3_KMS_KEY_ID if it is the current one: its id here is the first 16 digits of the SHA-256 "
    "of the key's own id. Nothing was changed."
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
    "{needed} in {retired}. It saves with its next commit then, and can be restarted "
    "with key {needed} among its keys. Nothing was overwritten."
)
_UNSAVED = "Everything that this bot has not saved is kept in its memory. "


class UnknownKeyError(PersistenceError):
    """Object sealed with a key that is not configured, or only for older versions. Exit code 4.

    Raised at a start, or in a running bot when another process has rotated the keys. Nothing was
    overwritten. Put the key with the id `needed` into PTB_S3_RETIRED_KEYS, or into PTB_S3_KEY if it
    is the current one. Where `in_history` is true, the key is known to be retired for good, and
    whoever else has it may have written the object: do not do so without looking.

    Attributes:
        object_name: Name of the object that cannot be opened, without the prefix.
        needed: Id of the key that it is sealed with.
        at_hand: Ids of the keys that were there to try.
        in_history: Whether the key is configured, but in PTB_S3_HISTORY_KEYS, which open nothing
            current.
        wrapped: Whether a key service, such as AWS KMS, keeps that key.
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
        wrapped: bool = False,
    ) -> None:
        self.object_name = str(object_name)  # a kind, for one, is shown as a text
        self.needed = needed
        self.at_hand = tuple(at_hand)
        self.in_history = in_history
        self.wrapped = wrapped
        if in_history:
            why = "which is in PTB_S3_HISTORY_KEYS, and so opens nothing current"
            remedy = (_UNSAVED if running else "") + _SUSPECT_IT
        else:
            why = f"which is not at hand (there is: {', '.join(self.at_hand) or 'none'})"
            retired = "PTB_S3_RETIRED_KMS_KEY_IDS" if wrapped else "PTB_S3_RETIRED_KEYS"
            remedy = _NAME_IT if wrapped else _GIVE_IT
            if running:
                remedy = _ROTATED_MEANWHILE.format(needed=needed, retired=retired)
        super().__init__(
            f"Object {self.object_name!r} is sealed with key {needed}, {why}. {remedy}"
        )

    def while_running(self) -> UnknownKeyError:
        """Return this error with the advice for a bot that ran when the keys were rotated."""
        return UnknownKeyError(
            self.object_name,
            self.needed,
            self.at_hand,
            in_history=self.in_history,
            wrapped=self.wrapped,
            running=True,
        )


class DamagedObjectError(PersistenceError):
    """Object that is not what was written. Exit code 5.

    A flipped bit, truncation, another object in its place, or bytes that are none of the format.
    Raised by reading; no part of the object is used, and nothing is changed. ``ptb-s3 repair`` says
    what can be brought back from versions.

    Attributes:
        object_name: Name of the damaged object, without the prefix.
        reason: The rule of the format that it breaks, as a clause.
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
    """Sealed object that could not be opened again, and was not sent. Exit code 1.

    Every object is opened before it is sent, since one that was acknowledged and cannot be read is
    lost. Raised by a save: what changed is kept in memory. If neither the key source nor the
    serializer is your own, please report it.

    Attributes:
        object_name: Name of the object, without the prefix.
        reason: The rule that a reader would refuse it by, as a clause.
    """

    def __init__(self, object_name: str, reason: str) -> None:
        self.object_name = str(object_name)
        self.reason = reason
        super().__init__(
            f"Object {self.object_name!r} was not sent, since no start could read it: {reason}. "
            "What changed is kept in memory. If neither the key source nor the serializer is your "
            "own, this is a fault of ptb-s3: please report it."
        )


class HeadTooLargeError(PersistenceError):
    """Commit whose head would be larger than any start should have to read. Exit code 1.

    Raised by a save, before anything is sent: the state is as it was. Where a bot runs by itself,
    what changed is kept in memory, and the compaction that makes head small again is begun at once.
    Where a host gives it too little time, run ``ptb-s3 compact``.

    Attributes:
        size: Bytes that head would have.
        limit: Bytes that it may have.
    """

    def __init__(self, size: int, limit: int) -> None:
        self.size = size
        self.limit = limit
        super().__init__(
            f"Object 'head' was not sent: it would have {size} bytes, and at most {limit} are "
            "written, since each start reads all of it. What changed is kept in memory; the state "
            "is as it was. Run ptb-s3 compact, which makes head small again. If that does not "
            "help, one commit changes too much: make it in parts."
        )


class MissingObjectError(DamagedObjectError):
    """Object that the state needs and that is gone, while others of the store remain. Exit code 5.

    Raised at a start, after reading again. Somebody deleted it: ``ptb-s3 repair`` brings it back
    from its versions.
    """


class DamagedFileError(PersistenceError):
    """File to take over that is truncated, or of another kind than it should be. Exit code 5.

    Raised by import and export before anything is changed. Give an intact file.

    Attributes:
        file: Path of the file.
        reason: The fault, as a clause.
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
    """State of another bot, or objects of two stores under one prefix. Exit code 5.

    Raised at a start; nothing is changed. Give each bot a prefix of its own (PTB_S3_PREFIX), or use
    the token of the bot that wrote the state.
    """

    exit_code = 5


class ConflictError(PersistenceError):
    """Commit by another writer that ours cannot be put on top of. Exit code 6.

    Nothing was overwritten, and our changes stay in memory. Raised where the two cannot be merged,
    or are not to be, as in a command that was planned on an older state. The message says what to
    do: run the command again, or stop the other instance.

    Attributes:
        kind: Name of the kind of the entity that could not be merged; None if it is about no single
            entity.
        key: The entity's key.
    """

    exit_code = 6
    kind: str | None = None
    key: object = None


class HeadLostError(ConflictError):
    """Head that was deleted, damaged or put back by an outsider while a bot runs. Exit code 6.

    Nothing was overwritten, and every unsaved change stays in memory. Find out who changed the
    bucket; ``ptb-s3 repair`` brings the newest state back, and the bot then goes on from it.
    """


class OvertakenError(ConflictError):
    """Update whose changes collide with another writer's since it read the data. Exit code 6.

    Raised at the end of an update that is a transaction: all of its changes are undone, so that it
    can be processed again. Delivery by a serverless host does so by itself, unless told to merge.
    """


class SerializationError(PersistenceError):
    """Value that cannot be saved. Exit code 1.

    Its last good value stays in the storage; everything else is saved. Raised once for a value, not
    with every interval. The message leaves out what may be personal; the attributes tell all.
    Change the value that `path` leads to.

    Attributes:
        reason: The fault, as a clause.
        kind: Name of the kind, such as ``"user_data"``.
        key: The entity's key: a user's or chat's id, a conversation's name and key.
        path: Way to the culprit within the value, as Python would write it, such as
            ``"['cart'][2].price"``; empty where it is the value itself.
    """

    def __init__(self, reason: str, *, path: str = "") -> None:
        self.reason = reason
        self.path = path
        self.kind: str | None = None
        self.key: object = None
        super().__init__(reason)

    def locate(self, kind: str, key: object) -> SerializationError:
        """Set `kind` and `key`, which the serializer does not know, and return self."""
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


class JobError(PersistenceError, ValueError):
    """Job that cannot be kept over a restart. Exit code 1.

    Nothing is scheduled. The message says what to change; ``persistent=False`` makes a job that is
    lost with the process, as PTB's own are.
    """


class UntrustedTypeError(SerializationError):
    """Value with an object of a class that is not on the allow-list. Exit code 1.

    Raised when the value is first saved, since what may not be written may not be read. Trust the
    class (``trusted=``) or keep something else.
    """


class UnknownTypeError(PersistenceError):
    """Saved values whose classes are gone, renamed or not trusted. Exit code 5.

    Raised at a start; nothing is changed. Pass ``aliases={"old.path.Name": NewClass}`` for a class
    that was renamed, or trust the class.

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
    """Saved values that their own classes refuse, though their bytes are intact. Exit code 5.

    Raised at a start where ``__setstate__`` or the like raises: the class has changed since. Have
    it accept the older state, or put back the version of its module that saved the values. Nothing
    is changed.

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
    """File whose values need functions, or classes that cannot be used. Exit code 5.

    Raised by import and export of pickle files; nothing is changed. Trust the classes that the
    message names or, for a file to read, leave out what needs them (``--skip-unreadable``).

    Attributes:
        file: Path of the file.
        action: The step that was refused: "read" or "written".
        types: Full names of the classes and functions of modules that are not trusted, sorted.
        functions: Full names of objects of trusted modules that loading would call, sorted.
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
    """Delivered body that is no Telegram update. Exit code 2.

    Raised before anything is processed. Answer 400: it need not be sent again. It is a `ValueError`
    as well.
    """

    exit_code = 2
