"""Server as a process: address, credentials, readiness and end, run under its guard (`_guard`).

Rule: whoever starts a server here outlives it. The guard ends the server when our end of its
standard input is closed, which SIGKILL does as well. The server runs in a temporary folder of its
own, which holds its configuration, its log and its sockets, and which goes with it.
"""

from __future__ import annotations

import http.client
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from urllib.parse import urlsplit

from ptb_s3.errors import StorageUnavailableError

_REGION = "us-east-1"
_READY_WITHIN = 30.0
"""Seconds until the server must answer. It takes one; the rest is for a busy machine."""
_POLL = 0.05
"""Seconds between two looks at whether it answers."""
_ENDS_WITHIN = 10.0
"""Seconds for its guard to end it and to remove the folder, before the guard is killed.

More than the grace that any server is given.
"""
_LOG_LINES = 15
"""Lines of its log that an error shows."""


@dataclass(frozen=True)
class EmbeddedServer:
    """Running server, with its address and credentials.

    Attributes:
        name: The program's name, for errors.
        endpoint_url: URL of its S3 API.
        access_key: Id of the credentials, which may do everything.
        secret_key: Secret of the credentials.
        process: Its guard: the process whose end is the server's end.
        folder: The folder of its data and its log, until then.
        region_name: Region to sign requests for.
    """

    name: str
    endpoint_url: str
    access_key: str
    secret_key: str = field(repr=False)
    process: subprocess.Popen[bytes] = field(repr=False)
    folder: Path
    region_name: str = _REGION

    @property
    def environment(self) -> dict[str, str]:
        """Return the variables that give the AWS credential chain its credentials and region."""
        return {
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_DEFAULT_REGION": self.region_name,
        }

    def wait_until_ready(self, path: str) -> None:
        """Wait until a path of the S3 port answers 200.

        Args:
            path: The path, with its slash.

        Raises:
            StorageUnavailableError: The server ended, or half a minute has passed.
        """
        deadline = time.monotonic() + _READY_WITHIN
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise StorageUnavailableError(f"{self.name} ended while starting. {self.log()}")
            if self._answers(path):
                return
            time.sleep(_POLL)
        raise StorageUnavailableError(
            f"{self.name} gave no answer within {_READY_WITHIN:.0f} s. {self.log()}"
        )

    def end(self) -> None:
        """Let go of the guard, which ends the server, and make sure that nothing is left."""
        if self.process.stdin is not None:
            self.process.stdin.close()
        try:
            self.process.wait(_ENDS_WITHIN)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _answers(self, path: str) -> bool:
        connection = http.client.HTTPConnection(urlsplit(self.endpoint_url).netloc, timeout=1)
        with closing(connection), suppress(OSError, http.client.HTTPException):
            connection.request("GET", path)
            return connection.getresponse().status == http.client.OK
        return False

    def log(self) -> str:
        """Return the last lines of the log, for an error. It holds no credentials."""
        try:
            text = (self.folder / "log").read_text(encoding="utf-8", errors="replace")
        except OSError:
            text = ""
        return "The end of its log:\n" + "\n".join(text.splitlines()[-_LOG_LINES:] or ["(empty)"])


def run_guarded(
    folder: Path,
    command: Sequence[str],
    *,
    leftovers: Sequence[str] = (),
    environment: Mapping[str, str] = MappingProxyType({}),
    grace: float = 0,
    held: Sequence[int] = (),
) -> subprocess.Popen[bytes]:
    """Run a server in a folder until its guard's standard input is closed, or we are killed.

    It inherits nothing of our environment: no AWS settings, no proxies, no home folder.

    Args:
        folder: The folder it runs in, which is removed at its end.
        command: The program and its arguments.
        leftovers: Files elsewhere that it makes, to be removed as well.
        environment: Variables of its own.
        grace: Seconds between SIGTERM and SIGKILL at its end. 0, which kills at once, is for a
            server whose data is in the folder and goes with it.
        held: File descriptors that the guard inherits, and so keeps open until the server's end:
            a lock on one of them outlives this process for as long as the server does.

    Returns:
        The guard. Close its standard input to end the server.
    """
    guard = Path(__file__).with_name("_guard.py")
    return subprocess.Popen(  # noqa: S603 - our own interpreter and a program that the user installed
        [
            sys.executable,
            "-I",
            "-S",
            str(guard),
            str(grace),
            str(folder),
            *leftovers,
            "--",
            *command,
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={"HOME": str(folder), "TMPDIR": str(folder), "PATH": os.defpath, **environment},
        pass_fds=held,
        start_new_session=True,  # Ctrl-C is for us: we end the server when we are done with it
    )
