"""Files that are taken over or handed out: read whole, and written whole or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from ptb_s3.errors import NothingThereError, PersistenceError, SettingsError


def read_whole(path: Path) -> bytes:
    """Return what is in a file.

    Raises:
        NothingThereError: There is no such file.
        SettingsError: It cannot be read.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise NothingThereError(f"There is no file {str(path)!r}.") from None
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise SettingsError(f"File {str(path)!r} cannot be read: {reason}.") from None


def refuse_existing(path: Path, *, overwrite: bool) -> None:
    """Make sure that a file can be written without the loss of another.

    Raises:
        SettingsError: There is one, and it is not to be overwritten; or it is no file at all.
    """
    if path.is_dir():
        raise SettingsError(f"{str(path)!r} is a directory. Give the name of a file.")
    if not overwrite and os.path.lexists(path):
        raise SettingsError(
            f"File {str(path)!r} is there already, and was not touched. Give another name, or say "
            "that it is to be overwritten."
        )


def write_whole(path: Path, data: bytes, *, overwrite: bool) -> None:
    """Put a file in its place in one step, durable, and for nobody but its owner to read.

    Raises:
        SettingsError: It may not be overwritten, or there is no way to write there.
        PersistenceError: It cannot be written. What was there before is there still.
    """
    try:
        # Made with mode 0600. Beside it, so that to rename it is one step.
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
