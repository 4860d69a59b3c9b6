"""moto's server: S3 and what else of AWS there is, in memory; it lets in whoever comes."""

from __future__ import annotations

import sys
from importlib.metadata import version

from tests.servers._process import HOST, Command, Place

READY = "/moto-api/data.json"


def describe() -> str:
    """Return its name and version."""
    return f"moto {version('moto')}"


def launch(place: Place) -> Command:
    """Start it, with the Python that runs the tests."""
    return Command([sys.executable, "-m", "moto.server", "-H", HOST, "-p", str(place.port)])
