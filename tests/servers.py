"""The S3 servers that the tests run on, chosen by ``--s3``: seaweedfs, minio, or a URL."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from ptb_s3.cli._seaweedfs import EmbeddedServer, embedded_seaweedfs, run_guarded, weed_program
from ptb_s3.errors import PersistenceError

S3Client: TypeAlias = Any  # aioboto3 ships no types
Session: TypeAlias = Any  # as above

PROJECT = Path(__file__).parents[1]
DEFAULT = "seaweedfs"
_HOST = "127.0.0.1"


@dataclass(frozen=True)
class S3Server:
    """Where to find a server, and what lets us in."""

    name: str
    endpoint_url: str
    access_key: str
    secret_key: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)
    region_name: str = "us-east-1"

    @property
    def environment(self) -> dict[str, str]:
        """What a process must have in its environment to be let in."""
        return {
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_DEFAULT_REGION": self.region_name,
            **({"AWS_SESSION_TOKEN": self.session_token} if self.session_token else {}),
        }

    def session(self, **others: str) -> Session:
        """Return an aioboto3 session that is let in, unless it is told other credentials."""
        import aioboto3  # noqa: PLC0415 - a second to import, which most unit tests can do without

        credentials = {
            "aws_access_key_id": self.access_key,
            "aws_secret_access_key": self.secret_key,
            "aws_session_token": self.session_token,
        }
        return aioboto3.Session(**{**credentials, **others}, region_name=self.region_name)


def describe(choice: str) -> str:
    """Return the server's name and version, for the header of the test run."""
    if choice == "seaweedfs":
        return f"SeaweedFS {_first_line([weed_program(), 'version'])}"
    if choice == "minio":
        return _first_line([minio_program(), "--version"])
    return choice


def minio_program() -> str:
    """Return the path of ``minio``, as infra/minio.sh finds it."""
    script = PROJECT / "infra" / "minio.sh"
    found = subprocess.run(  # noqa: S603 - the project's own script
        ["/bin/sh", str(script), "--find"], capture_output=True, text=True, check=False
    )
    if found.returncode:
        raise pytest.UsageError(f"--s3=minio: {(found.stderr or found.stdout).strip()}")
    return found.stdout.strip()


@contextmanager
def running(choice: str, environment: dict[str, str]) -> Iterator[S3Server]:
    """Start the server that was chosen, or find the one that runs elsewhere.

    A server that is not to be had is an error: a test that needs one never passes by not running.

    Args:
        choice: What ``--s3`` says.
        environment: Holds the credentials of a server that runs elsewhere.
    """
    try:
        if choice == "seaweedfs":
            with embedded_seaweedfs() as server:
                yield _known(server)
        elif choice == "minio":
            with _minio() as server:
                yield _known(server)
        else:
            yield _elsewhere(choice, environment)
    except PersistenceError as exc:
        raise pytest.UsageError(str(exc)) from exc


def _known(server: EmbeddedServer) -> S3Server:
    return S3Server(server.name, server.endpoint_url, server.access_key, server.secret_key)


def _elsewhere(url: str, environment: dict[str, str]) -> S3Server:
    if not url.startswith(("http://", "https://")):
        raise pytest.UsageError(f"--s3={url}: neither seaweedfs, nor minio, nor a URL")
    try:
        return S3Server(
            name=url,
            endpoint_url=url,
            access_key=environment["AWS_ACCESS_KEY_ID"],
            secret_key=environment["AWS_SECRET_ACCESS_KEY"],
            session_token=environment.get("AWS_SESSION_TOKEN"),
            region_name=environment.get("AWS_DEFAULT_REGION", "us-east-1"),
        )
    except KeyError as exc:
        raise pytest.UsageError(f"--s3={url} needs credentials: set {exc.args[0]}") from exc


@contextmanager
def _minio() -> Iterator[EmbeddedServer]:
    """Start MinIO in a temporary folder, on the loopback interface."""
    program = minio_program()
    folder = Path(tempfile.mkdtemp(prefix="ptb-s3-minio-"))
    access_key, secret_key = secrets.token_hex(10), secrets.token_urlsafe(30)
    port, console = _free_ports(2)
    process = run_guarded(
        folder,
        [
            *(program, "server", str(folder / "data"), "--certs-dir", str(folder / "certs")),
            *("--address", f"{_HOST}:{port}", "--console-address", f"{_HOST}:{console}"),
        ],
        environment={
            "MINIO_ROOT_USER": access_key,
            "MINIO_ROOT_PASSWORD": secret_key,
            "MINIO_UPDATE": "off",  # else it asks for a newer release
            "MINIO_BROWSER": "off",
        },
    )
    url = f"http://{_HOST}:{port}"
    server = EmbeddedServer("MinIO", url, access_key, secret_key, process, folder)
    try:
        server.wait_until_ready("/minio/health/ready")
        yield server
    finally:
        server.end()


def _free_ports(count: int) -> list[int]:
    holders = [socket.socket() for _ in range(count)]
    for holder in holders:
        holder.bind((_HOST, 0))
    ports = [int(holder.getsockname()[1]) for holder in holders]
    for holder in holders:
        holder.close()
    return ports


def _first_line(command: list[str]) -> str:
    program = shutil.which(command[0]) or command[0]
    answer = subprocess.run(  # noqa: S603 - a server that the user installed
        [program, *command[1:]],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": os.defpath, "HOME": os.devnull},
    )
    return (answer.stdout.splitlines() or ["unknown version"])[0]
