"""Files of PTB's PicklePersistence; in either direction, nobody's code runs.

PTB keeps its five maps in one file, as a dict by their names, or each in a file of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ptb_s3._codec import no_collection
from ptb_s3._fence import check_trusted, is_within
from ptb_s3._files import read_whole, refuse_existing, write_whole
from ptb_s3._ptb_maps import Progress, join, load, serialise, split
from ptb_s3._state import Entities, Kind
from ptb_s3._transcoder import Transcoder
from ptb_s3.errors import (
    DamagedFileError,
    PersistenceError,
    SerializationError,
    SettingsError,
    UntrustedFileError,
)


def read_pickle_persistence(
    path: Path,
    *,
    trusted: Sequence[str] = ("__main__",),
    progress: Progress | None = None,
) -> dict[Kind, Entities]:
    """Return what PicklePersistence keeps at a path, serialised as S3Persistence would.

    Args:
        path: The file or, if they are five, what their names begin with.
        trusted: Modules whose classes may be taken over, with their submodules. None is imported.
        progress: Told how many entities are done, and how many there are.

    Raises:
        NothingThereError: There is no such file.
        UntrustedFileError: Other classes are needed, or functions. Names all of them.
        DamagedFileError: It is truncated, or no file of PicklePersistence's.
        SettingsError: It cannot be read, or it is not clear which one is meant.
    """
    check_trusted(trusted)
    transcoder = Transcoder()
    with no_collection():
        try:
            maps = _load_maps(path, transcoder)
        except DamagedFileError:
            # Stand-ins may be what keeps it from loading.
            _refuse_untrusted(path, "read", transcoder, trusted)
            raise
        _refuse_untrusted(path, "read", transcoder, trusted)
        return serialise(path, split(path, maps), transcoder, progress)


def write_pickle_persistence(
    path: Path,
    state: Mapping[Kind, Entities],
    *,
    trusted: Sequence[str] = ("__main__",),
    overwrite: bool = False,
    progress: Progress | None = None,
) -> None:
    """Write a single file that PicklePersistence loads, for nobody but its owner to read.

    PicklePersistence has no fence: it calls whatever a file names. So nothing is written that the
    bot would not load, as far as that can be told without an import.

    Args:
        path: The file.
        state: Entities by kind, as S3Persistence serialises them.
        trusted: Modules whose classes may be named, with their submodules. None is imported.
        overwrite: Whether a file that is there may be replaced.
        progress: Told how many entities are done, and how many there are.

    Raises:
        SettingsError: The file is there already, or there is no way to write it there.
        UntrustedFileError: Other classes would be needed, or functions. Names all of them.
        DamagedObjectError: A value does not load.
        PersistenceError: The file cannot be written.
    """
    check_trusted(trusted)
    refuse_existing(path, overwrite=overwrite)
    transcoder = Transcoder()
    maps = join(load(state, transcoder, progress))
    _refuse_untrusted(path, "written", transcoder, trusted)
    try:
        data = transcoder.dumps_for_ptb(maps)
    except SerializationError as error:
        reason = f"a value cannot be written: {error.reason}"
        raise PersistenceError(f"{reason}. File {str(path)!r} was not made.") from None
    write_whole(path, data, overwrite=overwrite)


def _load_maps(path: Path, transcoder: Transcoder) -> dict[str, object]:
    files = {kind: Path(f"{path}_{kind}") for kind in Kind}
    files = {kind: file for kind, file in files.items() if file.is_file()}
    if not files:
        return _load_single(path, transcoder)
    if path.is_file():
        other = str(next(iter(files.values())))
        raise SettingsError(
            f"Both {str(path)!r} and {other!r} are there: is it one file or five? Move away what "
            "is not to be taken over."
        )
    return {kind: _load(file, transcoder) for kind, file in files.items()}


def _load_single(path: Path, transcoder: Transcoder) -> dict[str, object]:
    for kind in Kind:
        base = str(path).removesuffix(f"_{kind}")
        if base != str(path) and path.is_file():
            raise SettingsError(
                f"{str(path)!r} looks like one of five files. Give what their names begin with: "
                f"{base!r}."
            )
    maps = _load(path, transcoder)
    if not isinstance(maps, dict) or not maps or not set(maps) <= {*Kind}:
        raise DamagedFileError(path, "it is a pickle, but not one of PicklePersistence's")
    return maps


def _load(path: Path, transcoder: Transcoder) -> object:
    data = read_whole(path)
    try:
        return transcoder.loads(data)
    except Exception as error:  # noqa: BLE001 - bad bytes may raise anything
        reason = f"it does not load as a pickle ({type(error).__name__})"
    raise DamagedFileError(path, reason)


def _refuse_untrusted(
    path: Path, action: str, transcoder: Transcoder, trusted: Sequence[str]
) -> None:
    names = transcoder.family
    untrusted = {f"{module}.{name}" for module, name in names if not is_within(module, trusted)}
    functions = [name for name in names.functions() if name not in untrusted]
    if untrusted or functions:
        raise UntrustedFileError(path, action, sorted(untrusted), functions)
