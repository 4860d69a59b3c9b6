r"""Jobs in a file of JSON: a member by the keys of their entities, in readable forms.

    "jobs": {
    "[\"3f2a…\", [5]]": {"name": "tea", "next": {"$datetime": "2026-11-29T08:00:00+00:00"}, ...}
    }

Jobs are neutral records, so that most come back without loss: of the tags of `_values.readable`,
those that plain records have are read (tuples, times with an offset, dictionaries with keys of any
type). One whose data has others, such as the bot's own classes, is left out and named.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from ptb_s3._format.entities import MAX_ENTITY, Entities, EntityKey, Kind, is_key
from ptb_s3._transfer.maps import Skip, Skipped
from ptb_s3._values.loading import load_all
from ptb_s3._values.readable import TAGS, Readable, readable
from ptb_s3._values.transcoder import Transcoder
from ptb_s3.errors import DamagedFileError, SerializationError

VetJob = Callable[[EntityKey, object], str | None]
"""Says why an entity is no job, as the end of a sentence; None: it is one."""

_NOT_PLAIN = "its data holds values that JSON has no form for"


class _UnfitError(Exception):
    """Raised for a job that cannot be taken over. Its text is the end of a sentence."""


def jobs_form(entities: Entities) -> dict[str, Readable]:
    """Return jobs in the form that a file has.

    Args:
        entities: The jobs, as bytes without references to words.

    Raises:
        DamagedObjectError: A value does not load.
    """
    values = load_all(Transcoder(), Kind.JOBS, entities.items())
    return {json.dumps(key): readable(value) for key, value in values.items()}


def read_jobs(path: Path, member: object, vet: VetJob, note: Skip) -> Entities:
    """Return the jobs of a file as entities.

    Args:
        path: The file, for errors.
        member: The member of it that holds jobs, parsed; None: there is none.
        vet: Says why an entity is no job.
        note: Told each job that cannot be taken over.

    Raises:
        DamagedFileError: The member is no object.
    """
    if member is None:
        return {}
    if not isinstance(member, dict):
        raise DamagedFileError(path, "its jobs are no object")
    entities: Entities = {}
    for text, form in member.items():
        key = _key(text)
        if key is None:
            note(Skipped(Kind.JOBS.value, text, "its key is none of a job"))
            continue
        try:
            entities[key] = _serialised(key, form, vet)
        except _UnfitError as fault:
            note(Skipped(Kind.JOBS.value, key, str(fault)))
    return entities


def _serialised(key: EntityKey, form: object, vet: VetJob) -> bytes:
    """Return a job as bytes, as the bot would have made them.

    Raises:
        _UnfitError: It cannot be taken over.
    """
    value = value_of(form)
    if fault := vet(key, value):
        raise _UnfitError(fault)
    try:
        data = Transcoder().dumps(value)
    except SerializationError as error:
        raise _UnfitError(f"it cannot be saved: {error.reason}") from None
    if len(data) > MAX_ENTITY:
        raise _UnfitError("it is too large to be saved")
    return data


def _key(text: str) -> EntityKey | None:
    try:
        key = _tuples(json.loads(text))
    except (ValueError, RecursionError):
        return None
    return key if is_key(Kind.JOBS, key) else None


def _tuples(value: Any) -> Any:  # noqa: ANN401 - JSON
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def value_of(form: Any) -> Any:  # noqa: ANN401 - JSON, and the value that it stands for
    """Return the value that a readable form stands for.

    Raises:
        _UnfitError: It does not say all of it.
    """
    if isinstance(form, list):
        return [value_of(part) for part in form]
    if not isinstance(form, Mapping):
        return form
    if TAGS.isdisjoint(form):
        return {key: value_of(part) for key, part in form.items()}
    ((tag, content), *more) = form.items()
    read = _READERS.get(tag)
    if more or read is None:
        raise _UnfitError(_NOT_PLAIN)
    try:
        return read(content)
    except (TypeError, ValueError) as error:
        raise _UnfitError(_NOT_PLAIN) from error


_READERS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "$tuple": lambda parts: tuple(map(value_of, parts)),
    "$datetime": datetime.fromisoformat,
    "$dict": lambda pairs: {value_of(key): value_of(part) for key, part in pairs},
}
