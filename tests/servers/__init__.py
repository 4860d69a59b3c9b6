"""The S3 servers that the tests run on, chosen by ``--s3``: a name of `CHOICES`, or a URL.

A server that is not to be had is a usage error: a test that needs one never passes by not running.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from tests.servers import _minio, _moto, _versitygw
from tests.servers._process import first_line, known, serving
from tests.servers._server import PROJECT, S3Client, S3Server, Session

from ptb_s3.cli._seaweedfs import embedded_seaweedfs, weed_program
from ptb_s3.errors import PersistenceError

__all__ = [
    "CHOICES",
    "DEFAULT",
    "PROJECT",
    "S3Client",
    "S3Server",
    "Session",
    "describe",
    "running",
]

DEFAULT = "seaweedfs"
CHOICES = (DEFAULT, "minio", "moto", "versitygw")


def describe(choice: str) -> str:
    """Return the server's name and version, for the header of the test run."""
    match choice:
        case "seaweedfs":
            return f"SeaweedFS {first_line([weed_program(), 'version'])}"
        case "minio":
            return _minio.describe()
        case "moto":
            return _moto.describe()
        case "versitygw":
            return _versitygw.describe()
        case _:
            return choice


@contextmanager
def running(choice: str, environment: dict[str, str]) -> Iterator[S3Server]:
    """Start the server that was chosen, or find the one that runs elsewhere.

    Args:
        choice: What ``--s3`` says.
        environment: Holds the credentials of a server that runs elsewhere.

    Raises:
        UsageError: It is not to be had.
    """
    try:
        match choice:
            case "seaweedfs":
                with embedded_seaweedfs() as server:
                    yield known(server)
            case "minio":
                with serving("MinIO", _minio.launch, _minio.READY) as started:
                    yield started
            case "moto":
                with serving("moto", _moto.launch, _moto.READY) as started:
                    yield started
            case "versitygw":
                with serving("versitygw", _versitygw.launch, _versitygw.READY) as started:
                    yield started
            case _:
                yield _elsewhere(choice, environment)
    except PersistenceError as exc:
        raise pytest.UsageError(str(exc)) from exc


def _elsewhere(url: str, environment: dict[str, str]) -> S3Server:
    if not url.startswith(("http://", "https://")):
        raise pytest.UsageError(f"--s3={url}: none of {', '.join(CHOICES)}, and no URL")
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
