"""Folder of a local storage: its settings, a lock on it, and the refusal of any other folder.

============== ====================================================================
in the folder
============== ====================================================================
``serve.json`` settings: bucket, ports, credentials and key; mode 600
``data/``      what SeaweedFS keeps
``.gitignore`` has Git leave out all of it, since ``serve.json`` holds the key
============== ====================================================================

Data and key lie side by side, so encryption protects nothing from whoever can read the folder. That
is right for trying a bot on one's own machine, and for nothing else.

The lock is one on the folder itself (``flock``), so it leaves no file behind. The server's guard
inherits it: after a ``kill -9`` of the command, the folder is taken until the server has ended.
"""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import msgspec

from ptb_s3._keys.keyring import Key
from ptb_s3.cli._ports import HOST, LISTENERS, free_ports
from ptb_s3.errors import KeyFormatError, PersistenceError, SettingsError

if sys.platform != "win32":
    import fcntl

REGION = "us-east-1"
"""Region to sign for: the one that SeaweedFS takes for its own."""
_SETTINGS = "serve.json"
_UNFINISHED = f"{_SETTINGS}.new"
_GITIGNORE = ".gitignore"
_DATA = "data"
_BUCKET = "ptb-s3-local"
_PREFIX = "my-bot/"
_S3_PORTS = range(8333, 8433)
"""Ports to choose from for the S3 API: SeaweedFS's own first.

They are below the range that systems take ports from for outgoing connections (32,768 and above on
Linux), or the port that `.env` names could be taken at the next start.
"""


class FolderInUseError(PersistenceError):
    """Folder that another ``ptb-s3 serve`` serves at the moment. Exit code 6."""

    exit_code = 6


@dataclass(frozen=True)
class Settings:
    """Snapshot of a storage's settings, as they stand in its folder.

    Attributes:
        bucket: Name of the bucket.
        ports: Port of each listener on the loopback interface.
        access_key: Id of the credentials.
        secret_key: Secret of the credentials.
        key: Key that the bots of this storage seal their state with (``PTB_S3_KEY``).
        format: Version of this form.
    """

    bucket: str
    ports: dict[str, int]
    access_key: str
    secret_key: str = field(repr=False)
    key: str = field(repr=False)
    format: Literal[1] = 1

    @property
    def endpoint_url(self) -> str:
        """Return the URL of the S3 API."""
        return f"http://{HOST}:{self.ports['s3']}"

    @property
    def credentials(self) -> dict[str, str]:
        """Return the variables that give the AWS credential chain its credentials."""
        return {"AWS_ACCESS_KEY_ID": self.access_key, "AWS_SECRET_ACCESS_KEY": self.secret_key}

    @property
    def variables(self) -> dict[str, str]:
        """Return the variables of a bot's ``.env``, by name."""
        return {
            "PTB_S3_BUCKET": self.bucket,
            "PTB_S3_PREFIX": _PREFIX,
            "PTB_S3_ENDPOINT_URL": self.endpoint_url,
            "PTB_S3_REGION": REGION,
            "PTB_S3_KEY": self.key,
            **self.credentials,
        }


def read_settings(folder: Path) -> Settings | None:
    """Return the settings of a folder, or None where a new storage can be made there.

    Args:
        folder: The folder. It need not exist.

    Raises:
        SettingsError: It is no folder, holds something else, or its settings cannot be read.
    """
    if not folder.exists():
        return None
    if not folder.is_dir():
        raise SettingsError(f"{folder} is not a folder. Name a folder that is empty or not there.")
    try:
        content = (folder / _SETTINGS).read_bytes()
    except FileNotFoundError:
        _refuse_contents(folder)
        return None
    except OSError as error:
        raise SettingsError(f"{folder / _SETTINGS} cannot be read: {error.strerror}.") from None
    settings = _parsed(content)
    if settings is None:
        raise SettingsError(
            f"{folder / _SETTINGS} is not what ptb-s3 serve has written. Put it back from a copy, "
            "or name another folder; without it, the state in this one cannot be read."
        )
    return settings


def _refuse_contents(folder: Path) -> None:
    """Refuse a folder without settings that is not as good as empty."""
    try:
        there = {entry.name for entry in folder.iterdir()} - {_UNFINISHED, _GITIGNORE}
    except OSError as error:
        raise SettingsError(f"{folder} cannot be read: {error.strerror}.") from None
    if there:
        raise SettingsError(
            f"{folder} was not made by ptb-s3 serve (it has no {_SETTINGS}), and is not empty. "
            "Name a folder that is empty or not there. Nothing was changed."
        )


def _parsed(content: bytes) -> Settings | None:
    """Return settings from their JSON, or None where it is not theirs in every field."""
    try:
        settings = msgspec.json.decode(content, type=Settings)
        Key.parse(settings.key)
    except (msgspec.MsgspecError, KeyFormatError, UnicodeDecodeError):
        return None
    return settings if settings.ports.keys() == set(LISTENERS) else None


@contextmanager
def claimed(folder: Path) -> Iterator[tuple[int, ...]]:
    """Make a folder where there is none, and hold the lock on it for the body of a `with`.

    Args:
        folder: The folder, which `read_settings` has accepted.

    Yields:
        File descriptors that hold the lock. A process that inherits them holds it, too. None on
        Windows, which has no such lock: there, a second server finds its port taken.

    Raises:
        FolderInUseError: Another process holds the lock.
        SettingsError: The folder cannot be made or opened.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        held = _locked(folder)
    except OSError as error:
        raise _unusable(folder, error) from None
    try:
        yield held
    finally:
        for descriptor in held:
            os.close(descriptor)


def _locked(folder: Path) -> tuple[int, ...]:
    """Lock a folder, and return the descriptors that hold the lock.

    Raises:
        FolderInUseError: Another process holds it.
        OSError: The folder cannot be opened.
    """
    if sys.platform == "win32":
        return ()
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise FolderInUseError(
            f"{folder} is served already, by another ptb-s3 serve. Use that one, or end it first; "
            "one that was killed ends within ten seconds. Nothing was changed."
        ) from None
    return (descriptor,)


def settled(settings: Settings | None, port: int | None) -> Settings:
    """Return the settings to serve with: those of the folder, or new ones, on ports that are free.

    Args:
        settings: The folder's settings; None for a new storage.
        port: Port of the S3 API that was asked for; None: as before or, for a new storage, the
            first free one from 8333 on.

    Raises:
        SettingsError: The port is taken by another program. For a known storage no other one is
            chosen, since the bots' ``.env`` names it.
    """
    if settings is None:
        return _new(port)
    wanted = port or settings.ports["s3"]
    # "s3" comes first in this order, so that none of the others is chosen in its place.
    ports = free_ports({"s3": wanted} | settings.ports | {"s3": wanted})
    if ports["s3"] != wanted:
        raise _taken(wanted)
    return replace(settings, ports=ports)


def _new(port: int | None) -> Settings:
    for wanted in [port] if port else _S3_PORTS:
        ports = free_ports({"s3": wanted})
        if ports["s3"] == wanted:
            return Settings(
                bucket=_BUCKET,
                ports=ports,
                access_key=secrets.token_hex(10),
                secret_key=secrets.token_hex(20),
                key=Key.generate().reveal(),
            )
    raise _taken(wanted)


def _taken(port: int) -> SettingsError:
    return SettingsError(
        f"Port {port}, or the one 10000 above it, is in use by another program. End that one, or "
        "choose another port with --port; PTB_S3_ENDPOINT_URL of your bots changes with it."
    )


def store(folder: Path, settings: Settings) -> Path:
    """Write settings into a folder that is `claimed`, and return the folder of the data.

    Raises:
        SettingsError: The folder cannot be written to.
    """
    data = folder / _DATA
    try:
        (folder / _GITIGNORE).write_text("*\n", encoding="ascii")
        unfinished = folder / _UNFINISHED
        unfinished.unlink(missing_ok=True)
        unfinished.touch(mode=0o600)
        unfinished.write_bytes(msgspec.json.format(msgspec.json.encode(settings)) + b"\n")
        unfinished.replace(folder / _SETTINGS)  # whole or not at all, whenever we are killed
        data.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise _unusable(folder, error) from None
    return data.absolute()


def _unusable(folder: Path, error: OSError) -> SettingsError:
    return SettingsError(
        f"{folder} cannot be made or written to: {error.strerror}. Name another folder, or mend "
        "its permissions."
    )
