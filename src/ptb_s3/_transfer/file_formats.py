"""File formats of a transfer, told from the name: JSON if it ends in ``.json``, else a pickle.

To import this module takes a second, since both formats need ``telegram.ext``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ptb_s3._format.entities import Entities, Kind
from ptb_s3._transfer.json_files import read_json, write_json
from ptb_s3._transfer.json_jobs import VetJob
from ptb_s3._transfer.maps import Progress, Skip
from ptb_s3._transfer.pickle_files import read_pickle_persistence, write_pickle_persistence

_JSON = ".json"


def read_file(
    source: str,
    *,
    trusted: Sequence[str],
    progress: Progress,
    note: Skip,
    skip_unreadable: bool,
    vet_job: VetJob,
) -> dict[Kind, Entities]:
    """Read the state that PTB's own persistences keep in a file.

    Args:
        source: Path of the file or, for the five files of a PicklePersistence, their beginning.
        trusted: Modules whose classes may be in a pickle file. None is imported.
        progress: Called with how many entities are done, and of how many.
        note: Called with each entity that is left out.
        skip_unreadable: Whether to leave out what cannot be taken over; else it is an error.
        vet_job: Says why an entity of JSON is no job.

    Raises:
        NothingThereError: There is no such file.
        DamagedFileError: It is not what its name says.
        UntrustedFileError: It needs classes or functions that are not trusted.
        SettingsError: It cannot be read, or it is not clear which one is meant.
    """
    if source.endswith(_JSON):
        skip = note if skip_unreadable else None
        return read_json(Path(source), progress=progress, skip=skip, note=note, vet_job=vet_job)
    return read_pickle_persistence(
        Path(source),
        trusted=trusted,
        progress=progress,
        note=note,
        skip_unreadable=skip_unreadable,
    )


def holds_jobs(file: Path) -> bool:
    """Tell whether the format of a file has a place for jobs, which PTB's own have not."""
    return file.suffix == _JSON


def write_file(
    file: Path,
    state: Mapping[Kind, Entities],
    *,
    trusted: Sequence[str],
    overwrite: bool,
    progress: Progress,
) -> None:
    """Write a state to a file, not encrypted, for nobody but its owner to read.

    Args:
        file: Path of the file.
        state: The entities, without references to words.
        trusted: Modules whose classes may be in a pickle file.
        overwrite: Whether to replace the file if it is there.
        progress: Called with how many entities are done, and of how many.

    Raises:
        SettingsError: It cannot be written, or is there already.
    """
    if holds_jobs(file):
        write_json(file, state, overwrite=overwrite, progress=progress)
    else:
        write_pickle_persistence(
            file, state, trusted=trusted, overwrite=overwrite, progress=progress
        )
