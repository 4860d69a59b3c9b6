"""File of variables for a bot: made for its owner alone, added to, never written over.

Both ways are all or nothing, whenever the program is interrupted: the file has all of the lines, or
it is as it was.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from pathlib import Path

from ptb_s3.errors import SettingsError


def lines(variables: Mapping[str, str]) -> list[str]:
    """Return the lines of a file of variables. No value of ours needs quotation marks."""
    return [f"{name}={value}" for name, value in variables.items()]


def refuse_unusable(path: Path) -> None:
    """Refuse a path that is no file, or in no folder.

    Raises:
        SettingsError: No file can be there.
    """
    if os.path.lexists(path) and not path.is_file():
        raise SettingsError(f"{path} is not a file. Name one that is not there yet.")
    if not path.absolute().parent.is_dir():
        raise SettingsError(f"{path}: there is no such folder. Make it, or name another file.")


def write(path: Path, variables: Mapping[str, str]) -> None:
    """Write a new file that its owner alone can read.

    Raises:
        SettingsError: It is there by now, or cannot be written.
    """
    try:
        _write_new(path, _encoded(variables))
    except OSError as error:
        raise _unwritable(path, error) from None


def append(path: Path, variables: Mapping[str, str]) -> None:
    """Append variables to a file, whose content, mode and owner stay.

    Raises:
        SettingsError: It cannot be written.
    """
    target = path.resolve()  # a link stays one
    beside = target.with_name(f"{target.name}.{secrets.token_hex(4)}.new")
    try:
        _write_new(beside, _extended(target.read_bytes(), variables))
        try:
            _take_after(beside, target)
            beside.replace(target)
        finally:
            beside.unlink(missing_ok=True)
    except OSError as error:
        raise _unwritable(path, error) from None


def _write_new(path: Path, content: bytes) -> None:
    """Write a file that is not there yet, or leave none."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
    except BaseException:  # Ctrl-C as well
        path.unlink()
        raise


def _extended(content: bytes, variables: Mapping[str, str]) -> bytes:
    end = b"" if not content or content.endswith(b"\n") else b"\n"
    return content + end + _encoded(variables)


def _take_after(path: Path, model: Path) -> None:
    """Give a file the mode and the owner of another."""
    status = model.stat()
    if hasattr(os, "chown") and (status.st_uid, status.st_gid) != (os.geteuid(), os.getegid()):
        os.chown(path, status.st_uid, status.st_gid)
    path.chmod(status.st_mode & 0o777)


def _encoded(variables: Mapping[str, str]) -> bytes:
    return "".join(f"{line}\n" for line in lines(variables)).encode("ascii")


def _unwritable(path: Path, error: OSError) -> SettingsError:
    return SettingsError(f"{path} cannot be written: {error.strerror}.")
