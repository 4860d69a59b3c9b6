"""Files that hold keys: secrets of Docker and Kubernetes, credentials of systemd.

A file is read once, since it may be a pipe, and up to a bound, since it may be any file. An error
names the variable and the path, never the content. Where a path that names nothing could be a key
that was put into the wrong variable, the path is left out as well.

Who else may read a file is judged by its mode, as ssh does with its keys. Two cases are left out,
where the mode says nothing and the advice could not be followed:

* A file on a read-only mount. Docker and Kubernetes hand in secrets so, owned by root and with mode
  0444 or 0644, into a container that has no other users.
* Reading by the group, of a file that belongs to another user: the bot itself reads it that way.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from pathlib import Path
from typing import Final, NamedTuple

from ptb_s3._keys.keyring import PREFIX, Key
from ptb_s3.errors import KeyFormatError, SettingsError

MAX_BYTES: Final = 8192
"""Bytes that a file of keys may have (our choice): those of some 140 keys."""

# UTF-8, with or without the byte order mark that Windows editors put in front of it.
_ENCODING: Final = "utf-8-sig"
_SEPARATORS: Final = re.compile(r"[\s,]+")

_NOWHERE: Final = (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG)
_NO_FILE: Final = "leads to no file. Mount the secret there, or mend the path."


class ExposedFile(NamedTuple):
    """Key file that other users of the machine may read.

    Attributes:
        variable: Variable that names the file.
        path: Path of the file.
        remedy: What to do about it, as a sentence.
    """

    variable: str
    path: str
    remedy: str

    @property
    def found(self) -> str:
        """Return what is wrong with the file, without a full stop."""
        return f"{self.variable}: {self.path} may be read by other users of this machine"

    def __str__(self) -> str:
        return f"{self.found}. {self.remedy}"


def read_key(path: str, variable: str) -> str:
    """Return the text of the one key that a file holds.

    Args:
        path: Path of the file.
        variable: Variable that names the file, for errors.

    Raises:
        SettingsError: The file cannot be read, is empty or too large, or holds several keys.
        KeyFormatError: What it holds is no key.
    """
    text = _read(path, variable)
    count = text.count(PREFIX)
    if count > 1:
        del text
        raise SettingsError(
            f"{variable}: {path} holds {count} keys, and one is wanted: the one that seals. "
            "Earlier ones belong into PTB_S3_RETIRED_KEYS_FILE."
        )
    return _checked(text, f"{variable}: {path}")


def read_keys(path: str, variable: str) -> list[str]:
    """Return the texts of the keys that a file holds, apart by commas, white space or lines.

    Args:
        path: Path of the file.
        variable: Variable that names the file, for errors.

    Raises:
        SettingsError: The file cannot be read, is empty or too large.
        KeyFormatError: Something in it is no key. It is named by its number.
    """
    texts = [text for text in _SEPARATORS.split(_read(path, variable)) if text]
    return [_checked(text, f"{variable}: {path}: key {n}") for n, text in enumerate(texts, start=1)]


def exposure(path: str, variable: str) -> ExposedFile | None:
    """Return how a key file is open to other users, or None.

    None as well where the mode of a file says nothing (module docstring, and Windows), and where
    the path leads to no regular file.

    Args:
        path: Path of the file.
        variable: Variable that names the file, for the text.
    """
    if os.name == "nt":
        return None
    try:
        status, mount = Path(path).stat(), os.statvfs(path)
    except OSError:
        return None
    is_own = status.st_uid == os.geteuid()
    readers = stat.S_IROTH | (stat.S_IRGRP if is_own else 0)
    if (
        not stat.S_ISREG(status.st_mode)
        or not status.st_mode & readers
        or mount.f_flag & os.ST_RDONLY
    ):
        return None
    return ExposedFile(
        variable, path, f"Close it to them: chmod {'600' if is_own else 'o-r'} {path}"
    )


def _checked(text: str, label: str) -> str:
    """Return the text of a key, or say in the name of its file what is wrong with it."""
    try:
        Key.parse(text, label=label)
    except KeyFormatError as error:
        fault = str(error)
    else:
        return text
    del text
    raise KeyFormatError(fault)


def _read(path: str, variable: str) -> str:
    """Return the text of a file that is not empty, within the bound."""
    if _may_be_key(path):
        del path
        raise SettingsError(
            f"{variable} looks like a key, and takes the path of a file. Give that, or put the "
            f"key itself into {variable.removesuffix('_FILE')}."
        )
    try:
        text = _content(path)
    except (OSError, ValueError) as error:
        fault = _fault(error)
    else:
        if text.strip():
            return text
        fault = "is empty. Put the key there, or take the variable out."
    if fault == _NO_FILE and not Path(path).is_absolute():
        path = "its path (not shown: it is not absolute, and may be a secret)"
    # Out here, the new error has no context: the old one may quote the file.
    raise SettingsError(f"{variable}: {path} {fault}")


def _content(path: str) -> str:
    """Return the text of a file, read once and within the bound.

    Raises:
        OSError: It cannot be read, or is too large (``EFBIG``).
        ValueError: It is not UTF-8, or the path has a null character.
    """
    with Path(path).open("rb") as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
    return content.decode(_ENCODING)


def _fault(error: OSError | ValueError) -> str:
    """Return why a file could not be read as the end of a sentence that begins with its path."""
    if isinstance(error, UnicodeDecodeError):
        return "cannot be read: it is not UTF-8 text. Save it as UTF-8."
    if isinstance(error, ValueError) or error.errno in _NOWHERE:
        return _NO_FILE
    if error.errno == errno.EISDIR:
        return "is a folder. Give the path of a file in it."
    if error.errno == errno.EFBIG:
        return f"has more than {MAX_BYTES:,} bytes. It is no file of keys."
    return f"cannot be read: {error.strerror or type(error).__name__}."


def _may_be_key(path: str) -> bool:
    """Tell whether what should be a path is a key, or most of one."""
    is_one_name = "/" not in path and "\\" not in path
    return PREFIX in path or (is_one_name and bool(re.search(r"[A-Za-z0-9_-]{40}", path)))
