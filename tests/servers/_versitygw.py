"""versitygw: an S3 gateway to a folder; whichever ``infra/versitygw.sh`` finds."""

from __future__ import annotations

import re
import shutil
import subprocess

from tests.servers._process import Command, Place, found_by

READY = "/health"


def program() -> str:
    """Return the path of ``versitygw``."""
    return found_by("versitygw.sh", "versitygw")


def describe() -> str:
    """Return its name and version."""
    return f"versitygw {version(program())}"


def version(program: str) -> str:
    """Return the version that a Go program was installed as: it may not know itself."""
    if go := shutil.which("go"):
        built = subprocess.run(  # noqa: S603 - Go, from PATH
            [go, "version", "-m", program], capture_output=True, text=True, check=False
        )
        if found := re.search(r"^\s*mod\s+\S+\s+v?(\S+)", built.stdout, re.MULTILINE):
            return found[1]
    return "of unknown version"


def launch(place: Place) -> Command:
    """Start it on a folder, with another one for older versions: without that, it keeps none."""
    return Command(
        [
            *(program(), "--port", place.address, "--health", READY, "--quiet", "posix"),
            *("--versioning-dir", place.subfolder("versions"), place.subfolder("data")),
        ],
        {"ROOT_ACCESS_KEY": place.access_key, "ROOT_SECRET_KEY": place.secret_key},
    )
