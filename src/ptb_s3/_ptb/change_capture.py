"""Capture changes: turn the values that PTB hands over into staged bytes, without the no-ops.

PTB hands over every user who was *looked at*, and bot_data in each interval, changed or not. A
value is a change only if its bytes differ from those that PTB has last seen of the entity, and
three cases make that harder than one comparison:

* Equal values may have different bytes: which strings are one object is part of a pickle, so a copy
  of a fresh object need not be written as the bytes that it was loaded from (`note_unchanged`).
* Sets have no order where their elements lead back to the set (`_is_seen`).
* Part of a value may be refused. The rest is staged, and the refusal is reported once, and again
  only when the refused part is another.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import TypeAlias

from ptb_s3._engine.repository import Repository
from ptb_s3._format.entities import EntityKey, Kind, key_like
from ptb_s3._format.words import is_bare
from ptb_s3._ptb.commit_group import Submission
from ptb_s3._values.equality import alike
from ptb_s3._values.partial_saves import DIVISIBLE, Forms, Refusal, Unsaved
from ptb_s3._values.pickling.sets import may_make_sets
from ptb_s3._values.serializer import PickleSerializer, Serializer, dump
from ptb_s3.errors import OvertakenError, PersistenceError, SerializationError

Reported: TypeAlias = Mapping[tuple[Kind, EntityKey], dict[object, bytes]]
"""Outlines of what was refused and reported, by entity and then by top-level key or part."""


class ChangeCapture:
    """Change detector between PTB's values and the repository: stages entities that have changed.

    A fault is that of its entity alone: all others are staged.

    Args:
        repository: Repository that changes are staged in.
        serializer: Serializer of the values.
        unsaved: Top-level keys that are never saved, by kind.
    """

    def __init__(
        self, repository: Repository, serializer: Serializer, unsaved: Unsaved | None = None
    ) -> None:
        self._repository = repository
        self._serializer = serializer
        self._forms = Forms(serializer, repository.staged.seen, unsaved)
        self._reported: dict[tuple[Kind, EntityKey], dict[object, bytes]] = {}
        # Of entities that nobody has changed: the bytes last seen, and those that their live
        # objects are written as, where the two differ.
        self._alike: dict[tuple[Kind, EntityKey], tuple[bytes | None, bytes]] = {}

    @property
    def reported(self) -> Reported:
        """Return the refusals that were reported so far.

        To set it to an earlier value has what was refused since be reported once more, as where the
        update that caused it is taken back.
        """
        return self._reported.copy()

    @reported.setter
    def reported(self, reported: Reported) -> None:
        self._reported = dict(reported)

    def note_unchanged(
        self, kind: Kind, values: Mapping[EntityKey, object], *, loaded: bool = False
    ) -> None:
        """Note the bytes that copies of these objects are written as while nobody changes them.

        They may differ from the bytes that the objects were made from, as the module says. Without
        this, an idle bot, whose bot_data PTB hands over in every interval, would make a commit
        after each start.

        Args:
            kind: Kind of the entities.
            values: Objects that were just made, or that a type makes for an entity that never was.
            loaded: Whether they were made from saved bytes. If these hold keys that are never saved
                by now, the keys have to go, so it is a change.
        """
        for key, value in values.items():
            seen = self._repository.staged.seen(kind, key)
            try:
                form = self._forms.of(kind, key, value) if kind in DIVISIBLE else None
                if form is not None and loaded and form.unsaved:
                    continue
                shell = value if form is None else form.value
                data = dump(self._serializer, deepcopy(shell))
            except Exception:  # noqa: BLE001, S112 - raised again when it is copied or saved
                continue
            if data != seen:
                self._alike[kind, key] = seen, data

    def stage(self, submission: Submission) -> None:
        """Serialise the values of a submission, and stage those that have changed.

        Args:
            submission: Submission of one call. Faults are added to its `faults`, one for each
                entity or top-level key that could not be staged, and nothing is raised.
        """
        kind, values = submission.kind, submission.values
        for key in self._gone(kind, values) if submission.whole else submission.dropped:
            try:
                self._know(kind, key)
                self._repository.staged.drop(kind, key)
                self.forget(kind, key)
            except Exception as error:  # noqa: BLE001 - a key's own code may raise anything
                submission.faults.append(_fault(kind, key, error))
        for key, value in values.items():
            try:
                self._stage_value(submission, key, value)
            except OvertakenError:
                pass  # the commit takes the whole update back, and says so
            except Exception as error:  # noqa: BLE001 - see `_fault`
                submission.faults.append(_fault(kind, key, error))

    def forget(self, kind: Kind, key: EntityKey) -> None:
        """Forget what was reported of an entity that is gone."""
        self._reported.pop((kind, key), None)
        self._forms.forget(kind, key)

    def _know(self, kind: Kind, key: EntityKey) -> None:
        """Read an entity that is about to be changed by somebody who has never asked for it."""
        own = key_like(kind, key)
        if own is not None and not self._repository.staged.knows(kind, own):
            self._repository.fetch_now(kind, [own])

    def _stage_value(self, submission: Submission, key: EntityKey, value: object) -> None:
        self._know(submission.kind, key)
        kind, form = submission.kind, self._forms.of(submission.kind, key, value)
        if form.refusals or self._reported:
            submission.faults.extend(self._unreported(kind, key, form.refusals))
        data = form.data
        if data is None:
            return
        if self._alike:
            alike = self._alike.get((kind, key))
            if alike is not None and alike == (self._repository.staged.seen(kind, key), data):
                return
        if not self._is_seen(kind, key, form.value, data):
            self._repository.stage(kind, key, data)

    def _unreported(
        self, kind: Kind, key: EntityKey, refusals: Mapping[object, Refusal]
    ) -> list[SerializationError]:
        """Return the errors of refusals that were not reported yet, and note that they are."""
        reported = self._reported.pop((kind, key), {})
        if refusals:
            self._reported[kind, key] = {part: refusal.mark for part, refusal in refusals.items()}
        return [
            refusal.fault(kind, key)
            for part, refusal in refusals.items()
            if reported.get(part) != refusal.mark
        ]

    def _is_seen(self, kind: Kind, key: EntityKey, value: object, data: bytes) -> bool:
        """Tell whether these are merely other bytes of the value last seen.

        As of a set whose elements lead back to it, so that it has no order to be written in: each
        copy has bytes of its own. A change mostly alters the length, so that comparing lengths
        saves loading the value.
        """
        seen = self._repository.staged.seen(kind, key)
        if seen is None or data == seen or len(data) != len(seen):
            return False
        if type(self._serializer) is not PickleSerializer:
            return False
        if is_bare(data) or not may_make_sets(data):  # no value with sets has a bare form
            return False
        try:
            return alike(value, self._serializer.loads(seen))
        except Exception:  # noqa: BLE001 - objects' own code may raise anything
            return False

    def _gone(self, kind: Kind, values: Mapping[EntityKey, object]) -> list[EntityKey]:
        """Return the keys of entities that PTB has seen and that are not among all values now."""
        staged = self._repository.staged
        # Including those that others have deleted: should one come back, PTB does not have it.
        known = staged.entities(kind).keys() | staged.overtaken[kind].keys()
        return [key for key in known - values.keys() if staged.seen(kind, key) is not None]


def _fault(kind: Kind, key: EntityKey, error: Exception) -> PersistenceError:
    """Return the error to report of an entity that could not be staged, for whatever reason."""
    if isinstance(error, SerializationError):
        return error.locate(kind.value, key)
    if isinstance(error, PersistenceError):
        return error
    # Without the error itself, whose text may quote the value.
    return SerializationError(f"to stage it raised {type(error).__name__}").locate(kind.value, key)
