"""A server as a process of ours: in a temporary folder, on the loopback interface, and gone after.

A `Launch` says how one is started at a `Place`; `serving` does so, and waits until it answers.
"""

from __future__ import annotations

import http.client
import os
import secrets
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple
from urllib.parse import urlsplit

import pytest
from tests.servers._server import PROJECT, S3Server

from ptb_s3.cli._server_process import EmbeddedServer, run_guarded
from ptb_s3.errors import StorageUnavailableError

HOST = "127.0.0.1"
_PATIENCE = 4
"""How often the half minute may pass in which a server has to answer."""


@dataclass(frozen=True)
class Place:
    """What a server is given: a folder of its own, two free ports, and made-up credentials."""

    folder: Path
    port: int
    other_port: int
    access_key: str
    secret_key: str = field(repr=False)

    @property
    def address(self) -> str:
        return f"{HOST}:{self.port}"

    def file(self, name: str, text: str) -> str:
        """Write a file in the folder that nobody else can read; return its path."""
        path = self.folder / name
        path.touch(mode=0o600)
        path.write_text(text, encoding="utf-8")
        return str(path)

    def subfolder(self, name: str) -> str:
        """Make a folder in the folder; return its path."""
        path = self.folder / name
        path.mkdir()
        return str(path)


class Command(NamedTuple):
    """A program with its arguments, and all that it sees of an environment."""

    line: Sequence[str]
    environment: Mapping[str, str] = MappingProxyType({})


Launch = Callable[[Place], Command]


class _Served(EmbeddedServer):
    """A server that is ready once it answers anything but that it is not."""

    def _answers(self, path: str) -> bool:
        connection = http.client.HTTPConnection(urlsplit(self.endpoint_url).netloc, timeout=1)
        with closing(connection), suppress(OSError, http.client.HTTPException):
            connection.request("GET", path)
            return connection.getresponse().status < http.client.INTERNAL_SERVER_ERROR
        return False


@contextmanager
def serving(name: str, launch: Launch, ready: str = "/") -> Iterator[S3Server]:
    """Start a server, yield it when it answers, and end it.

    Args:
        name: Its name, as in messages.
        launch: Says how it is started.
        ready: Path that it answers, with less than 500, once it is ready.

    Raises:
        StorageUnavailableError: It did not start; the text shows the tail of its log.
    """
    folder = Path(tempfile.mkdtemp(prefix=f"ptb-s3-{name.lower()}-"))
    port, other = free_ports(2)
    place = Place(folder, port, other, secrets.token_hex(10), secrets.token_hex(20))
    try:
        command = launch(place)
    except BaseException:
        shutil.rmtree(folder)
        raise
    served = _Served(
        name,
        f"http://{place.address}",
        place.access_key,
        place.secret_key,
        run_guarded(folder, command.line, environment=command.environment),
        folder,
    )
    try:
        _wait(served, ready)
        yield known(served)
    finally:
        served.end()


def _wait(served: EmbeddedServer, ready: str) -> None:
    """Wait until it answers; some take longer than the one that `EmbeddedServer` was made for."""
    for left in reversed(range(_PATIENCE)):
        try:
            served.wait_until_ready(ready)
        except StorageUnavailableError:
            if not left or served.process.poll() is not None:
                raise
        else:
            return


def known(server: EmbeddedServer) -> S3Server:
    """Return a server that was started here as the tests see it."""
    return S3Server(server.name, server.endpoint_url, server.access_key, server.secret_key)


def free_ports(count: int) -> list[int]:
    """Return so many ports that nobody listens on."""
    holders = [socket.socket() for _ in range(count)]
    for holder in holders:
        holder.bind((HOST, 0))
    ports = [int(holder.getsockname()[1]) for holder in holders]
    for holder in holders:
        holder.close()
    return ports


def found_by(script: str, choice: str) -> str:
    """Return the path of the program that a script in infra finds.

    Raises:
        UsageError: There is none.
    """
    found = subprocess.run(  # noqa: S603 - the project's own script
        ["/bin/sh", str(PROJECT / "infra" / script), "--find"],
        capture_output=True,
        text=True,
        check=False,
    )
    if found.returncode:
        raise pytest.UsageError(f"--s3={choice}: {(found.stderr or found.stdout).strip()}")
    return found.stdout.strip()


def first_line(command: Sequence[str]) -> str:
    """Return the first line that a program prints, which tells its version."""
    program = shutil.which(command[0]) or command[0]
    answer = subprocess.run(  # noqa: S603 - a server that the user installed
        [program, *command[1:]],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": os.defpath, "HOME": os.devnull},
    )
    return (answer.stdout.splitlines() or ["unknown version"])[0]
