"""Files of PTB's PicklePersistence, read and written without anybody's code.

PTB keeps its five maps in one file, as a dict by their names, or each in a file of its own:

    bot.pickle                                         {"user_data": {...}, "chat_data": {...}, ...}
    bot.pickle_user_data, bot.pickle_chat_data, ...    {7: {...}, ...}

Both directions are vetted by names alone. An import takes only classes that the bot would load. An
export names only such classes, as PicklePersistence has no allow-list: it calls whatever a file
names.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final, TypeAlias

from ptb_s3._format.entities import PTB_KINDS, Entities, Kind
from ptb_s3._transfer.files import read_whole, refuse_existing, write_whole
from ptb_s3._transfer.maps import Progress, Skip, Skipped, join, load, serialise, split
from ptb_s3._values.allow_list import check_trusted, is_within
from ptb_s3._values.loading import no_collection
from ptb_s3._values.placeholders import Placeholders
from ptb_s3._values.remedies import remedies
from ptb_s3._values.transcoder import Transcoder
from ptb_s3.errors import (
    DamagedFileError,
    PersistenceError,
    SerializationError,
    SettingsError,
    UntrustedFileError,
)

_Name: TypeAlias = tuple[str, str]
"""Module and qualified name, as a pickle has them."""

# Maps without which PTB does not load a single file.
_NEEDED: Final = {Kind.USER_DATA, Kind.CHAT_DATA, Kind.CONVERSATIONS}


def read_pickle_persistence(
    path: Path,
    *,
    trusted: Sequence[str] = ("__main__",),
    progress: Progress | None = None,
    note: Skip = lambda _: None,
    skip_unreadable: bool = False,
) -> dict[Kind, Entities]:
    """Return the entities of PicklePersistence's file or files, serialised as S3Persistence would.

    Args:
        path: The file or, if they are five, the beginning of their names.
        trusted: Modules whose classes may be taken over, with their submodules. None is imported.
        progress: Told how many entities are done, and how many there are.
        note: Told each part that is left out: parts that PTB would not load either and, with
            `skip_unreadable`, parts that cannot be taken over.
        skip_unreadable: Whether to leave the latter out. Otherwise they are an error.

    Raises:
        NothingThereError: There is no such file.
        UntrustedFileError: Classes are needed that cannot be used, or functions. Names all of them.
        DamagedFileError: It is truncated, or no file of PicklePersistence's.
        SettingsError: It cannot be read, or it is not clear which file is meant.
    """
    check_trusted(trusted)
    transcoder = Transcoder()
    vetting = _Vetting(transcoder.family, trusted)
    skip = note if skip_unreadable else None
    with no_collection():
        try:
            values = split(path, _load_maps(path, transcoder, note), skip)
            vet = vetting.reason if skip_unreadable else vetting.gather
            entities = serialise(path, values, transcoder, progress, vet=vet, skip=skip)
        except DamagedFileError:
            # Placeholders may be what keeps it from loading, and the untrusted class is the cause.
            vetting.refuse(path, "read", transcoder.family)
            raise
        vetting.refuse(path, "read", vetting.gathered)
        return entities


def write_pickle_persistence(
    path: Path,
    state: Mapping[Kind, Entities],
    *,
    trusted: Sequence[str] = ("__main__",),
    overwrite: bool = False,
    progress: Progress | None = None,
) -> None:
    """Write a single file that PicklePersistence loads, for nobody but its owner to read.

    Nothing is named in it that the bot would not load, as far as can be told without an import.

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
    _Vetting(transcoder.family, trusted).refuse(path, "written", transcoder.family)
    try:
        data = transcoder.dumps_for_ptb(maps)
    except SerializationError as error:
        reason = f"a value cannot be written: {error.reason}"
        raise PersistenceError(f"{reason}. File {str(path)!r} was not made.") from None
    write_whole(path, data, overwrite=overwrite)


def _load_maps(path: Path, transcoder: Transcoder, note: Skip) -> dict[str, object]:
    files = {kind: Path(f"{path}_{kind}") for kind in PTB_KINDS}
    files = {kind: file for kind, file in files.items() if file.is_file()}
    if not files:
        return _load_single(path, transcoder, note)
    if path.is_file():
        other = str(next(iter(files.values())))
        raise SettingsError(
            f"Both {str(path)!r} and {other!r} are there: is it one file or five? Move away what "
            "is not to be taken over."
        )
    return {kind: _load(file, transcoder) for kind, file in files.items()}


def _load_single(path: Path, transcoder: Transcoder, note: Skip) -> dict[str, object]:
    maps = _load(path, transcoder)
    names = set(maps) if isinstance(maps, dict) else set()
    if not isinstance(maps, dict) or not names >= _NEEDED:
        for kind in PTB_KINDS:
            base = str(path).removesuffix(f"_{kind}")
            if base != str(path):
                raise SettingsError(
                    f"{str(path)!r} looks like one of five files. Give what their names begin "
                    f"with: {base!r}."
                )
    if not isinstance(maps, dict) or not names or not (names >= _NEEDED or names <= {*PTB_KINDS}):
        raise DamagedFileError(path, "it is a pickle, but not one of PicklePersistence's")
    for name in names - {*PTB_KINDS}:
        note(Skipped(None, str(name), "PTB does not load it either"))
    return {name: data for name, data in maps.items() if name in {*PTB_KINDS}}


def _load(path: Path, transcoder: Transcoder) -> object:
    data = read_whole(path)
    try:
        return transcoder.loads(data)
    except Exception as error:  # noqa: BLE001 - bad bytes may raise anything
        reason = f"it does not load as a pickle ({type(error).__name__})"
    raise DamagedFileError(path, reason)


class _Vetting:
    """Vetting of the names in values: would a bot load them?

    Args:
        family: The placeholders for all that was named in the file.
        trusted: Modules whose classes may be used, and those of their submodules.

    Attributes:
        gathered: The names in all values that were gathered so far.
    """

    def __init__(self, family: Placeholders, trusted: Sequence[str]) -> None:
        self._family = family
        self._trusted = trusted
        self.gathered: set[_Name] = set()

    def gather(self) -> None:
        """Note the names in the value that was written last."""
        self.gathered |= self._named()

    def reason(self) -> str | None:
        """Return the reason to leave out the value that was written last, or None."""
        unfit, untrusted, functions = self._sorted(self._named())
        if unfit:
            return f"the installed python-telegram-bot has no such {', '.join(unfit)}"
        if untrusted:
            return f"not trusted: {', '.join(map('.'.join, untrusted))}"
        return f"to load it takes functions: {', '.join(functions)}" if functions else None

    def refuse(self, path: Path, action: str, names: Iterable[_Name]) -> None:
        """Refuse a file that needs names of which any cannot be used.

        Args:
            path: The file, for the error.
            action: Participle of what cannot be done with it, such as ``"read"``.
            names: The names that it needs.

        Raises:
            UntrustedFileError: At least one cannot.
        """
        unfit, untrusted, functions = self._sorted(names)
        if not (unfit or untrusted or functions):
            return
        advice = remedies(untrusted, "--trusted")
        if "--trusted" in advice:
            advice += " What --trusted names, the bot's own trusted=(...) has to name as well."
        types = list(map(".".join, untrusted))
        raise UntrustedFileError(path, action, types, functions, unfit=unfit, advice=advice)

    def _named(self) -> set[_Name]:
        named = set(self._family.named)
        self._family.named.clear()
        return named

    def _sorted(self, names: Iterable[_Name]) -> tuple[list[str], list[_Name], list[str]]:
        """Return the names that cannot be used, sorted: unknown to PTB, untrusted, functions."""
        names = set(names)
        unfit = {name for name in names if name in self._family.unfit or _is_missing(*name)}
        left = names - unfit
        untrusted = {name for name in left if not is_within(name[0], self._trusted)}
        functions = {".".join(name) for name in left - untrusted} & set(self._family.functions())
        return sorted(map(".".join, unfit)), sorted(untrusted), sorted(functions)


def _is_missing(module: str, name: str) -> bool:
    """Return whether a name is of telegram's, and the installed PTB does not have it."""
    if not is_within(module, ["telegram"]):
        return False
    try:
        found: object = importlib.import_module(module)
        for part in name.split("."):
            found = vars(found)[part]
    except Exception:  # noqa: BLE001 - whatever keeps a module from loading
        return True
    return False
