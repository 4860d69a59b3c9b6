"""JSON files, as PTB's DictPersistence has them, with readable forms where JSON has none.

DictPersistence keeps no file of its own: it gives five texts, and takes them. A file here holds all
five maps, by DictPersistence's names for them:

    {
    "user_data": {
    "7": {"name": "Ann"}
    },
    "bot_data": {
    "since": {"$date": "2026-11-29"}
    }
    }

A file whose values are plain data can be read again. One with tags of `_values.readable`, such as
`$date`, is for people only: `read_json` refuses it. Jobs, which DictPersistence has not, are a
member of their own where there are any: see `json_jobs`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from telegram.ext import DictPersistence

from ptb_s3._format.entities import PTB_KINDS, Entities, Kind
from ptb_s3._transfer.files import read_whole, refuse_existing, write_whole
from ptb_s3._transfer.json_jobs import VetJob, jobs_form, read_jobs
from ptb_s3._transfer.maps import Progress, Skip, join, load, serialise, split
from ptb_s3._values.callback_data import CallbackData
from ptb_s3._values.readable import TAGS, Readable, readable
from ptb_s3._values.transcoder import Transcoder
from ptb_s3.errors import DamagedFileError

# End of the name of a map that is a text: DictPersistence's argument. Its attribute has none.
_SUFFIX: Final = "_json"


def read_json(
    path: Path,
    *,
    progress: Progress | None = None,
    skip: Skip | None = None,
    note: Skip = lambda _: None,
    vet_job: VetJob = lambda _key, _value: None,
) -> dict[Kind, Entities]:
    """Return the entities of a file of DictPersistence's JSON, serialised as S3Persistence would.

    Args:
        path: A file that holds an object with members such as `user_data` or `user_data_json`,
            each of them an object or a text that holds one.
        progress: Told how many entities are done, and how many there are.
        skip: Told each part that is left out since it cannot be imported. None: that is an error.
        note: Told each job that is left out, which never is an error.
        vet_job: Says why an entity is no job.

    Raises:
        NothingThereError: There is no such file.
        DamagedFileError: DictPersistence does not take it, or it holds readable forms of values
            that JSON has none for.
        SettingsError: It cannot be read.
    """
    maps = _members(path)
    jobs = read_jobs(path, maps.pop(Kind.JOBS, None), vet_job, note)
    if any(map(_holds_tag, maps.values())):
        raise DamagedFileError(
            path, "it holds values that JSON has no form for. Export as a pickle file instead"
        )
    texts: dict[str, Any] = {
        f"{kind}{_SUFFIX}": json.dumps(value) for kind, value in maps.items() if value is not None
    }
    try:
        taken = DictPersistence(**texts)
    except (TypeError, ValueError, LookupError, AttributeError, RecursionError) as error:
        raise DamagedFileError(path, f"DictPersistence does not take it ({error})") from None
    decoded = {kind: getattr(taken, kind) for kind in PTB_KINDS}
    entities = serialise(path, split(path, decoded, skip), Transcoder(), progress, skip=skip)
    return {**entities, Kind.JOBS: jobs}


def write_json(
    path: Path,
    state: Mapping[Kind, Entities],
    *,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> None:
    """Write a file of JSON, for nobody but its owner to read.

    Plain data is written so that `read_json` takes the file, and DictPersistence each member as a
    text. Everything else gets its readable form.

    Args:
        path: The file.
        state: Entities by kind, as S3Persistence serialises them.
        overwrite: Whether a file that is there may be replaced.
        progress: Told how many entities are done, and how many there are.

    Raises:
        SettingsError: The file is there already, or there is no way to write it there.
        DamagedObjectError: A value does not load.
        PersistenceError: The file cannot be written.
    """
    refuse_existing(path, overwrite=overwrite)
    maps = join(load(state, Transcoder(), progress))
    forms: dict[str, Readable] = {
        "user_data": {str(key): _data(value) for key, value in maps["user_data"].items()},
        "chat_data": {str(key): _data(value) for key, value in maps["chat_data"].items()},
        "conversations": {
            name: {json.dumps(key): readable(state) for key, state in states.items()}
            for name, states in maps["conversations"].items()
        },
        "callback_data": _callbacks(maps["callback_data"]),
    }
    if "bot_data" in maps:
        forms["bot_data"] = readable(maps["bot_data"])
    if jobs := jobs_form(state.get(Kind.JOBS, {})):
        forms[Kind.JOBS.value] = jobs
    write_whole(path, _encode(forms), overwrite=overwrite)


def _members(path: Path) -> dict[Kind, object]:
    members: dict[Kind, object] = {}
    parsed = _parse(path, read_whole(path))
    if not isinstance(parsed, dict) or not parsed:
        raise DamagedFileError(path, "it is JSON, but no object that holds PTB's data")
    for name, value in parsed.items():
        kind = name.removesuffix(_SUFFIX)
        if kind not in {*Kind}:
            raise DamagedFileError(path, "it has a member that DictPersistence has no name for")
        if kind in members:
            raise DamagedFileError(path, f"it has {kind} twice, as an object and as a text")
        members[Kind(kind)] = _parse(path, value) if isinstance(value, str) else value
    return members


def _parse(path: Path, text: str | bytes) -> object:
    if text == "":  # DictPersistence's way to say that there is nothing
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DamagedFileError(path, f"it is not JSON ({type(error).__name__})") from None


def _holds_tag(value: object) -> bool:
    """Return whether JSON holds a readable form of something that is no plain data."""
    left = [value]
    while left:
        part = left.pop()
        if isinstance(part, dict):
            if not TAGS.isdisjoint(part):
                return True
            left.extend(part.values())
        elif isinstance(part, list):
            left.extend(part)
    return False


def _data(value: object) -> Readable:
    """Return a user's or chat's data in a form that DictPersistence takes, if there is one."""
    if type(value) is not dict:
        return readable(value)
    if all(map(_is_taken, value)):
        return {str(key): readable(part) for key, part in value.items()}
    return {"$dict": [[readable(key), readable(part)] for key, part in value.items()]}


def _is_taken(key: object) -> bool:
    """Return whether DictPersistence gives back a key of one user's or chat's data as it was.

    It makes a number of each such key that looks like one. Keys further down it leaves as they are.
    """
    if type(key) is not str:
        return type(key) is int and type(readable(key)) is int
    try:
        int(key)
    except ValueError:
        return not key.startswith("$")
    return False


def _callbacks(data: CallbackData | None) -> Readable:
    if data is None:
        return None
    keyboards, queries = data
    return [[[uuid, time, readable(buttons)] for uuid, time, buttons in keyboards], queries]


def _encode(forms: Mapping[str, Readable]) -> bytes:
    """Return the file's content: a line for each user, chat and conversation, to search in."""
    try:
        return _lines(forms, ensure_ascii=False).encode()
    except UnicodeEncodeError:  # a lone surrogate: half of a character that takes two
        return _lines(forms, ensure_ascii=True).encode()


def _lines(forms: Mapping[str, Readable], *, ensure_ascii: bool) -> str:
    def encode(form: Readable) -> str:
        return json.dumps(form, ensure_ascii=ensure_ascii)

    def lines(form: Readable) -> str:
        if not isinstance(form, dict):
            return encode(form)
        return "{\n" + ",\n".join(f"{encode(k)}: {encode(v)}" for k, v in form.items()) + "\n}"

    members = ",\n".join(f"{encode(name)}: {lines(form)}" for name, form in forms.items())
    return "{\n" + members + "\n}\n"
