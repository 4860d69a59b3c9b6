"""MinIO: whichever ``infra/minio.sh`` finds."""

from __future__ import annotations

from tests.servers._process import HOST, Command, Place, first_line, found_by

READY = "/minio/health/ready"


def program() -> str:
    """Return the path of ``minio``."""
    return found_by("minio.sh", "minio")


def describe() -> str:
    """Return its name and version."""
    return first_line([program(), "--version"])


def launch(place: Place) -> Command:
    """Start it with one folder as its disk."""
    return Command(
        [
            *(program(), "server", str(place.folder / "data")),
            *("--certs-dir", str(place.folder / "certs"), "--address", place.address),
            *("--console-address", f"{HOST}:{place.other_port}"),
        ],
        {
            "MINIO_ROOT_USER": place.access_key,
            "MINIO_ROOT_PASSWORD": place.secret_key,
            "MINIO_UPDATE": "off",  # else it asks for a newer release
            "MINIO_BROWSER": "off",
        },
    )
