"""Files that are imported or exported: read whole, and written whole or not at all.

An export holds all that the bot knows, in plain text. So it is readable by its owner alone from the
first byte on, and takes the place of another file only by an atomic rename.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from ptb_s3.errors import NothingThereError, PersistenceError, SettingsError


def read_whole(path: Path) -> bytes:
    """Return the content of a file.

    Raises:
        NothingThereError: There is no such file.
        SettingsError: It cannot be read, such as for want of permission.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise NothingThereError(f"There is no file {str(path)!r}.") from None
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise SettingsError(f"File {str(path)!r} cannot be read: {reason}.") from None


def refuse_existing(path: Path, *, overwrite: bool) -> None:
    """Refuse a path at which a file cannot be written without the loss of another.

    Args:
        path: The path.
        overwrite: Whether a file that is there may be lost.

    Raises:
        SettingsError: There is a file that is not to be overwritten, or a directory.
    """
    if path.is_dir():
        raise SettingsError(f"{str(path)!r} is a directory. Give the name of a file.")
    if not overwrite and os.path.lexists(path):
        raise SettingsError(
            f"File {str(path)!r} is there already, and was not touched. Give another name, or "
            "have it replaced (--overwrite)."
        )


def write_whole(path: Path, data: bytes, *, overwrite: bool) -> None:
    """Write a file in one step, durably, and for nobody but its owner to read.

    Args:
        path: The file.
        data: Its content.
        overwrite: Whether a file that is there may be replaced.

    Raises:
        SettingsError: A file is there already, or there is no way to write there.
        PersistenceError: The file cannot be written. A file that was there is there still.
    """
    try:
        # mkstemp makes it with mode 0600. In the same folder, since a rename is atomic only within
        # one file system.
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(handle)
            refuse_existing(path, overwrite=overwrite)
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except (FileNotFoundError, NotADirectoryError, PermissionError) as error:
        raise SettingsError(_not_written(path, error)) from None
    except OSError as error:
        raise PersistenceError(_not_written(path, error)) from None


def _not_written(path: Path, error: OSError) -> str:
    reason = error.strerror or type(error).__name__
    return f"File {str(path)!r} cannot be written: {reason}. Nothing was changed."
